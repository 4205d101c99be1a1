#include <config.h>

#include "agent/nova/volume_rows.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/migrate/data.h"
#include "agent/nova/connector.h"

#define VOLUME "11111111-0000-4000-8000-000000000001"

/* 'text' with " for '. */
static struct json *
json_of(const char *text)
{
    AUTO_FREE quoted = xstrdup(text);
    struct json *json = NULL;

    for (char *c = quoted; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    AUTO_ERROR error = json_parse(quoted, strlen(quoted), &json);
    assert_string_equal(error_message(error), "success");
    return json;
}

static void
assert_json(const struct json *json, const char *text)
{
    AUTO_JSON wanted = json_of(text);

    if (!json_equal(json, wanted)) {
        AUTO_FREE is = json_print(json, NULL);
        fail_msg("%s is not %s", is, text);
    }
}

/* A BlockDeviceMappingList of those fields. */
static struct json *
list_of(const char *const *devices, size_t n)
{
    struct json *list = json_object(), *data = json_object();
    struct json *objects = json_array();

    for (size_t i = 0; i < n; i++) {
        struct json *device = json_object();
        json_set(device, "nova_object.data", json_of(devices[i]));
        json_append(objects, device);
    }
    json_set(data, "objects", objects);
    json_set(list, "nova_object.data", data);
    return list;
}

/* Within an object's text there is text again. */
static struct json *
usual_list(void)
{
    static const char *const devices[] = {
        "{'destination_type': 'local', 'device_name': '/dev/vda', "
        "'boot_index': 0, 'volume_id': null}",
        "{'destination_type': 'volume', 'device_name': '/dev/vdb', "
        "'device_type': 'disk', 'disk_bus': 'virtio', 'boot_index': null, "
        "'volume_id': '" VOLUME "', 'attachment_id': 'a1'}",
        "{'destination_type': 'volume', 'device_name': 'sdc', 'device_type': "
        "null, 'disk_bus': null, 'boot_index': 0, 'volume_id': 'v2', "
        "'attachment_id': null, 'connection_info': null}",
    };
    struct json *list = list_of(devices, N_ELEMENTS(devices));
    struct json *second = json_get(
        json_at(json_get(json_get(list, "nova_object.data"), "objects"), 1),
        "nova_object.data");

    json_set_string(second, "connection_info",
                    "{\"driver_volume_type\": \"rbd\", \"data\": {\"x\": 1}}");
    return list;
}

#define ROW                                                               \
    "{'volume_id': '" VOLUME "', 'attachment_id': 'a1', 'device_name': "  \
    "'/dev/vdb', 'dev': 'vdb', 'bus': 'virtio', 'type': 'disk', "         \
    "'connection_info': {'driver_volume_type': 'rbd', 'data': {'x': 1}, " \
    "'serial': '" VOLUME "'}}"

static void
test_rows_are_volumes_only(void **state UNUSED)
{
    AUTO_JSON list = usual_list();
    AUTO_JSON connected = volume_rows_of(list, true);
    AUTO_JSON all = volume_rows_of(list, false);

    assert_json(connected, "[" ROW "]");
    assert_json(all, "[" ROW ", {'volume_id': 'v2', 'attachment_id': null, "
                     "'device_name': 'sdc', 'dev': 'sdc', 'bus': 'scsi', "
                     "'type': 'disk', 'boot_index': 1}]");
    assert_non_null(volume_rows_device(list, "v2"));
    assert_null(volume_rows_device(list, "v3"));
    assert_null(volume_rows_device(list, NULL));
}

static void
test_what_can_not_be_moved_is_refused(void **state UNUSED)
{
    AUTO_JSON list = usual_list();
    AUTO_JSON all = volume_rows_of(list, false);
    AUTO_JSON connected = volume_rows_of(list, true);
    AUTO_ERROR none = volume_rows_check(connected);
    AUTO_ERROR old = volume_rows_check(all);
    AUTO_JSON secret = json_of("[{'volume_id': 'v', 'attachment_id': 'a', "
                               "'connection_info': {'data': {'encrypted': "
                               "true}}}]");
    AUTO_ERROR encrypted = volume_rows_check(secret);

    assert_null(none);
    assert_int_equal(error_code(old), ERR_NOT_IMPLEMENTED);
    assert_non_null(strstr(error_message(old), "'v2'"));
    assert_int_equal(error_code(encrypted), ERR_NOT_IMPLEMENTED);
}

static void
test_rows_go_into_the_migrate_data(void **state UNUSED)
{
    AUTO_JSON list = usual_list();
    AUTO_JSON rows = volume_rows_of(list, false);
    AUTO_OBJECT data = migrate_data_create();

    volume_rows_tell(rows, data);
    assert_int_equal(migrate_data_n_bdms(data), 1);
    struct migrate_bdm bdm = migrate_data_bdm(data, 0);
    assert_string_equal(bdm.serial, VOLUME);
    assert_string_equal(bdm.dev, "vdb");
    assert_string_equal(bdm.bus, "virtio");
    assert_int_equal(bdm.boot_index, -1);

    /* Once it is connected, so is the other one. */
    AUTO_JSON info = json_of("{'driver_volume_type': 'rbd', 'data': {}}");
    volume_row_connect(json_at(rows, 1), info);
    volume_rows_tell(rows, data);
    assert_int_equal(migrate_data_n_bdms(data), 2);
    bdm = migrate_data_bdm(data, 1);
    assert_string_equal(bdm.serial, "v2");
    assert_int_equal(bdm.boot_index, 1);
}

static void
test_connector_says_what_cinder_needs(void **state UNUSED)
{
    static char ip[] = "192.0.2.7", host[] = "hosta";
    struct conf conf = {.my_block_storage_ip = ip, .host = host};
    char root[] = "/tmp/connector.XXXXXX";

    assert_non_null(mkdtemp(root));
    AUTO_JSON bare = connector_read(&conf, root);
    assert_string_equal(json_string_of(bare, "ip"), "192.0.2.7");
    assert_string_equal(json_string_of(bare, "host"), "hosta");
    assert_string_equal(json_string_of(bare, "os_type"), "linux");
    assert_true(json_has(bare, "platform"));
    assert_false(json_bool_of(bare, "multipath"));
    assert_false(json_has(bare, "initiator"));

    AUTO_FREE etc = xasprintf("%s/etc", root);
    AUTO_FREE iscsi = xasprintf("%s/iscsi", etc);
    AUTO_FREE path = xasprintf("%s/initiatorname.iscsi", iscsi);
    assert_int_equal(mkdir(etc, 0700) | mkdir(iscsi, 0700), 0);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("## comment\nInitiatorName=iqn.1993-08.org.debian:01:ab \n", file);
    fclose(file);
    AUTO_JSON connector = connector_read(&conf, root);
    assert_string_equal(json_string_of(connector, "initiator"),
                        "iqn.1993-08.org.debian:01:ab");
    unlink(path);
    rmdir(iscsi);
    rmdir(etc);
    rmdir(root);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_volumes_only),
        cmocka_unit_test(test_what_can_not_be_moved_is_refused),
        cmocka_unit_test(test_rows_go_into_the_migrate_data),
        cmocka_unit_test(test_connector_says_what_cinder_needs),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
