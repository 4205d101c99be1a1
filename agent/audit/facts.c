#include <config.h>

#include "agent/audit/facts.h"

#include <stdlib.h>

#include "rpc/uuid.h"

/* More directories than any host has guests. */
#define DIRECTORIES_MAX 4096

struct collection {
    struct collection *next; /* Of the agent's. */
    struct agent *agent;     /* Null: cancelled, and told so. */
    struct json *context, *facts, *directories;
    uv_fs_t request; /* Under way: one at a time. */
    char *path;      /* That is looked at. */
    char *names[DIRECTORIES_MAX];
    size_t n_names, n_seen;
    void (*done)(void *aux, struct error *error, struct json *facts);
    void *aux;
};

static void instances_known(void *aux, struct error *error,
                            struct object **records, size_t n);
static void migrations_known(void *aux, struct error *error,
                             struct object **records, size_t n);
static void guests_known(void *aux, struct error *error,
                         struct guest_list *list);
static const char *presence_name(enum guest_presence presence);
static void directory_listed(uv_fs_t *request);
static void look_at_next(struct collection *c);
static void directory_seen(uv_fs_t *request);
static void end(struct collection *c, struct error *error);

void
audit_facts(struct agent *agent, const struct json *context,
            void (*done)(void *aux, struct error *error, struct json *facts),
            void *aux)
{
    struct collection *c = xzalloc(sizeof *c);

    c->agent = agent;
    c->context = json_copy(context);
    c->facts = json_object();
    c->directories = json_array();
    c->request.data = c;
    c->done = done;
    c->aux = aux;
    c->next = agent->collections;
    agent->collections = c;
    json_set_string(c->facts, "host", agent->conf->host);
    json_set_bool(c->facts, "local", agent->local != NULL);
    agent->records->ops->migration_list(agent->records->state, c->context, NULL,
                                        migrations_known, c);
}

void
audit_facts_cancel(struct agent *agent)
{
    for (struct collection *c; (c = agent->collections);) {
        agent->collections = c->next;
        c->agent = NULL;
        c->done(c->aux, error_new(ERR_CANCELLED, "the agent is stopping"),
                NULL);
    }
}

/* The operations come last but for the disks: what they will have changed by
 * then is on its way for all that was looked at before. */
static void
migrations_known(void *aux, struct error *error, struct object **records,
                 size_t n)
{
    struct collection *c = aux;
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct object *record = records[i];
        struct json *json = json_object();

        json_set_string(json, "uuid", object_string(record, "uuid"));
        json_set_string(json, "instance_uuid",
                        object_string(record, "instance_uuid"));
        json_set_string(json, "status", object_string(record, "status"));
        json_set_string(json, "source",
                        object_string(record, "source_compute"));
        json_set_string(json, "dest", object_string(record, "dest_compute"));
        json_append(list, json);
        object_free(records[i]);
    }
    free(records);
    json_set(c->facts, "migrations", list);
    if (error || !c->agent) {
        end(c, error_wrap(error, "list the migrations"));
        return;
    }
    struct records *r = c->agent->records;
    r->ops->instance_list(r->state, c->context, instances_known, c);
}

static void
instances_known(void *aux, struct error *error, struct object **records,
                size_t n)
{
    struct collection *c = aux;
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct object *record = records[i];
        struct json *json = json_object();

        json_set_string(json, "uuid", object_string(record, "uuid"));
        json_set_string(json, "name", object_string(record, "display_name"));
        json_set_string(json, "host", object_string(record, "host"));
        json_set_string(json, "task_state",
                        object_string(record, "task_state"));
        json_append(list, json);
        object_free(records[i]);
    }
    free(records);
    json_set(c->facts, "instances", list);
    if (error || !c->agent) {
        end(c, error_wrap(error, "list the instances"));
    } else {
        driver_guest_list(c->agent->driver, guests_known, c);
    }
}

