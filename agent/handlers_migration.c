#include <config.h>

#include "agent/handlers.h"

#include "agent/call.h"
#include "agent/check/check.h"
#include "agent/incoming/incoming.h"
#include "agent/migrate/data.h"
#include "agent/migrate/migration.h"
#include "agent/migrate/rules.h"
#include "agent/nova/group_policy.h"
#include "agent/nova/numa_claim.h"
#include "rpc/utf8.h"

LOG_MODULE(handlers);

static int tristate(const struct request *request, const char *name,
                    struct error **error);

/* Checks. */

static void
answer_data(void *aux, struct error *error, struct object *data)
{
    struct json *result = data ? json_copy(object_json(data)) : NULL;

    object_free(data);
    call_end(aux, result, error);
}

/* What the guest gets of this host's nodes, if the source waits for that and
 * writes it into the guest's definition. (2.8) */
static void
destination_checked(void *aux, struct error *error, struct object *data)
{
    struct call *call = aux;
    struct nova *nova = call->agent->nova;
    const struct numa_claim_request request = {
        .context = request_context(call->request),
        .instance = object_string(call->instance, "uuid"),
        .migration = call->migration,
        .limits = request_arg(call->request, "limits"),
        .data = data,
    };

    if (!error && nova && migrate_data_src_supports_numa_live_migration(data)) {
        numa_claim(nova, &request, answer_data, call);
        object_free(data);
    } else {
        answer_data(call, error, data);
    }
}

/* Only a cloud has server groups. */
static void
check_group(struct call *call, attach_done *checked)
{
    if (call->agent->nova) {
        group_policy_check(call->agent->nova, request_context(call->request),
                           object_string(call->instance, "uuid"), checked,
                           call);
    } else {
        checked(call, NULL);
    }
}

static void
destination_group_checked(void *aux, struct error *error)
{
    struct call *call = aux;
    const struct request *request = call->request;

    if (error) {
        AUTO_FREE reason = error_text(error);
        error_free(error);
        call_end(call, NULL,
                 error_new(ERR_MIGRATION_PRE_CHECK,
                           "Failed to validate instance group policy due to: "
                           "%s",
                           reason));
        return;
    }
    struct check_dest_request asked = {
        .context = request_context(request),
        .instance = call->instance,
        .block_migration = tristate(request, "block_migration", &error),
        .disk_over_commit = tristate(request, "disk_over_commit", &error),
        .makes_claims = call->agent->nova && call->migration &&
                        migrate_rules_has_numa(call->instance),
    };
    if (error) {
        call_end(call, NULL, error);
    } else {
        check_dest(call->agent, &asked, request_log(request),
                   destination_checked, call);
    }
}

static void
check_can_live_migrate_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (call) {
        check_group(call, destination_group_checked);
    }
}

/* Nobody would have claimed nodes for it: it would come with those of this
 * host, other guests' or not. */
static struct error *
agree_on_numa(const struct call *call, struct object *data)
{
    const struct conf *conf = call->agent->conf;

    if (!call->agent->nova || !migrate_rules_has_numa(call->instance)) {
        return NULL;
    }
    if (migrate_data_dst_supports_numa_live_migration(data)) {
        migrate_data_set_src_supports_numa_live_migration(data, true);
    } else if (!conf->workarounds.enable_numa_live_migration) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "instance %s has a NUMA topology, of which its "
                         "destination makes no claims "
                         "(workarounds.enable_numa_live_migration moves it "
                         "without)",
                         object_string(call->instance, "uuid"));
    }
    return NULL;
}

static void
check_can_live_migrate_source(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);
    struct object *data = NULL;

    if (!call) {
        return;
    }
    struct error *error =
        migrate_data_parse(request_arg(request, "dest_check_data"), &data);
    error = error ? error : agree_on_numa(call, data);
    call->data = data;
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    struct check_source_request asked = {
        .context = request_context(request),
        .instance = call->instance,
        .data = data,
        .dest = object_string(data, CHECK_DEST_FIELD),
    };
    check_source(call->agent, &asked, request_log(request), answer_data, call);
}

static void
shared_storage_checked(void *aux, struct error *error, bool answer)
{
    call_end(aux, error ? NULL : json_bool(answer), error);
}

static void
check_instance_shared_storage(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_NOTIFY);

    if (!call) {
        return;
    }
    const char *path = json_string_of(request_arg(request, "data"), "filename");
    if (!path || utf8_has_nul(path)) {
        call_end(call, NULL, error_new(ERR_VALUE, "data names no file"));
        return;
    }
    check_shared_file(call->agent, path, shared_storage_checked, call);
}

/* The destination's part. */

static struct incoming_request
incoming_request_of(struct call *call)
{
    const struct request *request = call->request;

    return (struct incoming_request){
        .context = json_copy(request_context(request)),
        .instance = object_copy(call->instance),
        .data = steal(&call->data),
        .disks = xstrdup_null(json_get_string(request_arg(request, "disk"))),
    };
}

