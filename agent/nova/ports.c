#include <config.h>

#include "agent/nova/ports.h"

#include <stdlib.h>

LOG_MODULE(nova_ports);

/* One port after the other: there are few, and a port's host is a lock of
 * Neutron's. */
struct walk {
    struct neutron *neutron;
    struct json *context;
    char *instance, *project;
    char *on;          /* Which ports; null: all. */
    char *host, *zone; /* What they are given, or lose; may be null. */
    bool is_of_bindings;
    bool takes_back;
    bool has_dns;           /* Ports have names. */
    struct json *preserved; /* Ids of ports; null: none. */

    /* What is to be done with a port that was listed; null: it is known. */
    void (*plan)(struct walk *walk, const struct neutron_port *port);
    void (*work)(struct walk *walk); /* On 'at'. */

    struct json *todo; /* An object for each port. */
    const struct json *at;
    struct error *error;
    attach_done *done;
    void *aux;
};

static void begin(struct walk *walk);
static void walked(void *aux, struct error *error);

static struct walk *
walk_create(const struct ports_of *of, const char *on, attach_done *done,
            void *aux)
{
    struct walk *walk = xzalloc(sizeof *walk);

    walk->neutron = of->neutron;
    walk->context = json_copy(of->context);
    walk->instance = xstrdup_null(of->instance);
    walk->project = xstrdup_null(of->project);
    walk->on = xstrdup_null(on);
    walk->todo = json_array();
    walk->done = done;
    walk->aux = aux;
    return walk;
}

/* The end of it, too. */
static void
finish(struct walk *walk)
{
    walk->done(walk->aux, steal(&walk->error));
    json_free(walk->context);
    json_free(walk->todo);
    json_free(walk->preserved);
    free(walk->instance);
    free(walk->project);
    free(walk->on);
    free(walk->host);
    free(walk->zone);
    free(walk);
}

/* ---- On its way -----------------------------------------------------------
 */

static struct json *
todo_of(const struct neutron_port *port)
{
    struct json *todo = json_object();

    json_set_string(todo, "id", port->id);
    return todo;
}

static void
plan_migrating(struct walk *walk, const struct neutron_port *port)
{
    struct json *profile = neutron_profile_migrating(port, walk->host);

    if (profile) {
        struct json *attributes = json_object();
        struct json *todo = todo_of(port);

        json_set(attributes, "binding:profile", profile);
        json_set(todo, "attributes", attributes);
        json_append(walk->todo, todo);
    }
}

static void
update(struct walk *walk)
{
    neutron_port_update(walk->neutron, walk->context,
                        json_string_of(walk->at, "id"),
                        json_get(walk->at, "attributes"), walked, walk);
}

void
ports_set_migrating(const struct ports_of *of, const char *on, const char *to,
                    attach_done *done, void *aux)
{
    struct walk *walk = walk_create(of, on, done, aux);

    walk->host = xstrdup_null(to);
    walk->plan = plan_migrating;
    walk->work = update;
    walk->takes_back = !to;
    begin(walk);
}

/* ---- There ----------------------------------------------------------------
 */

static void
settled_plan(struct walk *walk, const struct neutron_port *port)
{
    bool is_bound = port->vif_type && !str_eq(port->vif_type, "unbound") &&
                    !str_eq(port->vif_type, "binding_failed");

    if (str_eq(port->host, walk->host) && is_bound) {
        return;
    }
    struct json *attributes = json_object();
    struct json *todo = todo_of(port);
    struct json *profile = neutron_profile_migrating(port, NULL);
    AUTO_FREE owner = xasprintf("compute:%s", walk->zone);

    json_set_string(attributes, "binding:host_id", walk->host);
    json_set_string(attributes, "device_owner", owner);
    if (profile) {
        json_set(attributes, "binding:profile", profile);
    }
    json_set(todo, "attributes", attributes);
    json_append(walk->todo, todo);
}

void
ports_settle(const struct ports_of *of, const char *host, const char *zone,
             attach_done *done, void *aux)
{
    struct walk *walk = walk_create(of, NULL, done, aux);

    walk->host = xstrdup(host);
    walk->zone = xstrdup(zone);
    walk->plan = settled_plan;
    walk->work = update;
    begin(walk);
}

/* ---- Bindings -------------------------------------------------------------
 */

static void
found(void *aux, const struct neutron_binding *binding, struct error *error)
{
    struct walk *walk = aux;

    if (error || !binding || neutron_binding_is_active(binding)) {
        /* Without one the port was bound some other way. */
        walked(walk, error);
        return;
    }
    neutron_binding_activate(walk->neutron, walk->context,
                             json_string_of(walk->at, "id"), walk->host, walked,
                             walk);
}

static void
activate(struct walk *walk)
{
    neutron_binding_get(walk->neutron, walk->context,
                        json_string_of(walk->at, "id"), walk->host, found,
                        walk);
}

void
ports_activate(const struct ports_of *of, const struct json *ports,
               const char *host, attach_done *done, void *aux)
{
    struct walk *walk = walk_create(of, NULL, done, aux);

    walk->host = xstrdup(host);
    walk->is_of_bindings = true;
    walk->work = activate;
    json_for_each (port, ports) {
        struct json *todo = json_object();

        json_set_string(todo, "id", json_get_string(port));
        json_append(walk->todo, todo);
    }
    begin(walk);
}

