#include <config.h>

#include "agent/nova/update_resources.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/nova/compute_node.h"
#include "agent/nova/primitive.h"
#include "agent/nova/resource_provider.h"

LOG_MODULE(resources);

#define DEFAULT_INTERVAL_S 60

struct update_resources {
    struct update_resources_options o; /* No conductor: closed. */
    struct node_settings settings;
    uv_timer_t timer;
    char *hostname;      /* The hypervisor's, as it was first; null: unknown. */
    struct object *node; /* Null: not known yet. */
    struct resource_provider *provider; /* Null: Placement is not told. */
    bool is_pci_known;   /* Whether there are records of devices. */
    struct round *round; /* Under way; else null. */
    bool has_begun, again;
    void (*done)(void *aux); /* Of the first round; or null. */
    void *aux;
    struct update_resources_status status;
    uint64_t ok_ms;
    char *error;
    unsigned n_refs; /* The owner's, the timer's, and a round's. */
};

/* One round, and what it found out. */
struct round {
    struct update_resources *u;
    struct json *context;
    size_t step;
    struct json *nodes; /* ComputeNodeList of this host. */
    struct host_resources *host;
    struct node_cpus cpus;
    struct json *instances, *migrations, *strangers, *devices;
    struct text_set uuids; /* To be asked about in this step ... */
    size_t next;           /* ... which is at this one. */
    struct object *orphan; /* Being removed. */
    bool is_disabled;
    struct node_usage usage;
};

/* 'run' does the step and ends in round_go_on() or, through conducted(), in
 * 'take', which gets the answer; 'take' returns whether the step is over. */
struct round_step {
    const char *what;
    void (*run)(struct round *r);
    struct error *(*take)(struct round *r, struct json **result,
                          struct error *error, bool *ret_is_over);
};

static void list_nodes(struct round *r);
static void describe_host(struct round *r);
static void find_node(struct round *r);
static void create_node(struct round *r);
static void look_for_devices(struct round *r);
static void list_instances(struct round *r);
static void list_migrations(struct round *r);
static void get_strangers(struct round *r);
static void list_volumes(struct round *r);
static void save_node(struct round *r);
static void ask_for_service(struct round *r);
static void tell_placement(struct round *r);
static void remove_orphans(struct round *r);
static struct error *nodes_listed(struct round *, struct json **,
                                  struct error *, bool *);
static struct error *node_found(struct round *, struct json **, struct error *,
                                bool *);
static struct error *node_created(struct round *, struct json **,
                                  struct error *, bool *);
static struct error *devices_found(struct round *, struct json **,
                                   struct error *, bool *);
static struct error *instances_listed(struct round *, struct json **,
                                      struct error *, bool *);
static struct error *migrations_listed(struct round *, struct json **,
                                       struct error *, bool *);
static struct error *stranger_got(struct round *, struct json **,
                                  struct error *, bool *);
static struct error *volumes_listed(struct round *, struct json **,
                                    struct error *, bool *);
static struct error *node_saved(struct round *, struct json **, struct error *,
                                bool *);
static struct error *service_got(struct round *, struct json **, struct error *,
                                 bool *);
static struct error *orphan_seen(struct round *, struct json **, struct error *,
                                 bool *);

/* In the order in which a control plane is used to see it. */
static const struct round_step steps[] = {
    {"list the records of this host", list_nodes, nodes_listed},
    {"ask the hypervisor", describe_host, NULL},
    {"look for the record of this host", find_node, node_found},
    {"create the record of this host", create_node, node_created},
    {"look for devices of this host", look_for_devices, devices_found},
    {"list the instances of this host", list_instances, instances_listed},
    {"list the migrations of this host", list_migrations, migrations_listed},
    {"get the instances that are moved", get_strangers, stranger_got},
    {"list the volumes of instances", list_volumes, volumes_listed},
    {"save the record of this host", save_node, node_saved},
    {"ask for the service of this host", ask_for_service, service_got},
    {"tell Placement", tell_placement, NULL},
    {"remove records of former names", remove_orphans, orphan_seen},
    {NULL, NULL, NULL},
};

static void start_round(struct update_resources *u);
static void timer_due(uv_timer_t *timer);
static void timer_closed(uv_handle_t *handle);
static void drop(struct update_resources *u);
static void round_run(struct round *r);
static void round_go_on(struct round *r, struct error *error);
static void round_end(struct round *r, struct error *error);
static void note(struct update_resources *u, struct error *error);
static void conducted(void *aux, struct json **result, struct error *error);
static void ask(struct round *r, const char *class_name, const char *method,
                struct json *args, struct json *kwargs);
