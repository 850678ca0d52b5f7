/* Every rank says who it is, and what MPI promises of any transport holds. */
#include "check.h"

int main(int argc, char **argv)
{
    start(&argc, &argv);
    doing = "looking around";
    int count, flag, *most, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    CHECK(rank >= 0 && rank < size, "a rank out of range");
    MPI_Get_processor_name(host, &length);
    CHECK(length > 0 && host[0], "no name of the host");
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &most, &flag);
    CHECK(flag && *most >= 32767, "tags end below 32767");
    double before = MPI_Wtime();
    CHECK(MPI_Wtime() >= before, "time goes backwards");

    doing = "counting ranks";
    int *seen = room(sizeof *seen * (size_t)size);
    MPI_Allgather(&rank, 1, MPI_INT, seen, 1, MPI_INT, MPI_COMM_WORLD);
    for (int each = 0; each < size; each++)
        CHECK(seen[each] == each, "rank %d says that it is %d", each, seen[each]);
    int one = 1;
    MPI_Allreduce(&one, &count, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(count == size, "counted %d ranks", count);
    printf("hello from %d of %d on %s\n", rank, size, host);
    free(seen);
    return finish();
}
