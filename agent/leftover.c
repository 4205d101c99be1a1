#include <config.h>

#include "agent/leftover.h"

#include <stdlib.h>

LOG_MODULE(leftover);

struct leftover {
    struct agent *agent;
    char *uuid;
    struct prepare_request *files; /* Null: none. */
    struct op_ticket *ticket;
    struct error *refusal; /* The driver found the guest here. */
};

static struct leftover *create(struct agent *agent, const char *uuid,
                               struct prepare_request *files,
                               struct op_ticket *ticket);
static void domain_gone(void *aux, struct error *error);
static void remove_files(struct leftover *leftover);
static void files_gone(void *aux, struct error *error);
static void guest_seen(void *aux, struct error *error, struct guest *guest);
static void end(struct leftover *leftover, struct error *error);

void
leftover_remove(struct agent *agent, const char *uuid,
                struct prepare_request *files, struct op_ticket *ticket)
{
    driver_discard(agent->driver, uuid, domain_gone,
                   create(agent, uuid, files, ticket));
}

void
leftover_remove_files(struct agent *agent, struct prepare_request *files,
                      struct op_ticket *ticket)
{
    remove_files(create(agent, files->uuid, files, ticket));
}

static struct leftover *
create(struct agent *agent, const char *uuid, struct prepare_request *files,
       struct op_ticket *ticket)
{
    struct leftover *leftover = xzalloc(sizeof *leftover);

    leftover->agent = agent;
    leftover->uuid = xstrdup(uuid);
    leftover->files = files;
    leftover->ticket = ticket;
    return leftover;
}

static void
domain_gone(void *aux, struct error *error)
{
    struct leftover *leftover = aux;

    if (!error && leftover->files && op_ticket_op(leftover->ticket)) {
        remove_files(leftover);
    } else {
        files_gone(leftover, error);
    }
}

static void
remove_files(struct leftover *leftover)
{
    driver_unprepare(leftover->agent->driver, leftover->files, files_gone,
                     leftover);
}

static void
files_gone(void *aux, struct error *error)
{
    struct leftover *leftover = aux;

    if (error_code(error) == ERR_INVALID && op_ticket_op(leftover->ticket)) {
        leftover->refusal = error;
        driver_guest_get(leftover->agent->driver, leftover->uuid, guest_seen,
                         leftover);
    } else {
        end(leftover, error);
    }
}

static void
guest_seen(void *aux, struct error *error, struct guest *guest)
{
    struct leftover *leftover = aux;
    struct op *op = op_ticket_op(leftover->ticket);
    struct error *refusal = steal(&leftover->refusal);

    if (guest && guest->presence == GUEST_ACTIVE &&
        guest->power_state == POWER_RUNNING) {
        log_warn(op_log(op), "the guest runs here: nothing of it is left over");
        error_free(steal(&refusal));
    }
    guest_free(guest);
    error_free(error);
    end(leftover, refusal);
}

static void
end(struct leftover *leftover, struct error *error)
{
    op_ticket_done(leftover->ticket, error);
    prepare_request_free(leftover->files);
    free(leftover->uuid);
    free(leftover);
}
