/* Probes of each kind: nothing there, something there, matched for good; any source and any tag. */
#include "check.h"

static const int SIZES[] = {0, 3, 64, 5000, 70000, 600000};
enum { KINDS = sizeof SIZES / sizeof *SIZES, LARGEST = 600000 };

static char *memory;

static uint64_t seed(int source, int tag)
{
    return (uint64_t)(source * 1000 + tag);
}

static void receive(const MPI_Status *status, int bytes)
{
    MPI_Status received;
    MPI_Recv(memory, bytes, MPI_BYTE, status->MPI_SOURCE, status->MPI_TAG, MPI_COMM_WORLD,
             &received);
    EXPECT(&received, status->MPI_SOURCE, status->MPI_TAG, bytes);
    VERIFY(memory, (size_t)bytes, seed(status->MPI_SOURCE, status->MPI_TAG));
}

/* Rank 0 learns of messages before it receives them. */
static void probe_all(int way)
{
    int got = 0, wanted = KINDS * (size - 1), bytes, found;
    int *of_kind = calloc((size_t)(size * KINDS), sizeof *of_kind);
    while (got < wanted) {
        MPI_Status status;
        MPI_Message message;
        switch (way) {
        case 0:
            MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
            break;
        case 1:
            do
                MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &status);
            while (!found);
            break;
        case 2:
            MPI_Mprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &message, &status);
            break;
        default:
            do
                MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &message, &status);
            while (!found);
        }
        int tag = status.MPI_TAG, source = status.MPI_SOURCE;
        MPI_Get_count(&status, MPI_BYTE, &bytes);
        CHECK(source > 0 && source < size && tag >= 0 && tag < KINDS, "source %d, tag %d", source,
              tag);
        CHECK(bytes == SIZES[tag], "%d bytes announced, not %d", bytes, SIZES[tag]);
        CHECK(of_kind[source * KINDS + tag]++ == 0, "tag %d of rank %d twice", tag, source);
        if (way < 2) {
            receive(&status, bytes);
        } else {
            MPI_Status received;
            if (got % 2) {
                MPI_Request request;
                MPI_Imrecv(memory, bytes, MPI_BYTE, &message, &request);
                MPI_Wait(&request, &received);
            } else {
                MPI_Mrecv(memory, bytes, MPI_BYTE, &message, &received);
            }
            CHECK(message == MPI_MESSAGE_NULL, "a handle is left of a received message");
            EXPECT(&received, source, tag, bytes);
            VERIFY(memory, (size_t)bytes, seed(source, tag));
        }
        got++;
    }
    free(of_kind);
}

static void send_all(void)
{
    char *out[KINDS];
    MPI_Request requests[KINDS];
    for (int tag = 0; tag < KINDS; tag++) {
        out[tag] = room((size_t)SIZES[tag]);
        fill(out[tag], (size_t)SIZES[tag], seed(rank, tag));
        MPI_Isend(out[tag], SIZES[tag], MPI_BYTE, 0, tag, MPI_COMM_WORLD, &requests[tag]);
    }
    MPI_Waitall(KINDS, requests, MPI_STATUSES_IGNORE);
    for (int tag = 0; tag < KINDS; tag++)
        free(out[tag]);
}

/* A message that was matched is received by nobody else, whatever comes later. */
static void matched_is_kept(void)
{
    enum { FIRST = 100, SECOND = 200, TAG = 40 };
    MPI_Status status;
    if (rank == 1) {
        char *out = room(SECOND);
        fill(out, FIRST, 1);
        MPI_Send(out, FIRST, MPI_BYTE, 0, TAG, MPI_COMM_WORLD);
        fill(out, SECOND, 2);
        MPI_Send(out, SECOND, MPI_BYTE, 0, TAG, MPI_COMM_WORLD);
        free(out);
    } else if (rank == 0) {
        MPI_Message message;
        MPI_Mprobe(1, TAG, MPI_COMM_WORLD, &message, &status);
        EXPECT(&status, 1, TAG, FIRST);
        MPI_Recv(memory, SECOND, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &status);
        EXPECT(&status, 1, TAG, SECOND);
        VERIFY(memory, SECOND, 2);
        MPI_Mrecv(memory, SECOND, MPI_BYTE, &message, &status);
        EXPECT(&status, 1, TAG, FIRST);
        VERIFY(memory, FIRST, 1);
    }
}

int main(int argc, char **argv)
{
    static const char *ways[] = {"MPI_Probe", "MPI_Iprobe", "MPI_Mprobe", "MPI_Improbe"};
    int found;
    MPI_Message message;
    start(&argc, &argv);
    memory = room(LARGEST);

    doing = "probing where nothing is";
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
    CHECK(!found, "a message that nobody sent");
    MPI_Improbe(0, 3, MPI_COMM_WORLD, &found, &message, MPI_STATUS_IGNORE);
    CHECK(!found, "a message that nobody sent");
    MPI_Barrier(MPI_COMM_WORLD);

    for (int way = 0; way < 4; way++) {
        doing = ways[way];
        if (rank == 0)
            probe_all(way);
        else
            send_all();
        MPI_Barrier(MPI_COMM_WORLD);
    }

    doing = "keeping a matched message";
    matched_is_kept();

    doing = "probing MPI_PROC_NULL";
    MPI_Status status;
    MPI_Probe(MPI_PROC_NULL, 7, MPI_COMM_WORLD, &status);
    CHECK(status.MPI_SOURCE == MPI_PROC_NULL, "source %d", status.MPI_SOURCE);
    free(memory);
    return finish();
}
