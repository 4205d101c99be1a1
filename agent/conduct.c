#include <config.h>

#include "agent/conduct.h"

#include <stdlib.h>

#include "agent/migrate/data.h"
#include "agent/migrate/migration.h"
#include "agent/placement.h"
#include "rpc/uuid.h"

LOG_MODULE(conduct);

#define CONDUCT_KEY "conduct:%s"

struct conduct {
    struct agent *agent;
    struct json *context;
    struct object *instance;
    struct object *record; /* The Migration; its UUID is known at once. */
    struct object *data;   /* Null until a destination agreed. */
    char *wanted, *dest;   /* Each may be null. */
    int block_migration, disk_over_commit;
    enum migrate_kind kind;
    struct migrate_settings settings;

    /* Not in the journal. */
    void (*done)(void *aux, struct error *error, struct object *record);
    void *aux;
};

static void claim_run(struct op *op, struct op_ticket *ticket);
static void claim_undo(struct op *op, struct op_ticket *ticket);
static void record_run(struct op *op, struct op_ticket *ticket);
static void record_undo(struct op *op, struct op_ticket *ticket);
static void find_run(struct op *op, struct op_ticket *ticket);
static void hand_over_run(struct op *op, struct op_ticket *ticket);
static void hand_over_probe(struct op *op, struct op_ticket *ticket);
static struct json *conduct_save(const void *data);
static struct error *conduct_load(void *aux, const struct json *json,
                                  void **ret_data);
static void conduct_free(void *data);
static void conduct_finished(struct op *op, const struct error *error);
static struct object *new_record(const struct agent *agent,
                                 const struct conduct_request *request);

static const struct step conduct_steps[] = {
    {.name = "claim", .run = claim_run, .undo = claim_undo},
    {.name = "record", .run = record_run, .undo = record_undo},
    {.name = "find-dest", .run = find_run},
    /* The commit: from here the migration has its own operation. */
    {.name = "hand-over", .run = hand_over_run, .probe = hand_over_probe},
    {.name = NULL},
};

const struct op_type conduct_type = {
    .name = "conduct",
    .steps = conduct_steps,
    .save = conduct_save,
    .load = conduct_load,
    .free_data = conduct_free,
    .finished = conduct_finished,
};

struct start_call {
    void (*done)(void *aux, struct error *error, struct object *record);
    void *aux;
};

/* From now on the operation tells. */
static void
conduct_accepted(void *aux, struct op *op, struct error *error)
{
    struct start_call *call = aux;

    if (error) {
        call->done(call->aux, error, NULL);
    } else {
        struct conduct *c = op_data(op);
        c->done = call->done;
        c->aux = call->aux;
    }
    free(call);
}

void
conduct_start(struct agent *agent, const struct conduct_request *request,
              const struct log_context *log,
              void (*done)(void *aux, struct error *error,
                           struct object *record),
              void *aux)
{
    struct conduct *c = xzalloc(sizeof *c);
    struct start_call *call = xzalloc(sizeof *call);

    c->agent = agent;
    c->context = json_copy(request->context);
    c->instance = object_copy(request->instance);
    c->record = new_record(agent, request);
    c->wanted = xstrdup_null(request->dest);
    c->block_migration = request->block_migration;
    c->disk_over_commit = request->disk_over_commit;
    c->kind = request->kind;
    migrate_settings_copy(&c->settings, request->settings);
    call->done = done;
    call->aux = aux;
    AUTO_FREE key = xasprintf(CONDUCT_KEY, object_string(c->record, "uuid"));
    op_start(agent->ops, &conduct_type, key, log, c, conduct_accepted, call);
}

bool
conduct_is_under_way(struct agent *agent, const char *uuid)
{
    AUTO_FREE key = xasprintf(CONDUCT_KEY, uuid);

    return op_find(agent->ops, key);
}

/* The claim: of two who want to move it one gets the task state. */

static void
claimed(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && instance) {
        struct conduct *c = op_data(op);
        object_free(c->instance);
        c->instance = steal(&instance);
    }
    object_free(instance);
    op_ticket_done(ticket, error);
}

