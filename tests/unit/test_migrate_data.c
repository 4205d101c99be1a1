#include <config.h>

#include "agent/migrate/data.h"
#include "agent/migrate/pins.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UUID "78eed080-ab35-4812-8c5f-f2737c33d874"
#define GIB (INT64_C(1) << 30)

static struct json *
parse_text(const char *text)
{
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &json);

    if (error) {
        fail_msg("%s: %s", text, error_message(error));
    }
    return json;
}

/* A recorded message. */
static struct json *
load(const char *name)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path = xasprintf("%s/tests/corpus/migrate_data/%s",
                               srcdir ? srcdir : ".", name);
    FILE *file = fopen(path, "r");
    char text[65536];

    if (!file) {
        fail_msg("%s is not there", path);
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    fclose(file);
    return parse_text(text);
}

static struct object *
load_data(const char *name)
{
    AUTO_JSON json = load(name);
    struct object *data = NULL;
    AUTO_ERROR error = migrate_data_parse(json, &data);

    if (error) {
        fail_msg("%s: %s", name, error_message(error));
    }
    return data;
}

/* Migrate data whose ".data" is 'fields', with ' for ". */
static struct json *
primitive(const char *version, const char *fields)
{
    AUTO_FREE text =
        xasprintf("{'nova_object.name': 'LibvirtLiveMigrateData', "
                  "'nova_object.namespace': 'nova', "
                  "'nova_object.version': '%s', 'nova_object.data': %s}",
                  version, fields);

    for (char *p = text; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    return parse_text(text);
}

static struct object *
data_of(const char *fields)
{
    AUTO_JSON json = primitive("1.10", fields);
    struct object *data = NULL;
    AUTO_ERROR error = migrate_data_parse(json, &data);

    if (error) {
        fail_msg("%s: %s", fields, error_message(error));
    }
    return data;
}

static void
assert_refused(const char *fields)
{
    AUTO_JSON json = primitive("1.10", fields);
    struct object *data = NULL;
    AUTO_ERROR error = migrate_data_parse(json, &data);

    if (!error) {
        fail_msg("accepted: %s", fields);
    }
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_null(data);
}

/* Reading. */

static void
test_the_answer_of_a_check_is_read(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("block-check.json");

    assert_string_equal(migrate_data_filename(data), "tmpscd9u4j8");
    assert_string_equal(migrate_data_image_type(data), "default");
    assert_true(migrate_data_has_block_migration(data));
    assert_true(migrate_data_block_migration(data));
    assert_int_equal(migrate_data_disk_available_mb(data), 73728);
    assert_true(migrate_data_has_is_shared_instance_path(data));
    assert_false(migrate_data_is_shared_instance_path(data));
    assert_false(migrate_data_is_shared_block_storage(data));
    assert_false(migrate_data_is_volume_backed(data));
    assert_string_equal(migrate_data_instance_relative_path(data),
                        "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909");
    assert_string_equal(migrate_data_graphics_listen_addr_vnc(data),
                        "127.0.0.1");
    assert_true(migrate_data_has_serial_listen_addr(data));
    assert_null(migrate_data_serial_listen_addr(data));
    assert_false(migrate_data_dst_wants_file_backed_memory(data));
    assert_int_equal(migrate_data_n_vifs(data), 1);

    struct migrate_vif vif = migrate_data_vif(data, 0);
    assert_string_equal(vif.port_id, "d0ea6b89-4491-4d46-9774-bf8c6bcec737");
    assert_string_equal(vif.profile_json, "{\"os_vif_delegation\": true}");
    assert_null(vif.vif_type);
    assert_non_null(strstr(vif.source_vif, "fa:16:3e:ad:91:73"));
}

static void
test_what_was_not_said_is_not_null(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("block-check.json");

    assert_false(migrate_data_has_disk_over_commit(data));
    assert_false(migrate_data_has_target_connect_addr(data));
    assert_false(migrate_data_has_serial_listen_ports(data));
    assert_false(migrate_data_has_supported_perf_events(data));
    assert_false(migrate_data_has_old_vol_attachment_ids(data));
    assert_false(migrate_data_has_bdms(data));
    assert_false(migrate_data_has_wait_for_vif_plugged(data));
    assert_false(migrate_data_has_dst_numa_info(data));
    assert_false(migrate_data_has_migration(data));
    assert_null(migrate_data_migration(data));
    assert_int_equal(migrate_data_n_bdms(data), 0);
}

static void
test_what_a_destination_prepared_is_read(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("block-volume-pre.json");

    assert_true(migrate_data_has_target_connect_addr(data));
    assert_null(migrate_data_target_connect_addr(data));
    assert_true(migrate_data_has_serial_listen_ports(data));
    assert_int_equal(migrate_data_n_serial_listen_ports(data), 0);
    assert_true(migrate_data_has_supported_perf_events(data));
    assert_true(migrate_data_wait_for_vif_plugged(data));
    assert_string_equal(migrate_data_old_vol_attachment_id(
                            data, "6ca404f3-d844-4169-bb96-bc792f37de98"),
                        "2f7e622e-54c3-417b-aef6-2c21615cabf3");
    assert_null(migrate_data_old_vol_attachment_id(data, "another"));

    assert_int_equal(migrate_data_n_bdms(data), 1);
    struct migrate_bdm bdm = migrate_data_bdm(data, 0);
    assert_string_equal(bdm.serial, "6ca404f3-d844-4169-bb96-bc792f37de98");
    assert_string_equal(bdm.dev, "vdb");
    assert_string_equal(bdm.type, "disk");
    assert_null(bdm.format);
    assert_int_equal(bdm.boot_index, -1);
    assert_non_null(strstr(bdm.connection_info_json, "attachment_id"));
    assert_null(bdm.encryption_secret_uuid);
    assert_string_equal(migrate_data_vif(data, 0).vif_type, "ovs");

    AUTO_OBJECT shared = load_data("shared-pre.json");
    assert_string_equal(migrate_data_target_connect_addr(shared), "10.78.0.2");
}

static void
test_pins_are_read(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("numa-check.json");
    struct migrate_numa numa = migrate_data_dst_numa_info(data);

    assert_true(migrate_data_src_supports_numa_live_migration(data));
    assert_int_equal(json_size(numa.cpu_pins), 2);
    assert_int_equal(json_get_int(json_at(json_get(numa.cpu_pins, "1"), 0)), 1);
    assert_int_equal(json_size(numa.cell_pins), 1);
    assert_int_equal(json_size(numa.emulator_pins), 2);
    assert_null(numa.sched_vcpus);
    assert_false(numa.has_sched_priority);
}

static void
test_24_pins_are_told_to_the_hypervisor(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("numa-check.json");
    AUTO_OBJECT none = load_data("block-check.json");
    struct dest_pins pins;

    migrate_pins_of(data, &pins);
    assert_int_equal(pins.cpus.n, 2);
    assert_string_equal(pins.cpus.pins[1].id, "1");
    assert_string_equal(pins.cpus.pins[1].set, "1");
    assert_int_equal(pins.cells.n, 1);
    assert_string_equal(pins.all_cells, pins.cells.pins[0].set);
    assert_string_equal(pins.emulator, "0,1");
    assert_null(pins.realtime);
    assert_false(pins.has_priority);
    dest_pins_close(&pins);
    migrate_pins_of(none, &pins);
    assert_int_equal(pins.cpus.n, 0);
    assert_null(pins.all_cells);
    dest_pins_close(&pins);
}

static void
test_a_rollback_carries_the_migration(void **state)
{
    (void)state;
    AUTO_OBJECT data = load_data("rollback-dest.json");

    assert_true(migrate_data_has_migration(data));
    assert_string_equal(
        json_string_of(migrate_data_migration(data), "nova_object.name"),
        "Migration");
}

/* Carrying through. */

static void
test_recorded_data_are_carried_through(void **state)
{
    (void)state;
    static const char *const names[] = {
        "block-check.json", "block-live.json",    "block-volume-pre.json",
        "numa-check.json",  "rollback-dest.json", "shared-pre.json"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        AUTO_JSON json = load(names[i]);
        AUTO_OBJECT data = load_data(names[i]);

        if (!json_equal(object_json(data), json)) {
            fail_msg("%s has changed", names[i]);
        }
    }
}

static void
test_fields_of_newer_peers_are_carried_through(void **state)
{
    (void)state;
    AUTO_JSON json = primitive(
        "1.13", "{'filename': 'tmpx', 'pci_dev_map_src_dst': {'a': 'b'}, "
                "'source_mdev_types': {}, 'huge': 123456789012345678901234}");
    AUTO_OBJECT data = NULL;
    AUTO_ERROR error = migrate_data_parse(json, &data);
    assert_null(error);

    migrate_data_set_is_volume_backed(data, false);
    assert_string_equal(object_version(data), "1.13");
    assert_string_equal(
        json_string_of(object_get(data, "pci_dev_map_src_dst"), "a"), "b");
    assert_true(object_has(data, "source_mdev_types"));
    assert_true(
        json_equal(object_get(data, "huge"),
                   json_get(json_get(json, "nova_object.data"), "huge")));
}

static void
test_fields_of_older_peers_are_missing(void **state)
{
    (void)state;
    AUTO_JSON json = primitive("1.0", "{'block_migration': false}");
    AUTO_OBJECT data = NULL;
    AUTO_ERROR error = migrate_data_parse(json, &data);

    assert_null(error);
    assert_true(migrate_data_has_block_migration(data));
    assert_false(migrate_data_has_vifs(data));
}

/* Building. */

static void
test_a_built_check_is_what_nova_builds(void **state)
{
    (void)state;
    AUTO_OBJECT recorded = load_data("block-check.json");
    AUTO_OBJECT data = migrate_data_create();
    struct migrate_vif vif = migrate_data_vif(recorded, 0);

    migrate_data_set_filename(data, "tmpscd9u4j8");
    migrate_data_set_image_type(data, "default");
    migrate_data_set_disk_available_mb(data, 73728);
    migrate_data_set_graphics_listen_addr_vnc(data, "127.0.0.1");
    migrate_data_set_graphics_listen_addr_spice(data, "127.0.0.1");
    migrate_data_set_serial_listen_addr(data, NULL);
    migrate_data_set_dst_wants_file_backed_memory(data, false);
    migrate_data_set_vifs(data, &vif, 1);
    migrate_data_set_block_migration(data, true);
    migrate_data_set_is_shared_instance_path(data, false);
    migrate_data_set_is_shared_block_storage(data, false);
    migrate_data_set_is_volume_backed(data, false);
    migrate_data_set_instance_relative_path(
        data, "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909");

    assert_string_equal(object_version(data), "1.10");
    assert_int_equal(object_n_changes(data), object_n_changes(recorded));
    AUTO_JSON ours = object_json_clean(data);
    AUTO_JSON novas = object_json_clean(recorded);
    /* The order of the changes is a set's. */
    for (int i = 0; i < 2; i++) {
        struct json *side = i ? novas : ours;
        json_remove(
            json_at(json_get(json_get(side, "nova_object.data"), "vifs"), 0),
            "nova_object.changes");
    }
    assert_true(json_equal(ours, novas));
}

static void
test_lists_are_built(void **state)
{
    (void)state;
    AUTO_OBJECT data = migrate_data_create();
    const int ports[] = {10000, 10001};
    const char *const events[] = {"cmt", "mbmt", NULL};
    const struct migrate_bdm bdms[] = {{.serial = "s1",
                                        .bus = "virtio",
                                        .dev = "vdb",
                                        .type = "disk",
                                        .boot_index = -1,
                                        .connection_info_json = "{}"},
                                       {.serial = "s2",
                                        .bus = "scsi",
                                        .dev = "sda",
                                        .type = "disk",
                                        .format = "raw",
                                        .boot_index = 0,
                                        .connection_info_json = "{}",
                                        .encryption_secret_uuid = UUID}};

    migrate_data_set_serial_listen_ports(data, ports, 2);
    migrate_data_set_supported_perf_events(data, events);
    migrate_data_set_bdms(data, bdms, 2);
    migrate_data_init_old_vol_attachment_ids(data);
    assert_true(migrate_data_has_old_vol_attachment_ids(data));
    migrate_data_set_old_vol_attachment_id(data, "v1", "a1");
    migrate_data_set_old_vol_attachment_id(data, "v2", "a2");
    migrate_data_init_old_vol_attachment_ids(data);

    AUTO_OBJECT again = NULL;
    AUTO_ERROR error = migrate_data_parse(object_json(data), &again);
    assert_null(error);
    assert_int_equal(migrate_data_n_serial_listen_ports(again), 2);
    assert_int_equal(migrate_data_serial_listen_port(again, 1), 10001);
    assert_int_equal(migrate_data_n_supported_perf_events(again), 2);
    assert_string_equal(migrate_data_supported_perf_event(again, 0), "cmt");
    assert_string_equal(migrate_data_old_vol_attachment_id(again, "v1"), "a1");
    assert_string_equal(migrate_data_old_vol_attachment_id(again, "v2"), "a2");
    assert_int_equal(migrate_data_n_bdms(again), 2);
    assert_string_equal(migrate_data_bdm(again, 1).serial, "s2");
    assert_int_equal(migrate_data_bdm(again, 1).boot_index, 0);
    assert_string_equal(migrate_data_bdm(again, 1).encryption_secret_uuid,
                        UUID);
    assert_int_equal(migrate_data_bdm(again, 0).boot_index, -1);
    assert_null(migrate_data_bdm(again, 0).encryption_secret_uuid);

    /* Past the end there is nothing. */
    assert_null(migrate_data_bdm(again, 2).serial);
    assert_null(migrate_data_vif(again, 0).port_id);
    assert_int_equal(migrate_data_serial_listen_port(again, 9), 0);
}

static void
test_pins_are_built(void **state)
{
    (void)state;
    AUTO_OBJECT data = migrate_data_create();
    AUTO_JSON pins = parse_text("{\"0\": [2, 3]}");
    AUTO_JSON set = parse_text("[0, 1]");
    const struct migrate_numa numa = {.cpu_pins = pins,
                                      .emulator_pins = set,
                                      .has_sched_priority = true,
                                      .sched_priority = 1};

    migrate_data_set_dst_numa_info(data, &numa);
    AUTO_OBJECT again = NULL;
    AUTO_ERROR error = migrate_data_parse(object_json(data), &again);
    assert_null(error);
    struct migrate_numa read = migrate_data_dst_numa_info(again);
    assert_true(json_equal(read.cpu_pins, pins));
    assert_true(json_equal(read.emulator_pins, set));
    assert_null(read.cell_pins);
    assert_true(read.has_sched_priority);
    assert_int_equal(read.sched_priority, 1);
}

static void
test_the_migration_is_put_in(void **state)
{
    (void)state;
    AUTO_OBJECT data = migrate_data_create();
    AUTO_OBJECT migration = object_create("Migration", "1.7");

    object_set_int(migration, "id", 8);
    migrate_data_set_migration(data, migration);
    assert_int_equal(
        json_int_of(json_get(migrate_data_migration(data), "nova_object.data"),
                    "id"),
        8);
}

/* Hostile input. */

static void
test_wrong_types_are_refused(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "{'filename': 5}",
        "{'filename': null}",
        "{'block_migration': 'yes'}",
        "{'block_migration': null}",
        "{'disk_available_mb': 'five'}",
        "{'disk_available_mb': [5]}",
        "{'is_shared_instance_path': 0}",
        "{'target_connect_addr': []}",
        "{'serial_listen_ports': {}}",
        "{'serial_listen_ports': [0]}",
        "{'serial_listen_ports': [65536]}",
        "{'serial_listen_ports': ['1']}",
        "{'supported_perf_events': [1]}",
        "{'old_vol_attachment_ids': []}",
        "{'old_vol_attachment_ids': {'a': 1}}",
        "{'bdms': {}}",
        "{'bdms': [{}]}",
        "{'bdms': [5]}",
        "{'vifs': null}",
        "{'vifs': [{'nova_object.name': 'Other', 'nova_object.namespace': "
        "'nova', 'nova_object.version': '1.0', 'nova_object.data': {}}]}",
        "{'vifs': [{'nova_object.name': 'VIFMigrateData', "
        "'nova_object.namespace': 'nova', 'nova_object.version': '1.0', "
        "'nova_object.data': {'port_id': 5}}]}",
        "{'vifs': [{'nova_object.name': 'VIFMigrateData'}]}",
        "{'dst_numa_info': {}}",
        "{'migration': 'x'}",
    };

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        assert_refused(fields[i]);
    }
}

