#ifndef DROVER_CONF_DERIVE_H
#define DROVER_CONF_DERIVE_H

/* What an option is that is not set but follows from the machine or from other
 * options.
 *
 * Threads: no shared state; any thread. */

#include "conf/conf.h"

/* Fills in 'host' and 'my_ip', puts values in the place of $host, $my_ip and
 * $state_path in all strings but transport URLs (a password may hold a $), and
 * shortens 'compute_driver' to the driver's own name. */
void derive_rest(struct conf *conf);

#endif
