/* What every program here uses: a bound on its life, one line on what was wrong, data to verify. */
#ifndef CHECK_H
#define CHECK_H

#include <mpi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* A program that takes longer hangs: each is made for a few seconds. */
enum { SECONDS_TO_LIVE = 20 };

static int rank, size;
static const char *volatile doing = "starting";

/* Only what a signal handler may do. */
static void hangs(int number)
{
    static const char before[] = ": hangs while ";
    (void)number;
    char digits[12];
    int at = sizeof digits;
    unsigned left = (unsigned)rank;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    ssize_t ignored = write(2, "rank ", 5);
    ignored = write(2, digits + at, sizeof digits - (size_t)at);
    ignored = write(2, before, sizeof before - 1);
    ignored = write(2, doing, strlen(doing));
    ignored = write(2, "\n", 1);
    (void)ignored;
    _exit(3);
}

/* Ends the job with a line on what is wrong. */
__attribute__((noreturn, format(printf, 3, 4)))
static void fail(const char *file, int line, const char *format, ...)
{
    const char *name = strrchr(file, '/');
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s:%d: rank %d of %d, %s: %s\n", name ? name + 1 : file, line, rank, size,
            doing, text);
    fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    _exit(1);
}

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail(__FILE__, __LINE__, __VA_ARGS__);                                                 \
    } while (0)

/* Initialises MPI and returns the level of threads that it gives. */
UNUSED static int start_threads(int *count, char ***arguments, int wanted)
{
    int given;
    signal(SIGALRM, hangs);
    alarm(SECONDS_TO_LIVE);
    MPI_Init_thread(count, arguments, wanted, &given);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(size >= 2, "needs two ranks, has %d", size);
    return given;
}

UNUSED static void start(int *count, char ***arguments)
{
    start_threads(count, arguments, MPI_THREAD_SINGLE);
}

/* Ends MPI; rank 0 says so. */
UNUSED static int finish(void)
{
    doing = "finalizing";
    MPI_Finalize();
    if (rank == 0)
        printf("passed\n");
    return 0;
}

UNUSED static void *room(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    CHECK(memory, "no memory of %zu bytes", bytes);
    return memory;
}

/* The byte at a place of the message that `seed` tells apart. */
static inline unsigned char byte_of(uint64_t seed, size_t at)
{
    uint64_t word = (seed + 1) * 0x9e3779b97f4a7c15u + (at >> 3) * 0xbf58476d1ce4e5b9u;
    word ^= word >> 29;
    return (unsigned char)(word >> (8 * (at & 7)));
}

UNUSED static void fill(void *memory, size_t bytes, uint64_t seed)
{
    unsigned char *to = memory;
    for (size_t at = 0; at < bytes; at++)
        to[at] = byte_of(seed, at);
}

UNUSED static void verify_at(const char *file, int line, const void *memory, size_t bytes,
                             uint64_t seed)
{
    const unsigned char *from = memory;
    for (size_t at = 0; at < bytes; at++)
        if (from[at] != byte_of(seed, at))
            fail(file, line, "byte %zu of %zu is %02x, not %02x (message %llu)", at, bytes,
                 from[at], byte_of(seed, at), (unsigned long long)seed);
}
#define VERIFY(memory, bytes, seed) verify_at(__FILE__, __LINE__, memory, bytes, seed)

/* Holds a status against what was sent. */
UNUSED static void expect_at(const char *file, int line, const MPI_Status *status, int source,
                             int tag, int bytes)
{
    int count;
    MPI_Get_count(status, MPI_BYTE, &count);
    if (status->MPI_SOURCE != source || status->MPI_TAG != tag || count != bytes)
        fail(file, line, "got %d bytes of rank %d with tag %d, not %d of rank %d with tag %d",
             count, status->MPI_SOURCE, status->MPI_TAG, bytes, source, tag);
}
#define EXPECT(status, source, tag, bytes)                                                         \
    expect_at(__FILE__, __LINE__, status, source, tag, bytes)

#endif
