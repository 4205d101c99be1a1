#include <config.h>

#include "agent/nova/keystone.h"

/* Tokens, and what the services make of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cloud_bench.h"
#include "tests/unit/fake_clock.h"

#define PORT "f0dd8bfd-ddd3-4f6d-b735-7cf24f32d07d"
#define VOLUME "6ca404f3-1f7a-4a3e-8a8b-5d6f1c2b3a49"
#define HOUR                                      \
    "'issued_at': '2026-11-22T05:00:00.000000Z'," \
    "'expires_at': '2026-11-22T06:00:00.000000Z',"
#define OK_PORTS                               \
    {                                          \
        .status = 200, .body = "{'ports': []}" \
    }

static void
assert_login(const struct keystone_login *login, const char *text)
{
    AUTO_JSON body = NULL;
    AUTO_JSON wanted = bench_json(text);
    AUTO_ERROR error = keystone_login_format(login, &body);

    assert_string_equal(error_message(error), "success");
    if (!json_equal(body, wanted)) {
        AUTO_FREE printed = json_print(body, NULL);
        fail_msg("%s", printed);
    }
}

static void
test_login_with_password(void **state UNUSED)
{
    struct keystone_login login = {
        .auth_type = "password",
        .auth_url = "http://k/v3",
        .username = "nova",
        .password = "s3",
        .user_domain_name = "Default",
        .project_name = "service",
        .project_domain_id = "d1",
    };

    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['password'], 'password':"
                 "{'user': {'name': 'nova', 'domain': {'name': 'Default'},"
                 "'password': 's3'}}}, 'scope': {'project': {'name': 'service',"
                 "'domain': {'id': 'd1'}}}}}");
    login.user_id = "u1";
    login.project_id = "p1";
    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['password'], 'password':"
                 "{'user': {'id': 'u1', 'password': 's3'}}}, 'scope':"
                 "{'project': {'id': 'p1'}}}}");
}

static void
test_login_without_domain_is_in_the_default_one(void **state UNUSED)
{
    struct keystone_login login = {.auth_type = "password",
                                   .auth_url = "http://k",
                                   .username = "nova",
                                   .password = "s3",
                                   .system_scope = "all"};

    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['password'], 'password':"
                 "{'user': {'name': 'nova', 'domain': {'id': 'default'},"
                 "'password': 's3'}}}, 'scope': {'system': {'all': true}}}}");
    login.default_domain_name = "D";
    login.system_scope = NULL;
    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['password'], 'password':"
                 "{'user': {'name': 'nova', 'domain': {'name': 'D'},"
                 "'password': 's3'}}}}}");
}

static void
test_login_with_application_credential(void **state UNUSED)
{
    struct keystone_login login = {
        .auth_type = "v3applicationcredential",
        .auth_url = "http://k",
        .application_credential_id = "c1",
        .application_credential_secret = "s3",
        .project_name = "not told, as it belongs to the credential",
    };

    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['application_credential'],"
                 "'application_credential': {'id': 'c1', 'secret': 's3'}}}}");
    login.application_credential_id = NULL;
    login.application_credential_name = "c";
    login.user_id = "u1";
    assert_login(&login,
                 "{'auth': {'identity': {'methods': ['application_credential'],"
                 "'application_credential': {'name': 'c', 'secret': 's3',"
                 "'user': {'id': 'u1'}}}}}");
}

static void
test_login_that_lacks_something(void **state UNUSED)
{
    static const struct {
        struct keystone_login login;
        const char *why;
    } cases[] = {
        {{.auth_type = "password"}, "'auth_url' is not set"},
        {{.auth_type = "password", .auth_url = "u", .username = "n"},
         "'password' is not set"},
        {{.auth_type = "password", .auth_url = "u", .password = "s3"},
         "'username' is not set"},
        {{.auth_type = "v3applicationcredential", .auth_url = "u"},
         "'application_credential_secret' is not set"},
        {{.auth_type = "v3applicationcredential",
          .auth_url = "u",
          .application_credential_secret = "s3",
          .application_credential_name = "n"},
         "'application_credential_id' is not set, nor its name and the user"},
    };

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON body = NULL;
        AUTO_ERROR error = keystone_login_format(&cases[i].login, &body);

        assert_int_equal(error_code(error), ERR_CONFIG);
        assert_string_equal(error_message(error), cases[i].why);
        assert_null(body);
    }
}

static void
test_address_of_tokens(void **state UNUSED)
{
    static const char *const urls[] = {
        "http://k:5000",     "http://k:5000/",      "http://k:5000/v3",
        "http://k:5000/v3/", "http://k:5000/v2.0/",
    };

    for (size_t i = 0; i < N_ELEMENTS(urls); i++) {
        AUTO_FREE url = keystone_tokens_url(urls[i]);
        assert_string_equal(url, "http://k:5000/v3/auth/tokens");
    }
    AUTO_FREE below = keystone_tokens_url("https://k/identity/v3");
    assert_string_equal(below, "https://k/identity/v3/auth/tokens");
}

static void
test_catalogue(void **state UNUSED)
{
    AUTO_JSON catalog = bench_json(
        "[{'type': 'image', 'name': 'a', 'endpoints': [{'interface': 'public',"
        "'region': 'R1', 'url': 'a1'}, {'interface': 'internal', 'region_id':"
        "'R2', 'url': 'a2'}]}, {'type': 'image', 'name': 'b', 'endpoints':"
        "[{'interface': 'internal', 'region': 'R1', 'url': 'b1'}]},"
        "{'type': 'block-storage', 'endpoints': [{'region': 'R1', 'publicURL':"
        "'v1', 'adminURL': null}]}, 7, {'type': 'image', 'endpoints': 'x'}]");
    static const char *const internal[] = {"internal", "public", NULL};
    static const char *const public[] = {"publicURL", NULL};
    static const char *const admin[] = {"admin", NULL};
    static const char *const none[] = {NULL};
    static const struct {
        struct catalog_query query;
        const char *url;
    } cases[] = {
        {{"image", NULL, NULL, internal}, "a2"},
        {{"image", NULL, "R1", internal}, "b1"},
        {{"image", "a", "R1", internal}, "a1"},
        {{"image", NULL, NULL, public}, "a1"},
        {{"image", NULL, NULL, none}, "a1"},
        {{"image", NULL, NULL, NULL}, "a1"},
        {{"image", "c", NULL, NULL}, NULL},
        {{"image", NULL, "R3", NULL}, NULL},
        {{"volumev3", NULL, "R1", public}, "v1"},
        {{"volumev3", NULL, "R1", internal}, "v1"},
        {{"volumev3", NULL, "R1", admin}, NULL},
        {{"network", NULL, NULL, NULL}, NULL},
    };

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        const char *url = catalog_find(catalog, &cases[i].query);

        if (!str_eq(url, cases[i].url)) {
            fail_msg("case %zu: %s", i, url ? url : "null");
        }
    }
    assert_null(catalog_find(NULL, &cases[0].query));
}

static void
ports_known(void *aux, const struct neutron_port *ports UNUSED, size_t n UNUSED,
            struct error *error)
{
    cloud_bench_done(aux, NULL, error);
}

static void
ask_ports(struct cloud_bench *b)
{
    neutron_ports(b->cloud->neutron, b->context,
                  &(struct neutron_port_query){.device_id = "i1"}, ports_known,
                  b);
}

static const char *
token_of(struct cloud_bench *b, size_t i)
{
    return rest_server_header(cloud_bench_request(b, i), "x-auth-token");
}

static void
facts_known(void *aux, const struct placement_facts *facts UNUSED,
            struct error *error)
{
    cloud_bench_done(aux, NULL, error);
}

/* The two sections say the same. */
static void
test_one_token_for_all_who_are_the_same(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = "{'ports': [], 'traits': []}"},
                  {.status = 200, .body = "{'ports': [], 'traits': []}"},
                  {.status = 200, .body = "{'ports': [], 'traits': []}"});
    ask_ports(b);
    ask_ports(b);
    placement_traits(b->cloud->placement, b->context, "u", facts_known, b);
    cloud_bench_run_until(b, 3);
    assert_null(b->error);
    assert_int_equal(json_size(b->tokens), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(token_of(b, i), "token-1");
    }
    cloud_bench_free(b);
}

