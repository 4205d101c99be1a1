#ifndef DROVER_NOVA_PORTS_H
#define DROVER_NOVA_PORTS_H

/* What a migration owes Neutron: whose the ports of an instance are.
 * (spec/live-migration 3.1, 5.2, 5.5, 6.2, 6.4)
 *
 * Every function may be called again: it asks what is so and changes what is
 * not as it should be.  Those that take something back try it for each port,
 * and tell of the first failure; the others stop there.  A Neutron without
 * bindings for several hosts has none to look after.
 *
 * 'done' is called once, on the loop, after the function returned; strings and
 * 'context' are borrowed for the call only.
 *
 * Threads: the loop. */

#include "agent/attach.h"
#include "agent/nova/neutron.h"

struct ports_of {
    struct neutron *neutron;
    const struct json *context;
    const char *instance; /* UUID */
    const char *project;
};

/* The ports that are on host 'on' are on their way to 'to'; null: to nowhere
 * any more. */
void ports_set_migrating(const struct ports_of *of, const char *on,
                         const char *to, attach_done *done, void *aux);

/* Traffic goes to 'host' from now on.  'ports' is a list of ids. */
void ports_activate(const struct ports_of *of, const struct json *ports,
                    const char *host, attach_done *done, void *aux);

/* All ports are on 'host', in 'zone', whatever they were. */
void ports_settle(const struct ports_of *of, const char *host, const char *zone,
                  attach_done *done, void *aux);

/* The ports that are on host 'on' have no binding to 'host'.  Nothing is done
 * if that is the same: a binding that is in use is never deleted. */
void ports_release(const struct ports_of *of, const char *on, const char *host,
                   attach_done *done, void *aux);

/* The instance is no more: its ports are deleted, but for those of 'preserved'
 * (a list of ids), which were there before it and are nobody's then.  In a
 * project of whosoever. */
void ports_give_up(const struct ports_of *of, const struct json *preserved,
                   attach_done *done, void *aux);

#endif