static struct node_records records_of(const struct round *r);

struct update_resources *
update_resources_create(const struct update_resources_options *options)
{
    struct update_resources *u = xzalloc(sizeof *u);

    u->o = *options;
    node_settings_init(&u->settings, options->conf);
    uv_timer_init(options->loop, &u->timer);
    u->timer.data = u;
    if (options->placement) {
        u->provider = resource_provider_create(
            options->placement, &u->settings,
            (unsigned)
                options->conf->compute.resource_provider_association_refresh);
    }
    u->n_refs = 2;
    return u;
}

void
update_resources_close(struct update_resources *u)
{
    u->o.conductor = NULL;
    uv_close((uv_handle_t *)&u->timer, timer_closed);
    drop(u);
}

void
update_resources_begin(struct update_resources *u, void (*done)(void *aux),
                       void *aux)
{
    int interval_s = u->o.conf->update_resources_interval;
    uint64_t ms =
        (uint64_t)(interval_s ? interval_s : DEFAULT_INTERVAL_S) * 1000;

    u->has_begun = true;
    u->done = done;
    u->aux = aux;
    if (interval_s >= 0) {
        uv_timer_start(&u->timer, timer_due, ms, ms);
    }
    start_round(u);
}

void
update_resources_soon(struct update_resources *u)
{
    if (u->round) {
        u->again = true;
    } else if (u->has_begun) {
        start_round(u);
    }
}

struct update_resources_status
update_resources_status(const struct update_resources *u)
{
    struct update_resources_status status = u->status;

    status.ok_ms_ago = u->ok_ms ? (int64_t)(clock_now_ms() - u->ok_ms) : -1;
    status.error = u->error;
    status.uuid = u->node ? object_string(u->node, "uuid") : NULL;
    return status;
}

static void
timer_due(uv_timer_t *timer)
{
    update_resources_soon(timer->data);
}

static void
timer_closed(uv_handle_t *handle)
{
    drop(handle->data);
}

static void
drop(struct update_resources *u)
{
    if (--u->n_refs == 0) {
        resource_provider_free(u->provider);
        object_free(u->node);
        free(u->hostname);
        free(u->error);
        free(u);
    }
}

/* Rounds. */

static void
start_round(struct update_resources *u)
{
    struct round *r = xzalloc(sizeof *r);

    r->u = u;
    r->context = rpc_context_create();
    r->strangers = json_object();
    u->round = r;
    u->again = false;
    u->n_refs++;
    round_run(r);
}

static void
round_run(struct round *r)
{
    r->next = 0;
    text_set_close(&r->uuids);
    if (steps[r->step].run) {
        steps[r->step].run(r);
    } else {
        round_end(r, NULL);
    }
}

static void
round_go_on(struct round *r, struct error *error)
{
    if (!error && !r->u->o.conductor) {
        error = error_new(ERR_CANCELLED, "the agent stops");
    }
    if (error) {
        round_end(r, error_wrap(error, "%s", steps[r->step].what));
        return;
    }
    r->step++;
    round_run(r);
}

static void
round_end(struct round *r, struct error *error)
{
    struct update_resources *u = r->u;
    void (*done)(void *aux) = u->done;
    note(u, error);
    json_free(r->context);
    json_free(r->nodes);
    json_free(r->instances);
    json_free(r->migrations);
    json_free(r->strangers);
    json_free(r->devices);
    host_resources_free(r->host);
    node_cpus_close(&r->cpus);
    node_usage_close(&r->usage);
    text_set_close(&r->uuids);
    object_free(r->orphan);
    free(r);
    u->round = NULL;
    u->done = NULL;
    if (done) {
        done(u->aux);
    }
    if (u->o.conductor && u->again) {
        start_round(u);
    }
    drop(u);
}

/* Takes 'error'.  What is wrong is said once, and when it is well again. */
static void
note(struct update_resources *u, struct error *error)
{
    char *text = error ? xstrdup(error_message(error)) : NULL;
    bool is_news = !str_eq(text, u->error);

    u->status.n_rounds++;
    if (!error) {
        u->ok_ms = clock_now_ms();
        if (is_news) {
            log_info(NULL, "the cloud knows again what this host has");
        }
    } else if (error_code(error) != ERR_CANCELLED) {
        u->status.n_failed++;
        log_at(is_news ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, NULL,
               "what this host has can't be told: %s", text);
    }
    free(u->error);
    u->error = text;
    error_free(error);
}

