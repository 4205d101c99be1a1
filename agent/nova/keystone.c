#include <config.h>

#include "agent/nova/keystone.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "rpc/failure.h"

LOG_MODULE(keystone);

/* A token is got anew so long before its end, as what it is used for takes time
 * and clocks differ; or after half its life, if that is short. */
#define MARGIN_MS 120000

/* Of a token that does not say when it ends. */
#define LIFE_MS 300000

struct keystone {
    struct rest *rest;
    struct keystone_session *sessions;
};

struct keystone_session {
    struct keystone *keystone;
    struct keystone_session *next;
    struct keystone_login login;
    char *url;
    struct json *body;   /* Null if 'fault'. */
    struct error *fault; /* What is wrong with the login; or null. */
    char *key;           /* Equal logins have equal ones. */

    char *token; /* Null: none. */
    struct json *catalog;
    uint64_t renew_ms;
    struct rest_call *call; /* For another; or null. */
    struct keystone_wait *waits;
};

struct keystone_wait {
    struct keystone_session *session;
    struct keystone_wait *next;
    bool is_due; /* The answer that is told now is for it. */
    keystone_done *done;
    void *aux;
};

static struct error *add_password(const struct keystone_login *login,
                                  struct json *identity);
static struct error *add_credential(const struct keystone_login *login,
                                    struct json *identity);
static struct json *user_json(const struct keystone_login *login);
static struct json *domain_json(const char *id, const char *name,
                                const struct keystone_login *login);
static void add_scope(const struct keystone_login *login, struct json *auth);
static char *login_key(const struct keystone_session *session);
static void session_free(struct keystone_session *session);
static void session_ask(struct keystone_session *session,
                        const struct log_context *log);
static void token_answered(void *aux, const struct rest_answer *answer,
                           struct error *error);
static struct error *take_token(struct keystone_session *session,
                                const struct rest_answer *answer);
static uint64_t life_of(const struct json *token);
static bool parse_time(const char *text, int64_t *ret_s);
static void forget(struct keystone_session *session);

struct error *
keystone_login_format(const struct keystone_login *login, struct json **ret)
{
    AUTO_JSON body = json_object();
    struct json *auth = json_object();
    struct json *identity = json_object();
    struct error *error;

    json_set(body, "auth", auth);
    json_set(auth, "identity", identity);
    if (!login->auth_url) {
        return error_new(ERR_CONFIG, "'auth_url' is not set");
    }
    if (str_eq(login->auth_type, "v3applicationcredential")) {
        error = add_credential(login, identity);
    } else {
        error = add_password(login, identity);
        add_scope(login, auth);
    }
    if (!error) {
        *ret = steal(&body);
    }
    return error;
}

char *
keystone_tokens_url(const char *auth_url)
{
    static const char *const versions[] = {"/v3", "/v2.0"};
    size_t size = strlen(auth_url);

    while (size > 0 && auth_url[size - 1] == '/') {
        size--;
    }
    for (size_t i = 0; i < N_ELEMENTS(versions); i++) {
        size_t length = strlen(versions[i]);

        if (size > length &&
            strncmp(auth_url + size - length, versions[i], length) == 0) {
            size -= length;
            break;
        }
    }
    return xasprintf("%.*s/v3/auth/tokens", (int)size, auth_url);
}

struct keystone *
keystone_create(struct rest *rest)
{
    struct keystone *keystone = xzalloc(sizeof *keystone);

    keystone->rest = rest;
    return keystone;
}

void
keystone_free(struct keystone *keystone)
{
    while (keystone && keystone->sessions) {
        struct keystone_session *session = keystone->sessions;

        keystone->sessions = session->next;
        session_free(session);
    }
    free(keystone);
}

struct keystone_session *
keystone_session(struct keystone *keystone, const struct keystone_login *login)
{
    struct keystone_session *session = xzalloc(sizeof *session);

    session->keystone = keystone;
    session->login = *login;
    session->fault = keystone_login_format(login, &session->body);
    session->url = keystone_tokens_url(login->auth_url ? login->auth_url : "");
    session->key = login_key(session);
    for (struct keystone_session *s = keystone->sessions; s; s = s->next) {
        if (str_eq(s->key, session->key)) {
            session_free(session);
            return s;
        }
    }
    session->next = keystone->sessions;
    keystone->sessions = session;
    return session;
}

