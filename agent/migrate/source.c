#include <config.h>

#include "agent/migrate/migration.h"

#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/attachments.h"
#include "agent/drain/drain.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plugs.h"
#include "agent/migrate/rules.h"
#include "agent/nova/nova.h"
#include "agent/peer.h"
#include "agent/relocate.h"

LOG_MODULE(migrate);

static void list_disks_run(struct op *op, struct op_ticket *ticket);

/* Read downwards it is a migration, read upwards from where it failed it is
 * the roll-back of spec/live-migration 6.2. */
const struct step migrate_source_steps[] = {
    {.name = "accept",
     .run = migration_accept,
     .undo = migration_settle,
     .begins_anew = true},
    {.name = "queue",
     .run = migration_queue_run,
     .undo = migration_queue_undo,
     .cancel = migration_queue_cancel,
     .begins_anew = true},
    {.name = "prepare",
     .run = migration_prepare,
     .undo = migration_volumes_undo},
    {.name = "list-disks", .run = list_disks_run, .timeout_s = 120},
    {.name = "reserve-dest",
     .run = migration_reserve_run,
     .undo = migration_reserve_undo,
     .cancel = migration_reserve_cancel},
    {.name = "start", .run = migration_start},
    /* The commit: once the guest runs over there, it must not run here. */
    {.name = "transfer",
     .run = migration_transfer_run,
     .undo = migration_transfer_undo,
     .probe = migration_transfer_probe,
     .readopt = migration_transfer_readopt,
     .cancel = migration_transfer_cancel},
    {.name = "announce-post", .run = migration_announce_post},
    {.name = "activate-ports",
     .run = migration_activate,
     .timeout_s = 300,
     .may_be_left = true},
    {.name = "finish-dest", .run = migration_finish_dest},
    {.name = "release-volumes",
     .run = migration_release_volumes,
     .timeout_s = 300,
     .may_be_left = true,
     .strips_host = true},
    {.name = "release-ports",
     .run = migration_release_vifs,
     .timeout_s = 300,
     .may_be_left = true,
     .strips_host = true},
    {.name = "release-guest",
     .run = migration_release_guest,
     .timeout_s = 300,
     .may_be_left = true,
     .strips_host = true},
    {.name = "announce-end", .run = migration_announce_end},
    {.name = "revoke-consoles",
     .run = migration_revoke_consoles,
     .timeout_s = 300,
     .may_be_left = true},
    {.name = "complete", .run = migration_complete, .timeout_s = 300},
    {.name = "release-allocations",
     .run = migration_release_allocations,
     .timeout_s = 300,
     .may_be_left = true},
    {.name = "forget", .run = migration_forget, .timeout_s = 300},
    {.name = NULL},
};

const struct op_type migrate_source_type = {
    .name = "live-migration",
    .steps = migrate_source_steps,
    .save = migration_save,
    .load = migration_load,
    .free_data = migration_free,
    .finished = migration_finished,
};

void
migrate_source_start(
    struct agent *agent, struct migrate_source_request *request,
    const struct log_context *log,
    void (*accepted)(void *aux, struct op *op, struct error *error), void *aux)
{
    struct migration *m = xzalloc(sizeof *m);
    struct op *other =
        migrate_source_find(agent, object_string(request->instance, "uuid"));

    m->agent = agent;
    m->context = steal(&request->context);
    m->instance = steal(&request->instance);
    m->record = steal(&request->record);
    m->data = steal(&request->data);
    m->dest = xstrdup(request->dest);
    migrate_settings_copy(&m->settings, request->settings);
    migrate_numbers_init(&m->numbers);
    m->known_bandwidth_mib_s = -1;
    if (request->kind != MIGRATE_LIVE) {
        m->relocation = relocation_create(request->kind);
    }
    if (other && !str_eq(op_key(other), object_string(m->record, "uuid"))) {
        migration_free(m);
        accepted(aux, NULL,
                 error_new(ERR_MIGRATION, "migration '%s' moves it already",
                           op_key(other)));
        return;
    }
    op_start(agent->ops, m->relocation ? &relocate_type : &migrate_source_type,
             object_string(m->record, "uuid"), log, m, accepted, aux);
}

