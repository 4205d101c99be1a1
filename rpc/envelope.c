#include <config.h>

#include "rpc/envelope.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/failure.h"
#include "rpc/object.h"
#include "rpc/utf8.h"
#include "rpc/uuid.h"

#define NAME_MAX_SIZE 256    /* Of a method, a namespace, a version. */
#define QUEUE_MAX_SIZE 255   /* A short string of AMQP. */
#define ID_MAX_SIZE 255      /* A unique id that is longer is none. */
#define MSG_ID_MAX_SIZE 1024 /* As JSON; a reply to more is not sent. */
#define QUOTE_MAX 256

/* These are no queues.  RabbitMQ 3.10 closes the connection of who publishes
 * to "amq.rabbitmq.reply-to.x.y": 541 INTERNAL_ERROR.  A reply to that would be
 * sent again after each reconnect. */
#define BROKERS_OWN "amq.rabbitmq."

#define CONTEXT_PREFIX "_context_"

static struct error *open_body(const char *body, size_t size, struct json **ret,
                               size_t *ret_bytes);
static char *wrap(const struct json *inner, size_t *ret_size);
static struct error *parse_method(struct json *inner, struct envelope *);
static struct error *parse_version(struct json *inner, struct envelope *);
static struct error *parse_namespace(struct json *inner, struct envelope *);
static struct error *parse_args(struct json *inner, struct envelope *);
static struct error *check_context(const struct json *context);
static bool is_context_timestamp(const char *text);
static void parse_ids(struct json *inner, struct envelope *);
static bool is_queue_name(const char *name);
static unsigned parse_keepalive(const struct json *timeout);
static char *take_string(const struct json *inner, const char *name,
                         size_t max);
static char *quote(const struct json *value);
static bool parse_version_text(const char *text, int parts[3]);
static void set_unique_id(struct json *inner);
static struct error *parse_failure(const struct json *inner, bool *ret_ends);

struct error *
envelope_parse(const char *body, size_t size, struct envelope **ret)
{
    AUTO_JSON inner = NULL;
    size_t bytes;
    struct error *error = open_body(body, size, &inner, &bytes);

    if (error) {
        return error;
    }

    struct envelope *env = xzalloc(sizeof *env);
    env->bytes = bytes;
    env->context = json_detach_prefixed(inner, CONTEXT_PREFIX);
    parse_ids(inner, env);

    /* All of them, so that what is there can be logged; the first tells. */
    static struct error *(*const parts[])(struct json *, struct envelope *) = {
        parse_method, parse_version, parse_namespace, parse_args};
    for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
        error = parts[i](inner, env);
        if (env->invalid) {
            error_free(error);
        } else {
            env->invalid = error;
        }
    }
    if (!env->invalid) {
        env->invalid = check_context(env->context);
    }
    *ret = env;
    return NULL;
}

void
envelope_free(struct envelope *env)
{
    if (!env) {
        return;
    }
    free(env->method);
    free(env->name_space);
    free(env->version);
    json_free(env->args);
    json_free(env->context);
    json_free(env->msg_id);
    free(env->reply_q);
    free(env->unique_id);
    error_free(env->invalid);
    free(env);
}

bool
envelope_version_fits(const char *wanted, int major, int minor)
{
    int parts[3];

    return parse_version_text(wanted, parts) && parts[0] == major &&
           (parts[1] < minor || (parts[1] == minor && parts[2] == 0));
}

int
envelope_version_major(const char *version)
{
    int parts[3];

    return parse_version_text(version, parts) ? parts[0] : -1;
}

char *
envelope_format_request(const struct envelope_request *request,
                        size_t *ret_size)
{
    AUTO_JSON inner = json_object();
    AUTO_JSON no_args = json_object();

    json_set_string(inner, "method", request->method);
    json_set_borrowed(inner, "args", request->args ? request->args : no_args);
    if (request->version) {
        json_set_string(inner, "version", request->version);
    }
    if (request->name_space) {
        json_set_string(inner, "namespace", request->name_space);
    }
    if (request->msg_id) {
        json_set_string(inner, "_msg_id", request->msg_id);
        json_set_string(inner, "_reply_q", request->reply_q);
        json_set(inner, "_timeout",
                 request->monitor_s ? json_int(request->monitor_s) : NULL);
    }
    json_set_string(inner, "_unique_id", request->unique_id);
    json_add_prefixed(inner, CONTEXT_PREFIX, request->context);
    return wrap(inner, ret_size);
}