bool
keystone_token(struct keystone_session *session, struct keystone_token *ret)
{
    if (session->token && clock_now_ms() >= session->renew_ms) {
        forget(session);
    }
    *ret = (struct keystone_token){session->token, session->catalog};
    return session->token;
}

struct keystone_wait *
keystone_wait(struct keystone_session *session, const struct log_context *log,
              keystone_done *done, void *aux)
{
    struct keystone_wait *wait = xzalloc(sizeof *wait);
    struct keystone_wait **end = &session->waits;

    while (*end) {
        end = &(*end)->next;
    }
    *end = wait;
    wait->session = session;
    wait->done = done;
    wait->aux = aux;
    if (!session->call) {
        session_ask(session, log);
    }
    return wait;
}

/* The request goes on: the next one will want the token. */
void
keystone_cancel(struct keystone_wait *wait)
{
    struct keystone_wait **at = &wait->session->waits;

    while (*at != wait) {
        at = &(*at)->next;
    }
    *at = wait->next;
    free(wait);
}

void
keystone_refused(struct keystone_session *session, const char *id)
{
    if (str_eq(session->token, id)) {
        forget(session);
    }
}

static struct error *
add_password(const struct keystone_login *login, struct json *identity)
{
    if (!login->password || (!login->username && !login->user_id)) {
        return error_new(ERR_CONFIG, "'%s' is not set",
                         login->password ? "username" : "password");
    }
    json_set(identity, "methods",
             json_append(json_array(), json_string("password")));
    struct json *user = user_json(login);
    json_set_string(user, "password", login->password);
    json_set(identity, "password", json_set(json_object(), "user", user));
    return NULL;
}

static struct error *
add_credential(const struct keystone_login *login, struct json *identity)
{
    struct json *credential = json_object();

    json_set(identity, "methods",
             json_append(json_array(), json_string("application_credential")));
    json_set(identity, "application_credential", credential);
    if (!login->application_credential_secret) {
        return error_new(ERR_CONFIG,
                         "'application_credential_secret' is not set");
    }
    json_set_string(credential, "secret", login->application_credential_secret);
    if (login->application_credential_id) {
        json_set_string(credential, "id", login->application_credential_id);
        return NULL;
    }
    if (!login->application_credential_name ||
        (!login->username && !login->user_id)) {
        return error_new(ERR_CONFIG,
                         "'application_credential_id' is not set, nor its name "
                         "and the user");
    }
    json_set_string(credential, "name", login->application_credential_name);
    json_set(credential, "user", user_json(login));
    return NULL;
}

static struct json *
user_json(const struct keystone_login *login)
{
    struct json *user = json_object();

    if (login->user_id) {
        json_set_string(user, "id", login->user_id);
        return user;
    }
    json_set_string(user, "name", login->username);
    json_set(
        user, "domain",
        domain_json(login->user_domain_id, login->user_domain_name, login));
    return user;
}

/* Keystone's own domain is what a login without one means. */
static struct json *
domain_json(const char *id, const char *name,
            const struct keystone_login *login)
{
    struct json *domain = json_object();

    if (!id && !name) {
        id = login->default_domain_id;
        name = login->default_domain_name;
    }
    if (!id && name) {
        json_set_string(domain, "name", name);
    } else {
        json_set_string(domain, "id", id ? id : "default");
    }
    return domain;
}

static void
add_scope(const struct keystone_login *login, struct json *auth)
{
    struct json *project = json_object();
    struct json *scope;

    if (login->project_id) {
        json_set_string(project, "id", login->project_id);
        scope = json_set(json_object(), "project", project);
    } else if (login->project_name) {
        json_set_string(project, "name", login->project_name);
        json_set(project, "domain",
                 domain_json(login->project_domain_id,
                             login->project_domain_name, login));
        scope = json_set(json_object(), "project", project);
    } else if (login->system_scope) {
        json_free(project);
        scope = json_set(
            json_object(), "system",
            json_set(json_object(), login->system_scope, json_bool(true)));
    } else {
        json_free(project);
        return;
    }
    json_set(auth, "scope", scope);
}

