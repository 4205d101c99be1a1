#include <config.h>

#include "agent/nova/neutron.h"

#include <stdlib.h>

#include "agent/base/clock.h"

LOG_MODULE(neutron);

const struct service_kind neutron_kind = {
    .name = "neutron",
    .version = "/v2.0",
    .unreachable = ERR_NEUTRON,
};

struct neutron {
    struct service *service;
    uint64_t interval_ms;
    struct json *extensions; /* Aliases; null: not known. */
    uint64_t known_until_ms;
};

/* A request that was made, and who wants to know. */
struct ask {
    struct neutron *neutron;
    char *port, *host; /* Or the alias of an extension, the name of a list. */
    enum error_code refusal;
    union {
        neutron_ended *ended;
        neutron_extension_done *extension;
        neutron_ports_done *ports;
        neutron_list_done *list;
        neutron_binding_done *binding;
        neutron_bindings_done *bindings;
    } done;
    void *aux;
};

static struct ask *ask_create(struct neutron *neutron, const char *port,
                              const char *host, void *aux);
static void ask_send(struct ask *ask, const char *method, const char *path,
                     const struct json *body, const struct json *context,
                     service_done *done);
static void ask_free(struct ask *ask);
CLEANUP_FUNC(struct ask, ask_free)
static struct error *refuse(const struct ask *ask, enum error_code code,
                            const char *what,
                            const struct service_answer *answer);
static void extensions_answered(void *aux, const struct service_answer *answer,
                                struct error *error);
static bool knows(const struct neutron *neutron, const char *alias);
static char *ports_path(const struct neutron_port_query *query);
static void ports_answered(void *aux, const struct service_answer *answer,
                           struct error *error);
static void port_updated(void *aux, const struct service_answer *answer,
                         struct error *error);
static void list_answered(void *aux, const struct service_answer *answer,
                          struct error *error);
static void binding_answered(void *aux, const struct service_answer *answer,
                             struct error *error);
static void bindings_answered(void *aux, const struct service_answer *answer,
                              struct error *error);
static void binding_activated(void *aux, const struct service_answer *answer,
                              struct error *error);
static void deleted(void *aux, const struct service_answer *answer,
                    struct error *error);
static struct neutron_port port_of(const struct json *json);
static struct neutron_binding binding_of(const struct json *json);

struct neutron *
neutron_create(struct service *service, unsigned extension_sync_interval_s)
{
    struct neutron *neutron = xzalloc(sizeof *neutron);

    neutron->service = service;
    neutron->interval_ms = (uint64_t)extension_sync_interval_s * 1000;
    return neutron;
}

void
neutron_free(struct neutron *neutron)
{
    if (neutron) {
        json_free(neutron->extensions);
        free(neutron);
    }
}

/* What is known is told in the same way as what is asked for: a request that
 * does not leave the house would be answered before its function returns. */
void
neutron_has_extension(struct neutron *neutron, const struct json *context,
                      const char *alias, neutron_extension_done *done,
                      void *aux)
{
    struct ask *ask = ask_create(neutron, alias, "", aux);

    ask->done.extension = done;
    if (neutron->extensions && clock_now_ms() < neutron->known_until_ms) {
        service_soon(neutron->service, extensions_answered, ask);
        return;
    }
    ask_send(ask, "GET", "/extensions", NULL, context, extensions_answered);
}

void
neutron_ports(struct neutron *neutron, const struct json *context,
              const struct neutron_port_query *query, neutron_ports_done *done,
              void *aux)
{
    AUTO_FREE path = ports_path(query);
    struct ask *ask = ask_create(neutron, "", "", aux);

    ask->done.ports = done;
    ask_send(ask, "GET", path, NULL, context, ports_answered);
}

void
neutron_port_update(struct neutron *neutron, const struct json *context,
                    const char *port, const struct json *attributes,
                    neutron_ended *done, void *aux)
{
    AUTO_FREE path = xasprintf("/ports/%s", port);
    AUTO_JSON body = json_object();
    struct ask *ask = ask_create(neutron, port, "", aux);

    ask->done.ended = done;
    json_set_borrowed(body, "port", attributes);
    ask_send(ask, "PUT", path, body, context, port_updated);
}