static void
claim_run(struct op *op, struct op_ticket *ticket)
{
    static const char *const expected[] = {"", NULL};
    struct conduct *c = op_data(op);
    struct records *records = c->agent->records;

    object_set_string(c->instance, "task_state", "migrating");
    records->ops->instance_save(records->state, c->context, c->instance,
                                expected, claimed, ticket);
}

static void
released(void *aux, struct error *error, struct object *instance)
{
    object_free(instance);
    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE ||
        error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(error); /* It was never claimed, or is free again. */
        error = NULL;
    }
    op_ticket_done(aux, error);
}

/* Not if the claim itself was refused: then it is another's. */
static void
claim_undo(struct op *op, struct op_ticket *ticket)
{
    static const char *const expected[] = {"migrating", NULL};
    struct conduct *c = op_data(op);
    struct records *records = c->agent->records;

    if (error_code(op_error(op)) == ERR_UNEXPECTED_TASK_STATE) {
        op_ticket_done(ticket, NULL);
        return;
    }
    /* After a restart it says what it said before the claim. */
    object_set_null(c->instance, "task_state");
    object_set_changed(c->instance, "task_state");
    records->ops->instance_save(records->state, c->context, c->instance,
                                expected, released, ticket);
}

static void
recorded(void *aux, struct error *error, struct object *record)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && record) {
        struct conduct *c = op_data(op);
        object_free(c->record);
        c->record = steal(&record);
    }
    object_free(record);
    op_ticket_done(ticket, error);
}

static void
record_run(struct op *op, struct op_ticket *ticket)
{
    struct conduct *c = op_data(op);
    struct records *records = c->agent->records;

    records->ops->migration_create(records->state, c->context, c->record,
                                   recorded, ticket);
}

static void
record_closed(void *aux, struct error *error, struct object *record)
{
    object_free(record);
    if (error_code(error) == ERR_MIGRATION_NOT_FOUND) {
        error_free(error); /* It was never made. */
        error = NULL;
    }
    op_ticket_done(aux, error);
}

static void
record_undo(struct op *op, struct op_ticket *ticket)
{
    struct conduct *c = op_data(op);
    struct records *records = c->agent->records;

    object_set_string(c->record, "status", "error");
    object_set_string(c->record, "error", error_message(op_error(op)));
    records->ops->migration_save(records->state, c->context, c->record,
                                 record_closed, ticket);
}

static void
found(void *aux, struct error *error, char *dest, struct object *data,
      struct json *rules)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    json_free(rules);
    if (op && !error) {
        struct conduct *c = op_data(op);
        c->dest = steal(&dest);
        c->data = steal(&data);
        object_set_string(c->record, "dest_compute", c->dest);
        object_set_string(c->record, "dest_node", c->dest);
        object_set_string(c->record, "source_node",
                          object_string(c->instance, "node"));
    }
    free(dest);
    object_free(data);
    op_ticket_done(ticket, error);
}

static void
find_run(struct op *op, struct op_ticket *ticket)
{
    struct conduct *c = op_data(op);
    struct placement_request request = {
        .context = c->context,
        .instance = c->instance,
        .dest = c->wanted,
        .block_migration = c->block_migration,
        .disk_over_commit = c->disk_over_commit,
        .migration = c->record,
        .kind = c->kind,
    };

    placement_find(c->agent, &request, op_log(op), found, ticket);
}

static void
handed_over(void *aux, struct op *migration UNUSED, struct error *error)
{
    if (error_code(error) == ERR_INVALID) {
        error_free(error); /* It was handed over before. */
        error = NULL;
    }
    op_ticket_done(aux, error);
}

static void
hand_over_run(struct op *op, struct op_ticket *ticket)
{
    struct conduct *c = op_data(op);
    struct migrate_source_request request = {
        .context = json_copy(c->context),
        .instance = object_copy(c->instance),
        .record = object_copy(c->record),
        .data = object_copy(c->data),
        .dest = c->dest,
        .settings = &c->settings,
        .kind = c->kind,
    };

    migrate_source_start(c->agent, &request, op_log(op), handed_over, ticket);
}

static void
hand_over_probe(struct op *op, struct op_ticket *ticket)
{
    struct conduct *c = op_data(op);
    const char *uuid = object_string(c->record, "uuid");
    bool handed = op_find(c->agent->ops, uuid) ||
                  op_is_known_finished(c->agent->ops, uuid);

    op_ticket_answer(ticket, handed ? PROBE_YES : PROBE_NO);
}

