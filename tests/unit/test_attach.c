#include <config.h>

#include "agent/attachments.h"

/* Volumes and ports of a guest that moves between two agents, whose programs
 * are written down and not run.  (spec/live-migration 3.2, 3.4, 5.2) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/migrate/data.h"
#include "agent/migrate/migration.h"
#include "agent/plug_retry.h"
#include "tests/unit/host_recorder.h"
#include "tests/unit/two_agents.h"

#define PORT "c521973a-7fea-4d80-b09a-b8924934a61c"
#define VOLUME "6ca404f3-d844-4169-bb96-bc792f37de98"
#define NODE "iscsiadm -m node -T iqn.2010-10.org.example:1 -p 192.0.2.1:3260"
#define LINK             \
    "/dev/disk/by-path/" \
    "ip-192.0.2.1:3260-iscsi-iqn.2010-10.org.example:1-lun-1"
#define IP_ADD                                                               \
    "ip link add name brq0fcf8e10-fe type bridge stp_state 0 forward_delay " \
    "0\n"

struct fixture {
    struct two_agents *ta;
    struct host_recorder recorders[2];
    unsigned n_to_fail; /* Programs. */
};

static void
record(struct fixture *f, int host)
{
    f->ta->hosts[host].agent->host = f->recorders[host].host;
}

static int
set_up(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    f->ta = ta_create(2);
    for (int i = 0; i < 2; i++) {
        host_recorder_open(&f->recorders[i]);
        f->recorders[i].aux = f;
        record(f, i);
    }
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    ta_free(f->ta);
    for (int i = 0; i < 2; i++) {
        host_recorder_close(&f->recorders[i]);
    }
    free(f);
    return 0;
}

/* A port as a conductor bound it to the destination. */
static void
bind_port(struct fixture *f, const char *type)
{
    AUTO_OBJECT data = NULL;
    struct migrate_vif vif = {
        .port_id = PORT,
        .vnic_type = "normal",
        .vif_type = type,
        .vif_details_json = "{\"connectivity\": \"l2\"}",
        .profile_json = "{\"os_vif_delegation\": true}",
        .source_vif =
            "{\"id\": \"" PORT "\", \"address\": \"fa:16:3e:fe:62:f6\", "
            "\"type\": \"tap\", \"devname\": \"tapc521973a-7f\", \"network\": "
            "{\"bridge\": \"brq0fcf8e10-fe\", \"meta\": "
            "{\"should_create_bridge\": true}}}",
    };

    assert_null(object_parse(f->ta->data, NULL, &data));
    migrate_data_set_vifs(data, &vif, 1);
    json_free(f->ta->data);
    f->ta->data = json_copy(object_json(data));
}

static void
conduct_with_port(struct fixture *f, const char *type)
{
    ta_check(f->ta);
    bind_port(f, type);
    ta_cast_migration(f->ta, f->ta->record);
}

static void
assert_guest_at(struct fixture *f, int host, const char *status)
{
    assert_int_equal(ta_guest_active_at(f->ta), 1u << host);
    assert_string_equal(ta_status(f->ta), status);
}

static int
fail_some(struct host_recorder *recorder, const char *line UNUSED,
          const char **ret_words)
{
    struct fixture *f = recorder->aux;

    if (!f->n_to_fail) {
        return 0;
    }
    f->n_to_fail--;
    *ret_words = "RTNETLINK answers: Device or resource busy\n";
    return 2;
}

static unsigned
count(const char *text, const char *part)
{
    unsigned n = 0;

    while ((text = strstr(text, part))) {
        n++;
        text += strlen(part);
    }
    return n;
}

static void
test_17_port_that_fails_five_times_is_plugged(void **state)
{
    struct fixture *f = *state;
    uint64_t start_ms = ta_now_ms();

    f->recorders[B].react = fail_some;
    f->n_to_fail = 5;
    conduct_with_port(f, "bridge");
    ta_rest(f->ta);
    assert_guest_at(f, B, "completed");
    assert_int_equal(count(f->recorders[B].lines, IP_ADD), 6);
    assert_true(ta_now_ms() - start_ms >= 5000);
}

