#ifndef DROVER_NOVA_TRAITS_H
#define DROVER_NOVA_TRAITS_H

/* What Placement is told that this host can do: names of os-traits.
 * (spec/drop-in 6.3, 6.4)
 *
 * Some traits are managed: they are set while they are true of this host, and
 * taken away when they are not.  All others are somebody else's and stay.
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/nova/node_settings.h"

#define TRAIT_DISABLED "COMPUTE_STATUS_DISABLED"

/* 'current': those that Placement has. */
void traits_wanted(const struct node_settings *settings,
                   const struct host_resources *host, bool is_disabled,
                   const struct text_set *current, struct text_set *ret);

/* Those of 'from' that are not in 'in'. */
void traits_missing(const struct text_set *from, const struct text_set *in,
                    struct text_set *ret);

bool traits_same(const struct text_set *a, const struct text_set *b);

/* "A, B, C", the caller's. */
char *traits_format(const struct text_set *traits);

#endif
