#include <config.h>

#include "tests/unit/cloud_bench.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 30000
#define LOGIN                                                      \
    "auth_type = \"password\"; auth_url = \"%s/identity/v3\"; "    \
    "username = \"nova\"; password = \"secret\"; "                 \
    "project_name = \"service\"; user_domain_name = \"Default\"; " \
    "project_domain_name = \"Default\"; "

static const char *const bases[] = {"/placement", "/network", "/volume/v3/ours",
                                    "/volume/v3/theirs", "/image"};

static char *
quotes(const char *text)
{
    char *copy = xstrdup(text);

    for (char *p = copy; (p = strchr(p, '\''));) {
        *p = '"';
    }
    return copy;
}

struct json *
bench_json(const char *text)
{
    AUTO_FREE quoted = quotes(text);
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(quoted, strlen(quoted), &json);

    assert_string_equal(error_message(error), "success");
    return json;
}

void
bench_assert_body(const struct rest_server_request *request, const char *text)
{
    AUTO_FREE expected = quotes(text);
    AUTO_JSON wanted = bench_json(text);
    AUTO_JSON body = bench_json(request->body);

    if (!json_equal(body, wanted)) {
        fail_msg("'%s' is not '%s'", request->body, expected);
    }
}

static const char *
below_base(const char *path)
{
    for (size_t i = 0; i < N_ELEMENTS(bases); i++) {
        size_t size = strlen(bases[i]);

        if (strncmp(path, bases[i], size) == 0) {
            return path + size;
        }
    }
    return NULL;
}

static void
give_token(struct cloud_bench *b, const struct rest_server_request *request,
           struct rest_server_reply *reply)
{
    static char header[64];
    const char *url = rest_server_url(b->server);
    AUTO_FREE text = xasprintf(
        "{'token': {%s 'catalog': ["
        "{'type': 'placement', 'name': 'placement', 'endpoints': ["
        "{'interface': 'public', 'region': 'RegionOne', 'url': '%s/none'},"
        "{'interface': 'internal', 'region': 'Other', 'url': '%s/none'},"
        "{'interface': 'internal', 'region': 'RegionOne', 'url': "
        "'%s/placement'}]},"
        "{'type': 'network', 'name': 'neutron', 'endpoints': ["
        "{'interface': 'public', 'region': 'RegionOne', 'url': "
        "'%s/network/'}]},"
        "{'type': 'block-storage', 'name': 'cinder', 'endpoints': ["
        "{'interface': 'public', 'region': 'RegionOne', 'url': "
        "'%s/volume/v3/ours'}]},"
        "{'type': 'image', 'name': 'glance', 'endpoints': ["
        "{'interface': 'internal', 'region': 'RegionOne', 'url': "
        "'%s/image/v2/'}]}]}}",
        b->token_times ? b->token_times : "", url, url, url, url, url, url);

    json_append(b->tokens, bench_json(request->body));
    free(b->made);
    b->made = quotes(text);
    snprintf(header, sizeof header, "X-Subject-Token: token-%zu",
             json_size(b->tokens));
    *reply = (struct rest_server_reply){
        .status = b->token_status ? b->token_status : 201,
        .manner = b->keeps_waiting ? HANG : ANSWER,
        .body = b->made,
        .header = header,
    };
}

static void
handle(void *aux, const struct rest_server_request *request,
       struct rest_server_reply *reply)
{
    struct cloud_bench *b = aux;
    const char *path = below_base(request->path);

    if (!path) {
        assert_string_equal(request->path, "/identity/v3/auth/tokens");
        assert_null(rest_server_header(request, "x-auth-token"));
        give_token(b, request, reply);
        return;
    }
    if (b->n_replied >= b->n_replies) {
        fail_msg("%s %s is not expected", request->method, request->path);
    }
    const struct bench_reply *next = &b->replies[b->n_replied++];
    if (next->path &&
        (!str_eq(path, next->path) || !str_eq(request->method, next->method))) {
        fail_msg("%s %s instead of %s %s", request->method, path, next->method,
                 next->path);
    }
    free(b->made);
    b->made = next->body ? quotes(next->body) : NULL;
    *reply = (struct rest_server_reply){
        .status = next->status, .manner = next->manner, .body = b->made};
}

