/* Receives that are cancelled: they end without a message, and the others keep theirs. */
#include "check.h"

static char *out, *in;

static void cancelled(void)
{
    const int next = (rank + 1) % size, before = (rank + size - 1) % size;
    enum { MANY = 40 };
    MPI_Request requests[MANY];
    MPI_Status status;
    int flag;
    for (int each = 0; each < MANY; each++)
        MPI_Irecv(in + each * 100, 100, MPI_BYTE, each % 2 ? before : MPI_ANY_SOURCE, 7,
                  MPI_COMM_WORLD, &requests[each]);
    /* From the middle, so that the others keep their order. */
    for (int each = 0; each < MANY; each += 2) {
        MPI_Cancel(&requests[each]);
        MPI_Wait(&requests[each], &status);
        MPI_Test_cancelled(&status, &flag);
        CHECK(flag, "receive %d was not cancelled, and nothing was sent", each);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int each = 1; each < MANY; each += 2) {
        fill(out, 100, (uint64_t)(rank * 1000 + each));
        MPI_Send(out, 100, MPI_BYTE, next, 7, MPI_COMM_WORLD);
    }
    for (int each = 1; each < MANY; each += 2) {
        MPI_Wait(&requests[each], &status);
        EXPECT(&status, before, 7, 100);
        VERIFY(in + each * 100, 100, (uint64_t)(before * 1000 + each));
    }
    MPI_Irecv(in, 100, MPI_BYTE, before, 8, MPI_COMM_WORLD, &requests[0]);
    MPI_Cancel(&requests[0]);
    MPI_Request_free(&requests[0]);
}

/* A receive that the message has reached is not cancelled. */
static void too_late(void)
{
    MPI_Request request;
    MPI_Status status;
    int flag;
    if (rank == 0) {
        MPI_Irecv(in, 100, MPI_BYTE, 1, 11, MPI_COMM_WORLD, &request);
        MPI_Send(NULL, 0, MPI_BYTE, 1, 12, MPI_COMM_WORLD);
        MPI_Recv(NULL, 0, MPI_BYTE, 1, 12, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        do
            MPI_Request_get_status(request, &flag, &status);
        while (!flag);
        MPI_Cancel(&request);
        MPI_Wait(&request, &status);
        MPI_Test_cancelled(&status, &flag);
        CHECK(!flag, "a receive that was complete was cancelled");
        EXPECT(&status, 1, 11, 100);
        VERIFY(in, 100, 77);
    } else if (rank == 1) {
        MPI_Recv(NULL, 0, MPI_BYTE, 0, 12, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        fill(out, 100, 77);
        MPI_Send(out, 100, MPI_BYTE, 0, 11, MPI_COMM_WORLD);
        MPI_Send(NULL, 0, MPI_BYTE, 0, 12, MPI_COMM_WORLD);
    }
}

int main(int argc, char **argv)
{
    start(&argc, &argv);
    out = room(100);
    in = room(4000);
    doing = "cancelling receives";
    cancelled();
    MPI_Barrier(MPI_COMM_WORLD);
    doing = "cancelling too late";
    too_late();
    MPI_Barrier(MPI_COMM_WORLD);
    free(out);
    free(in);
    return finish();
}