static void
pre_group_checked(void *aux, struct error *error)
{
    struct call *call = aux;

    if (error) {
        call_end(call, NULL, error);
        return;
    }
    struct incoming_request request = incoming_request_of(call);
    incoming_prepare(call->agent, &request, request_log(call->request),
                     answer_data, call);
}

/* Once more, as others may have come since: this time it is on the records that
 * it comes. */
static void
pre_live_migration_start(struct call *call)
{
    check_group(call, pre_group_checked);
}

static void
pre_live_migration(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);

    if (!call) {
        return;
    }
    struct error *error =
        migrate_data_parse(request_arg(request, "migrate_data"), &call->data);
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    call_run(call, pre_live_migration_start);
}

static void
post_live_migration_start(struct call *call)
{
    struct incoming_request request = incoming_request_of(call);

    log_info(request_log(call->request), "post operation of migration started");
    incoming_take_over(call->agent, &request, request_log(call->request),
                       call_end_aux, call);
}

static void
post_live_migration_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);

    if (call) {
        call_run(call, post_live_migration_start);
    }
}

static void
rollback_live_migration_start(struct call *call)
{
    struct incoming_request request = incoming_request_of(call);

    incoming_roll_back(call->agent, &request, request_log(call->request),
                       call_end_aux, call);
}

static void
rollback_live_migration_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);
    struct error *error = NULL;

    if (!call) {
        return;
    }
    const struct json *data = request_arg(request, "migrate_data");
    if (data) {
        error = migrate_data_parse(data, &call->data);
    }
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    incoming_cut_short(call->agent, object_string(call->instance, "uuid"));
    call_run(call, rollback_live_migration_start);
}

/* Never of one that runs here; and only what this agent connected itself. */
static void
unconnected_guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct call *call = aux;
    bool is_here = guest && (guest->presence == GUEST_ACTIVE ||
                             guest->presence == GUEST_POSTCOPY ||
                             guest->presence == GUEST_POSTCOPY_FAILED);

    guest_free(guest);
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(steal(&error));
    }
    if (!error && is_here) {
        error = error_new(ERR_MIGRATION, "the guest runs here");
    }
    AUTO_OBJECT data =
        error ? NULL
              : incoming_volume(
                    call->agent, object_string(call->instance, "uuid"),
                    json_get_string(request_arg(call->request, "volume_id")));
    if (error || !data) {
        call_end(call, NULL, error);
        return;
    }
    volume_host.disconnect_dest(call->agent, request_context(call->request),
                                call->instance, data, call_end_aux, call);
}

static void
remove_volume_connection(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_NOTIFY);

    if (call) {
        driver_guest_get(call->agent->driver,
                         object_string(call->instance, "uuid"),
                         unconnected_guest_known, call);
    }
}

static void
drop_move_claim_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_FAULT | WRAP_NOTIFY);

    if (call) {
        if (call->agent->nova) {
            numa_claim_drop(call->agent->nova,
                            object_string(call->instance, "uuid"));
        }
        call_end(call, NULL, NULL);
    }
}

/* The source's part. */

static void
failure_recorded(void *aux UNUSED, struct error *error, struct object *record)
{
    object_free(record);
    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL,
                    "a migration is not marked as failed: %s",
                    error_message(error));
        error_free(error);
    }
}

/* What did not even begin is in error.  Records of our own have none of it. */
static void
end_live_migration(struct call *call, struct error *error)
{
    struct records *records = call->agent->records;

    if (error && call->migration && call->agent->nova) {
        object_set_string(call->migration, "status", "error");
        records->ops->migration_save(records->state,
                                     request_context(call->request),
                                     call->migration, failure_recorded, NULL);
    }
    call_end(call, NULL, error);
}

static void
live_migration_accepted(void *aux, struct op *op UNUSED, struct error *error)
{
    struct call *call = aux;

    if (error_code(error) == ERR_INVALID) {
        /* Delivered twice: the migration is under way, or was. (8.3) */
        log_info(request_log(call->request), "ignored: %s",
                 error_message(error));
        error_free(error);
        error = NULL;
    }
    end_live_migration(call, error);
}

static void
live_migration(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    const char *dest = json_get_string(request_arg(request, "dest"));
    struct error *error =
        migrate_data_parse(request_arg(request, "migrate_data"), &call->data);
    if (!error && (!dest || !call->migration ||
                   !object_string(call->migration, "uuid"))) {
        error = error_new(ERR_VALUE,
                          "live_migration needs a destination and a migration");
    }
    if (error) {
        end_live_migration(call, error);
        return;
    }
    struct migrate_source_request start = {
        .context = json_copy(request_context(request)),
        .instance = object_copy(call->instance),
        .record = object_copy(call->migration),
        .data = steal(&call->data),
        .dest = dest,
    };
    migrate_source_start(call->agent, &start, request_log(request),
                         live_migration_accepted, call);
}

