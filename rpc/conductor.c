#include <config.h>

#include "rpc/conductor.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/adoption.h"
#include "rpc/learnt.h"

enum call_kind { KIND_CLASS_ACTION, KIND_ACTION, KIND_BACKPORT };

/* One call: it learns versions, waits for its turn, is sent, and its result is
 * made to fit.  Whatever it waits for calls back once, and only then it is
 * freed. */
struct call {
    struct call *next, *prev;   /* Of all that are not over. */
    struct call *next_in_queue; /* For its turn. */
    struct conductor *conductor;
    enum call_kind kind;
    bool is_over, is_queued;
    uint64_t end_ms;
    const struct object_class *class; /* Whose versions it names, or null. */
    struct json *context, *args;      /* As they are sent. */
    struct json *result;
    struct object *object; /* Borrowed. */
    conductor_done *done;
    void *aux;
};

struct conductor {
    struct rpc_client *client;
    char *exchange;
    struct rpc_target target;
    struct conductor_options options;
    struct json *own_versions;
    struct learnt *learnt;
    struct call *calls;
    struct call *queue, **queue_tail;
    unsigned n_sent, n_refs;
    bool is_closed;
    struct conductor_counters counters;
};

static struct call *call_create(struct conductor *, enum call_kind,
                                const struct json *context, unsigned timeout_ms,
                                conductor_done *done, void *aux);
static void set_method(struct call *, const char *method,
                       const struct json *args, const struct json *kwargs);
static void call_start(struct call *);
static void call_learnt(void *aux, struct error *error);
static void queue_append(struct call *);
static void send_queued(struct conductor *);
static void call_send(struct call *);
static struct error *make_sendable(struct call *);
static void call_answered(void *aux, struct json **result, struct error *error);
static void take_result(struct call *);
static void result_adopted(void *aux, struct error *error);
static struct error *finish_action(struct call *);
static struct error *finish_backport(struct call *);
static void call_end(struct call *, struct error *error);
static void call_free(struct call *);
static unsigned time_left(uint64_t end_ms);
static bool sendable_version_of(void *aux, const char *name,
                                struct object_version *ret);
static bool wanted_version_of(void *aux, const char *name,
                              struct object_version *ret);
static void conductor_drop(struct conductor *);

struct conductor *
conductor_create(struct rpc_client *client,
                 const struct conductor_options *options)
{
    struct conductor *c = xzalloc(sizeof *c);

    c->client = client;
    c->options = *options;
    c->exchange = xstrdup(options->exchange ? options->exchange : "nova");
    c->options.timeout_ms = options->timeout_ms ? options->timeout_ms : 60000;
    c->options.max_sent = options->max_sent ? options->max_sent : 32;
    c->options.max_calls = options->max_calls ? options->max_calls : 10000;
    c->own_versions = json_copy(options->own_versions);
    c->target = (struct rpc_target){
        .exchange = c->exchange,
        .topic = "conductor",
        .version = "3.0",
    };
    c->learnt = learnt_create(client, &c->target, conductor_own_version, c);
    c->queue_tail = &c->queue;
    c->n_refs = 1;
    return c;
}

void
conductor_close(struct conductor *c)
{
    c->is_closed = true;
    c->queue = NULL;
    c->queue_tail = &c->queue;
    while (c->calls) {
        struct call *call = c->calls;
        bool is_queued = call->is_queued;

        call_end(call, error_new(ERR_CANCELLED, "the service is stopping"));
        if (is_queued) {
            call_free(call);
        }
    }
    learnt_close(c->learnt);
    conductor_drop(c);
}

void
conductor_class_action(struct conductor *c, const struct json *context,
                       const char *class_name, const char *method,
                       const struct json *args, const struct json *kwargs,
                       conductor_done *done, void *aux)
{
    struct call *call = call_create(c, KIND_CLASS_ACTION, context,
                                    c->options.timeout_ms, done, aux);

    call->class = object_class_find(class_name);
    json_set_string(call->args, "objname", class_name);
    set_method(call, method, args, kwargs);
    call_start(call);
}

void
conductor_object_action(struct conductor *c, const struct json *context,
                        struct object *object, const char *method,
                        const struct json *args, const struct json *kwargs,
                        conductor_done *done, void *aux)
{
    struct call *call =
        call_create(c, KIND_ACTION, context, c->options.timeout_ms, done, aux);

    call->object = object;
    call->class = object_class_find(object_name(object));
    json_set(call->args, "objinst", json_copy(object_json(object)));
    set_method(call, method, args, kwargs);
    call_start(call);
}

void
conductor_backport(struct conductor *c, const struct json *context,
                   const struct json *primitive, unsigned timeout_ms,
                   conductor_done *done, void *aux)
{
    struct call *call =
        call_create(c, KIND_BACKPORT, context, timeout_ms, done, aux);

    call->class = object_class_find(object_primitive_name(primitive));
    json_set(call->args, "objinst", json_copy(primitive));
    call_start(call);
}

