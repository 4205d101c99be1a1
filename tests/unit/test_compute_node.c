#include <config.h>

#include "agent/nova/compute_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>

#include "agent/nova/inventory.h"
#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"
#include "tests/unit/resources_fixture.h"

struct fixture {
    struct host_resources *host;
    struct node_settings settings;
    struct node_cpus cpus;
    struct node_records records;
    struct json *kept[8]; /* What records borrow. */
    size_t n_kept;
};

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    f->host = resources_host();
    f->settings = resources_settings;
    f->records = (struct node_records){.host = "hosta", .node = "hosta"};
    AUTO_ERROR error = node_cpus_of(&f->settings, f->host, &f->cpus);
    assert_null(error);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    host_resources_free(f->host);
    node_cpus_close(&f->cpus);
    while (f->n_kept) {
        json_free(f->kept[--f->n_kept]);
    }
    free(f);
    return 0;
}

static const struct json *
keep(struct fixture *f, struct json *json)
{
    assert_true(f->n_kept < N_ELEMENTS(f->kept));
    f->kept[f->n_kept++] = json;
    return json;
}

/* Text with ' for ". */
static struct json *
json_of(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *json = NULL;

    for (char *c = copy; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &json);
    assert_null(error);
    return json;
}

/* A list of the objects whose fields these are. */
static const struct json *
list_of(struct fixture *f, const char *const *texts)
{
    struct json *objects = json_array(), *data = json_object();

    for (; *texts; texts++) {
        json_append(objects, primitive_create("X", "1.0", json_of(*texts)));
    }
    json_set(data, "objects", objects);
    return keep(f, primitive_create("XList", "1.0", data));
}

static void
assert_field(const struct object *node, const struct json *expected)
{
    const char *field = json_name(expected);
    const char *text = json_get_string(expected);

    if (text && (*text == '{' || *text == '[')) {
        AUTO_JSON ours = json_of(object_string(node, field));
        AUTO_JSON theirs = json_of(text);
        if (!primitive_same(ours, theirs)) {
            fail_msg("%s: %s", field, object_string(node, field));
        }
    } else if (!primitive_same(object_get(node, field), expected)) {
        AUTO_FREE ours = json_print(object_get(node, field), NULL);
        fail_msg("%s: %s", field, ours);
    }
}

/* All that Nova's driver says of this host, except its host. */
static void
test_new_node_is_as_nova_describes_it(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON facts = resources_json("nova-facts.json");
    AUTO_OBJECT node =
        compute_node_create(&f->settings, f->host, &f->cpus, &f->records);

    json_for_each (field, json_get(facts, "node")) {
        if (!str_eq(json_name(field), "host")) {
            assert_field(node, field);
        }
    }
}

/* The same fields as in a recorded one, all of them marked as changed. */
static void
test_new_node_has_the_fields_of_a_recorded_one(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON recorded = resources_json("captured-create.json");
    const struct json *data = primitive_data(recorded);
    AUTO_OBJECT node =
        compute_node_create(&f->settings, f->host, &f->cpus, &f->records);

    assert_int_equal(json_size(data), object_n_changes(node));
    json_for_each (field, data) {
        assert_true(object_is_changed(node, json_name(field)));
    }
    assert_string_equal(object_version(node),
                        json_string_of(recorded, "nova_object.version"));
    assert_true(primitive_same(object_get(node, "stats"),
                               primitive_get(recorded, "stats")));
}

/* A node as a conductor gives it back, of which nothing is new. */
static struct object *
stored(struct fixture *f)
{
    struct object *node =
        compute_node_create(&f->settings, f->host, &f->cpus, &f->records);
    CLEANUP(node_usage_close) struct node_usage usage;

    compute_node_update(node, &f->settings, f->host, &f->cpus, &f->records,
                        &usage);
    object_clear_changes(node);
    return node;
}