static void
test_17_failed_binding_fails_at_once(void **state)
{
    struct fixture *f = *state;
    uint64_t start_ms = ta_now_ms();

    conduct_with_port(f, "binding_failed");
    ta_until(f->ta, str_eq(ta_status(f->ta), "failed"));
    assert_true(ta_now_ms() - start_ms < PLUG_RETRY_PAUSE_MS);
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
    AUTO_OBJECT migration = ta_migration(f->ta, A);
    assert_non_null(
        strstr(object_string(migration, "error"), "type 'binding_failed'"));
    assert_ran(&f->recorders[B], "");
}

static void
test_17_attempts_are_limited(void **state)
{
    struct fixture *f = *state;

    f->recorders[B].react = fail_some;
    f->n_to_fail = 1000;
    conduct_with_port(f, "bridge");
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
    assert_int_equal(count(f->recorders[B].lines, IP_ADD), 30);
    AUTO_OBJECT migration = ta_migration(f->ta, A);
    assert_non_null(strstr(object_string(migration, "error"), "resource busy"));
}

/* A port of the source is its own kind, wherever it goes. */
static void
test_port_is_unplugged_at_the_source_after_success(void **state)
{
    struct fixture *f = *state;

    host_recorder_put(&f->recorders[A], "/sys/class/net/tapc521973a-7f", "");
    conduct_with_port(f, "bridge");
    ta_rest(f->ta);
    assert_guest_at(f, B, "completed");
    assert_ran(&f->recorders[A], "ip link delete dev tapc521973a-7f\n");
}

static int
make_tap(struct host_recorder *recorder, const char *line,
         const char **ret_words UNUSED)
{
    if (strncmp(line, "ip tuntap", 9) == 0) {
        host_recorder_put(recorder, "/sys/class/net/tapc521973a-7f", "");
    }
    return 0;
}

static void
test_port_is_unplugged_at_the_destination_after_a_failure(void **state)
{
    struct fixture *f = *state;

    f->recorders[B].react = make_tap;
    ta_steer(f->ta, A, "fail migrate MIGRATION");
    conduct_with_port(f, "tap");
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
    assert_non_null(strstr(f->recorders[B].lines, "ip tuntap add"));
    assert_non_null(
        strstr(f->recorders[B].lines, "ip link delete dev tapc521973a-7f\n"));
    assert_ran(&f->recorders[A], "");
}

static bool
waits_to_plug(struct fixture *f)
{
    return strstr(f->recorders[B].lines, IP_ADD) &&
           op_first(f->ta->hosts[B].agent->ops) &&
           str_eq(op_step_name(op_first(f->ta->hosts[B].agent->ops)),
                  "plug-ports");
}

static void
test_destination_that_dies_while_it_plugs_takes_it_back(void **state)
{
    struct fixture *f = *state;

    f->recorders[B].react = fail_some;
    f->n_to_fail = 1000;
    conduct_with_port(f, "bridge");
    ta_until(f->ta, waits_to_plug(f));
    ta_crash(f->ta, B);
    ta_up(f->ta, B);
    record(f, B);
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
}

/* Volumes, by the record of the instance. */

static void
attach(struct fixture *f, const char *text)
{
    struct json *args = json_object(), *attachments = NULL;
    struct error *error = NULL;

    assert_null(json_parse(text, strlen(text), &attachments));
    json_set_string(args, "instance", f->ta->uuid);
    json_set(args, "attachments", attachments);
    AUTO_JSON answer = ta_api(f->ta, A, "attachments", args, &error);
    assert_null(error);
    assert_non_null(answer);
}

#define ISCSI                                                               \
    "{\"volumes\": [{\"connection_info\": {\"driver_volume_type\": "        \
    "\"iscsi\", \"serial\": \"" VOLUME "\", \"data\": {\"target_portal\": " \
    "\"192.0.2.1:3260\", \"target_iqn\": \"iqn.2010-10.org.example:1\", "   \
    "\"target_lun\": 1, \"auth_method\": \"CHAP\", \"auth_username\": "     \
    "\"u\", \"auth_password\": \"sesame\"}}, \"dev\": \"vdb\", \"bus\": "   \
    "\"virtio\"}]}"

