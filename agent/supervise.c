#include <config.h>

#include "agent/supervise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/systemd.h"
#include "agent/self_test.h"
#include "rpc/link.h"

LOG_MODULE(supervise);

/* How often readiness is looked for, and the watchdog's word if nobody asks
 * for it more often. */
#define READY_MS 5
#define IDLE_MS 10000

/* How often it is looked whether there is something to tell, if the watchdog
 * does not want to hear of it more often. */
#define LOOK_MS 1000

struct supervise {
    struct agent *agent;
    uv_timer_t timer;
    unsigned interval_ms; /* Between two words to the watchdog. */
    unsigned look_ms;
    uint64_t told_ms; /* When it took the last. */
    bool is_watched, is_ready;
    char status[400]; /* The last STATUS that was taken. */
};

static void tick(uv_timer_t *timer);
static void look_for_ready(struct supervise *s);
static void tell_state(struct supervise *s);
static void tell_watchdog(struct supervise *s);
static void describe(const struct agent *agent, char *text, size_t room);
static void timer_closed(uv_handle_t *handle);

struct supervise *
supervise_start(struct agent *agent)
{
    struct supervise *s = xzalloc(sizeof *s);
    uint64_t watchdog_us = 0;

    s->agent = agent;
    s->is_watched = systemd_watchdog(&watchdog_us);
    s->interval_ms = IDLE_MS;
    if (s->is_watched && watchdog_us / 3000 < IDLE_MS) {
        s->interval_ms = (unsigned)(watchdog_us / 3000);
    }
    s->look_ms = s->interval_ms < LOOK_MS ? s->interval_ms : LOOK_MS;
    uv_timer_init(agent->loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, tick, READY_MS, 0);
    return s;
}

void
supervise_stop(struct supervise *s)
{
    systemd_notify("STOPPING=1\nSTATUS=Stopping; running transfers go on.");
    uv_close((uv_handle_t *)&s->timer, timer_closed);
}

static void
tick(uv_timer_t *timer)
{
    struct supervise *s = timer->data;

    if (!s->is_ready) {
        look_for_ready(s);
    }
    if (s->is_ready) {
        tell_state(s);
    }
    if (s->is_watched) {
        tell_watchdog(s);
    }
    uv_timer_start(timer, tick, s->is_ready ? s->look_ms : READY_MS, 0);
}

/* Not while only a restart can help.  A bus that is away is nothing that a
 * restart would mend. */
static void
tell_watchdog(struct supervise *s)
{
    uint64_t now_ms = clock_now_ms();

    if (now_ms - s->told_ms >= s->interval_ms &&
        link_threads_ticked(s->agent->link) &&
        !self_test_is_hopeless(s->agent->self_test) &&
        systemd_notify("WATCHDOG=1")) {
        s->told_ms = now_ms;
    }
}

static void
look_for_ready(struct supervise *s)
{
    struct link_status status = link_status(s->agent->link);

    if (status.consuming) {
        s->is_ready = true;
        log_info(NULL, "serving on '%s'", status.broker);
    }
}

/* What the manager has not taken is told again at the next look.  READY=1 is
 * part of each state, as only the first one that is taken counts. */
static void
tell_state(struct supervise *s)
{
    char text[sizeof s->status];

    describe(s->agent, text, sizeof text);
    if (!str_eq(text, s->status) &&
        systemd_notify("READY=1\nSTATUS=%s", text)) {
        memcpy(s->status, text, sizeof text);
    }
}

static void
describe(const struct agent *agent, char *text, size_t room)
{
    struct link_status bus = link_status(agent->link);
    struct self_test_status test = self_test_status(agent->self_test);

    if (!bus.is_up) {
        snprintf(text, room, "Without a bus: last was %s.", bus.broker);
    } else if (bus.blocked) {
        snprintf(text, room, "Serving on %s, which takes no messages: %s.",
                 bus.broker, bus.blocked_reason);
    } else if (test.state == SELF_TEST_FAILED) {
        snprintf(text, room, "Self-test failed on %s: %.100s.", bus.broker,
                 test.reason);
    } else {
        snprintf(text, room, "Serving on %s.", bus.broker);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}