enum object_fit
conductor_fit(struct conductor *c, struct json *json)
{
    object_drop_fixes(json, conductor_own_version, c);
    return object_fit(json, conductor_own_version, c);
}

bool
conductor_own_version(void *aux, const char *name, struct object_version *ret)
{
    const struct conductor *c = aux;
    const char *instead = json_string_of(c->own_versions, name);

    return (instead && object_version_parse(instead, ret, NULL)) ||
           object_version_own(NULL, name, ret);
}

struct conductor_counters
conductor_counters(const struct conductor *c)
{
    return c->counters;
}

static struct call *
call_create(struct conductor *c, enum call_kind kind,
            const struct json *context, unsigned timeout_ms,
            conductor_done *done, void *aux)
{
    struct call *call = xzalloc(sizeof *call);

    call->conductor = c;
    call->kind = kind;
    call->context = context ? json_copy(context) : rpc_context_create();
    call->args = json_object();
    call->end_ms = clock_now_ms() + timeout_ms;
    call->done = done;
    call->aux = aux;
    call->next = c->calls;
    if (c->calls) {
        c->calls->prev = call;
    }
    c->calls = call;
    c->n_refs++;
    c->counters.n_open++;
    c->counters.n_calls++;
    return call;
}

static void
set_method(struct call *call, const char *method, const struct json *args,
           const struct json *kwargs)
{
    json_set_string(call->args, "objmethod", method);
    json_set(call->args, "args", args ? json_copy(args) : json_array());
    json_set(call->args, "kwargs", kwargs ? json_copy(kwargs) : json_object());
}

static void
call_start(struct call *call)
{
    struct conductor *c = call->conductor;
    unsigned left_ms = time_left(call->end_ms);
    struct error *error = NULL;

    if (c->is_closed) {
        error = error_new(ERR_CANCELLED, "the service is stopping");
    } else if (c->counters.n_open > c->options.max_calls) {
        error = error_new(ERR_UNDELIVERABLE,
                          "%u calls to the conductor are under way",
                          c->options.max_calls);
    } else if (!call->class && call->kind != KIND_ACTION) {
        error = error_new(ERR_UNSUPPORTED_OBJECT,
                          "not a class of object that is known here");
    } else if (!left_ms) {
        error = error_new(ERR_TIMEOUT, "no time is left for the conductor");
    }
    if (error) {
        call_end(call, error);
        call_free(call);
        return;
    }
    learnt_ask(c->learnt, call->args, json_string_of(call->args, "objname"),
               left_ms, call_learnt, call);
}

static void
call_learnt(void *aux, struct error *error)
{
    struct call *call = aux;
    struct conductor *c = call->conductor;

    if (error && !call->is_over) {
        call_end(call, steal(&error));
    }
    error_free(error);
    if (call->is_over) {
        call_free(call);
    } else {
        queue_append(call);
        send_queued(c);
    }
}

static void
queue_append(struct call *call)
{
    struct conductor *c = call->conductor;

    call->is_queued = true;
    call->next_in_queue = NULL;
    *c->queue_tail = call;
    c->queue_tail = &call->next_in_queue;
}

/* A call that waits is not looked at before its turn: those before it are
 * over, at the latest, when its own time is. */
static void
send_queued(struct conductor *c)
{
    c->n_refs++;
    while (c->queue && c->n_sent < c->options.max_sent) {
        struct call *call = c->queue;

        c->queue = call->next_in_queue;
        if (!c->queue) {
            c->queue_tail = &c->queue;
        }
        call->is_queued = false;
        call_send(call);
    }
    conductor_drop(c);
}

static void
call_send(struct call *call)
{
    static const char *const methods[] = {
        [KIND_CLASS_ACTION] = "object_class_action_versions",
        [KIND_ACTION] = "object_action",
        [KIND_BACKPORT] = "object_backport_versions",
    };
    struct conductor *c = call->conductor;
    const struct rpc_options options = {.timeout_ms = time_left(call->end_ms)};
    struct error *error =
        options.timeout_ms
            ? make_sendable(call)
            : error_new(ERR_TIMEOUT, "no turn came for '%s' of the conductor",
                        methods[call->kind]);

    if (error) {
        call_end(call, error);
        call_free(call);
        return;
    }
    c->n_sent++;
    rpc_call(c->client, &c->target, &options, call->context,
             methods[call->kind], call->args, call_answered, call);
}