/* What was before its commit turns back, unless it may have happened. */
static bool
goes_on(const struct op *op)
{
    const char *step = op_step_name(op);

    return op_is_committed(op) ||
           (!op_is_going_back(op) &&
            (str_eq(step, "transfer") || str_eq(step, "give-up")));
}

void
migrate_source_take_slots(struct agent *agent)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        struct migration *m = migrate_source_of(op);

        if (m && goes_on(op)) {
            m->slot = slots_take(agent->outgoing);
        }
    }
}

struct op *
migrate_source_find(struct agent *agent, const char *instance_uuid)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        const struct migration *m = migrate_source_of(op);

        if (m && str_eq(object_string(m->instance, "uuid"), instance_uuid)) {
            return op;
        }
    }
    return NULL;
}

struct migration *
migrate_source_of(struct op *op)
{
    const char *type = op_type_name(op);

    return str_eq(type, migrate_source_type.name) ||
                   str_eq(type, relocate_type.name)
               ? op_data(op)
               : NULL;
}

/* Nova has notifications of live migrations only. */
static void
announce(const struct migration *m, const struct json *context,
         enum notify_event event, enum notify_phase phase)
{
    if (!m->relocation) {
        notify_instance(m->agent->notify, context, event, phase, m->instance);
    }
}

static struct error *
too_late(const struct migration *m, const char *reason, const char *method)
{
    struct error *error = error_new(ERR_INVALID_MIGRATION_STATE, "%s", reason);
    AUTO_FREE id = xasprintf("%lld", (long long)object_int(m->record, "id"));

    error_set_arg(error, "migration_id", id);
    error_set_arg(error, "instance_uuid", object_string(m->instance, "uuid"));
    error_set_arg(error, "state", object_string(m->record, "status"));
    return error_set_arg(error, "method", method);
}

struct abort_call {
    struct agent *agent;
    struct json *context;
    struct object *instance;
    bool is_silent;
    attach_done *done;
    void *aux;
};

static void
abort_asked(void *aux, struct error *error)
{
    struct abort_call *call = aux;

    if (!error && !call->is_silent) {
        notify_instance(call->agent->notify, call->context, NOTIFY_ABORT,
                        NOTIFY_END, call->instance);
    }
    call->done(call->aux, error);
    json_free(call->context);
    object_free(call->instance);
    free(call);
}

void
migrate_source_abort(struct op *op, const struct json *context,
                     attach_done *done, void *aux)
{
    struct migration *m = op_data(op);
    struct abort_call *call = xzalloc(sizeof *call);

    call->agent = m->agent;
    call->context = json_copy(context);
    call->instance = object_copy(m->instance);
    call->is_silent = m->relocation;
    call->done = done;
    call->aux = aux;
    log_info(op_log(op), "abort was asked for");
    announce(m, context, NOTIFY_ABORT, NOTIFY_START);
    if (m->monitor && !migrate_monitor_is_postcopy(m->monitor)) {
        migrate_monitor_abort(m->monitor, abort_asked, call);
    } else if (!m->monitor &&
               op_cancel(op, error_new(ERR_CANCELLED, "aborted on request"))) {
        abort_asked(call, NULL);
    } else {
        abort_asked(call,
                    too_late(m, "too late to abort", "abort live migration"));
    }
}

struct error *
migrate_source_force_complete(struct op *op, const struct json *context)
{
    struct migration *m = op_data(op);

    announce(m, context, NOTIFY_FORCE_COMPLETE, NOTIFY_START);
    if (!m->monitor) {
        return too_late(m, "no transfer is running", "force complete");
    }
    migrate_monitor_force_complete(m->monitor);
    announce(m, context, NOTIFY_FORCE_COMPLETE, NOTIFY_END);
    return NULL;
}

struct set_call {
    attach_done *done;
    void *aux;
};

