#include <config.h>

#include "agent/records_local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/uuid.h"

#define UUID "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909"
#define UUID2 "8dc4aaaa-e09e-4516-8d4c-b0ec1d9c0910"
#define MIG "2cf6e2bc-c7a4-4575-b5ec-ff0e0b9666d1"
#define GIB (INT64_C(1) << 30)

static struct fixture {
    uv_loop_t loop;
    struct completion_queue *q;
    struct store *store;
    struct records_local *local;
    struct records *records;
    /* What the last call gave. */
    unsigned n_done;
    struct error *error;
    struct object *object;
    struct object **objects;
    size_t n;
    unsigned n_puts;
    bool lose;
} f;

static bool
tap(void *aux UNUSED, bool is_done, enum store_table table UNUSED,
    int64_t id UNUSED, const char *body UNUSED)
{
    f.n_puts += !is_done;
    return !f.lose;
}

static void
create(void)
{
    AUTO_ERROR error =
        records_local_create(f.store, f.q, "hostA", "az1", &f.local);

    assert_string_equal(error_message(error), "success");
    f.records = records_local_records(f.local);
}

static void
forget_answer(void)
{
    error_free(steal(&f.error));
    object_free(steal(&f.object));
    for (size_t i = 0; i < f.n; i++) {
        object_free(f.objects[i]);
    }
    free(steal(&f.objects));
    f.n = 0;
    f.n_done = 0;
}

/* As after the agent was started again. */
static void
restart(void)
{
    forget_answer();
    records_local_free(f.local);
    create();
}

static int64_t wall_us;

static int64_t
fake_wall_us(void)
{
    return wall_us;
}

static int
setup(void **state UNUSED)
{
    memset(&f, 0, sizeof f);
    wall_us = INT64_C(1795325890) * 1000000; /* 2026-11-22T05:38:10Z */
    uv_loop_init(&f.loop);
    f.q = completion_queue_create(&f.loop);
    AUTO_ERROR error = store_open(":memory:", f.q, &f.store);
    assert_null(error);
    store_set_tap(f.store, tap, NULL);
    create();
    return 0;
}

static int
teardown(void **state UNUSED)
{
    forget_answer();
    records_local_free(f.local);
    store_close(f.store);
    completion_queue_close(f.q);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&f.loop);
}

