#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/migrate/plan.h"
#include "agent/migrate/migration.h"
#include "agent/peer.h"

/* A destination does not wait for ever for a signal that was lost.
 *
 * While it waits it asks the source from time to time whether its part is still
 * open.  When it is over, or nothing was heard of the source for as long as a
 * call may take, the hypervisor of this host has the evidence: a guest that
 * runs here has arrived, and one that is not here does not come any more.  The
 * latter takes the source's word: one that is silent may yet send, though not
 * at the moment, so that its place is given to another.
 * (spec/live-migration 8.3)
 *
 * A guest that arrived and was shut down since (agent/incoming/arrival.c) is
 * this host's, too.  But the source's hypervisor is asked before either is
 * taken over, as libvirt resumes a guest at its source when the answer of the
 * destination is lost (agent/migrate/transfer.c).  One that runs there while
 * its source is through with the migration is the source's: the one here is
 * paused, which loses nothing, until a person ends one of the two.
 *
 * A source that is no drover can't be asked, and is believed to be there.  Of
 * it, and of one that is silent, a control plane has records, which are asked
 * instead (watch_records.c).  They may say that the guest is not to come.
 * Where they only say that the source's part is over, a guest that is not here
 * may have come and gone while nobody looked: nothing is taken back then,
 * unless it runs at the source. */

LOG_MODULE(incoming);

#define WATCH_MS 30000
#define SOON_MS 1000 /* After a restart. */

/* A question under way; the operation may end before the answer. */
struct watch_call {
    struct agent *agent;
    char *key;    /* Of the operation. */
    bool is_over; /* The source said so. */
    bool is_late; /* It has been silent for as long as a call may take. */
    enum incoming_word word; /* What its records say. */
    enum { HERE_NOT, HERE_OFF, HERE_ACTIVE } here;
};

static void watch_due(uv_timer_t *timer);
static void source_answered(void *aux, struct json **result,
                            struct error *error);
static bool is_no_drover(const struct error *error);
static void records_answered(void *aux, enum incoming_word word);
static void look_here(struct incoming *in, struct watch_call *call);
static void guest_seen(void *aux, struct error *error, struct guest *guest);
static void ask_source_for_guest(struct incoming *in, struct watch_call *call);
static void source_seen(void *aux, struct error *error,
                        enum guest_presence presence);
static void take_over(struct incoming *in, struct op *op, const char *why);
static void take_back(struct incoming *in, struct op *op);
static bool is_arrived(const struct guest *guest);
static bool is_absent(const struct error *error, const struct guest *guest);
static bool is_off(const struct guest *guest);
static struct incoming_request request_of(const struct incoming *in);
static void signalled(void *aux, struct error *error);
static struct incoming *find(const struct watch_call *call, struct op **ret_op);
static void call_free(struct watch_call *call);

void
incoming_watch_start(struct incoming *in, struct op *op)
{
    in->op = op;
    in->heard_ms = clock_now_ms();
    in->watch = xzalloc(sizeof *in->watch);
    in->watch->data = in;
    uv_timer_init(in->agent->loop, in->watch);
    uv_timer_start(in->watch, watch_due, WATCH_MS, WATCH_MS);
}

void
incoming_watch_stop(struct incoming *in)
{
    if (in->watch) {
        uv_close((uv_handle_t *)steal(&in->watch), (uv_close_cb)free);
    }
}

void
incoming_watch_now(struct incoming *in)
{
    watch_due(in->watch);
}

void
incoming_watch_soon(struct incoming *in)
{
    if (in->watch) {
        uv_timer_start(in->watch, watch_due, SOON_MS, WATCH_MS);
    }
}

static void
watch_due(uv_timer_t *timer)
{
    struct incoming *in = timer->data;
    const char *source = object_string(in->instance, "host");

    if (!in->wait) {
        incoming_watch_stop(in);
        return;
    }
    if (in->is_watched || !source) {
        return;
    }
    if (!in->has_arrived) {
        incoming_look(in, in->op);
    }
    struct watch_call *call = xzalloc(sizeof *call);
    struct json *args = json_object();
    call->agent = in->agent;
    call->key = xstrdup(op_key(in->op));
    in->is_watched = true;
    json_set_string(args, "instance", incoming_uuid(in));
    json_set_string(args, "dest", in->agent->conf->host);
    peer_call_drover(in->agent, source, "migration_is_open", args, NULL,
                     PEER_SHORT, source_answered, call);
}

