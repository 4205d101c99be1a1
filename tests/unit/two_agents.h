#ifndef DROVER_TESTS_TWO_AGENTS_H
#define DROVER_TESTS_TWO_AGENTS_H

/* Two agents (or three) in one process: real records, journal, steps, RPC and
 * monitor; a fake hypervisor, a bus in memory and virtual time.
 *
 * hosta has a guest, "fake-hosta-0001", of 64 MiB with a disk of 16.  A test
 * starts something, lets it come to rest with ta_rest() or ta_until(), and
 * looks.
 *
 * A host that crashes loses what its agent knew and what it was about to write
 * or send; its journal, its guests and its queue stay.
 *
 * Threads: the loop. */

#include <uv.h>

#include "agent/agent.h"
#include "tests/unit/memory_bus.h"

#define TA_HOSTS_MAX 3
enum { A, B, C };

struct two_agents;

struct ta_host {
    struct two_agents *ta;
    char name[16];
    struct conf *conf;
    char *store_path;
    struct store *store;     /* The agent's. */
    struct agent *agent;     /* Null: it is down. */
    struct driver *observer; /* Sees its hypervisor, also while it is down. */
    struct transport *transport;
    const struct transport_ops *bus_ops; /* Behind ours. */
    bool is_ready;                       /* It consumes requests. */
    bool is_dying; /* Nothing it does has an effect any more. */
    /* What it published as it was dying, and is not taken yet: it goes
     * nowhere.  Only to be compared. */
    const struct message **lost;
    size_t n_lost;

    unsigned n_records; /* Rows of the journal that were put. */
};

struct ta_heard {
    char host[16];
    char event[80]; /* "live_migration.pre.start", or a method that failed. */
};

struct two_agents {
    uv_loop_t loop;
    struct completion_queue *q;
    struct memory_bus *bus;
    struct ta_host hosts[TA_HOSTS_MAX];
    unsigned n_hosts;
    char directory[64];
    struct transport *transport; /* Of a peer that is only a client. */
    struct rpc_client *client;
    char uuid[40]; /* Of the guest. */
    char *answer, *status;
    struct ta_heard *heard;
    size_t n_heard;
    char *statuses; /* All that a migration had: "queued preparing"... */

    /* Decides over each message; null: all are delivered. */
    enum memory_fate (*filter)(struct two_agents *ta,
                               const struct memory_mail *mail);
    /* Is told of each row on its way to and from a journal, after it was
     * counted; an answer of false loses it. */
    bool (*tap)(struct ta_host *host, bool is_done, const char *body);
    struct json *instance, *data; /* What ta_check() asked and got, */
    struct object *record;        /* ... and the Migration that it made. */
    void *aux;                    /* The test's. */
};

/* All hosts are up, with a connected hypervisor. */
struct two_agents *ta_create(unsigned n_hosts);

/* Stops what runs; with leaks, the sanitizer will tell. */
void ta_free(struct two_agents *ta);

void ta_up(struct two_agents *ta, int host);

/* From now on nothing that the host does has an effect, and ta_step() returns:
 * for a tap or filter, that it be crashed in just this moment. */
void ta_doom(struct ta_host *host);
void ta_crash(struct two_agents *ta, int host);

/* Down as systemd asks for it: requests under way are answered first. */
void ta_stop(struct two_agents *ta, int host);

/* One thing happens: a message is delivered, or time goes on to the next timer;
 * and all that follows from it and needs neither.  False when nothing is left
 * to happen. */
bool ta_step(struct two_agents *ta);

/* Does what needs neither. */
void ta_settle(void);

/* Makes it, and ta_step(), return as soon as the callback that runs is over. */
void ta_interrupt(void);

/* Lets time go on beside transfers; see virtual_time.h.  "hang" and "release"
 * for ta_steer() do it as well, also for other work. */
void ta_leave_migrations(bool left);

/* Runs until COND holds; fails the test after half an hour (of virtual time) or
 * when nothing is left to happen. */
#define ta_until(TA, COND)                                        \
    do {                                                          \
        uint64_t until_end_ = ta_now_ms() + 30 * UINT64_C(60000); \
        ta_settle();                                              \
        while (!(COND)) {                                         \
            if (!ta_step(TA) || ta_now_ms() > until_end_) {       \
                fail_msg("in vain waited for %s", #COND);         \
            }                                                     \
        }                                                         \
    } while (0)
uint64_t ta_now_ms(void);

/* Runs until no host has an operation or residue, and no message is left. */
void ta_rest(struct two_agents *ta);
bool ta_is_at_rest(struct two_agents *ta);

/* Tells the host's fake; the answer is kept until the next one. */
const char *ta_steer(struct two_agents *ta, int host, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same past the agent, which may be down; the caller's. */
char *ta_steer_past(struct two_agents *ta, int host, const char *command);

/* A call by the client, or of the agent's own API.  Both run the loop until
 * there is an answer.  The caller's. */
struct json *ta_call(struct two_agents *ta, int host, const char *method,
                     struct json *args, struct error **ret_error);
struct json *ta_api(struct two_agents *ta, int host, const char *method,
                    struct json *args, struct error **ret_error);
/* It is on its way when it returns. */
void ta_cast(struct two_agents *ta, int host, const char *method,
             struct json *args);

/* What the records of a host say; null: nothing. */
struct object *ta_instance(struct two_agents *ta, int host);
struct object *ta_migration(struct two_agents *ta, int host); /* Newest. */

/* "queued", ... of the newest migration at hosta; "" if there is none.  Valid
 * until asked again. */
const char *ta_status(struct two_agents *ta);

/* Where the guest is, by the fake's own word: a bit (1 << host) each. */
unsigned ta_guest_active_at(struct two_agents *ta);

/* Lines of files that the fake has at a host. */
char *ta_files(struct two_agents *ta, int host);

/* "hosta live_migration.pre.start\n"... of the guest, of the compute kind. */
char *ta_notifications(const struct two_agents *ta);

/* Plays the conductor: has hostb check, and casts live_migration to hosta.  It
 * is on its way when this returns. */
void ta_conduct(struct two_agents *ta);

/* The two parts of it. */
void ta_check(struct two_agents *ta);
void ta_cast_migration(struct two_agents *ta, const struct object *record);

#endif