static void
wait_done(void)
{
    uint64_t end_ms = clock_now_ms() + 20000;

    assert_int_equal(f.n_done, 0); /* Not before the call returned. */
    while (!f.n_done) {
        assert_true(clock_now_ms() < end_ms);
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_int_equal(f.n_done, 1);
}

static void
object_done(void *aux, struct error *error, struct object *object)
{
    assert_ptr_equal(aux, &f);
    assert_true(!error != !object);
    if (error) {
        assert_null(f.error);
        f.error = error;
    } else {
        assert_null(f.object);
        f.object = object;
    }
    f.n_done++;
}

static void
list_done(void *aux, struct error *error, struct object **objects, size_t n)
{
    assert_ptr_equal(aux, &f);
    f.error = error;
    f.objects = objects;
    f.n = n;
    f.n_done++;
}

static void
done(void *aux, struct error *error)
{
    assert_ptr_equal(aux, &f);
    f.error = error;
    f.n_done++;
}

static const struct object *
get(const char *uuid)
{
    forget_answer();
    f.records->ops->instance_get(f.records->state, NULL, uuid, object_done, &f);
    wait_done();
    return f.object;
}

static const struct object *
save(const struct object *instance, const char *const *expected)
{
    forget_answer();
    f.records->ops->instance_save(f.records->state, NULL, instance, expected,
                                  object_done, &f);
    wait_done();
    return f.object;
}

static const struct object *
migration_get(int64_t id, const char *uuid)
{
    forget_answer();
    f.records->ops->migration_get(f.records->state, NULL, id, uuid, object_done,
                                  &f);
    wait_done();
    return f.object;
}

static const struct object *
migration_create(const struct object *migration)
{
    forget_answer();
    f.records->ops->migration_create(f.records->state, NULL, migration,
                                     object_done, &f);
    wait_done();
    return f.object;
}

static const struct object *
migration_save(const struct object *migration)
{
    forget_answer();
    f.records->ops->migration_save(f.records->state, NULL, migration,
                                   object_done, &f);
    wait_done();
    return f.object;
}

static void
migration_list(const char *instance_uuid)
{
    forget_answer();
    f.records->ops->migration_list(f.records->state, NULL, instance_uuid,
                                   list_done, &f);
    wait_done();
    assert_null(f.error);
}

static struct guest_disk disks[] = {
    {.target = (char *)"sda", .device = (char *)"cdrom", .virtual_size = 9},
    {.target = (char *)"vda",
     .device = (char *)"disk",
     .virtual_size = GIB + 1},
};

static const struct guest guest = {
    .uuid = (char *)UUID,
    .name = (char *)"vm_2",
    .memory_mb = 128,
    .n_vcpus = 2,
    .power_state = POWER_RUNNING,
    .presence = GUEST_ACTIVE,
    .disks = disks,
    .n_disks = N_ELEMENTS(disks),
};

static struct object *
adopted(void)
{
    assert_true(records_local_adopt(f.local, &guest, "nodeA"));
    return object_copy(get(UUID));
}

static void
test_guest_becomes_an_instance(void **state UNUSED)
{
    AUTO_OBJECT o = adopted();

    assert_string_equal(object_name(o), "Instance");
    assert_string_equal(object_version(o), "2.7");
    assert_int_equal(object_n_changes(o), 0);
    assert_int_equal(object_int(o, "id"), 1);
    assert_string_equal(object_string(o, "uuid"), UUID);
    assert_string_equal(object_string(o, "display_name"), "vm_2");
    assert_string_equal(object_string(o, "hostname"), "vm-2");
    assert_string_equal(object_string(o, "host"), "hostA");
    assert_string_equal(object_string(o, "launched_on"), "hostA");
    assert_string_equal(object_string(o, "node"), "nodeA");
    assert_string_equal(object_string(o, "availability_zone"), "az1");
    assert_string_equal(object_string(o, "vm_state"), "active");
    assert_true(json_is_null(object_get(o, "task_state")));
    assert_true(json_is_null(object_get(o, "user_id")));
    assert_int_equal(object_int(o, "power_state"), 1);
    assert_int_equal(object_int(o, "memory_mb"), 128);
    assert_int_equal(object_int(o, "vcpus"), 2);
    assert_int_equal(object_int(o, "root_gb"), 2); /* Rounded up. */
    assert_string_equal(object_string(o, "root_device_name"), "/dev/vda");
    assert_string_equal(object_string(o, "created_at"), "2026-11-22T05:38:10Z");
    assert_string_equal(object_string(o, "launched_at"),
                        "2026-11-22T05:38:10Z");

    const struct json *flavor =
        json_get(object_get(o, "flavor"), "nova_object.data");
    assert_string_equal(json_string_of(flavor, "name"), "drover.128-2");
    assert_int_equal(json_int_of(flavor, "memory_mb"), 128);
    assert_int_equal(json_int_of(flavor, "root_gb"), 2);
    const struct json *cache =
        json_get(object_get(o, "info_cache"), "nova_object.data");
    assert_string_equal(json_string_of(cache, "network_info"), "[]");
}

/* The fields of an instance that Nova sent with live_migration. */
static void
test_instance_has_every_field_that_peers_send(void **state UNUSED)
{
    static const char *const fields[] = {"id",
                                         "user_id",
                                         "project_id",
                                         "image_ref",
                                         "kernel_id",
                                         "ramdisk_id",
                                         "hostname",
                                         "launch_index",
                                         "key_name",
                                         "key_data",
                                         "power_state",
                                         "vm_state",
                                         "task_state",
                                         "memory_mb",
                                         "vcpus",
                                         "root_gb",
                                         "ephemeral_gb",
                                         "ephemeral_key_uuid",
                                         "host",
                                         "node",
                                         "instance_type_id",
                                         "user_data",
                                         "reservation_id",
                                         "launched_at",
                                         "terminated_at",
                                         "availability_zone",
                                         "display_name",
                                         "display_description",
                                         "launched_on",
                                         "locked",
                                         "locked_by",
                                         "os_type",
                                         "architecture",
                                         "vm_mode",
                                         "uuid",
                                         "root_device_name",
                                         "default_ephemeral_device",
                                         "default_swap_device",
                                         "config_drive",
                                         "access_ip_v4",
                                         "access_ip_v6",
                                         "auto_disk_config",
                                         "progress",
                                         "shutdown_terminate",
                                         "disable_terminate",
                                         "cell_name",
                                         "metadata",
                                         "system_metadata",
                                         "info_cache",
                                         "security_groups",
                                         "cleaned",
                                         "numa_topology",
                                         "pci_requests",
                                         "flavor",
                                         "old_flavor",
                                         "new_flavor",
                                         "migration_context",
                                         "hidden",
                                         "resources",
                                         "created_at",
                                         "updated_at",
                                         "deleted_at",
                                         "deleted"};
    AUTO_OBJECT o = adopted();

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        if (!object_has(o, fields[i])) {
            fail_msg("no field '%s'", fields[i]);
        }
    }
    /* And no other. */
    const struct json *data = json_get(object_json(o), "nova_object.data");
    assert_int_equal(json_size(data), N_ELEMENTS(fields));
    AUTO_OBJECT parsed = NULL;
    AUTO_ERROR error = object_parse(object_json(o), "Instance", &parsed);
    assert_null(error);
}

