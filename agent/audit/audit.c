#include <config.h>

#include "agent/audit/audit.h"

#include <stdlib.h>
#include <string.h>

enum kind { RECORD, MIGRATION, GUEST, OPERATION, DIRECTORY, N_KINDS };

/* One fact about one instance. */
struct item {
    const char *uuid, *host;
    enum kind kind;
    bool is_local; /* That host keeps its own records. */
    size_t order;  /* As they came. */
    const struct json *json;
};

/* All facts about one instance. */
struct view {
    const struct item *items;
    size_t n;
    const char *uuid;
    const char *home; /* The one host that runs it; null: none, or several. */
    unsigned n_running;
    bool is_complete; /* All hosts that are known of answered. */
    struct json *found;
};

static const struct {
    const char *list, *key;
} kinds[N_KINDS] = {
    [RECORD] = {"instances", "uuid"},
    [MIGRATION] = {"migrations", "instance_uuid"},
    [GUEST] = {"guests", "uuid"},
    [OPERATION] = {"operations", "instance"},
    [DIRECTORY] = {"directories", "uuid"},
};

static const char *const mend_names[] = {
#define AUDIT_MEND(NAME, TEXT) TEXT,
    AUDIT_MENDS
#undef AUDIT_MEND
};

static size_t count_items(const struct json *facts);
static size_t collect(const struct json *facts, struct item *items);
static int compare(const void *a, const void *b);
static void judge(struct view *v);
static void judge_operation(const struct view *v, const struct item *item);
static void judge_twice(const struct view *v);
static void judge_record(const struct view *v, const struct item *item);
static void judge_migration(const struct view *v, const struct item *item);
static void judge_guest(const struct view *v, const struct item *item);
static void judge_directory(const struct view *v, const struct item *item);
static struct json *add(const struct view *v, const struct item *item,
                        const char *rule, char *text);
static void mend_by(struct json *finding, enum audit_mend mend);
static const char *name_of(const struct view *v);
static const struct item *find(const struct view *v, enum kind kind,
                               const char *host);
static bool is_open(const struct item *item);
static bool is_here(const struct item *item);
static bool runs(const struct item *item);
static bool has_moved_away(const struct view *v, const char *host);
static bool is_named_twice(const struct view *v, const struct item *item);

const char *
audit_mend_name(enum audit_mend mend)
{
    return mend_names[mend];
}

enum audit_mend
audit_mend_parse(const char *name)
{
    int mend = 0;

    while (mend < AUDIT_N_MENDS && !str_eq(mend_names[mend], name)) {
        mend++;
    }
    return (enum audit_mend)mend;
}

struct json *
audit_judge(const struct json *facts, const struct json *silent)
{
    size_t n = count_items(facts);
    struct item *items = xcalloc(n + 1, sizeof *items);
    struct json *found = json_array();

    n = collect(facts, items);
    qsort(items, n, sizeof *items, compare);
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        while (end < n && str_eq(items[end].uuid, items[i].uuid)) {
            end++;
        }
        struct view view = {
            .items = items + i,
            .n = end - i,
            .uuid = items[i].uuid,
            .is_complete = json_size(silent) == 0,
            .found = found,
        };
        judge(&view);
    }
    free(items);
    return found;
}

struct json *
audit_confirmed(const struct json *first, const struct json *second)
{
    struct json *both = json_array();

    json_for_each (now, second) {
        json_for_each (before, first) {
            if (str_eq(json_string_of(now, "rule"),
                       json_string_of(before, "rule")) &&
                str_eq(json_string_of(now, "instance"),
                       json_string_of(before, "instance")) &&
                str_eq(json_string_of(now, "host"),
                       json_string_of(before, "host"))) {
                json_append(both, json_copy(now));
                break;
            }
        }
    }
    return both;
}

static size_t
count_items(const struct json *facts)
{
    size_t n = 0;

    json_for_each (host, facts) {
        for (int kind = 0; kind < N_KINDS; kind++) {
            n += json_size(json_get(host, kinds[kind].list));
        }
    }
    return n;
}

/* What names no instance is about none. */
static size_t
collect(const struct json *facts, struct item *items)
{
    size_t n = 0;

    json_for_each (host, facts) {
        const char *name = json_string_of(host, "host");

        for (int kind = 0; kind < N_KINDS && name; kind++) {
            json_for_each (json, json_get(host, kinds[kind].list)) {
                const char *uuid = json_string_of(json, kinds[kind].key);

                if (uuid) {
                    items[n] = (struct item){
                        .uuid = uuid,
                        .host = name,
                        .kind = (enum kind)kind,
                        .is_local = json_bool_of(host, "local"),
                        .order = n,
                        .json = json,
                    };
                    n++;
                }
            }
        }
    }
    return n;
}

