/* Two children are started, talked to, merged with, and left; twice. */
#include "check.h"

enum { CHILDREN = 2, INTS = 30000, TAG = 8 };

static int out[INTS], in[INTS];

static void exchange(MPI_Comm comm, int peer, int mine, int theirs)
{
    for (int count = 1; count <= INTS; count *= 173) {
        MPI_Status status;
        for (int at = 0; at < count; at++)
            out[at] = mine * 1000000 + at;
        MPI_Sendrecv(out, count, MPI_INT, peer, TAG, in, count, MPI_INT, peer, TAG, comm, &status);
        EXPECT(&status, peer, TAG, count * (int)sizeof(int));
        for (int at = 0; at < count; at++)
            CHECK(in[at] == theirs * 1000000 + at, "int %d of %d is %d", at, count, in[at]);
    }
}

/* One communicator of both: everyone knows everyone. */
static void merge(MPI_Comm between, int is_child, int wanted)
{
    MPI_Comm whole;
    int all, place, sum;
    doing = "merging parents and children";
    MPI_Intercomm_merge(between, is_child, &whole);
    MPI_Comm_size(whole, &all);
    MPI_Comm_rank(whole, &place);
    CHECK(all == wanted, "%d ranks, not %d", all, wanted);
    MPI_Allreduce(&place, &sum, 1, MPI_INT, MPI_SUM, whole);
    CHECK(sum == all * (all - 1) / 2, "the sum is %d", sum);
    int next = (place + 1) % all, before = (place + all - 1) % all, got;
    MPI_Sendrecv(&place, 1, MPI_INT, next, TAG, &got, 1, MPI_INT, before, TAG, whole,
                 MPI_STATUS_IGNORE);
    CHECK(got == before, "rank %d says that it is %d", before, got);
    MPI_Comm_free(&whole);
}

static void parent(const char *program)
{
    for (int round = 0; round < 2; round++) {
        MPI_Comm children;
        int errors[CHILDREN], count;
        doing = "starting children";
        MPI_Comm_spawn(program, MPI_ARGV_NULL, CHILDREN, MPI_INFO_NULL, 0, MPI_COMM_WORLD,
                       &children, errors);
        MPI_Comm_remote_size(children, &count);
        CHECK(count == CHILDREN, "%d children", count);
        doing = "talking to children";
        if (rank < CHILDREN)
            exchange(children, rank, rank, 100 + rank);
        merge(children, 0, size + CHILDREN);
        doing = "leaving children";
        MPI_Comm_disconnect(&children);
    }
}

static void child(MPI_Comm parents)
{
    int count;
    MPI_Comm_remote_size(parents, &count);
    doing = "talking to parents";
    if (rank < count)
        exchange(parents, rank, 100 + rank, rank);
    merge(parents, 1, count + CHILDREN);
    doing = "leaving parents";
    MPI_Comm_disconnect(&parents);
}

int main(int argc, char **argv)
{
    MPI_Comm parents;
    start(&argc, &argv);
    MPI_Comm_get_parent(&parents);
    if (parents == MPI_COMM_NULL) {
        parent(argv[0]);
        return finish();
    }
    child(parents);
    doing = "finalizing children";
    MPI_Finalize();
    return 0;
}
