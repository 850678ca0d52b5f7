/* The last rank is killed while all exchange messages with it: the job ends, with an error. */
#include "check.h"

int main(int argc, char **argv)
{
    start(&argc, &argv);
    int last = size - 1;
    char *out = room(100000), *in = room(100000);
    MPI_Barrier(MPI_COMM_WORLD);
    doing = "exchanging messages with a rank that is killed";
    for (int round = 0;; round++) {
        int bytes = round % 2 ? 100000 : 64;
        if (rank == last) {
            if (round == 20) {
                printf("killed\n");
                fflush(stdout);
                kill(getpid(), SIGKILL);
            }
            for (int peer = 0; peer < last; peer++)
                MPI_Sendrecv(out, bytes, MPI_BYTE, peer, 1, in, bytes, MPI_BYTE, peer, 1,
                             MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Sendrecv(out, bytes, MPI_BYTE, last, 1, in, bytes, MPI_BYTE, last, 1,
                         MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        }
    }
}
