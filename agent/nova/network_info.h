#ifndef DROVER_NOVA_NETWORK_INFO_H
#define DROVER_NOVA_NETWORK_INFO_H

/* The network info of an instance, as Nova keeps it beside its record, made of
 * what Neutron says. (spec/drop-in 7 and 10, spec/live-migration 3.1, 5.5)
 *
 * It is a list of VIFs: a port each, with its network, the subnets of that, its
 * addresses and what floats to them.  Nova's API and its metadata service
 * answer from it.
 *
 * Pure.  Threads: no shared state. */

#include "rpc/json.h"

/* Lists of Neutron's; all borrowed, null: none. */
struct network_facts {
    const struct json *ports; /* Of the instance. */
    const struct json *networks, *subnets;
    const struct json *dhcp_ports; /* Of those networks. */
    const struct json *floating_ips;
    const char *ovs_bridge; /* Of ports that name none. */
};

/* What of Neutron's is to be known of 'ports': queries for the other lists;
 * each the caller's, null: there is nothing to ask. */
struct network_queries {
    char *networks, *subnets, *dhcp_ports, *floating_ips;
};
struct network_queries network_info_queries(const struct json *ports);
void network_queries_close(struct network_queries *queries);

/* All are the caller's; 'known' is what was kept so far, null or no list: none.
 * Ports that it has and Neutron does not are left out. */

/* Those that are known, in that order; of nothing known it is all. */
struct json *network_info_rebuild(const struct network_facts *facts,
                                  const struct json *known);

/* All that Neutron has: first those of 'order', a list of ids. */
struct json *network_info_collect(const struct network_facts *facts,
                                  const struct json *known,
                                  const struct json *order);

/* All that is known, with that one port as it is now, or without if Neutron
 * has it no more; of nothing known it is all. */
struct json *network_info_refresh(const struct network_facts *facts,
                                  const struct json *known, const char *port);

/* The first port that is of another kind (vnic_type) than it was, which is not
 * supported by Nova; null: none.  Borrowed from 'known'. */
const struct json *network_info_changed_kind(const struct json *known,
                                             const struct json *now);

#endif
