#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>

#include "agent/migrate/data.h"
#include "agent/nova/nova.h"

/* What a control plane knows of a source that can't be asked itself.
 *
 * The migration's status tells whether its part is over, the instance's record
 * whether there is still something to be ended.  Neither is the source's own
 * word of where the guest is: what follows from it is for watch.c to find out.
 * A conductor that does not answer, or has no such records, knows nothing, and
 * then the migration is taken to be open. (spec/live-migration 8.3) */

LOG_MODULE(incoming);

struct question {
    struct agent *agent;
    char *uuid, *source;
    char *migration; /* Its UUID; null: the newest one. */
    char *status;    /* What its record says; null: none was found. */
    void (*done)(void *aux, enum incoming_word word);
    void *aux;
};

static void migrations_known(void *aux, struct error *error,
                             struct object **migrations, size_t n);
static void instance_known(void *aux, struct error *error,
                           struct object *instance);
static enum incoming_word word_of(const char *status, const char *task_state,
                                  bool is_elsewhere);
static bool is_asked_for(const struct question *q,
                         const struct object *migration);
static void answer(struct question *q, enum incoming_word word);
static void tell_unknown(const struct question *q, struct error *error);

void
incoming_ask_records(struct incoming *in,
                     void (*done)(void *aux, enum incoming_word word),
                     void *aux)
{
    struct question *q = xzalloc(sizeof *q);
    const struct json *made =
        in->data
            ? json_get(migrate_data_migration(in->data), "nova_object.data")
            : NULL;

    q->agent = in->agent;
    q->uuid = xstrdup(incoming_uuid(in));
    q->source = xstrdup(object_string(in->instance, "host"));
    q->migration = xstrdup_null(json_string_of(made, "uuid"));
    q->done = done;
    q->aux = aux;
    struct records *records = q->agent->records;
    records->ops->migration_list(records->state, NULL, q->uuid,
                                 migrations_known, q);
}

static void
migrations_known(void *aux, struct error *error, struct object **migrations,
                 size_t n)
{
    struct question *q = aux;

    for (size_t i = 0; i < n; i++) { /* The newest first. */
        if (!q->status && is_asked_for(q, migrations[i])) {
            q->status = xstrdup_null(object_string(migrations[i], "status"));
        }
        object_free(migrations[i]);
    }
    free(migrations);
    if (error) {
        tell_unknown(q, error);
        answer(q, INCOMING_OPEN);
    } else if (word_of(q->status, NULL, false) == INCOMING_STAYED) {
        answer(q, INCOMING_STAYED); /* Whatever became of the instance. */
    } else {
        records_conductor_get_bare(q->agent->nova->records, NULL, q->uuid,
                                   instance_known, q);
    }
}

static void
instance_known(void *aux, struct error *error, struct object *instance)
{
    struct question *q = aux;
    enum incoming_word word = INCOMING_OPEN;

    if (error) {
        tell_unknown(q, error);
    } else {
        const char *host = object_string(instance, "host");
        word = word_of(q->status, object_string(instance, "task_state"),
                       host && !str_eq(host, q->source) &&
                           !str_eq(host, q->agent->conf->host));
    }
    object_free(instance);
    answer(q, word);
}

/* A 'status' of null: there is no record of the migration. */
static enum incoming_word
word_of(const char *status, const char *task_state, bool is_elsewhere)
{
    if (is_elsewhere || str_eq(status, "failed") ||
        str_eq(status, "cancelled")) {
        return INCOMING_STAYED;
    }
    if (str_eq(status, "completed") || str_eq(status, "error")) {
        return INCOMING_OVER;
    }
    return str_eq(task_state, "migrating") ? INCOMING_OPEN : INCOMING_LEFT;
}

static bool
is_asked_for(const struct question *q, const struct object *migration)
{
    return str_eq(object_string(migration, "source_compute"), q->source) &&
           str_eq(object_string(migration, "dest_compute"),
                  q->agent->conf->host) &&
           str_eq(object_string(migration, "migration_type"),
                  "live-migration") &&
           (!q->migration ||
            str_eq(object_string(migration, "uuid"), q->migration));
}

static void
answer(struct question *q, enum incoming_word word)
{
    q->done(q->aux, word);
    free(q->uuid);
    free(q->source);
    free(q->migration);
    free(q->status);
    free(q);
}

static void
tell_unknown(const struct question *q, struct error *error)
{
    log_limited(LOG_LEVEL_WARN, NULL,
                "what is recorded of the migration of '%s' from '%s' is not "
                "known: %s",
                q->uuid, q->source, error_message(error));
    error_free(error);
}
