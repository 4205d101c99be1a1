#include <config.h>

#include "agent/self_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/deadline.h"

LOG_MODULE(self_test);

#define TIMEOUT_MS 10000

/* How soon it is looked again whether there is a bus. */
#define WAIT_MS 1000

/* One that is busy so many times in a row is perhaps no such thing: to declare
 * everything again does no harm. */
#define BUSY_MAX 3

#define HOPELESS_MS 120000

struct self_test {
    struct self_test_options options;
    struct deadlines *deadlines;
    struct deadline next;
    bool is_stopped, is_closed, is_under_way;
    enum self_test_state state;
    char reason[200];
    uint64_t n_ok, n_failed, n_repaired, failed_ms;
    uint64_t ok_ms;             /* When it was last answered; 0: never. */
    uint64_t sent_ms;           /* The ping under way, ... */
    struct self_test_bus since; /* ... and the bus as it was then. */
    unsigned n_in_row, n_busy;  /* Failed or busy, one after the other. */
};

static void due(struct deadline *deadline);
static void send_ping(struct self_test *t);
static void ping_done(void *aux, struct json **result, struct error *error);
static void answered(struct self_test *t);
static void unanswered(struct self_test *t, const struct error *error);
static void failed(struct self_test *t, const struct error *error);
static void busy(struct self_test *t);
static void set_state(struct self_test *t, enum self_test_state state,
                      const char *reason);
static uint64_t rest_ms(const struct self_test *t);
static void again_in(struct self_test *t, uint64_t ms);
static void timer_closed(void *aux);
static void free_if_done(struct self_test *t);

struct self_test *
self_test_start(const struct self_test_options *options)
{
    if (!options->interval_s) {
        return NULL;
    }
    struct self_test *t = xzalloc(sizeof *t);

    t->options = *options;
    set_state(t, SELF_TEST_WAITING, "not tested yet");
    t->deadlines = deadlines_create(options->loop);
    t->next.due = due;
    again_in(t, 0);
    return t;
}

void
self_test_stop(struct self_test *t)
{
    if (t) {
        t->is_stopped = true;
        deadlines_close(t->deadlines, timer_closed, t);
    }
}

struct self_test_status
self_test_status(const struct self_test *t)
{
    bool has_answer = t && t->ok_ms;
    bool is_ok = !t || t->state == SELF_TEST_OK;

    return (struct self_test_status){
        .state = t ? t->state : SELF_TEST_OK,
        .ok_ms_ago = has_answer ? (int64_t)(clock_now_ms() - t->ok_ms) : -1,
        .n_ok = t ? t->n_ok : 0,
        .n_failed = t ? t->n_failed : 0,
        .n_repaired = t ? t->n_repaired : 0,
        .failed_ms = t ? t->failed_ms : 0,
        .reason = is_ok ? NULL : t->reason,
    };
}

const char *
self_test_state_name(enum self_test_state state)
{
    static const char *const names[] = {
        [SELF_TEST_WAITING] = "waiting", [SELF_TEST_OK] = "ok",
        [SELF_TEST_BUSY] = "busy",       [SELF_TEST_BLOCKED] = "blocked",
        [SELF_TEST_FAILED] = "failed",
    };

    return names[state];
}

bool
self_test_is_hopeless(const struct self_test *t)
{
    struct self_test_bus bus;

    if (!t || t->state != SELF_TEST_FAILED || t->failed_ms < HOPELESS_MS) {
        return false;
    }
    t->options.look(t->options.aux, &bus);
    return bus.is_up;
}

static void
due(struct deadline *deadline)
{
    struct self_test *t = container_of(deadline, struct self_test, next);
    struct self_test_bus bus;

    t->options.look(t->options.aux, &bus);
    if (!bus.is_up) {
        set_state(t, SELF_TEST_WAITING, "not connected");
        again_in(t, WAIT_MS);
    } else if (bus.is_blocked) {
        set_state(t, SELF_TEST_BLOCKED, "the broker takes no messages");
        again_in(t, WAIT_MS);
    } else {
        t->since = bus;
        send_ping(t);
    }
}

