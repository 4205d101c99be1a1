#include <config.h>

#include "agent/forecast.h"

#include <inttypes.h>

#define MIB (1 << 20)

/* What a switch takes beside the memory: devices, and the word that they have
 * arrived.  Seen are 30 to 150 ms. */
#define SWITCH_MS 50

/* No link that anybody has is faster, in MiB/s. */
#define LINK_MAX_MIB_S (1 << 20)

/* Passes that change the rest by less than this part of it are alike. */
#define ALIKE 0.001

static void run(const struct forecast_input *input, double link_bps,
                struct forecast *ret);
static double written(const struct forecast_input *input, double seconds);
static double allowed_ms(const struct forecast_input *input, double at_ms);
static double step_ms(const struct forecast_input *input, unsigned step);
static bool wait_for_step(const struct forecast_input *input, double need_ms,
                          double *at_ms);
static int64_t needed_mib_s(const struct forecast_input *input);

const char *
forecast_word(enum forecast_verdict verdict)
{
    static const char *const words[] = {
#define FORECAST_VERDICT(NAME, WORD) WORD,
        FORECAST_VERDICTS
#undef FORECAST_VERDICT
    };

    return words[verdict];
}

/* What the longer time has beyond the shorter is written steadily; what is
 * then left of the shorter is the hot set. */
struct forecast_dirty
forecast_dirty_of(unsigned short_s, int64_t short_bps, unsigned long_s,
                  int64_t long_bps)
{
    int64_t in_short = short_bps * short_s, in_long = long_bps * long_s;
    int64_t per_s = (in_long - in_short) / (int64_t)(long_s - short_s);

    if (per_s < 0) {
        per_s = 0;
    }
    if (per_s > short_bps) {
        per_s = short_bps; /* The guest has just begun to write. */
    }
    return (struct forecast_dirty){
        .hot = in_short - per_s * short_s,
        .per_s = per_s,
    };
}

void
forecast_make(const struct forecast_input *input, struct forecast *ret)
{
    *ret = (struct forecast){.verdict = FORECAST_DIVERGES};
    run(input, (double)input->link_bps, ret);
    if (ret->verdict != FORECAST_CONVERGES) {
        ret->needed_mib_s = needed_mib_s(input);
    }
}

char *
forecast_text(const struct forecast_input *input,
              const struct forecast *forecast)
{
    const char *postcopy =
        input->permit_postcopy ? "post-copy (permitted)" : "post-copy";
    const char *throttling =
        input->permit_throttle ? "throttling (permitted)" : "throttling";
    uint64_t total_s = (forecast->total_ms + 999) / 1000;
    AUTO_FREE link =
        forecast->needed_mib_s
            ? xasprintf("at least %" PRId64 " MiB/s", forecast->needed_mib_s)
            : xstrdup("a longer downtime");

    switch (forecast->verdict) {
    case FORECAST_CONVERGES:
        return xasprintf("will converge in about %" PRIu64 " s with %" PRIu64
                         " ms downtime",
                         total_s, forecast->downtime_ms);
    case FORECAST_TOO_SLOW:
        return xasprintf("will not converge in time: it takes about %" PRIu64
                         " s and is ended after %" PRIu64
                         " s: needs a longer completion time-out, %s, %s or %s",
                         total_s, input->timeout_s, postcopy, throttling, link);
    case FORECAST_DIVERGES:
        return xasprintf("will not converge: needs %s, %s or %s", postcopy,
                         throttling, link);
    case FORECAST_UNKNOWN:
    default:
        return xstrdup("is not known");
    }
}

/* Plays it through.  Passes either shrink, and then soon fit, or come to be
 * alike, and then only a longer pause ends them. */
static void
run(const struct forecast_input *input, double link_bps, struct forecast *ret)
{
    double rest = (double)input->memory, at_ms;
    double disk_s = (double)input->disk / link_bps;

    ret->n_passes = 0;
    for (at_ms = disk_s * 1000;; ret->n_passes++) {
        double need_ms = rest / link_bps * 1000;
        double before = rest;

        if (ret->n_passes > 0 && need_ms <= allowed_ms(input, at_ms)) {
            break;
        }
        at_ms += need_ms;
        rest = written(input, need_ms / 1000);
        if (ret->n_passes > 0 && rest > before * (1 - ALIKE)) {
            if (!wait_for_step(input, rest / link_bps * 1000, &at_ms)) {
                ret->verdict = FORECAST_DIVERGES;
                return;
            }
            ret->n_passes++;
            break;
        }
    }
    double pause_ms = rest / link_bps * 1000 + SWITCH_MS;
    ret->downtime_ms = (uint64_t)(pause_ms + 0.5);
    ret->total_ms = (uint64_t)(at_ms + pause_ms);
    ret->verdict = input->timeout_s && ret->total_ms / 1000 >= input->timeout_s
                       ? FORECAST_TOO_SLOW
                       : FORECAST_CONVERGES;
}

static double
written(const struct forecast_input *input, double seconds)
{
    double bytes =
        (double)input->dirty.hot + (double)input->dirty.per_s * seconds;

    return bytes < (double)input->memory ? bytes : (double)input->memory;
}

static double
allowed_ms(const struct forecast_input *input, double at_ms)
{
    double step = input->downtime_delay_ms
                      ? at_ms / (double)input->downtime_delay_ms
                      : input->downtime_steps;

    return step_ms(input, step < input->downtime_steps ? (unsigned)step
                                                       : input->downtime_steps);
}

/* As agent/monitor.c sets it. */
static double
step_ms(const struct forecast_input *input, unsigned step)
{
    double d = input->downtime_ms, s = input->downtime_steps;

    return s > 0 ? (d * s + d * (s - 1) * step) / (s * s) : d;
}

/* False: no pause that is accepted is that long. */
static bool
wait_for_step(const struct forecast_input *input, double need_ms, double *at_ms)
{
    for (unsigned step = 0; step <= input->downtime_steps; step++) {
        double from_ms = (double)step * (double)input->downtime_delay_ms;

        if (need_ms <= step_ms(input, step)) {
            *at_ms = *at_ms > from_ms ? *at_ms : from_ms;
            return true;
        }
    }
    return false;
}

/* A faster link never makes it worse. */
static int64_t
needed_mib_s(const struct forecast_input *input)
{
    int64_t too_slow = 0, enough = LINK_MAX_MIB_S;
    struct forecast forecast;

    run(input, (double)enough * MIB, &forecast);
    if (forecast.verdict != FORECAST_CONVERGES) {
        return 0;
    }
    while (enough - too_slow > 1) {
        int64_t middle = too_slow + (enough - too_slow) / 2;

        run(input, (double)middle * MIB, &forecast);
        if (forecast.verdict == FORECAST_CONVERGES) {
            enough = middle;
        } else {
            too_slow = middle;
        }
    }
    return enough;
}
