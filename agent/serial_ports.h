#ifndef DROVER_AGENT_SERIAL_PORTS_H
#define DROVER_AGENT_SERIAL_PORTS_H

/* The TCP ports on which the serial ports of a guest that comes here will
 * listen: how many, and which.  (spec/live-migration 3.5)
 *
 * Who has one is known from the operations that bring guests here, each with
 * its own in its migrate data, and from the system, where a port of a guest
 * that runs is in use.  There is no table beside these that could keep one for
 * ever.
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/error.h"
#include "rpc/object.h"

/* Where an image of Nova's has how many there are, in system_metadata. */
#define SERIAL_PORTS_KEY "image_hw_serial_port_count"

/* More than any machine type has. */
#define SERIAL_PORTS_MAX 16

/* Of an Instance: what its image says, else its flavor, else 'otherwise'. */
unsigned serial_ports_wanted(const struct object *instance, unsigned otherwise);

/* The first 'n' of 'range' ("10000:20000", as the configuration has checked
 * it) that are not taken; 'ret' has room.  ERR_MIGRATION if there are not so
 * many. */
struct error *serial_ports_choose(const char *range, unsigned n,
                                  bool (*is_taken)(void *aux, int port),
                                  void *aux, int *ret) WARN_UNUSED;

/* Does somebody listen there?  An 'address' that is a name, which would have to
 * be looked up, stands for all of this host's. */
bool serial_ports_in_use(const char *address, int port);

#endif