static void
test_wrong_pins_are_refused(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "'cpu_pins': []",          "'cpu_pins': {'0': 1}",
        "'cpu_pins': {'0': [-1]}", "'cell_pins': {'0': ['a']}",
        "'emulator_pins': {}",     "'emulator_pins': [4294967296]",
        "'sched_vcpus': 'all'",    "'sched_priority': null",
        "'sched_priority': -1"};

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        AUTO_FREE text = xasprintf(
            "{'dst_numa_info': {'nova_object.name': "
            "'LibvirtLiveMigrateNUMAInfo', 'nova_object.namespace': 'nova', "
            "'nova_object.version': '1.0', 'nova_object.data': {%s}}}",
            fields[i]);
        assert_refused(text);
    }
}

static void
test_names_stay_in_their_directory(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",    ".",         "..", "/etc/passwd", "/",
        "a/b", "../../etc", "a/", "a\\u0000"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        AUTO_FREE file = xasprintf("{'filename': '%s'}", names[i]);
        AUTO_FREE path =
            xasprintf("{'instance_relative_path': '%s'}", names[i]);
        assert_refused(file);
        assert_refused(path);
    }
    char name[301];
    memset(name, 'a', sizeof name - 1);
    name[300] = '\0';
    AUTO_FREE file = xasprintf("{'filename': '%s'}", name);
    assert_refused(file);
}

