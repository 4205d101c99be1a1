#ifndef DROVER_DRAIN_GUESTS_H
#define DROVER_DRAIN_GUESTS_H

/* The guests of this host, for those who must not miss one.
 *
 * A list of the hypervisor's lacks what could not be read.  So whom it lacks,
 * though there is a record of it or the caller expects it, is asked for by
 * name: only one that then is not found is not here.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct drain_guests {
    struct guest_list *list; /* Of those in doubt only uuid, name, memory_mb. */
    char **doubts;           /* Of each: why it can't be read; null: it was. */
};
void drain_guests_free(struct drain_guests *guests); /* Null is fine. */
CLEANUP_FUNC(struct drain_guests, drain_guests_free)

/* It is this host's: not on its way here, nor gone to another. */
bool drain_guest_is_here(const struct guest *guest);
bool drain_guests_has(const struct drain_guests *guests, const char *uuid);

/* 'found' is the callee's; null with an error, which means that nothing is
 * known.  Takes 'expected', 'n' UUIDs. */
typedef void drain_guests_done(void *aux, struct error *error,
                               struct drain_guests *found);
void drain_guests_find(struct agent *agent, char **expected, size_t n,
                       drain_guests_done *done, void *aux);

#endif