static void
plan_each(struct walk *walk, const struct neutron_port *port)
{
    json_append(walk->todo, todo_of(port));
}

static void
delete_binding(struct walk *walk)
{
    neutron_binding_delete(walk->neutron, walk->context,
                           json_string_of(walk->at, "id"), walk->host, walked,
                           walk);
}

void
ports_release(const struct ports_of *of, const char *on, const char *host,
              attach_done *done, void *aux)
{
    struct walk *walk = walk_create(of, on, done, aux);

    walk->host = xstrdup(host);
    walk->is_of_bindings = true;
    walk->takes_back = true;
    walk->plan = str_eq(on, host) ? NULL : plan_each;
    walk->work = delete_binding;
    begin(walk);
}

/* ---- No more --------------------------------------------------------------
 */

/* What the hosts and their devices have put into it goes, the rest is its
 * owner's. */
static struct json *
profile_of_nobody(const struct neutron_port *port)
{
    static const char *const ours[] = {
        "pci_vendor_info",    "pci_slot",     "allocation",
        "arq_uuid",           "vf_num",       "pf_mac_address",
        "device_mac_address", "migrating_to", "card_serial_number",
        "physical_network"};
    struct json *profile =
        port->profile ? json_copy(port->profile) : json_object();

    for (size_t i = 0; i < N_ELEMENTS(ours); i++) {
        json_remove(profile, ours[i]);
    }
    return profile;
}

static bool
is_preserved(const struct walk *walk, const char *id)
{
    json_for_each (preserved, walk->preserved) {
        if (str_eq(json_get_string(preserved), id)) {
            return true;
        }
    }
    return false;
}

static void
plan_giving_up(struct walk *walk, const struct neutron_port *port)
{
    struct json *todo = todo_of(port);

    if (is_preserved(walk, port->id)) {
        struct json *attributes = json_object();

        json_set_string(attributes, "device_id", "");
        json_set_string(attributes, "device_owner", "");
        json_set_null(attributes, "binding:host_id");
        json_set(attributes, "binding:profile", profile_of_nobody(port));
        if (walk->has_dns) {
            json_set_string(attributes, "dns_name", "");
        }
        json_set(todo, "attributes", attributes);
    }
    json_append(walk->todo, todo);
}

static void
give_up(struct walk *walk)
{
    if (json_has(walk->at, "attributes")) {
        update(walk);
    } else {
        neutron_port_delete(walk->neutron, walk->context,
                            json_string_of(walk->at, "id"), walked, walk);
    }
}

static void
dns_known(void *aux, bool has, struct error *error)
{
    struct walk *walk = aux;

    walk->has_dns = has;
    walk->error = error;
    if (error) {
        finish(walk);
    } else {
        begin(walk);
    }
}

void
ports_give_up(const struct ports_of *of, const struct json *preserved,
              attach_done *done, void *aux)
{
    struct walk *walk = walk_create(of, NULL, done, aux);

    walk->preserved = json_copy(preserved);
    walk->plan = plan_giving_up;
    walk->work = give_up;
    walk->takes_back = true;
    if (json_size(preserved)) {
        neutron_has_extension(walk->neutron, walk->context, NEUTRON_DNS,
                              dns_known, walk);
    } else {
        begin(walk);
    }
}

/* ---- Walking --------------------------------------------------------------
 */

static void
walk_on(struct walk *walk)
{
    walk->at = walk->at ? json_next(walk->at) : json_first(walk->todo);
    if (walk->at) {
        walk->work(walk);
    } else {
        finish(walk);
    }
}

static void
walked(void *aux, struct error *error)
{
    struct walk *walk = aux;

    if (error && walk->error) {
        log_warn(NULL, "port '%s': %s", json_string_of(walk->at, "id"),
                 error_message(error));
        error_free(error);
    } else if (error) {
        walk->error =
            error_wrap(error, "port '%s'", json_string_of(walk->at, "id"));
    }
    if (walk->error && !walk->takes_back) {
        finish(walk);
    } else {
        walk_on(walk);
    }
}

static void
listed(void *aux, const struct neutron_port *ports, size_t n,
       struct error *error)
{
    struct walk *walk = aux;

    if (error) {
        walk->error = error;
        finish(walk);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        walk->plan(walk, &ports[i]);
    }
    walk_on(walk);
}

static void
list(struct walk *walk)
{
    struct neutron_port_query query = {
        .device_id = walk->instance,
        .project_id = walk->project,
        .host = walk->on,
    };

    if (walk->plan) {
        neutron_ports(walk->neutron, walk->context, &query, listed, walk);
    } else {
        walk_on(walk);
    }
}

static void
has_bindings(void *aux, bool has, struct error *error)
{
    struct walk *walk = aux;

    walk->error = error;
    if (error || !has) {
        finish(walk);
    } else {
        list(walk);
    }
}

static void
begin(struct walk *walk)
{
    if (walk->is_of_bindings) {
        neutron_has_extension(walk->neutron, walk->context,
                              NEUTRON_BINDING_EXTENDED, has_bindings, walk);
    } else {
        list(walk);
    }
}
