#include <config.h>

#include "agent/downtime.h"

#define QEMU_DEFAULT_MS 300

static unsigned run_schedule(struct downtime *downtime, uint64_t elapsed_ms);
static unsigned run_policy(struct downtime *downtime, bool raise);
static unsigned step_ms(const struct downtime_options *options, unsigned step);

void
downtime_init(struct downtime *downtime, const struct downtime_options *options)
{
    *downtime = (struct downtime){.options = *options, .step = -1};
}

unsigned
downtime_run(struct downtime *downtime, uint64_t elapsed_ms, bool raise)
{
    unsigned ms = downtime->wanted_ms;

    downtime->wanted_ms = 0;
    if (!downtime->is_held) {
        ms = downtime->options.has_policy ? run_policy(downtime, raise)
                                          : run_schedule(downtime, elapsed_ms);
    }
    if (ms) {
        downtime->ms = ms;
    }
    return ms;
}

void
downtime_hold(struct downtime *downtime, unsigned ms)
{
    downtime->is_held = true;
    downtime->wanted_ms = ms;
}

void
downtime_leave(struct downtime *downtime)
{
    downtime->is_held = true;
}

bool
downtime_is_own(const struct downtime *downtime, unsigned ms)
{
    const struct downtime_options *o = &downtime->options;

    if (ms == QEMU_DEFAULT_MS || ms == o->max_ms) {
        return true;
    }
    if (o->has_policy) {
        unsigned own = step_ms(o, 0);

        while (own < ms && own < o->max_ms) {
            own *= 2;
        }
        return own == ms && ms < o->max_ms;
    }
    for (unsigned i = 0; i <= o->n_steps; i++) {
        if (step_ms(o, i) == ms) {
            return true;
        }
    }
    return false;
}

/* Step i is due once more than D * i seconds have passed; what was missed is
 * skipped. */
static unsigned
run_schedule(struct downtime *downtime, uint64_t elapsed_ms)
{
    const struct downtime_options *o = &downtime->options;

    if (elapsed_ms == 0 || o->n_steps == 0) {
        return 0;
    }
    uint64_t step =
        o->delay_ms ? (elapsed_ms - 1) / o->delay_ms : (uint64_t)o->n_steps;
    if (step > o->n_steps) {
        step = o->n_steps;
    }
    if ((int)step <= downtime->step) {
        return 0;
    }
    downtime->step = (int)step;
    return step_ms(o, (unsigned)step);
}

static unsigned
run_policy(struct downtime *downtime, bool raise)
{
    const struct downtime_options *o = &downtime->options;
    unsigned ms = downtime->ms;

    if (ms == 0) {
        return o->policy_raises ? step_ms(o, 0) : o->max_ms;
    }
    if (!raise || ms >= o->max_ms) {
        return 0;
    }
    return ms > o->max_ms / 2 ? o->max_ms : ms * 2;
}

/* In whole numbers: d/s + (d - d/s)/s * i, rounded down once; but never 0. */
static unsigned
step_ms(const struct downtime_options *options, unsigned step)
{
    uint64_t s = options->n_steps, d = options->max_ms;
    uint64_t ms = s ? (d * s + d * (s - 1) * step) / (s * s) : d;

    return ms ? (unsigned)ms : 1;
}
