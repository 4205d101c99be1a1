#ifndef DROVER_CONF_RULES_H
#define DROVER_CONF_RULES_H

/* What must hold in a complete configuration, beyond types and ranges.
 *
 * Threads: no shared state; any thread. */

#include "conf/conf.h"

/* ERR_CONFIG with the reason only; '*ret_group' (null: the top level) and
 * '*ret_name' then say which option is at fault.  Static storage. */
struct error *rules_check(const struct conf *conf, const char **ret_group,
                          const char **ret_name) WARN_UNUSED;

/* Whether a transport URL names a password. */
bool rules_url_has_password(const char *url);

#endif
