#include <config.h>

#include "tests/unit/driver_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void on_event(void *aux, const struct driver_event *event);
static void on_deadline(uv_timer_t *timer);

/* Its timer repeats: uv_run() waits after it has run the timers, so one that
 * fired only once could leave it waiting for ever. */
struct deadline {
    uv_timer_t timer;
    bool has_passed;
};

void
result_clear(struct result *result)
{
    error_free(result->error);
    host_info_free(result->host);
    host_resources_free(result->resources);
    free(result->text);
    guest_free(result->guest);
    guest_list_free(result->list);
    if (result->has_fd) {
        close(result->fd);
    }
    *result = (struct result){0};
}

static struct result *
finish(void *aux, struct error *error)
{
    struct result *result = aux;

    result->is_done = true;
    result->n_calls++;
    result->error = error;
    return result;
}

void
on_plain(void *aux, struct error *error)
{
    finish(aux, error);
}

void
on_host(void *aux, struct error *error, struct host_info *host)
{
    finish(aux, error)->host = host;
}

void
on_resources(void *aux, struct error *error, struct host_resources *resources)
{
    finish(aux, error)->resources = resources;
}

void
on_text(void *aux, struct error *error, char *text)
{
    finish(aux, error)->text = text;
}

void
on_counters(void *aux, struct error *error, struct guest_counters *counters)
{
    finish(aux, error);
    guest_counters_free(counters);
}

void
on_guest(void *aux, struct error *error, struct guest *guest)
{
    finish(aux, error)->guest = guest;
}

void
on_list(void *aux, struct error *error, struct guest_list *list)
{
    finish(aux, error)->list = list;
}

void
on_fd(void *aux, struct error *error, int fd)
{
    struct result *result = finish(aux, error);

    result->fd = fd;
    result->has_fd = fd >= 0;
}

void
on_answer(void *aux, struct error *error, bool answer)
{
    finish(aux, error)->answer = answer;
}

void
on_presence(void *aux, struct error *error, enum guest_presence presence)
{
    finish(aux, error)->presence = presence;
}

void
on_job(void *aux, struct error *error, const struct job_stats *stats)
{
    struct result *result = finish(aux, error);

    result->has_job = stats != NULL;
    if (stats) {
        result->job = *stats;
    }
}

void
on_number(void *aux, struct error *error, unsigned number)
{
    finish(aux, error)->number = number;
}

void
on_dirty_rate(void *aux, struct error *error, const struct dirty_rate *rate)
{
    struct result *result = finish(aux, error);

    if (rate) {
        result->dirty_rate = *rate;
    }
}

struct harness *
harness_create(void)
{
    struct harness *h = xzalloc(sizeof *h);

    uv_loop_init(&h->loop);
    h->q = completion_queue_create(&h->loop);
    return h;
}

struct error *
harness_load(struct harness *h, int slot, const char *directory,
             const char *name, const struct driver_options *options)
{
    h->events[slot].n = 0;
    return driver_load(h->q, directory, name, options, on_event,
                       &h->events[slot], &h->drivers[slot]);
}

void
harness_unload(struct harness *h, int slot)
{
    driver_close(h->drivers[slot]);
    h->drivers[slot] = NULL;
}

void
harness_free(struct harness *h)
{
    harness_unload(h, 0);
    harness_unload(h, 1);
    completion_queue_close(h->q);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    free(h);
}

void
harness_wait(struct harness *h, const bool *flag)
{
    struct deadline deadline = {.has_passed = false};

    uv_timer_init(&h->loop, &deadline.timer);
    uv_timer_start(&deadline.timer, on_deadline, HARNESS_DEADLINE_MS, 1);
    while (!*flag && !deadline.has_passed) {
        uv_run(&h->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline.timer, NULL);
    uv_run(&h->loop, UV_RUN_NOWAIT);
    if (!*flag) {
        fail_msg("nothing happened in %d ms", HARNESS_DEADLINE_MS);
    }
}

void
harness_pause(struct harness *h)
{
    struct deadline deadline = {.has_passed = false};

    uv_timer_init(&h->loop, &deadline.timer);
    uv_timer_start(&deadline.timer, on_deadline, 2, 1);
    while (!deadline.has_passed) {
        uv_run(&h->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline.timer, NULL);
    uv_run(&h->loop, UV_RUN_NOWAIT);
}

unsigned
harness_count(const struct harness *h, int slot, enum driver_event_type type,
              const char *uuid)
{
    unsigned n = 0;

    for (unsigned i = 0; i < h->events[slot].n; i++) {
        const struct driver_event *event = &h->events[slot].events[i];

        n += event->type == type && (!uuid || str_eq(event->uuid, uuid));
    }
    return n;
}

void
harness_wait_event(struct harness *h, int slot, enum driver_event_type type,
                   const char *uuid, unsigned n)
{
    struct deadline deadline = {.has_passed = false};

    uv_timer_init(&h->loop, &deadline.timer);
    uv_timer_start(&deadline.timer, on_deadline, HARNESS_DEADLINE_MS, 1);
    while (harness_count(h, slot, type, uuid) < n && !deadline.has_passed) {
        uv_run(&h->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline.timer, NULL);
    uv_run(&h->loop, UV_RUN_NOWAIT);
    if (deadline.has_passed) {
        fail_msg("event %d did not come %u times in %d ms", type, n,
                 HARNESS_DEADLINE_MS);
    }
}

static void
on_event(void *aux, const struct driver_event *event)
{
    struct harness_events *events = aux;

    if (events->n < HARNESS_EVENTS_MAX) {
        events->events[events->n++] = *event;
    }
}

static void
on_deadline(uv_timer_t *timer)
{
    container_of(timer, struct deadline, timer)->has_passed = true;
}
