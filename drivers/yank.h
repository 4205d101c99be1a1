#ifndef DROVER_DRIVERS_YANK_H
#define DROVER_DRIVERS_YANK_H

/* QEMU's command that breaks connections at once, for a link that is gone:
 * otherwise what is on its way to a disk over there waits for as long as TCP
 * does, a quarter of an hour or for ever; and who cancels the copy meanwhile
 * has QEMU, guest and all, stand still until then (7.2).
 *
 * Pure.  Threads: no shared state. */

#include <stdbool.h>

/* What QEMU is asked. */
#define YANK_QUERY "{\"execute\": \"query-yank\"}"

/* From the answer, the command that breaks all connections of a migration from
 * here, or those of disks only, and no other that the guest has, such as those
 * to its volumes; the caller's.  Null: there are none. */
char *yank_command(const char *answer, bool only_disks);

#endif
