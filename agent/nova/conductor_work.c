#include <config.h>

#include "agent/nova/conductor_work.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

LOG_MODULE(conductor);

#define FIRST_PAUSE_MS 500
#define LONGEST_PAUSE_MS 10000
#define WORKS_MAX 10000

struct conductor_works {
    uv_timer_t *timer; /* Runs while something waits for its next time. */
    struct conductor *conductor;
    struct work *first, **tail; /* In the order in which they came. */
    unsigned n;
    bool is_closed, is_silent; /* The latter: it was said that we wait. */
};

struct work {
    struct work *next, **link; /* Of those that are open. */
    struct conductor_works *works;
    const char *method;
    char *class_name, *key;
    struct json *context, *args, *kwargs;
    struct object *object;
    bool is_sent, only_once, is_open;
    uint64_t end_ms, due_ms; /* The latter: 0: not before its turn. */
    unsigned pause_ms;
    conductor_work_done *done;
    void *aux;
};

static struct work *work_create(struct conductor_works *works,
                                const struct conductor_work_request *request);
static void send_if_turn(struct work *work);
static void conducted(void *aux, struct json **result, struct error *error);
static bool is_to_be_repeated(const struct work *work,
                              const struct error *error);
static void wait_for_next_time(struct work *work, struct error *error);
static void work_end(struct work *work, struct json **result,
                     struct error *error);
static struct work *before_of_key(const struct work *work);
static void send_next_of_key(struct conductor_works *works, const char *key);
static void work_free(struct work *work);
static void next_time(uv_timer_t *timer);
static void set_timer(struct conductor_works *works);
static void timer_closed(uv_handle_t *handle);

struct conductor_works *
conductor_works_create(uv_loop_t *loop, struct conductor *conductor)
{
    struct conductor_works *works = xzalloc(sizeof *works);

    works->conductor = conductor;
    works->tail = &works->first;
    works->timer = xzalloc(sizeof *works->timer);
    uv_timer_init(loop, works->timer);
    works->timer->data = works;
    return works;
}

/* What the conductor has ends when that is closed: their memory with it. */
void
conductor_works_close(struct conductor_works *works)
{
    works->is_closed = true;
    while (works->first) {
        work_end(works->first, NULL,
                 error_new(ERR_CANCELLED, "the agent is stopping"));
    }
    uv_close((uv_handle_t *)steal(&works->timer), timer_closed);
}

void
conductor_works_free(struct conductor_works *works)
{
    free(works);
}

unsigned
conductor_works_n(const struct conductor_works *works)
{
    return works->n;
}

void
conductor_work_start(struct conductor_works *works,
                     const struct conductor_work_request *request,
                     conductor_work_done *done, void *aux)
{
    struct work *work = work_create(works, request);

    work->done = done;
    work->aux = aux;
    if (works->is_closed) {
        work_end(work, NULL, error_new(ERR_CANCELLED, "the agent is stopping"));
    } else if (works->n > WORKS_MAX) {
        work_end(work, NULL,
                 error_new(ERR_UNDELIVERABLE, "%d calls wait for the conductor",
                           WORKS_MAX));
    } else {
        send_if_turn(work);
    }
}

/* Of a database that is away, or of two transactions that met, the conductor
 * tells in the words of its library. */
bool
conductor_error_is_passing(const struct error *error)
{
    const char *class_name = error ? error_class_name(error) : NULL;

    return error_code(error) == ERR_TIMEOUT ||
           error_code(error) == ERR_UNDELIVERABLE ||
           str_eq(class_name, "DBConnectionError") ||
           str_eq(class_name, "DBDeadlock") ||
           str_eq(class_name, "CantStartEngineError");
}

static struct work *
work_create(struct conductor_works *works,
            const struct conductor_work_request *request)
{
    struct work *work = xzalloc(sizeof *work);

    work->works = works;
    work->method = request->method;
    work->class_name = xstrdup_null(request->class_name);
    work->key = xstrdup_null(request->key);
    work->context =
        request->context ? json_copy(request->context) : rpc_context_create();
    work->args = request->args;
    work->kwargs = request->kwargs;
    work->object = object_copy(request->object);
    work->only_once = request->only_once;
    work->end_ms = clock_now_ms() + request->patience_ms;
    work->pause_ms = FIRST_PAUSE_MS;
    work->is_open = true;
    work->link = works->tail;
    *works->tail = work;
    works->tail = &work->next;
    works->n++;
    return work;
}

