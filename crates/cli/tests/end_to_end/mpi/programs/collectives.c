/* Every regular collective operation, blocking and not, over several types, sizes, roots and
 * communicators. */
#include "check.h"

enum { INT, LONG_LONG, FLOAT, DOUBLE, KINDS };
enum { BLOCKING, WAITED_FOR, WAYS };

static const char *const NAMES[KINDS] = {"int", "long long", "float", "double"};

static MPI_Datatype type_of(int kind)
{
    const MPI_Datatype types[KINDS] = {MPI_INT, MPI_LONG_LONG, MPI_FLOAT, MPI_DOUBLE};
    return types[kind];
}

static size_t width(int kind)
{
    static const size_t widths[KINDS] = {sizeof(int), sizeof(long long), sizeof(float),
                                         sizeof(double)};
    return widths[kind];
}

static void put(int kind, void *memory, size_t at, long value)
{
    switch (kind) {
    case INT: ((int *)memory)[at] = (int)value; break;
    case LONG_LONG: ((long long *)memory)[at] = value; break;
    case FLOAT: ((float *)memory)[at] = (float)value; break;
    default: ((double *)memory)[at] = (double)value;
    }
}

static long get(int kind, const void *memory, size_t at)
{
    switch (kind) {
    case INT: return ((const int *)memory)[at];
    case LONG_LONG: return (long)((const long long *)memory)[at];
    case FLOAT: return (long)((const float *)memory)[at];
    default: return (long)((const double *)memory)[at];
    }
}

/* What an element of `who` is: small enough that every type holds sums of it exactly. */
static long value(int who, size_t at)
{
    return (long)(who + 1) * (long)(at % 97 + 1);
}

/* One run of all operations. */
struct run {
    MPI_Comm comm;
    int me, ranks, kind, way;
    int count; /* elements for each rank */
    void *out, *in;
    const char *operation;
};

static void give(struct run *run, int blocks)
{
    for (int block = 0; block < blocks; block++)
        for (int at = 0; at < run->count; at++)
            put(run->kind, run->out, (size_t)block * (size_t)run->count + (size_t)at,
                value(run->me + block * 5, (size_t)at));
    memset(run->in, 0x55, width(run->kind) * (size_t)run->count * (size_t)run->ranks);
}

static void hold(struct run *run, size_t at, long wanted)
{
    long found = get(run->kind, run->in, at);
    CHECK(found == wanted, "%s of %d %s, way %d, %d ranks: element %zu is %ld, not %ld",
          run->operation, run->count, NAMES[run->kind], run->way, run->ranks, at, found, wanted);
}

static void hold_blocks(struct run *run, int blocks, int first, int step)
{
    for (int block = 0; block < blocks; block++)
        for (int at = 0; at < run->count; at++)
            hold(run, (size_t)block * (size_t)run->count + (size_t)at,
                 value(first + block * step, (size_t)at));
}

/* The operation `name`, or its form that is waited for. */
#define PERFORM(run, name, ...)                                                                    \
    do {                                                                                           \
        (run)->operation = #name;                                                                  \
        if ((run)->way == BLOCKING) {                                                              \
            MPI_##name(__VA_ARGS__, (run)->comm);                                                  \
        } else {                                                                                   \
            MPI_Request request;                                                                   \
            MPI_I##name(__VA_ARGS__, (run)->comm, &request);                                       \
            MPI_Wait(&request, MPI_STATUS_IGNORE);                                                 \
        }                                                                                          \
    } while (0)
/* The names of the second form differ in the case of a letter. */
#define MPI_IBcast MPI_Ibcast
#define MPI_IReduce MPI_Ireduce
#define MPI_IAllreduce MPI_Iallreduce
#define MPI_IGather MPI_Igather
#define MPI_IScatter MPI_Iscatter
#define MPI_IAllgather MPI_Iallgather
#define MPI_IAlltoall MPI_Ialltoall
#define MPI_IScan MPI_Iscan
#define MPI_IExscan MPI_Iexscan
#define MPI_IReduce_scatter_block MPI_Ireduce_scatter_block

