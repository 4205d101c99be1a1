#include <config.h>

#include "agent/relocate.h"

#include <stdlib.h>

#include "agent/leftover.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"

LOG_MODULE(relocate);

static void save_run(struct op *op, struct op_ticket *ticket);
static void save_undo(struct op *op, struct op_ticket *ticket);
static void list_run(struct op *op, struct op_ticket *ticket);
static void give_up_run(struct op *op, struct op_ticket *ticket);
static void give_up_undo(struct op *op, struct op_ticket *ticket);
static void give_up_probe(struct op *op, struct op_ticket *ticket);
static void release_run(struct op *op, struct op_ticket *ticket);
static void complete_run(struct op *op, struct op_ticket *ticket);
static struct error *plan_copies(struct migration *m);

static const struct step steps[] = {
    {.name = "accept", .run = migration_accept, .undo = migration_settle},
    {.name = "queue",
     .run = migration_queue_run,
     .cancel = migration_queue_cancel},
    {.name = "prepare",
     .run = migration_prepare,
     .undo = migration_volumes_undo},
    /* First a place there: a guest that waits for one had better run. */
    {.name = "reserve-dest",
     .run = migration_reserve_run,
     .undo = migration_reserve_undo,
     .cancel = migration_reserve_cancel},
    {.name = "save", .run = save_run, .undo = save_undo},
    {.name = "list-files", .run = list_run, .timeout_s = 120},
    {.name = "make-files", .run = relocate_files_run},
    {.name = "start", .run = migration_start},
    {.name = "copy", .run = relocate_copy_run, .cancel = relocate_copy_cancel},
    {.name = "seal", .run = relocate_seal_run},
    /* The commit: once it is not defined here, it can't be started here. */
    {.name = "give-up",
     .run = give_up_run,
     .undo = give_up_undo,
     .probe = give_up_probe},
    {.name = "finish-dest", .run = relocate_finish_run},
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
    {.name = "release-files",
     .run = release_run,
     .timeout_s = 300,
     .may_be_left = true,
     .strips_host = true},
    {.name = "complete", .run = complete_run, .timeout_s = 300},
    {.name = "forget", .run = migration_forget, .timeout_s = 300},
    {.name = NULL},
};

const struct op_type relocate_type = {
    .name = "relocation",
    .steps = steps,
    .save = migration_save,
    .load = migration_load,
    .free_data = migration_free,
    .finished = migration_finished,
};

struct relocation *
relocation_create(enum migrate_kind kind)
{
    struct relocation *r = xzalloc(sizeof *r);

    r->kind = kind;
    return r;
}

void
relocation_free(struct relocation *r)
{
    if (!r) {
        return;
    }
    relocate_copy_drop(r->copy);
    for (size_t i = 0; i < r->n_files; i++) {
        free(r->files[i].path);
    }
    free(r->files);
    free(r->name);
    free(r->definition);
    prepare_request_free(r->copied);
    free(r);
}

void
relocation_event(struct op *op, const struct driver_event *event)
{
    const struct migration *m = op_data(op);

    /* Until its files are listed it may still run. */
    if (event->type == DRIVER_EVENT_STARTED && m->relocation->definition) {
        op_cancel(op, error_new(ERR_MIGRATION, "the guest was started"));
    }
}

int64_t
relocation_total(const struct relocation *r)
{
    int64_t total = 0;

    for (size_t i = 0; r->copied && i < r->copied->n_disks; i++) {
        total += r->copied->disks[i].file_size;
    }
    return total;
}

int64_t
relocation_done(const struct relocation *r)
{
    return r->done + relocate_copy_done(r->copy);
}

struct at_rest_request *
relocation_request(const struct migration *m)
{
    const struct relocation *r = m->relocation;
    char *uuid = xstrdup(object_string(m->instance, "uuid"));
    struct at_rest_request view = {
        .uuid = uuid,
        .name = r->name,
        .definition = r->definition,
        .autostart = r->autostart,
        .files = r->files,
        .n_files = r->n_files,
    };
    struct at_rest_request *request = at_rest_request_copy(&view);

    free(uuid);
    return request;
}

static const char *
uuid_of(const struct migration *m)
{
    return object_string(m->instance, "uuid");
}

/* Saving. */

static void
save_noted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        op_ticket_done(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    driver_save(m->agent->driver, uuid_of(m), op_ticket_done_aux, ticket);
}

static struct error *
check_state(const struct migration *m, const struct guest *guest)
{
    bool is_cold = m->relocation->kind == MIGRATE_COLD;

    if (guest->presence == GUEST_ACTIVE) {
        return is_cold ? error_new(ERR_MIGRATION, "the guest runs") : NULL;
    }
    if (guest->presence != GUEST_OFF) {
        return error_new(ERR_MIGRATION, "the guest is on its way elsewhere");
    }
    if (guest->is_saved == is_cold) {
        return error_new(ERR_MIGRATION,
                         is_cold ? "the memory of the guest is saved"
                                 : "the guest has no memory to save");
    }
    return NULL;
}

/* That it ran is on disk before it no longer does. */
static void
save_guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool is_active = guest && guest->presence == GUEST_ACTIVE;

    if (!error && op) {
        error = check_state(op_data(op), guest);
    }
    guest_free(guest);
    if (error || !op || !is_active) {
        op_ticket_done(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    m->relocation->was_active = true;
    op_save(op, save_noted, ticket);
}

static void
save_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, uuid_of(m), save_guest_known, ticket);
}