void
neutron_port_delete(struct neutron *neutron, const struct json *context,
                    const char *port, neutron_ended *done, void *aux)
{
    AUTO_FREE path = xasprintf("/ports/%s", port);
    struct ask *ask = ask_create(neutron, port, "", aux);

    ask->done.ended = done;
    ask->refusal = ERR_PORT_UPDATE;
    ask_send(ask, "DELETE", path, NULL, context, deleted);
}

struct json *
neutron_profile_migrating(const struct neutron_port *port, const char *host)
{
    AUTO_JSON profile =
        port->profile ? json_copy(port->profile) : json_object();

    if (host ? str_eq(json_string_of(profile, "migrating_to"), host)
             : !json_has(profile, "migrating_to")) {
        return NULL;
    }
    if (host) {
        json_set_string(profile, "migrating_to", host);
    } else {
        json_remove(profile, "migrating_to");
    }
    return steal(&profile);
}

void
neutron_list(struct neutron *neutron, const struct json *context,
             const char *what, const char *query, neutron_list_done *done,
             void *aux)
{
    AUTO_FREE path = xasprintf("/%s?%s", what, query);
    struct ask *ask = ask_create(neutron, what, "", aux);

    ask->done.list = done;
    ask_send(ask, "GET", path, NULL, context, list_answered);
}

bool
neutron_binding_is_active(const struct neutron_binding *binding)
{
    return str_eq(binding->status, "ACTIVE");
}

static char *
binding_path(const char *port, const char *host, const char *action)
{
    AUTO_FREE quoted = service_quote(host);

    return xasprintf("/ports/%s/bindings/%s%s", port, quoted, action);
}

void
neutron_binding_get(struct neutron *neutron, const struct json *context,
                    const char *port, const char *host,
                    neutron_binding_done *done, void *aux)
{
    AUTO_FREE path = binding_path(port, host, "");
    struct ask *ask = ask_create(neutron, port, host, aux);

    ask->done.binding = done;
    ask->refusal = ERR_NEUTRON;
    ask_send(ask, "GET", path, NULL, context, binding_answered);
}

void
neutron_bindings(struct neutron *neutron, const struct json *context,
                 const char *port, neutron_bindings_done *done, void *aux)
{
    AUTO_FREE path = xasprintf("/ports/%s/bindings", port);
    struct ask *ask = ask_create(neutron, port, "", aux);

    ask->done.bindings = done;
    ask_send(ask, "GET", path, NULL, context, bindings_answered);
}

void
neutron_binding_create(struct neutron *neutron, const struct json *context,
                       const char *port, const char *host,
                       const char *vnic_type, const struct json *profile,
                       neutron_binding_done *done, void *aux)
{
    AUTO_FREE path = xasprintf("/ports/%s/bindings", port);
    AUTO_JSON body = json_object();
    struct json *binding = json_object();
    struct ask *ask = ask_create(neutron, port, host, aux);

    json_set(body, "binding", binding);
    json_set_string(binding, "host", host);
    if (vnic_type) {
        json_set_string(binding, "vnic_type", vnic_type);
    }
    if (profile) {
        json_set_borrowed(binding, "profile", profile);
    }
    ask->done.binding = done;
    ask->refusal = ERR_PORT_BINDING;
    ask_send(ask, "POST", path, body, context, binding_answered);
}

void
neutron_binding_activate(struct neutron *neutron, const struct json *context,
                         const char *port, const char *host,
                         neutron_ended *done, void *aux)
{
    AUTO_FREE path = binding_path(port, host, "/activate");
    struct ask *ask = ask_create(neutron, port, host, aux);

    ask->done.ended = done;
    ask_send(ask, "PUT", path, NULL, context, binding_activated);
}

