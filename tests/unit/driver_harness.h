#ifndef DROVER_TESTS_DRIVER_HARNESS_H
#define DROVER_TESTS_DRIVER_HARNESS_H

/* A loop with up to two drivers, for tests that want an answer at once.
 *
 *     struct result r = {0};
 *     AWAIT(h, r, driver_suspend(h->drivers[0], uuid, on_plain, &r));
 *     assert_int_equal(error_code(r.error), ERR_NONE);
 *
 * Threads: that of the test. */

#include <uv.h>

#include "agent/base/completion.h"
#include "drivers/driver.h"

#define HARNESS_DEADLINE_MS 20000
#define HARNESS_EVENTS_MAX 256

struct result {
    bool is_done;
    unsigned n_calls; /* Of 'done', since the last clearing. */
    struct error *error;
    struct host_info *host;
    struct host_resources *resources;
    char *text;
    struct guest *guest;
    struct guest_list *list;
    int fd; /* If 'has_fd'. */
    bool has_fd;
    bool answer;
    enum guest_presence presence;
    struct job_stats job;
    bool has_job;
    unsigned number;
    struct dirty_rate dirty_rate;
};
void result_clear(struct result *result);

void on_plain(void *aux, struct error *error);
void on_host(void *aux, struct error *error, struct host_info *host);
void on_resources(void *aux, struct error *error,
                  struct host_resources *resources);
void on_text(void *aux, struct error *error, char *text);
void on_counters(void *aux, struct error *error,
                 struct guest_counters *counters);
void on_guest(void *aux, struct error *error, struct guest *guest);
void on_list(void *aux, struct error *error, struct guest_list *list);
void on_fd(void *aux, struct error *error, int fd);
void on_answer(void *aux, struct error *error, bool answer);
void on_presence(void *aux, struct error *error, enum guest_presence presence);
void on_job(void *aux, struct error *error, const struct job_stats *stats);
void on_number(void *aux, struct error *error, unsigned number);
void on_dirty_rate(void *aux, struct error *error,
                   const struct dirty_rate *rate);

struct harness {
    uv_loop_t loop;
    struct completion_queue *q;
    struct driver *drivers[2];
    struct harness_events {
        struct driver_event events[HARNESS_EVENTS_MAX];
        unsigned n;
    } events[2];
};

struct harness *harness_create(void);
/* 'slot' is 0 or 1. */
struct error *harness_load(struct harness *h, int slot, const char *directory,
                           const char *name,
                           const struct driver_options *options) WARN_UNUSED;
void harness_unload(struct harness *h, int slot);
void harness_free(struct harness *h); /* Fails if handles are left. */

/* Runs the loop until '*flag'; fails the test at the deadline. */
void harness_wait(struct harness *h, const bool *flag);

/* Runs the loop for a moment, between two questions. */
void harness_pause(struct harness *h);

/* The number of events of that type for that guest (null: any) so far. */
unsigned harness_count(const struct harness *h, int slot,
                       enum driver_event_type type, const char *uuid);
/* Waits for at least 'n' of them. */
void harness_wait_event(struct harness *h, int slot,
                        enum driver_event_type type, const char *uuid,
                        unsigned n);

#define AWAIT(H, R, CALL)              \
    do {                               \
        result_clear(&(R));            \
        CALL;                          \
        harness_wait(H, &(R).is_done); \
    } while (0)

/* The same, and fails the test if the call did. */
#define AWAIT_OK(H, R, CALL)                                     \
    do {                                                         \
        AWAIT(H, R, CALL);                                       \
        if ((R).error) {                                         \
            fail_msg("%s: %s", #CALL, error_message((R).error)); \
        }                                                        \
    } while (0)

#define assert_error(ERROR, CODE)                                          \
    do {                                                                   \
        if (error_code(ERROR) != (CODE)) {                                 \
            fail_msg("%s expected, not: %s", #CODE, error_message(ERROR)); \
        }                                                                  \
    } while (0)

/* Asks again until COND holds of the answer, or the deadline passes. */
#define AWAIT_UNTIL(H, R, CALL, COND)                              \
    do {                                                           \
        uint64_t until_end_ =                                      \
            uv_hrtime() + HARNESS_DEADLINE_MS * UINT64_C(1000000); \
        do {                                                       \
            AWAIT(H, R, CALL);                                     \
            harness_pause(H);                                      \
            if (uv_hrtime() > until_end_) {                        \
                fail_msg("in vain waited for %s", #COND);          \
            }                                                      \
        } while (!(COND));                                         \
    } while (0)

#endif
