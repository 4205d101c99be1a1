#ifndef DROVER_AGENT_STUCK_H
#define DROVER_AGENT_STUCK_H

/* When is a transfer to be given up whose link is gone?  A pure core.
 *
 * Whoever sends into a network that keeps silent is told by TCP after a quarter
 * of an hour, and who waits for an answer never; libvirt's abort waits for
 * both. So the connections are broken, as an end of the link would, in two
 * cases:
 *
 *  - no byte has moved for a while, and the other host can't be reached either.
 *    A host that can be reached may be slow, and a guest that writes faster
 *    than it is sent moves bytes all the time: neither is given up here.
 *  - it was aborted, and has not ended for a while.
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stdint.h>

#include "drivers/driver.h"

#define STUCK_ABORT_S 10 /* An abort takes effect in this time. */

struct stuck {
    unsigned silence_s; /* 0: it is never asked. */
    int64_t moved;      /* Bytes, so far. */
    uint64_t moved_ms, abort_ms;
    bool has_begun, is_aborted, is_asked;
};

enum stuck_answer {
    STUCK_NOT,
    STUCK_ASK_PEER, /* Ask the other host, and call again at once. */
    STUCK_SILENT,   /* Break the connections; it comes again if that fails. */
    STUCK_IN_ABORT, /* The same, of one that was aborted. */
};

void stuck_init(struct stuck *stuck, unsigned silence_s);

/* One round of a job that runs.  'peer_answered': to the question, if there was
 * one. */
enum stuck_answer stuck_run(struct stuck *stuck, uint64_t now_ms,
                            const struct job_stats *stats, bool is_aborted,
                            bool peer_answered);

#endif
