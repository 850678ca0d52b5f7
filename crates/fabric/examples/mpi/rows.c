/*
 * Two MPI processes, or more: `rows pairs` measures latency, bandwidth of a ping-pong and message
 * rate between two, `rows latency` the first of these only, `rows both` the bandwidth of both
 * directions at once, `rows start` how long MPI_Init and MPI_Finalize take. Prints one JSON object
 * on a line: seconds one way, bytes per second, messages per second; of `start` one for each
 * process.
 */
#include "../one_host/pairs.h"
#include <mpi.h>

enum {
    SHORT = 8,
    SHORT_TRIPS = 4000,
    LONG = 1 << 20,
    LONG_TRIPS = 200,
    RATE = 64,
    RATE_WINDOWS = 1000,
    BOTH = 4 << 20,
    BOTH_WINDOW = 4,
    BOTH_WINDOWS = 6,
};

static char *sent, *received;

/* Seconds one way. */
static double ping_pong(int rank, int bytes, int trips)
{
    int other = 1 - rank, warm_up = trips / 10, at;
    double began = 0;

    MPI_Barrier(MPI_COMM_WORLD);
    for (at = 0; at < trips + warm_up; at++) {
        if (at == warm_up)
            began = seconds();
        if (rank == 0) {
            MPI_Send(sent, bytes, MPI_CHAR, other, 1, MPI_COMM_WORLD);
            MPI_Recv(received, bytes, MPI_CHAR, other, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(received, bytes, MPI_CHAR, other, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(sent, bytes, MPI_CHAR, other, 1, MPI_COMM_WORLD);
        }
    }
    return (seconds() - began) / trips / 2;
}

/* Messages per second from the first process to the second, in windows and with an answer. */
static double rate(int rank)
{
    MPI_Request requests[WINDOW];
    int other = 1 - rank, warm_up = RATE_WINDOWS / 10, at, message;
    double began = 0;

    MPI_Barrier(MPI_COMM_WORLD);
    for (at = 0; at < RATE_WINDOWS + warm_up; at++) {
        if (at == warm_up)
            began = seconds();
        for (message = 0; message < WINDOW; message++) {
            if (rank == 0)
                MPI_Isend(sent, RATE, MPI_CHAR, other, 2, MPI_COMM_WORLD, &requests[message]);
            else
                MPI_Irecv(received + message * RATE, RATE, MPI_CHAR, other, 2, MPI_COMM_WORLD,
                          &requests[message]);
        }
        MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
        if (rank == 0)
            MPI_Recv(received, 4, MPI_CHAR, other, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(sent, 4, MPI_CHAR, other, 3, MPI_COMM_WORLD);
    }
    return (double)RATE_WINDOWS * WINDOW / (seconds() - began);
}

/* Bytes per second of both directions together. */
static double both_ways(int rank)
{
    MPI_Request requests[2 * BOTH_WINDOW];
    int other = 1 - rank, at, message;
    double began = 0;

    for (at = 0; at <= BOTH_WINDOWS; at++) {
        if (at == 1)
            began = seconds();
        for (message = 0; message < BOTH_WINDOW; message++)
            MPI_Irecv(received + (size_t)message * BOTH, BOTH, MPI_CHAR, other, 4, MPI_COMM_WORLD,
                      &requests[message]);
        for (message = 0; message < BOTH_WINDOW; message++)
            MPI_Isend(sent, BOTH, MPI_CHAR, other, 4, MPI_COMM_WORLD,
                      &requests[BOTH_WINDOW + message]);
        MPI_Waitall(2 * BOTH_WINDOW, requests, MPI_STATUSES_IGNORE);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    return 2.0 * BOTH * BOTH_WINDOW * BOTH_WINDOWS / (seconds() - began);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    double began = seconds(), trip, large;
    int rank, size;

    MPI_Init(&argc, &argv);
    if (!strcmp(what, "start")) {
        MPI_Finalize();
        printf("{\"start\": %.6f}\n", seconds() - began);
        return 0;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != 2) {
        fprintf(stderr, "two processes are needed, not %d\n", size);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    pin(rank);
    sent = buffer(BOTH);
    received = buffer((size_t)BOTH * BOTH_WINDOW);
    if (!strcmp(what, "both")) {
        large = both_ways(rank);
        if (rank == 0)
            printf("{\"both_ways\": %.1f}\n", large);
    } else {
        trip = ping_pong(rank, SHORT, SHORT_TRIPS);
        if (!strcmp(what, "latency")) {
            if (rank == 0)
                printf("{\"latency\": %.9f}\n", trip);
        } else {
            large = LONG / ping_pong(rank, LONG, LONG_TRIPS);
            double messages = rate(rank);
            if (rank == 0)
                printf("{\"latency\": %.9f, \"bandwidth\": %.1f, \"rate\": %.1f}\n", trip, large,
                       messages);
        }
    }
    MPI_Finalize();
    return 0;
}
