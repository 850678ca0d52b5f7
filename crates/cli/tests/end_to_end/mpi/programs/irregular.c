/* Collectives in which every rank has its own share: the v and w forms, neighbours, and none at all
 * for some. */
#include "check.h"

enum { BLOCKING, WAITED_FOR, WAYS };

static int way;
static const char *const NAMES[WAYS] = {"irregular collectives", "irregular collectives, waited for"};

#define PERFORM(first, second, ...)                                                                \
    do {                                                                                           \
        doing = way == BLOCKING ? #first : #second;                                                \
        if (way == BLOCKING) {                                                                     \
            first(__VA_ARGS__, comm);                                                              \
        } else {                                                                                   \
            MPI_Request request;                                                                   \
            second(__VA_ARGS__, comm, &request);                                                   \
            MPI_Wait(&request, MPI_STATUS_IGNORE);                                                 \
        }                                                                                          \
    } while (0)

/* Intel MPI's MPI_Iallgatherv hangs between hosts, over libfabric's tcp as well. */
#ifdef I_MPI_VERSION
#define ALLGATHERV_WAITED_FOR(give, count, type, take, counts, places, into, comm, request)        \
    (*(request) = MPI_REQUEST_NULL, MPI_Allgatherv(give, count, type, take, counts, places, into, comm))
#else
#define ALLGATHERV_WAITED_FOR MPI_Iallgatherv
#endif

/* The ints that `from` has for `to`: none for some, many for others. */
static int share(int from, int to, int scale)
{
    return (from * 3 + to * 5) % 4 * scale;
}

static int content(int from, int to, int at)
{
    return from * 1000003 + to * 7919 + at;
}

struct layout {
    int *counts, *places, total;
};

static struct layout layout_of(int which, int by_sender, int scale)
{
    struct layout layout = {room(sizeof(int) * (size_t)size), room(sizeof(int) * (size_t)size), 0};
    for (int each = 0; each < size; each++) {
        layout.counts[each] = by_sender ? share(which, each, scale) : share(each, which, scale);
        layout.places[each] = layout.total;
        /* A gap behind each share, which nobody may write. */
        layout.total += layout.counts[each] + 2;
    }
    return layout;
}

static void drop(struct layout *layout)
{
    free(layout->counts);
    free(layout->places);
}

static int *ints(int count)
{
    int *memory = room(sizeof(int) * (size_t)(count + 1));
    for (int at = 0; at <= count; at++)
        memory[at] = -1;
    return memory;
}

static void hold(const int *memory, int from, int to, int count, const char *operation)
{
    for (int at = 0; at < count; at++)
        CHECK(memory[at] == content(from, to, at), "%s: int %d of %d of rank %d is %d", operation,
              at, count, from, memory[at]);
    CHECK(memory[count] == -1, "%s: written behind the share of rank %d", operation, from);
}

static void to_all(MPI_Comm comm, int scale)
{
    struct layout out = layout_of(rank, 1, scale), in = layout_of(rank, 0, scale);
    int *give = ints(out.total), *take = ints(in.total);
    for (int to = 0; to < size; to++)
        for (int at = 0; at < out.counts[to]; at++)
            give[out.places[to] + at] = content(rank, to, at);
    PERFORM(MPI_Alltoallv, MPI_Ialltoallv, give, out.counts, out.places, MPI_INT, take, in.counts,
            in.places, MPI_INT);
    for (int from = 0; from < size; from++)
        hold(take + in.places[from], from, rank, in.counts[from], "MPI_Alltoallv");

    /* In bytes, to some in ints and to others in pairs of them. */
    const size_t handles = sizeof(MPI_Datatype) * (size_t)size;
    MPI_Datatype pair, *types = room(handles), *back = room(handles);
    MPI_Type_contiguous(2, MPI_INT, &pair);
    MPI_Type_commit(&pair);
    int *send = room(sizeof(int) * (size_t)size), *receive = room(sizeof(int) * (size_t)size);
    for (int each = 0; each < size; each++) {
        int in_pairs = out.counts[each] % 2 == 0 && each % 2;
        types[each] = in_pairs ? pair : MPI_INT;
        send[each] = in_pairs ? out.counts[each] / 2 : out.counts[each];
        back[each] = MPI_INT;
        receive[each] = in.counts[each];
        out.places[each] *= (int)sizeof(int);
        in.places[each] *= (int)sizeof(int);
    }
    for (int at = 0; at < in.total; at++)
        take[at] = -1;
    PERFORM(MPI_Alltoallw, MPI_Ialltoallw, give, send, out.places, types, take, receive, in.places,
            back);
    for (int from = 0; from < size; from++)
        hold(take + in.places[from] / (int)sizeof(int), from, rank, receive[from], "MPI_Alltoallw");
    MPI_Type_free(&pair);
    free(types);
    free(back);
    free(send);
    free(receive);
    free(give);
    free(take);
    drop(&out);
    drop(&in);
}