static size_t
n_changed(struct fixture *f, struct object *node)
{
    CLEANUP(node_usage_close) struct node_usage usage;

    compute_node_update(node, &f->settings, f->host, &f->cpus, &f->records,
                        &usage);
    return object_n_changes(node);
}

/* After the creation the same fields are new as in the recorded save. */
static void
test_first_save_is_as_recorded(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON recorded = resources_json("captured-save.json");
    AUTO_OBJECT node =
        compute_node_create(&f->settings, f->host, &f->cpus, &f->records);

    f->host->n_vcpus_used = 1; /* Marked by Nova though it stays the same. */
    object_set_int(node, "vcpus_used", 1);
    object_clear_changes(node);
    n_changed(f, node);
    json_for_each (name, json_get(recorded, "nova_object.changes")) {
        if (!object_is_changed(node, json_get_string(name))) {
            fail_msg("%s is not changed", json_get_string(name));
        }
    }
    assert_int_equal(object_n_changes(node),
                     json_size(json_get(recorded, "nova_object.changes")));
    assert_int_equal(object_int(node, "memory_mb_used"), 512);
    assert_int_equal(object_int(node, "free_ram_mb"), f->host->memory_mb - 512);
    assert_string_equal(object_string(node, "metrics"), "[]");
}

static void
test_nothing_is_changed_the_second_time(void **state)
{
    struct fixture *f = *state;
    AUTO_OBJECT node = stored(f);

    assert_int_equal(n_changed(f, node), 0);
    f->host->disk_free -= INT64_C(2) << 30;
    assert_int_equal(n_changed(f, node), 1);
    assert_true(object_is_changed(node, "disk_available_least"));
}

/* Nova writes sets in any order, and what is changed within. */
static void
test_another_order_is_no_change(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON facts = resources_json("nova-facts.json");
    const struct json *theirs = json_get(facts, "node");
    AUTO_OBJECT node = stored(f);

    object_set(node, "supported_hv_specs",
               json_copy(json_get(theirs, "supported_hv_specs")));
    object_set_string(node, "cpu_info", json_string_of(theirs, "cpu_info"));
    object_set_string(node, "numa_topology",
                      json_string_of(theirs, "numa_topology"));
    object_clear_changes(node);
    assert_int_equal(n_changed(f, node), 0);
    object_set_string(node, "cpu_info", "not JSON");
    object_clear_changes(node);
    assert_int_equal(n_changed(f, node), 1);
}

static void
test_devices_of_another_agent_stay(void **state)
{
    struct fixture *f = *state;
    AUTO_OBJECT node = stored(f);

    object_set(node, "pci_device_pools", json_of("{'of': 'another'}"));
    object_clear_changes(node);
    assert_int_equal(n_changed(f, node), 0);
}

/* The recorded saves of both sides of a migration that is under way. */

static void
assert_usage_recorded(struct fixture *f, const struct json *recorded,
                      const char *host)
{
    static const char *const fields[] = {"vcpus_used",       "memory_mb_used",
                                         "local_gb_used",    "running_vms",
                                         "current_workload", "stats"};
    const struct json *save = json_get(recorded, "save");
    CLEANUP(node_usage_close) struct node_usage usage;
    AUTO_OBJECT node =
        compute_node_create(&f->settings, f->host, &f->cpus, &f->records);

    f->records.host = f->records.node = host;
    f->records.instances = json_get(recorded, "instances");
    f->records.migrations = json_get(recorded, "migrations");
    f->records.devices = json_get(recorded, "devices");
    compute_node_update(node, &f->settings, f->host, &f->cpus, &f->records,
                        &usage);
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        if (!primitive_same(object_get(node, fields[i]),
                            primitive_get(save, fields[i]))) {
            AUTO_FREE ours = json_print(object_get(node, fields[i]), NULL);
            fail_msg("%s: %s", fields[i], ours);
        }
    }
    assert_int_equal(usage.claimed.n, str_eq(host, "hostB"));
}

static void
test_usage_of_a_source_is_as_recorded(void **state)
{
    AUTO_JSON recorded = resources_json("captured-source.json");

    assert_usage_recorded(*state, recorded, "hostA");
}