static void
test_listen_addresses_are_addresses(void **state)
{
    (void)state;
    AUTO_OBJECT data = data_of("{'graphics_listen_addr_vnc': '::', "
                               "'graphics_listen_addr_spice': '0.0.0.0'}");

    assert_string_equal(migrate_data_graphics_listen_addr_vnc(data), "::");
    assert_refused("{'graphics_listen_addr_vnc': 'host'}");
    assert_refused("{'graphics_listen_addr_spice': '127.0.0.1<'}");
}

static void
test_other_objects_are_refused(void **state)
{
    (void)state;
    struct object *data = NULL;
    AUTO_JSON hyperv = parse_text(
        "{\"nova_object.name\": \"HyperVLiveMigrateData\", "
        "\"nova_object.namespace\": \"nova\", "
        "\"nova_object.version\": \"1.4\", \"nova_object.data\": {}}");
    AUTO_ERROR other = migrate_data_parse(hyperv, &data);
    assert_int_equal(error_code(other), ERR_UNSUPPORTED_OBJECT);

    AUTO_JSON two = primitive("2.0", "{}");
    AUTO_ERROR major = migrate_data_parse(two, &data);
    assert_int_equal(error_code(major), ERR_INCOMPATIBLE_OBJECT);

    AUTO_JSON dict = parse_text("{\"block_migration\": true}");
    AUTO_ERROR plain = migrate_data_parse(dict, &data);
    assert_int_equal(error_code(plain), ERR_VALUE);
    AUTO_ERROR none = migrate_data_parse(NULL, &data);
    assert_int_equal(error_code(none), ERR_VALUE);
    assert_null(data);
}