static void
settings_saved(void *aux, struct error *error)
{
    struct set_call *call = aux;

    call->done(call->aux, error);
    free(call);
}

void
migrate_source_set(struct op *op, const struct migrate_settings *settings,
                   attach_done *done, void *aux)
{
    struct migration *m = op_data(op);
    AUTO_FREE text = NULL;

    if (op_is_going_back(op) || op_is_committed(op) ||
        (m->monitor && migrate_monitor_is_postcopy(m->monitor))) {
        done(aux, too_late(m, "too late to change it", "set"));
        return;
    }
    migrate_settings_change(&m->settings, settings);
    if (settings->bandwidth_mib_s >= 0) {
        migrate_bandwidth_change(m);
    }
    if (settings->downtime_ms >= 0 && m->monitor) {
        migrate_monitor_hold_downtime(m->monitor,
                                      (unsigned)settings->downtime_ms);
    }
    AUTO_JSON json = migrate_settings_format(&m->settings);
    text = json_print(json, NULL);
    log_info(op_log(op), "settings are now %s", text);
    struct set_call *call = xzalloc(sizeof *call);
    call->done = done;
    call->aux = aux;
    op_save(op, settings_saved, call);
}

void
migrate_source_event(struct agent *agent, const struct driver_event *event)
{
    bool is_of_all = event->type == DRIVER_EVENT_CONNECTED;

    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        const struct migration *m = migrate_source_of(op);

        if (!m || (!is_of_all &&
                   !str_eq(object_string(m->instance, "uuid"), event->uuid))) {
            continue;
        }
        if (m->monitor) {
            migrate_monitor_event(m->monitor, event);
        } else if (m->relocation) {
            relocation_event(op, event);
        }
    }
}

/* Records. */

struct object *
migration_told_data(const struct migration *m)
{
    AUTO_OBJECT data = m->data ? object_copy(m->data) : migrate_data_create();

    migrate_data_set_migration(data, m->record);
    return steal(&data);
}

static void
status_saved(void *aux, struct error *error, struct object *record)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && record) {
        struct migration *m = op_data(op);
        object_free(m->record);
        m->record = steal(&record);
    }
    object_free(record);
    op_ticket_done(ticket, error_wrap(error, "save the migration"));
}

void
migration_set_status(struct op *op, const char *status,
                     struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;

    log_info(op_log(op), "migration is %s", status);
    object_set_string(m->record, "status", status);
    if (m->agent->local) {
        /* Nova's record has no room for them; ours has. */
        object_set(m->record, "settings",
                   migrate_settings_format(&m->settings));
    }
    records->ops->migration_save(records->state, m->context, m->record,
                                 status_saved, ticket);
}

/* Nova's record has no room for these; ours has. */
void
migration_keep_numbers(struct op *op)
{
    struct migration *m = op_data(op);

    if (m->agent->local) {
        m->numbers.total_ms = (int64_t)op_age_ms(op);
        object_set(m->record, "stats", migrate_numbers_format(&m->numbers));
    }
}

static void
task_noted(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    object_free(instance);
    if (error || !op) {
        op_ticket_done(ticket, error);
        return;
    }
    migration_set_status(op, "queued", ticket);
}

/* Nova's API has set the task state; where the records are ours the conductor
 * may be anybody's, who has not. */
void
migration_accept(struct op *op, struct op_ticket *ticket)
{
    static const char *const expected[] = {"", "migrating", NULL};
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;

    if (!m->agent->local) {
        migration_set_status(op, "queued", ticket);
        return;
    }
    /* Nova's record has no room for a name; ours has. */
    object_set_string(m->record, "instance_name",
                      object_string(m->instance, "display_name"));
    AUTO_OBJECT claim = object_copy(m->instance);
    object_clear_changes(claim);
    object_set_null(claim, "task_state");
    object_set_string(claim, "task_state", "migrating");
    records->ops->instance_save(records->state, m->context, claim, expected,
                                task_noted, ticket);
}