static void
test_another_user_another_token(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, OK_PORTS, {.status = 200, .body = "{'traits': []}"});
    assert_null(conf_set(b->conf, "placement", "username", "other"));
    cloud_close(b->cloud);
    b->cloud = cloud_create(&b->loop, b->workers, b->conf);
    ask_ports(b);
    cloud_bench_run(b);
    placement_traits(b->cloud->placement, b->context, "u", facts_known, b);
    cloud_bench_run(b);
    assert_int_equal(json_size(b->tokens), 2);
    assert_string_equal(token_of(b, 0), "token-1");
    assert_string_equal(token_of(b, 1), "token-2");
    cloud_bench_free(b);
}

/* It is got anew before its end: two minutes, by Keystone's clock. */
static void
test_token_is_renewed_in_time(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    fake_clock_install();
    b->token_times = HOUR;
    BENCH_REPLIES(b, OK_PORTS, OK_PORTS, OK_PORTS);
    ask_ports(b);
    cloud_bench_run(b);
    fake_clock_advance(&b->loop, 57 * 60 * 1000);
    ask_ports(b);
    cloud_bench_run(b);
    assert_int_equal(json_size(b->tokens), 1);
    fake_clock_advance(&b->loop, 2 * 60 * 1000);
    ask_ports(b);
    cloud_bench_run(b);
    assert_int_equal(json_size(b->tokens), 2);
    assert_string_equal(token_of(b, 2), "token-2");
    cloud_bench_free(b);
    fake_clock_remove();
}