void
neutron_binding_delete(struct neutron *neutron, const struct json *context,
                       const char *port, const char *host, neutron_ended *done,
                       void *aux)
{
    AUTO_FREE path = binding_path(port, host, "");
    struct ask *ask = ask_create(neutron, port, host, aux);

    ask->done.ended = done;
    ask->refusal = ERR_PORT_BINDING_DELETION;
    ask_send(ask, "DELETE", path, NULL, context, deleted);
}

static struct ask *
ask_create(struct neutron *neutron, const char *port, const char *host,
           void *aux)
{
    struct ask *ask = xzalloc(sizeof *ask);

    ask->neutron = neutron;
    ask->port = xstrdup(port);
    ask->host = xstrdup(host);
    ask->aux = aux;
    return ask;
}

static void
ask_send(struct ask *ask, const char *method, const char *path,
         const struct json *body, const struct json *context,
         service_done *done)
{
    const struct service_request request = {
        .method = method,
        .path = path,
        .body = body,
        .context = context,
    };

    service_send(ask->neutron->service, &request, done, ask);
}

static void
ask_free(struct ask *ask)
{
    free(ask->port);
    free(ask->host);
    free(ask);
}

static struct error *
refuse(const struct ask *ask, enum error_code code, const char *what,
       const struct service_answer *answer)
{
    struct error *error =
        service_refusal(ask->neutron->service, code, what, answer);

    error_set_arg(error, "port_id", ask->port);
    if (*ask->host) {
        error_set_arg(error, "host", ask->host);
    }
    return error;
}

/* Without an answer and without an error: they are known. */
static void
extensions_answered(void *aux, const struct service_answer *answer,
                    struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    struct neutron *neutron = ask->neutron;
    const struct json *list =
        answer ? json_get(answer->body, "extensions") : NULL;

    if (answer && answer->status != 200) {
        error = refuse(ask, ERR_NEUTRON, "extensions", answer);
    } else if (answer && !json_is_array(list)) {
        error = service_nonsense(neutron->service, "extensions");
    } else if (answer) {
        json_free(neutron->extensions);
        neutron->extensions = json_array();
        neutron->known_until_ms = clock_now_ms() + neutron->interval_ms;
        json_for_each (extension, list) {
            json_append(neutron->extensions,
                        json_string(json_string_of(extension, "alias")));
        }
    }
    ask->done.extension(ask->aux, !error && knows(neutron, ask->port), error);
}

static bool
knows(const struct neutron *neutron, const char *alias)
{
    json_for_each (known, neutron->extensions) {
        if (str_eq(json_get_string(known), alias)) {
            return true;
        }
    }
    return false;
}

static char *
ports_path(const struct neutron_port_query *query)
{
    AUTO_FREE host = query->host ? service_quote(query->host) : NULL;

    return xasprintf("/ports?device_id=%s%s%s%s%s", query->device_id,
                     query->project_id ? "&tenant_id=" : "",
                     query->project_id ? query->project_id : "",
                     host ? "&binding%3Ahost_id=" : "", host ? host : "");
}

static void
ports_answered(void *aux, const struct service_answer *answer,
               struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    const struct json *list = answer ? json_get(answer->body, "ports") : NULL;
    size_t n = 0;

    if (!error && answer->status != 200) {
        error = refuse(ask, ERR_NEUTRON, "ports", answer);
    } else if (!error && !json_is_array(list)) {
        error = service_nonsense(ask->neutron->service, "ports");
    }
    if (error) {
        ask->done.ports(ask->aux, NULL, 0, error);
        return;
    }
    struct neutron_port *ports = xcalloc(json_size(list) + 1, sizeof *ports);
    json_for_each (port, list) {
        if (json_string_of(port, "id")) {
            ports[n++] = port_of(port);
        }
    }
    ask->done.ports(ask->aux, ports, n, NULL);
    free(ports);
}

static void
port_updated(void *aux, const struct service_answer *answer,
             struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status == 404) {
        error = refuse(ask, ERR_PORT_NOT_FOUND, "update port", answer);
    } else if (!error && answer->status != 200) {
        error = refuse(ask, ERR_PORT_UPDATE, "update port", answer);
    }
    ask->done.ended(ask->aux, error);
}