/* The answer of the conductor to what the step asked. */
static void
conducted(void *aux, struct json **result, struct error *error)
{
    struct round *r = aux;
    bool is_over = true;

    if (!error || error_code(error) != ERR_CANCELLED) {
        error = steps[r->step].take(r, result, error, &is_over);
    }
    if (error || is_over) {
        round_go_on(r, error);
    } else if (r->u->o.conductor) {
        steps[r->step].run(r);
    } else {
        round_go_on(r, NULL);
    }
}

/* Takes 'args' and 'kwargs'; the latter may be null. */
static void
ask(struct round *r, const char *class_name, const char *method,
    struct json *args, struct json *kwargs)
{
    AUTO_JSON owned_args UNUSED = args;
    AUTO_JSON owned_kwargs UNUSED = kwargs;

    conductor_class_action(r->u->o.conductor, r->context, class_name, method,
                           args, kwargs, conducted, r);
}

/* [host, node] */
static struct json *
place(const struct update_resources *u, const char *node)
{
    struct json *args = json_array();

    json_append(args, json_string(u->settings.host));
    return json_append(args, json_string(node));
}

static struct json *
names_of(const char *const *names, size_t n)
{
    struct json *array = json_array();

    for (size_t i = 0; i < n; i++) {
        json_append(array, json_string(names[i]));
    }
    return array;
}

static struct node_records
records_of(const struct round *r)
{
    return (struct node_records){
        .host = r->u->settings.host,
        .node = r->u->hostname,
        .instances = r->instances,
        .migrations = r->migrations,
        .strangers = r->strangers,
        .devices = r->devices,
    };
}

/* 1. */

static void
list_nodes(struct round *r)
{
    struct json *args = json_array(), *kwargs = json_object();

    json_append(args, json_string(r->u->settings.host));
    json_set_bool(kwargs, "use_slave", true);
    ask(r, "ComputeNodeList", "get_all_by_host", args, kwargs);
}