static void rooted(struct run *run, int root)
{
    const MPI_Datatype type = type_of(run->kind);
    const int count = run->count, triangle = run->ranks * (run->ranks + 1) / 2;
    give(run, 1);
    void *buffer = run->me == root ? run->out : run->in;
    PERFORM(run, Bcast, buffer, count, type, root);
    if (run->me != root)
        hold_blocks(run, 1, root, 0);

    give(run, 1);
    PERFORM(run, Reduce, run->out, run->in, count, type, MPI_SUM, root);
    if (run->me == root)
        for (int at = 0; at < count; at++)
            hold(run, (size_t)at, triangle * value(0, (size_t)at));

    give(run, 1);
    PERFORM(run, Gather, run->out, count, type, run->in, count, type, root);
    if (run->me == root)
        hold_blocks(run, run->ranks, 0, 1);

    give(run, run->me == root ? run->ranks : 0);
    PERFORM(run, Scatter, run->out, count, type, run->in, count, type, root);
    hold_blocks(run, 1, root + run->me * 5, 0);
}

static void symmetric(struct run *run)
{
    const MPI_Datatype type = type_of(run->kind);
    const int count = run->count, ranks = run->ranks, triangle = ranks * (ranks + 1) / 2;
    give(run, 1);
    PERFORM(run, Allreduce, run->out, run->in, count, type, MPI_SUM);
    for (int at = 0; at < count; at++)
        hold(run, (size_t)at, triangle * value(0, (size_t)at));
    give(run, 1);
    PERFORM(run, Allreduce, run->out, run->in, count, type, MPI_MAX);
    hold_blocks(run, 1, ranks - 1, 0);
    give(run, 1);
    memcpy(run->in, run->out, width(run->kind) * (size_t)count);
    PERFORM(run, Allreduce, MPI_IN_PLACE, run->in, count, type, MPI_MIN);
    hold_blocks(run, 1, 0, 0);

    give(run, 1);
    PERFORM(run, Allgather, run->out, count, type, run->in, count, type);
    hold_blocks(run, ranks, 0, 1);
    give(run, ranks);
    PERFORM(run, Alltoall, run->out, count, type, run->in, count, type);
    hold_blocks(run, ranks, run->me * 5, 1);

    give(run, 1);
    PERFORM(run, Scan, run->out, run->in, count, type, MPI_SUM);
    for (int at = 0; at < count; at++)
        hold(run, (size_t)at, (run->me + 1) * (run->me + 2) / 2 * value(0, (size_t)at));
    give(run, 1);
    PERFORM(run, Exscan, run->out, run->in, count, type, MPI_SUM);
    for (int at = 0; run->me > 0 && at < count; at++)
        hold(run, (size_t)at, run->me * (run->me + 1) / 2 * value(0, (size_t)at));

    give(run, ranks);
    PERFORM(run, Reduce_scatter_block, run->out, run->in, count, type, MPI_SUM);
    for (int at = 0; at < count; at++)
        hold(run, (size_t)at, (triangle + ranks * run->me * 5) * value(0, (size_t)at));
}

/* Barriers hold everyone until the last has come. */
static void barrier(struct run *run)
{
    MPI_Request request;
    int done = 0, late = run->ranks - 1;
    run->operation = "Barrier";
    if (run->way == BLOCKING || run->ranks == 1) {
        MPI_Barrier(run->comm);
        return;
    }
    if (run->me == late) {
        MPI_Recv(NULL, 0, MPI_BYTE, 0, 1, run->comm, MPI_STATUS_IGNORE);
        MPI_Ibarrier(run->comm, &request);
    } else {
        MPI_Ibarrier(run->comm, &request);
        /* The last one waits for this rank, and for no other. */
        for (int times = 0; run->me == 0 && times < 50; times++) {
            MPI_Test(&request, &done, MPI_STATUS_IGNORE);
            CHECK(!done, "a barrier let go before all had come");
        }
        if (run->me == 0)
            MPI_Send(NULL, 0, MPI_BYTE, late, 1, run->comm);
    }
    MPI_Wait(&request, MPI_STATUS_IGNORE);
}

