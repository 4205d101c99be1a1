#include <config.h>

#include "agent/power/internal.h"

#include <stdlib.h>

#include "agent/attachments.h"
#include "agent/base/clock.h"
#include "agent/migrate/data.h"

LOG_MODULE(power);

/* How often a guest is looked at that takes its time; an event of it is
 * quicker. */
#define LOOK_AGAIN_MS 500

static void timer_closed(uv_handle_t *handle);

void
power_look_now(struct power *p)
{
    if (p->wait) {
        struct op_ticket *ticket = steal(&p->wait);

        uv_timer_stop(p->timer);
        power_act_run(op_ticket_op(ticket), ticket);
    }
}

void
power_look_stop(struct power *p)
{
    if (p->timer) {
        uv_close((uv_handle_t *)steal(&p->timer), timer_closed);
    }
    if (p->wait) {
        op_ticket_done(p->wait, NULL);
    }
}

static void
timer_due(uv_timer_t *timer)
{
    power_look_now(timer->data);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void
look_later(struct power *p, struct op_ticket *ticket)
{
    if (!p->timer) {
        p->timer = xzalloc(sizeof *p->timer);
        uv_timer_init(p->agent->loop, p->timer);
        p->timer->data = p;
    }
    p->wait = ticket;
    uv_timer_start(p->timer, timer_due, LOOK_AGAIN_MS, 0);
}

static void
moved(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        power_act_run(op, ticket);
    }
}

/* A guest that can't be asked is one that does not listen. */
static void
asked(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op) {
        op_ticket_done(ticket, error);
        return;
    }
    if (error) {
        log_info(op_log(op), "%s", error_message(error));
        error_free(error);
    }
    power_act_run(op, ticket);
}

static void
plugged(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        struct power *p = op_data(op);
        driver_power_on(p->agent->driver, power_uuid(p), moved, ticket);
    }
}

/* A port of no type that is plugged here is the hypervisor's to know. */
static void
choose_ports(const struct op *op, const struct vif_list *all,
             struct vif_list *ret)
{
    for (size_t i = 0; i < all->n; i++) {
        AUTO_ERROR error = vif_check(all->vifs[i]);

        if (error) {
            log_info(op_log(op), "a port is not plugged: %s",
                     error_message(error));
        } else {
            vif_list_add(ret, vif_copy(all->vifs[i]));
        }
    }
}

/* What its ports need on the host is gone if that was booted meanwhile.
 * (spec/drop-in 8) */
static void
off_noted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
        return;
    }
    struct power *p = op_data(op);
    AUTO_OBJECT data = migrate_data_create();
    AUTO_VIFS all = {0}, ours = {0};
    attachments_tell(p->instance, data);
    attachments_name_ports(p->instance, data);
    AUTO_ERROR strange = attachments_vifs(data, power_uuid(p), false, &all);
    if (strange) {
        log_info(op_log(op), "its ports are not plugged: %s",
                 error_message(strange));
    } else {
        choose_ports(op, &all, &ours);
    }
    attach_host_plug(p->agent, &ours, plugged, ticket);
}

static void
move(struct op *op, enum power_move what, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    struct driver *driver = p->agent->driver;

    switch (what) {
    case MOVE_SHUT_DOWN:
        log_info(op_log(op), "guest is asked to shut down");
        driver_shut_down(driver, power_uuid(p), asked, ticket);
        break;
    case MOVE_POWER_OFF:
        log_info(op_log(op), "guest is powered off");
        driver_power_off(driver, power_uuid(p), moved, ticket);
        break;
    case MOVE_POWER_ON:
        log_info(op_log(op), "guest is started");
        op_save(op, off_noted, ticket); /* That it was off. */
        break;
    case MOVE_SUSPEND:
        driver_suspend(driver, power_uuid(p), moved, ticket);
        break;
    case MOVE_RESUME:
        driver_resume(driver, power_uuid(p), moved, ticket);
        break;
    case MOVE_SAVE:
        driver_save(driver, power_uuid(p), moved, ticket);
        break;
    case MOVE_NONE:
        look_later(p, ticket);
        break;
    case MOVE_DONE:
    case MOVE_REFUSE:
        op_ticket_done(ticket, NULL);
        break;
    }
}

static void
looked(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        struct power *p = op_data(op);
        enum power_move what =
            power_next(&p->run, guest, clock_now_ms(), &error);

        if (what == MOVE_REFUSE) {
            op_ticket_done(ticket, error);
        } else {
            move(op, what, ticket);
        }
    }
    guest_free(guest);
}

void
power_act_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, power_uuid(p), looked, ticket);
}

static void
probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    enum probe_answer answer = PROBE_UNKNOWN;

    if (op && !error) {
        struct power *p = op_data(op);
        answer = power_is_reached(&p->run, guest) ? PROBE_YES : PROBE_NO;
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        answer = PROBE_NO;
    }
    error_free(error);
    guest_free(guest);
    op_ticket_answer(ticket, answer);
}

void
power_act_probe(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, power_uuid(p), probed, ticket);
}
