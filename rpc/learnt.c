#include <config.h>

#include "rpc/learnt.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "rpc/failure.h"
#include "rpc/object_internal.h"
#include "rpc/object_level.h"
#include "rpc/utf8.h"

#define LIFE_MS (5 * 60 * 1000)

/* Of classes that we do not know ourselves; more only a hostile peer has. */
#define N_STRANGERS_MAX 256

/* What no class of objects has. */
#define NO_METHOD "drover_asks_for_the_version"
#define SAYS_NO_METHOD "AttributeError"

/* Who waits until all versions it needs are known. */
struct ask {
    struct learnt *learnt;
    unsigned n_open; /* Classes, and the asking itself. */
    unsigned timeout_ms;
    struct error *error;
    void (*done)(void *aux, struct error *error);
    void *aux;
};

/* Of one class; in the order they were met. */
struct entry {
    struct learnt *learnt;
    char *name;
    bool is_known, is_absent, is_asked;
    struct object_version version;
    bool is_at_least;             /* Perhaps it is newer. */
    uint64_t at_ms;               /* When it was learnt. */
    struct object_version wanted; /* No matter how much newer. */
    struct object_version asked;
    struct ask **asks;
    size_t n_asks, room_asks;
};

struct learnt {
    struct rpc_client *client;
    const struct rpc_target *target;
    object_version_of *own;
    void *own_aux;
    struct entry **entries;
    size_t n_entries, room_entries, n_strangers;
    unsigned n_asked;
    bool is_closed;
};

static struct error *want_primitive(void *aux, struct json *primitive);
static struct error *want(struct ask *, const char *name,
                          struct object_version version);
static struct entry *add(struct learnt *, const char *name);
static struct entry *find(const struct learnt *, const char *name);
static bool is_enough(const struct entry *);
static void ask_conductor(struct entry *, unsigned timeout_ms);
static void answered(void *aux, struct json **result, struct error *error);
static struct error *take_answer(struct entry *, struct error *error);
static void tell_all(struct entry *, const struct error *error);
static void ask_drop(struct ask *);
static void free_if_unused(struct learnt *);

struct learnt *
learnt_create(struct rpc_client *client, const struct rpc_target *target,
              object_version_of *own, void *own_aux)
{
    struct learnt *learnt = xzalloc(sizeof *learnt);

    learnt->client = client;
    learnt->target = target;
    learnt->own = own;
    learnt->own_aux = own_aux;
    return learnt;
}

void
learnt_close(struct learnt *learnt)
{
    AUTO_ERROR error = error_new(ERR_CANCELLED, "the service is stopping");

    learnt->is_closed = true;
    learnt->n_asked++; /* Until all have been told. */
    for (size_t i = 0; i < learnt->n_entries; i++) {
        tell_all(learnt->entries[i], error);
    }
    learnt->n_asked--;
    free_if_unused(learnt);
}

void
learnt_ask(struct learnt *learnt, struct json *json, const char *name,
           unsigned timeout_ms, void (*done)(void *aux, struct error *error),
           void *aux)
{
    struct ask *ask = xzalloc(sizeof *ask);

    ask->learnt = learnt;
    ask->n_open = 1;
    ask->timeout_ms = timeout_ms;
    ask->done = done;
    ask->aux = aux;
    ask->error = name ? want(ask, name, (struct object_version){0, 0}) : NULL;
    if (!ask->error) {
        ask->error = object_walk(json, false, want_primitive, ask);
    }
    ask_drop(ask);
}

bool
learnt_version_of(void *aux, const char *name, struct object_version *ret)
{
    const struct entry *entry = find(aux, name);

    if (!entry || !entry->is_known || entry->is_absent) {
        return false;
    }
    *ret = entry->version;
    return true;
}

void
learnt_forget(struct learnt *learnt)
{
    for (size_t i = 0; i < learnt->n_entries; i++) {
        learnt->entries[i]->is_known = false;
    }
}

static struct error *
want_primitive(void *aux, struct json *primitive)
{
    const char *name = object_primitive_name(primitive);
    struct object_version version;

    if (!object_version_parse(json_string_of(primitive, KEY_VERSION), &version,
                              NULL)) {
        version = (struct object_version){0, 0};
    }
    return name ? want(aux, name, version) : NULL;
}

/* In the newest of this version, ours, and those that were asked for. */
static struct error *
want(struct ask *ask, const char *name, struct object_version version)
{
    struct learnt *learnt = ask->learnt;
    struct entry *entry = find(learnt, name);

    if (!entry && !object_class_find(name) &&
        learnt->n_strangers++ >= N_STRANGERS_MAX) {
        return error_new(ERR_UNSUPPORTED_OBJECT, "Unsupported object type %.*s",
                         (int)utf8_cut(name, FAILURE_QUOTE_MAX), name);
    }
    if (!entry) {
        entry = add(learnt, name);
    }
    if (object_version_compare(version, entry->wanted) > 0) {
        entry->wanted = version;
    }
    if (is_enough(entry)) {
        return NULL;
    }
    if (entry->n_asks && entry->asks[entry->n_asks - 1] == ask) {
        return NULL; /* Met before, in the same tree. */
    }
    if (entry->n_asks == entry->room_asks) {
        entry->asks =
            xgrow(entry->asks, &entry->room_asks, sizeof *entry->asks);
    }
    entry->asks[entry->n_asks++] = ask;
    ask->n_open++;
    if (!entry->is_asked) {
        ask_conductor(entry, ask->timeout_ms);
    }
    return NULL;
}

