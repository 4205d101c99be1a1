#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>

#define POLL_MS 500
#define POLL_TIMEOUT_MS 3000

struct drain_watch {
    struct tool *tool;
    const char *host;
    struct json *now; /* As the host last said; null: not yet. */
    bool is_away;
};

static struct error *poll_host(struct drain_watch *w);
static void host_answered(struct drain_watch *w, struct json *now);
static void host_away(struct drain_watch *w, const struct error *error);
static void show(const struct drain_watch *w, const struct json *before);
static void show_move(const struct json *move);
static const struct json *find_move(const struct json *drain, const char *uuid);
static size_t count(const struct json *drain, const char *state);
static void conclude(struct drain_watch *w);

struct error *
watch_drain(struct tool *tool, const char *host)
{
    struct drain_watch w = {.tool = tool, .host = host};
    struct error *error = bus_catch_signals(tool);

    while (!error && !bus_is_interrupted(tool)) {
        error = poll_host(&w);
        if (error || json_bool_of(w.now, "is_over")) {
            break;
        }
        bus_wait(tool, POLL_MS);
    }
    if (!error && bus_is_interrupted(tool)) {
        error = error_new(ERR_INTERNAL,
                          "the drain of '%s' goes on without being watched; "
                          "'droverctl host drain %s --stop' stops it",
                          host, host);
    } else if (!error) {
        conclude(&w);
    }
    json_free(w.now);
    return error;
}

/* The drain goes on whether or not we hear of it. */
static struct error *
poll_host(struct drain_watch *w)
{
    struct json *now = NULL;
    AUTO_ERROR error =
        bus_ask(w->tool, w->host, "drain_show", NULL, POLL_TIMEOUT_MS, &now);

    switch (error_code(error)) {
    case ERR_NONE:
        host_answered(w, now);
        return NULL;
    case ERR_NOT_FOUND:
        return error_wrap(steal(&error), w->now ? "it is over, but the agent "
                                                  "has forgotten how it ended"
                                                : "watch a drain");
    case ERR_CANCELLED:
    case ERR_TIMEOUT:
    case ERR_UNDELIVERABLE:
        if (!w->now && !bus_is_interrupted(w->tool)) {
            return steal(&error); /* It was never there. */
        }
        host_away(w, error);
        return NULL;
    default:
        return steal(&error);
    }
}

/* Takes 'now'. */
static void
host_answered(struct drain_watch *w, struct json *now)
{
    AUTO_JSON before = w->now;

    if (w->is_away) {
        fprintf(stderr, "droverctl: the agent of '%s' is back\n", w->host);
    }
    w->is_away = false;
    w->now = now;
    show(w, before);
}

static void
host_away(struct drain_watch *w, const struct error *error)
{
    if (!w->is_away && !bus_is_interrupted(w->tool)) {
        fprintf(stderr, "droverctl: %s; the drain may go on: asking again\n",
                error_message(error));
        w->is_away = true;
    }
}

/* A line for each change. */
static void
show(const struct drain_watch *w, const struct json *before)
{
    if (w->tool->as_json) {
        if (!before || !json_equal(before, w->now)) {
            print_json(w->now);
        }
        return;
    }
    json_for_each (move, json_get(w->now, "moves")) {
        const struct json *old =
            find_move(before, json_string_of(move, "uuid"));

        if (!old ||
            !json_equal(json_get(old, "state"), json_get(move, "state")) ||
            !json_equal(json_get(old, "n_tries"), json_get(move, "n_tries"))) {
            show_move(move);
        }
    }
    if (!before ||
        !json_equal(json_get(before, "phase"), json_get(w->now, "phase"))) {
        printf("%s: %s\n", w->host, text_of(w->now, "phase"));
    }
    fflush(stdout);
}

static void
show_move(const struct json *move)
{
    const char *host = json_string_of(move, "host");
    const char *reason = json_string_of(move, "reason");
    const char *state = text_of(move, "state");
    bool is_back = str_eq(state, "to-return") || str_eq(state, "returning") ||
                   str_eq(state, "returned") || str_eq(state, "not-returned");
    const char *name = json_string_of(move, "name");
    AUTO_FREE line =
        xasprintf("%s  %s%s%s%s%s", name ? name : text_of(move, "uuid"), state,
                  host ? is_back ? " from " : " to " : "", host ? host : "",
                  reason ? ": " : "", reason ? reason : "");
    AUTO_FREE clean = text_clean(line);

    puts(clean);
}

static const struct json *
find_move(const struct json *drain, const char *uuid)
{
    json_for_each (move, json_get(drain, "moves")) {
        if (str_eq(json_string_of(move, "uuid"), uuid)) {
            return move;
        }
    }
    return NULL;
}

static size_t
count(const struct json *drain, const char *state)
{
    size_t n = 0;

    json_for_each (move, json_get(drain, "moves")) {
        n += str_eq(json_string_of(move, "state"), state);
    }
    return n;
}

static void
conclude(struct drain_watch *w)
{
    const char *phase = text_of(w->now, "phase");

    if (!str_eq(phase, "drained") && !str_eq(phase, "restored")) {
        w->tool->exit_status = EXIT_PARTLY;
    }
    if (w->tool->as_json) {
        return;
    }
    printf("%zu moved, %zu returned, %" PRId64 " on the host, %zu elsewhere\n",
           count(w->now, "moved"), count(w->now, "returned"),
           number_of(w->now, "n_left"),
           count(w->now, "away") + count(w->now, "not-returned"));
}
