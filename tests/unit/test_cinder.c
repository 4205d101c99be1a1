#include <config.h>

#include "agent/nova/cinder.h"

/* The calls to Cinder, as its client makes them, and to Glance. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cloud_bench.h"

#define VOLUME "6ca404f3-1f7a-4a3e-8a8b-5d6f1c2b3a49"
#define ATTACHMENT "a0221169-41b3-4f9e-9d6b-0c4e2f1d7a58"
#define INSTANCE "6366182a-6451-4f45-bd48-1486ecc5705b"
#define IMAGE "0f6a25dd-8b64-435e-9ce9-e96316cd7ea4"
#define ATTACHED                                                          \
    "{'attachment': {'id': '" ATTACHMENT "', 'volume_id': '" VOLUME       \
    "', 'instance': '" INSTANCE "', 'status': 'attaching', 'attach_mode'" \
    ": 'rw', 'attached_at': '', 'detached_at': '', 'connection_info': {"  \
    "'driver_volume_type': 'iscsi', 'attachment_id': '" ATTACHMENT        \
    "', 'target_lun': 1}}}"

#define CALL(FUNC, ...) FUNC(b->cloud->cinder, b->context, __VA_ARGS__, b)

static void
attachment_known(void *aux, const struct cinder_attachment *attachment,
                 struct error *error)
{
    struct json *json = json_object();

    assert_true(!attachment != !error);
    if (attachment) {
        json_set_string(json, "id", attachment->id);
        json_set_string(json, "volume", attachment->volume_id);
        json_set_string(json, "status", attachment->status);
        json_set(json, "info", json_copy(attachment->connection_info));
    }
    cloud_bench_done(aux, json, error);
}

static void
assert_version(struct cloud_bench *b)
{
    for (size_t i = 0; i < cloud_bench_n_requests(b); i++) {
        assert_string_equal(rest_server_header(cloud_bench_request(b, i),
                                               "openstack-api-version"),
                            "volume 3.44");
    }
}

static void
test_attachment_create(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON connector = bench_json("{'host': 'hostB', 'ip': '10.0.0.2'}");

    BENCH_REPLIES(b, {"POST", "/attachments", 200, ATTACHED, ANSWER},
                  {.status = 404},
                  {.status = 400,
                   .body = "{'badRequest': {'message':"
                           "'in use', 'code': 400}}"});
    CALL(cinder_attachment_create, VOLUME, INSTANCE, connector, "/dev/vdb",
         attachment_known);
    cloud_bench_run(b);
    bench_assert_body(cloud_bench_request(b, 0),
                      "{'attachment': {'volume_uuid': '" VOLUME
                      "', 'connector': {'host': 'hostB', 'ip': '10.0.0.2',"
                      "'mountpoint': '/dev/vdb'}, 'instance_uuid': '" INSTANCE
                      "'}}");
    /* As Nova keeps it: no attachment_id within, all else beside. */
    cloud_bench_assert_result(
        b,
        "{'id': '" ATTACHMENT "', 'volume': '" VOLUME
        "', 'status': 'attaching', 'info': {'driver_volume_type':"
        "'iscsi', 'data': {'target_lun': 1}, 'status':"
        "'attaching', 'instance': '" INSTANCE
        "', 'attached_at': '', 'detached_at': '', 'volume_id': '" VOLUME "'}}");
    CALL(cinder_attachment_create, VOLUME, INSTANCE, NULL, NULL,
         attachment_known);
    cloud_bench_run(b);
    bench_assert_body(cloud_bench_request(b, 1),
                      "{'attachment': {'volume_uuid': '" VOLUME
                      "', 'connector': null, 'instance_uuid': '" INSTANCE
                      "'}}");
    cloud_bench_assert_error(b, ERR_VOLUME_NOT_FOUND,
                             "Volume " VOLUME " could not be found.");
    CALL(cinder_attachment_create, VOLUME, INSTANCE, connector, NULL,
         attachment_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_INVALID_INPUT,
        "Invalid input received: cinder: attachment: 400, in use");
    assert_version(b);
    cloud_bench_free(b);
}

/* Two would be one too many. */
static void
test_attachment_is_not_created_twice(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.manner = HANG_UP});
    CALL(cinder_attachment_create, VOLUME, INSTANCE, NULL, NULL,
         attachment_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_CINDER_CONNECTION);
    BENCH_REPLIES(b, {.status = 503});
    CALL(cinder_attachment_create, VOLUME, INSTANCE, NULL, NULL,
         attachment_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_CINDER_CONNECTION);
    cloud_bench_free(b);
}