static void
test_title_is_the_name_shown(void **state UNUSED)
{
    struct guest titled = guest;

    titled.title = (char *)"  My  G\xc3\xbc"
                           "st_1. ";
    records_local_adopt(f.local, &titled, "nodeA");
    assert_string_equal(object_string(get(UUID), "display_name"), titled.title);
    assert_string_equal(object_string(f.object, "hostname"), "my--gst-1");
}

static void
test_nothing_new_is_not_written(void **state UNUSED)
{
    object_free(adopted());
    unsigned n_puts = f.n_puts;

    wall_us += 1000000;
    assert_false(records_local_adopt(f.local, &guest, "nodeA"));
    assert_false(records_local_adopt(f.local, &guest, NULL));
    assert_int_equal(f.n_puts, n_puts);
    assert_true(json_is_null(object_get(get(UUID), "updated_at")));
}

static void
test_adopting_again_updates(void **state UNUSED)
{
    struct guest changed = guest;

    object_free(adopted());
    wall_us += 1000000;
    changed.memory_mb = 256;
    changed.name = (char *)"renamed";
    changed.power_state = POWER_SHUTDOWN;
    assert_false(records_local_adopt(f.local, &changed, "nodeB"));
    const struct object *o = get(UUID);
    assert_int_equal(object_int(o, "memory_mb"), 256);
    assert_string_equal(object_string(o, "display_name"), "renamed");
    assert_string_equal(object_string(o, "vm_state"), "stopped");
    assert_string_equal(object_string(o, "node"), "nodeB");
    assert_string_equal(object_string(o, "updated_at"), "2026-11-22T05:38:11Z");
    assert_string_equal(object_string(o, "created_at"), "2026-11-22T05:38:10Z");
    const struct json *flavor =
        json_get(object_get(o, "flavor"), "nova_object.data");
    assert_string_equal(json_string_of(flavor, "name"), "drover.256-2");
}

static void
test_vm_state_follows_the_power_state(void **state UNUSED)
{
    static const struct {
        enum power_state power_state;
        const char *vm_state;
    } rows[] = {{POWER_PAUSED, "paused"},     {POWER_SHUTDOWN, "stopped"},
                {POWER_CRASHED, "error"},     {POWER_SUSPENDED, "suspended"},
                {POWER_NOSTATE, "suspended"}, {POWER_RUNNING, "active"}};
    struct guest changed = guest;

    object_free(adopted());
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        changed.power_state = rows[i].power_state;
        records_local_adopt(f.local, &changed, "nodeA");
        assert_string_equal(object_string(get(UUID), "vm_state"),
                            rows[i].vm_state);
        assert_int_equal(object_int(f.object, "power_state"),
                         rows[i].power_state);
    }
}