static void
test_refused_token_is_renewed_once(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 401}, OK_PORTS);
    ask_ports(b);
    cloud_bench_run(b);
    assert_null(b->error);
    assert_string_equal(token_of(b, 0), "token-1");
    assert_string_equal(token_of(b, 1), "token-2");
    BENCH_REPLIES(b, {.status = 401}, {.status = 401});
    ask_ports(b);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_UNAUTHORIZED);
    assert_int_equal(json_size(b->tokens), 3);
    cloud_bench_free(b);
}

static void
test_keystone_refuses(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    b->token_status = 401;
    ask_ports(b);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_UNAUTHORIZED);
    assert_null(strstr(error_message(b->error), "secret"));
    b->token_status = 500;
    ask_ports(b);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_KEYSTONE_CONNECTION);
    b->token_status = 0;
    BENCH_REPLIES(b, OK_PORTS);
    ask_ports(b);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_free(b);
}

static void
test_closing_ends_who_waits_for_a_token(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    b->keeps_waiting = true;
    ask_ports(b);
    ask_ports(b);
    while (json_size(b->tokens) == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    cloud_close(steal(&b->cloud));
    assert_int_equal(b->n_done, 2);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    cloud_bench_free(b);
}

static void
answered(void *aux, const struct service_answer *answer UNUSED,
         struct error *error)
{
    cloud_bench_done(aux, NULL, error);
}

static struct service_call *
ask_service(struct cloud_bench *b)
{
    return service_send(
        b->cloud->placement,
        &(struct service_request){.method = "GET", .path = "/x"}, answered, b);
}

/* Waiting for a token, and with the service. */
static void
test_cancel(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    service_cancel(ask_service(b));
    struct service_call *first = ask_service(b);
    ask_service(b);
    service_cancel(first);
    BENCH_REPLIES(b, {.status = 200, .body = "{}"});
    cloud_bench_run(b);
    assert_int_equal(b->n_done, 1);
    BENCH_REPLIES(b, {.manner = HANG});
    first = ask_service(b);
    while (b->n_replied == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    service_cancel(first);
    assert_int_equal(rest_counters(b->cloud->rest).n_open, 0);
    assert_int_equal(b->n_done, 1);
    cloud_bench_free(b);
}

static void
test_no_login_no_endpoint(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    cinder_attachment_delete(b->cloud->cinder, NULL, VOLUME, cloud_bench_ended,
                             b);
    assert_int_equal(b->n_done, 0);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_CONFIG);
    assert_string_equal(error_message(b->error),
                        "cinder: no 'auth_type' is configured");
    assert_null(conf_set(b->conf, "neutron", "region_name", "Nowhere"));
    cloud_close(b->cloud);
    b->cloud = cloud_create(&b->loop, b->workers, b->conf);
    ask_ports(b);
    cloud_bench_run(b);
    assert_string_equal(error_message(b->error),
                        "neutron: no endpoint is known");
    cloud_bench_free(b);
}

static void
test_broken_answers(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    static const struct bench_reply replies[] = {
        {.status = 200, .body = "{'ports': ["},
        {.status = 200, .body = "<html>"},
        {.status = 200, .body = "{'ports': {}}"},
        {.status = 200, .body = "[]"},
        {.status = 200},
        {.status = 500, .body = "<html>"},
    };

    for (size_t i = 0; i < N_ELEMENTS(replies); i++) {
        cloud_bench_replies(b, &replies[i], 1);
        ask_ports(b);
        cloud_bench_run(b);
        assert_int_equal(error_code(b->error), ERR_NEUTRON);
    }
    cloud_bench_free(b);
}

/* A user's request has his token, his catalogue's address, and ours if that is
 * configured. */
static void
test_user_and_service_token(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(
        "service_user : { send_service_user_token = true; @LOGIN@ };\n");

    BENCH_REPLIES(b, {.status = 200, .body = "{}"});
    cinder_attachment_delete(b->cloud->cinder, b->context, "a1",
                             cloud_bench_ended, b);
    cloud_bench_run(b);
    const struct rest_server_request *request = cloud_bench_request(b, 0);
    assert_string_equal(request->path, "/volume/v3/theirs/attachments/a1");
    assert_string_equal(rest_server_header(request, "x-auth-token"), "theirs");
    assert_string_equal(rest_server_header(request, "x-service-token"),
                        "token-1");
    assert_string_equal(rest_server_header(request, "x-openstack-request-id"),
                        BENCH_REQUEST_ID);
    cloud_bench_free(b);
}

/* As when a migration outlived it. */
static void
test_refused_user_gives_way_to_our_own(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create("cinder : { @LOGIN@ };\n");

    BENCH_REPLIES(b, {.status = 401}, {.status = 401},
                  {.status = 200, .body = "{}"});
    cinder_attachment_delete(b->cloud->cinder, b->context, "a1",
                             cloud_bench_ended, b);
    cloud_bench_run(b);
    assert_null(b->error);
    assert_string_equal(token_of(b, 0), "theirs");
    assert_null(
        rest_server_header(cloud_bench_request(b, 0), "x-service-token"));
    assert_string_equal(token_of(b, 1), "token-1");
    assert_string_equal(token_of(b, 2), "token-2");
    assert_string_equal(cloud_bench_request(b, 1)->path,
                        "/volume/v3/ours/attachments/a1");
    cloud_bench_free(b);
}

static void
test_refused_user_without_another(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 401});
    cinder_attachment_delete(b->cloud->cinder, b->context, "a1",
                             cloud_bench_ended, b);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_UNAUTHORIZED);
    cloud_bench_free(b);
}