static void
test_attachment_get_and_update(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON connector = bench_json("{'host': 'hostB'}");

    BENCH_REPLIES(
        b, {"GET", "/attachments/" ATTACHMENT, 200, ATTACHED, ANSWER},
        {"PUT", "/attachments/" ATTACHMENT, 200, ATTACHED, ANSWER},
        {.status = 200,
         .body = "{'attachment': {'id': 'x', 'connection_info': {}}}"},
        {.status = 404}, {.status = 200, .body = "{}"});
    CALL(cinder_attachment_get, ATTACHMENT, attachment_known);
    cloud_bench_run(b);
    assert_null(b->error);
    CALL(cinder_attachment_update, ATTACHMENT, connector, "/dev/vdc",
         attachment_known);
    cloud_bench_run(b);
    assert_null(b->error);
    bench_assert_body(cloud_bench_request(b, 1),
                      "{'attachment': {'connector': {'host': 'hostB',"
                      "'mountpoint': '/dev/vdc'}}}");
    CALL(cinder_attachment_get, ATTACHMENT, attachment_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(
        b, "{'id': 'x', 'volume': null, 'status': null, 'info': {}}");
    CALL(cinder_attachment_get, ATTACHMENT, attachment_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_VOLUME_ATTACHMENT_NOT_FOUND,
                             "Volume attachment " ATTACHMENT
                             " could not be found.");
    CALL(cinder_attachment_get, ATTACHMENT, attachment_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_CINDER_CONNECTION);
    assert_version(b);
    cloud_bench_free(b);
}

static void
test_attachment_complete(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b, {"POST", "/attachments/" ATTACHMENT "/action", 204, NULL, ANSWER},
        {.status = 404}, {.status = 409});
    CALL(cinder_attachment_complete, ATTACHMENT, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    bench_assert_body(cloud_bench_request(b, 0), "{'os-complete': null}");
    CALL(cinder_attachment_complete, ATTACHMENT, cloud_bench_ended);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_VOLUME_ATTACHMENT_NOT_FOUND);
    CALL(cinder_attachment_complete, ATTACHMENT, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_CINDER_CONNECTION,
        "Connection to cinder host failed: cinder: complete: 409");
    assert_version(b);
    cloud_bench_free(b);
}

static void
test_attachment_delete(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {"DELETE", "/attachments/" ATTACHMENT, 200,
                   "{'attachments': []}", ANSWER},
                  {.status = 404}, {.status = 500}, {.status = 403});
    for (int i = 0; i < 2; i++) {
        CALL(cinder_attachment_delete, ATTACHMENT, cloud_bench_ended);
        cloud_bench_run(b);
        assert_null(b->error);
    }
    CALL(cinder_attachment_delete, ATTACHMENT, cloud_bench_ended);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_CINDER_CONNECTION);
    CALL(cinder_attachment_delete, ATTACHMENT, cloud_bench_ended);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_FORBIDDEN);
    cloud_bench_free(b);
}

static void
image_known(void *aux, const struct glance_image *image, struct error *error)
{
    struct json *json = json_object();

    assert_true(!image != !error);
    if (image) {
        json_set_string(json, "id", image->id);
        json_set_string(json, "status", image->status);
        json_set_string(json, "format", image->disk_format);
        json_set_int(json, "size", image->size);
        json_set_int(json, "min_disk", image->min_disk_gb);
    }
    cloud_bench_done(aux, json, error);
}

static void
ask_image(struct cloud_bench *b)
{
    glance_image_get(b->cloud->glance, b->context, IMAGE, image_known, b);
    cloud_bench_run(b);
}

static void
test_image(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body = "{'id': '" IMAGE "', 'status': 'active',"
                           "'disk_format': 'qcow2', 'size': 5000000000,"
                           "'min_disk': 1, 'virtual_size': null}"},
                  {.status = 404}, {.status = 403}, {.status = 401},
                  {.status = 500}, {.status = 200, .body = "{}"});
    ask_image(b);
    cloud_bench_assert_as_recorded(b, 0, "image");
    assert_string_equal(
        rest_server_header(cloud_bench_request(b, 0), "x-auth-token"),
        "theirs");
    cloud_bench_assert_result(b, "{'id': '" IMAGE
                                 "', 'status': 'active', 'format':"
                                 "'qcow2', 'size': 5000000000, 'min_disk': 1}");
    ask_image(b);
    cloud_bench_assert_error(b, ERR_IMAGE_NOT_FOUND,
                             "Image " IMAGE " could not be found.");
    for (int i = 0; i < 2; i++) {
        ask_image(b);
        cloud_bench_assert_error(b, ERR_IMAGE_NOT_AUTHORIZED,
                                 "Not authorized for image " IMAGE ".");
    }
    ask_image(b);
    cloud_bench_assert_error(
        b, ERR_GLANCE_CONNECTION,
        "Connection to glance host image failed: glance: image: 500");
    ask_image(b);
    assert_int_equal(error_code(b->error), ERR_GLANCE_CONNECTION);
    cloud_bench_free(b);
}

/* The first of a list of servers, as our own user where there is no other. */
static void
test_image_of_a_server_that_is_named(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create("service_user : { @LOGIN@ };\n");
    AUTO_FREE url =
        xasprintf("%s/image,http://127.0.0.1:1", rest_server_url(b->server));

    assert_null(conf_set(b->conf, "glance", "api_servers", url));
    cloud_close(b->cloud);
    b->cloud = cloud_create(&b->loop, b->workers, b->conf);
    BENCH_REPLIES(
        b, {.status = 401},
        {.status = 200, .body = "{'id': '" IMAGE "', 'status': 'active'}"});
    ask_image(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 1, "image");
    assert_string_equal(
        rest_server_header(cloud_bench_request(b, 1), "x-auth-token"),
        "token-1");
    cloud_bench_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attachment_create),
        cmocka_unit_test(test_attachment_is_not_created_twice),
        cmocka_unit_test(test_attachment_get_and_update),
        cmocka_unit_test(test_attachment_complete),
        cmocka_unit_test(test_attachment_delete),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_image_of_a_server_that_is_named),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
