/* Messages of all sizes around a ring, by each way of sending and receiving at once. */
#include "check.h"

static const size_t SIZES[] = {0,    1,    7,     8,     63,    64,    65,     1000,   4095,
                               4096, 8192, 16385, 65535, 65536, 99999, 262144, 1048576};

int main(int argc, char **argv)
{
    start(&argc, &argv);
    const int next = (rank + 1) % size, before = (rank + size - 1) % size, tag = 5;
    MPI_Status status;
    char *out = room(1 << 20), *in = room(1 << 20);

    doing = "passing a token";
    long token = 0;
    for (int round = 0; round < 200; round++) {
        if (rank == 0) {
            token++;
            MPI_Send(&token, 1, MPI_LONG, next, tag, MPI_COMM_WORLD);
            MPI_Recv(&token, 1, MPI_LONG, before, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(&token, 1, MPI_LONG, before, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            token++;
            MPI_Send(&token, 1, MPI_LONG, next, tag, MPI_COMM_WORLD);
        }
    }
    long wanted = rank == 0 ? 200L * size : 199L * size + rank + 1;
    CHECK(token == wanted, "the token is %ld, not %ld", token, wanted);

    for (size_t each = 0; each < sizeof SIZES / sizeof *SIZES; each++) {
        int bytes = (int)SIZES[each];
        uint64_t mine = each * 1000 + (uint64_t)rank, theirs = each * 1000 + (uint64_t)before;
        doing = "MPI_Sendrecv";
        fill(out, SIZES[each], mine);
        memset(in, 0, SIZES[each]);
        MPI_Sendrecv(out, bytes, MPI_BYTE, next, tag, in, bytes, MPI_BYTE, before, tag,
                     MPI_COMM_WORLD, &status);
        EXPECT(&status, before, tag, bytes);
        VERIFY(in, SIZES[each], theirs);
        VERIFY(out, SIZES[each], mine);
        doing = "MPI_Sendrecv_replace";
        MPI_Sendrecv_replace(out, bytes, MPI_BYTE, next, tag, before, tag, MPI_COMM_WORLD, &status);
        EXPECT(&status, before, tag, bytes);
        VERIFY(out, SIZES[each], theirs);
        doing = "both directions at once";
        MPI_Request requests[4];
        char *left = room(SIZES[each]), *right = room(SIZES[each]);
        fill(out, SIZES[each], mine);
        MPI_Irecv(left, bytes, MPI_BYTE, before, 1, MPI_COMM_WORLD, &requests[0]);
        MPI_Irecv(right, bytes, MPI_BYTE, next, 2, MPI_COMM_WORLD, &requests[1]);
        MPI_Isend(out, bytes, MPI_BYTE, next, 1, MPI_COMM_WORLD, &requests[2]);
        MPI_Isend(out, bytes, MPI_BYTE, before, 2, MPI_COMM_WORLD, &requests[3]);
        MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
        VERIFY(left, SIZES[each], theirs);
        VERIFY(right, SIZES[each], each * 1000 + (uint64_t)next);
        free(left);
        free(right);
    }
    free(out);
    free(in);
    return finish();
}
