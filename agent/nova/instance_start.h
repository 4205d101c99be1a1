#ifndef DROVER_NOVA_INSTANCE_START_H
#define DROVER_NOVA_INSTANCE_START_H

/* Does about one instance what agent/nova/instance_init.h decides.
 * (spec/drop-in 8)
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

/* 'instance' is borrowed until 'done', which comes once and never before the
 * call returned.  Nothing that fails is worth more than a line in the log. */
void instance_start(struct nova *nova, const struct object *instance,
                    void (*done)(void *aux), void *aux);

#endif
