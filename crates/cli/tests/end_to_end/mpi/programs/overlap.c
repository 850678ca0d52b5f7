/* Many nonblocking collectives at once, in several communicators and between messages, finished in
 * another order than they were started. */
#include "check.h"

enum { COMMS = 4, EACH = 12, INTS = 2000, MESSAGES = 50 };

struct operation {
    int out[INTS], in[INTS];
    MPI_Request request;
};

static struct operation operations[COMMS][EACH];

static void start_one(MPI_Comm comm, int number, struct operation *operation, int count)
{
    int root = number % size;
    for (int at = 0; at < count; at++)
        operation->out[at] = rank * 1000 + number + at;
    switch (number % 4) {
    case 0:
        MPI_Iallreduce(operation->out, operation->in, count, MPI_INT, MPI_SUM, comm,
                       &operation->request);
        break;
    case 1:
        memcpy(operation->in, operation->out, sizeof operation->in);
        MPI_Ibcast(operation->in, count, MPI_INT, root, comm, &operation->request);
        break;
    case 2:
        MPI_Iscan(operation->out, operation->in, count, MPI_INT, MPI_SUM, comm,
                  &operation->request);
        break;
    default:
        MPI_Ialltoall(operation->out, count / size, MPI_INT, operation->in, count / size, MPI_INT,
                      comm, &operation->request);
    }
}

static void hold(int number, const struct operation *operation, int count)
{
    int root = number % size, block = count / size;
    for (int at = 0; at < count; at++) {
        int wanted;
        switch (number % 4) {
        case 0: wanted = size * (size - 1) / 2 * 1000 + size * (number + at); break;
        case 1: wanted = root * 1000 + number + at; break;
        case 2: wanted = rank * (rank + 1) / 2 * 1000 + (rank + 1) * (number + at); break;
        default:
            if (at >= block * size)
                continue;
            wanted = at / block * 1000 + number + rank * block + at % block;
        }
        CHECK(operation->in[at] == wanted, "operation %d: int %d is %d, not %d", number, at,
              operation->in[at], wanted);
    }
}

int main(int argc, char **argv)
{
    MPI_Comm comms[COMMS];
    start(&argc, &argv);
    const int next = (rank + 1) % size, before = (rank + size - 1) % size;
    for (int each = 0; each < COMMS; each++)
        MPI_Comm_dup(MPI_COMM_WORLD, &comms[each]);
    for (int round = 0; round < 10; round++) {
        int count = round % 2 ? INTS : 8;
        doing = "starting collectives";
        for (int each = 0; each < COMMS; each++)
            for (int number = 0; number < EACH; number++)
                start_one(comms[each], number, &operations[each][number], count);
        doing = "exchanging messages meanwhile";
        for (int message = 0; message < MESSAGES; message++) {
            int out = rank * 1000 + message, in;
            MPI_Sendrecv(&out, 1, MPI_INT, next, 3, &in, 1, MPI_INT, before, 3,
                         comms[message % COMMS], MPI_STATUS_IGNORE);
            CHECK(in == before * 1000 + message, "message %d is %d", message, in);
        }
        doing = "finishing collectives";
        for (int number = EACH - 1; number >= 0; number--)
            for (int each = COMMS - 1; each >= 0; each--) {
                MPI_Wait(&operations[each][number].request, MPI_STATUS_IGNORE);
                hold(number, &operations[each][number], count);
            }
    }
    for (int each = 0; each < COMMS; each++)
        MPI_Comm_free(&comms[each]);
    return finish();
}