static void
source_answered(void *aux, struct json **result, struct error *error)
{
    struct watch_call *call = aux;
    struct op *op = NULL;
    struct incoming *in = find(call, &op);
    bool is_silent = error && (error_code(error) == ERR_TIMEOUT ||
                               error_code(error) == ERR_UNDELIVERABLE ||
                               error_code(error) == ERR_CANCELLED);

    if (!in || !in->wait) {
        /* What ended the wait brought an instance of its own, perhaps without
         * a source that others could be asked of. */
        if (in) {
            log_debug(op_log(op), "its source is not waited for any more");
            in->is_watched = false;
        }
        error_free(error);
        call_free(call);
        return;
    }
    uint64_t patience_ms =
        (uint64_t)in->agent->conf->long_rpc_timeout * UINT64_C(1000);
    if (!is_silent) {
        in->heard_ms = clock_now_ms();
    }
    call->is_over = !error && !json_bool_of(*result, "open");
    call->is_late = clock_now_ms() - in->heard_ms >= patience_ms;
    if (in->agent->nova && in->kind == MIGRATE_LIVE &&
        (is_silent || is_no_drover(error))) {
        incoming_ask_records(in, records_answered, call);
    } else {
        look_here(in, call);
    }
    error_free(error);
}

static bool
is_no_drover(const struct error *error)
{
    return error_code(error) == ERR_UNSUPPORTED_VERSION ||
           error_code(error) == ERR_NO_SUCH_METHOD;
}

static void
records_answered(void *aux, enum incoming_word word)
{
    static const char *const word_names[] = {
        [INCOMING_OPEN] = "may be open",
        [INCOMING_OVER] = "is over",
        [INCOMING_LEFT] = "was left alone",
        [INCOMING_STAYED] = "is over, and the guest stayed",
    };
    struct watch_call *call = aux;
    struct op *op = NULL;
    struct incoming *in = find(call, &op);

    call->word = word;
    if (in) {
        log_debug(op_log(op), "its source says nothing: by its records it %s",
                  word_names[word]);
        look_here(in, call);
    } else {
        call_free(call);
    }
}

/* Once there is a reason to. */
static void
look_here(struct incoming *in, struct watch_call *call)
{
    if (call->is_over || call->is_late || call->word != INCOMING_OPEN) {
        driver_guest_get(in->agent->driver, incoming_uuid(in), guest_seen,
                         call);
        return;
    }
    in->is_watched = false;
    call_free(call);
}

static bool
is_over(const struct watch_call *call)
{
    return call->is_over || call->word != INCOMING_OPEN;
}

/* It is over, and nobody has said where the guest is. */
static bool
is_unsaid(const struct watch_call *call)
{
    return call->word == INCOMING_OVER || call->word == INCOMING_LEFT;
}

/* What the source would have said, or has. */
static void
guest_seen(void *aux, struct error *error, struct guest *guest)
{
    struct watch_call *call = aux;
    struct op *op = NULL;
    struct incoming *in = find(call, &op);
    const char *source = in ? object_string(in->instance, "host") : NULL;

    call->here = is_arrived(guest) ? HERE_ACTIVE
                 : is_off(guest)   ? HERE_OFF
                                   : HERE_NOT;
    bool may_have_come = in && (in->has_arrived || is_unsaid(call));
    bool has_come = in && (call->here == HERE_ACTIVE ||
                           (may_have_come && (call->here == HERE_OFF ||
                                              is_absent(error, guest))));
    if (has_come && in->wait) {
        ask_source_for_guest(in, call);
        error_free(error);
        guest_free(guest);
        return;
    }
    if (in) {
        in->is_watched = false;
    }
    if (in && in->wait && is_over(call) && is_absent(error, guest)) {
        take_back(in, op);
    } else if (in && in->wait && in->place &&
               (is_absent(error, guest) || is_off(guest))) {
        log_warn(op_log(op),
                 "the guest does not run here, and '%s' does not send it: its "
                 "place goes to another",
                 source);
        slot_release(steal(&in->place));
    }
    error_free(error);
    guest_free(guest);
    call_free(call);
}

