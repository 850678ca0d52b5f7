/* A program that sleeps on the descriptor of a queue or of a counter until a message comes, long
 * enough for the provider's own thread to make progress meanwhile. */

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20, PATIENCE_MS = 10000, LOOKS = 3, MAX_THREADS = 8 };

#define MUST(call)                                                            \
	do {                                                                  \
		long result_ = (call);                                        \
		if (result_ < 0) {                                            \
			fprintf(stderr, "%s: %s\n", #call,                    \
				fi_strerror((int)-result_));                  \
			exit(1);                                              \
		}                                                             \
	} while (0)

#define SHALL(condition)                                                      \
	do {                                                                  \
		if (!(condition)) {                                           \
			fprintf(stderr, "not so: %s\n", #condition);          \
			exit(1);                                              \
		}                                                             \
	} while (0)

struct side {
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_ep *endpoint;
	struct fid_cq *queue;
	struct fid_cntr *counter;
	struct fid_av *vector;
	fi_addr_t peer;
	char name[64], buffer[64];
	struct fi_context2 context;
};

static void open_side(struct side *side)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	struct fi_cq_attr queue = { .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_FD };
	struct fi_cntr_attr counter = { .events = FI_CNTR_EVENTS_COMP, .wait_obj = FI_WAIT_FD };
	struct fi_av_attr vector = { .type = FI_AV_TABLE };
	size_t length = sizeof side->name;

	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_MSG;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
	hints->fabric_attr->prov_name = strdup("elastane");
	MUST(fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", NULL, FI_SOURCE, hints, &info));
	MUST(fi_fabric(info->fabric_attr, &side->fabric, NULL));
	MUST(fi_domain(side->fabric, info, &side->domain, NULL));
	MUST(fi_cq_open(side->domain, &queue, &side->queue, NULL));
	MUST(fi_cntr_open(side->domain, &counter, &side->counter, NULL));
	MUST(fi_av_open(side->domain, &vector, &side->vector, NULL));
	MUST(fi_endpoint(side->domain, info, &side->endpoint, NULL));
	MUST(fi_ep_bind(side->endpoint, &side->queue->fid, FI_TRANSMIT | FI_RECV));
	MUST(fi_ep_bind(side->endpoint, &side->counter->fid, FI_RECV));
	MUST(fi_ep_bind(side->endpoint, &side->vector->fid, 0));
	MUST(fi_enable(side->endpoint));
	MUST(fi_getname(&side->endpoint->fid, side->name, &length));
	fi_freeinfo(hints);
	fi_freeinfo(info);
}

static void close_side(struct side *side)
{
	MUST(fi_close(&side->endpoint->fid));
	MUST(fi_close(&side->vector->fid));
	MUST(fi_close(&side->counter->fid));
	MUST(fi_close(&side->queue->fid));
	MUST(fi_close(&side->domain->fid));
	MUST(fi_close(&side->fabric->fid));
}

/* How often the provider's threads went to sleep: one number for each. */
static int looks(long (*numbers)[MAX_THREADS])
{
	DIR *threads = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;

	while ((entry = readdir(threads)) != NULL && count < MAX_THREADS) {
		char path[300], line[200], name[100] = "";
		long switches = 0;

		snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
		FILE *status = fopen(path, "r");
		if (status == NULL)
			continue;
		while (fgets(line, sizeof line, status) != NULL) {
			sscanf(line, "Name: %99s", name);
			sscanf(line, "voluntary_ctxt_switches: %ld", &switches);
		}
		fclose(status);
		if (strcmp(name, "elastane") == 0)
			(*numbers)[count++] = switches;
	}
	closedir(threads);
	return count;
}

/* Waits until each of the provider's threads has looked around some times. */
static void let_threads_look(void)
{
	long before[MAX_THREADS], now[MAX_THREADS];
	int count, behind;

	/* They name themselves after they have begun. */
	while ((count = looks(&before)) < 2)
		sched_yield();
	do {
		sched_yield();
		SHALL(looks(&now) == count);
		behind = 0;
		for (int at = 0; at < count; at++)
			behind += now[at] - before[at] < LOOKS;
	} while (behind);
}

static struct side near, far;
static int on_counter;
static atomic_int asleep, awake;

static int take(struct side *side)
{
	struct fi_cq_entry entry;
	ssize_t taken = fi_cq_read(side->queue, &entry, 1);

	SHALL(taken == 1 || taken == -FI_EAGAIN);
	return taken == 1;
}

static void *sleeper(void *unused)
{
	struct fid *fid = on_counter ? &near.counter->fid : &near.queue->fid;
	int descriptor;

	(void)unused;
	MUST(fi_control(fid, FI_GETWAIT, &descriptor));
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		MUST(fi_recv(near.endpoint, near.buffer, sizeof near.buffer, NULL,
			     FI_ADDR_UNSPEC, &near.context));
		for (;;) {
			int done = on_counter ? fi_cntr_read(near.counter) >= round : take(&near);
			if (done)
				break;
			if (fi_trywait(near.fabric, &fid, 1) == -FI_EAGAIN)
				continue;
			struct pollfd wait = { .fd = descriptor, .events = POLLIN };
			atomic_store(&asleep, (int)round);
			SHALL(poll(&wait, 1, PATIENCE_MS) == 1);
		}
		while (on_counter && !take(&near))
			;
		atomic_store(&awake, (int)round);
	}
	return NULL;
}

int main(int count, char **words)
{
	pthread_t thread;

	SHALL(count == 2);
	on_counter = strcmp(words[1], "counter") == 0;
	open_side(&near);
	open_side(&far);
	SHALL(fi_av_insert(far.vector, near.name, 1, &far.peer, 0, NULL) == 1);
	SHALL(pthread_create(&thread, NULL, sleeper, NULL) == 0);
	for (int round = 1; round <= ROUNDS; round++) {
		while (atomic_load(&asleep) < round)
			sched_yield();
		let_threads_look();
		MUST(fi_send(far.endpoint, "message", 8, NULL, far.peer, &far.context));
		while (!take(&far))
			;
		while (atomic_load(&awake) < round)
			sched_yield();
	}
	SHALL(pthread_join(thread, NULL) == 0);
	close_side(&near);
	close_side(&far);
	printf("%d rounds\n", ROUNDS);
	return 0;
}