/* By instance; those of one kind in the order in which they came. */
static int
compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int order = strcmp(x->uuid, y->uuid);

    if (!order) {
        order = (x->kind > y->kind) - (x->kind < y->kind);
    }
    if (!order) {
        order = strcmp(x->host, y->host);
    }
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static void
judge(struct view *v)
{
    static void (*const judges[N_KINDS])(const struct view *v,
                                         const struct item *item) = {
        [RECORD] = judge_record,
        [MIGRATION] = judge_migration,
        [GUEST] = judge_guest,
        [DIRECTORY] = judge_directory,
    };
    bool is_on_its_way = false;

    for (size_t i = 0; i < v->n; i++) {
        if (runs(&v->items[i])) {
            v->home = v->items[i].host;
            v->n_running++;
        }
        if (is_open(&v->items[i])) {
            is_on_its_way = true;
            judge_operation(v, &v->items[i]);
        }
    }
    if (is_on_its_way) {
        return;
    }
    if (v->n_running > 1) {
        judge_twice(v); /* What else there is follows from that. */
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        if (judges[v->items[i].kind]) {
            judges[v->items[i].kind](v, &v->items[i]);
        }
    }
}

static void
judge_operation(const struct view *v, const struct item *item)
{
    const char *type = json_string_of(item->json, "type");
    bool has_guest = false, has_source = false;

    for (size_t i = 0; i < v->n; i++) {
        has_guest |= v->items[i].kind == GUEST;
        has_source |=
            v->items[i].kind == OPERATION && is_open(&v->items[i]) &&
            str_eq(json_string_of(v->items[i].json, "type"), "live-migration");
    }
    if (!v->is_complete) {
        return;
    }
    if (str_eq(type, "incoming-migration") && !has_source &&
        str_eq(json_string_of(item->json, "step"), "wait")) {
        mend_by(add(v, item, "reservation-without-source",
                    xasprintf("operation %lld waits for a guest that no host "
                              "sends",
                              (long long)json_int_of(item->json, "op"))),
                AUDIT_TAKE_BACK);
    } else if (!has_guest) {
        add(v, item, "operation-without-guest",
            xasprintf("operation %lld, '%s', is about a guest that no host "
                      "has",
                      (long long)json_int_of(item->json, "op"), type));
    }
}

static void
judge_twice(const struct view *v)
{
    for (size_t i = 0; i < v->n; i++) {
        if (runs(&v->items[i])) {
            add(v, &v->items[i], "runs-twice",
                xasprintf("the guest runs on %u hosts: stop the wrong one "
                          "before it writes to a disk of both",
                          v->n_running));
        }
    }
}

static void
judge_record(const struct view *v, const struct item *item)
{
    const struct item *guest = find(v, GUEST, item->host);
    const char *task = json_string_of(item->json, "task_state");
    const char *host = json_string_of(item->json, "host");
    struct json *finding;

    if (!guest || !is_here(guest)) {
        bool is_elsewhere = v->home && find(v, RECORD, v->home);
        bool is_nowhere = v->is_complete && !find(v, GUEST, NULL);

        finding = add(v, item, "record-without-guest",
                      v->home ? xasprintf("the record says here, the guest "
                                          "runs on '%s'",
                                          v->home)
                              : xstrdup("the record says here, the guest is "
                                        "not"));
        if (is_elsewhere || is_nowhere) {
            mend_by(finding, AUDIT_FORGET);
        }
        return;
    }
    if (host && !str_eq(host, item->host)) {
        add(v, item, "record-of-another-host",
            xasprintf("the record says host '%s'", host));
    }
    if (task) {
        finding = add(v, item, "task-without-operation",
                      xasprintf("the record says '%s', and no operation is "
                                "open",
                                task));
        if (v->is_complete && (!v->home || str_eq(v->home, item->host))) {
            mend_by(finding, AUDIT_CLEAR_TASK);
        }
    }
}

/* Its status is its source's to say. */
static void
judge_migration(const struct view *v, const struct item *item)
{
    static const char *const ended[] = {"completed", "failed",    "cancelled",
                                        "error",     "confirmed", "reverted",
                                        "done"};
    const char *status = json_string_of(item->json, "status");
    const char *source = json_string_of(item->json, "source");
    const char *dest = json_string_of(item->json, "dest");

    for (size_t i = 0; i < N_ELEMENTS(ended); i++) {
        if (str_eq(ended[i], status)) {
            return;
        }
    }
    if (!str_eq(source, item->host)) {
        return;
    }
    struct json *finding = add(
        v, item, "migration-without-operation",
        xasprintf("migration '%s' is '%s', and no operation is open",
                  json_string_of(item->json, "uuid"), status ? status : ""));
    bool is_there = v->home && str_eq(v->home, dest);
    bool is_back = v->home && str_eq(v->home, source);
    if (v->is_complete && (is_there || is_back)) {
        mend_by(finding, AUDIT_SET_STATUS);
        json_set_string(finding, "value", is_there ? "completed" : "failed");
        json_set_string(finding, "migration",
                        json_string_of(item->json, "uuid"));
    }
}

