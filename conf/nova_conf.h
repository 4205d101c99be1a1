#ifndef DROVER_CONF_NOVA_CONF_H
#define DROVER_CONF_NOVA_CONF_H

/* The text of a nova.conf: files in oslo.config's syntax, which is its own.
 *
 * Settings are "name = value" or "name: value" below a "[group]"; a line that
 * begins with a blank continues the value, quotes around it are no part of it,
 * and a comment is a line of its own.  A name that stands several times has
 * its last value, unless it is one of those that have several.  $name,
 * ${name} and $group.name stand for the value of another option, $$ for $.
 * What the settings mean is not known here (conf/nova_import.h).  Pure.
 *
 * Messages hold no values.
 *
 * Threads: no shared state; any thread. */

#include <stddef.h>

#include "agent/base/error.h"

struct nova_setting {
    char *group; /* "DEFAULT", or in lower case. */
    char *name;  /* With _ for each -. */
    char *value; /* Without the blanks around it; as it is written. */
    char *file;
    int line;
};

struct nova_conf;

struct nova_conf *nova_conf_create(void);
void nova_conf_free(struct nova_conf *conf); /* Null is fine. */
CLEANUP_FUNC(struct nova_conf, nova_conf_free)
#define AUTO_NOVA_CONF CLEANUP(nova_conf_free_at) struct nova_conf *

/* Adds what 'size' bytes say, which may be anything at all; 'name' stands for
 * the file in messages.  What is added later counts more.  ERR_CONFIG. */
struct error *nova_conf_add(struct nova_conf *conf, const char *text,
                            size_t size, const char *name) WARN_UNUSED;

/* All settings in the order in which they stand; they live with 'conf'. */
const struct nova_setting *nova_conf_settings(const struct nova_conf *conf,
                                              size_t *ret_n);

/* The one that counts; null: not set. */
const struct nova_setting *nova_conf_find(const struct nova_conf *conf,
                                          const char *group, const char *name);

/* The value of 'setting' with every $ resolved; the caller's.  'outside' says
 * what an option is that is not set, by a text of the caller's, or null: that
 * is ERR_CONFIG. */
typedef char *nova_conf_outside(void *aux, const char *group, const char *name);
struct error *nova_conf_value(const struct nova_conf *conf,
                              const struct nova_setting *setting,
                              nova_conf_outside *outside, void *aux,
                              char **ret) WARN_UNUSED;

#endif
