/* Two groups: messages and collectives between them, and one communicator made of both. */
#include "check.h"

enum { INTS = 5000 };
static int out[INTS * 64], in[INTS * 64];

/* Element `at` of rank `who` of group `group`. */
static int content(int group, int who, int at)
{
    return group * 100000 + who * 10000 + at;
}

static void messages(MPI_Comm comm, int group, int me, int mine, int theirs)
{
    MPI_Status status;
    MPI_Request request;
    doing = "messages between groups";
    for (int count = 1; count <= INTS; count *= 17) {
        for (int at = 0; at < count; at++)
            out[at] = content(group, me, at);
        /* Each sends to one of the others; groups may be of different sizes. */
        MPI_Isend(out, count, MPI_INT, me % theirs, 4, comm, &request);
        for (int from = me; from < theirs; from += mine) {
            MPI_Recv(in, INTS, MPI_INT, from, 4, comm, &status);
            EXPECT(&status, from, 4, count * (int)sizeof(int));
            for (int at = 0; at < count; at++)
                CHECK(in[at] == content(!group, from, at), "int %d is %d", at, in[at]);
        }
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        MPI_Barrier(comm);
    }
}

static void collectives(MPI_Comm comm, int group, int me, int theirs)
{
    const int count = INTS;
    doing = "MPI_Bcast between groups";
    for (int at = 0; at < count; at++)
        in[at] = group == 0 && me == 0 ? content(0, 0, at) : -1;
    MPI_Bcast(in, count, MPI_INT, group == 0 ? (me == 0 ? MPI_ROOT : MPI_PROC_NULL) : 0, comm);
    for (int at = 0; at < count && group == 1; at++)
        CHECK(in[at] == content(0, 0, at), "int %d is %d", at, in[at]);

    doing = "MPI_Allreduce between groups";
    for (int at = 0; at < count; at++)
        out[at] = content(group, me, at);
    MPI_Allreduce(out, in, count, MPI_INT, MPI_SUM, comm);
    for (int at = 0; at < count; at++) {
        int wanted = theirs * (!group * 100000 + at) + theirs * (theirs - 1) / 2 * 10000;
        CHECK(in[at] == wanted, "int %d is %d, not %d", at, in[at], wanted);
    }

    doing = "MPI_Allgather between groups";
    MPI_Allgather(out, count, MPI_INT, in, count, MPI_INT, comm);
    for (int from = 0; from < theirs; from++)
        for (int at = 0; at < count; at++)
            CHECK(in[from * count + at] == content(!group, from, at), "of rank %d, int %d is %d",
                  from, at, in[from * count + at]);

    doing = "MPI_Alltoall between groups";
    for (int to = 0; to < theirs; to++)
        for (int at = 0; at < count; at++)
            out[to * count + at] = content(group, me, at) + to;
    MPI_Request request;
    MPI_Ialltoall(out, count, MPI_INT, in, count, MPI_INT, comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    for (int from = 0; from < theirs; from++)
        for (int at = 0; at < count; at++)
            CHECK(in[from * count + at] == content(!group, from, at) + me, "of rank %d: %d", from,
                  in[from * count + at]);
}

int main(int argc, char **argv)
{
    MPI_Comm half, between, whole;
    int mine, theirs, me, all, place;
    start(&argc, &argv);
    CHECK(size <= 64, "made for at most 64 ranks");
    /* Of four ranks one is alone. */
    int group = rank > 0 ? size > 2 || rank == 1 : 0;
    doing = "making groups";
    MPI_Comm_split(MPI_COMM_WORLD, group, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, group ? 0 : 1, 99, &between);
    MPI_Comm_rank(between, &me);
    MPI_Comm_size(between, &mine);
    MPI_Comm_remote_size(between, &theirs);
    CHECK(mine + theirs == size, "%d and %d ranks", mine, theirs);
    messages(between, group, me, mine, theirs);
    collectives(between, group, me, theirs);
    doing = "merging groups";
    MPI_Intercomm_merge(between, !group, &whole);
    MPI_Comm_size(whole, &all);
    MPI_Comm_rank(whole, &place);
    CHECK(all == size, "%d ranks after merging", all);
    /* The upper part is that of group 0. */
    CHECK(place == (group ? me : theirs + me), "place %d", place);
    int sum;
    MPI_Allreduce(&place, &sum, 1, MPI_INT, MPI_SUM, whole);
    CHECK(sum == size * (size - 1) / 2, "the sum is %d", sum);
    MPI_Comm_free(&whole);
    MPI_Comm_free(&between);
    MPI_Comm_free(&half);
    return finish();
}
