/* Four threads of each rank send and receive at once, each with a communicator of its own, then all
 * with one. Where MPI gives no such threads, the first does it alone. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 300 };

static MPI_Comm comms[THREADS];
static int together;

static void *talk(void *argument)
{
    static const int SIZES[] = {8, 1000, 20000, 0, 300, 100000};
    int thread = *(int *)argument, tag = 10 + thread;
    MPI_Comm comm = together ? MPI_COMM_WORLD : comms[thread];
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    char *out = room(100000), *in = room(100000);
    for (int round = 0; round < ROUNDS; round++) {
        int bytes = SIZES[round % 6];
        uint64_t mine = (uint64_t)(rank * 1000000 + thread * 10000 + round);
        uint64_t theirs = (uint64_t)(before * 1000000 + thread * 10000 + round);
        MPI_Request requests[2];
        MPI_Status statuses[2];
        fill(out, (size_t)bytes, mine);
        MPI_Irecv(in, bytes, MPI_BYTE, before, tag, comm, &requests[0]);
        MPI_Isend(out, bytes, MPI_BYTE, next, tag, comm, &requests[1]);
        if (round % 2) {
            MPI_Waitall(2, requests, statuses);
        } else {
            int done = 0;
            while (!done)
                MPI_Testall(2, requests, &done, statuses);
        }
        EXPECT(&statuses[0], before, tag, bytes);
        VERIFY(in, (size_t)bytes, theirs);
        /* Communicators of their own take collectives too. */
        if (!together && round % 50 == 0) {
            int sum, one = 1;
            MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, comm);
            CHECK(sum == size, "the sum is %d", sum);
        }
    }
    free(out);
    free(in);
    return NULL;
}

static void talk_all(int threads)
{
    pthread_t handles[THREADS];
    int numbers[THREADS];
    for (int each = 0; each < threads; each++) {
        numbers[each] = each;
        CHECK(!pthread_create(&handles[each], NULL, talk, &numbers[each]), "no thread %d", each);
    }
    for (int each = 0; each < threads; each++)
        pthread_join(handles[each], NULL);
    MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    int given = start_threads(&argc, &argv, MPI_THREAD_MULTIPLE);
    for (int each = 0; each < THREADS; each++)
        MPI_Comm_dup(MPI_COMM_WORLD, &comms[each]);
    int threads = given == MPI_THREAD_MULTIPLE ? THREADS : 1;
    doing = "threads with communicators of their own";
    talk_all(threads);
    doing = "threads with one communicator";
    together = 1;
    talk_all(threads);
    for (int each = 0; each < THREADS; each++)
        MPI_Comm_free(&comms[each]);
    if (rank == 0)
        printf("%d threads of each rank\n", threads);
    return finish();
}