static void
test_task_keeps_the_record_from_being_changed(void **state UNUSED)
{
    AUTO_OBJECT o = adopted();
    struct guest paused = guest;

    object_set_string(o, "task_state", "migrating");
    assert_non_null(save(o, NULL));
    paused.power_state = POWER_PAUSED;
    paused.memory_mb = 99;
    records_local_adopt(f.local, &paused, "nodeA");
    assert_string_equal(object_string(get(UUID), "vm_state"), "active");
    assert_int_equal(object_int(f.object, "power_state"), POWER_PAUSED);
    assert_int_equal(object_int(f.object, "memory_mb"), 128);
    assert_false(records_local_forget(f.local, UUID));
    assert_int_equal(records_local_n_instances(f.local), 1);
}

static void
test_records_survive_a_restart(void **state UNUSED)
{
    AUTO_OBJECT before = adopted();

    restart();
    assert_true(json_equal(object_json(get(UUID)), object_json(before)));
    assert_int_equal(records_local_n_instances(f.local), 1);
    assert_false(records_local_adopt(f.local, &guest, "nodeA"));
}

static void
test_unknown_instance_is_not_found(void **state UNUSED)
{
    assert_null(get(UUID));
    assert_int_equal(error_code(f.error), ERR_INSTANCE_NOT_FOUND);
    AUTO_FREE text = error_text(f.error);
    assert_string_equal(text, "Instance " UUID " could not be found.");
}

static void
test_list_has_all(void **state UNUSED)
{
    struct guest second = guest;

    second.uuid = (char *)UUID2;
    records_local_adopt(f.local, &guest, "nodeA");
    records_local_adopt(f.local, &second, "nodeA");
    f.records->ops->instance_list(f.records->state, NULL, list_done, &f);
    wait_done();
    assert_null(f.error);
    assert_int_equal(f.n, 2);
    assert_string_equal(object_string(f.objects[0], "uuid"), UUID);
    assert_string_equal(object_string(f.objects[1], "uuid"), UUID2);
}

static void
test_save_writes_what_was_changed_only(void **state UNUSED)
{
    AUTO_OBJECT mine = adopted();
    AUTO_OBJECT other = object_copy(mine);

    object_set_int(other, "progress", 40);
    assert_non_null(save(other, NULL));
    object_set_string(mine, "task_state", "migrating");
    object_set_string(mine, "uuid", UUID); /* No change. */
    wall_us += 1000000;
    const struct object *stored = save(mine, NULL);
    assert_int_equal(object_int(stored, "progress"), 40);
    assert_string_equal(object_string(stored, "task_state"), "migrating");
    assert_string_equal(object_string(stored, "updated_at"),
                        "2026-11-22T05:38:11Z");
    assert_int_equal(object_n_changes(stored), 0);

    restart();
    assert_int_equal(object_int(get(UUID), "progress"), 40);
}

static void
test_of_two_who_finish_a_migration_one_loses(void **state UNUSED)
{
    static const char *const migrating[] = {"migrating", NULL};
    AUTO_OBJECT o = adopted();

    object_set_string(o, "task_state", "migrating");
    assert_non_null(save(o, NULL));
    AUTO_OBJECT first = object_copy(f.object);
    AUTO_OBJECT second = object_copy(f.object);

    object_set_null(first, "task_state");
    object_set_int(first, "progress", 1);
    assert_non_null(save(first, migrating));
    object_set_null(second, "task_state");
    object_set_int(second, "progress", 2);
    assert_null(save(second, migrating));
    assert_int_equal(error_code(f.error), ERR_UNEXPECTED_TASK_STATE);
    AUTO_FREE text = error_text(f.error);
    assert_string_equal(text, "Conflict updating instance " UUID
                              ". Expected: {'task_state': ['migrating']}. "
                              "Actual: {'task_state': None}");
    assert_int_equal(object_int(get(UUID), "progress"), 1);
}