static struct error *
no_active_migration(const struct object *instance)
{
    return error_set_arg(
        error_new(ERR_NO_ACTIVE_MIGRATION, "no migration of it runs here"),
        "instance_id", object_string(instance, "uuid"));
}

static void
abort_with_record(void *aux, struct error *error, struct object *record)
{
    struct call *call = aux;
    struct op *op = NULL;

    if (!error) {
        op = op_find(call->agent->ops, object_string(record, "uuid"));
    }
    if (!op) {
        notify_instance(call->agent->notify, request_context(call->request),
                        NOTIFY_ABORT, NOTIFY_START, call->instance);
    }
    if (!error && !op) {
        AUTO_FREE id = xasprintf("%lld", (long long)object_int(record, "id"));
        error = error_new(ERR_INVALID_MIGRATION_STATE, "it is not under way");
        error_set_arg(error, "migration_id", id);
        error_set_arg(error, "instance_uuid",
                      object_string(call->instance, "uuid"));
        error_set_arg(error, "state", object_string(record, "status"));
        error_set_arg(error, "method", "abort live migration");
    }
    object_free(record);
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    migrate_source_abort(op, request_context(call->request), call_end_aux,
                         call);
}

static void
live_migration_abort(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    const struct json *id = request_arg(request, "migration_id");
    if (!json_is_int(id)) {
        call_end(call, NULL,
                 error_new(ERR_VALUE, "migration_id is no integer"));
        return;
    }

    /* A running one is known here, whoever keeps the records. */
    struct op *op =
        migrate_source_find(call->agent, object_string(call->instance, "uuid"));
    struct migration *m = op ? op_data(op) : NULL;
    if (m && object_int(m->record, "id") == json_get_int(id)) {
        migrate_source_abort(op, request_context(call->request), call_end_aux,
                             call);
        return;
    }
    struct records *records = call->agent->records;
    records->ops->migration_get(records->state, request_context(request),
                                json_get_int(id), NULL, abort_with_record,
                                call);
}

static void
live_migration_force_complete(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    struct op *op =
        migrate_source_find(call->agent, object_string(call->instance, "uuid"));
    if (!op) {
        notify_instance(call->agent->notify, request_context(request),
                        NOTIFY_FORCE_COMPLETE, NOTIFY_START, call->instance);
        call_end(call, NULL, no_active_migration(call->instance));
        return;
    }
    call_end(call, NULL,
             migrate_source_force_complete(op, request_context(request)));
}
const struct rpc_method handlers_migration_methods[] = {
    {"check_can_live_migrate_destination",
     {CALL_ARG("instance"), CALL_ARG("block_migration"),
      CALL_ARG("disk_over_commit"), CALL_OPTIONAL("migration"),
      CALL_OPTIONAL("limits")},
     check_can_live_migrate_destination},
    {"check_can_live_migrate_source",
     {CALL_ARG("instance"), CALL_ARG("dest_check_data")},
     check_can_live_migrate_source},
    {"check_instance_shared_storage",
     {CALL_ONLY_5("instance"), CALL_ARG("data")},
     check_instance_shared_storage},
    {"pre_live_migration",
     {CALL_ARG("instance"), CALL_ONLY_5("block_migration"), CALL_ARG("disk"),
      CALL_ARG("migrate_data")},
     pre_live_migration},
    {"live_migration",
     {CALL_ARG("dest"), CALL_ARG("instance"), CALL_ARG("block_migration"),
      CALL_ARG("migration"), CALL_ARG("migrate_data")},
     live_migration},
    {"post_live_migration_at_destination",
     {CALL_ARG("instance"), CALL_ARG("block_migration")},
     post_live_migration_at_destination},
    {"rollback_live_migration_at_destination",
     {CALL_ARG("instance"), CALL_ARG("destroy_disks"),
      CALL_ARG("migrate_data")},
     rollback_live_migration_at_destination},
    {"remove_volume_connection",
     {CALL_ARG("instance"), CALL_ARG("volume_id")},
     remove_volume_connection},
    {"drop_move_claim_at_destination",
     {CALL_ARG("instance")},
     drop_move_claim_at_destination},
    {"live_migration_abort",
     {CALL_ARG("instance"), CALL_ARG("migration_id")},
     live_migration_abort},
    {"live_migration_force_complete",
     {CALL_ARG("instance")},
     live_migration_force_complete},
    {.name = NULL},
};

/* 1, 0, or -1 for null. */
static int
tristate(const struct request *request, const char *name, struct error **error)
{
    const struct json *value = request_arg(request, name);

    if (!value) {
        return -1;
    }
    if (!json_is_bool(value) && !*error) {
        *error = error_new(ERR_VALUE, "%s is no Boolean", name);
    }
    return json_is_true(value);
}