static int
target(struct host_recorder *recorder, const char *line,
       const char **ret_words UNUSED)
{
    if (str_eq(line, NODE " --login")) {
        host_recorder_put(recorder, "/sys/block/sdx/device/delete", "");
        host_recorder_put(recorder, "/dev/sdx", "");
        host_recorder_link(recorder, LINK, "/dev/sdx");
    } else if (str_eq(line, NODE " --logout")) {
        AUTO_FREE path = xasprintf("%s" LINK, recorder->directory);
        unlink(path);
    }
    return 0;
}

static void
conduct_by_name(struct fixture *f)
{
    struct json *args = json_object();
    struct error *error = NULL;

    json_set_string(args, "instance", f->ta->uuid);
    json_set_string(args, "dest", "hostb");
    AUTO_JSON migration = ta_api(f->ta, A, "migrate", args, &error);
    assert_null(error);
    assert_non_null(migration);
}

static void
test_21_volume_is_connected_there_before_and_let_go_here_after(void **state)
{
    struct fixture *f = *state;

    f->recorders[B].react = target;
    attach(f, ISCSI);
    ta_leave_migrations(true);
    conduct_by_name(f);
    ta_until(f->ta, str_eq(ta_status(f->ta), "running"));
    assert_non_null(strstr(f->recorders[B].lines, NODE " --login\n"));
    assert_ran(&f->recorders[A], "");
    ta_leave_migrations(false);
    ta_rest(f->ta);
    assert_guest_at(f, B, "completed");
    assert_non_null(strstr(f->recorders[A].lines, NODE " --logout\n"));
    assert_null(strstr(f->recorders[B].lines, "--logout"));

    /* It moves with the record, which says where it is there. */
    AUTO_OBJECT instance = ta_instance(f->ta, B);
    const struct json *volumes = json_get(attachments_of(instance), "volumes");
    const struct json *info = json_get(json_at(volumes, 0), "connection_info");
    assert_string_equal(json_string_of(json_get(info, "data"), "device_path"),
                        LINK);
    assert_string_equal(json_string_of(json_at(volumes, 0), "dev"), "vdb");
}

static void
test_21_volume_is_let_go_there_after_a_failure(void **state)
{
    struct fixture *f = *state;

    f->recorders[B].react = target;
    attach(f, ISCSI);
    ta_steer(f->ta, A, "fail migrate MIGRATION");
    conduct_by_name(f);
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
    assert_non_null(strstr(f->recorders[B].lines, NODE " --login\n"));
    assert_non_null(strstr(f->recorders[B].lines, NODE " --logout\n"));
    assert_ran(&f->recorders[A], "");
    AUTO_OBJECT instance = ta_instance(f->ta, A);
    assert_non_null(attachments_of(instance));
}

static void
test_volume_that_can_not_be_connected_fails_the_migration(void **state)
{
    struct fixture *f = *state;

    attach(f, ISCSI); /* And no unit ever appears. */
    conduct_by_name(f);
    ta_rest(f->ta);
    assert_guest_at(f, A, "failed");
    AUTO_OBJECT migration = ta_migration(f->ta, A);
    assert_non_null(
        strstr(object_string(migration, "error"), "did not appear"));
    assert_non_null(strstr(f->recorders[B].lines, NODE " --logout\n"));
}

static void
test_volume_goes_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct error *error = NULL;

    f->recorders[A].react = f->recorders[B].react = target;
    attach(f, ISCSI);
    conduct_by_name(f);
    ta_rest(f->ta);
    assert_int_equal(ta_guest_active_at(f->ta), 1u << B);
    f->recorders[A].lines[0] = f->recorders[B].lines[0] = '\0';

    struct json *args = json_object();
    json_set_string(args, "instance", f->ta->uuid);
    AUTO_JSON migration UNUSED = ta_api(f->ta, B, "migrate", args, &error);
    assert_null(error);
    ta_rest(f->ta);
    assert_int_equal(ta_guest_active_at(f->ta), 1u << A);
    assert_non_null(strstr(f->recorders[A].lines, NODE " --login\n"));
    assert_non_null(strstr(f->recorders[B].lines, NODE " --logout\n"));
}