static void
test_two_saves_in_one_turn_see_each_other(void **state UNUSED)
{
    static const char *const none[] = {"", "migrating", NULL};
    static const char *const only_none[] = {"", NULL};
    AUTO_OBJECT o = adopted();

    forget_answer();
    object_set_string(o, "task_state", "migrating");
    f.records->ops->instance_save(f.records->state, NULL, o, only_none,
                                  object_done, &f);
    f.records->ops->instance_save(f.records->state, NULL, o, only_none,
                                  object_done, &f);
    while (f.n_done < 2) {
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_non_null(f.object);
    assert_int_equal(error_code(f.error), ERR_UNEXPECTED_TASK_STATE);
    assert_non_null(save(o, none));
}

static struct object *
foreign_instance(const char *host)
{
    struct object *o = object_create("Instance", "2.7");

    object_set_int(o, "id", 4711);
    object_set_string(o, "uuid", UUID);
    object_set_string(o, "display_name", "from afar");
    object_set_string(o, "task_state", "migrating");
    object_clear_changes(o);
    object_set_string(o, "host", host);
    object_set_null(o, "task_state");
    return o;
}

static void
test_record_moves_in_with_its_guest(void **state UNUSED)
{
    static const char *const migrating[] = {"migrating", NULL};
    AUTO_OBJECT o = foreign_instance("hostA");

    assert_non_null(save(o, migrating));
    assert_int_equal(object_int(f.object, "id"), 1); /* Ours. */
    restart();
    const struct object *stored = get(UUID);
    assert_string_equal(object_string(stored, "display_name"), "from afar");
    assert_string_equal(object_string(stored, "host"), "hostA");

    /* The domain's name is not taken for a new one. */
    records_local_adopt(f.local, &guest, "nodeA");
    assert_string_equal(object_string(get(UUID), "display_name"), "from afar");
    assert_int_equal(object_int(f.object, "memory_mb"), 128);
    size_t n;
    assert_non_null(records_local_find(f.local, "vm_2", &n));
    assert_non_null(records_local_find(f.local, "from afar", &n));
}

static void
test_record_of_another_hosts_instance_is_not_made(void **state UNUSED)
{
    AUTO_OBJECT o = foreign_instance("hostB");

    assert_null(save(o, NULL));
    assert_int_equal(error_code(f.error), ERR_INSTANCE_NOT_FOUND);
    assert_int_equal(records_local_n_instances(f.local), 0);
}

static void
test_record_moves_away(void **state UNUSED)
{
    object_free(adopted());

    for (int i = 0; i < 2; i++) { /* The second time there is nothing to do. */
        forget_answer();
        f.records->ops->instance_moved_away(f.records->state, UUID, "hostB",
                                            done, &f);
        wait_done();
        assert_null(f.error);
        assert_null(get(UUID));
    }
    restart();
    assert_null(get(UUID));
}

static void
test_guest_that_is_gone_is_forgotten(void **state UNUSED)
{
    object_free(adopted());
    assert_true(records_local_forget(f.local, UUID));
    assert_false(records_local_forget(f.local, UUID));
    restart();
    assert_int_equal(records_local_n_instances(f.local), 0);
}

static void
assert_found(const char *name, const char *uuid, size_t expected_n)
{
    size_t n = 99;
    const struct object *found = records_local_find(f.local, name, &n);

    assert_int_equal(n, expected_n);
    if (uuid) {
        assert_string_equal(object_string(found, "uuid"), uuid);
    } else {
        assert_null(found);
    }
}

static void
test_instances_are_found_by_what_people_type(void **state UNUSED)
{
    struct guest second = guest;

    records_local_adopt(f.local, &guest, "nodeA");
    second.uuid = (char *)UUID2;
    second.name = (char *)"other";
    second.title = (char *)"Vm Two";
    records_local_adopt(f.local, &second, "nodeA");

    assert_found(UUID, UUID, 1);
    assert_found("8DC4F765-E09E-4516-8D4C-B0EC1D9C0909", UUID, 1);
    assert_found("vm_2", UUID, 1);
    assert_found("Vm Two", UUID2, 1);
    assert_found("other", UUID2, 1);
    assert_found("8dc4f", UUID, 1);
    assert_found("8dc4a", UUID2, 1);
    assert_found("8dc4", NULL, 2);
    assert_found("8dc", NULL, 0); /* Too short to be meant. */
    assert_found("nobody", NULL, 0);
    assert_found("", NULL, 0);

    second.name = (char *)"vm_2";
    second.title = NULL;
    records_local_adopt(f.local, &second, "nodeA");
    assert_found("vm_2", NULL, 2);

    /* What was found stays as it was until the loop goes on. */
    size_t n;
    const struct object *found = records_local_find(f.local, UUID, &n);
    records_local_forget(f.local, UUID);
    assert_string_equal(object_string(found, "uuid"), UUID);
    assert_found(UUID, NULL, 0);
}

static struct object *
new_migration(const char *instance_uuid)
{
    struct object *o = object_create("Migration", "1.7");

    object_set_string(o, "instance_uuid", instance_uuid);
    object_set_string(o, "source_compute", "hostA");
    return o;
}

static void
test_new_migration_gets_what_it_lacks(void **state UNUSED)
{
    static const char *const fields[] = {"id",
                                         "uuid",
                                         "source_compute",
                                         "dest_compute",
                                         "source_node",
                                         "dest_node",
                                         "dest_host",
                                         "old_instance_type_id",
                                         "new_instance_type_id",
                                         "instance_uuid",
                                         "status",
                                         "migration_type",
                                         "hidden",
                                         "memory_total",
                                         "memory_processed",
                                         "memory_remaining",
                                         "disk_total",
                                         "disk_processed",
                                         "disk_remaining",
                                         "cross_cell_move",
                                         "user_id",
                                         "project_id",
                                         "created_at",
                                         "updated_at",
                                         "deleted_at",
                                         "deleted"};
    AUTO_OBJECT given = new_migration(UUID);
    const struct object *o = migration_create(given);

    assert_int_equal(object_int(o, "id"), 1);
    assert_true(uuid_is_valid(object_string(o, "uuid")));
    assert_string_equal(object_string(o, "status"), "accepted");
    assert_string_equal(object_string(o, "migration_type"), "live-migration");
    assert_string_equal(object_string(o, "source_compute"), "hostA");
    assert_string_equal(object_string(o, "created_at"), "2026-11-22T05:38:10Z");
    assert_true(json_is_null(object_get(o, "updated_at")));
    assert_int_equal(object_n_changes(o), 0);
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        if (!object_has(o, fields[i])) {
            fail_msg("no field '%s'", fields[i]);
        }
    }
    const struct json *data = json_get(object_json(o), "nova_object.data");
    assert_int_equal(json_size(data), N_ELEMENTS(fields));
}

