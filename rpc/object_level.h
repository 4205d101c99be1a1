#ifndef DROVER_RPC_OBJECT_LEVEL_H
#define DROVER_RPC_OBJECT_LEVEL_H

/* Objects in a tree of JSON, and their versions: which there are, whether they
 * are newer than somebody understands, and how to make them older.
 * (spec/rpc-wire 8.4 to 8.6)
 *
 * A primitive is any object with the key "nova_object.name", valid or not;
 * they stand in lists and maps, and in one another.
 *
 * Pure.  Threads: any. */

#include "rpc/object_versions.h"

/* Calls 'each' for every primitive, a parent before what it holds, and returns
 * the first error.  With 'only_top' what is within another is left out. */
struct error *object_walk(struct json *json, bool only_top,
                          struct error *(*each)(void *aux,
                                                struct json *primitive),
                          void *aux) WARN_UNUSED;

/* The name of a primitive, or null when it has none that is a string. */
const char *object_primitive_name(const struct json *primitive);

/* Removes the third part of the version of each object that without it is not
 * newer than 'of' says. */
void object_drop_fixes(struct json *json, object_version_of *of, void *aux);

/* How the objects in 'json' compare with the versions of 'of'; those that it
 * does not know, or that have no valid version, count as fine.  The worst of
 * all counts. */
enum object_fit {
    OBJECT_FITS,        /* The same or older. */
    OBJECT_NEWER,       /* Of the same major version. */
    OBJECT_OTHER_MAJOR, /* Older or newer. */
};
enum object_fit object_fit(const struct json *json, object_version_of *of,
                           void *aux);

/* Null, or ERR_INCOMPATIBLE_OBJECT about the first object that is newer, of
 * another major version, or of no valid one; one that 'of' does not know is
 * ERR_UNSUPPORTED_OBJECT. */
struct error *object_check_fit(struct json *json, object_version_of *of,
                               void *aux) WARN_UNUSED;

/* Makes each object no newer than 'of' says: fields that its version does not
 * have go, with all they hold, and what is marked as changed is among what is
 * left; a field that holds a changed object is marked as well, and points in
 * time are written as they are sent.  The errors are object_check_fit()'s, but
 * for what is merely newer. */
struct error *object_level(struct json *json, object_version_of *of,
                           void *aux) WARN_UNUSED;

/* Makes of 'primitive' what 'from', another, is; what stood there is freed. */
void object_overwrite(struct json *primitive, const struct json *from);

/* The failure of a class in a version that nobody here takes, in Nova's words
 * and with its arguments; any may be a peer's. */
struct error *object_incompatible(const char *name, const char *version,
                                  struct object_version supported) WARN_UNUSED;

#endif