/* The end of every roll-back: the instance is free again, the migration is
 * over.  The status comes last: who sees it sees the rest. */
static void
settled(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    object_free(instance);
    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE ||
        error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        /* Somebody settled it before us, or this is the second try. */
        if (op) {
            log_info(op_log(op), "instance is settled already: %s",
                     error_message(error));
        }
        error_free(error);
        error = NULL;
    }
    if (error || !op) {
        op_ticket_done(ticket, error);
        return;
    }

    struct migration *m = op_data(op);
    if (m->announced) {
        notify_instance(m->agent->notify, m->context, NOTIFY_ROLLBACK,
                        NOTIFY_END, m->instance);
    }
    if (m->agent->local) {
        object_set_string(m->record, "error", error_message(op_error(op)));
        migration_keep_numbers(op);
    }
    bool cancelled = error_code(op_error(op)) == ERR_CANCELLED;
    migration_set_status(op, cancelled ? "cancelled" : "failed", ticket);
}

static void
claim_dropped(void *aux, struct error *error, struct object *instance)
{
    static const char *const expected[] = {"migrating", NULL};
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        settled(ticket, error, instance);
        return;
    }
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;
    object_free(m->instance);
    m->instance = steal(&instance);
    records->ops->instance_save(records->state, m->context, m->instance,
                                expected, settled, ticket);
}

static void
drop_claim(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;

    /* Saved whatever the request said of them: what is stored is newer. */
    object_set_null(m->instance, "task_state");
    object_set_changed(m->instance, "task_state");
    object_set_int(m->instance, "progress", 0);
    object_set_changed(m->instance, "progress");
    /* The conductor's choice of a zone is void. */
    object_clear_change(m->instance, "availability_zone");
    records->ops->instance_drop_claim(records->state, m->context, m->instance,
                                      claim_dropped, ticket);
}

/* A destination that does not answer counts by the records, of which the claim
 * is going now. */
static void
dest_told(void *aux, struct json **result UNUSED, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error && op) {
        log_warn(op_log(op), "'%s' is not told to drop what it claimed: %s",
                 ((struct migration *)op_data(op))->dest, error_message(error));
    }
    error_free(error);
    if (op) {
        drop_claim(op, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

/* The destination first: nova-compute looks into the claim to drop it. */
void
migration_settle(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    bool has_claim = !m->agent->local &&
                     migrate_data_src_supports_numa_live_migration(m->data);

    if (!has_claim || m->told_to_drop) {
        drop_claim(op, ticket);
        return;
    }
    m->told_to_drop = true;
    struct json *args = json_object();
    json_set(args, "instance", json_copy(object_json(m->instance)));
    peer_call(m->agent, m->dest, "drop_move_claim_at_destination", args,
              m->context, PEER_SHORT, dest_told, ticket);
}

/* The queue. */

static void
slot_granted(void *aux)
{
    struct migration *m = aux;

    if (m->slot_ticket) {
        op_ticket_done(steal(&m->slot_ticket), NULL);
    }
}

void
migration_queue_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    m->slot = slots_request(m->agent->outgoing, slot_granted, m);
    if (slot_is_granted(m->slot)) {
        op_ticket_done(ticket, NULL);
    } else {
        m->slot_ticket = ticket;
    }
}

void
migration_queue_cancel(struct op *op)
{
    struct migration *m = op_data(op);

    if (m->slot_ticket) {
        slot_release(steal(&m->slot));
        op_ticket_done(steal(&m->slot_ticket), NULL);
    }
}

/* Preparation. */

static void
attachments_noted(void *aux, struct error *error, struct json *attachments)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        json_free(attachments);
        op_ticket_done(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    json_free(m->attachments);
    m->attachments = attachments;
    migration_set_status(op, "preparing", ticket);
}

/* What the destination changes in the records is known here as it was. */
void
migration_prepare(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    const struct volume_ops *volumes = m->agent->volumes;

    if (volumes->note_source) {
        volumes->note_source(m->agent, m->context, m->instance,
                             attachments_noted, ticket);
    } else {
        migration_set_status(op, "preparing", ticket);
    }
}

struct object *
migration_attached_instance(const struct migration *m)
{
    struct object *instance = object_copy(m->instance);

    if (m->attachments) {
        object_set(instance, ATTACHMENTS_FIELD, json_copy(m->attachments));
        object_clear_change(instance, ATTACHMENTS_FIELD);
    }
    return instance;
}

void
migration_volumes_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    AUTO_OBJECT instance = migration_attached_instance(m);
    const char *uuid = object_string(m->instance, "uuid");

    if (m->attachments && migrate_source_find(m->agent, uuid) != op) {
        /* Left behind: what the records say may be another migration's. */
        op_ticket_done(ticket, NULL);
        return;
    }
    m->agent->volumes->restore_source(m->agent, m->context, instance, m->data,
                                      op_ticket_done_aux, ticket);
}

