/* Operations on a target's memory that many ranks do at once, over several types: none is lost, and
 * each gets back what was there before its own. */
#include "check.h"

enum { TIMES = 200 };

static MPI_Win win;
static char *base;

/* Element 0 of rank 0 and of the last, as a number. */
static double read_number(MPI_Datatype type, const void *memory)
{
    if (type == MPI_INT)
        return *(const int *)memory;
    if (type == MPI_LONG_LONG)
        return (double)*(const long long *)memory;
    if (type == MPI_UNSIGNED)
        return *(const unsigned *)memory;
    if (type == MPI_FLOAT)
        return *(const float *)memory;
    return *(const double *)memory;
}

static void write_number(MPI_Datatype type, void *memory, double value)
{
    if (type == MPI_INT)
        *(int *)memory = (int)value;
    else if (type == MPI_LONG_LONG)
        *(long long *)memory = (long long)value;
    else if (type == MPI_UNSIGNED)
        *(unsigned *)memory = (unsigned)value;
    else if (type == MPI_FLOAT)
        *(float *)memory = (float)value;
    else
        *(double *)memory = value;
}

static void reset(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, rank, 0, win);
    memset(base, 0, 4096);
    MPI_Win_unlock(rank, win);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Everyone adds one, many times; the values that came back are all different. */
static void fetched(MPI_Datatype type)
{
    char one[16], before[16];
    double *mine = room(sizeof *mine * TIMES), *all = room(sizeof *all * (size_t)(TIMES * size));
    int target = size - 1;
    doing = "MPI_Fetch_and_op";
    reset();
    write_number(type, one, 1);
    MPI_Win_lock_all(0, win);
    for (int time = 0; time < TIMES; time++) {
        MPI_Fetch_and_op(one, before, type, target, 8, MPI_SUM, win);
        MPI_Win_flush(target, win);
        mine[time] = read_number(type, before);
        CHECK(time == 0 || mine[time] > mine[time - 1], "%f came after %f", mine[time],
              mine[time - 1]);
    }
    MPI_Win_unlock_all(win);
    MPI_Gather(mine, TIMES, MPI_DOUBLE, all, TIMES, MPI_DOUBLE, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        char *seen = calloc((size_t)(TIMES * size), 1);
        for (int each = 0; each < TIMES * size; each++) {
            int value = (int)all[each];
            CHECK(value >= 0 && value < TIMES * size && !seen[value], "%f came back twice, or wrong",
                  all[each]);
            seen[value] = 1;
        }
        free(seen);
    }
    free(mine);
    free(all);
}

static void accumulated(MPI_Datatype type)
{
    enum { COUNT = 100 };
    char values[16 * COUNT], old[16 * COUNT];
    int width;
    MPI_Type_size(type, &width);
    doing = "MPI_Accumulate by many";
    reset();
    for (int at = 0; at < COUNT; at++)
        write_number(type, values + at * width, at % 10 + 1);
    MPI_Win_lock_all(0, win);
    for (int time = 0; time < 20; time++)
        for (int target = 0; target < size; target++)
            MPI_Accumulate(values, COUNT, type, target, 0, COUNT, type, MPI_SUM, win);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    doing = "MPI_Get_accumulate with MPI_NO_OP";
    MPI_Win_lock(MPI_LOCK_SHARED, (rank + 1) % size, 0, win);
    MPI_Get_accumulate(NULL, 0, type, old, COUNT, type, (rank + 1) % size, 0, COUNT, type,
                       MPI_NO_OP, win);
    MPI_Win_unlock((rank + 1) % size, win);
    for (int at = 0; at < COUNT; at++) {
        double value = read_number(type, old + at * width), wanted = 20.0 * size * (at % 10 + 1);
        CHECK(value == wanted, "element %d is %f, not %f", at, value, wanted);
    }
    doing = "MPI_Get_accumulate with MPI_MAX";
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        write_number(type, values, 1e6);
        MPI_Win_lock(MPI_LOCK_SHARED, 1, 0, win);
        MPI_Get_accumulate(values, 1, type, old, 1, type, 1, 0, 1, type, MPI_MAX, win);
        MPI_Win_flush(1, win);
        CHECK(read_number(type, old) == 20.0 * size, "%f was there", read_number(type, old));
        MPI_Get_accumulate(values, 1, type, old, 1, type, 1, 0, 1, type, MPI_REPLACE, win);
        MPI_Win_unlock(1, win);
        CHECK(read_number(type, old) == 1e6, "%f is the greatest", read_number(type, old));
    }
}

/* A lock of its own, made of MPI_Compare_and_swap. */
static void swapped(MPI_Datatype type)
{
    char free_[16], taken[16], was[16], value[16];
    doing = "MPI_Compare_and_swap";
    reset();
    write_number(type, free_, 0);
    write_number(type, taken, rank + 1);
    MPI_Win_lock_all(0, win);
    for (int time = 0; time < 20; time++) {
        do {
            MPI_Compare_and_swap(taken, free_, was, type, 0, 0, win);
            MPI_Win_flush(0, win);
        } while (read_number(type, was) != 0);
        MPI_Get(value, 1, type, 0, 64, 1, type, win);
        MPI_Win_flush(0, win);
        write_number(type, value, read_number(type, value) + 1);
        MPI_Put(value, 1, type, 0, 64, 1, type, win);
        MPI_Win_flush(0, win);
        MPI_Compare_and_swap(free_, taken, was, type, 0, 0, win);
        MPI_Win_flush(0, win);
        CHECK(read_number(type, was) == rank + 1, "rank %f had the lock of this one",
              read_number(type, was) - 1);
    }
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, win);
    MPI_Get(value, 1, type, 0, 64, 1, type, win);
    MPI_Win_unlock(0, win);
    CHECK(read_number(type, value) == 20.0 * size, "counted to %f, not %d", read_number(type, value),
          20 * size);
}

int main(int argc, char **argv)
{
    start(&argc, &argv);
    const MPI_Datatype types[] = {MPI_INT, MPI_LONG_LONG, MPI_UNSIGNED, MPI_FLOAT, MPI_DOUBLE};
    enum { TYPES = sizeof types / sizeof *types, WHOLE = 3 };
    /* Places are in bytes of eight: aligned for every type. */
    MPI_Win_allocate(4096, 8, MPI_INFO_NULL, MPI_COMM_WORLD, &base, &win);
    for (int type = 0; type < TYPES; type++) {
        fetched(types[type]);
        accumulated(types[type]);
        if (type < WHOLE)
            swapped(types[type]);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_free(&win);
    return finish();
}