/* Our own token as a service is not worth failing for. */
static void
test_no_service_token_to_be_had(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(
        "service_user : { send_service_user_token = true; @LOGIN@ };\n");

    b->token_status = 401;
    BENCH_REPLIES(b, {.status = 200, .body = "{}"});
    cinder_attachment_delete(b->cloud->cinder, b->context, "a1",
                             cloud_bench_ended, b);
    cloud_bench_run(b);
    assert_null(b->error);
    assert_null(
        rest_server_header(cloud_bench_request(b, 0), "x-service-token"));
    cloud_bench_free(b);
}

static void
test_endpoint_with_a_place_for_the_project(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_FREE url =
        xasprintf("%s/volume/v3/%%(project_id)s/", rest_server_url(b->server));

    assert_null(conf_set(b->conf, "cinder", "endpoint_template", url));
    cloud_close(b->cloud);
    b->cloud = cloud_create(&b->loop, b->workers, b->conf);
    json_set_string(b->context, "project_id", "theirs");
    BENCH_REPLIES(b, {.status = 200, .body = "{}"});
    cinder_attachment_delete(b->cloud->cinder, b->context, "a1",
                             cloud_bench_ended, b);
    cloud_bench_run(b);
    assert_string_equal(cloud_bench_request(b, 0)->path,
                        "/volume/v3/theirs/attachments/a1");
    cloud_bench_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_with_password),
        cmocka_unit_test(test_login_without_domain_is_in_the_default_one),
        cmocka_unit_test(test_login_with_application_credential),
        cmocka_unit_test(test_login_that_lacks_something),
        cmocka_unit_test(test_address_of_tokens),
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_one_token_for_all_who_are_the_same),
        cmocka_unit_test(test_another_user_another_token),
        cmocka_unit_test(test_token_is_renewed_in_time),
        cmocka_unit_test(test_refused_token_is_renewed_once),
        cmocka_unit_test(test_keystone_refuses),
        cmocka_unit_test(test_closing_ends_who_waits_for_a_token),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_no_login_no_endpoint),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_user_and_service_token),
        cmocka_unit_test(test_refused_user_gives_way_to_our_own),
        cmocka_unit_test(test_refused_user_without_another),
        cmocka_unit_test(test_no_service_token_to_be_had),
        cmocka_unit_test(test_endpoint_with_a_place_for_the_project),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