char *
envelope_format_reply(const struct json *msg_id, const struct json *result,
                      const char *failure, bool ending, size_t *ret_size)
{
    AUTO_JSON inner = json_object();

    json_set_borrowed(inner, "result", result);
    json_set_string(inner, "failure", failure);
    json_set_bool(inner, "ending", ending);
    json_set_borrowed(inner, "_msg_id", msg_id);
    set_unique_id(inner);
    return wrap(inner, ret_size);
}

char *
envelope_format_notification(const struct envelope_notification *n,
                             bool wrapped, size_t *ret_size)
{
    AUTO_JSON inner = json_object();

    json_set_string(inner, "message_id", n->message_id);
    json_set_string(inner, "publisher_id", n->publisher_id);
    json_set_string(inner, "event_type", n->event_type);
    json_set_string(inner, "priority", n->priority);
    json_set_borrowed(inner, "payload", n->payload);
    json_set_string(inner, "timestamp", n->timestamp);
    set_unique_id(inner);
    json_add_prefixed(inner, CONTEXT_PREFIX, n->context);
    return wrapped ? wrap(inner, ret_size) : json_print(inner, ret_size);
}

bool
reply_is_keepalive(const struct reply *reply)
{
    return !reply->ending && !reply->result && !reply->failure;
}

struct error *
envelope_parse_reply(const char *body, size_t size, struct reply **ret)
{
    AUTO_JSON inner = NULL;
    size_t bytes;
    struct error *error = open_body(body, size, &inner, &bytes);

    if (error) {
        return error;
    }

    struct reply *reply = xzalloc(sizeof *reply);
    bool ends = false;
    reply->msg_id = take_string(inner, "_msg_id", MSG_ID_MAX_SIZE);
    reply->failure = parse_failure(inner, &ends);
    reply->ending = ends || json_bool_of(inner, "ending");
    if (!json_is_null(json_get(inner, "result"))) {
        reply->result = json_detach(inner, "result");
    }
    *ret = reply;
    return NULL;
}

void
reply_free(struct reply *reply)
{
    if (!reply) {
        return;
    }
    free(reply->msg_id);
    json_free(reply->result);
    error_free(reply->failure);
    free(reply);
}

/* The inner message of a body, an object; '*ret_bytes' as in
 * json_parse_sized(). */
static struct error *
open_body(const char *body, size_t size, struct json **ret, size_t *ret_bytes)
{
    AUTO_JSON outer = NULL;
    struct error *error = json_parse_sized(body, size, &outer, ret_bytes);

    if (error) {
        return error_wrap(error, "body");
    }
    if (!json_is_object(outer)) {
        return error_new(ERR_BAD_MESSAGE, "body is no object");
    }

    const struct json *version = json_get(outer, "oslo.version");
    const struct json *message = json_get(outer, "oslo.message");
    if (!version || !message) {
        /* The peers' driver "messaging", and ancient ones, send it bare. */
        *ret = steal(&outer);
        return NULL;
    }
    if (!json_is_string(version) ||
        !envelope_version_fits(json_get_string(version), 2, 0)) {
        AUTO_FREE text = quote(version);
        return error_new(ERR_BAD_MESSAGE, "envelope has version '%s'", text);
    }

    const char *text = json_get_string(message);
    if (!text) {
        return error_new(ERR_BAD_MESSAGE, "message is no string");
    }
    AUTO_JSON inner = NULL;
    error = json_parse_sized(text, strlen(text), &inner, ret_bytes);
    if (error) {
        return error_wrap(error, "message");
    }
    if (!json_is_object(inner)) {
        return error_new(ERR_BAD_MESSAGE, "message is no object");
    }
    *ret = steal(&inner);
    return NULL;
}