/* The journal's side. */

static struct json *
conduct_save(const void *data)
{
    const struct conduct *c = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(c->context));
    json_set(json, "instance", json_copy(object_json(c->instance)));
    json_set(json, "migration", json_copy(object_json(c->record)));
    json_set(json, "migrate_data",
             c->data ? json_copy(object_json(c->data)) : NULL);
    json_set_string(json, "wanted", c->wanted);
    json_set_string(json, "dest", c->dest);
    json_set_int(json, "block_migration", c->block_migration);
    json_set_int(json, "disk_over_commit", c->disk_over_commit);
    json_set(json, "settings", migrate_settings_format(&c->settings));
    json_set_string(json, "kind", migrate_kind_word(c->kind));
    return json;
}

static struct error *
conduct_load(void *aux, const struct json *json, void **ret_data)
{
    struct conduct *c = xzalloc(sizeof *c);
    const struct json *data = json_get(json, "migrate_data");

    c->agent = aux;
    c->context = json_copy(json_get(json, "context"));
    c->wanted = xstrdup_null(json_string_of(json, "wanted"));
    c->dest = xstrdup_null(json_string_of(json, "dest"));
    c->block_migration = (int)json_int_of(json, "block_migration");
    c->disk_over_commit = (int)json_int_of(json, "disk_over_commit");
    struct error *error =
        migrate_settings_parse(json_get(json, "settings"), &c->settings);
    if (!error) {
        error = migrate_kind_parse(json_string_of(json, "kind"), &c->kind);
    }
    if (!error) {
        error =
            object_parse(json_get(json, "instance"), "Instance", &c->instance);
    }
    if (!error) {
        error =
            object_parse(json_get(json, "migration"), "Migration", &c->record);
    }
    if (!error && data && !json_is_null(data)) {
        error = object_parse(data, NULL, &c->data);
    }
    if (error) {
        conduct_free(c);
        return error;
    }
    *ret_data = c;
    return NULL;
}

static void
conduct_free(void *data)
{
    struct conduct *c = data;

    if (!c) {
        return;
    }
    if (c->done) {
        c->done(c->aux, error_new(ERR_CANCELLED, "the agent is stopping"),
                NULL);
    }
    json_free(c->context);
    object_free(c->instance);
    object_free(c->record);
    object_free(c->data);
    migrate_settings_close(&c->settings);
    free(c->wanted);
    free(c->dest);
    free(c);
}

static void
conduct_finished(struct op *op, const struct error *error)
{
    struct conduct *c = op_data(op);

    if (error) {
        log_warn(op_log(op), "instance '%s' does not move: %s",
                 object_string(c->instance, "display_name"),
                 error_message(error));
    }
    if (c->done) {
        c->done(c->aux, error_copy(error),
                error ? NULL : object_copy(c->record));
        c->done = NULL;
    }
}

static struct object *
new_record(const struct agent *agent, const struct conduct_request *request)
{
    const struct object *instance = request->instance;
    struct object *record = object_create("Migration", "1.7");
    char uuid[UUID_SIZE];

    object_set_string(record, "uuid",
                      request->uuid ? request->uuid : uuid_generate_text(uuid));
    object_set_string(record, "instance_uuid", object_string(instance, "uuid"));
    object_set_string(record, "instance_name",
                      object_string(instance, "display_name"));
    object_set_string(record, "source_compute", agent->conf->host);
    object_set_string(record, "source_node", object_string(instance, "node"));
    object_set_null(record, "dest_compute");
    object_set_null(record, "dest_node");
    object_set_null(record, "dest_host");
    object_set_string(record, "status", "accepted");
    object_set_string(record, "migration_type",
                      migrate_kind_type(request->kind));
    object_set_bool(record, "hidden", false);
    object_set_bool(record, "cross_cell_move", false);
    object_set_int(record, "old_instance_type_id",
                   object_int(instance, "instance_type_id"));
    object_set_int(record, "new_instance_type_id",
                   object_int(instance, "instance_type_id"));
    object_set(record, "user_id", json_copy(object_get(instance, "user_id")));
    object_set(record, "project_id",
               json_copy(object_get(instance, "project_id")));
    return record;
}