static void
guests_known(void *aux, struct error *error, struct guest_list *list)
{
    struct collection *c = aux;
    struct json *guests = json_array();

    for (size_t i = 0; list && i < list->n; i++) {
        struct json *json = json_object();

        json_set_string(json, "uuid", list->guests[i]->uuid);
        json_set_string(json, "name", list->guests[i]->name);
        json_set_string(json, "presence",
                        presence_name(list->guests[i]->presence));
        json_append(guests, json);
    }
    guest_list_free(list);
    json_set(c->facts, "guests", guests);
    if (error || !c->agent) {
        end(c, error_wrap(error, "list the guests"));
        return;
    }
    json_set(c->facts, "operations", op_engine_list(c->agent->ops));
    uv_fs_scandir(c->agent->loop, &c->request, c->agent->conf->instances_path,
                  0, directory_listed);
}

static const char *
presence_name(enum guest_presence presence)
{
    static const char *const names[] = {
        [GUEST_ABSENT] = "absent",
        [GUEST_OFF] = "off",
        [GUEST_ACTIVE] = "active",
        [GUEST_INCOMING] = "incoming",
        [GUEST_MIGRATED] = "migrated",
        [GUEST_POSTCOPY] = "postcopy",
        [GUEST_POSTCOPY_FAILED] = "postcopy-failed",
    };

    return names[presence];
}

static void
directory_listed(uv_fs_t *request)
{
    struct collection *c = request->data;
    struct error *error = NULL;
    uv_dirent_t entry;

    while (uv_fs_scandir_next(request, &entry) == 0) {
        if (uuid_is_valid(entry.name) && c->n_names < DIRECTORIES_MAX) {
            c->names[c->n_names++] = xstrdup(entry.name);
        }
    }
    if (c->agent && request->result < 0 && request->result != UV_ENOENT) {
        error = error_new(ERR_INTERNAL, "list '%s': %s",
                          c->agent->conf->instances_path,
                          uv_strerror((int)request->result));
    }
    uv_fs_req_cleanup(request);
    if (error) {
        end(c, error);
    } else {
        look_at_next(c);
    }
}

static void
look_at_next(struct collection *c)
{
    if (c->n_seen == c->n_names || !c->agent) {
        end(c, NULL);
        return;
    }
    c->path =
        xasprintf("%s/%s", c->agent->conf->instances_path, c->names[c->n_seen]);
    uv_fs_stat(c->agent->loop, &c->request, c->path, directory_seen);
}

/* One that went meanwhile, or is none, is not told.  On shared storage all
 * hosts see the same number and time. */
static void
directory_seen(uv_fs_t *request)
{
    struct collection *c = request->data;
    const uv_stat_t *st = &request->statbuf;

    if (request->result == 0 && (st->st_mode & S_IFMT) == S_IFDIR) {
        AUTO_FREE id = xasprintf("%llu:%ld.%ld", (unsigned long long)st->st_ino,
                                 st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
        struct json *json = json_object();

        json_set_string(json, "uuid", c->names[c->n_seen]);
        json_set_string(json, "path", c->path);
        json_set_string(json, "id", id);
        json_append(c->directories, json);
    }
    uv_fs_req_cleanup(request);
    free(steal(&c->path));
    c->n_seen++;
    look_at_next(c);
}

static void
end(struct collection *c, struct error *error)
{
    struct collection **link = c->agent ? &c->agent->collections : NULL;

    while (link && *link != c) {
        link = &(*link)->next;
    }
    if (link) {
        *link = c->next;
    }
    json_set(c->facts, "directories", c->directories);
    if (c->agent) {
        c->done(c->aux, error, error ? NULL : steal(&c->facts));
    } else {
        error_free(error);
    }
    json_free(c->facts);
    json_free(c->context);
    for (size_t i = 0; i < c->n_names; i++) {
        free(c->names[i]);
    }
    free(c);
}