/* Clean-up. */

struct cleanup_row {
    const char *name;
    int shared_path, shared_block; /* -1: not said. */
    bool do_cleanup, destroy_disks;
};

static const struct cleanup_row cleanup_rows[] = {
    {"NFS instances_path, qcow2", 1, 1, false, false},
    {"rbd images, local path", 0, 1, true, false},
    {"local disks, block", 0, 0, true, true},
    {"volume-backed, no local disk, local path", 0, 1, true, false},
    {"volume-backed with ephemeral disk, local path", 0, 0, true, true},
    {"NFS path, but LVM images", 1, 0, false, false},
    {"nothing was said", -1, -1, false, false},
    {"nothing of the path", -1, 0, false, false},
    {"nothing of the storage", 0, -1, true, false},
};

static void
test_what_is_shared_is_not_removed(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cleanup_rows); i++) {
        const struct cleanup_row *row = &cleanup_rows[i];
        AUTO_OBJECT data = migrate_data_create();

        if (row->shared_path >= 0) {
            migrate_data_set_is_shared_instance_path(data, row->shared_path);
        }
        if (row->shared_block >= 0) {
            migrate_data_set_is_shared_block_storage(data, row->shared_block);
        }
        struct migrate_cleanup cleanup = migrate_data_cleanup(data);
        if (cleanup.do_cleanup != row->do_cleanup ||
            cleanup.destroy_disks != row->destroy_disks) {
            fail_msg("%s: %d, %d", row->name, cleanup.do_cleanup,
                     cleanup.destroy_disks);
        }
    }
}