static struct conf *
make_conf(const struct cloud_bench *b, const char *more)
{
    const char *modules = getenv("DROVER_DRIVER_PATH");
    const char *url = rest_server_url(b->server);
    char here[PATH_MAX];
    AUTO_FREE built =
        xasprintf("%s/drivers/.libs", getcwd(here, sizeof here) ? here : "");
    AUTO_FREE login = xasprintf(LOGIN, url);
    AUTO_FREE text =
        xasprintf("transport_url = \"rabbit://127.0.0.1\";\n"
                  "driver_path = \"%s\";\n"
                  "placement : { region_name = \"RegionOne\"; %s };\n"
                  "neutron : { %s };\n%s",
                  modules ? modules : built, login, login, more ? more : "");
    struct conf *conf = NULL;
    AUTO_ERROR error =
        conf_load_text(text, strlen(text), "bench", NULL, NULL, &conf);

    assert_string_equal(error_message(error), "success");
    return conf;
}

struct cloud_bench *
cloud_bench_create(const char *more)
{
    struct cloud_bench *b = xzalloc(sizeof *b);

    json_init();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->deadline);
    b->q = completion_queue_create(&b->loop);
    b->workers = worker_pool_create(b->q, "workers", 1);
    b->server = rest_server_create(&b->loop, handle, b);
    b->tokens = json_array();
    AUTO_FREE with_url = xstrdup(more ? more : "");
    char *at = strstr(with_url, "@LOGIN@");
    AUTO_FREE login = xasprintf(LOGIN, rest_server_url(b->server));
    AUTO_FREE whole = at ? xasprintf("%.*s%s%s", (int)(at - with_url), with_url,
                                     login, at + 7)
                         : xstrdup(with_url);
    b->conf = make_conf(b, whole);
    b->cloud = cloud_create(&b->loop, b->workers, b->conf);
    AUTO_FREE context = xasprintf(
        "{'auth_token': 'theirs', 'project_id': 'p1', 'request_id': '%s',"
        "'global_request_id': null, 'service_catalog': [{'type': 'volumev3',"
        "'name': 'cinderv3', 'endpoints': [{'region': 'RegionOne',"
        "'publicURL': '%s/volume/v3/theirs', 'internalURL': '%s/none'}]},"
        "{'type': 'image', 'name': 'glance', 'endpoints': [{'region':"
        "'RegionOne', 'internalURL': '%s/image'}]}]}",
        BENCH_REQUEST_ID, rest_server_url(b->server),
        rest_server_url(b->server), rest_server_url(b->server));
    b->context = bench_json(context);
    return b;
}

void
cloud_bench_free(struct cloud_bench *b)
{
    cloud_close(b->cloud);
    rest_server_close(b->server);
    worker_pool_free(b->workers);
    completion_queue_close(b->q);
    uv_close((uv_handle_t *)&b->deadline, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(b->n_replied, b->n_replies);
    conf_free(b->conf);
    json_free(b->context);
    json_free(b->tokens);
    json_free(b->result);
    error_free(b->error);
    free(b->made);
    free(b);
}

void
cloud_bench_replies(struct cloud_bench *b, const struct bench_reply *replies,
                    size_t n)
{
    assert_int_equal(b->n_replied, b->n_replies);
    b->replies = replies;
    b->n_replies = n;
    b->n_replied = 0;
}

void
cloud_bench_done(struct cloud_bench *b, struct json *result,
                 struct error *error)
{
    b->n_done++;
    json_free(b->result);
    error_free(b->error);
    b->result = result;
    b->error = error;
}

void
cloud_bench_ended(void *bench, struct error *error)
{
    cloud_bench_done(bench, NULL, error);
}

static void
too_late(uv_timer_t *timer UNUSED)
{
    fail_msg("nothing happened within the deadline");
}

void
cloud_bench_run(struct cloud_bench *b)
{
    cloud_bench_run_until(b, b->n_done + 1);
}

void
cloud_bench_run_until(struct cloud_bench *b, unsigned n)
{
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (b->n_done < n) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&b->deadline);
}

