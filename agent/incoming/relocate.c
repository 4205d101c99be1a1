#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>

#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"

LOG_MODULE(incoming);

/* The destination of a guest at rest: see agent/relocate.h for who decides
 * what.  The commit is the source's word that the guest is ours; until it comes
 * this host waits, and serves what is to be written. */

static void expect_run(struct op *op, struct op_ticket *ticket);
static void wait_run(struct op *op, struct op_ticket *ticket);
static void wait_undo(struct op *op, struct op_ticket *ticket);
static void wait_probe(struct op *op, struct op_ticket *ticket);
static void take_run(struct op *op, struct op_ticket *ticket);
static void wake_run(struct op *op, struct op_ticket *ticket);

static const struct step steps[] = {
    {.name = "connect-volumes",
     .run = incoming_volumes_run,
     .undo = incoming_volumes_undo,
     .strips_host = true},
    {.name = "plug-ports",
     .run = incoming_ports_run,
     .undo = incoming_ports_undo,
     .strips_host = true},
    {.name = "expect", .run = expect_run},
    {.name = "check-files", .run = incoming_disks_check, .timeout_s = 120},
    {.name = "make-files",
     .run = incoming_disks_run,
     .undo = incoming_disks_undo,
     .timeout_s = 600,
     .strips_host = true},
    /* The commit: the source can start the guest no more, and said so. */
    {.name = "wait",
     .run = wait_run,
     .undo = wait_undo,
     .probe = wait_probe,
     .readopt = wait_run,
     .strips_host = true},
    {.name = "define", .run = take_run},
    {.name = "wake", .run = wake_run, .may_be_left = true},
    {.name = "settle-ports",
     .run = incoming_settle_ports,
     .timeout_s = 300,
     .may_be_left = true},
    {.name = "take-record", .run = incoming_record_run, .timeout_s = 300},
    {.name = NULL},
};

const struct op_type incoming_rest_type = {
    .name = "incoming-relocation",
    .steps = steps,
    .save = incoming_save,
    .load = incoming_load,
    .free_data = incoming_free,
    .finished = incoming_finished,
};

/* The operation in that step, where the source's next word is waited for. */
static struct error *
find_waiting(struct agent *agent, const char *uuid, const char *step,
             struct incoming **ret)
{
    struct op *op = incoming_find(agent, uuid);
    struct incoming *in = op ? op_data(op) : NULL;

    if (!op || !str_eq(op_type_name(op), incoming_rest_type.name) ||
        !str_eq(op_step_name(op), step) || !in->wait || in->taken_over) {
        return error_new(ERR_MIGRATION, "host '%s' does not %s for the guest",
                         agent->conf->host, step);
    }
    *ret = in;
    return NULL;
}

void
incoming_rest_files(struct agent *agent, const char *uuid,
                    struct incoming_rest *rest, attach_done *done, void *aux)
{
    struct incoming *in = NULL;
    struct error *error = find_waiting(agent, uuid, "expect", &in);

    if (error) {
        free(rest->disks);
        free(rest->name);
        free(rest->definition);
        done(aux, error);
        return;
    }
    free(in->disks);
    in->disks = rest->disks;
    in->name = rest->name;
    in->definition = rest->definition;
    in->autostart = rest->autostart;
    in->files_made = done;
    in->files_made_aux = aux;
    incoming_watch_stop(in);
    op_ticket_done(steal(&in->wait), NULL);
}

static bool
has_file(const struct prepare_request *files, const char *path)
{
    for (size_t i = 0; files && i < files->n_disks; i++) {
        if (str_eq(files->disks[i].path, path)) {
            return true;
        }
    }
    return false;
}

void
incoming_rest_serve(struct agent *agent, const char *uuid, const char *path,
                    driver_text_done *done, void *aux)
{
    const struct conf *conf = agent->conf;
    const char *inbound = conf->libvirt.live_migration_inbound_addr;
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct incoming *in = NULL;
    struct error *error = find_waiting(agent, uuid, "wait", &in);

    if (!error) {
        error = incoming_files_of(in, &files);
    }
    if (!error && !has_file(files, path)) {
        error = error_new(ERR_VALUE, "'%s' is no file of the guest's", path);
    }
    if (error) {
        done(aux, error, NULL);
        return;
    }
    struct copy_request view = {
        .uuid = (char *)incoming_uuid(in),
        .path = (char *)path,
        .place = (char *)inbound,
        .name = (char *)(inbound ? inbound : conf->host),
        .tls_directory = conf->libvirt.live_migration_with_native_tls
                             ? conf->libvirt.migration_tls_path
                             : NULL,
        .port_min = (unsigned)conf->libvirt.migration_port_min,
        .port_max = (unsigned)conf->libvirt.migration_port_max,
    };
    driver_copy_serve(agent->driver, &view, done, aux);
}