static void all_of(MPI_Comm comm, const char *name, size_t largest)
{
    static const size_t SIZES[] = {8, 1000, 40000, 400000, 4 << 20};
    struct run run = {.comm = comm};
    doing = name;
    MPI_Comm_rank(comm, &run.me);
    MPI_Comm_size(comm, &run.ranks);
    for (size_t each = 0; each < sizeof SIZES / sizeof *SIZES && SIZES[each] <= largest; each++) {
        run.out = room(SIZES[each] * (size_t)run.ranks);
        run.in = room(SIZES[each] * (size_t)run.ranks);
        for (run.way = 0; run.way < WAYS; run.way++)
            for (run.kind = 0; run.kind < KINDS; run.kind++) {
                /* The largest cost time, and types make no difference to them. */
                if (SIZES[each] > 100000 && run.kind != (run.way ? DOUBLE : INT))
                    continue;
                run.count = (int)(SIZES[each] / width(run.kind));
                int roots = SIZES[each] > 1000 ? 1 : run.ranks;
                for (int root = 0; root < roots; root++)
                    rooted(&run, (root + run.kind) % run.ranks);
                symmetric(&run);
                barrier(&run);
            }
        free(run.out);
        free(run.in);
    }
}

/* Products of matrices: ranks must be taken in their order. */
static void multiply(void *left, void *right, int *count, MPI_Datatype *type)
{
    unsigned *a = left, *b = right;
    (void)type;
    for (int each = 0; each < *count; each++, a += 4, b += 4) {
        unsigned c[] = {a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3],
                        a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]};
        memcpy(b, c, sizeof c);
    }
}

static void own_operation(void)
{
    enum { MATRICES = 500 };
    static unsigned mine[4 * MATRICES], all[4 * MATRICES];
    MPI_Datatype matrix;
    MPI_Op product;
    doing = "an operation of its own";
    MPI_Type_contiguous(4, MPI_UNSIGNED, &matrix);
    MPI_Type_commit(&matrix);
    MPI_Op_create(multiply, 0, &product);
    for (unsigned each = 0; each < MATRICES; each++) {
        unsigned m[] = {1, (unsigned)rank + each, 0, 2 + (unsigned)rank};
        memcpy(mine + 4 * each, m, sizeof m);
    }
    MPI_Allreduce(mine, all, MATRICES, matrix, product, MPI_COMM_WORLD);
    for (unsigned each = 0; each < MATRICES; each++) {
        unsigned wanted[] = {1, 0, 0, 1};
        for (unsigned who = 0; who < (unsigned)size; who++) {
            unsigned m[] = {1, who + each, 0, 2 + who};
            int count = 1;
            multiply(wanted, m, &count, NULL);
            memcpy(wanted, m, sizeof m);
        }
        CHECK(!memcmp(wanted, all + 4 * each, sizeof wanted), "matrix %u is wrong", each);
    }
    MPI_Op_free(&product);
    MPI_Type_free(&matrix);

    doing = "MPI_MAXLOC";
    struct {
        double value;
        int where;
    } own = {rank == size / 2 ? 100.5 : rank, rank}, most;
    MPI_Allreduce(&own, &most, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD);
    CHECK(most.value == 100.5 && most.where == size / 2, "%f of rank %d", most.value, most.where);
}

int main(int argc, char **argv)
{
    MPI_Comm comm;
    start(&argc, &argv);
    all_of(MPI_COMM_WORLD, "collectives of MPI_COMM_WORLD", 4 << 20);
    all_of(MPI_COMM_SELF, "collectives of MPI_COMM_SELF", 1000);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    all_of(comm, "collectives of a duplicate", 40000);
    MPI_Comm_free(&comm);
    MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &comm);
    all_of(comm, "collectives in reversed order", 40000);
    MPI_Comm_free(&comm);
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &comm);
    all_of(comm, "collectives of odd and even ranks", 400000);
    MPI_Comm_free(&comm);
    own_operation();
    return finish();
}
