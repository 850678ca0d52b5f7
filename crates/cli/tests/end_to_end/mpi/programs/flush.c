/* What was put is at its target once a flush returns, and its memory is free: also while others send
 * the one that flushes long messages, which it has to serve meanwhile. */
#include "check.h"

enum { INTS = 200000, SHARE = 20000, TIMES = 100 };

static MPI_Win win;

/* Sends what the target itself has to add, which some MPIs fetch by reads of their own. */
static void disturb(int target)
{
    int *out = room(sizeof(int) * SHARE);
    doing = "MPI_Accumulate";
    for (int at = 0; at < SHARE; at++)
        out[at] = 1;
    for (int time = 0; time < TIMES; time++) {
        MPI_Accumulate(out, SHARE, MPI_INT, target, INTS, SHARE, MPI_INT, MPI_SUM, win);
        MPI_Win_flush(target, win);
    }
    free(out);
}

static void put(int target)
{
    int *out = room(sizeof(int) * INTS), *in = room(sizeof(int) * INTS);
    doing = "MPI_Put and MPI_Win_flush";
    for (int time = 0; time < TIMES; time++) {
        for (int at = 0; at < INTS; at++)
            out[at] = time * 10 + at;
        MPI_Put(out, INTS, MPI_INT, target, 0, INTS, MPI_INT, win);
        if (time % 2)
            MPI_Win_flush(target, win);
        else
            MPI_Win_flush_local(target, win);
        memset(out, -1, sizeof(int) * INTS);
        MPI_Win_flush(target, win);
        MPI_Get(in, INTS, MPI_INT, target, 0, INTS, MPI_INT, win);
        MPI_Win_flush(target, win);
        for (int at = 0; at < INTS; at++)
            CHECK(in[at] == time * 10 + at, "round %d: int %d is %d", time, at, in[at]);
    }
    free(out);
    free(in);
}

int main(int argc, char **argv)
{
    int *base, putter, target;
    start(&argc, &argv);
    putter = size - 1;
    target = size > 2 ? size - 2 : 0;
    MPI_Win_allocate(sizeof(int) * (INTS + SHARE), sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &base,
                     &win);
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, rank, 0, win);
    memset(base, 0, sizeof(int) * (INTS + SHARE));
    MPI_Win_unlock(rank, win);
    MPI_Barrier(MPI_COMM_WORLD);

    MPI_Win_lock_all(0, win);
    if (rank == putter)
        put(target);
    else
        disturb(putter);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, rank, 0, win);
    for (int at = INTS; rank == putter && at < INTS + SHARE; at++)
        CHECK(base[at] == TIMES * (size - 1), "int %d counts %d", at - INTS, base[at]);
    MPI_Win_unlock(rank, win);
    doing = "freeing the window";
    MPI_Win_free(&win);
    return finish();
}