/* As real services describe them. */

static struct object *
recorded(const char *name)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path = xasprintf("%s/tests/corpus/migrate_data/%s",
                               srcdir ? srcdir : ".", name);
    FILE *file = fopen(path, "re");
    char *text = xzalloc(1 << 16);
    AUTO_JSON json = NULL;
    struct object *data = NULL;

    assert_non_null(file);
    size_t size = fread(text, 1, (1 << 16) - 1, file);
    fclose(file);
    assert_null(json_parse(text, size, &json));
    free(text);
    assert_null(migrate_data_parse(json, &data));
    return data;
}

static void
test_recorded_ports_are_understood(void **state)
{
    static const struct {
        const char *file, *type, *backend, *name, *device, *mac;
        bool is_source, is_delegated;
        int mtu;
    } rows[] = {
        {"block-volume-pre.json", "ovs", "ethernet", "", "tap88dae9fa-0d",
         "00:0c:29:0d:11:74", false, true, 1450},
        {"block-volume-pre.json", "ovs", "ethernet", "", "tap88dae9fa-0d",
         "00:0c:29:0d:11:74", true, true, 1450},
        {"numa-check.json", "ovs", "ethernet", "", "tap88dae9fa-0d",
         "00:0c:29:0d:11:74", false, true, 1450},
        {"shared-pre.json", "bridge", "bridge", "brq0fcf8e10-fe",
         "tapc521973a-7f", "fa:16:3e:fe:62:f6", false, true, 1500},
        {"block-live.json", "bridge", "bridge", "brq0fcf8e10-fe",
         "tapd0ea6b89-44", "fa:16:3e:ad:91:73", false, true, 1500},
        {"rollback-dest.json", "bridge", "bridge", "brq0fcf8e10-fe",
         "tap063d65b9-08", "fa:16:3e:a1:5c:36", true, true, 1500},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_OBJECT data = recorded(rows[i].file);
        AUTO_VIFS vifs = {0};
        struct vif_backend backend;
        assert_null(
            attachments_vifs(data, "78eed080", rows[i].is_source, &vifs));
        assert_int_equal(vifs.n, 1);
        assert_string_equal(vifs.vifs[0]->type, rows[i].type);
        assert_string_equal(vifs.vifs[0]->mac, rows[i].mac);
        assert_int_equal(vifs.vifs[0]->is_delegated, rows[i].is_delegated);
        assert_int_equal(vifs.vifs[0]->mtu, rows[i].mtu);
        assert_null(vif_describe(vifs.vifs[0], &backend));
        assert_string_equal(backend.type, rows[i].backend);
        assert_string_equal(backend.name, rows[i].name);
        assert_string_equal(backend.device, rows[i].device);
    }
}

/* As the source had it while Neutron was changing its binding. */
static void
test_bridge_that_is_not_named_is_the_usual_one(void **state)
{
    static const char text[] =
        "{\"id\": \"" PORT "\", \"address\": \"fa:16:3e:fe:62:f6\", \"type\": "
        "\"bridge\", \"network\": {\"id\": "
        "\"0fcf8e10-fe8e-4a01-b215-4e7bd7017b7f\", \"bridge\": null}}";
    AUTO_JSON json = NULL;
    CLEANUP(vif_free_at) struct vif *vif = NULL;

    (void)state;
    assert_null(json_parse(text, strlen(text), &json));
    assert_null(attachments_parse_vif(json, "78eed080", &vif));
    assert_string_equal(vif->bridge, "brq0fcf8e10-fe");
    assert_true(vif->may_create_bridge);
    assert_null(vif_check(vif));
}

static struct volume *
parse_info(const char *text)
{
    AUTO_JSON info = NULL;
    struct volume *volume = NULL;

    assert_null(json_parse(text, strlen(text), &info));
    assert_null(attachments_parse_volume(NULL, info, "78eed080", &volume));
    assert_null(volume_check(volume));
    return volume;
}