/* Disks. */

#define TEXT(S) ((char[]){S})
#define DIRECTORY "/var/lib/nova/instances/8dc4f765-e09e-4516-8d4c-b0ec1d9c0909"

static struct guest_disk guest_disks[] = {
    {.target = TEXT("vda"),
     .device = TEXT("disk"),
     .path = TEXT(DIRECTORY "/disk"),
     .format = TEXT("qcow2"),
     .backing_path = TEXT("/var/lib/nova/instances/_base/"
                          "e27ee89ec0fb4a21100e352c081de053141c71f0"),
     .virtual_size = 1073741824,
     .allocated_size = 200704},
    {.target = TEXT("sda"),
     .device = TEXT("cdrom"),
     .path = TEXT(DIRECTORY "/disk.config"),
     .format = TEXT("raw"),
     .readonly = true,
     .virtual_size = 1000,
     .allocated_size = 1000},
    {.target = TEXT("vdb"),
     .device = TEXT("disk"),
     .path = TEXT("/srv/images/data.raw"),
     .format = TEXT("raw"),
     .virtual_size = 4096,
     .allocated_size = 8192},
    {.target = TEXT("vdc"),
     .device = TEXT("disk"),
     .path = TEXT("/srv/images/top.qcow2"),
     .format = TEXT("qcow2"),
     .backing_path = TEXT("/srv/images/low.qcow2"),
     .backing_format = TEXT("qcow2"),
     .virtual_size = 8192,
     .allocated_size = 4096},
};