static void
test_usage_of_a_destination_is_as_recorded(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON source = resources_json("captured-source.json");
    AUTO_JSON recorded = resources_json("captured-destination.json");
    AUTO_JSON strangers = json_object();
    CLEANUP(text_set_close) struct text_set uuids = {0};
    const struct json *instance =
        json_first(primitive_objects(json_get(source, "instances")));

    f->records.instances = json_get(recorded, "instances");
    f->records.migrations = json_get(recorded, "migrations");
    node_records_strangers(&f->records, &uuids);
    assert_int_equal(uuids.n, 1);
    assert_string_equal(uuids.texts[0], primitive_string(instance, "uuid"));
    json_set(strangers, uuids.texts[0], json_copy(instance));
    f->records.strangers = strangers;
    assert_usage_recorded(f, recorded, "hostB");
}

/* Usage. */

#define FLAVOR(VCPUS, MIB, ROOT)                                    \
    "{'nova_object.data': {'vcpus': " #VCPUS ", 'memory_mb': " #MIB \
    ", 'root_gb': " #ROOT ", 'ephemeral_gb': 2, 'swap': 2047}}"
#define INSTANCE(UUID, VM, TASK, REST)                                       \
    "{'uuid': '" UUID "', 'vm_state': '" VM "', 'task_state': " TASK         \
    ", 'project_id': 'p', 'os_type': 'linux', 'image_ref': 'i', "            \
    "'instance_type_id': 1, 'flavor': " FLAVOR(                              \
        2, 100, 10) ", "                                                     \
                    "'new_flavor': " FLAVOR(                                 \
                        4, 200, 20) ", 'old_flavor': " FLAVOR(1, 50, 5) REST \
        "}"
#define MIGRATION(ID, UUID, TYPE, SOURCE, DEST, REST)                       \
    "{'id': " #ID ", 'uuid': 'm" #ID "', 'instance_uuid': '" UUID           \
    "', 'migration_type': '" TYPE "', 'source_compute': '" SOURCE           \
    "', 'source_node': '" SOURCE "', 'dest_compute': '" DEST                \
    "', 'dest_node': '" DEST "', 'created_at': '2026-01-01T00:00:00Z'" REST \
    "}"

static void
count(struct fixture *f, const char *const *instances,
      const char *const *migrations, const char *const *devices,
      struct node_usage *ret)
{
    f->records.instances = list_of(f, instances);
    f->records.migrations = list_of(f, migrations);
    f->records.devices = list_of(f, devices);
    node_usage_init(ret, &f->settings, &f->records, 3, NULL);
}

static const char *const nothing[] = {NULL};

