#include <config.h>

#include "agent/nova/service.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/failure.h"

LOG_MODULE(service);

#define N_HEADERS_MAX 10

enum identity {
    AS_USER,
    AS_SERVICE, /* The service's own user, who may do it for all. */
};

struct service {
    struct rest *rest;
    struct keystone *keystone;
    struct service_conf conf;
    struct keystone_session *own;  /* Null: no login is configured. */
    struct keystone_session *ours; /* As a service, beside a user; or null. */
};

struct service_call {
    struct service *service;
    service_done *done;
    void *aux;
    enum identity identity;
    bool was_renewed; /* The token that is refused now is a new one. */
    char *method, *path, *microversion, *body;
    size_t size;
    bool is_repeatable;
    int file; /* Of who sent it; -1: none. */
    unsigned timeout_ms;
    struct log_context log;

    /* Of the context. */
    char *user_token, *project_id, *request_id;
    struct json *catalog;

    char *sent_token;       /* Of the session, in the request under way. */
    struct rest_call *rest; /* One of these two, or neither. */
    struct keystone_wait *wait;
};

static void take_context(struct service_call *call, const struct json *context);
static void go_on(struct service_call *call);
static struct keystone_session *missing_token(const struct service_call *call);
static void token_known(void *aux, struct error *error);
static void send_request(struct service_call *call);
static char *find_url(const struct service_call *call,
                      const struct keystone_token *token);
static char *join_url(const struct service_call *call, const char *endpoint);
static void answered(void *aux, const struct rest_answer *answer,
                     struct error *error);
static bool renew(struct service_call *call);
static void deliver(struct service_call *call,
                    const struct rest_answer *answer);
static void soon(void *aux, const struct rest_answer *answer,
                 struct error *error);
static void fail(struct service_call *call, struct error *error);
static void call_free(struct service_call *call);
static const char *reason_of(const struct json *body);

struct service *
service_create(struct rest *rest, struct keystone *keystone,
               const struct service_conf *conf)
{
    struct service *service = xzalloc(sizeof *service);

    service->rest = rest;
    service->keystone = keystone;
    service->conf = *conf;
    if (conf->login.auth_type) {
        service->own = keystone_session(keystone, &conf->login);
    }
    if (conf->service_login) {
        service->ours = keystone_session(keystone, conf->service_login);
    }
    service->conf.service_login = NULL;
    return service;
}

void
service_free(struct service *service)
{
    free(service);
}

struct service_call *
service_send(struct service *service, const struct service_request *request,
             service_done *done, void *aux)
{
    struct service_call *call = xzalloc(sizeof *call);

    call->service = service;
    call->done = done;
    call->aux = aux;
    call->method = xstrdup(request->method);
    call->path = xstrdup(request->path);
    call->microversion = xstrdup_null(request->microversion);
    call->is_repeatable = request->is_repeatable;
    call->file = request->file ? *request->file : -1;
    call->timeout_ms =
        request->timeout_ms ? request->timeout_ms : service->conf.timeout_ms;
    if (request->body) {
        call->body = json_print(request->body, &call->size);
    }
    take_context(call, request->context);
    call->identity =
        request->is_as_user && call->user_token ? AS_USER : AS_SERVICE;
    go_on(call);
    return call;
}

const char *
service_address(const struct service *service)
{
    return service->conf.endpoint ? service->conf.endpoint
                                  : service->conf.query.type;
}

struct service_call *
service_soon(struct service *service, service_done *done, void *aux)
{
    struct service_call *call = xzalloc(sizeof *call);

    call->service = service;
    call->done = done;
    call->aux = aux;
    call->file = -1;
    call->rest = rest_fail(service->rest, NULL, soon, call);
    return call;
}

void
service_cancel(struct service_call *call)
{
    if (call->rest) {
        rest_cancel(call->rest);
    }
    if (call->wait) {
        keystone_cancel(call->wait);
    }
    call_free(call);
}

struct error *
service_refusal(const struct service *service, enum error_code code,
                const char *what, const struct service_answer *answer)
{
    return error_new(answer->status == 403 ? ERR_FORBIDDEN : code,
                     "%s: %s: %d%s%.*s", service->conf.kind->name, what,
                     answer->status, *answer->why ? ", " : "",
                     FAILURE_QUOTE_MAX, answer->why);
}

struct error *
service_nonsense(const struct service *service, const char *what)
{
    return error_new(service->conf.kind->unreachable,
                     "%s: %s: the answer is not what it should be",
                     service->conf.kind->name, what);
}

