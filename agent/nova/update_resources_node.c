#include <config.h>

#include "agent/nova/update_resources_internal.h"

#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/nova/primitive.h"

LOG_MODULE(resources);

/* 1. */

void
round_list_nodes(struct round *r)
{
    struct json *args = json_array(), *kwargs = json_object();

    json_append(args, json_string(r->u->settings.host));
    json_set_bool(kwargs, "use_slave", true);
    round_ask(r, "ComputeNodeList", "get_all_by_host", args, kwargs);
}

struct error *
round_nodes_listed(struct round *r, struct json **result, struct error *error,
                   bool *ret_is_over UNUSED)
{
    if (error_code(error) == ERR_COMPUTE_HOST_NOT_FOUND) {
        error_free(steal(&error)); /* It is the first time. */
    } else if (!error) {
        r->nodes = steal(result);
    }
    return error;
}

/* 2. */

static void
host_described(void *aux, struct error *error, struct host_resources *host)
{
    struct round *r = aux;
    struct update_resources *u = r->u;

    r->host = host;
    if (!error) {
        error = node_cpus_of(&u->settings, host, &r->cpus);
    }
    if (!error && !u->hostname) {
        u->hostname = xstrdup(host->hostname);
    } else if (!error && !str_eq(u->hostname, host->hostname)) {
        log_limited(LOG_LEVEL_ERROR, NULL,
                    "the hypervisor calls this host '%s' now, and not '%s': "
                    "that counts from the next start of this agent",
                    host->hostname, u->hostname);
    }
    round_go_on(r, error);
}

/* Disks of guests that are no files have their room elsewhere, where nobody is
 * asked. */
void
round_describe_host(struct round *r)
{
    static const char *const usual[] = {"*", NULL};
    const struct node_settings *settings = &r->u->settings;
    const char *images = r->u->o.conf->libvirt.images_type;
    struct host_resources_request request = {.virt_type = settings->virt_type};

    if (str_eq(images, "lvm") || str_eq(images, "rbd")) {
        round_go_on(r, error_new(ERR_NOT_IMPLEMENTED,
                                 "the room of images_type '%s' is not known",
                                 images));
        return;
    }
    if (str_eq(settings->cpu_mode, "none")) {
        request.cpu_models = usual;
    } else if (str_eq(settings->cpu_mode, "custom")) {
        request.cpu_models = settings->cpu_models;
    }
    driver_host_resources(r->u->o.driver, &request, host_described, r);
}

/* 3. */

void
round_find_node(struct round *r)
{
    if (r->u->node) {
        round_go_on(r, NULL);
    } else {
        round_ask(r, "ComputeNode", "get_by_host_and_nodename",
                  round_place(r->u, r->u->hostname), NULL);
    }
}

struct error *
round_node_found(struct round *r, struct json **result, struct error *error,
                 bool *ret_is_over UNUSED)
{
    struct update_resources *u = r->u;

    if (error_code(error) == ERR_COMPUTE_HOST_NOT_FOUND) {
        log_warn(NULL, "no record of '%s' at '%s' yet", u->hostname,
                 u->settings.host);
        error_free(error);
        return NULL;
    }
    return error ? error : object_take(steal(result), "ComputeNode", &u->node);
}

void
round_create_node(struct round *r)
{
    struct update_resources *u = r->u;
    struct node_records records = round_records(r);

    if (u->node) {
        round_go_on(r, NULL);
        return;
    }
    u->node = compute_node_create(&u->settings, r->host, &r->cpus, &records);
    round_act(r, u->node, "create");
}

/* What may have been made is looked for the next time.  A conductor gives back
 * lists of objects as changed that it only read. */
struct error *
round_node_created(struct round *r, struct json **result UNUSED,
                   struct error *error, bool *ret_is_over UNUSED)
{
    struct update_resources *u = r->u;

