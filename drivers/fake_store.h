#ifndef DROVER_DRIVERS_FAKE_STORE_H
#define DROVER_DRIVERS_FAKE_STORE_H

/* The world of the fake driver: texts under keys, in memory or in a directory.
 *
 * A key is "NAME" or "GROUP/NAME".  In memory the world belongs to the process
 * and ends when it is no longer used.  In a directory each key is a file, and
 * fake_store_move() a rename(2): what stands under two keys' names in turn is
 * at exactly one of them at any time, whichever process is killed.
 *
 * Threads: under the mutex of drivers/fake.h. */

#include "agent/base/error.h"

struct fake_store;

/* The one world at 'directory' (null or empty: in memory), made if need be.
 * ERR_CONFIG. */
struct error *fake_store_acquire(const char *directory,
                                 struct fake_store **ret) WARN_UNUSED;

/* True if that was its last user. */
bool fake_store_release(struct fake_store *store);

char *fake_store_get(struct fake_store *store, const char *key); /* Or null. */
bool fake_store_has(struct fake_store *store, const char *key);

/* ERR_STORAGE. */
struct error *fake_store_put(struct fake_store *store, const char *key,
                             const char *text) WARN_UNUSED;
struct error *fake_store_move(struct fake_store *store, const char *from,
                              const char *to) WARN_UNUSED;
void fake_store_remove(struct fake_store *store, const char *key);

/* The names in a group, sorted. */
struct fake_names {
    char **names;
    size_t n;
};
void fake_store_list(struct fake_store *store, const char *group,
                     struct fake_names *ret);
void fake_names_close(struct fake_names *names);

/* A key that lasts no longer than the process: the texts of one that was
 * killed are no more.
 * One that was removed by another may be freed all the same. */
struct fake_hold;
struct error *fake_store_hold(struct fake_store *store, const char *key,
                              const char *text,
                              struct fake_hold **ret) WARN_UNUSED;
bool fake_hold_exists(const struct fake_hold *hold);
void fake_hold_free(struct fake_hold *hold); /* Removes the key. */
char *fake_store_get_held(struct fake_store *store, const char *key);

#endif