/* What the conductor arranges before it tells us, so that even a migration that
 * never leaves the queue has it: ports are bound to the destination, and what
 * is allotted to the instance is its migration's.  It is all tried again if
 * either cannot be taken back. */
struct unarranging {
    struct op_ticket *ticket;
    struct error *error;
};

static void
allocations_given_back(void *aux, struct error *error)
{
    struct unarranging *unarranging = aux;
    struct error *first = unarranging->error ? unarranging->error : error;

    if (first != error) {
        error_free(error);
    }
    op_ticket_done(unarranging->ticket, first);
    free(unarranging);
}

static void
ports_restored(void *aux, struct error *error)
{
    struct unarranging *unarranging = aux;
    struct op *op = op_ticket_op(unarranging->ticket);

    unarranging->error = error;
    if (!op) {
        allocations_given_back(unarranging, NULL);
        return;
    }
    struct migration *m = op_data(op);
    m->agent->allocations->give_back(
        m->agent, m->context, object_string(m->instance, "uuid"),
        object_string(m->record, "uuid"), allocations_given_back, unarranging);
}

void
migration_queue_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    AUTO_OBJECT data = migration_told_data(m);
    struct unarranging *unarranging = xzalloc(sizeof *unarranging);

    unarranging->ticket = ticket;
    m->agent->vifs->restore_source(m->agent, m->context, m->instance, data,
                                   ports_restored, unarranging);
}

static void
disks_listed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && !error) {
        struct migration *m = op_data(op);
        AUTO_OBJECT instance = migration_attached_instance(m);
        attachments_mark(instance, guest);
        error = migrate_rules_check_devices(guest);
        if (!error && migrate_data_block_migration(m->data)) {
            free(m->disks);
            m->disks = migrate_data_disks_format(guest);
        }
    }
    guest_free(guest);
    op_ticket_done(ticket, error);
}

static void
list_disks_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, object_string(m->instance, "uuid"),
                     disks_listed, ticket);
}

void
migration_start(struct op *op, struct op_ticket *ticket)
{
    migration_set_status(op, "running", ticket);
}

/* The journal's side. */

struct json *
migration_save(const void *data)
{
    const struct migration *m = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(m->context));
    json_set(json, "instance", json_copy(object_json(m->instance)));
    json_set(json, "migration", json_copy(object_json(m->record)));
    json_set(json, "migrate_data", json_copy(object_json(m->data)));
    json_set_string(json, "dest", m->dest);
    json_set_string(json, "disks", m->disks);
    if (m->attachments) {
        json_set(json, "attachments", json_copy(m->attachments));
    }
    json_set(json, "stats", migrate_numbers_format(&m->numbers));
    json_set_bool(json, "was_prepared", m->was_prepared);
    json_set_bool(json, "announced", m->announced);
    json_set_bool(json, "paused_here", m->paused_here);
    json_set_bool(json, "has_twin", m->has_twin);
    json_set(json, "settings", migrate_settings_format(&m->settings));
    json_set_bool(json, "bandwidth_is_due", m->bandwidth_is_due);
    json_set_int(json, "bandwidth", m->bandwidth_mib_s);
    json_set_int(json, "told_bandwidth", m->told_bandwidth_mib_s);
    json_set_int(json, "known_bandwidth", m->known_bandwidth_mib_s);
    json_set_bool(json, "bandwidth_is_by_hand", m->bandwidth_is_by_hand);
    if (m->relocation) {
        json_set(json, "relocation", relocation_save(m->relocation));
    }
    stamp_save(&m->transfer_started, json, "transfer_started");
    return json;
}