static void
awake(void *aux, struct error *error)
{
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(error); /* Somebody removed it: there is nothing to wake. */
        error = NULL;
    }
    op_ticket_done(aux, error);
}

static void
wake_if_saved(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool is_saved = guest && guest->presence == GUEST_OFF && guest->is_saved;

    if (error || !op || !is_saved) {
        guest_free(guest);
        awake(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    struct at_rest_request request = {.uuid = guest->uuid, .name = guest->name};
    log_info(op_log(op), "the guest goes on here");
    driver_rest_wake(m->agent->driver, &request, awake, ticket);
    guest_free(guest);
}

static void
save_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    if (m->relocation->was_active) {
        driver_guest_get(m->agent->driver, uuid_of(m), wake_if_saved, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

/* What there is to move. */

static void
files_listed(void *aux, struct error *error, struct guest_rest *rest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct migration *m = op ? op_data(op) : NULL;

    if (!error && m) {
        error = check_state(m, rest->guest);
        if (!error && rest->guest->presence != GUEST_OFF) {
            error = error_new(ERR_MIGRATION, "the guest was started");
        }
    }
    if (!error && m) {
        struct relocation *r = m->relocation;
        const char *shared = migrate_data_is_shared_instance_path(m->data)
                                 ? m->agent->conf->instances_path
                                 : NULL;
        r->name = xstrdup(rest->guest->name);
        r->definition = steal(&rest->definition);
        r->autostart = rest->autostart;
        m->disks = migrate_data_files_format(
            rest, migrate_data_block_migration(m->data), shared);
        r->files = steal(&rest->files);
        r->n_files = rest->n_files;
        rest->n_files = 0;
        error = plan_copies(m);
    }
    guest_rest_free(rest);
    op_ticket_done(ticket, error);
}

static void
list_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_rest_get(m->agent->driver, uuid_of(m), files_listed, ticket);
}

static struct error *
plan_copies(struct migration *m)
{
    return migrate_plan_rest_files(m->agent->conf, m->data, uuid_of(m),
                                   m->disks, &m->relocation->copied);
}

/* The commit. */

static void
give_up_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    CLEANUP(at_rest_request_free_at)
    struct at_rest_request *request = relocation_request(m);

    driver_rest_give_up(m->agent->driver, request, op_ticket_done_aux, ticket);
}

static void
give_up_probed(void *aux, struct error *error, struct guest *guest)
{
    enum probe_answer answer = guest ? PROBE_NO
                               : error_code(error) == ERR_INSTANCE_NOT_FOUND
                                   ? PROBE_YES
                                   : PROBE_UNKNOWN;

    error_free(error);
    guest_free(guest);
    op_ticket_answer(aux, answer);
}

static void
give_up_probe(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, uuid_of(m), give_up_probed, ticket);
}

/* One that was started in just that moment may run without a definition. */
static void
keep_definition(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool is_active = guest && guest->presence == GUEST_ACTIVE;

    guest_free(guest);
    if (error || !op || !is_active) {
        awake(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    driver_persist(m->agent->driver, uuid_of(m), awake, ticket);
}

static void
give_up_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, uuid_of(m), keep_definition, ticket);
}

/* After it. */

static void
release_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    if (m->relocation->copied) {
        leftover_remove_files(
            m->agent, prepare_request_copy(m->relocation->copied), ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
complete_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    int64_t total = relocation_total(m->relocation);

    object_set_int(m->record, "disk_total", total);
    object_set_int(m->record, "disk_processed", total);
    object_set_int(m->record, "disk_remaining", 0);
    migration_complete(op, ticket);
}

/* The journal's side. */

struct json *
relocation_save(const struct relocation *r)
{
    struct json *json = json_object();
    struct json *files = json_array();

    for (size_t i = 0; i < r->n_files; i++) {
        struct json *file = json_object();

        json_set_string(file, "path", r->files[i].path);
        json_set_int(file, "size", r->files[i].size);
        json_set_int(file, "mtime_ns", r->files[i].mtime_ns);
        json_set_int(file, "mode", r->files[i].mode);
        json_append(files, file);
    }
    json_set_string(json, "kind", migrate_kind_word(r->kind));
    json_set_bool(json, "was_active", r->was_active);
    json_set_string(json, "name", r->name);
    json_set_string(json, "definition", r->definition);
    json_set_bool(json, "autostart", r->autostart);
    json_set(json, "files", files);
    json_set_int(json, "done", r->done);
    return json;
}

struct error *
relocation_load(struct migration *m, const struct json *json)
{
    struct relocation *r = relocation_create(MIGRATE_COLD);
    const struct json *files = json_get(json, "files");

    m->relocation = r;
    r->was_active = json_bool_of(json, "was_active");
    r->name = xstrdup_null(json_string_of(json, "name"));
    r->definition = xstrdup_null(json_string_of(json, "definition"));
    r->autostart = json_bool_of(json, "autostart");
    r->done = json_int_of(json, "done");
    r->files = xcalloc(json_size(files) + 1, sizeof *r->files);
    json_for_each (file, files) {
        r->files[r->n_files++] = (struct guest_file){
            .path = xstrdup_null(json_string_of(file, "path")),
            .size = json_int_of(file, "size"),
            .mtime_ns = json_int_of(file, "mtime_ns"),
            .mode = (unsigned)json_int_of(file, "mode"),
        };
    }
    struct error *error =
        migrate_kind_parse(json_string_of(json, "kind"), &r->kind);
    return error || !m->disks ? error : plan_copies(m);
}