static void
list_answered(void *aux, const struct service_answer *answer,
              struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    AUTO_JSON none = json_array();
    const struct json *items = none;

    if (!error && answer->status == 200) {
        items = json_get(answer->body, ask->port);
    } else if (!error && answer->status != 404) {
        error = service_refusal(ask->neutron->service, ERR_NEUTRON, ask->port,
                                answer);
    }
    if (!error && !json_is_array(items)) {
        error = service_nonsense(ask->neutron->service, ask->port);
    }
    ask->done.list(ask->aux, error ? NULL : items, error);
}

/* Of a binding that is looked for; to make one on a port that is not there is
 * no success. */
static void
binding_answered(void *aux, const struct service_answer *answer,
                 struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    bool is_look = ask->refusal == ERR_NEUTRON;
    const struct json *json = answer ? json_get(answer->body, "binding") : NULL;

    if (!error && is_look && answer->status == 404) {
        ask->done.binding(ask->aux, NULL, NULL);
        return;
    }
    if (!error && answer->status != 200 && answer->status != 201) {
        error = refuse(ask, ask->refusal, "binding", answer);
    } else if (!error && !json_is_object(json)) {
        error = service_nonsense(ask->neutron->service, "binding");
    }
    struct neutron_binding binding = binding_of(json);
    ask->done.binding(ask->aux, error ? NULL : &binding, error);
}

static void
bindings_answered(void *aux, const struct service_answer *answer,
                  struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    const struct json *list =
        answer ? json_get(answer->body, "bindings") : NULL;
    size_t n = 0;

    if (!error && answer->status != 200) {
        error = refuse(ask,
                       answer->status == 404 ? ERR_PORT_NOT_FOUND : ERR_NEUTRON,
                       "bindings", answer);
    } else if (!error && !json_is_array(list)) {
        error = service_nonsense(ask->neutron->service, "bindings");
    }
    if (error) {
        ask->done.bindings(ask->aux, NULL, 0, error);
        return;
    }
    struct neutron_binding *bindings =
        xcalloc(json_size(list) + 1, sizeof *bindings);
    json_for_each (binding, list) {
        bindings[n++] = binding_of(binding);
    }
    ask->done.bindings(ask->aux, bindings, n, NULL);
    free(bindings);
}

/* 409: it is the active one, as when the answer to a first try was lost. */
static void
binding_activated(void *aux, const struct service_answer *answer,
                  struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status == 409) {
        log_warn(NULL, "port '%s': the binding to '%s' is active already",
                 ask->port, ask->host);
    } else if (!error && answer->status != 200) {
        error = refuse(ask, ERR_PORT_BINDING_ACTIVATION, "activate binding",
                       answer);
    }
    ask->done.ended(ask->aux, error);
}

static void
deleted(void *aux, const struct service_answer *answer, struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status != 204 && answer->status != 200 &&
        answer->status != 404) {
        error = refuse(ask, ask->refusal, "deletion", answer);
    }
    ask->done.ended(ask->aux, error);
}

static const struct json *
object_of(const struct json *json, const char *name)
{
    const struct json *value = json_get(json, name);

    return json_is_object(value) ? value : NULL;
}

static struct neutron_port
port_of(const struct json *json)
{
    return (struct neutron_port){
        .id = json_string_of(json, "id"),
        .host = json_string_of(json, "binding:host_id"),
        .vif_type = json_string_of(json, "binding:vif_type"),
        .vnic_type = json_string_of(json, "binding:vnic_type"),
        .status = json_string_of(json, "status"),
        .device_owner = json_string_of(json, "device_owner"),
        .profile = object_of(json, "binding:profile"),
        .json = json,
    };
}

static struct neutron_binding
binding_of(const struct json *json)
{
    return (struct neutron_binding){
        .host = json_string_of(json, "host"),
        .status = json_string_of(json, "status"),
        .vif_type = json_string_of(json, "vif_type"),
        .vnic_type = json_string_of(json, "vnic_type"),
        .vif_details = object_of(json, "vif_details"),
        .profile = object_of(json, "profile"),
    };
}
