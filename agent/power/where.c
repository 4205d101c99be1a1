#include <config.h>

#include "agent/power/where.h"

#include <stdlib.h>

#include "agent/incoming/incoming.h"
#include "agent/migrate/plan.h"
#include "agent/migrate/migration.h"

LOG_MODULE(power);

struct question {
    struct agent *agent;
    struct json *context;
    char *uuid;
    char *other; /* Host that is asked; null: none yet. */
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static void residue_settled(void *aux, struct error *error);
static void migrations_known(void *aux, struct error *error,
                             struct object **objects, size_t n);
static void other_answered(void *aux, struct error *error,
                           enum guest_presence presence);
static struct error *busy(const char *uuid);

static void
answer(struct question *question, struct error *error)
{
    question->done(question->aux, error);
    json_free(question->context);
    free(question->uuid);
    free(question->other);
    free(question);
}

void
power_where_ask(struct agent *agent, const struct json *context,
                const char *instance_uuid, bool is_to_start,
                void (*done)(void *aux, struct error *error), void *aux)
{
    if (migrate_source_find(agent, instance_uuid) ||
        incoming_is_expected(agent, instance_uuid)) {
        done(aux, busy(instance_uuid));
        return;
    }
    if (!is_to_start) {
        done(aux, NULL);
        return;
    }
    struct question *question = xzalloc(sizeof *question);
    question->agent = agent;
    question->context = json_copy(context);
    question->uuid = xstrdup(instance_uuid);
    question->done = done;
    question->aux = aux;
    op_residue_settle(agent->ops, instance_uuid, residue_settled, question);
}

static void
residue_settled(void *aux, struct error *error)
{
    struct question *question = aux;
    struct agent *agent = question->agent;

    if (error || !agent->ops) {
        answer(question,
               error ? error_wrap(error, "end what an earlier migration left")
                     : error_new(ERR_CANCELLED, "the agent is stopping"));
        return;
    }
    agent->records->ops->migration_list(agent->records->state,
                                        question->context, question->uuid,
                                        migrations_known, question);
}

const char *
power_where_doubt(const struct object *migration, const char *own_host)
{
    static const char *const settled[] = {"failed",    "cancelled", "confirmed",
                                          "reverted",  "finished",  "rejected",
                                          "completed", "done"};
    const char *source = object_string(migration, "source_compute");
    const char *dest = object_string(migration, "dest_compute");
    const char *status = object_string(migration, "status");
    bool was_here = str_eq(source, own_host);
    const char *other = was_here ? dest : source;

    for (size_t i = 0; i < N_ELEMENTS(settled); i++) {
        if (str_eq(status, settled[i]) &&
            !(was_here && str_eq(status, "completed"))) {
            return NULL;
        }
    }
    return other && !str_eq(other, own_host) ? other : NULL;
}

static void
migrations_known(void *aux, struct error *error, struct object **objects,
                 size_t n)
{
    struct question *question = aux;
    struct agent *agent = question->agent;
    AUTO_OBJECT nothing = object_create("LibvirtLiveMigrateData", "1.10");
    AUTO_FREE uri = NULL;

    if (!error && n > 0) {
        question->other =
            xstrdup_null(power_where_doubt(objects[0], agent->conf->host));
    }
    for (size_t i = 0; i < n; i++) {
        object_free(objects[i]);
    }
    free(objects);
    if (!error && question->other) {
        error = migrate_plan_uris(agent->conf, question->other, nothing, &uri,
                                  NULL);
    }
    if (error || !question->other) {
        answer(question, error_wrap(error, "find out where the guest is"));
        return;
    }
    log_info(NULL, "host '%s' is asked whether guest %s runs there",
             question->other, question->uuid);
    driver_peer_presence(agent->driver, uri, question->uuid, other_answered,
                         question);
}

static void
other_answered(void *aux, struct error *error, enum guest_presence presence)
{
    struct question *question = aux;

    if (error) {
        error = error_wrap(error,
                           "its last migration has no known end, and host '%s' "
                           "does not say whether the guest runs there",
                           question->other);
    } else if (presence != GUEST_ABSENT && presence != GUEST_OFF &&
               presence != GUEST_MIGRATED) {
        error = error_new(ERR_INVALID, "guest '%s' runs at host '%s'",
                          question->uuid, question->other);
    }
    answer(question, error);
}

static struct error *
busy(const char *uuid)
{
    struct error *error = error_new(ERR_INSTANCE_INVALID_STATE,
                                    "guest '%s' is being migrated", uuid);

    error_set_arg(error, "instance_uuid", uuid);
    error_set_arg(error, "attr", "task_state");
    error_set_arg(error, "state", "migrating");
    return error_set_arg(error, "method", "change its power state");
}