static void
test_instances_are_counted(void **state)
{
    static const char *const instances[] = {
        INSTANCE("a", "active", "null", ""),
        INSTANCE("b", "stopped", "'powering-on'", ""),
        INSTANCE("c", "deleted", "null", ""),
        INSTANCE("d", "shelved_offloaded", "null", ""),
        INSTANCE("e", "shelved_offloaded", "'spawning'", ""),
        INSTANCE("f", "building", "null", ", 'image_ref': ''"),
        INSTANCE("g", "active", "null", ""),
        NULL};
    static const char *const devices[] = {
        "{'instance_uuid': 'g', 'boot_index': 0, 'destination_type': 'volume', "
        "'device_name': '/dev/vda'}",
        "{'instance_uuid': 'a', 'boot_index': 0, 'destination_type': 'local', "
        "'device_name': '/dev/vda'}",
        "{'instance_uuid': 'a', 'boot_index': null, 'destination_type': "
        "'volume', 'device_name': 'vdb'}",
        NULL};
    struct fixture *f = *state;
    CLEANUP(node_usage_close) struct node_usage usage;

    f->settings.reserved_cpus = 1;
    f->settings.reserved_disk_mb = 5000;
    count(f, instances, nothing, devices, &usage);
    assert_int_equal(usage.n_instances, 5);
    assert_int_equal(usage.tracked.n, 5);
    assert_int_equal(usage.workload, 2);
    assert_int_equal(usage.vcpus, 1 + 5 * 2);
    assert_int_equal(usage.memory_mb, 512 + 5 * 100);
    /* Volumes are elsewhere; swap below a GiB more is none. */
    assert_int_equal(usage.local_gb, 4 + 3 * 10 + 5 * (2 + 1));
    assert_string_equal(json_string_of(usage.stats, "num_instances"), "5");
    assert_string_equal(json_string_of(usage.stats, "num_vm_active"), "2");
    assert_string_equal(json_string_of(usage.stats, "num_task_None"), "3");
    assert_string_equal(json_string_of(usage.stats, "num_task_spawning"), "1");
    assert_string_equal(json_string_of(usage.stats, "num_os_type_linux"), "5");
    assert_string_equal(json_string_of(usage.stats, "num_proj_p"), "5");
    assert_string_equal(json_string_of(usage.stats, "io_workload"), "1");
    assert_string_equal(json_string_of(usage.stats, "failed_builds"), "3");
    assert_true(node_records_is_volume(&f->records, "a", "vdb"));
    assert_false(node_records_is_volume(&f->records, "a", "vda"));
    assert_false(node_records_is_volume(&f->records, "b", "vdb"));
}

static int64_t
vcpus_of(struct fixture *f, const char *instance, const char *const *migrations)
{
    const char *const instances[] = {instance, NULL};
    CLEANUP(node_usage_close) struct node_usage usage;

    count(f, instances, migrations, nothing, &usage);
    f->n_kept -= 3; /* Many are counted in one test. */
    for (size_t i = 0; i < 3; i++) {
        json_free(f->kept[f->n_kept + i]);
    }
    f->records.instances = f->records.migrations = f->records.devices = NULL;
    return usage.vcpus;
}

#define HERE(TASK, REST) INSTANCE("a", "active", TASK, REST)
#define OF(...)           \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

static void
test_migrations_are_counted_once(void **state)
{
    struct fixture *f = *state;
    const char *out = MIGRATION(1, "a", "live-migration", "hosta", "b", "");
    const char *in = MIGRATION(1, "a", "live-migration", "b", "hosta", "");
    const char *same = MIGRATION(1, "a", "resize", "hosta", "hosta",
                                 ", 'old_instance_type_id': 1");
    const char *same_done = MIGRATION(1, "a", "resize", "hosta", "hosta",
                                      ", 'old_instance_type_id': 7");

    /* Who is here is counted as being here. */
    assert_int_equal(vcpus_of(f, HERE("'migrating'", ""), OF(out)), 2);
    assert_int_equal(vcpus_of(f, HERE("'migrating'", ""), OF(in)), 2);
    /* Of a resize on the same host both sizes count. */
    assert_int_equal(vcpus_of(f, HERE("'resize_prep'", ""), OF(same)), 2 + 4);
    assert_int_equal(vcpus_of(f, HERE("'resize_prep'", ""), OF(same_done)),
                     2 + 1);
    assert_int_equal(vcpus_of(f, HERE("null", ""), OF(same)), 2);
}

static int64_t
vcpus_of_stranger(struct fixture *f, const char *stranger,
                  const char *const *migrations)
{
    AUTO_JSON strangers = json_object();
    CLEANUP(node_usage_close) struct node_usage usage;

    json_set(strangers, "a", primitive_create("X", "1.0", json_of(stranger)));
    f->records.strangers = strangers;
    f->records.instances = f->records.devices = NULL;
    f->records.migrations = list_of(f, migrations);
    node_usage_init(&usage, &f->settings, &f->records, 0, NULL);
    f->records.strangers = f->records.migrations = NULL;
    json_free(f->kept[--f->n_kept]);
    return usage.vcpus;
}