char *
service_quote(const char *text)
{
    char *quoted = xmalloc(3 * strlen(text) + 1), *at = quoted;

    for (const char *p = text; *p; p++) {
        if (isalnum((unsigned char)*p) || strchr("-._~", *p)) {
            *at++ = *p;
        } else {
            at += snprintf(at, 4, "%%%02X", (unsigned char)*p);
        }
    }
    *at = '\0';
    return quoted;
}

/* A request without a token of a user's is our own work. */
static void
take_context(struct service_call *call, const struct json *context)
{
    const char *token = json_string_of(context, "auth_token");
    const char *id = json_string_of(context, "global_request_id");

    if (!id) {
        id = json_string_of(context, "request_id");
    }
    if (token && *token) {
        call->user_token = xstrdup(token);
        call->catalog = json_copy(json_get(context, "service_catalog"));
    }
    call->project_id = xstrdup_null(json_string_of(context, "project_id"));
    if (id) {
        call->request_id = xstrdup(id);
        snprintf(call->log.request, sizeof call->log.request, "%s", id);
    }
}

/* Once there are tokens, the request. */
static void
go_on(struct service_call *call)
{
    struct service *service = call->service;
    struct keystone_session *missing = missing_token(call);

    if (missing) {
        call->wait = keystone_wait(missing, &call->log, token_known, call);
    } else if (call->identity == AS_SERVICE && !service->own) {
        call->rest =
            rest_fail(service->rest,
                      error_new(ERR_CONFIG, "%s: no 'auth_type' is configured",
                                service->conf.kind->name),
                      answered, call);
    } else {
        send_request(call);
    }
}

static struct keystone_session *
missing_token(const struct service_call *call)
{
    struct keystone_session *session =
        call->identity == AS_USER ? call->service->ours : call->service->own;
    struct keystone_token token;

    return session && !keystone_token(session, &token) ? session : NULL;
}

/* A user's request does without a token of ours if none is to be had. */
static void
token_known(void *aux, struct error *error)
{
    struct service_call *call = aux;

    call->wait = NULL;
    if (!error) {
        go_on(call);
    } else if (call->identity == AS_USER &&
               error_code(error) != ERR_CANCELLED) {
        log_limited(LOG_LEVEL_WARN, &call->log, "no token as a service: %s",
                    error_message(error));
        error_free(error);
        send_request(call);
    } else {
        fail(call, error);
    }
}

static void
add_header(char **headers, size_t *n, const char *name, const char *value)
{
    if (value && !strpbrk(value, "\r\n")) {
        headers[(*n)++] = xasprintf("%s: %s", name, value);
    }
}

static void
send_request(struct service_call *call)
{
    struct service *service = call->service;
    const struct service_kind *kind = service->conf.kind;
    struct keystone_token token = {NULL, NULL};
    char *headers[N_HEADERS_MAX] = {NULL};
    size_t n = 0;
    bool is_user = call->identity == AS_USER;

    if (is_user ? service->ours != NULL : service->own != NULL) {
        keystone_token(is_user ? service->ours : service->own, &token);
    }
    AUTO_FREE url = find_url(call, &token);
    if (!url) {
        call->rest = rest_fail(
            service->rest,
            error_new(ERR_CONFIG, "%s: no endpoint is known", kind->name),
            answered, call);
        return;
    }
    AUTO_FREE version = kind->api && call->microversion
                            ? xasprintf("%s %s", kind->api, call->microversion)
                            : NULL;
    add_header(headers, &n, "Accept",
               call->file >= 0 ? "application/octet-stream"
                               : "application/json");
    add_header(headers, &n, "User-Agent", PACKAGE_NAME "/" PACKAGE_VERSION);
    add_header(headers, &n, "OpenStack-API-Version", version);
    add_header(headers, &n, "X-OpenStack-Request-ID", call->request_id);
    add_header(headers, &n, "X-Auth-Token",
               is_user ? call->user_token : token.id);
    add_header(headers, &n, "X-Service-Token", is_user ? token.id : NULL);
    add_header(headers, &n, "Content-Type",
               call->body ? "application/json" : NULL);
    const struct rest_request request = {
        .method = call->method,
        .url = url,
        .headers = (const char *const *)headers,
        .body = call->body,
        .size = call->size,
        .tls = &service->conf.tls,
        .is_repeatable = call->is_repeatable,
        .timeout_ms = call->timeout_ms,
        .file = call->file >= 0 ? &call->file : NULL,
        .log = &call->log,
    };
    free(call->sent_token);
    call->sent_token = xstrdup_null(token.id);
    call->rest = rest_send(service->rest, &request, answered, call);
    for (size_t i = 0; i < n; i++) {
        free(headers[i]);
    }
}

/* A user's request goes where his own catalogue says, whose address may hold
 * his project. */