static struct prepare_request *
parse_disks(const char *text)
{
    struct prepare_request *request = NULL;
    AUTO_ERROR error =
        migrate_data_disks_parse(text, UUID, DIRECTORY, &request);

    if (error) {
        fail_msg("%s: %s", text ? text : "null", error_message(error));
    }
    return request;
}

static void
test_disks_are_described_as_by_nova(void **state)
{
    (void)state;
    struct guest guest = {.disks = guest_disks, .n_disks = 1};
    AUTO_FREE text = migrate_data_disks_format(&guest);
    AUTO_JSON ours = parse_text(text);
    AUTO_JSON novas = load("block-disk.json");

    assert_true(json_equal(ours, novas));
}

/* A disk, one on the hosts' shared storage, variables, a saved state. */
static void
test_files_of_a_guest_at_rest_come_over(void **state)
{
    (void)state;
    struct guest_disk disks[] = {
        {.target = (char[]){"vda"},
         .device = (char[]){"disk"},
         .path = (char[]){"/i/u/disk"},
         .format = (char[]){"qcow2"},
         .backing_path = (char[]){"/i/_base/b"},
         .virtual_size = 4096},
        {.target = (char[]){"vdb"},
         .device = (char[]){"disk"},
         .path = (char[]){"/i/u/odd"},
         .format = (char[]){"vmdk"}},
    };
    struct guest guest = {.disks = disks, .n_disks = N_ELEMENTS(disks)};
    struct guest_file list[] = {
        {.path = disks[0].path, .size = 1000, .mode = 0644},
        {.path = disks[1].path, .size = 2000, .mode = 0600},
        {.path = (char[]){"/v/vars"}, .size = 10, .mode = 0600},
        {.path = (char[]){"/i/u/state"}, .size = 20, .mode = 0600},
    };
    struct guest_rest rest = {
        .guest = &guest, .files = list, .n_files = N_ELEMENTS(list)};
    AUTO_FREE all = migrate_data_files_format(&rest, true, NULL);
    AUTO_FREE few = migrate_data_files_format(&rest, false, "/i");
    CLEANUP(prepare_request_free_at)
    struct prepare_request *four = parse_disks(all);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *one = parse_disks(few);

    assert_int_equal(four->n_disks, 4);
    assert_string_equal(four->disks[0].format, "qcow2");
    assert_string_equal(four->disks[0].backing_path, "b");
    assert_int_equal(four->disks[0].virtual_size, 4096);
    assert_int_equal(four->disks[0].file_size, 1000);
    assert_int_equal(four->disks[0].file_mode, 0644);
    assert_string_equal(four->disks[1].format, "raw");
    assert_int_equal(four->disks[1].virtual_size, 2000);
    assert_int_equal(four->disks[3].file_size, 20);
    assert_int_equal(one->n_disks, 1);
    assert_string_equal(one->disks[0].path, "/v/vars");
}

