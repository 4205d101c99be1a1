#ifndef DROVER_CONF_LISTEN_ADDRESS_H
#define DROVER_CONF_LISTEN_ADDRESS_H

/* "ADDRESS:PORT" as an option has it: "127.0.0.1:9464", "[::1]:9464".  Only
 * addresses, as the look-up of a name would wait.
 *
 * Pure.  Threads: any. */

#include <sys/socket.h>

#include "agent/base/error.h"

/* ERR_CONFIG. */
struct error *listen_address_parse(const char *text,
                                   struct sockaddr_storage *ret,
                                   socklen_t *ret_size) WARN_UNUSED;

#endif
