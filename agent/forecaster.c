#include <config.h>

#include "agent/forecaster.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/forecast.h"
#include "agent/migrate/data.h"
#include "agent/migrate/rules.h"
#include "agent/migrate/migration.h"

LOG_MODULE(forecaster);

#define MIB INT64_C(1048576)

/* What is left of 1 Gbit/s: for those who know nothing of their link. */
#define ASSUMED_BPS (112 * MIB)

/* The last migrations to a host of which the fastest counts, if it took long
 * enough to tell. */
#define N_PAST 5
#define PAST_MIN_MS 500

#define POLL_MS 200
#define CALL_DEADLINE_MS 10000
#define MEASURE_SLACK_MS 5000

/* Two times of different length tell pages that are written again and again
 * from others. */
#define N_PHASES 2
static const unsigned periods_s[N_PHASES] = {1, 2};

struct forecaster {
    struct forecaster *next, *prev; /* Of the agent's. */
    struct agent *agent;
    struct log_context log;
    struct json *context;
    char *uuid, *dest; /* The latter may be null. */
    int block_migration;
    struct migrate_settings settings;
    struct guest *guest;
    uv_timer_t timer; /* Guards a call, or waits for the next look. */
    bool is_calling, is_done;
    unsigned phase;
    uint64_t deadline_ms; /* Of the phase. */
    int64_t rates_bps[N_PHASES];
    bool is_measured;
    char *reason; /* Why it is not; null: it is. */
    int64_t link_bps;
    const char *link_source;
    forecaster_done *done;
    void *aux;
};

static void guest_known(void *aux, struct error *error, struct guest *guest);
static void measure(struct forecaster *f);
static void measuring(void *aux, struct error *error);
static void timer_fired(uv_timer_t *timer);
static void rate_known(void *aux, struct error *error,
                       const struct dirty_rate *rate);
static void look_at_link(struct forecaster *f);
static void past_known(void *aux, struct error *error, struct object **records,
                       size_t n);
static int64_t past_bps(const struct forecaster *f,
                        const struct object *record);
static void give_up(struct forecaster *f, char *reason);
static void conclude(struct forecaster *f);
static void fill_input(const struct forecaster *f, struct forecast_input *ret);
static struct json *describe(const struct forecaster *f,
                             const struct forecast_input *input);
static void call_begins(struct forecaster *f);
static bool call_ended(struct forecaster *f);
static void finish(struct forecaster *f);
static void timer_closed(uv_handle_t *handle);

void
forecaster_start(struct agent *agent, const struct forecaster_request *request,
                 const struct json *context, const struct log_context *log,
                 forecaster_done *done, void *aux)
{
    struct forecaster *f = xzalloc(sizeof *f);

    f->agent = agent;
    f->log = *log;
    f->context = json_copy(context);
    f->uuid = xstrdup(request->uuid);
    f->dest = xstrdup_null(request->dest);
    f->block_migration = request->block_migration;
    migrate_settings_copy(&f->settings, request->settings);
    f->done = done;
    f->aux = aux;
    f->next = agent->forecasters;
    if (f->next) {
        f->next->prev = f;
    }
    agent->forecasters = f;
    uv_timer_init(agent->loop, &f->timer);
    f->timer.data = f;
    call_begins(f);
    driver_guest_get(agent->driver, f->uuid, guest_known, f);
}

void
forecaster_cancel(struct agent *agent)
{
    for (struct forecaster *f = agent->forecasters, *next; f; f = next) {
        next = f->next;
        give_up(f, xstrdup("the agent is stopping"));
    }
}

/* A guest that does not run writes nothing. */
static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct forecaster *f = aux;
    AUTO_ERROR owned UNUSED = error;

    f->guest = guest;
    if (!call_ended(f)) {
        return;
    }
    if (error) {
        give_up(f, error_text(error));
    } else if (guest->presence != GUEST_ACTIVE) {
        give_up(f, xstrdup("the guest does not run"));
    } else if (guest->power_state == POWER_PAUSED) {
        f->is_measured = true;
        look_at_link(f);
    } else {
        measure(f);
    }
}

static void
measure(struct forecaster *f)
{
    unsigned period_s = periods_s[f->phase];

    f->deadline_ms = clock_now_ms() + period_s * 1000 + MEASURE_SLACK_MS;
    call_begins(f);
    driver_dirty_rate_start(f->agent->driver, f->uuid, period_s, measuring, f);
}