static void
ask_source_for_guest(struct incoming *in, struct watch_call *call)
{
    const char *source = object_string(in->instance, "host");
    char *uri = NULL;
    struct error *error =
        migrate_plan_uris(in->agent->conf, source, NULL, &uri, NULL);

    if (error) {
        source_seen(call, error, GUEST_ABSENT);
    } else {
        driver_peer_presence(in->agent->driver, uri, incoming_uuid(in),
                             source_seen, call);
    }
    free(uri);
}

/* A guest that runs here has left its source even if that still has a
 * definition of it; of one that is off the definition may be all there is. */
static bool
has_left(const struct watch_call *call, const struct error *error,
         enum guest_presence presence)
{
    if (error) {
        return call->is_late; /* All of it keeps silent. */
    }
    return presence == GUEST_ABSENT || presence == GUEST_MIGRATED ||
           (presence == GUEST_OFF && call->here == HERE_ACTIVE);
}

static void
twin_paused(void *aux UNUSED, struct error *error)
{
    if (error) {
        log_error(NULL, "a guest that runs twice can't be paused here: %s",
                  error_message(error));
        error_free(error);
    }
}

static void
source_seen(void *aux, struct error *error, enum guest_presence presence)
{
    struct watch_call *call = aux;
    struct op *op = NULL;
    struct incoming *in = find(call, &op);
    bool stayed = is_over(call) && !error && presence == GUEST_ACTIVE;

    if (in) {
        in->is_watched = false;
    }
    if (!in || !in->wait) {
        /* It is decided. */
    } else if (call->here != HERE_NOT && call->word != INCOMING_STAYED &&
               has_left(call, error, presence)) {
        take_over(in, op, "has it no more");
    } else if (call->here == HERE_NOT && stayed) {
        take_back(in, op);
    } else {
        log_limited(LOG_LEVEL_ERROR, op_log(op),
                    "the guest %s%s, and may be at '%s', too: somebody has to "
                    "decide",
                    call->here == HERE_ACTIVE || in->has_arrived
                        ? "arrived"
                        : "may have arrived",
                    call->here == HERE_OFF   ? " and is off"
                    : call->here == HERE_NOT ? " and is gone"
                                             : "",
                    object_string(in->instance, "host"));
        if (stayed && call->here == HERE_ACTIVE &&
            call->word != INCOMING_LEFT) {
            driver_suspend(in->agent->driver, incoming_uuid(in), twin_paused,
                           NULL);
        }
        slot_release(steal(&in->place));
    }
    error_free(error);
    call_free(call);
}

static void
take_over(struct incoming *in, struct op *op, const char *why)
{
    struct incoming_request request = request_of(in);

    log_warn(op_log(op), "the guest arrived, and '%s' %s: it is taken over",
             object_string(in->instance, "host"), why);
    incoming_take_over(in->agent, &request, op_log(op), signalled, NULL);
}

static void
take_back(struct incoming *in, struct op *op)
{
    struct incoming_request request = request_of(in);

    log_warn(op_log(op),
             "'%s' does not send the guest any more: the preparation is taken "
             "back",
             object_string(in->instance, "host"));
    incoming_roll_back(in->agent, &request, op_log(op), signalled, NULL);
}

static bool
is_arrived(const struct guest *guest)
{
    return guest && guest->presence == GUEST_ACTIVE;
}

/* Not while libvirt still receives it, or half of its memory is here. */
static bool
is_absent(const struct error *error, const struct guest *guest)
{
    if (!guest) {
        return error_code(error) == ERR_INSTANCE_NOT_FOUND;
    }
    return guest->presence == GUEST_ABSENT || guest->presence == GUEST_MIGRATED;
}

/* Perhaps it has arrived and was shut down since: nothing of it is removed. */
static bool
is_off(const struct guest *guest)
{
    return guest && guest->presence == GUEST_OFF;
}

static struct incoming_request
request_of(const struct incoming *in)
{
    return (struct incoming_request){
        .context = json_copy(in->context),
        .instance = object_copy(in->instance),
        .data = object_copy(in->data),
    };
}

/* The operation has logged it. */
static void
signalled(void *aux UNUSED, struct error *error)
{
    error_free(error);
}

static struct incoming *
find(const struct watch_call *call, struct op **ret_op)
{
    struct op *op = op_find(call->agent->ops, call->key);

    if (ret_op) {
        *ret_op = op;
    }
    return op ? op_data(op) : NULL;
}

static void
call_free(struct watch_call *call)
{
    free(call->key);
    free(call);
}