static void
send_if_turn(struct work *work)
{
    struct conductor *conductor = work->works->conductor;

    if (before_of_key(work)) {
        return;
    }
    work->is_sent = true;
    work->due_ms = 0;
    if (work->object) {
        conductor_object_action(conductor, work->context, work->object,
                                work->method, work->args, work->kwargs,
                                conducted, work);
    } else {
        conductor_class_action(conductor, work->context, work->class_name,
                               work->method, work->args, work->kwargs,
                               conducted, work);
    }
}

static void
conducted(void *aux, struct json **result, struct error *error)
{
    struct work *work = aux;
    struct conductor_works *works = work->works;

    work->is_sent = false;
    if (!work->is_open) {
        error_free(error);
        work_free(work);
        return;
    }
    if (is_to_be_repeated(work, error)) {
        wait_for_next_time(work, error);
        return;
    }
    if (!error && works->is_silent) {
        works->is_silent = false;
        log_info(NULL, "the conductor answers again");
    }
    work_end(work, result, error);
}

static bool
is_to_be_repeated(const struct work *work, const struct error *error)
{
    bool may_be_done = error_code(error) != ERR_UNDELIVERABLE;

    return conductor_error_is_passing(error) &&
           !(work->only_once && may_be_done) && clock_now_ms() < work->end_ms;
}

static void
wait_for_next_time(struct work *work, struct error *error)
{
    struct conductor_works *works = work->works;

    if (!works->is_silent) {
        works->is_silent = true;
        log_warn(NULL, "the conductor does not do '%s', trying again: %s",
                 work->method, error_message(error));
    }
    error_free(error);
    work->due_ms = clock_now_ms() + work->pause_ms;
    work->pause_ms = work->pause_ms * 2 < LONGEST_PAUSE_MS ? work->pause_ms * 2
                                                           : LONGEST_PAUSE_MS;
    set_timer(works);
}

/* It is out of the list before anybody is told, who may start the next. */
static void
work_end(struct work *work, struct json **result, struct error *error)
{
    struct conductor_works *works = work->works;
    struct json *none = NULL;
    AUTO_FREE key = xstrdup_null(work->key);

    *work->link = work->next;
    if (work->next) {
        work->next->link = work->link;
    } else {
        works->tail = work->link;
    }
    works->n--;
    work->is_open = false;
    /* While the conductor has it, it is the conductor's. */
    struct object *object =
        error || work->is_sent ? NULL : steal(&work->object);
    work->done(work->aux, result ? result : &none, object, error);
    if (!work->is_sent) {
        work_free(work);
    }
    if (key && !works->is_closed) {
        send_next_of_key(works, key);
    }
}

static struct work *
before_of_key(const struct work *work)
{
    if (!work->key) {
        return NULL;
    }
    for (struct work *w = work->works->first; w != work; w = w->next) {
        if (str_eq(w->key, work->key)) {
            return w;
        }
    }
    return NULL;
}

static void
send_next_of_key(struct conductor_works *works, const char *key)
{
    for (struct work *w = works->first; w; w = w->next) {
        if (str_eq(w->key, key)) {
            if (!w->is_sent && !w->due_ms) {
                send_if_turn(w);
            }
            return;
        }
    }
}

static void
work_free(struct work *work)
{
    free(work->class_name);
    free(work->key);
    json_free(work->context);
    json_free(work->args);
    json_free(work->kwargs);
    object_free(work->object);
    free(work);
}

/* Whoever ends may take others with it: after each the list is looked at from
 * its beginning. */
static void
next_time(uv_timer_t *timer)
{
    struct conductor_works *works = timer->data;
    uint64_t now_ms = clock_now_ms();

    for (struct work *w = works->first; w;) {
        if (!w->is_sent && w->due_ms && w->due_ms <= now_ms) {
            send_if_turn(w);
            w = works->first;
        } else {
            w = w->next;
        }
    }
    set_timer(works);
}

static void
set_timer(struct conductor_works *works)
{
    uint64_t now_ms = clock_now_ms(), due_ms = 0;

    if (works->is_closed) {
        return;
    }
    for (struct work *w = works->first; w; w = w->next) {
        if (w->due_ms && (!due_ms || w->due_ms < due_ms)) {
            due_ms = w->due_ms;
        }
    }
    if (due_ms) {
        uv_timer_start(works->timer, next_time,
                       due_ms > now_ms ? due_ms - now_ms : 1, 0);
    } else {
        uv_timer_stop(works->timer);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}
