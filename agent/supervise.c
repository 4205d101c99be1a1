#include <config.h>

#include "agent/supervise.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "rpc/link.h"

LOG_MODULE(supervise);

/* How often readiness is looked for, and the watchdog's word if nobody asks
 * for it more often. */
#define READY_MS 5
#define IDLE_MS 10000

struct supervise {
    struct agent *agent;
    uv_timer_t timer;
    unsigned interval_ms;
    bool is_watched, is_ready, was_up;
};

static void tick(uv_timer_t *timer);
static void look_for_ready(struct supervise *s);
static void tell_state(struct supervise *s);
static void timer_closed(uv_handle_t *handle);

struct supervise *
supervise_start(struct agent *agent)
{
    struct supervise *s = xzalloc(sizeof *s);
    uint64_t watchdog_us = 0;

    s->agent = agent;
    s->is_watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
    s->interval_ms = IDLE_MS;
    if (s->is_watched && watchdog_us / 3000 < IDLE_MS) {
        s->interval_ms = (unsigned)(watchdog_us / 3000);
    }
    uv_timer_init(agent->loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, tick, READY_MS, 0);
    return s;
}

void
supervise_stop(struct supervise *s)
{
    sd_notify(0, "STOPPING=1\nSTATUS=Stopping; running transfers go on.");
    uv_close((uv_handle_t *)&s->timer, timer_closed);
}

static void
tick(uv_timer_t *timer)
{
    struct supervise *s = timer->data;

    if (!s->is_ready) {
        look_for_ready(s);
    } else {
        tell_state(s);
    }
    if (s->is_watched && link_threads_ticked(s->agent->link)) {
        sd_notify(0, "WATCHDOG=1");
    }
    uv_timer_start(timer, tick, s->is_ready ? s->interval_ms : READY_MS, 0);
}

static void
look_for_ready(struct supervise *s)
{
    struct link_status status = link_status(s->agent->link);

    if (!status.consuming) {
        return;
    }
    s->is_ready = s->was_up = true;
    log_info(NULL, "serving on '%s'", status.broker);
    sd_notifyf(0, "READY=1\nSTATUS=Serving on %s.", status.broker);
}

static void
tell_state(struct supervise *s)
{
    struct link_status status = link_status(s->agent->link);
    bool up = status.consuming && status.publishing;

    if (up != s->was_up) {
        s->was_up = up;
        sd_notifyf(0, "STATUS=%s %s.",
                   up ? "Serving on" : "Without a bus: last was",
                   status.broker);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}
