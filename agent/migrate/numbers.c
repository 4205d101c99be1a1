#include <config.h>

#include "agent/migrate/numbers.h"

static void set_known(struct json *json, const char *name, int64_t value);
static int64_t get_known(const struct json *json, const char *name);

/* Those of struct job_stats that are kept. */
#define KEPT_STATS         \
    STAT(elapsed_ms)       \
    STAT(downtime_ms)      \
    STAT(downtime_net_ms)  \
    STAT(memory_total)     \
    STAT(memory_processed) \
    STAT(memory_remaining) \
    STAT(disk_total)       \
    STAT(disk_processed)   \
    STAT(disk_remaining)   \
    STAT(memory_bps)       \
    STAT(disk_bps)         \
    STAT(iteration)        \
    STAT(dirty_rate_pages) \
    STAT(page_size)

void
migrate_numbers_init(struct migrate_numbers *numbers)
{
    migrate_numbers_parse(NULL, numbers);
}

void
migrate_numbers_note(struct migrate_numbers *numbers,
                     const struct job_stats *stats)
{
    if (stats->type == JOB_NONE) {
        return;
    }
    numbers->stats = *stats;
    if (stats->auto_converge_percent > numbers->throttle_percent) {
        numbers->throttle_percent = stats->auto_converge_percent;
    }
}

void
migrate_numbers_conclude(struct migrate_numbers *numbers, bool has_moved,
                         const struct job_stats *final)
{
    numbers->is_measured = has_moved && final && final->type == JOB_COMPLETED;
    if (numbers->is_measured) {
        migrate_numbers_note(numbers, final);
    } else {
        numbers->stats.downtime_ms = numbers->stats.downtime_net_ms = -1;
    }
}

static int64_t
known_sum(int64_t a, int64_t b)
{
    return (a > 0 ? a : 0) + (b > 0 ? b : 0);
}

int64_t
migrate_numbers_rate(const struct migrate_numbers *numbers, bool is_running)
{
    const struct job_stats *stats = &numbers->stats;
    int64_t rate = -1;

    if (is_running) {
        rate = known_sum(stats->memory_bps, stats->disk_bps);
    } else if (stats->elapsed_ms > 0) {
        rate = (int64_t)((double)known_sum(stats->memory_processed,
                                           stats->disk_processed) *
                         1000 / (double)stats->elapsed_ms);
    }
    return rate > 0 ? rate : -1;
}

void
migrate_numbers_describe(const struct migrate_numbers *numbers, bool is_running,
                         struct json *json)
{
    const struct job_stats *stats = &numbers->stats;
    bool is_measured = !is_running && numbers->is_measured;
    int64_t dirty_rate = stats->dirty_rate_pages >= 0 && stats->page_size > 0
                             ? stats->dirty_rate_pages * stats->page_size
                             : -1;

    set_known(json, "elapsed_ms", stats->elapsed_ms);
    set_known(json, "total_ms", numbers->total_ms);
    set_known(json, "downtime_ms", is_measured ? stats->downtime_ms : -1);
    set_known(json, "downtime_net_ms",
              is_measured ? stats->downtime_net_ms : -1);
    set_known(json, "expected_downtime_ms",
              is_running ? stats->downtime_ms : -1);
    set_known(json, "iteration", stats->iteration);
    set_known(json, "rate", migrate_numbers_rate(numbers, is_running));
    set_known(json, "dirty_rate", dirty_rate);
    set_known(json, "throttle_percent", numbers->throttle_percent);
    json_set_bool(json, "postcopy", numbers->used_postcopy);
}

struct json *
migrate_numbers_format(const struct migrate_numbers *numbers)
{
    struct json *json = json_object();

#define STAT(NAME) set_known(json, #NAME, numbers->stats.NAME);
    KEPT_STATS
#undef STAT
    json_set_bool(json, "is_measured", numbers->is_measured);
    set_known(json, "throttle_percent", numbers->throttle_percent);
    json_set_bool(json, "used_postcopy", numbers->used_postcopy);
    set_known(json, "total_ms", numbers->total_ms);
    return json;
}

void
migrate_numbers_parse(const struct json *json, struct migrate_numbers *ret)
{
    *ret = (struct migrate_numbers){
        .stats =
            {
#define STAT(NAME) .NAME = get_known(json, #NAME),
                KEPT_STATS
#undef STAT
                    .type = JOB_NONE,
                .auto_converge_percent = -1,
            },
        .is_measured = json_bool_of(json, "is_measured"),
        .throttle_percent = get_known(json, "throttle_percent"),
        .used_postcopy = json_bool_of(json, "used_postcopy"),
        .total_ms = get_known(json, "total_ms"),
    };
}

static void
set_known(struct json *json, const char *name, int64_t value)
{
    json_set(json, name, value >= 0 ? json_int(value) : json_null());
}

static int64_t
get_known(const struct json *json, const char *name)
{
    const struct json *value = json_get(json, name);

    return json_is_number(value) ? json_int_of(json, name) : -1;
}