static void
test_disks_come_over(void **state)
{
    (void)state;
    struct guest guest = {.disks = guest_disks,
                          .n_disks = N_ELEMENTS(guest_disks)};
    AUTO_FREE text = migrate_data_disks_format(&guest);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = parse_disks(text);

    assert_string_equal(request->uuid, UUID);
    assert_string_equal(request->directory, DIRECTORY);
    assert_int_equal(request->n_disks, 3);
    assert_string_equal(request->disks[0].path, DIRECTORY "/disk");
    assert_string_equal(request->disks[0].format, "qcow2");
    assert_int_equal(request->disks[0].virtual_size, 1073741824);
    assert_string_equal(request->disks[0].backing_path,
                        "e27ee89ec0fb4a21100e352c081de053141c71f0");
    assert_null(request->disks[0].backing_format); /* It was not told. */
    assert_string_equal(request->disks[1].path, "/srv/images/data.raw");
    assert_null(request->disks[1].backing_path);
    assert_null(request->disks[1].backing_format);
    assert_string_equal(request->disks[2].backing_path,
                        "/srv/images/low.qcow2");
    assert_string_equal(request->disks[2].backing_format, "qcow2");
}

static void
test_only_images_of_the_cache_go_by_name(void **state)
{
    (void)state;
    struct guest_disk disk = guest_disks[0];
    struct guest guest = {.disks = &disk, .n_disks = 1};

    disk.backing_path = TEXT("/srv/my_base/low.raw");
    AUTO_FREE text = migrate_data_disks_format(&guest);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = parse_disks(text);
    assert_string_equal(request->disks[0].backing_path, "/srv/my_base/low.raw");
}

static void
test_a_disk_that_is_full_does_not_grow(void **state)
{
    (void)state;
    struct guest guest = {.disks = &guest_disks[2], .n_disks = 1};
    AUTO_FREE text = migrate_data_disks_format(&guest);
    AUTO_JSON list = parse_text(text);

    assert_int_equal(json_int_of(json_at(list, 0), "over_committed_disk_size"),
                     0);
    assert_string_equal(json_string_of(json_at(list, 0), "backing_file"), "");
}

static void
test_no_list_is_the_empty_list(void **state)
{
    (void)state;
    static const char *const texts[] = {NULL, "null", "[]"};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct prepare_request *request = NULL;
        AUTO_ERROR error =
            migrate_data_disks_parse(texts[i], UUID, NULL, &request);
        assert_null(error);
        assert_int_equal(request->n_disks, 0);
        assert_null(request->directory);
        prepare_request_free(request);
    }
}

static void
assert_disks_refused(const char *quoted)
{
    AUTO_FREE text = xstrdup(quoted);
    struct prepare_request *request = NULL;

    for (char *p = text; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    AUTO_ERROR error =
        migrate_data_disks_parse(text, UUID, DIRECTORY, &request);
    if (!error) {
        fail_msg("accepted: %s", text);
    }
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_null(request);
}

static void
test_hostile_disks_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "5",
        "'x'",
        "[5]",
        "[{}]",
        "[null]",
        /* No type, no size, no path. */
        "[{'path': '/a', 'virt_disk_size': 1}]",
        "[{'path': '/a', 'type': 'qcow2'}]",
        "[{'type': 'qcow2', 'virt_disk_size': 1}]",
        /* Wrong ones. */
        "[{'path': '/a', 'type': 'vmdk', 'virt_disk_size': 1}]",
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': 0}]",
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': -1}]",
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': '1'}]",
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': 1.5}]",
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': 1e30}]",
        "[{'path': '/a', 'type': 'raw', "
        "'virt_disk_size': 9223372036854775807}]",
        "[{'path': 5, 'type': 'raw', 'virt_disk_size': 1}]",
        /* Backing files. */
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': 1, "
        "'backing_file': 'x'}]",
        "[{'path': '/a', 'type': 'qcow2', 'virt_disk_size': 1, "
        "'backing_file': '../x'}]",
        "[{'path': '/a', 'type': 'qcow2', 'virt_disk_size': 1, "
        "'backing_file': '/b/../x'}]",
        "[{'path': '/a', 'type': 'qcow2', 'virt_disk_size': 1, "
        "'backing_file': 'json:{}/'}]",
        "[{'path': '/a', 'type': 'qcow2', 'virt_disk_size': 1, "
        "'backing_file': 5}]",
        "[{'path': '/a', 'type': 'qcow2', 'virt_disk_size': 1, "
        "'backing_file': 'x', 'backing_format': 'vmdk'}]",
        /* Twice. */
        "[{'path': '/a', 'type': 'raw', 'virt_disk_size': 1}, "
        "{'path': '/a', 'type': 'raw', 'virt_disk_size': 1}]",
    };

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_disks_refused(texts[i]);
    }
}