static void
test_migrations_are_saved_and_found(void **state UNUSED)
{
    AUTO_OBJECT given = new_migration(UUID);

    object_set_string(given, "uuid", MIG);
    assert_non_null(migration_create(given));
    AUTO_OBJECT o = object_copy(f.object);
    assert_null(migration_create(given)); /* Not a second time. */
    assert_int_equal(error_code(f.error), ERR_INVALID);

    wall_us += 2000000;
    object_set_string(o, "status", "running");
    assert_string_equal(object_string(migration_save(o), "status"), "running");
    restart();
    assert_string_equal(object_string(migration_get(0, MIG), "status"),
                        "running");
    assert_string_equal(object_string(f.object, "updated_at"),
                        "2026-11-22T05:38:12Z");
    assert_string_equal(object_string(migration_get(1, NULL), "uuid"), MIG);
    assert_null(migration_get(2, NULL));
    assert_int_equal(error_code(f.error), ERR_MIGRATION_NOT_FOUND);
    AUTO_FREE text = error_text(f.error);
    assert_string_equal(text, "Migration 2 could not be found.");
    assert_null(migration_get(1, UUID));

    AUTO_OBJECT unknown = new_migration(UUID);
    assert_null(migration_save(unknown));
    assert_int_equal(error_code(f.error), ERR_MIGRATION_NOT_FOUND);
}