static char *
find_url(const struct service_call *call, const struct keystone_token *token)
{
    const struct service_conf *conf = &call->service->conf;
    const char *endpoint = conf->endpoint;

    if (!endpoint && call->identity == AS_USER) {
        endpoint = catalog_find(call->catalog, &conf->query);
    }
    if (!endpoint) {
        endpoint = catalog_find(token->catalog, &conf->query);
    }
    return endpoint ? join_url(call, endpoint) : NULL;
}

static char *
join_url(const struct service_call *call, const char *endpoint)
{
    static const char place[] = "%(project_id)s";
    const char *version = call->service->conf.kind->version;
    size_t size = strlen(endpoint), length = strlen(version);

    while (size > 0 && endpoint[size - 1] == '/') {
        size--;
    }
    if (length && size > length &&
        strncmp(endpoint + size - length, version, length) == 0) {
        size -= length;
    }
    const char *at = strstr(endpoint, place);
    if (at && at + strlen(place) <= endpoint + size) {
        const char *rest = at + strlen(place);

        return xasprintf("%.*s%s%.*s%s%s", (int)(at - endpoint), endpoint,
                         call->project_id ? call->project_id : "",
                         (int)(endpoint + size - rest), rest, version,
                         call->path);
    }
    return xasprintf("%.*s%s%s", (int)size, endpoint, version, call->path);
}

static void
answered(void *aux, const struct rest_answer *answer, struct error *error)
{
    struct service_call *call = aux;
    const struct service_kind *kind = call->service->conf.kind;

    call->rest = NULL;
    if (error_code(error) == ERR_REST) {
        struct error *renamed = error_new(kind->unreachable, "%s: %s",
                                          kind->name, error_message(error));
        error_free(error);
        fail(call, renamed);
    } else if (error) {
        fail(call, error);
    } else if (answer->status != 401) {
        deliver(call, answer);
    } else if (renew(call)) {
        go_on(call);
    } else {
        fail(call, error_new(ERR_UNAUTHORIZED, "%s: %s '%s': 401", kind->name,
                             call->method, call->path));
    }
}

/* Whether there is another token to try.  What was refused of a user's request
 * may be his or ours. */
static bool
renew(struct service_call *call)
{
    struct service *service = call->service;

    if (call->identity == AS_USER && call->sent_token) {
        keystone_refused(service->ours, call->sent_token);
    }
    if (call->identity == AS_USER) {
        call->identity = AS_SERVICE;
        log_debug(&call->log, "%s: the user's token is refused",
                  service->conf.kind->name);
        return service->own;
    }
    if (call->was_renewed) {
        return false;
    }
    call->was_renewed = true;
    keystone_refused(service->own, call->sent_token);
    return true;
}

static void
deliver(struct service_call *call, const struct rest_answer *answer)
{
    AUTO_JSON body = NULL;
    struct service_answer ret = {.status = answer->status, .why = ""};
    AUTO_ERROR error = json_parse(answer->body, answer->size, &body);

    ret.body = body;
    if (answer->status >= 300) {
        const char *reason = reason_of(body);

        ret.why = reason ? reason : answer->body;
    } else if (error && answer->size > 0) {
        const struct service_kind *kind = call->service->conf.kind;

        fail(call, error_new(kind->unreachable, "%s: %s '%s': %s", kind->name,
                             call->method, call->path, error_message(error)));
        return;
    }
    service_done *done = call->done;
    void *aux = call->aux;
    call_free(call);
    done(aux, &ret, NULL);
}

static void
soon(void *aux, const struct rest_answer *answer UNUSED, struct error *error)
{
    fail(aux, error);
}

static void
fail(struct service_call *call, struct error *error)
{
    service_done *done = call->done;
    void *aux = call->aux;

    call_free(call);
    done(aux, NULL, error);
}

static void
call_free(struct service_call *call)
{
    free(call->method);
    free(call->path);
    free(call->microversion);
    free(call->body);
    free(call->user_token);
    free(call->project_id);
    free(call->request_id);
    free(call->sent_token);
    json_free(call->catalog);
    free(call);
}

/* {"errors": [{"detail": ...}]}, {"NeutronError": {"message": ...}},
 * {"itemNotFound": {"message": ...}}, {"message": ...} */
static const char *
reason_of(const struct json *body)
{
    const struct json *inner = json_get(body, "errors");
    const char *reason = json_string_of(body, "message");

    if (json_is_array(inner)) {
        return json_string_of(json_first(inner), "detail");
    }
    inner = json_is_object(body) ? json_first(body) : NULL;
    return reason ? reason : json_string_of(inner, "message");
}
