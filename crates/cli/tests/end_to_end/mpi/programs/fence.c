/* One-sided operations between fences, and between post, start, complete and wait: put, get and
 * accumulate in windows of each kind of making. */
#include "check.h"

enum { ELEMENTS = 60000 };

static const char *const MAKERS[] = {"MPI_Win_create", "MPI_Win_allocate"};

struct window {
    MPI_Win win;
    int *base;
};

/* `size` parts of `count` ints: one for each origin. */
static struct window make(int maker, int count)
{
    struct window window;
    MPI_Aint bytes = (MPI_Aint)sizeof(int) * count * size;
    if (maker == 0) {
        window.base = room((size_t)bytes);
        MPI_Win_create(window.base, bytes, sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &window.win);
    } else {
        MPI_Win_allocate(bytes, sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &window.base,
                         &window.win);
    }
    return window;
}

static void release(int maker, struct window *window)
{
    int *base = window->base;
    MPI_Win_free(&window->win);
    if (maker == 0)
        free(base);
}

static int content(int origin, int target, int at)
{
    return origin * 10000000 + target * 1000000 + at;
}

static void between_fences(int maker, int count)
{
    struct window window = make(maker, count);
    int *mine = room(sizeof(int) * (size_t)(count * size));
    doing = "MPI_Put between fences";
    for (int at = 0; at < count * size; at++) {
        window.base[at] = -1;
        mine[at] = content(rank, at / count, at % count);
    }
    MPI_Win_fence(MPI_MODE_NOPRECEDE, window.win);
    for (int target = 0; target < size; target++)
        MPI_Put(mine + target * count, count, MPI_INT, target, (MPI_Aint)rank * count, count,
                MPI_INT, window.win);
    MPI_Win_fence(0, window.win);
    for (int at = 0; at < count * size; at++)
        CHECK(window.base[at] == content(at / count, rank, at % count), "%s: int %d is %d",
              MAKERS[maker], at, window.base[at]);

    doing = "MPI_Get between fences";
    memset(mine, 0x77, sizeof(int) * (size_t)(count * size));
    MPI_Win_fence(0, window.win);
    for (int target = 0; target < size; target++)
        MPI_Get(mine + target * count, count, MPI_INT, target, (MPI_Aint)rank * count, count,
                MPI_INT, window.win);
    MPI_Win_fence(0, window.win);
    for (int at = 0; at < count * size; at++)
        CHECK(mine[at] == content(rank, at / count, at % count), "%s: int %d is %d", MAKERS[maker],
              at, mine[at]);

    doing = "MPI_Accumulate between fences";
    for (int at = 0; at < count; at++)
        mine[at] = at + rank;
    for (int at = 0; at < count * size; at++)
        window.base[at] = 1;
    MPI_Win_fence(0, window.win);
    for (int target = 0; target < size; target++)
        MPI_Accumulate(mine, count, MPI_INT, target, 0, count, MPI_INT, MPI_SUM, window.win);
    MPI_Win_fence(MPI_MODE_NOSUCCEED, window.win);
    for (int at = 0; at < count; at++) {
        int wanted = 1 + size * at + size * (size - 1) / 2;
        CHECK(window.base[at] == wanted, "%s: int %d is %d, not %d", MAKERS[maker], at,
              window.base[at], wanted);
    }
    free(mine);
    release(maker, &window);
}

/* A column of each target: data with gaps on both sides. */
static void with_gaps(int maker)
{
    enum { SIDE = 64 };
    struct window window = make(maker, SIDE * SIDE);
    int *mine = room(sizeof(int) * SIDE * SIDE), next = (rank + 1) % size;
    int before = (rank + size - 1) % size;
    MPI_Datatype column;
    doing = "MPI_Put of a column";
    MPI_Type_vector(SIDE, 1, SIDE, MPI_INT, &column);
    MPI_Type_commit(&column);
    for (int at = 0; at < SIDE * SIDE; at++) {
        mine[at] = content(rank, 0, at);
        window.base[at] = -1;
    }
    MPI_Win_fence(0, window.win);
    MPI_Put(mine, 1, column, next, 3, 1, column, window.win);
    MPI_Win_fence(0, window.win);
    for (int at = 0; at < SIDE * SIDE; at++) {
        int wanted = at % SIDE == 3 ? content(before, 0, at - 3) : -1;
        CHECK(window.base[at] == wanted, "int %d is %d, not %d", at, window.base[at], wanted);
    }
    MPI_Type_free(&column);
    free(mine);
    release(maker, &window);
}

/* Each rank is target of the one before it and origin for the next. */
static void posted(int maker, int count)
{
    struct window window = make(maker, count);
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    int *mine = room(sizeof(int) * (size_t)count);
    MPI_Group all, origins, targets;
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Group_incl(all, 1, &before, &origins);
    MPI_Group_incl(all, 1, &next, &targets);
    doing = "MPI_Put between start and complete";
    for (int round = 0; round < 10; round++) {
        for (int at = 0; at < count; at++)
            mine[at] = content(rank, next, at) + round;
        MPI_Win_post(origins, 0, window.win);
        MPI_Win_start(targets, 0, window.win);
        MPI_Put(mine, count, MPI_INT, next, 0, count, MPI_INT, window.win);
        MPI_Win_complete(window.win);
        if (round % 2) {
            MPI_Win_wait(window.win);
        } else {
            int done = 0;
            while (!done)
                MPI_Win_test(window.win, &done);
        }
        for (int at = 0; at < count; at++)
            CHECK(window.base[at] == content(before, rank, at) + round, "%s: int %d is %d",
                  MAKERS[maker], at, window.base[at]);
    }
    MPI_Group_free(&all);
    MPI_Group_free(&origins);
    MPI_Group_free(&targets);
    free(mine);
    release(maker, &window);
}

int main(int argc, char **argv)
{
    static const int COUNTS[] = {1, 300, ELEMENTS};
    start(&argc, &argv);
    for (int maker = 0; maker < 2; maker++) {
        for (size_t each = 0; each < sizeof COUNTS / sizeof *COUNTS; each++) {
            between_fences(maker, COUNTS[each]);
            posted(maker, COUNTS[each]);
        }
        with_gaps(maker);
    }
    return finish();
}
