#ifndef DROVER_MIGRATE_VOLUMES_H
#define DROVER_MIGRATE_VOLUMES_H

/* At the source of a migration that goes back: volumes that a control plane
 * has the destination connect are let go of there, while it is still recorded
 * how, and are recorded as the source's again. (spec/live-migration 6.2)
 *
 * Threads: the loop. */

#include "agent/migrate/migration.h"

/* Whether there are any. */
bool migrate_volumes_any(const struct migration *m);

/* What fails is logged: the destination remembers what it connected, and the
 * records are seen to again by a later undo. */
void migrate_volumes_return(struct op *op, void (*done)(void *aux), void *aux);

#endif
