#ifndef DROVER_MIGRATE_PLUGS_H
#define DROVER_MIGRATE_PLUGS_H

/* At the source of a migration: Neutron's word that the ports are plugged at
 * the destination, before the guest goes there. (spec/live-migration 3.6)
 *
 * Neutron sends it when the port is plugged, and not only when the guest comes,
 * of ports of Open vSwitch with a bridge between; of others none is waited for.
 * Before the transfer a restart turns a migration back: nothing of this is in
 * the journal.
 *
 * Threads: the loop. */

#include "agent/migrate/migration.h"

/* Before the destination is asked; nothing if there is a wait already, or
 * nothing to wait for. */
void migrate_plugs_register(struct migration *m);

/* The destination has prepared and m->data are its answer: 'done' when what is
 * to be waited for came, perhaps before the call returns.  ERR_VIF_PLUG if a
 * plugging failed, ERR_MIGRATION if the word did not come in time, and either
 * only if that is fatal. */
void migrate_plugs_wait(struct migration *m, attach_done *done, void *aux);

/* Ends it, without an error; nothing if it is not under way. */
void migrate_plugs_cancel(struct migration *m);

/* 'done' is not called any more; null is fine. */
void migrate_plugs_free(struct migrate_plugs *plugs);

#endif