static void
test_strangers_are_counted_while_they_move(void **state)
{
    struct fixture *f = *state;
    const char *in = MIGRATION(1, "a", "live-migration", "b", "hosta", "");
    const char *out = MIGRATION(2, "a", "resize", "hosta", "b", "");
    const char *resize = MIGRATION(3, "a", "resize", "b", "hosta", "");
    const char *later = MIGRATION(4, "a", "live-migration", "b", "hosta",
                                  ", 'updated_at': '2026-01-02T00:00:00Z'");
    const char *unknown = MIGRATION(5, "z", "live-migration", "b", "hosta", "");

    assert_int_equal(vcpus_of_stranger(f, HERE("'migrating'", ""), OF(in)), 2);
    assert_int_equal(vcpus_of_stranger(f, HERE("null", ""), OF(in)), 0);
    assert_int_equal(
        vcpus_of_stranger(f, INSTANCE("a", "error", "'migrating'", ""), OF(in)),
        0);
    assert_int_equal(
        vcpus_of_stranger(f, INSTANCE("a", "resized", "null", ""), OF(out)), 1);
    assert_int_equal(
        vcpus_of_stranger(f, HERE("'resize_migrated'", ""), OF(resize)), 4);
    /* The newest alone. */
    assert_int_equal(
        vcpus_of_stranger(f, HERE("'migrating'", ""), OF(resize, later)), 2);
    assert_int_equal(
        vcpus_of_stranger(f, HERE("'migrating'", ""), OF(later, resize)), 2);
    assert_int_equal(vcpus_of_stranger(f, HERE("'migrating'", ""), OF(in, in)),
                     2);
    assert_int_equal(vcpus_of_stranger(f, HERE("'migrating'", ""), OF(unknown)),
                     0);
}

static void
test_one_that_came_meanwhile_is_counted(void **state)
{
    struct fixture *f = *state;
    const char *in = MIGRATION(1, "a", "live-migration", "b", "hosta", "");
    const char *came = HERE("null", ", 'host': 'hosta', 'node': 'hosta'");
    const char *gone =
        INSTANCE("a", "deleted", "null", ", 'host': 'hosta', 'node': 'hosta'");

    assert_int_equal(vcpus_of_stranger(f, came, OF(in, in)), 2);
    assert_int_equal(vcpus_of_stranger(f, gone, OF(in)), 0);
}

#define CONTEXT(ID) \
    ", 'migration_context': {'nova_object.data': {'migration_id': " #ID "}}"

static void
test_left_over_migration_counts_for_nothing(void **state)
{
    struct fixture *f = *state;
    const char *in = MIGRATION(1, "a", "live-migration", "b", "hosta", "");

    assert_int_equal(
        vcpus_of_stranger(f, HERE("'migrating'", CONTEXT(1)), OF(in)), 2);
    assert_int_equal(
        vcpus_of_stranger(f, HERE("'migrating'", CONTEXT(9)), OF(in)), 0);
    assert_int_equal(
        vcpus_of_stranger(f, HERE("'migrating'", ", 'migration_context': null"),
                          OF(in)),
        2);
}

/* CPUs and nodes. */

static void
test_sets_of_cpus(void **state)
{
    struct fixture *f = *state;
    CLEANUP(node_cpus_close) struct node_cpus cpus = {0};
    CLEANUP(node_cpus_close) struct node_cpus dedicated = {0};
    CLEANUP(node_cpus_close) struct node_cpus none = {0};

    f->settings.shared_set = "1";
    f->settings.dedicated_set = "0";
    AUTO_ERROR error = node_cpus_of(&f->settings, f->host, &cpus);
    assert_null(error);
    assert_int_equal(cpus.shared.cpus[0], 1);
    assert_int_equal(cpus.dedicated.cpus[0], 0);
    f->settings.shared_set = NULL;
    error = node_cpus_of(&f->settings, f->host, &dedicated);
    assert_null(error);
    assert_int_equal(dedicated.shared.n, 0);
    f->settings.shared_set = "1-2";
    AUTO_ERROR offline = node_cpus_of(&f->settings, f->host, &none);
    assert_int_equal(error_code(offline), ERR_CONFIG);
    assert_non_null(strstr(error_message(offline), "CPU 2"));
    f->settings.shared_set = "^1";
    AUTO_ERROR empty = node_cpus_of(&f->settings, f->host, &none);
    assert_int_equal(error_code(empty), ERR_CONFIG);
}

