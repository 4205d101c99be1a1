#include <config.h>

#include "agent/tally.h"

/* Around what a guest's users notice, and what a time-out may be. */
static const double downtime_bounds[] = {0.01, 0.03, 0.1, 0.3, 0.5, 1, 3, 10};
static const double duration_bounds[] = {1,   3,   10,   30,   60,
                                         180, 600, 1800, 3600, 10800};

static enum migration_outcome outcome_of(const struct error *error);
static uint64_t known(int64_t value);

const char *
migration_outcome_name(enum migration_outcome outcome)
{
    static const char *const names[] = {
#define MIGRATION_OUTCOME(NAME) #NAME,
        MIGRATION_OUTCOMES
#undef MIGRATION_OUTCOME
    };

    return names[outcome];
}

void
tally_init(struct tally *tally)
{
    *tally = (struct tally){
        .downtime_s = {.bounds = downtime_bounds,
                       .n_bounds = N_ELEMENTS(downtime_bounds)},
        .duration_s = {.bounds = duration_bounds,
                       .n_bounds = N_ELEMENTS(duration_bounds)},
    };
}

void
tally_outgoing(struct tally *tally, const struct error *error,
               const struct migrate_numbers *numbers)
{
    const struct job_stats *stats = &numbers->stats;

    tally->n_outgoing[outcome_of(error)]++;
    tally->memory_bytes += known(stats->memory_processed);
    tally->disk_bytes += known(stats->disk_processed);
    if (numbers->is_measured && stats->downtime_ms >= 0) {
        histogram_note(&tally->downtime_s, (double)stats->downtime_ms / 1000);
    }
    if (!error && numbers->total_ms >= 0) {
        histogram_note(&tally->duration_s, (double)numbers->total_ms / 1000);
    }
}

void
tally_incoming(struct tally *tally, const struct error *error)
{
    tally->n_incoming[outcome_of(error)]++;
}

static enum migration_outcome
outcome_of(const struct error *error)
{
    if (!error) {
        return MIGRATION_completed;
    }
    return error_code(error) == ERR_CANCELLED ? MIGRATION_cancelled
                                              : MIGRATION_failed;
}

static uint64_t
known(int64_t value)
{
    return value > 0 ? (uint64_t)value : 0;
}
