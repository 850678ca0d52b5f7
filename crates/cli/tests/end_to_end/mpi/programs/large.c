/* Messages of 64 MiB and of odd sizes near it, expected and not, both ways at once. */
#include "check.h"

enum { LARGEST = 64 << 20 };

int main(int argc, char **argv)
{
    static const int SIZES[] = {LARGEST, 5000001, LARGEST - 3};
    start(&argc, &argv);
    /* Ranks in pairs; one that has none sits out. */
    int peer = rank ^ 1;
    int paired = peer < size && rank < 2;
    char *out = room(LARGEST), *in = room(LARGEST);
    for (size_t each = 0; paired && each < sizeof SIZES / sizeof *SIZES; each++) {
        MPI_Request requests[2];
        MPI_Status statuses[2];
        size_t bytes = (size_t)SIZES[each];
        fill(out, bytes, each * 2 + (uint64_t)rank);
        memset(in, 0, bytes);
        doing = "both ways at once";
        MPI_Irecv(in, SIZES[each], MPI_BYTE, peer, 1, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(out, SIZES[each], MPI_BYTE, peer, 1, MPI_COMM_WORLD, &requests[1]);
        MPI_Waitall(2, requests, statuses);
        EXPECT(&statuses[0], peer, 1, SIZES[each]);
        VERIFY(in, bytes, each * 2 + (uint64_t)peer);
        doing = "to one who learns of it first";
        if (rank == 0) {
            MPI_Send(out, SIZES[each], MPI_BYTE, 1, 2, MPI_COMM_WORLD);
        } else {
            memset(in, 0, bytes);
            MPI_Probe(0, 2, MPI_COMM_WORLD, &statuses[0]);
            EXPECT(&statuses[0], 0, 2, SIZES[each]);
            MPI_Recv(in, SIZES[each], MPI_BYTE, 0, 2, MPI_COMM_WORLD, &statuses[0]);
            EXPECT(&statuses[0], 0, 2, SIZES[each]);
            VERIFY(in, bytes, each * 2);
        }
    }
    doing = "waiting for the others";
    MPI_Barrier(MPI_COMM_WORLD);
    free(out);
    free(in);
    return finish();
}