static void
test_targets_are_each_named_once(void **state UNUSED)
{
    CLEANUP(volume_free_at)
    struct volume *volume = parse_info(
        "{\"driver_volume_type\": \"iscsi\", \"serial\": \"" VOLUME "\", "
        "\"data\": {\"target_discovered\": false, \"target_portal\": "
        "\"192.0.2.1:3260\", \"target_iqn\": \"iqn.2010-10.org:a\", "
        "\"target_lun\": 1, \"target_portals\": [\"192.0.2.1:3260\", "
        "\"192.0.2.2:3260\"], \"target_iqns\": [\"iqn.2010-10.org:a\", "
        "\"iqn.2010-10.org:b\"], \"target_luns\": [1, 2], \"auth_method\": "
        "\"CHAP\", \"auth_username\": \"u\", \"auth_password\": \"p\", "
        "\"encrypted\": false, \"qos_specs\": null, \"access_mode\": "
        "\"ro\", \"discard\": true}}");

    assert_int_equal(volume->n_paths, 2);
    assert_string_equal(volume->paths[0].iqn, "iqn.2010-10.org:a");
    assert_string_equal(volume->paths[1].portal, "192.0.2.2:3260");
    assert_int_equal(volume->paths[1].lun, 2);
    assert_string_equal(volume->auth_password, "p");
    assert_true(volume->readonly);
    assert_true(volume->discard);
}

static void
test_monitors_of_ceph_have_ports_as_text_or_number(void **state UNUSED)
{
    CLEANUP(volume_free_at)
    struct volume *volume = parse_info(
        "{\"driver_volume_type\": \"rbd\", \"serial\": \"" VOLUME "\", "
        "\"data\": {\"name\": \"volumes/volume-1\", \"hosts\": "
        "[\"192.0.2.5\", \"192.0.2.6\"], \"ports\": [\"6789\", 6790], "
        "\"cluster_name\": \"ceph\", \"auth_enabled\": true, "
        "\"auth_username\": \"cinder\", \"secret_type\": \"ceph\", "
        "\"secret_uuid\": \"457eb676-33da-42ec-9a8c-9293d545c337\", "
        "\"keyring\": null}}");

    assert_int_equal(volume->n_hosts, 2);
    assert_string_equal(volume->ports[0], "6789");
    assert_string_equal(volume->ports[1], "6790");
    assert_string_equal(volume->ceph_user, "cinder");
}

/* A record may have come from anywhere. */
static void
test_whatever_a_record_has_is_survived(void **state)
{
    static const char *const texts[] = {
        "{\"vifs\": [{\"id\": \"" PORT "\"}, 1, null, []], \"volumes\": "
        "[{}, null, 7, {\"connection_info\": 1}]}",
        "{\"vifs\": {\"a\": {}}, \"volumes\": \"x\"}",
        "[]",
        "{\"vifs\": [{\"id\": 1, \"address\": 2}]}",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_OBJECT instance = object_create("Instance", "2.7");
        AUTO_OBJECT data = migrate_data_create();
        AUTO_VOLUMES volumes = {0};
        AUTO_VIFS vifs = {0};
        struct json *kept = NULL;
        assert_null(json_parse(texts[i], strlen(texts[i]), &kept));
        object_set(instance, ATTACHMENTS_FIELD, kept);
        object_set_string(instance, "uuid", "78eed080");
        attachments_tell(instance, data);
        error_free(attachments_volumes(NULL, data, "78eed080", &volumes));
        error_free(attachments_vifs(data, "78eed080", false, &vifs));
        attachments_keep(instance, data);
        assert_int_equal(volumes.n + vifs.n, 0);
    }
}

static void
test_password_is_not_shown(void **state)
{
    struct fixture *f = *state;
    struct json *args = json_object();
    struct error *error = NULL;

    attach(f, ISCSI);
    json_set_string(args, "instance", f->ta->uuid);
    AUTO_JSON shown = ta_api(f->ta, A, "attachments", args, &error);
    assert_null(error);
    AUTO_FREE text = json_print(shown, NULL);
    assert_null(strstr(text, "sesame"));
    assert_non_null(strstr(text, VOLUME));
}

