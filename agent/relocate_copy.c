#include <config.h>

#include "agent/relocate.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/migrate/plan.h"

LOG_MODULE(relocate);

/* The step that copies: one file after the other, each asked for at the
 * destination, sent by the driver, and watched.
 *
 * What a file may have of the host's bandwidth is settled when it begins.  One
 * of which nothing moves any more for long_rpc_timeout is given up: the
 * destination may have gone without a word. */

#define LOOK_MS 500

struct relocate_copy {
    struct migration *migration; /* Null: it is no longer wanted. */
    struct op_ticket *ticket;
    char *uuid;
    struct agent *agent;
    size_t i_file;
    bool is_sending; /* The driver has the file. */
    bool is_asking;
    unsigned per_mille;
    uint64_t moved_ms; /* When it last got on. */
    bool is_stuck;
    uv_timer_t timer;
    unsigned n_holders; /* The timer, and what was asked. */
};

static void next_file(struct relocate_copy *copy);
static void served(void *aux, struct json **result, struct error *error);
static void sent(void *aux, struct error *error);
static void look(uv_timer_t *timer);
static void looked(void *aux, struct error *error, unsigned per_mille);
static void abort_asked(void *aux, struct error *error);
static void finish(struct relocate_copy *copy, struct error *error);
static void timer_closed(uv_handle_t *handle);
static void release(struct relocate_copy *copy);

void
relocate_copy_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct relocate_copy *copy = xzalloc(sizeof *copy);

    copy->migration = m;
    copy->agent = m->agent;
    copy->uuid = xstrdup(object_string(m->instance, "uuid"));
    copy->ticket = ticket;
    copy->n_holders = 1;
    copy->timer.data = copy;
    uv_timer_init(m->agent->loop, &copy->timer);
    uv_timer_start(&copy->timer, look, LOOK_MS, LOOK_MS);
    m->relocation->copy = copy;
    m->relocation->done = 0;
    migrate_bandwidth_join(m);
    next_file(copy);
}

void
relocate_copy_cancel(struct op *op)
{
    struct migration *m = op_data(op);

    m->relocation->is_cancelled = true;
    if (m->relocation->copy) {
        look(&m->relocation->copy->timer);
    }
}

int64_t
relocate_copy_done(const struct relocate_copy *copy)
{
    if (!copy || !copy->migration || !copy->is_sending) {
        return 0;
    }
    const struct prepare_request *files = copy->migration->relocation->copied;
    return files->disks[copy->i_file].file_size / 1000 * copy->per_mille;
}

void
relocate_copy_drop(struct relocate_copy *copy)
{
    if (copy) {
        copy->migration = NULL;
        uv_close((uv_handle_t *)&copy->timer, timer_closed);
    }
}

static void
next_file(struct relocate_copy *copy)
{
    struct migration *m = copy->migration;
    const struct prepare_request *files = m->relocation->copied;

    if (m->relocation->is_cancelled) {
        finish(copy, error_new(ERR_CANCELLED, "the copy was ended"));
        return;
    }
    if (!files || copy->i_file == files->n_disks) {
        finish(copy, NULL);
        return;
    }
    copy->n_holders++;
    relocate_serve(m, files->disks[copy->i_file].path, served, copy);
}

static void
served(void *aux, struct json **result, struct error *error)
{
    struct relocate_copy *copy = aux;
    struct migration *m = copy->migration;

    if (!m || error || m->relocation->is_cancelled) {
        if (m) {
            finish(copy, error
                             ? error
                             : error_new(ERR_CANCELLED, "the copy was ended"));
        } else {
            error_free(error);
            op_ticket_done(steal(&copy->ticket), NULL);
        }
        release(copy);
        return;
    }
    const struct prepare_disk *file =
        &m->relocation->copied->disks[copy->i_file];
    char *place = xstrdup_null(json_string_of(*result, "place"));
    char *directory = xstrdup(m->agent->conf->libvirt.migration_tls_path);
    struct copy_request request = {
        .uuid = copy->uuid,
        .path = file->path,
        .size = file->file_size,
        .place = place,
        .tls_directory = m->agent->conf->libvirt.live_migration_with_native_tls
                             ? directory
                             : NULL,
        .bandwidth_mib_s = m->bandwidth_mib_s,
    };
    log_info(op_log(op_ticket_op(copy->ticket)), "'%s', %lld bytes, is copied",
             file->path, (long long)file->file_size);
    copy->is_sending = true;
    copy->per_mille = 0;
    copy->moved_ms = clock_now_ms();
    driver_copy(m->agent->driver, &request, sent, copy);
    free(place);
    free(directory);
}

static void
sent(void *aux, struct error *error)
{
    struct relocate_copy *copy = aux;
    struct migration *m = copy->migration;

    if (!m) {
        error_free(error);
        op_ticket_done(steal(&copy->ticket), NULL);
    } else if (error) {
        if (copy->is_stuck) {
            error_free(error);
            error = error_new(ERR_MIGRATION, "nothing was copied any more");
        }
        finish(copy, error);
    } else {
        m->relocation->done +=
            m->relocation->copied->disks[copy->i_file].file_size;
        copy->is_sending = false;
        copy->i_file++;
        next_file(copy);
    }
    release(copy);
}

/* Whoever wants it to end may ask before the driver has begun: again. */
static void
look(uv_timer_t *timer)
{
    struct relocate_copy *copy = timer->data;
    struct migration *m = copy->migration;

    if (!m || !copy->is_sending) {
        return;
    }
    uint64_t limit_ms = (uint64_t)m->agent->conf->long_rpc_timeout * 1000;
    copy->is_stuck = clock_now_ms() - copy->moved_ms > limit_ms;
    if (m->relocation->is_cancelled || copy->is_stuck) {
        copy->n_holders++;
        driver_copy_abort(m->agent->driver, copy->uuid, abort_asked, copy);
    } else if (!copy->is_asking) {
        copy->is_asking = true;
        copy->n_holders++;
        driver_copy_progress(m->agent->driver, copy->uuid, looked, copy);
    }
}

static void
looked(void *aux, struct error *error, unsigned per_mille)
{
    struct relocate_copy *copy = aux;

    copy->is_asking = false;
    if (!error && per_mille > copy->per_mille) {
        copy->per_mille = per_mille;
        copy->moved_ms = clock_now_ms();
    }
    error_free(error);
    release(copy);
}

static void
abort_asked(void *aux, struct error *error)
{
    error_free(error); /* It is asked again. */
    release(aux);
}

static void
finish(struct relocate_copy *copy, struct error *error)
{
    struct migration *m = copy->migration;
    struct op_ticket *ticket = steal(&copy->ticket);

    migrate_bandwidth_leave(m);
    m->relocation->copy = NULL;
    relocate_copy_drop(copy);
    op_ticket_done(ticket, error);
}

static void
timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void
release(struct relocate_copy *copy)
{
    if (--copy->n_holders == 0) {
        if (copy->ticket) {
            op_ticket_done(copy->ticket, NULL);
        }
        free(copy->uuid);
        free(copy);
    }
}
