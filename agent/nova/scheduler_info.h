#ifndef DROVER_NOVA_SCHEDULER_INFO_H
#define DROVER_NOVA_SCHEDULER_INFO_H

/* Has the schedulers of the cloud know which instances are on this host, for
 * those of their filters that ask for neighbours. (spec/drop-in 2, 7, 12)
 *
 * Each change is told to all of them, and the whole list from time to time: one
 * that has another asks the database.  Nobody answers.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

struct scheduler_info;

/* Null: the configuration has it off.  All others take null, and do nothing. */
struct scheduler_info *scheduler_info_create(struct nova *nova);

/* Begins to tell the list regularly. */
void scheduler_info_begin(struct scheduler_info *info);

/* These are on this host. */
void scheduler_info_update(struct scheduler_info *info,
                           struct object *const *instances, size_t n);

/* This one is no more. */
void scheduler_info_delete(struct scheduler_info *info, const char *uuid);

void scheduler_info_close(struct scheduler_info *info);

#endif
