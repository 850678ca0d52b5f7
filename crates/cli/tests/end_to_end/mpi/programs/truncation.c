/* Receives that are too small: an error of the right class, nothing behind them written, and life
 * goes on. */
#include "check.h"

enum { LARGEST = 4 << 20 };
static const int SIZES[] = {9, 200, 5000, 70000, LARGEST};
enum { KINDS = sizeof SIZES / sizeof *SIZES };

static char *out, *in;

static void truncated(MPI_Comm comm, int bytes, int given, int posted_first)
{
    MPI_Status status;
    int class;
    if (rank == 0) {
        if (posted_first)
            MPI_Recv(NULL, 0, MPI_BYTE, 1, 2, comm, MPI_STATUS_IGNORE);
        fill(out, (size_t)bytes, 5);
        MPI_Request request;
        MPI_Isend(out, bytes, MPI_BYTE, 1, 1, comm, &request);
        if (!posted_first)
            MPI_Send(NULL, 0, MPI_BYTE, 1, 2, comm);
        /* What the sender learns is not laid down; that it ends is. */
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        fill(out, (size_t)bytes, 6);
        MPI_Send(out, bytes, MPI_BYTE, 1, 3, comm);
    } else if (rank == 1) {
        MPI_Request request;
        memset(in, 0x5a, LARGEST);
        if (!posted_first)
            MPI_Recv(NULL, 0, MPI_BYTE, 0, 2, comm, MPI_STATUS_IGNORE);
        MPI_Irecv(in, given, MPI_BYTE, 0, 1, comm, &request);
        if (posted_first)
            MPI_Send(NULL, 0, MPI_BYTE, 0, 2, comm);
        int error = MPI_Wait(&request, &status);
        CHECK(error != MPI_SUCCESS, "%d bytes went into %d without an error", bytes, given);
        MPI_Error_class(error, &class);
        CHECK(class == MPI_ERR_TRUNCATE, "error of class %d, not MPI_ERR_TRUNCATE", class);
        for (int at = given; at < bytes; at++)
            CHECK(in[at] == 0x5a, "byte %d behind a buffer of %d was written", at, given);
        MPI_Recv(in, bytes, MPI_BYTE, 0, 3, comm, &status);
        EXPECT(&status, 0, 3, bytes);
        VERIFY(in, (size_t)bytes, 6);
    }
}

int main(int argc, char **argv)
{
    MPI_Comm comm;
    start(&argc, &argv);
    out = room(LARGEST);
    in = room(LARGEST);
    doing = "truncation";
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    for (int kind = 0; kind < KINDS; kind++)
        for (int posted_first = 0; posted_first < 2; posted_first++) {
            truncated(comm, SIZES[kind], SIZES[kind] - 1, posted_first);
            truncated(comm, SIZES[kind], SIZES[kind] / 3, posted_first);
            truncated(comm, SIZES[kind], 0, posted_first);
        }
    MPI_Comm_free(&comm);
    MPI_Barrier(MPI_COMM_WORLD);
    free(out);
    free(in);
    return finish();
}