static const struct json *
cell_field(const struct json *topology, const char *field)
{
    return primitive_get(json_first(primitive_get(topology, "cells")), field);
}

static void
assert_printed(const struct json *json, const char *expected)
{
    AUTO_FREE text = json_print(json, NULL);

    assert_string_equal(text, expected);
}

static void
test_nodes_have_the_cpus_that_are_left(void **state)
{
    struct fixture *f = *state;
    CLEANUP(node_cpus_close) struct node_cpus cpus = {0};

    f->settings.shared_set = "1";
    AUTO_ERROR error = node_cpus_of(&f->settings, f->host, &cpus);
    AUTO_JSON shared = numa_topology_create(f->host, &f->settings, &cpus);
    assert_null(error);
    assert_printed(cell_field(shared, "cpuset"), "[1]");
    assert_printed(cell_field(shared, "pcpuset"), "[]");
    assert_printed(cell_field(shared, "siblings"), "[[1]]");
    free(f->host->arch);
    f->host->arch = xstrdup("s390x");
    assert_null(numa_topology_create(f->host, &f->settings, &cpus));
}

static void
test_guests_take_of_nodes(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON shared = json_of(
        "{'nova_object.data': {'cells': [{'nova_object.data': {'id': 0, "
        "'cpuset': [0, 1, 2], 'memory': 100, 'cpu_policy': null, "
        "'pagesize': null, 'cpu_pinning_raw': null}}, "
        "{'nova_object.data': {'id': 7, 'cpuset': [3], 'memory': 50}}]}}");
    AUTO_JSON pinned = json_of(
        "{'nova_object.data': {'cells': [{'nova_object.data': {'id': 0, "
        "'cpuset': [], 'pcpuset': [0], 'memory': 64, 'pagesize': 2048, "
        "'cpu_policy': 'dedicated', 'cpu_thread_policy': 'isolate', "
        "'cpu_pinning_raw': {'0': 1}, 'cpuset_reserved': null}}]}}");
    AUTO_JSON topology;

    cpu_set_add(&f->host->cells[0].siblings[1], 0);
    topology = numa_topology_create(f->host, &f->settings, &f->cpus);
    numa_topology_take(topology, shared);
    numa_topology_take(topology, pinned);
    numa_topology_take(topology, NULL);
    numa_topology_take(NULL, pinned);
    assert_int_equal(json_get_int(cell_field(topology, "memory_usage")), 164);
    assert_int_equal(json_get_int(cell_field(topology, "cpu_usage")), 3);
    assert_printed(cell_field(topology, "pinned_cpus"), "[0,1]");
    const struct json *pages = cell_field(topology, "mempages");
    assert_int_equal(primitive_int(json_at(pages, 0), "used"), 100 * 256);
    assert_int_equal(primitive_int(json_at(pages, 1), "used"), 32);
    assert_int_equal(primitive_int(json_at(pages, 2), "used"), 0);
}

/* Inventories. */

static void
test_inventories_are_those_of_nova(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON facts = resources_json("nova-facts.json");
    AUTO_JSON ours = inventory_wanted(&f->settings, f->host, &f->cpus, NULL);

    assert_true(json_equal(ours, json_get(facts, "inventories")));
}

static void
test_inventories_are_as_recorded(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON body = resources_json("captured-inventories.json");
    const struct json *recorded = json_get(body, "inventories");
    AUTO_JSON ours = NULL;

    f->host->memory_mb = 8666;
    ours = inventory_wanted(&f->settings, f->host, &f->cpus, NULL);
    assert_true(json_equal(ours, recorded));
    assert_true(inventory_same(ours, recorded));
}