static char *
wrap(const struct json *inner, size_t *ret_size)
{
    AUTO_JSON outer = json_object();
    size_t size;
    AUTO_FREE text = json_print(inner, &size);

    json_set_string(outer, "oslo.version", "2.0");
    json_set(outer, "oslo.message", json_string_n(text, size));
    return json_print(outer, ret_size);
}

static struct error *
parse_method(struct json *inner, struct envelope *env)
{
    env->method = take_string(inner, "method", NAME_MAX_SIZE);
    if (env->method) {
        return NULL;
    }

    AUTO_FREE text = quote(json_get(inner, "method"));
    return error_new(ERR_NO_SUCH_METHOD,
                     "Endpoint does not support RPC method %s", text);
}

/* The same words for a namespace: that is how peers see an unknown one. */
static struct error *
unsupported_version(const struct json *inner)
{
    static const char absent[] = "1.0";
    const struct json *version = json_get(inner, "version");
    AUTO_FREE text = version ? quote(version) : xstrdup(absent);
    AUTO_FREE method = quote(json_get(inner, "method"));

    return error_new(ERR_UNSUPPORTED_VERSION,
                     "Endpoint does not support RPC version %s. Attempted "
                     "method: %s",
                     text, method);
}

static struct error *
parse_version(struct json *inner, struct envelope *env)
{
    env->version = json_has(inner, "version")
                       ? take_string(inner, "version", NAME_MAX_SIZE)
                       : xstrdup("1.0");
    if (env->version && envelope_version_major(env->version) >= 0) {
        return NULL;
    }
    return unsupported_version(inner);
}

static struct error *
parse_namespace(struct json *inner, struct envelope *env)
{
    const struct json *name = json_get(inner, "namespace");

    env->name_space = take_string(inner, "namespace", NAME_MAX_SIZE);
    return env->name_space || !name || json_is_null(name)
               ? NULL
               : unsupported_version(inner);
}

static struct error *
parse_args(struct json *inner, struct envelope *env)
{
    env->args = json_detach(inner, "args");
    if (json_is_object(env->args)) {
        return NULL;
    }

    bool is_absent = env->args == NULL;
    json_free(env->args);
    env->args = json_object();
    return is_absent ? NULL
                     : error_new(ERR_TYPE, "args of '%s' is no object",
                                 env->method ? env->method : "");
}

/* What makes nova's own deserializer fail; all else it takes. (8.1) */
static struct error *
check_context(const struct json *context)
{
    const char *timestamp = json_string_of(context, "timestamp");
    const struct json *read_deleted = json_get(context, "read_deleted");
    const struct json *catalog = json_get(context, "service_catalog");

    if (timestamp && !is_context_timestamp(timestamp)) {
        return error_new(ERR_VALUE, "timestamp '%.*s' of the context is none",
                         (int)utf8_cut(timestamp, QUOTE_MAX), timestamp);
    }

    const char *which = json_get_string(read_deleted);
    if (read_deleted && !str_eq(which, "no") && !str_eq(which, "yes") &&
        !str_eq(which, "only")) {
        AUTO_FREE text = quote(read_deleted);
        return error_new(ERR_VALUE, "read_deleted of the context is '%s'",
                         text);
    }

    bool is_list = !catalog || json_is_null(catalog) || json_is_array(catalog);
    json_for_each (service, is_list ? catalog : NULL) {
        is_list = is_list && json_is_object(service);
    }
    return is_list ? NULL
                   : error_new(ERR_VALUE, "service_catalog of the context is "
                                          "no list of objects");
}

/* YYYY-MM-DDTHH:MM:SS.f, one to six digits at the end. */
static bool
is_context_timestamp(const char *text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.";
    const char *s = shape;
    int64_t us;

    for (; *s; s++, text++) {
        if (*s == 'd' ? !isdigit((unsigned char)*text) : *s != *text) {
            return false;
        }
    }

    size_t n = strspn(text, "0123456789");
    return n <= 6 && text[n] == '\0' &&
           object_parse_datetime(text - (sizeof shape - 1), &us);
}