static void
send_ping(struct self_test *t)
{
    const struct rpc_target target = {
        .exchange = t->options.exchange,
        .topic = t->options.topic,
        .server = t->options.host,
        .name_space = "baseapi",
        .version = "1.0",
    };
    const struct rpc_options options = {.timeout_ms = TIMEOUT_MS};
    AUTO_JSON context = rpc_context_create();
    AUTO_JSON args = json_object();

    json_set_string(args, "arg", "self-test");
    t->is_under_way = true;
    t->sent_ms = clock_now_ms();
    rpc_call(t->options.client, &target, &options, context, "ping", args,
             ping_done, t);
}

static void
ping_done(void *aux, struct json **result UNUSED, struct error *error)
{
    struct self_test *t = aux;

    t->is_under_way = false;
    if (t->is_stopped) {
        free_if_done(t);
    } else if (error) {
        unanswered(t, error);
    } else {
        answered(t);
    }
    error_free(error);
}

static void
answered(struct self_test *t)
{
    if (t->n_in_row) {
        log_info(NULL, "the agent hears itself again");
        t->n_repaired++;
    }
    t->n_ok++;
    t->n_in_row = t->n_busy = 0;
    t->failed_ms = 0;
    t->ok_ms = clock_now_ms();
    set_state(t, SELF_TEST_OK, "");
    again_in(t, rest_ms(t));
}

static void
unanswered(struct self_test *t, const struct error *error)
{
    struct self_test_bus bus;

    t->options.look(t->options.aux, &bus);
    if (!bus.is_up || bus.n_connects != t->since.n_connects) {
        /* It was lost with its connection, about which the link does what can
         * be done. */
        set_state(t, SELF_TEST_WAITING, "the connection was lost");
        again_in(t, bus.is_up ? 0 : WAIT_MS);
    } else if (bus.is_blocked) {
        set_state(t, SELF_TEST_BLOCKED, "the broker takes no messages");
        again_in(t, WAIT_MS);
    } else if (error_code(error) == ERR_TIMEOUT &&
               bus.n_heard != t->since.n_heard) {
        busy(t);
    } else {
        failed(t, error);
    }
}

/* To declare everything again is tried first, then to connect again, and so
 * on.  Only the first failure is followed by a ping at once: one that fails
 * without delay, say for want of room, must not have us reconnect all the
 * time. */
static void
failed(struct self_test *t, const struct error *error)
{
    t->n_failed++;
    t->n_in_row++;
    t->failed_ms += clock_now_ms() - t->sent_ms;
    bool redeclares = t->n_in_row % 2 == 1;
    log_warn(NULL, "the agent does not hear itself: %s; %s",
             error_message(error),
             redeclares ? "declaring again" : "connecting again");
    set_state(t, SELF_TEST_FAILED, error_message(error));
    t->options.repair(t->options.aux,
                      redeclares ? LINK_REDECLARE : LINK_RECONNECT);
    again_in(t, t->n_in_row == 1 ? 0 : rest_ms(t));
}

static void
busy(struct self_test *t)
{
    set_state(t, SELF_TEST_BUSY, "other requests came in, no answer in time");
    if (++t->n_busy % BUSY_MAX == 0) {
        log_warn(NULL, "the agent is too busy to hear itself");
        t->options.repair(t->options.aux, LINK_REDECLARE);
    }
    again_in(t, rest_ms(t));
}

static void
set_state(struct self_test *t, enum self_test_state state, const char *reason)
{
    t->state = state;
    snprintf(t->reason, sizeof t->reason, "%s", reason);
}

/* Until the interval since the last ping is over. */
static uint64_t
rest_ms(const struct self_test *t)
{
    uint64_t due_ms = t->sent_ms + t->options.interval_s * 1000ull;
    uint64_t soon_ms = clock_now_ms() + WAIT_MS;

    return (due_ms > soon_ms ? due_ms : soon_ms) - clock_now_ms();
}

static void
again_in(struct self_test *t, uint64_t ms)
{
    deadlines_set(t->deadlines, &t->next, clock_now_ms() + ms);
}

static void
timer_closed(void *aux)
{
    struct self_test *t = aux;

    t->is_closed = true;
    free_if_done(t);
}

static void
free_if_done(struct self_test *t)
{
    if (t->is_closed && !t->is_under_way) {
        free(t);
    }
}
