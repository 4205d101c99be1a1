#ifndef DROVER_AGENT_RECORDS_LOCAL_H
#define DROVER_AGENT_RECORDS_LOCAL_H

/* Records in the agent's own database, for hosts without a control plane.
 *
 * A moved instance's record moves with it: the destination stores what the
 * source sent, the source keeps none but the migration's.
 *
 * Threads: the loop. */

#include "agent/record_table.h"
#include "agent/records.h"
#include "agent/store.h"
#include "drivers/driver.h"

struct records_local;

/* 'host' and 'availability_zone' are for new instances.  Loads what the store
 * has. */
struct error *records_local_create(struct store *store,
                                   struct completion_queue *q, const char *host,
                                   const char *availability_zone,
                                   struct records_local **ret) WARN_UNUSED;
void records_local_free(struct records_local *records);
struct records *records_local_records(struct records_local *records);

/* The guest as libvirt has it becomes, or updates, an instance: name, memory,
 * vCPUs, root disk, power state; vm_state follows the power state unless a
 * task is under way.  'node' is the hypervisor's host name.  Writes only what
 * changed. True if it is new. */
bool records_local_adopt(struct records_local *records,
                         const struct guest *guest, const char *node);

/* No guest of this uuid is here (and libvirt was asked): forgets the record,
 * unless a task is under way.  True if there was one. */
bool records_local_forget(struct records_local *records, const char *uuid);

/* The stored instance by UUID, name (display_name or domain name), or a unique
 * beginning of the UUID (at least 4 characters); borrowed, valid until the loop
 * goes on; null: none or several ('*ret_n' tells). */
const struct object *records_local_find(struct records_local *records,
                                        const char *name, size_t *ret_n);
/* The UUID of each instance; the array and its strings are the caller's,
 * '*ret_n' of them. */
char **records_local_uuids(const struct records_local *records, size_t *ret_n);
size_t records_local_n_instances(const struct records_local *records);
void records_local_count_states(const struct records_local *records,
                                unsigned ret_n[N_VM_STATES]);

#endif