static void
test_paths_are_absolute_and_straight(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/a\\u0000", "",      "/",   "disk", "./disk",  "/a/../b",   "/..",
        "/a/.",      "/a//b", "/a/", "//a",  "/a/b\\n", "/a/\\u0001"};

    for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
        AUTO_FREE text = xasprintf(
            "[{'path': '%s', 'type': 'raw', 'virt_disk_size': 1}]", paths[i]);
        assert_disks_refused(text);
    }

    char path[5000];
    for (size_t i = 0; i < sizeof path; i++) {
        path[i] = i % 2 ? 'a' : '/';
    }
    path[sizeof path - 1] = '\0';
    AUTO_FREE text =
        xasprintf("[{'path': '%s', 'type': 'raw', 'virt_disk_size': 1}]", path);
    assert_disks_refused(text);
}

static void
test_too_many_disks_are_refused(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    for (int i = 0; i < 257; i++) {
        fprintf(out, "%c{'path': '/%d', 'type': 'raw', 'virt_disk_size': 1}",
                i ? ',' : '[', i);
    }
    fprintf(out, "]");
    fclose(out);
    assert_disks_refused(text);
    free(text);
}

static void
test_data_gb_counts_memory_and_disks(void **state)
{
    (void)state;
    assert_true(migrate_data_gb(1024, NULL) == 2);
    assert_true(migrate_data_gb(8192, "[]") == 8);
    assert_true(migrate_data_gb(8192, "[{\"disk_size\": 5368709120}, "
                                      "{\"disk_size\": 1}]") == 8 + 5 + 2);
    assert_true(migrate_data_gb(1024, "nonsense") == 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_answer_of_a_check_is_read),
        cmocka_unit_test(test_what_was_not_said_is_not_null),
        cmocka_unit_test(test_what_a_destination_prepared_is_read),
        cmocka_unit_test(test_pins_are_read),
        cmocka_unit_test(test_24_pins_are_told_to_the_hypervisor),
        cmocka_unit_test(test_a_rollback_carries_the_migration),
        cmocka_unit_test(test_recorded_data_are_carried_through),
        cmocka_unit_test(test_fields_of_newer_peers_are_carried_through),
        cmocka_unit_test(test_fields_of_older_peers_are_missing),
        cmocka_unit_test(test_a_built_check_is_what_nova_builds),
        cmocka_unit_test(test_lists_are_built),
        cmocka_unit_test(test_pins_are_built),
        cmocka_unit_test(test_the_migration_is_put_in),
        cmocka_unit_test(test_wrong_types_are_refused),
        cmocka_unit_test(test_wrong_pins_are_refused),
        cmocka_unit_test(test_names_stay_in_their_directory),
        cmocka_unit_test(test_listen_addresses_are_addresses),
        cmocka_unit_test(test_other_objects_are_refused),
        cmocka_unit_test(test_what_is_shared_is_not_removed),
        cmocka_unit_test(test_disks_are_described_as_by_nova),
        cmocka_unit_test(test_files_of_a_guest_at_rest_come_over),
        cmocka_unit_test(test_disks_come_over),
        cmocka_unit_test(test_only_images_of_the_cache_go_by_name),
        cmocka_unit_test(test_a_disk_that_is_full_does_not_grow),
        cmocka_unit_test(test_no_list_is_the_empty_list),
        cmocka_unit_test(test_hostile_disks_are_refused),
        cmocka_unit_test(test_paths_are_absolute_and_straight),
        cmocka_unit_test(test_too_many_disks_are_refused),
        cmocka_unit_test(test_data_gb_counts_memory_and_disks),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