static void
test_ratios_of_an_operator_stay(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON current = inventory_wanted(&f->settings, f->host, &f->cpus, NULL);

    json_set(json_get(current, "VCPU"), "allocation_ratio", json_double(4.5));
    AUTO_JSON kept = inventory_wanted(&f->settings, f->host, &f->cpus, current);
    assert_true(inventory_same(kept, current));
    f->settings.ratios[NODE_RATIO_CPU] = 2.0;
    AUTO_JSON set = inventory_wanted(&f->settings, f->host, &f->cpus, current);
    assert_false(inventory_same(set, current));
    assert_true(json_get_double(json_get(json_get(set, "VCPU"),
                                         "allocation_ratio")) == 2.0);
    json_set(current, "CUSTOM_X", json_object());
    assert_false(inventory_same(kept, current));
}

static void
test_inventories_of_settings(void **state)
{
    struct fixture *f = *state;
    struct node_cpus cpus = {.dedicated = f->cpus.shared};

    f->settings.reserved_disk_mb = 1025;
    f->settings.reserved_cpus = 1;
    f->settings.file_backed_memory_mb = 99;
    AUTO_JSON ours = inventory_wanted(&f->settings, f->host, &cpus, NULL);
    assert_false(json_has(ours, "VCPU"));
    assert_int_equal(json_int_of(json_get(ours, "PCPU"), "total"), 2);
    assert_int_equal(json_int_of(json_get(ours, "PCPU"), "reserved"), 0);
    assert_int_equal(json_int_of(json_get(ours, "DISK_GB"), "reserved"), 2);
    assert_int_equal(json_int_of(json_get(ours, "MEMORY_MB"), "total"), 99);
}

/* Disks that grow. */

static void
test_disks_that_may_grow_are_owed(void **state)
{
    static const char *const devices[] = {
        "{'instance_uuid': 'a', 'destination_type': 'volume', 'device_name': "
        "'/dev/vdb'}",
        NULL};
    struct fixture *f = *state;
    struct host_debt debts[] = {
        {(char *)"a", (char *)"vda", INT64_C(100) << 30},
        {(char *)"a", (char *)"vdb", INT64_C(50) << 30},
    };
    CLEANUP(node_usage_close) struct node_usage usage;
    AUTO_OBJECT node = stored(f);
    int64_t before = object_int(node, "disk_available_least");

    f->host->debts = debts;
    f->host->n_debts = N_ELEMENTS(debts);
    f->records.devices = list_of(f, devices);
    compute_node_update(node, &f->settings, f->host, &f->cpus, &f->records,
                        &usage);
    f->host->debts = NULL;
    f->host->n_debts = 0;
    /* Below zero it is cut off like above. */
    assert_int_equal(object_int(node, "disk_available_least"),
                     before - 100 + (before < 100));
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_new_node_is_as_nova_describes_it),
        TEST(test_new_node_has_the_fields_of_a_recorded_one),
        TEST(test_first_save_is_as_recorded),
        TEST(test_nothing_is_changed_the_second_time),
        TEST(test_another_order_is_no_change),
        TEST(test_devices_of_another_agent_stay),
        TEST(test_usage_of_a_source_is_as_recorded),
        TEST(test_usage_of_a_destination_is_as_recorded),
        TEST(test_instances_are_counted),
        TEST(test_migrations_are_counted_once),
        TEST(test_strangers_are_counted_while_they_move),
        TEST(test_one_that_came_meanwhile_is_counted),
        TEST(test_left_over_migration_counts_for_nothing),
        TEST(test_sets_of_cpus),
        TEST(test_nodes_have_the_cpus_that_are_left),
        TEST(test_guests_take_of_nodes),
        TEST(test_inventories_are_those_of_nova),
        TEST(test_inventories_are_as_recorded),
        TEST(test_ratios_of_an_operator_stay),
        TEST(test_inventories_of_settings),
        TEST(test_disks_that_may_grow_are_owed),
    };

    xmlInitParser();
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