static void
parse_ids(struct json *inner, struct envelope *env)
{
    env->unique_id = take_string(inner, "_unique_id", ID_MAX_SIZE);
    if (env->unique_id && !*env->unique_id) {
        free(steal(&env->unique_id));
    }
    env->msg_id = json_detach(inner, "_msg_id");
    if (json_is_null(env->msg_id)) {
        json_free(steal(&env->msg_id));
    }
    if (!env->msg_id) {
        return;
    }

    size_t size;
    free(json_print(env->msg_id, &size));
    env->reply_q = take_string(inner, "_reply_q", QUEUE_MAX_SIZE);
    if (env->reply_q &&
        (!is_queue_name(env->reply_q) || size > MSG_ID_MAX_SIZE)) {
        free(steal(&env->reply_q));
    }
    env->keepalive_ms = parse_keepalive(json_get(inner, "_timeout"));
}

static bool
is_queue_name(const char *name)
{
    return *name && !utf8_has_nul(name) &&
           strncmp(name, BROKERS_OWN, sizeof BROKERS_OWN - 1) != 0;
}

/* Half the whole seconds that the caller waits for a sign of life, which may
 * come as text; none for less than two. (4) */
static unsigned
parse_keepalive(const struct json *timeout)
{
    const char *text = json_get_string(timeout);
    double seconds = trunc(json_get_double(timeout));

    if (text) {
        char *end;
        errno = 0;
        seconds = (double)strtol(text, &end, 10);
        if (end == text || end[strspn(end, " \t\n")] || errno) {
            return 0;
        }
    }
    return seconds < 2 ? 0 : seconds > 120 ? 60000 : (unsigned)seconds * 500;
}

/* A copy of the string member; null if it is none or too long. */
static char *
take_string(const struct json *inner, const char *name, size_t max)
{
    const char *s = json_string_of(inner, name);

    return s && strlen(s) <= max ? xstrdup(s) : NULL;
}

/* The value for a message: cut, and the way that peers put it. */
static char *
quote(const struct json *value)
{
    AUTO_FREE printed = NULL;
    const char *text = json_get_string(value);

    if (!text) {
        text = !value || json_is_null(value)
                   ? "None"
                   : (printed = json_print(value, NULL));
    }
    return xstrndup(text, utf8_cut(text, QUOTE_MAX));
}

/* X.Y, X.Y.Z and what else follows, as peers take it; but digits only. */
static bool
parse_version_text(const char *text, int parts[3])
{
    parts[2] = 0;
    for (int i = 0;; i++) {
        size_t n = strspn(text, "0123456789");

        if (n == 0 || n > 9) {
            return false;
        }
        if (i < 3) {
            parts[i] = atoi(text);
        }
        text += n;
        if (*text == '\0') {
            return i >= 1;
        }
        if (*text++ != '.') {
            return false;
        }
    }
}

static void
set_unique_id(struct json *inner)
{
    char id[UUID_SIZE];

    json_set_string(inner, "_unique_id", uuid_generate_hex(id));
}

/* What a reply's "failure" tells; '*ret_ends' if the caller of a peer would
 * get an exception at once, be the message the last or not. */
static struct error *
parse_failure(const struct json *inner, bool *ret_ends)
{
    const struct json *failure = json_get(inner, "failure");
    const char *text = json_get_string(failure);

    if (!failure) {
        *ret_ends = true;
        return error_new(ERR_BAD_MESSAGE, "reply has no 'failure'");
    }
    if (json_is_null(failure) || (text && !*text)) {
        return NULL;
    }
    if (!text) {
        *ret_ends = true;
        return error_new(ERR_BAD_MESSAGE, "failure of a reply is no string");
    }

    struct error *error = failure_parse(text);
    *ret_ends = error_code(error) == ERR_BAD_MESSAGE;
    return error;
}