static void
measuring(void *aux, struct error *error)
{
    struct forecaster *f = aux;
    AUTO_ERROR owned UNUSED = error;

    if (!call_ended(f)) {
        return;
    }
    if (error) {
        give_up(f, error_text(error));
    } else {
        uv_timer_start(&f->timer, timer_fired, periods_s[f->phase] * 1000, 0);
    }
}

/* Either it is time to look again, or a call took too long. */
static void
timer_fired(uv_timer_t *timer)
{
    struct forecaster *f = timer->data;

    if (f->is_calling) {
        give_up(f, xstrdup("the hypervisor does not answer in time"));
        return;
    }
    call_begins(f);
    driver_dirty_rate_get(f->agent->driver, f->uuid, rate_known, f);
}

/* Another may have measured meanwhile: a guest has one result.  Not every
 * hypervisor says over which time. */
static bool
is_mine(const struct forecaster *f, const struct dirty_rate *rate)
{
    return rate->state == DIRTY_RATE_MEASURED &&
           (!rate->period_s || rate->period_s == periods_s[f->phase]);
}

static void
rate_known(void *aux, struct error *error, const struct dirty_rate *rate)
{
    struct forecaster *f = aux;
    AUTO_ERROR owned UNUSED = error;

    if (!call_ended(f)) {
        return;
    }
    if (error) {
        give_up(f, error_text(error));
    } else if (!is_mine(f, rate)) {
        if (clock_now_ms() > f->deadline_ms) {
            give_up(f, xstrdup("the measurement does not end"));
        } else {
            uv_timer_start(&f->timer, timer_fired, POLL_MS, 0);
        }
    } else {
        f->rates_bps[f->phase++] = rate->bytes_per_s;
        f->is_measured = f->phase == N_PHASES;
        if (f->is_measured) {
            look_at_link(f);
        } else {
            measure(f);
        }
    }
}

/* The limit, else what migrations there came to, else a guess.  A budget of
 * the host is taken for a migration that runs alone. */
static void
look_at_link(struct forecaster *f)
{
    struct records *records = f->agent->records;
    const struct conf *conf = f->agent->conf;
    int64_t limit = migrate_settings_bandwidth(&f->settings, conf);
    int64_t budget = conf->libvirt.live_migration_host_bandwidth;

    if (budget > 0 && (limit == 0 || limit > budget)) {
        limit = budget;
    }
    if (limit > 0) {
        f->link_bps = limit * MIB;
        f->link_source = "limit";
        conclude(f);
        return;
    }
    f->is_calling = true;
    records->ops->migration_list(records->state, f->context, NULL, past_known,
                                 f);
}

static void
past_known(void *aux, struct error *error, struct object **records, size_t n)
{
    struct forecaster *f = aux;
    AUTO_ERROR owned UNUSED = error;
    unsigned n_past = 0;

    f->link_bps = ASSUMED_BPS;
    f->link_source = "assumed";
    for (size_t i = 0; i < n; i++) { /* Newest first. */
        int64_t bps =
            n_past < N_PAST && !f->is_done ? past_bps(f, records[i]) : 0;
        bool is_first = n_past == 0;

        n_past += bps > 0;
        if (bps > 0 && (is_first || bps > f->link_bps)) {
            f->link_bps = bps;
            f->link_source = "measured";
        }
        object_free(records[i]);
    }
    free(records);
    if (call_ended(f)) {
        conclude(f);
    }
}

/* 0: it says nothing. */
static int64_t
past_bps(const struct forecaster *f, const struct object *record)
{
    const char *dest = object_string(record, "dest_compute");

    if (!str_eq(object_string(record, "status"), "completed") ||
        (f->dest ? !str_eq(dest, f->dest)
                 : !str_eq(object_string(record, "source_compute"),
                           f->agent->conf->host))) {
        return 0;
    }
    AUTO_JSON json = migration_describe(f->agent, record);
    double bytes = (double)json_int_of(json, "memory_processed") +
                   (double)json_int_of(json, "disk_processed");
    int64_t elapsed_ms = json_int_of(json, "elapsed_ms");

    return elapsed_ms >= PAST_MIN_MS
               ? (int64_t)(bytes * 1000 / (double)elapsed_ms)
               : 0;
}

static void
give_up(struct forecaster *f, char *reason)
{
    f->reason = reason;
    conclude(f);
}

static void
conclude(struct forecaster *f)
{
    struct forecast_input input = {0};

    if (f->guest) {
        fill_input(f, &input);
    }
    struct json *json = describe(f, &input);
    *(f->prev ? &f->prev->next : &f->agent->forecasters) = f->next;
    if (f->next) {
        f->next->prev = f->prev;
    }
    f->is_done = true;
    f->done(f->aux, json);
    if (!f->is_calling) {
        finish(f);
    }
}