static struct entry *
add(struct learnt *learnt, const char *name)
{
    struct entry *entry = xzalloc(sizeof *entry);

    entry->learnt = learnt;
    entry->name = xstrdup(name);
    if (!learnt->own(learnt->own_aux, name, &entry->wanted)) {
        entry->wanted = (struct object_version){1, 0};
    }
    if (learnt->n_entries == learnt->room_entries) {
        learnt->entries = xgrow(learnt->entries, &learnt->room_entries,
                                sizeof *learnt->entries);
    }
    learnt->entries[learnt->n_entries++] = entry;
    return entry;
}

/* Whether what is known of it suffices. */
static bool
is_enough(const struct entry *entry)
{
    return entry->is_known && clock_now_ms() < entry->at_ms + LIFE_MS &&
           !(entry->is_at_least &&
             object_version_compare(entry->version, entry->wanted) < 0);
}

static struct entry *
find(const struct learnt *learnt, const char *name)
{
    for (size_t i = 0; i < learnt->n_entries; i++) {
        if (str_eq(learnt->entries[i]->name, name)) {
            return learnt->entries[i];
        }
    }
    return NULL;
}

static void
ask_conductor(struct entry *entry, unsigned timeout_ms)
{
    const struct rpc_options options = {.timeout_ms = timeout_ms};
    char text[OBJECT_VERSION_SIZE];
    AUTO_JSON context = rpc_context_create();
    AUTO_JSON args = json_object();
    struct json *versions = json_object();

    json_set_string(args, "objname", entry->name);
    json_set_string(args, "objmethod", NO_METHOD);
    json_set(args, "object_versions", versions);
    json_set_string(versions, entry->name,
                    object_version_format(entry->wanted, text));
    json_set(args, "args", json_array());
    json_set(args, "kwargs", json_object());
    entry->asked = entry->wanted;
    entry->is_asked = true;
    entry->learnt->n_asked++;
    rpc_call(entry->learnt->client, entry->learnt->target, &options, context,
             "object_class_action_versions", args, answered, entry);
}

static void
answered(void *aux, struct json **result UNUSED, struct error *failure)
{
    struct entry *entry = aux;
    struct learnt *learnt = entry->learnt;

    entry->is_asked = false;
    if (learnt->is_closed) {
        error_free(failure);
    } else {
        AUTO_ERROR error = take_answer(entry, failure);
        if (error || is_enough(entry)) {
            tell_all(entry, error);
        } else { /* A newer one came meanwhile. */
            ask_conductor(entry, entry->asks[0]->timeout_ms);
        }
    }
    learnt->n_asked--;
    free_if_unused(learnt);
}

/* Takes 'failure', which is what the conductor is expected to answer. */
static struct error *
take_answer(struct entry *entry, struct error *failure)
{
    AUTO_ERROR owned = failure;
    struct object_version version;
    bool is_at_least =
        failure && str_eq(error_class_name(failure), SAYS_NO_METHOD);
    bool is_absent = error_code(failure) == ERR_UNSUPPORTED_OBJECT;

    if (is_at_least) {
        version = entry->asked;
    } else if (is_absent) {
        version = (struct object_version){0, 0};
    } else if (error_code(failure) != ERR_INCOMPATIBLE_OBJECT ||
               !object_version_parse(error_arg(failure, "supported"), &version,
                                     NULL)) {
        struct error *error =
            failure ? steal(&owned)
                    : error_new(ERR_BAD_MESSAGE, "it takes any version");

        /* What was learnt before stays what it was. */
        return error_wrap(error, "learn the conductor's version of '%.*s'",
                          (int)utf8_cut(entry->name, FAILURE_QUOTE_MAX),
                          entry->name);
    }
    entry->version = version;
    entry->is_at_least = is_at_least;
    entry->is_absent = is_absent;
    entry->is_known = true;
    entry->at_ms = clock_now_ms();
    return NULL;
}

/* Those that begin to wait meanwhile are not among them. */
static void
tell_all(struct entry *entry, const struct error *error)
{
    struct ask **asks = steal(&entry->asks);
    size_t n = entry->n_asks;

    entry->n_asks = entry->room_asks = 0;
    for (size_t i = 0; i < n; i++) {
        if (!asks[i]->error) {
            asks[i]->error = error_copy(error);
        }
        ask_drop(asks[i]);
    }
    free(asks);
}

static void
ask_drop(struct ask *ask)
{
    if (--ask->n_open == 0) {
        ask->done(ask->aux, steal(&ask->error));
        free(ask);
    }
}

static void
free_if_unused(struct learnt *learnt)
{
    if (!learnt->is_closed || learnt->n_asked) {
        return;
    }
    for (size_t i = 0; i < learnt->n_entries; i++) {
        free(learnt->entries[i]->name);
        free(learnt->entries[i]->asks);
        free(learnt->entries[i]);
    }
    free(learnt->entries);
    free(learnt);
}