/* From here on nothing in it is newer than the conductor's. */
static struct error *
make_sendable(struct call *call)
{
    struct conductor *c = call->conductor;
    struct object_version version;
    char text[OBJECT_VERSION_SIZE];
    struct error *error =
        call->kind == KIND_BACKPORT
            ? object_check_fit(call->args, learnt_version_of, c->learnt)
            : object_level(call->args, sendable_version_of, c);

    if (error || call->kind == KIND_ACTION) {
        return error;
    }
    if (!learnt_version_of(c->learnt, call->class->name, &version)) {
        return error_new(ERR_UNSUPPORTED_OBJECT, "Unsupported object type %s",
                         call->class->name);
    }
    struct json *manifest = object_manifest(call->class, wanted_version_of, c);
    json_set(call->args, "object_versions", manifest);
    if (version.major == call->class->version.major) {
        return NULL;
    }
    return object_incompatible(
        call->class->name, object_version_format(call->class->version, text),
        version);
}

static void
call_answered(void *aux, struct json **result, struct error *error)
{
    struct call *call = aux;
    struct conductor *c = call->conductor;

    c->n_refs++;
    c->n_sent--;
    if (error_code(error) == ERR_INCOMPATIBLE_OBJECT && !c->is_closed) {
        learnt_forget(c->learnt);
    }
    if (call->is_over) {
        error_free(error);
        call_free(call);
    } else if (error) {
        call_end(call, error);
        call_free(call);
    } else {
        call->result = *result ? steal(result) : json_null();
        take_result(call);
    }
    send_queued(c);
    conductor_drop(c);
}

/* A backport's was asked for in our versions: it is not asked for again. */
static void
take_result(struct call *call)
{
    struct conductor *c = call->conductor;

    if (call->kind == KIND_BACKPORT ||
        conductor_fit(c, call->result) == OBJECT_FITS) {
        result_adopted(call, NULL);
    } else {
        adoption_start(c, call->context, call->result, time_left(call->end_ms),
                       result_adopted, call);
    }
}

static void
result_adopted(void *aux, struct error *error)
{
    struct call *call = aux;

    if (call->is_over) {
        error_free(error);
    } else {
        if (!error && call->kind == KIND_ACTION) {
            error = finish_action(call);
        } else if (!error && call->kind == KIND_BACKPORT) {
            error = finish_backport(call);
        }
        call_end(call, error);
    }
    call_free(call);
}

/* [updates, result] */
static struct error *
finish_action(struct call *call)
{
    if (!json_is_array(call->result) || json_size(call->result) != 2) {
        return error_new(ERR_BAD_MESSAGE,
                         "the conductor's answer is no pair of updates and "
                         "result");
    }
    struct error *error =
        object_apply_updates(call->object, json_at(call->result, 0));
    if (!error) {
        struct json *result = json_copy(json_at(call->result, 1));

        json_free(call->result);
        call->result = result;
    }
    return error;
}

static struct error *
finish_backport(struct call *call)
{
    struct conductor *c = call->conductor;
    const char *name = object_primitive_name(call->result);

    if (!str_eq(name, call->class->name)) {
        return error_new(ERR_BAD_MESSAGE, "the conductor's answer is no '%s'",
                         call->class->name);
    }
    if (conductor_fit(c, call->result) != OBJECT_FITS) {
        return object_incompatible(
            name, json_string_of(call->result, "nova_object.version"),
            call->class->version);
    }
    c->counters.n_backported++;
    return NULL;
}

/* Tells whoever waits, once; takes 'error'. */
static void
call_end(struct call *call, struct error *error)
{
    struct conductor *c = call->conductor;

    *(call->prev ? &call->prev->next : &c->calls) = call->next;
    if (call->next) {
        call->next->prev = call->prev;
    }
    call->is_over = true;
    c->counters.n_failed += error != NULL;
    if (error) {
        json_free(steal(&call->result));
    }
    call->done(call->aux, &call->result, error);
}

static void
call_free(struct call *call)
{
    struct conductor *c = call->conductor;

    json_free(call->context);
    json_free(call->args);
    json_free(call->result);
    free(call);
    c->counters.n_open--;
    conductor_drop(c);
}

static unsigned
time_left(uint64_t end_ms)
{
    uint64_t now_ms = clock_now_ms();

    return end_ms > now_ms ? (unsigned)(end_ms - now_ms) : 0;
}

/* What we understand and the conductor takes. */
static bool
sendable_version_of(void *aux, const char *name, struct object_version *ret)
{
    const struct conductor *c = aux;
    struct object_version own, theirs;

    if (!conductor_own_version(aux, name, &own) ||
        !learnt_version_of(c->learnt, name, &theirs)) {
        return false;
    }
    *ret = object_version_compare(own, theirs) < 0 && own.major == theirs.major
               ? own
               : theirs;
    return true;
}

/* What we want to be given: also of classes that the conductor was not asked
 * for. */
static bool
wanted_version_of(void *aux, const char *name, struct object_version *ret)
{
    return sendable_version_of(aux, name, ret) ||
           conductor_own_version(aux, name, ret);
}

/* The owner, each call, and whoever may close it meanwhile have one. */
static void
conductor_drop(struct conductor *c)
{
    if (--c->n_refs == 0) {
        free(c->exchange);
        json_free(c->own_versions);
        free(c);
    }
}