static void
test_what_no_driver_takes_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum error_code code;
    } rows[] = {
        {"[]", ERR_VALUE},
        {"{\"volumes\": {}}", ERR_VALUE},
        {"{\"volumes\": [{}]}", ERR_VALUE},
        {"{\"volumes\": [{\"connection_info\": {\"driver_volume_type\": "
         "\"fake\", \"serial\": \"1\", \"data\": {}}}]}",
         ERR_VOLUME_DRIVER_NOT_FOUND},
        {"{\"vifs\": [{\"id\": \"" PORT "\"}]}", ERR_VALUE},
        {"{\"vifs\": [{\"id\": \"" PORT "\", \"address\": "
         "\"fa:16:3e:fe:62:f6\", \"type\": \"unbound\"}]}",
         ERR_VIF_PLUG},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_JSON json = NULL;
        struct json *kept = NULL;
        assert_null(json_parse(rows[i].text, strlen(rows[i].text), &json));
        AUTO_ERROR error = attachments_parse(
            json, "78eed080-8b3c-4b1e-8d43-0a5d3ca4c0b1", &kept);
        assert_int_equal(error_code(error), rows[i].code);
        assert_null(kept);
    }
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

static void
test_destination_names_the_ports_that_nova_knows_of(void **state UNUSED)
{
    AUTO_OBJECT instance = object_create("Instance", "2.7");
    AUTO_OBJECT data = object_create("LibvirtLiveMigrateData", "1.10");
    AUTO_OBJECT none = object_create("LibvirtLiveMigrateData", "1.10");
    struct json *cache = json_object();
    struct json *fields = json_object();

    attachments_name_ports(instance, none);
    assert_true(migrate_data_has_vifs(none)); /* Nova needs to be told. */
    assert_int_equal(migrate_data_n_vifs(none), 0);

    json_set_string(fields, "network_info",
                    "[{\"id\": \"p1\", \"type\": \"ovs\"}, {\"id\": 7},"
                    "{\"id\": \"p2\"}]");
    json_set(cache, "nova_object.data", fields);
    object_set(instance, "info_cache", cache);
    attachments_name_ports(instance, data);
    assert_int_equal(migrate_data_n_vifs(data), 2);
    assert_string_equal(migrate_data_vif(data, 0).port_id, "p1");
    assert_string_equal(migrate_data_vif(data, 0).source_vif,
                        "{\"id\":\"p1\",\"type\":\"ovs\"}");
    assert_null(migrate_data_vif(data, 0).host);
    assert_string_equal(migrate_data_vif(data, 1).port_id, "p2");

    /* What is said stays. */
    json_set_string(fields, "network_info", "[]");
    attachments_name_ports(instance, data);
    assert_int_equal(migrate_data_n_vifs(data), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_17_port_that_fails_five_times_is_plugged),
        TEST(test_17_failed_binding_fails_at_once),
        TEST(test_17_attempts_are_limited),
        TEST(test_port_is_unplugged_at_the_source_after_success),
        TEST(test_port_is_unplugged_at_the_destination_after_a_failure),
        TEST(test_destination_that_dies_while_it_plugs_takes_it_back),
        TEST(test_21_volume_is_connected_there_before_and_let_go_here_after),
        TEST(test_21_volume_is_let_go_there_after_a_failure),
        TEST(test_volume_that_can_not_be_connected_fails_the_migration),
        TEST(test_volume_goes_and_comes_back),
        TEST(test_recorded_ports_are_understood),
        TEST(test_bridge_that_is_not_named_is_the_usual_one),
        TEST(test_targets_are_each_named_once),
        TEST(test_monitors_of_ceph_have_ports_as_text_or_number),
        TEST(test_whatever_a_record_has_is_survived),
        TEST(test_password_is_not_shown),
        TEST(test_what_no_driver_takes_is_refused),
        cmocka_unit_test(test_destination_names_the_ports_that_nova_knows_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
