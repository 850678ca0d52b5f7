/*
 * Two MPI processes: latency, message rate and bandwidth, by the loops of osu_latency and osu_bw
 * (one buffer sent again and again, a window of messages and then an answer). Prints one JSON
 * object: seconds one way, messages per second, bytes per second.
 */
#include "pairs.h"
#include <mpi.h>

static char *sent, *received;

static double latency(int rank)
{
    int other = 1 - rank, at;
    double began = 0;

    for (at = 0; at < TRIPS + WARM_UP; at++) {
        if (at == WARM_UP)
            began = seconds();
        if (rank == 0) {
            MPI_Send(sent, SMALL, MPI_CHAR, other, 1, MPI_COMM_WORLD);
            MPI_Recv(received, SMALL, MPI_CHAR, other, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(received, SMALL, MPI_CHAR, other, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(sent, SMALL, MPI_CHAR, other, 1, MPI_COMM_WORLD);
        }
    }
    return (seconds() - began) / TRIPS / 2;
}

/* Messages per second. */
static double stream(int rank, size_t bytes, int window, int windows)
{
    MPI_Request requests[WINDOW];
    int other = 1 - rank, warm_up = windows / 10, at, message;
    double began = 0;

    for (at = 0; at < windows + warm_up; at++) {
        if (at == warm_up)
            began = seconds();
        for (message = 0; message < window; message++) {
            if (rank == 0)
                MPI_Isend(sent, (int)bytes, MPI_CHAR, other, 2, MPI_COMM_WORLD, &requests[message]);
            else
                MPI_Irecv(received + (size_t)message * bytes, (int)bytes, MPI_CHAR, other, 2,
                          MPI_COMM_WORLD, &requests[message]);
        }
        MPI_Waitall(window, requests, MPI_STATUSES_IGNORE);
        if (rank == 0)
            MPI_Recv(received, 4, MPI_CHAR, other, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(sent, 4, MPI_CHAR, other, 3, MPI_COMM_WORLD);
    }
    return (double)windows * window / (seconds() - began);
}

int main(int argc, char **argv)
{
    int rank;
    double trip, rate, middle, large;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    pin(rank);
    sent = buffer(LARGE);
    received = buffer((size_t)LARGE * LARGE_WINDOW);
    trip = latency(rank);
    rate = stream(rank, SMALL, WINDOW, SMALL_WINDOWS);
    middle = stream(rank, MIDDLE, WINDOW, MIDDLE_WINDOWS);
    large = stream(rank, LARGE, LARGE_WINDOW, LARGE_WINDOWS);
    if (rank == 0)
        report(trip, rate, middle * MIDDLE, large * LARGE);
    MPI_Finalize();
    return 0;
}