static struct error *
nodes_listed(struct round *r, struct json **result, struct error *error,
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
static void
describe_host(struct round *r)
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

static void
find_node(struct round *r)
{
    if (r->u->node) {
        round_go_on(r, NULL);
    } else {
        ask(r, "ComputeNode", "get_by_host_and_nodename",
            place(r->u, r->u->hostname), NULL);
    }
}

static struct error *
node_found(struct round *r, struct json **result, struct error *error,
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

static void
create_node(struct round *r)
{
    struct update_resources *u = r->u;
    struct node_records records = records_of(r);

    if (u->node) {
        round_go_on(r, NULL);
        return;
    }
    u->node = compute_node_create(&u->settings, r->host, &r->cpus, &records);
    conductor_object_action(u->o.conductor, r->context, u->node, "create", NULL,
                            NULL, conducted, r);
}

/* What may have been made is looked for the next time.  A conductor gives back
 * lists of objects as changed that it only read. */
static struct error *
node_created(struct round *r, struct json **result UNUSED, struct error *error,
             bool *ret_is_over UNUSED)
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

static void
look_for_devices(struct round *r)
{
    struct update_resources *u = r->u;

    if (u->is_pci_known) {
        round_go_on(r, NULL);
    } else {
        ask(r, "PciDeviceList", "get_by_compute_node",
            json_append(json_array(), json_int(object_int(u->node, "id"))),
            NULL);
    }
}

static struct error *
devices_found(struct round *r, struct json **result, struct error *error,
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

/* 4, 5. */

static void
list_instances(struct round *r)
{
    static const char *const names[] = {"system_metadata", "numa_topology",
                                        "flavor", "migration_context",
                                        "resources"};
    struct json *kwargs = json_object();

    json_set(kwargs, "expected_attrs", names_of(names, N_ELEMENTS(names)));
    ask(r, "InstanceList", "get_by_host_and_node", place(r->u, r->u->hostname),
        kwargs);
}

static struct error *
instances_listed(struct round *r, struct json **result, struct error *error,
                 bool *ret_is_over UNUSED)
{
    r->instances = error ? NULL : steal(result);
    return error;
}

static void
list_migrations(struct round *r)
{
    ask(r, "MigrationList", "get_in_progress_and_error",
        place(r->u, r->u->hostname), NULL);
}

static struct error *
migrations_listed(struct round *r, struct json **result, struct error *error,
                  bool *ret_is_over UNUSED)
{
    r->migrations = error ? NULL : steal(result);
    return error;
}

/* Instances that are not recorded here, one after the other; deleted ones,
 * too, as a guest may be left of them. */

static void
get_strangers(struct round *r)
{
    static const char *const names[] = {"migration_context", "flavor"};
    struct json *args, *kwargs;

    if (r->next == 0) {
        struct node_records records = records_of(r);
        node_records_strangers(&records, &r->uuids);
    }
    if (r->next == r->uuids.n) {
        json_set_string(r->context, "read_deleted", "no");
        round_go_on(r, NULL);
        return;
    }
    json_set_string(r->context, "read_deleted", "yes");
    args = json_append(json_array(), json_string(r->uuids.texts[r->next]));
    kwargs = json_object();
    json_set(kwargs, "expected_attrs", names_of(names, N_ELEMENTS(names)));
    ask(r, "Instance", "get_by_uuid", args, kwargs);
}

static struct error *
stranger_got(struct round *r, struct json **result, struct error *error,
             bool *ret_is_over)
{
    const char *uuid = r->uuids.texts[r->next++];

    *ret_is_over = false;
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        log_debug(NULL, "instance '%s' of a migration is not found", uuid);
        error_free(steal(&error));
    } else if (!error) {
        json_set(r->strangers, uuid, steal(result));
    }
    return error;
}

/* Which devices are volumes, of all that count, and of the guests whose files
 * may grow. */

static void
list_volumes(struct round *r)
{
    struct node_records records = records_of(r);
    struct json *uuids;

    node_records_counted(&records, &r->uuids);
    for (size_t i = 0; i < r->host->n_debts; i++) {
        text_set_add(&r->uuids, r->host->debts[i].uuid);
    }
    if (r->uuids.n == 0) {
        round_go_on(r, NULL);
        return;
    }
    uuids = names_of((const char *const *)r->uuids.texts, r->uuids.n);
    ask(r, "BlockDeviceMappingList", "get_by_instance_uuids",
        json_append(json_array(), uuids), NULL);
}

static struct error *
volumes_listed(struct round *r, struct json **result, struct error *error,
               bool *ret_is_over UNUSED)
{
    r->devices = error ? NULL : steal(result);
    return error;
}

/* 6, 8. */

static void
save_node(struct round *r)
{
    struct update_resources *u = r->u;
    struct node_records records = records_of(r);

    compute_node_update(u->node, &u->settings, r->host, &r->cpus, &records,
                        &r->usage);
    if (object_n_changes(u->node) == 0) {
        round_go_on(r, NULL);
        return;
    }
    conductor_object_action(u->o.conductor, r->context, u->node, "save", NULL,
                            NULL, conducted, r);
}

/* One that an operator deleted is made again the next time. */
static struct error *
node_saved(struct round *r, struct json **result UNUSED, struct error *error,
           bool *ret_is_over UNUSED)
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

/* 9.  Its trait says whether builds may come here. */

static void
ask_for_service(struct round *r)
{
    if (r->u->provider) {
        ask(r, "Service", "get_by_compute_host",
            json_append(json_array(), json_string(r->u->settings.host)), NULL);
    } else {
        round_go_on(r, NULL);
    }
}

static struct error *
service_got(struct round *r, struct json **result, struct error *error,
            bool *ret_is_over UNUSED)
{
    r->is_disabled =
        !error && json_bool_of(primitive_data(*result), "disabled");
    return error;
}

static void
placement_told(void *aux, struct error *error)
{
    round_go_on(aux, error);
}

static void
tell_placement(struct round *r)
{
    struct update_resources *u = r->u;
    const struct resource_report report = {
        .context = r->context,
        .uuid = object_string(u->node, "uuid"),
        .name = u->hostname,
        .host = r->host,
        .cpus = &r->cpus,
        .is_disabled = r->is_disabled,
    };

    if (u->provider) {
        resource_provider_update(u->provider, &report, placement_told, r);
    } else {
        round_go_on(r, NULL);
    }
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

static void
remove_orphans(struct round *r)
{
    const struct json *orphan = orphan_at(r, r->next);
    struct json *kwargs;

    if (r->orphan) {
        conductor_object_action(r->u->o.conductor, r->context, r->orphan,
                                "destroy", NULL, NULL, conducted, r);
    } else if (orphan) {
        kwargs = json_object();
        json_set(kwargs, "expected_attrs", json_array());
        ask(r, "InstanceList", "get_by_host_and_node",
            place(r->u, primitive_string(orphan, "hypervisor_hostname")),
            kwargs);
    } else {
        round_go_on(r, NULL);
    }
}

/* Of the instances that are recorded there, or of the removal. */
static struct error *
orphan_seen(struct round *r, struct json **result, struct error *error,
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
