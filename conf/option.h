#ifndef DROVER_CONF_OPTION_H
#define DROVER_CONF_OPTION_H

/* The rows of conf/options.def as a table, to look names up in.
 *
 * Threads: no shared state; any thread. */

#include <stdint.h>

#include "agent/base/error.h"

enum option_type {
    OPTION_STRING,
    OPTION_PATH,
    OPTION_ENUM,
    OPTION_LIST,
    OPTION_BOOL,
    OPTION_INT,
    OPTION_INT64,
    OPTION_FLOAT,
    OPTION_ALIAS,
    OPTION_GONE
};

struct option {
    const char *name;
    enum option_type type;
    bool is_used;       /* False: accepted with a warning. */
    size_t offset;      /* Within the group's struct. */
    const char *text;   /* Strings, lists: the default, may be null.  An
                         * alias: the new name. */
    const char *values; /* Enumerations: "one|two"; else null. */
    int64_t number;     /* Booleans, integers: the default. */
    int64_t min, max;   /* Integers. */
    double fraction;    /* Floating point: the default. */
    double low, high;   /* Floating point: least and greatest. */
};

struct option_group {
    const char *name; /* Null: the top level. */
    size_t offset;    /* Within struct conf. */
    const struct option *(*rows)(size_t *ret_n);
};

/* All groups, the top level first.  Static storage. */
const struct option_group *option_groups(size_t *ret_n);

/* Null name: the top level.  Null if there is none. */
const struct option_group *option_group_find(const char *name);
const struct option *option_find(const struct option_group *group,
                                 const char *name);

/* What is wrong with a name that is neither an option of 'group' nor, at the
 * top level, a group: ERR_CONFIG, with what it was probably meant to be. */
struct error *option_unknown(const struct option_group *group,
                             const char *name) WARN_UNUSED;

#endif