const struct rest_server_request *
cloud_bench_request(struct cloud_bench *b, size_t i)
{
    for (size_t k = 0; k < rest_server_n_requests(b->server); k++) {
        const struct rest_server_request *request =
            rest_server_request(b->server, k);

        if (below_base(request->path) && i-- == 0) {
            return request;
        }
    }
    fail_msg("there was no such request");
    return NULL;
}

size_t
cloud_bench_n_requests(struct cloud_bench *b)
{
    return rest_server_n_requests(b->server) - json_size(b->tokens);
}

static struct json *
read_recorded(void)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path =
        xasprintf("%s/tests/corpus/rest/requests.json", srcdir ? srcdir : ".");
    FILE *file = fopen(path, "re");
    char *text = xmalloc(65536);
    struct json *json = NULL;

    assert_non_null(file);
    size_t size = fread(text, 1, 65536, file);
    fclose(file);
    AUTO_ERROR error = json_parse(text, size, &json);
    assert_string_equal(error_message(error), "success");
    free(text);
    return json;
}

const struct json *
cloud_bench_recorded(struct cloud_bench *b, const char *name)
{
    if (!json_has(b->context, "recorded")) {
        json_set(b->context, "recorded", read_recorded());
    }
    const struct json *recorded =
        json_get(json_get(b->context, "recorded"), name);
    assert_non_null(recorded);
    return recorded;
}

/* Whose request it is stands in the context. */
static void
assert_headers(const struct rest_server_request *request,
               const struct json *headers)
{
    static const char *const names[] = {"accept", "content-type",
                                        "openstack-api-version"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        const char *sent = rest_server_header(request, names[i]);
        const char *wanted = json_string_of(headers, names[i]);

        if (!str_eq(sent, wanted)) {
            fail_msg("%s is '%s' instead of '%s'", names[i],
                     sent ? sent : "null", wanted ? wanted : "null");
        }
    }
}

void
cloud_bench_assert_as_recorded(struct cloud_bench *b, size_t i,
                               const char *name)
{
    const struct json *recorded = cloud_bench_recorded(b, name);
    const struct json *headers = json_get(recorded, "headers");
    const struct json *body = json_get(recorded, "body");
    const struct rest_server_request *request = cloud_bench_request(b, i);

    assert_string_equal(request->method, json_string_of(recorded, "method"));
    assert_string_equal(below_base(request->path),
                        json_string_of(recorded, "path"));
    if (json_has(recorded, "body")) { /* Else it was not kept. */
        assert_headers(request, headers);
    } else if (headers) {
        assert_string_equal(
            rest_server_header(request, "openstack-api-version"),
            json_string_of(headers, "openstack-api-version"));
    }
    if (json_is_object(body)) {
        AUTO_FREE text = json_print(body, NULL);
        bench_assert_body(request, text);
    } else if (json_has(recorded, "body")) {
        assert_string_equal(request->body, "");
    }
}

void
cloud_bench_assert_result(const struct cloud_bench *b, const char *text)
{
    AUTO_JSON wanted = bench_json(text);

    assert_string_equal(error_message(b->error), "success");
    if (!json_equal(b->result, wanted)) {
        AUTO_FREE printed = json_print(b->result, NULL);
        fail_msg("%s", printed);
    }
}

void
cloud_bench_assert_error(const struct cloud_bench *b, enum error_code code,
                         const char *text)
{
    AUTO_FREE worded = error_text(b->error);

    assert_int_equal(error_code(b->error), code);
    assert_string_equal(worded, text);
}
