/* What the measured pairs of processes have in common: the work, the pinning, the clock. */
#ifndef PAIRS_H
#define PAIRS_H

#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SMALL = 8,
    TRIPS = 20000,
    WARM_UP = 1000,
    /* Messages on their way at a time; each is received into a buffer of its own. */
    WINDOW = 64,
    LARGE_WINDOW = 8,
    SMALL_WINDOWS = 4000,
    MIDDLE = 64 << 10,
    MIDDLE_WINDOWS = 200,
    LARGE = 4 << 20,
    LARGE_WINDOWS = 40,
};

/* The first process has the first processor it may use, the second the last. */
static void pin(int second)
{
    cpu_set_t usable, chosen;
    int first = -1, last = -1, cpu;

    if (sched_getaffinity(0, sizeof usable, &usable)) {
        perror("sched_getaffinity");
        exit(1);
    }
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &usable))
            continue;
        if (first < 0)
            first = cpu;
        last = cpu;
    }
    CPU_ZERO(&chosen);
    CPU_SET(second ? last : first, &chosen);
    if (sched_setaffinity(0, sizeof chosen, &chosen)) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *buffer(size_t bytes)
{
    void *memory = NULL;

    if (posix_memalign(&memory, 4096, bytes)) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(memory, 7, bytes);
    return memory;
}

static inline void report(double latency, double rate, double middle, double large)
{
    printf("{\"latency\": %.9f, \"rate\": %.1f, \"bandwidth_64k\": %.1f, \"bandwidth_4m\": %.1f}\n",
           latency, rate, middle, large);
    fflush(stdout);
}

#endif