static void
judge_guest(const struct view *v, const struct item *item)
{
    if (!is_here(item)) {
        return;
    }
    if (item->is_local && !find(v, RECORD, item->host)) {
        if (v->home && !str_eq(v->home, item->host)) {
            /* It is no guest of this host, but what one left. */
        } else {
            mend_by(add(v, item, "guest-without-record",
                        xstrdup("the guest is here, and no record of it")),
                    AUDIT_ADOPT);
        }
    }
    if (runs(item) || !is_named_twice(v, item)) {
        return;
    }
    struct json *finding =
        add(v, item, "defined-twice",
            v->home ? xasprintf("the guest is defined here, and runs on '%s'",
                                v->home)
                    : xstrdup("the guest is defined here and elsewhere, and "
                              "runs nowhere"));
    if (v->home && has_moved_away(v, item->host)) {
        mend_by(finding, AUDIT_UNDEFINE);
    }
}

/* Disks are never removed on a conclusion. */
static void
judge_directory(const struct view *v, const struct item *item)
{
    const char *id = json_string_of(item->json, "id");

    if (!v->is_complete) {
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct item *other = &v->items[i];
        bool is_same = other->kind == DIRECTORY && other != item &&
                       str_eq(json_string_of(other->json, "id"), id);

        if (other->kind == GUEST && str_eq(other->host, item->host)) {
            return;
        }
        /* On shared storage: its guest's, or named by the first host. */
        if (is_same && (find(v, GUEST, other->host) || other < item)) {
            return;
        }
    }
    add(v, item, "disks-without-guest",
        xasprintf("'%s' belongs to no guest of this host",
                  json_string_of(item->json, "path")));
}

/* Takes 'text'; returns the finding, which the list has. */
static struct json *
add(const struct view *v, const struct item *item, const char *rule, char *text)
{
    struct json *finding = json_object();

    json_set_string(finding, "rule", rule);
    json_set_string(finding, "instance", v->uuid);
    json_set_string(finding, "name", name_of(v));
    json_set_string(finding, "host", item->host);
    json_set_string(finding, "text", text);
    json_set_null(finding, "mend");
    json_append(v->found, finding);
    free(text);
    return finding;
}

static void
mend_by(struct json *finding, enum audit_mend mend)
{
    json_set_string(finding, "mend", audit_mend_name(mend));
}

static const char *
name_of(const struct view *v)
{
    for (size_t i = 0; i < v->n; i++) {
        const char *name = json_string_of(v->items[i].json, "name");

        if (name) {
            return name;
        }
    }
    return NULL;
}

/* The first one; null 'host': of any. */
static const struct item *
find(const struct view *v, enum kind kind, const char *host)
{
    for (size_t i = 0; i < v->n; i++) {
        if (v->items[i].kind == kind &&
            (!host || str_eq(v->items[i].host, host))) {
            return &v->items[i];
        }
    }
    return NULL;
}

/* One that mends is not what it mends. */
static bool
is_open(const struct item *item)
{
    return item->kind == OPERATION &&
           !str_eq(json_string_of(item->json, "step"), "finished") &&
           !str_eq(json_string_of(item->json, "type"), "audit-mend");
}

static bool
is_here(const struct item *item)
{
    const char *presence = json_string_of(item->json, "presence");

    return runs(item) || str_eq(presence, "off");
}

static bool
runs(const struct item *item)
{
    const char *presence = json_string_of(item->json, "presence");

    return item->kind == GUEST &&
           (str_eq(presence, "active") || str_eq(presence, "postcopy") ||
            str_eq(presence, "postcopy-failed"));
}

/* The newest migration that this host knows of went away, and all is well. */
static bool
has_moved_away(const struct view *v, const char *host)
{
    const struct item *item = find(v, MIGRATION, host);

    return item && str_eq(json_string_of(item->json, "source"), host) &&
           str_eq(json_string_of(item->json, "dest"), v->home) &&
           str_eq(json_string_of(item->json, "status"), "completed");
}

static bool
is_named_twice(const struct view *v, const struct item *item)
{
    for (size_t i = 0; i < v->n; i++) {
        if (v->items[i].kind == GUEST && &v->items[i] != item &&
            is_here(&v->items[i])) {
            return true;
        }
    }
    return false;
}
