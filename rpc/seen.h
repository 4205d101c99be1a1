#ifndef DROVER_RPC_SEEN_H
#define DROVER_RPC_SEEN_H

/* Which requests have been taken lately, so that one that comes again is not
 * carried out again. (spec/rpc-wire 5.2.5)
 *
 * An id is remembered until it is both older than SEEN_AGE_MS and not among
 * the newest SEEN_MIN; but never more than SEEN_MAX, so that a flood costs a
 * bounded amount of memory.
 *
 * Pure.  Threads: one at a time. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mem.h"

#define SEEN_MIN 4096
#define SEEN_MAX 65536
#define SEEN_AGE_MS (10 * 60 * 1000)

struct seen;

struct seen *seen_create(void);
void seen_free(struct seen *seen); /* Null is fine. */
CLEANUP_FUNC(struct seen, seen_free)

bool seen_has(const struct seen *seen, const char *id);

/* False if it was there already. */
bool seen_add(struct seen *seen, const char *id, uint64_t now_ms);

#endif