/* A policy raises the pause when no pass gains any more, so that in the end it
 * is all of it; time does not come into it. */
static void
fill_input(const struct forecaster *f, struct forecast_input *ret)
{
    const struct conf *conf = f->agent->conf;
    const struct conf_libvirt *libvirt = &conf->libvirt;
    struct convergence policy =
        migrate_settings_convergence(&f->settings, conf);
    unsigned actions = convergence_actions(&policy);
    bool has_policy = policy.n_steps > 0;
    AUTO_FREE disks =
        f->block_migration ? migrate_data_disks_format(f->guest) : NULL;
    double gb = migrate_data_gb(f->guest->memory_mb, disks);
    bool runs = f->guest->power_state == POWER_RUNNING;
    bool throttles = has_policy
                         ? actions & CONVERGENCE_THROTTLE
                         : libvirt->live_migration_permit_auto_converge &&
                               !libvirt->live_migration_permit_post_copy;

    *ret = (struct forecast_input){
        .memory = f->guest->memory_mb * MIB,
        .disk =
            f->block_migration ? migrate_rules_disk_need(f->guest, true) : 0,
        .dirty = forecast_dirty_of(periods_s[0], f->rates_bps[0], periods_s[1],
                                   f->rates_bps[1]),
        .link_bps = f->link_bps,
        .downtime_ms = migrate_settings_downtime_ms(&f->settings, conf),
        .downtime_steps =
            has_policy ? 0 : (unsigned)libvirt->live_migration_downtime_steps,
        .downtime_delay_ms =
            (uint64_t)(libvirt->live_migration_downtime_delay * gb) * 1000,
        .timeout_s = migrate_settings_timeout_s(&f->settings, conf, gb),
        .permit_postcopy = runs && libvirt->live_migration_permit_post_copy,
        .permit_throttle = runs && throttles,
    };
}

static void
set_if(struct json *json, bool is_known, const char *name, int64_t value)
{
    json_set(json, name, is_known ? json_int(value) : json_null());
}

static struct json *
describe(const struct forecaster *f, const struct forecast_input *input)
{
    struct forecast forecast = {.verdict = FORECAST_UNKNOWN};
    struct json *json = json_object();
    bool is_made = !f->reason;

    if (is_made) {
        forecast_make(input, &forecast);
    }
    AUTO_FREE text = is_made ? forecast_text(input, &forecast)
                             : xasprintf("not known: %s", f->reason);
    bool ends = forecast.verdict == FORECAST_CONVERGES ||
                forecast.verdict == FORECAST_TOO_SLOW;

    json_set_string(json, "verdict", forecast_word(forecast.verdict));
    json_set_string(json, "text", text);
    json_set_string(json, "reason", f->reason);
    set_if(json, ends, "total_ms", (int64_t)forecast.total_ms);
    set_if(json, ends, "downtime_ms", (int64_t)forecast.downtime_ms);
    set_if(json, ends, "n_passes", forecast.n_passes);
    set_if(json, forecast.needed_mib_s > 0, "needed_bandwidth",
           forecast.needed_mib_s);
    set_if(json, f->guest, "memory", input->memory);
    set_if(json, f->guest, "disk", input->disk);
    set_if(json, f->is_measured, "dirty_rate", f->rates_bps[0]);
    set_if(json, f->is_measured, "hot_memory", input->dirty.hot);
    set_if(json, f->link_source, "link_rate", f->link_bps);
    json_set_string(json, "link_source", f->link_source);
    set_if(json, f->guest, "max_downtime_ms", input->downtime_ms);
    set_if(json, f->guest, "timeout_s", (int64_t)input->timeout_s);
    return json;
}

static void
call_begins(struct forecaster *f)
{
    f->is_calling = true;
    uv_timer_start(&f->timer, timer_fired, CALL_DEADLINE_MS, 0);
}

/* False: nobody waits for it any more. */
static bool
call_ended(struct forecaster *f)
{
    f->is_calling = false;
    if (f->is_done) {
        finish(f);
        return false;
    }
    uv_timer_stop(&f->timer);
    return true;
}

static void
finish(struct forecaster *f)
{
    uv_close((uv_handle_t *)&f->timer, timer_closed);
}

static void
timer_closed(uv_handle_t *handle)
{
    struct forecaster *f = handle->data;

    json_free(f->context);
    guest_free(f->guest);
    migrate_settings_close(&f->settings);
    free(f->uuid);
    free(f->dest);
    free(f->reason);
    free(f);
}
