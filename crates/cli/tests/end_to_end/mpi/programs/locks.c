/* One-sided operations while the target does nothing of the kind: locks of one and of all, flushes,
 * requests, exclusive access, and a window to which memory is attached later. */
#include "check.h"

enum { INTS = 20000 };

static int *base;
static MPI_Win win;

static void make(void)
{
    MPI_Win_allocate((MPI_Aint)sizeof(int) * INTS * size, sizeof(int), MPI_INFO_NULL,
                     MPI_COMM_WORLD, &base, &win);
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, rank, 0, win);
    for (int at = 0; at < INTS * size; at++)
        base[at] = 0;
    MPI_Win_unlock(rank, win);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void of_one(int count)
{
    int *out = room(sizeof(int) * INTS), *in = room(sizeof(int) * INTS);
    doing = "MPI_Put and MPI_Get under a lock";
    for (int target = 0; target < size; target++) {
        for (int at = 0; at < count; at++)
            out[at] = rank * 1000003 + target * 77 + at;
        MPI_Win_lock(MPI_LOCK_SHARED, target, 0, win);
        MPI_Put(out, count, MPI_INT, target, (MPI_Aint)rank * INTS, count, MPI_INT, win);
        MPI_Win_unlock(target, win);
        memset(in, 0, sizeof(int) * (size_t)count);
        MPI_Win_lock(MPI_LOCK_SHARED, target, 0, win);
        MPI_Get(in, count, MPI_INT, target, (MPI_Aint)rank * INTS, count, MPI_INT, win);
        MPI_Win_unlock(target, win);
        CHECK(!memcmp(in, out, sizeof(int) * (size_t)count), "rank %d gives other data back",
              target);
    }
    free(out);
    free(in);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* What is read, changed and written under an exclusive lock is lost by nobody. */
static void exclusive(void)
{
    enum { TIMES = 100 };
    int value;
    doing = "counting under an exclusive lock";
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, rank, 0, win);
    base[0] = 0;
    MPI_Win_unlock(rank, win);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int time = 0; time < TIMES; time++) {
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
        MPI_Get(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win);
        MPI_Win_flush(0, win);
        value++;
        MPI_Put(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win);
        MPI_Win_unlock(0, win);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, win);
    MPI_Get(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win);
    MPI_Win_unlock(0, win);
    CHECK(value == TIMES * size, "counted to %d, not %d", value, TIMES * size);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void of_all(void)
{
    int *out = room(sizeof(int) * INTS), *in = room(sizeof(int) * INTS);
    MPI_Request request;
    doing = "MPI_Win_lock_all and flushes";
    MPI_Win_lock_all(0, win);
    for (int round = 0; round < 5; round++) {
        for (int target = 0; target < size; target++) {
            for (int at = 0; at < INTS; at++)
                out[at] = rank + round * 100 + target * 1000 + at;
            MPI_Put(out, INTS, MPI_INT, target, (MPI_Aint)rank * INTS, INTS, MPI_INT, win);
            if (round % 2)
                MPI_Win_flush(target, win);
            else
                MPI_Win_flush_local(target, win);
            memset(out, 0, sizeof(int) * INTS);
        }
        MPI_Win_flush_all(win);
        for (int target = 0; target < size; target++) {
            MPI_Rget(in, INTS, MPI_INT, target, (MPI_Aint)rank * INTS, INTS, MPI_INT, win, &request);
            MPI_Wait(&request, MPI_STATUS_IGNORE);
            for (int at = 0; at < INTS; at++)
                CHECK(in[at] == rank + round * 100 + target * 1000 + at, "round %d: int %d is %d",
                      round, at, in[at]);
        }
    }
    doing = "MPI_Rput and MPI_Raccumulate";
    for (int at = 0; at < INTS; at++)
        out[at] = at;
    MPI_Rput(out, INTS, MPI_INT, (rank + 1) % size, (MPI_Aint)rank * INTS, INTS, MPI_INT, win,
             &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Win_flush_all(win);
    MPI_Raccumulate(out, INTS, MPI_INT, (rank + 1) % size, (MPI_Aint)rank * INTS, INTS, MPI_INT,
                    MPI_SUM, win, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    int before = (rank + size - 1) % size;
    MPI_Win_lock(MPI_LOCK_SHARED, rank, 0, win);
    for (int at = 0; at < INTS; at++)
        CHECK(base[before * INTS + at] == 2 * at, "int %d is %d, not %d", at,
              base[before * INTS + at], 2 * at);
    MPI_Win_unlock(rank, win);
    free(out);
    free(in);
}

static void attached(void)
{
    enum { COUNT = 5000 };
    MPI_Win dynamic;
    MPI_Aint address, *addresses = room(sizeof(MPI_Aint) * (size_t)size);
    int *memory = room(sizeof(int) * COUNT), out[COUNT], next = (rank + 1) % size;
    int before = (rank + size - 1) % size;
    doing = "a window to which memory is attached";
    MPI_Win_create_dynamic(MPI_INFO_NULL, MPI_COMM_WORLD, &dynamic);
    for (int round = 0; round < 3; round++) {
        MPI_Win_attach(dynamic, memory, sizeof(int) * COUNT);
        MPI_Get_address(memory, &address);
        MPI_Allgather(&address, 1, MPI_AINT, addresses, 1, MPI_AINT, MPI_COMM_WORLD);
        for (int at = 0; at < COUNT; at++)
            out[at] = rank * 100000 + at + round;
        MPI_Win_lock(MPI_LOCK_SHARED, next, 0, dynamic);
        MPI_Put(out, COUNT, MPI_INT, next, addresses[next], COUNT, MPI_INT, dynamic);
        MPI_Win_unlock(next, dynamic);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Win_lock(MPI_LOCK_SHARED, rank, 0, dynamic);
        for (int at = 0; at < COUNT; at++)
            CHECK(memory[at] == before * 100000 + at + round, "int %d is %d", at, memory[at]);
        MPI_Win_unlock(rank, dynamic);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Win_detach(dynamic, memory);
    }
    MPI_Win_free(&dynamic);
    free(addresses);
    free(memory);
}

int main(int argc, char **argv)
{
    start(&argc, &argv);
    make();
    of_one(1);
    of_one(INTS);
    exclusive();
    of_all();
    doing = "freeing a window";
    MPI_Win_free(&win);
    attached();
    return finish();
}