    if (error) {
        object_free(steal(&u->node));
    } else {
        object_clear_changes(u->node);
        log_info(NULL, "record of this host created, '%s'",
                 object_string(u->node, "uuid"));
    }
    return error;
}

/* Once: there may be devices that nova-compute gave to guests. */

void
round_look_for_devices(struct round *r)
{
    struct update_resources *u = r->u;

    if (u->is_pci_known) {
        round_go_on(r, NULL);
    } else {
        round_ask(
            r, "PciDeviceList", "get_by_compute_node",
            json_append(json_array(), json_int(object_int(u->node, "id"))),
            NULL);
    }
}

struct error *
round_devices_found(struct round *r, struct json **result, struct error *error,
                    bool *ret_is_over UNUSED)
{
    size_t n = error ? 0 : json_size(primitive_objects(*result));

    r->u->is_pci_known = !error;
    if (n) {
        log_warn(NULL,
                 "%zu PCI devices are recorded for this host: they stay as "
                 "they are recorded, and are not given to guests",
                 n);
    }
    return error;
}

/* 6, 8. */

void
round_save_node(struct round *r)
{
    struct update_resources *u = r->u;
    struct node_records records = round_records(r);

    compute_node_update(u->node, &u->settings, r->host, &r->cpus, &records,
                        &r->usage);
    if (object_n_changes(u->node) == 0) {
        round_go_on(r, NULL);
        return;
    }
    round_act(r, u->node, "save");
}

/* One that an operator deleted is made again the next time. */
struct error *
round_node_saved(struct round *r, struct json **result UNUSED,
                 struct error *error, bool *ret_is_over UNUSED)
{
    if (error_code(error) == ERR_COMPUTE_HOST_NOT_FOUND) {
        object_free(steal(&r->u->node));
    }
    if (!error) {
        object_clear_changes(r->u->node);
        r->u->status.n_saved++;
    }
    return error;
}

/* Records of this host under another name of the hypervisor's.  One that no
 * instance is recorded for is removed; any other is for the operator. */

static const struct json *
orphan_at(const struct round *r, size_t i)
{
    json_for_each (node, primitive_objects(r->nodes)) {
        const char *name = primitive_string(node, "hypervisor_hostname");
        if (!str_eq(name, r->u->hostname) && i-- == 0) {
            return node;
        }
    }
    return NULL;
}

void
round_remove_orphans(struct round *r)
{
    const struct json *orphan = orphan_at(r, r->next);
    struct json *kwargs;

    if (r->orphan) {
        round_act(r, r->orphan, "destroy");
    } else if (orphan) {
        kwargs = json_object();
        json_set(kwargs, "expected_attrs", json_array());
        round_ask(
            r, "InstanceList", "get_by_host_and_node",
            round_place(r->u, primitive_string(orphan, "hypervisor_hostname")),
            kwargs);
    } else {
        round_go_on(r, NULL);
    }
}

/* Of the instances that are recorded there, or of the removal. */
struct error *
round_orphan_seen(struct round *r, struct json **result, struct error *error,
                  bool *ret_is_over)
{
    const struct json *orphan = orphan_at(r, r->next);
    const char *name = primitive_string(orphan, "hypervisor_hostname");
    size_t n = error ? 0 : json_size(primitive_objects(*result));

    *ret_is_over = false;
    if (error) {
        return error_wrap(error, "record '%s' of this host", name);
    }
    if (!r->orphan && n == 0) {
        return object_parse(orphan, "ComputeNode", &r->orphan);
    }
    if (r->orphan) {
        log_warn(NULL, "record '%s' of this host removed: its name is '%s' now",
                 name, r->u->hostname);
        object_free(steal(&r->orphan));
    } else {
        log_limited(LOG_LEVEL_ERROR, NULL,
                    "%zu instances are recorded for '%s' at this host, whose "
                    "name is '%s' now: that record is not removed",
                    n, name, r->u->hostname);
    }
    r->next++;
    return NULL;
}
