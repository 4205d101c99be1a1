#ifndef DROVER_CONF_NOVA_IMPORT_H
#define DROVER_CONF_NOVA_IMPORT_H

/* A droverd.conf out of a nova.conf: for a host whose nova-compute gives way
 * to droverd.  (spec/drop-in 16)  Pure.
 *
 * Threads: no shared state; any thread. */

#include "conf/nova_conf.h"

/* Told of each setting that has no effect on drover, and why not. */
typedef void nova_import_left_out(void *aux, const struct nova_setting *setting,
                                  const char *reason);

/* Stores the text of a configuration, the caller's, which droverd is sure to
 * take.  ERR_CONFIG names the option that has a value that it would refuse,
 * with file and line.  Messages hold no values. */
struct error *nova_import(const struct nova_conf *nova,
                          nova_import_left_out *left_out, void *aux,
                          char **ret) WARN_UNUSED;

#endif
