/* Modes of sending, requests that are started again, messages to itself and without content. */
#include "check.h"

static const int SIZES[] = {0, 1, 64, 4096, 70000, 1 << 20};
enum { KINDS = sizeof SIZES / sizeof *SIZES, LARGEST = 1 << 20 };

static char *out, *in;

static void synchronous(void)
{
    MPI_Status status;
    MPI_Request request;
    int done;
    for (int kind = 0; kind < KINDS; kind++) {
        if (rank == 0) {
            fill(out, (size_t)SIZES[kind], (uint64_t)kind);
            MPI_Ssend(out, SIZES[kind], MPI_BYTE, 1, kind, MPI_COMM_WORLD);
            /* Nobody receives it before this rank says so. */
            MPI_Issend(out, SIZES[kind], MPI_BYTE, 1, 100 + kind, MPI_COMM_WORLD, &request);
            for (int times = 0; times < 100; times++) {
                MPI_Test(&request, &done, MPI_STATUS_IGNORE);
                CHECK(!done, "MPI_Issend of %d bytes ended before its receive", SIZES[kind]);
            }
            MPI_Send(NULL, 0, MPI_BYTE, 1, 200, MPI_COMM_WORLD);
            MPI_Wait(&request, MPI_STATUS_IGNORE);
        } else if (rank == 1) {
            MPI_Recv(in, LARGEST, MPI_BYTE, 0, kind, MPI_COMM_WORLD, &status);
            EXPECT(&status, 0, kind, SIZES[kind]);
            VERIFY(in, (size_t)SIZES[kind], (uint64_t)kind);
            MPI_Recv(NULL, 0, MPI_BYTE, 0, 200, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Recv(in, LARGEST, MPI_BYTE, 0, 100 + kind, MPI_COMM_WORLD, &status);
            EXPECT(&status, 0, 100 + kind, SIZES[kind]);
            VERIFY(in, (size_t)SIZES[kind], (uint64_t)kind);
        }
    }
}

static void buffered(void)
{
    enum { EACH = 5000, MESSAGES = 50 };
    int bytes = MESSAGES * (EACH + MPI_BSEND_OVERHEAD);
    void *buffer = room((size_t)bytes);
    const int next = (rank + 1) % size, before = (rank + size - 1) % size;
    MPI_Buffer_attach(buffer, bytes);
    for (int message = 0; message < MESSAGES; message++) {
        fill(out, EACH, (uint64_t)(rank * 100 + message));
        MPI_Bsend(out, EACH, MPI_BYTE, next, 3, MPI_COMM_WORLD);
    }
    for (int message = 0; message < MESSAGES; message++) {
        MPI_Recv(in, EACH, MPI_BYTE, before, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        VERIFY(in, EACH, (uint64_t)(before * 100 + message));
    }
    MPI_Buffer_detach(&buffer, &bytes);
    free(buffer);
}

static void ready(void)
{
    MPI_Request request;
    MPI_Status status;
    for (int kind = 0; kind < KINDS; kind++) {
        if (rank == 0) {
            MPI_Irecv(in, LARGEST, MPI_BYTE, 1, kind, MPI_COMM_WORLD, &request);
            MPI_Send(NULL, 0, MPI_BYTE, 1, 100, MPI_COMM_WORLD);
            MPI_Wait(&request, &status);
            EXPECT(&status, 1, kind, SIZES[kind]);
            VERIFY(in, (size_t)SIZES[kind], (uint64_t)kind + 50);
        } else if (rank == 1) {
            fill(out, (size_t)SIZES[kind], (uint64_t)kind + 50);
            MPI_Recv(NULL, 0, MPI_BYTE, 0, 100, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Rsend(out, SIZES[kind], MPI_BYTE, 0, kind, MPI_COMM_WORLD);
        }
    }
}

static void persistent(void)
{
    const int next = (rank + 1) % size, before = (rank + size - 1) % size;
    for (int kind = 0; kind < KINDS; kind++) {
        size_t bytes = (size_t)SIZES[kind];
        int times = bytes > 100000 ? 5 : 50;
        MPI_Request requests[2];
        MPI_Send_init(out, SIZES[kind], MPI_BYTE, next, kind, MPI_COMM_WORLD, &requests[0]);
        MPI_Recv_init(in, SIZES[kind], MPI_BYTE, before, kind, MPI_COMM_WORLD, &requests[1]);
        for (int time = 0; time < times; time++) {
            fill(out, bytes, (uint64_t)(time * 100 + rank));
            MPI_Startall(2, requests);
            MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
            VERIFY(in, bytes, (uint64_t)(time * 100 + before));
        }
        MPI_Request_free(&requests[0]);
        MPI_Request_free(&requests[1]);
    }
}

static void to_itself(void)
{
    MPI_Status status;
    for (int kind = 0; kind < KINDS; kind++) {
        MPI_Comm comms[] = {MPI_COMM_WORLD, MPI_COMM_SELF};
        for (int each = 0; each < 2; each++) {
            int self = each ? 0 : rank;
            MPI_Request request;
            fill(out, (size_t)SIZES[kind], (uint64_t)(kind + rank));
            memset(in, 0, (size_t)SIZES[kind]);
            /* Sent first: it waits for its receive. */
            MPI_Isend(out, SIZES[kind], MPI_BYTE, self, 9, comms[each], &request);
            MPI_Recv(in, LARGEST, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, comms[each], &status);
            MPI_Wait(&request, MPI_STATUS_IGNORE);
            EXPECT(&status, self, 9, SIZES[kind]);
            VERIFY(in, (size_t)SIZES[kind], (uint64_t)(kind + rank));
            memset(in, 0, (size_t)SIZES[kind]);
            MPI_Irecv(in, LARGEST, MPI_BYTE, self, 9, comms[each], &request);
            MPI_Send(out, SIZES[kind], MPI_BYTE, self, 9, comms[each]);
            MPI_Wait(&request, &status);
            EXPECT(&status, self, 9, SIZES[kind]);
            VERIFY(in, (size_t)SIZES[kind], (uint64_t)(kind + rank));
        }
    }
}

static void without_content(void)
{
    MPI_Status status;
    enum { MESSAGES = 300 };
    if (rank == 0) {
        int *last = calloc((size_t)size, sizeof *last);
        for (int message = 0; message < MESSAGES * (size - 1); message++) {
            MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
            EXPECT(&status, status.MPI_SOURCE, last[status.MPI_SOURCE]++, 0);
        }
        free(last);
    } else {
        for (int message = 0; message < MESSAGES; message++)
            MPI_Send(NULL, 0, MPI_BYTE, 0, message, MPI_COMM_WORLD);
    }
}

static void nobody(void)
{
    MPI_Status status;
    MPI_Send(out, 5, MPI_BYTE, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
    MPI_Recv(in, 5, MPI_BYTE, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &status);
    EXPECT(&status, MPI_PROC_NULL, MPI_ANY_TAG, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*part)(void);
    } parts[] = {{"MPI_Ssend", synchronous},       {"MPI_Bsend", buffered},
                 {"MPI_Rsend", ready},             {"persistent requests", persistent},
                 {"sending to itself", to_itself}, {"sending nothing", without_content},
                 {"sending to nobody", nobody}};
    start(&argc, &argv);
    out = room(LARGEST);
    in = room(LARGEST);
    for (size_t each = 0; each < sizeof parts / sizeof *parts; each++) {
        doing = parts[each].name;
        parts[each].part();
        MPI_Barrier(MPI_COMM_WORLD);
    }
    free(out);
    free(in);
    return finish();
}
