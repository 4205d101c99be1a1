#include <config.h>

#include "agent/stuck.h"

static bool run_silence(struct stuck *stuck, uint64_t now_ms, int64_t moved);
static int64_t bytes_moved(const struct job_stats *stats);

void
stuck_init(struct stuck *stuck, unsigned silence_s)
{
    *stuck = (struct stuck){.silence_s = silence_s};
}

enum stuck_answer
stuck_run(struct stuck *stuck, uint64_t now_ms, const struct job_stats *stats,
          bool is_aborted, bool peer_answered)
{
    if (is_aborted && !stuck->is_aborted) {
        stuck->is_aborted = true;
        stuck->abort_ms = now_ms;
    }
    if (stuck->is_aborted) { /* Whoever is there: nobody wants it any more. */
        if (now_ms - stuck->abort_ms < STUCK_ABORT_S * UINT64_C(1000)) {
            return STUCK_NOT;
        }
        stuck->abort_ms = now_ms;
        return STUCK_IN_ABORT;
    }
    if (!run_silence(stuck, now_ms, bytes_moved(stats))) {
        return STUCK_NOT;
    }
    if (!stuck->is_asked) {
        stuck->is_asked = true;
        return STUCK_ASK_PEER;
    }
    stuck->is_asked = false;
    stuck->moved_ms = now_ms;
    return peer_answered ? STUCK_NOT : STUCK_SILENT;
}

/* Has nothing moved for too long? */
static bool
run_silence(struct stuck *stuck, uint64_t now_ms, int64_t moved)
{
    if (!stuck->has_begun || moved != stuck->moved) {
        stuck->has_begun = true;
        stuck->is_asked = false;
        stuck->moved = moved;
        stuck->moved_ms = now_ms;
    }
    return stuck->silence_s &&
           now_ms - stuck->moved_ms >= stuck->silence_s * UINT64_C(1000);
}

/* What is not known counts as nothing. */
static int64_t
bytes_moved(const struct job_stats *stats)
{
    return (stats->memory_processed > 0 ? stats->memory_processed : 0) +
           (stats->disk_processed > 0 ? stats->disk_processed : 0);
}