static char *
login_key(const struct keystone_session *session)
{
    const struct rest_tls *tls = &session->login.tls;
    AUTO_FREE body = session->body
                         ? json_print(session->body, NULL)
                         : xasprintf("%s", error_message(session->fault));

    return xasprintf("%s %s %s %s %s %d", session->url, body,
                     tls->cafile ? tls->cafile : "",
                     tls->certfile ? tls->certfile : "",
                     tls->keyfile ? tls->keyfile : "", tls->insecure);
}

static void
session_free(struct keystone_session *session)
{
    assert(!session->call && !session->waits);
    forget(session);
    json_free(session->body);
    error_free(session->fault);
    free(session->url);
    free(session->key);
    free(session);
}

/* Getting a token twice does no harm. */
static void
session_ask(struct keystone_session *session, const struct log_context *log)
{
    static const char *const headers[] = {
        "Content-Type: application/json", "Accept: application/json",
        "User-Agent: " PACKAGE_NAME "/" PACKAGE_VERSION, NULL};
    struct rest *rest = session->keystone->rest;
    size_t size;

    if (session->fault) {
        session->call = rest_fail(rest, error_copy(session->fault),
                                  token_answered, session);
        return;
    }
    AUTO_FREE body = json_print(session->body, &size);
    const struct rest_request request = {
        .method = "POST",
        .url = session->url,
        .headers = headers,
        .body = body,
        .size = size,
        .tls = &session->login.tls,
        .is_repeatable = true,
        .timeout_ms = session->login.timeout_ms,
        .log = log,
    };
    session->call = rest_send(rest, &request, token_answered, session);
}

/* Each of those who wait now is told, who may cancel others; whoever comes in
 * the course of it waits for the next one. */
static void
token_answered(void *aux, const struct rest_answer *answer, struct error *error)
{
    struct keystone_session *session = aux;
    AUTO_ERROR fault = error ? error : take_token(session, answer);

    if (error_code(fault) == ERR_REST) {
        struct error *renamed =
            error_new(ERR_KEYSTONE_CONNECTION, "%s", error_message(fault));
        error_free(fault);
        fault = renamed;
    }
    session->call = NULL;
    for (struct keystone_wait *wait = session->waits; wait; wait = wait->next) {
        wait->is_due = true;
    }
    while (session->waits && session->waits->is_due) {
        struct keystone_wait *wait = session->waits;

        session->waits = wait->next;
        wait->done(wait->aux, error_copy(fault));
        free(wait);
    }
}

static struct error *
take_token(struct keystone_session *session, const struct rest_answer *answer)
{
    AUTO_JSON body = NULL;

    if (answer->status == 401 || answer->status == 403) {
        return error_new(ERR_UNAUTHORIZED, "'%s' refuses the login: %d",
                         session->url, answer->status);
    }
    if (answer->status != 201 && answer->status != 200) {
        return error_new(ERR_KEYSTONE_CONNECTION, "'%s': %d", session->url,
                         answer->status);
    }
    struct error *error = json_parse(answer->body, answer->size, &body);
    struct json *token = json_get(body, "token");
    if (error || !token || !answer->token) {
        error_free(error);
        return error_new(ERR_KEYSTONE_CONNECTION, "'%s' gave no token",
                         session->url);
    }
    forget(session);
    session->renew_ms = clock_now_ms() + life_of(token);
    session->token = xstrdup(answer->token);
    session->catalog = json_detach(token, "catalog");
    log_debug(NULL, "token of '%s' for %llu s", session->url,
              (unsigned long long)life_of(token) / 1000);
    return NULL;
}

/* By Keystone's clock alone: ours may be wrong. */
static uint64_t
life_of(const struct json *token)
{
    int64_t from_s, to_s;
    uint64_t ms;

    if (!parse_time(json_string_of(token, "issued_at"), &from_s) ||
        !parse_time(json_string_of(token, "expires_at"), &to_s) ||
        to_s <= from_s) {
        return LIFE_MS;
    }
    ms = (uint64_t)(to_s - from_s) * 1000;
    return ms > 2 * MARGIN_MS ? ms - MARGIN_MS : ms / 2;
}

/* "2026-11-22T05:26:39.000000Z" */
static bool
parse_time(const char *text, int64_t *ret_s)
{
    struct tm tm = {.tm_year = 0};

    if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm)) {
        return false;
    }
    *ret_s = timegm(&tm);
    return true;
}

static void
forget(struct keystone_session *session)
{
    free(steal(&session->token));
    json_free(steal(&session->catalog));
}
