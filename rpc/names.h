#ifndef DROVER_RPC_NAMES_H
#define DROVER_RPC_NAMES_H

/* A set of names, of which there are few.
 *
 * Pure.  Threads: one at a time. */

#include <stdbool.h>
#include <stddef.h>

/* Zeroed is empty. */
struct names {
    char **names;
    size_t n, room;
};

bool names_has(const struct names *names, const char *name);
void names_add(struct names *names, const char *name);    /* Copied. */
void names_remove(struct names *names, const char *name); /* If it is there. */
void names_clear(struct names *names);

#endif
