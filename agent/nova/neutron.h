#ifndef DROVER_NOVA_NEUTRON_H
#define DROVER_NOVA_NEUTRON_H

/* The calls to Neutron that a live migration makes: ports and their bindings to
 * hosts. (spec/live-migration 2.1, 3.1, 5.2, 5.3, 6.2, 6.4)
 *
 * A port has a binding for each host that it may be on; one of them is active.
 * All is done as the user of the configuration's section.
 *
 * Each 'done' is called once, after the function that it was given to has
 * returned; 'error' is taken, other arguments are good for the call only.
 * Besides the errors that are named: ERR_NEUTRON, ERR_UNAUTHORIZED,
 * ERR_FORBIDDEN, ERR_CONFIG, ERR_KEYSTONE_CONNECTION, ERR_CANCELLED.  'context'
 * is that of the request for which it is done; null: our own work.
 *
 * Threads: the loop. */

#include "agent/nova/service.h"

struct neutron;

extern const struct service_kind neutron_kind;

/* 'service' is one of 'neutron_kind', and must last. */
struct neutron *neutron_create(struct service *service,
                               unsigned extension_sync_interval_s);
void neutron_free(struct neutron *neutron); /* After rest_close(). */

typedef void neutron_ended(void *aux, struct error *error);

/* Whether Neutron has an extension, such as NEUTRON_BINDING_EXTENDED; it is
 * asked again after the interval only. */
#define NEUTRON_BINDING_EXTENDED "binding-extended"
#define NEUTRON_DNS "dns-integration"
typedef void neutron_extension_done(void *aux, bool has, struct error *error);
void neutron_has_extension(struct neutron *neutron, const struct json *context,
                           const char *alias, neutron_extension_done *done,
                           void *aux);

/* Null: not told. */
struct neutron_port {
    const char *id;             /* Never null. */
    const char *host;           /* Of the active binding; "" or null: none. */
    const char *vif_type;       /* "ovs", "unbound", "binding_failed"... */
    const char *vnic_type;      /* "normal"... */
    const char *status;         /* "ACTIVE"... */
    const char *device_owner;   /* "compute:nova" */
    const struct json *profile; /* An object or null. */
    const struct json *json;    /* All of it. */
};

/* Those of a device, in a project and on a host unless that is null. */
struct neutron_port_query {
    const char *device_id, *project_id, *host;
};
typedef void neutron_ports_done(void *aux, const struct neutron_port *ports,
                                size_t n, struct error *error);
void neutron_ports(struct neutron *neutron, const struct json *context,
                   const struct neutron_port_query *query,
                   neutron_ports_done *done, void *aux);

/* Sets attributes ({"binding:profile": ...}).  ERR_PORT_NOT_FOUND,
 * ERR_PORT_UPDATE */
void neutron_port_update(struct neutron *neutron, const struct json *context,
                         const char *port, const struct json *attributes,
                         neutron_ended *done, void *aux);

/* One that is not there is deleted.  ERR_PORT_UPDATE */
void neutron_port_delete(struct neutron *neutron, const struct json *context,
                         const char *port, neutron_ended *done, void *aux);

/* The profile of 'port' with "migrating_to" set to 'host', or, of null,
 * without; the caller's.  Null: it is so already. */
struct json *neutron_profile_migrating(const struct neutron_port *port,
                                       const char *host);

/* Any list: 'what' is "networks", "subnets", "floatingips"..., 'query' what
 * follows the '?', quoted.  404 is an empty list: Neutron may lack the
 * extension. */
typedef void neutron_list_done(void *aux, const struct json *items,
                               struct error *error);
void neutron_list(struct neutron *neutron, const struct json *context,
                  const char *what, const char *query, neutron_list_done *done,
                  void *aux);

/* Bindings. */
struct neutron_binding {
    const char *host;
    const char *status; /* "ACTIVE", "INACTIVE" */
    const char *vif_type, *vnic_type;
    const struct json *vif_details, *profile; /* Objects or null. */
};
bool neutron_binding_is_active(const struct neutron_binding *binding);

/* Null 'binding' and null 'error': there is none. */
typedef void neutron_binding_done(void *aux,
                                  const struct neutron_binding *binding,
                                  struct error *error);
typedef void neutron_bindings_done(void *aux,
                                   const struct neutron_binding *bindings,
                                   size_t n, struct error *error);

void neutron_binding_get(struct neutron *neutron, const struct json *context,
                         const char *port, const char *host,
                         neutron_binding_done *done, void *aux);

/* ERR_PORT_NOT_FOUND */
void neutron_bindings(struct neutron *neutron, const struct json *context,
                      const char *port, neutron_bindings_done *done, void *aux);

/* Makes one that is not active, as the port has one already; 'vnic_type' and
 * 'profile' may be null.  ERR_PORT_BINDING: also if there is one. */
void neutron_binding_create(struct neutron *neutron, const struct json *context,
                            const char *port, const char *host,
                            const char *vnic_type, const struct json *profile,
                            neutron_binding_done *done, void *aux);

/* Makes the binding the active one, which takes the port away from the other
 * host.  One that is active stays so.  ERR_PORT_BINDING_ACTIVATION */
void neutron_binding_activate(struct neutron *neutron,
                              const struct json *context, const char *port,
                              const char *host, neutron_ended *done, void *aux);

/* One that is not there is deleted.  ERR_PORT_BINDING_DELETION */
void neutron_binding_delete(struct neutron *neutron, const struct json *context,
                            const char *port, const char *host,
                            neutron_ended *done, void *aux);

#endif