struct error *
migration_load(void *aux, const struct json *json, void **ret_data)
{
    struct migration *m = xzalloc(sizeof *m);

    m->agent = aux;
    m->context = json_copy(json_get(json, "context"));
    m->dest = xstrdup_null(json_string_of(json, "dest"));
    m->disks = xstrdup_null(json_string_of(json, "disks"));
    m->attachments = json_copy(json_get(json, "attachments"));
    migrate_numbers_parse(json_get(json, "stats"), &m->numbers);
    m->was_prepared = json_bool_of(json, "was_prepared");
    m->announced = json_bool_of(json, "announced");
    m->paused_here = json_bool_of(json, "paused_here");
    m->has_twin = json_bool_of(json, "has_twin");
    m->bandwidth_is_due = json_bool_of(json, "bandwidth_is_due");
    m->bandwidth_mib_s = (unsigned)json_int_of(json, "bandwidth");
    m->known_bandwidth_mib_s = json_has(json, "known_bandwidth")
                                   ? json_int_of(json, "known_bandwidth")
                                   : -1;
    m->told_bandwidth_mib_s = (unsigned)json_int_of(json, "told_bandwidth");
    m->bandwidth_is_by_hand = json_bool_of(json, "bandwidth_is_by_hand");
    stamp_load(json, "transfer_started", &m->transfer_started);

    struct error *error =
        migrate_settings_parse(json_get(json, "settings"), &m->settings);
    if (!error) {
        error =
            object_parse(json_get(json, "instance"), "Instance", &m->instance);
    }
    if (!error) {
        error =
            object_parse(json_get(json, "migration"), "Migration", &m->record);
    }
    if (!error) {
        error = object_parse(json_get(json, "migrate_data"), NULL, &m->data);
    }
    if (!error && !m->dest) {
        error = error_new(ERR_STORAGE, "a migration has no destination");
    }
    if (!error && json_has(json, "relocation")) {
        error = relocation_load(m, json_get(json, "relocation"));
    }
    if (error) {
        migration_free(m);
        return error;
    }
    *ret_data = m;
    return NULL;
}

void
migration_free(void *data)
{
    struct migration *m = data;

    if (!m) {
        return;
    }
    migrate_monitor_stop(m->monitor);
    migrate_reserve_free(m->reserve);
    migrate_plugs_free(m->plugs);
    relocation_free(m->relocation);
    slot_release(m->slot);
    if (m->slot_ticket) {
        op_ticket_done(m->slot_ticket, NULL);
    }
    json_free(m->context);
    json_free(m->attachments);
    object_free(m->instance);
    object_free(m->record);
    object_free(m->data);
    migrate_settings_close(&m->settings);
    free(m->dest);
    free(m->disks);
    free(m);
}

void
migration_finished(struct op *op, const struct error *error)
{
    struct migration *m = op_data(op);

    slot_release(steal(&m->slot));
    tally_outgoing(&m->agent->tally, error, &m->numbers);
    if (error) {
        log_warn(op_log(op), "migration to '%s' did not happen: %s", m->dest,
                 error_message(error));
    } else {
        log_info(op_log(op), "migration to '%s' finished successfully",
                 m->dest);
    }
    adopt_again(m->agent, object_string(m->instance, "uuid"));
    if (!error) {
        drain_guests_changed(m->agent);
    }
    if (m->agent->nova && error) {
        nova_guests_changed(m->agent->nova);
    } else if (m->agent->nova) {
        nova_instance_gone(m->agent->nova, object_string(m->instance, "uuid"));
    }
}
