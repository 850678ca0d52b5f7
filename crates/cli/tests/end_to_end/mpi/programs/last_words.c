/* The last messages of a rank that ends at once still arrive: nobody waits for anybody before
 * MPI_Finalize. */
#include "check.h"

int main(int argc, char **argv)
{
    static const int SIZES[] = {12, 9000, 0, 64, 300};
    char *out[5], *in = room(9000);
    MPI_Status status;
    start(&argc, &argv);
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    doing = "sending last words";
    for (int each = 0; each < 5; each++) {
        out[each] = room(9000);
        fill(out[each], (size_t)SIZES[each], (uint64_t)(rank * 10 + each));
        MPI_Request request;
        MPI_Isend(out[each], SIZES[each], MPI_BYTE, next, each, MPI_COMM_WORLD, &request);
        /* From here on MPI_Finalize finishes it. */
        MPI_Request_free(&request);
    }
    doing = "receiving last words";
    for (int each = 4; each >= 0; each--) {
        MPI_Recv(in, 9000, MPI_BYTE, before, each, MPI_COMM_WORLD, &status);
        EXPECT(&status, before, each, SIZES[each]);
        VERIFY(in, (size_t)SIZES[each], (uint64_t)(before * 10 + each));
    }
    return finish();
}
