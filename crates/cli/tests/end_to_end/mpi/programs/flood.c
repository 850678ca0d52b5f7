/* Thousands of messages under way at once, expected or not, and the order of those with one source
 * and tag. */
#include "check.h"

enum { MANY = 10000, TAGS = 7, SMALL = 48 };

static MPI_Request requests[MANY];
static char (*out)[SMALL], (*in)[SMALL];

/* All are sent before the first is received. */
static void unexpected(void)
{
    if (rank != 0) {
        int each = MANY / (size - 1);
        for (int message = 0; message < each; message++) {
            fill(out[message], SMALL, (uint64_t)(rank * MANY + message));
            memcpy(out[message], &message, sizeof message);
            MPI_Isend(out[message], SMALL, MPI_BYTE, 0, message % TAGS, MPI_COMM_WORLD,
                      &requests[message]);
        }
        MPI_Send(NULL, 0, MPI_BYTE, 0, 50, MPI_COMM_WORLD);
        MPI_Waitall(each, requests, MPI_STATUSES_IGNORE);
        return;
    }
    int each = MANY / (size - 1), total = each * (size - 1);
    int *last = calloc((size_t)(size * TAGS), sizeof *last);
    char expected[SMALL];
    for (int from = 1; from < size; from++)
        MPI_Recv(NULL, 0, MPI_BYTE, from, 50, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int got = 0; got < total; got++) {
        MPI_Status status;
        int number;
        MPI_Recv(in[0], SMALL, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        memcpy(&number, in[0], sizeof number);
        int from = status.MPI_SOURCE, tag = status.MPI_TAG;
        CHECK(tag >= 0 && tag < TAGS && number % TAGS == tag, "message %d has tag %d", number, tag);
        int wanted = last[from * TAGS + tag]++ * TAGS + tag;
        CHECK(number == wanted, "of rank %d with tag %d came message %d before %d", from, tag,
              number, wanted);
        fill(expected, SMALL, (uint64_t)(from * MANY + number));
        CHECK(!memcmp(in[0] + sizeof number, expected + sizeof number, SMALL - sizeof number),
              "message %d of rank %d is damaged", number, from);
    }
    free(last);
}

/* Everyone to everyone, with receives that wait. */
static void expected(void)
{
    int next = (rank + 1) % size, before = (rank + size - 1) % size, half = MANY / 2;
    for (int message = 0; message < half; message++)
        MPI_Irecv(in[message], SMALL, MPI_BYTE, message % 3 ? before : MPI_ANY_SOURCE, message % TAGS,
                  MPI_COMM_WORLD, &requests[message]);
    for (int message = 0; message < half; message++) {
        fill(out[message], SMALL, (uint64_t)(rank * MANY + message));
        MPI_Isend(out[message], SMALL, MPI_BYTE, next, message % TAGS, MPI_COMM_WORLD,
                  &requests[half + message]);
    }
    MPI_Waitall(2 * half, requests, MPI_STATUSES_IGNORE);
    for (int message = 0; message < half; message++)
        VERIFY(in[message], SMALL, (uint64_t)(before * MANY + message));
}

/* Of different sizes, so that they take different ways; all with one tag. */
static void order_of_sizes(void)
{
    static const int SIZES[] = {1, 200000, 64, 9000, 0, 70000, 2000, 17000};
    enum { KINDS = sizeof SIZES / sizeof *SIZES, MESSAGES = 160, LARGEST = 200000 };
    MPI_Request some[MESSAGES];
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    char *from = room(LARGEST), *to = room(LARGEST);
    fill(from, LARGEST, (uint64_t)rank);
    for (int message = 0; message < MESSAGES; message++)
        MPI_Isend(from, SIZES[message % KINDS], MPI_BYTE, next, 1, MPI_COMM_WORLD, &some[message]);
    for (int message = 0; message < MESSAGES; message++) {
        MPI_Status status;
        MPI_Recv(to, LARGEST, MPI_BYTE, before, 1, MPI_COMM_WORLD, &status);
        EXPECT(&status, before, 1, SIZES[message % KINDS]);
        VERIFY(to, (size_t)SIZES[message % KINDS], (uint64_t)before);
    }
    MPI_Waitall(MESSAGES, some, MPI_STATUSES_IGNORE);
    free(from);
    free(to);
}

int main(int argc, char **argv)
{
    start(&argc, &argv);
    out = room(MANY * SMALL);
    in = room(MANY * SMALL);
    doing = "receiving what nobody expected";
    unexpected();
    MPI_Barrier(MPI_COMM_WORLD);
    doing = "receiving what was expected";
    expected();
    MPI_Barrier(MPI_COMM_WORLD);
    doing = "receiving messages of different sizes in order";
    order_of_sizes();
    MPI_Barrier(MPI_COMM_WORLD);
    free(out);
    free(in);
    return finish();
}
