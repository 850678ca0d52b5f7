/*
 * Two processes on a libfabric provider, with the work and the output of mpi_pairs.c: tagged
 * messages between reliable datagram endpoints. `libfabric_pairs PROVIDER`.
 */
#include "pairs.h"
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fid_ep *endpoint;
static struct fid_cq *sends, *receives;
static fi_addr_t other;
static char *sent, *received;
static struct fi_context contexts[2 * WINDOW];

static void must(const char *what, ssize_t result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, fi_strerror((int)-result));
        exit(1);
    }
}

static void progress(struct fid_cq *queue)
{
    must("fi_cq_read", fi_cq_read(queue, NULL, 0) == -FI_EAVAIL ? -FI_EAVAIL : 0);
}

static void wait_for(struct fid_cq *queue, int completions)
{
    struct fi_cq_tagged_entry entries[WINDOW];

    while (completions > 0) {
        ssize_t got = fi_cq_read(queue, entries, (size_t)completions);

        if (got == -FI_EAGAIN) {
            /* Providers make progress in the queue that is read. */
            progress(queue == sends ? receives : sends);
            continue;
        }
        must("fi_cq_read", got);
        completions -= (int)got;
    }
}

static void post_send(size_t bytes, uint64_t tag, int slot)
{
    ssize_t result;

    while ((result = fi_tsend(endpoint, sent, bytes, NULL, other, tag, &contexts[slot])) == -FI_EAGAIN) {
        progress(sends);
        progress(receives);
    }
    must("fi_tsend", result);
}

static void inject(uint64_t tag)
{
    ssize_t result;

    while ((result = fi_tinject(endpoint, sent, SMALL, other, tag)) == -FI_EAGAIN) {
        progress(sends);
        progress(receives);
    }
    must("fi_tinject", result);
}

static void post_receive(char *at, size_t bytes, uint64_t tag, int slot)
{
    ssize_t result;

    while ((result = fi_trecv(endpoint, at, bytes, NULL, other, tag, 0, &contexts[WINDOW + slot])) ==
           -FI_EAGAIN) {
        progress(sends);
        progress(receives);
    }
    must("fi_trecv", result);
}

static double latency(int second)
{
    double began = 0;
    int at;

    for (at = 0; at < TRIPS + WARM_UP; at++) {
        if (at == WARM_UP)
            began = seconds();
        post_receive(received, SMALL, 1, 0);
        if (!second) {
            inject(1);
            wait_for(receives, 1);
        } else {
            wait_for(receives, 1);
            inject(1);
        }
    }
    return (seconds() - began) / TRIPS / 2;
}

static double stream(int second, size_t bytes, int window, int windows)
{
    int warm_up = windows / 10, at, message;
    double began = 0;

    for (at = 0; at < windows + warm_up; at++) {
        if (at == warm_up)
            began = seconds();
        for (message = 0; message < window; message++) {
            if (!second)
                post_send(bytes, 2, message);
            else
                post_receive(received + (size_t)message * bytes, bytes, 2, message);
        }
        wait_for(second ? receives : sends, window);
        if (!second) {
            post_receive(received, 4, 3, 0);
            wait_for(receives, 1);
        } else {
            post_send(4, 3, 0);
            wait_for(sends, 1);
        }
    }
    return (double)windows * window / (seconds() - began);
}

static void exchange_names(struct fid_av *addresses, int in, int out)
{
    char name[256] = {0}, theirs[256];
    size_t length = sizeof name;

    must("fi_getname", fi_getname(&endpoint->fid, name, &length));
    if (write(out, name, sizeof name) != sizeof name || read(in, theirs, sizeof theirs) != sizeof theirs) {
        fprintf(stderr, "the other process is gone\n");
        exit(1);
    }
    if (fi_av_insert(addresses, theirs, 1, &other, 0, NULL) != 1)
        must("fi_av_insert", -FI_EINVAL);
}

static void open_endpoint(const char *provider, int in, int out)
{
    struct fi_info *hints = fi_allocinfo(), *info;
    struct fi_av_attr table = {.type = FI_AV_TABLE};
    struct fi_cq_attr tagged = {.format = FI_CQ_FORMAT_TAGGED, .size = 4 * WINDOW};
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *addresses;

    hints->fabric_attr->prov_name = strdup(provider);
    hints->ep_attr->type = FI_EP_RDM;
    hints->caps = FI_TAGGED;
    hints->mode = FI_CONTEXT;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    must("fi_getinfo", fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &info));
    must("fi_fabric", fi_fabric(info->fabric_attr, &fabric, NULL));
    must("fi_domain", fi_domain(fabric, info, &domain, NULL));
    must("fi_endpoint", fi_endpoint(domain, info, &endpoint, NULL));
    must("fi_av_open", fi_av_open(domain, &table, &addresses, NULL));
    must("fi_cq_open", fi_cq_open(domain, &tagged, &sends, NULL));
    must("fi_cq_open", fi_cq_open(domain, &tagged, &receives, NULL));
    must("fi_ep_bind", fi_ep_bind(endpoint, &addresses->fid, 0));
    must("fi_ep_bind", fi_ep_bind(endpoint, &sends->fid, FI_TRANSMIT));
    must("fi_ep_bind", fi_ep_bind(endpoint, &receives->fid, FI_RECV));
    must("fi_enable", fi_enable(endpoint));
    exchange_names(addresses, in, out);
}

int main(int argc, char **argv)
{
    int there[2], back[2], second;
    double trip, rate, middle, large;
    pid_t child;
    char byte = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s PROVIDER\n", argv[0]);
        return 2;
    }
    if (pipe(there) || pipe(back) || (child = fork()) < 0) {
        perror("starting two processes");
        return 1;
    }
    second = child == 0;
    if (second)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(second);
    open_endpoint(argv[1], second ? there[0] : back[0], second ? back[1] : there[1]);
    sent = buffer(LARGE);
    received = buffer((size_t)LARGE * LARGE_WINDOW);
    trip = latency(second);
    rate = stream(second, SMALL, WINDOW, SMALL_WINDOWS);
    middle = stream(second, MIDDLE, WINDOW, MIDDLE_WINDOWS);
    large = stream(second, LARGE, LARGE_WINDOW, LARGE_WINDOWS);
    /* The first closes only once the second has got everything. */
    if (second) {
        if (write(back[1], &byte, 1) != 1)
            return 1;
        fi_close(&endpoint->fid);
        return 0;
    }
    if (read(back[0], &byte, 1) != 1)
        return 1;
    report(trip, rate, middle * MIDDLE, large * LARGE);
    fi_close(&endpoint->fid);
    return waitpid(child, NULL, 0) == child ? 0 : 1;
}
