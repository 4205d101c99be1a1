#ifndef DROVER_CONF_COMPRESSION_H
#define DROVER_CONF_COMPRESSION_H

/* How a guest's memory is compressed on its way: live_migration_compression,
 * for all migrations, or the setting of one.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>

#include "conf/conf.h"

/* Is it one of "none", "xbzrle", "mt"?  Not null. */
bool compression_is_known(const char *method);

/* ERR_CONFIG if 'method' does not go with what else 'conf' asks for: over
 * several connections QEMU (7.2) refuses mt, and does nothing for xbzrle. */
struct error *compression_check(const char *method,
                                const struct conf *conf) WARN_UNUSED;

#endif