/* 'in' as the driver's calls have it; all but the numbers is borrowed. */
static struct at_rest_request
view_of(const struct incoming *in)
{
    return (struct at_rest_request){
        .uuid = (char *)incoming_uuid(in),
        .name = in->name,
        .definition = in->definition,
        .autostart = in->autostart,
        .vnc_listen = (char *)migrate_data_graphics_listen_addr_vnc(in->data),
        .spice_listen =
            (char *)migrate_data_graphics_listen_addr_spice(in->data),
        .serial_listen = (char *)migrate_data_serial_listen_addr(in->data),
        .file_backed_memory =
            migrate_data_dst_wants_file_backed_memory(in->data),
    };
}

void
incoming_rest_seal(struct agent *agent, const char *uuid, attach_done *done,
                   void *aux)
{
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct incoming *in = NULL;
    struct error *error = find_waiting(agent, uuid, "wait", &in);

    if (!error) {
        error = incoming_files_of(in, &files);
    }
    if (error) {
        done(aux, error);
        return;
    }
    struct at_rest_request view = view_of(in);
    view.n_files = files ? files->n_disks : 0;
    view.files = xcalloc(view.n_files + 1, sizeof *view.files);
    for (size_t i = 0; i < view.n_files; i++) {
        view.files[i].path = files->disks[i].path;
        view.files[i].size = files->disks[i].file_size;
    }
    driver_rest_seal(agent->driver, &view, done, aux);
    free(view.files);
}

struct finish_call {
    attach_done *done;
    void *aux;
};

/* Told before, by which it is here; or somebody took what it had to come. */
static void
looked_for(void *aux, struct error *error, struct guest *guest)
{
    struct finish_call *call = aux;

    guest_free(guest);
    call->done(call->aux,
               error_wrap(error, "the guest is not expected any more"));
    free(call);
}

void
incoming_rest_finish(struct agent *agent, const struct object *instance,
                     const char *key, attach_done *done, void *aux)
{
    const char *uuid = object_string(instance, "uuid");
    struct op *op = op_find(agent->ops, key);

    if (!op && op_is_known_finished(agent->ops, key)) {
        struct finish_call *call = xzalloc(sizeof *call);
        call->done = done;
        call->aux = aux;
        driver_guest_get(agent->driver, uuid, looked_for, call);
        return;
    }
    if (!op || !str_eq(op_type_name(op), incoming_rest_type.name) ||
        (!op_is_committed(op) && !str_eq(op_step_name(op), "wait"))) {
        done(aux,
             error_new(ERR_MIGRATION, "the guest is not expected at host '%s'",
                       agent->conf->host));
        return;
    }
    struct incoming *in = op_data(op);
    object_free(in->instance);
    in->instance = object_copy(instance);
    in->taken_over = true;
    incoming_set_ended(in, done, aux);
    if (in->wait) {
        op_ticket_done(steal(&in->wait), NULL);
    }
}

/* Steps. */

static void
expect_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    migrate_plan_set_results(in->agent->conf, in->data);
    in->wait = ticket;
    incoming_watch_start(in, op);
    in->prepared(in->prepared_aux, NULL, object_copy(in->data));
    in->prepared = NULL;
}

static void
wait_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->wait = ticket;
    if (in->files_made) {
        in->files_made(in->files_made_aux, NULL);
        in->files_made = NULL;
    }
    if (in->taken_over) {
        op_ticket_done(steal(&in->wait), NULL);
    } else {
        incoming_watch_start(in, op);
    }
}

static void
wait_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_copy_stop(in->agent->driver, incoming_uuid(in), op_ticket_done_aux,
                     ticket);
}

static void
wait_probe(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    op_ticket_answer(ticket, in->taken_over ? PROBE_YES : PROBE_NO);
}

static void
take_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    struct at_rest_request view = view_of(in);

    driver_rest_take(in->agent->driver, &view, op_ticket_done_aux, ticket);
}

static void
wake_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    struct at_rest_request view = view_of(in);

    if (in->kind == MIGRATE_STATIC) {
        driver_rest_wake(in->agent->driver, &view, op_ticket_done_aux, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}