static void
test_migrations_are_listed_newest_first(void **state UNUSED)
{
    AUTO_OBJECT one = new_migration(UUID);
    AUTO_OBJECT two = new_migration(UUID2);

    migration_create(one);
    migration_create(two);
    migration_create(one);
    migration_list(NULL);
    assert_int_equal(f.n, 3);
    assert_int_equal(object_int(f.objects[0], "id"), 3);
    assert_int_equal(object_int(f.objects[2], "id"), 1);
    migration_list(UUID);
    assert_int_equal(f.n, 2);
    assert_int_equal(object_int(f.objects[0], "id"), 3);
    assert_int_equal(object_int(f.objects[1], "id"), 1);
    restart();
    migration_list("nobody");
    assert_int_equal(f.n, 0);
}

static void
test_old_migrations_are_forgotten_once_they_are_over(void **state UNUSED)
{
    AUTO_OBJECT over = new_migration(UUID);
    AUTO_OBJECT open = new_migration(UUID);

    object_set_string(over, "status", "completed");
    migration_create(open);
    for (int i = 0; i < 205; i++) {
        migration_create(over);
    }
    restart();
    migration_list(NULL);
    assert_int_equal(f.n, 200);
    assert_int_equal(object_int(f.objects[0], "id"), 206);
    assert_string_equal(object_string(f.objects[199], "status"), "accepted");
}

static void
test_failed_write_is_told(void **state UNUSED)
{
    AUTO_OBJECT o = adopted();
    AUTO_OBJECT migration = new_migration(UUID);

    f.lose = true;
    object_set_int(o, "progress", 3);
    assert_null(save(o, NULL));
    assert_int_equal(error_code(f.error), ERR_STORAGE);
    assert_null(migration_create(migration));
    assert_int_equal(error_code(f.error), ERR_STORAGE);

    /* The next write of the same makes up for it. */
    f.lose = false;
    object_set_int(o, "launch_index", 1);
    assert_non_null(save(o, NULL));
    restart();
    assert_int_equal(object_int(get(UUID), "progress"), 3);
}

static void
test_answers_outlive_the_records(void **state UNUSED)
{
    AUTO_OBJECT o = adopted();

    forget_answer();
    f.records->ops->instance_save(f.records->state, NULL, o, NULL, object_done,
                                  &f);
    records_local_free(steal(&f.local));
    wait_done();
    assert_non_null(f.object);
}

static void
test_damaged_record_is_an_error(void **state UNUSED)
{
    struct records_local *local = NULL;

    store_put(f.store, STORE_MIGRATIONS, 5, MIG, xstrdup("{}"), NULL, NULL);
    AUTO_ERROR error = records_local_create(f.store, f.q, "h", "z", &local);
    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error), "record 5 of '" MIG "'"));
    assert_null(local);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_guest_becomes_an_instance),
        TEST(test_instance_has_every_field_that_peers_send),
        TEST(test_title_is_the_name_shown),
        TEST(test_nothing_new_is_not_written),
        TEST(test_adopting_again_updates),
        TEST(test_vm_state_follows_the_power_state),
        TEST(test_task_keeps_the_record_from_being_changed),
        TEST(test_records_survive_a_restart),
        TEST(test_unknown_instance_is_not_found),
        TEST(test_list_has_all),
        TEST(test_save_writes_what_was_changed_only),
        TEST(test_of_two_who_finish_a_migration_one_loses),
        TEST(test_two_saves_in_one_turn_see_each_other),
        TEST(test_record_moves_in_with_its_guest),
        TEST(test_record_of_another_hosts_instance_is_not_made),
        TEST(test_record_moves_away),
        TEST(test_guest_that_is_gone_is_forgotten),
        TEST(test_instances_are_found_by_what_people_type),
        TEST(test_new_migration_gets_what_it_lacks),
        TEST(test_migrations_are_saved_and_found),
        TEST(test_migrations_are_listed_newest_first),
        TEST(test_old_migrations_are_forgotten_once_they_are_over),
        TEST(test_failed_write_is_told),
        TEST(test_answers_outlive_the_records),
        TEST(test_damaged_record_is_an_error),
    };

    json_init();
    log_set_level(LOG_LEVEL_ERROR);
    clock_set_fake(NULL, fake_wall_us);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
