#ifndef DROVER_RPC_OBJECT_VERSIONS_H
#define DROVER_RPC_OBJECT_VERSIONS_H

/* Which versioned objects we know, and at which version.
 * (spec/rpc-wire 8.2 to 8.4)
 *
 * The table is rpc/object_versions.def.  What is older is understood as it is;
 * what is newer may hold what we do not understand.
 *
 * Threads: no shared state; any. */

#include "rpc/json.h"

/* "1.22"; a third part only marks a fix and is of no consequence. */
struct object_version {
    int major, minor;
};

#define OBJECT_VERSION_SIZE 24

/* X.Y or X.Y.Z, of at most nine digits each; anything else is false.
 * 'ret_has_third' may be null. */
bool object_version_parse(const char *text, struct object_version *ret,
                          bool *ret_has_third);

/* Writes "X.Y" to 'buf', and returns it. */
const char *object_version_format(struct object_version version,
                                  char buf[OBJECT_VERSION_SIZE]);

/* Negative, 0 or positive, as 'a' is older than, the same as or newer than
 * 'b'. */
int object_version_compare(struct object_version a, struct object_version b);

/* A class that is in the table; static storage. */
struct object_class {
    const char *name;
    struct object_version version;
    const char *holds; /* Names of classes, a blank between two. */
    size_t row;        /* Internal. */
};

enum object_kind {
    OBJECT_ANY,
    OBJECT_INTEGER,
    OBJECT_DATETIME,
};

struct object_field {
    const char *name;
    enum object_kind kind;
    int since; /* Minor version. */
};

const struct object_class *object_class_find(const char *name); /* or null */
size_t object_n_classes(void);
const struct object_class *object_class_at(size_t i);

/* A field that has something to it, or null, as for no name (an item of a
 * list). */
const struct object_field *object_field_find(const struct object_class *class,
                                             const char *name);

/* The fields that have something to them; '*ret_n' is how many. */
const struct object_field *object_fields(const struct object_class *class,
                                         size_t *ret_n);

/* Says which version of a class counts; false: none is known. */
typedef bool object_version_of(void *aux, const char *name,
                               struct object_version *ret);

/* The versions of the table, as the function above; 'aux' is ignored. */
bool object_version_own(void *aux, const char *name,
                        struct object_version *ret);

/* {"Service": "1.22", ...}: the versions of the class and of all that it
 * reaches, but for those that 'of' does not know.  The caller's. */
struct json *object_manifest(const struct object_class *class,
                             object_version_of *of, void *aux);

#endif