static void to_one(MPI_Comm comm, int root, int scale)
{
    struct layout all = layout_of(root, 0, scale);
    int mine = share(rank, root, scale);
    int *own = ints(mine), *whole = ints(all.total);
    for (int at = 0; at < mine; at++)
        own[at] = content(rank, root, at);
    PERFORM(MPI_Gatherv, MPI_Igatherv, own, mine, MPI_INT, whole, all.counts, all.places, MPI_INT,
            root);
    for (int from = 0; rank == root && from < size; from++)
        hold(whole + all.places[from], from, root, all.counts[from], "MPI_Gatherv");
    for (int at = 0; at < mine; at++)
        own[at] = -1;
    PERFORM(MPI_Scatterv, MPI_Iscatterv, whole, all.counts, all.places, MPI_INT, own, mine, MPI_INT,
            root);
    hold(own, rank, root, mine, "MPI_Scatterv");

    for (int at = 0; at < all.total; at++)
        whole[at] = -1;
    PERFORM(MPI_Allgatherv, ALLGATHERV_WAITED_FOR, own, mine, MPI_INT, whole, all.counts, all.places,
            MPI_INT);
    for (int from = 0; from < size; from++)
        hold(whole + all.places[from], from, root, all.counts[from], "MPI_Allgatherv");
    free(own);
    free(whole);
    drop(&all);
}

static void reduced(MPI_Comm comm, int scale)
{
    int *counts = room(sizeof(int) * (size_t)size), total = 0, first = 0;
    for (int each = 0; each < size; each++) {
        counts[each] = share(each, 1, scale);
        first += each < rank ? counts[each] : 0;
        total += counts[each];
    }
    long *all = room(sizeof(long) * (size_t)total), *mine = room(sizeof(long) * (size_t)total);
    for (int at = 0; at < total; at++)
        all[at] = (long)(rank + 1) * at;
    PERFORM(MPI_Reduce_scatter, MPI_Ireduce_scatter, all, mine, counts, MPI_LONG, MPI_SUM);
    for (int at = 0; at < counts[rank]; at++) {
        long wanted = (long)size * (size + 1) / 2 * (first + at);
        CHECK(mine[at] == wanted, "MPI_Reduce_scatter: %ld, not %ld", mine[at], wanted);
    }
    free(counts);
    free(all);
    free(mine);
}

static void neighbours(int scale)
{
    MPI_Comm comm;
    int periodic = 1, left, right;
    MPI_Cart_create(MPI_COMM_WORLD, 1, &size, &periodic, 0, &comm);
    MPI_Cart_shift(comm, 0, 1, &left, &right);
    int *give = ints(2 * scale), *take = ints(2 * scale);
    for (int at = 0; at < scale; at++) {
        give[at] = content(rank, left, at);
        give[scale + at] = content(rank, right, at) + 1;
    }
    PERFORM(MPI_Neighbor_alltoall, MPI_Ineighbor_alltoall, give, scale, MPI_INT, take, scale,
            MPI_INT);
    for (int at = 0; at < scale; at++) {
        /* What the left one had for its right, and the other way round. */
        CHECK(take[at] == content(left, rank, at) + 1, "MPI_Neighbor_alltoall: of the left %d",
              take[at]);
        CHECK(take[scale + at] == content(right, rank, at),
              "MPI_Neighbor_alltoall: of the right %d", take[scale + at]);
    }
    PERFORM(MPI_Neighbor_allgather, MPI_Ineighbor_allgather, give, scale, MPI_INT, take, scale,
            MPI_INT);
    for (int at = 0; at < scale; at++)
        CHECK(take[at] == content(left, (left + size - 1) % size, at) &&
                  take[scale + at] == content(right, (right + size - 1) % size, at),
              "MPI_Neighbor_allgather: %d and %d", take[at], take[scale + at]);
    free(give);
    free(take);
    MPI_Comm_free(&comm);
}

int main(int argc, char **argv)
{
    static const int SCALES[] = {1, 17, 3000, 100000};
    start(&argc, &argv);
    for (way = 0; way < WAYS; way++)
        for (size_t each = 0; each < sizeof SCALES / sizeof *SCALES; each++) {
            MPI_Comm comm = MPI_COMM_WORLD;
            doing = NAMES[way];
            to_all(comm, SCALES[each]);
            for (int root = 0; root < size; root++)
                to_one(comm, root, SCALES[each]);
            reduced(comm, SCALES[each]);
            /* With two, both neighbours are one, and Open MPI 4 takes their messages either way. */
            if (size > 2)
                neighbours(SCALES[each]);
        }
    return finish();
}
