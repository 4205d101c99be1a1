#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"

#define POLL_MS 250
#define POLL_TIMEOUT_MS 3000

/* Off a terminal: a line for so much progress, but not more often than every
 * second, and a sign of life when there is none. */
#define LINE_PERCENT 10
#define LINE_MS 1000
#define ALIVE_MS 30000

/* A migration whose status is final may have something left to do, such as
 * telling the destination; it is waited for, but not for ever. */
#define SETTLE_MS 10000

#define BAR_WIDTH 24
#define MIB INT64_C(1048576)

struct watch {
    struct tool *tool;
    const struct json *instance;
    const char *name, *source;
    char *uuid;
    struct json *now; /* As the source last said. */
    uint64_t start_ms;
    bool on_terminal, is_away;
    int percent; /* What was shown: never goes back. */
    unsigned shown_width;

    /* Of the last line, off a terminal. */
    char *state;
    int line_percent;
    uint64_t line_ms;

    struct json *printed; /* The latest of --json; null: none. */

    uint64_t final_since_ms; /* 0: it is not. */
};

/* Amounts of memory and disk together, in bytes. */
struct amount {
    int64_t total, left;
};

static void watch_init(struct watch *w, struct tool *tool,
                       const struct json *instance,
                       const struct json *migration);
static void watch_close(struct watch *w);
static struct error *poll_source(struct watch *w);
static void source_away(struct watch *w, const struct error *error);
static bool is_final(const struct json *migration);
static bool is_over(struct watch *w);
static struct amount amount_of(const struct watch *w);
static int percent_of(const struct watch *w, struct amount amount);
static void show(struct watch *w);
static void show_bar(struct watch *w, const char *numbers, const char *state);
static void show_line(struct watch *w, const char *numbers, const char *state);
static void show_json(struct watch *w);
static char *numbers_text(const struct watch *w);
static char *state_text(const struct watch *w);
static void clear_bar(struct watch *w);
static struct error *conclude(struct watch *w);
static void print_summary(struct watch *w, const char *host);
static char *current_host(struct watch *w);

struct error *
watch_migration(struct tool *tool, const struct json *instance,
                const struct json *migration)
{
    struct error *error = bus_catch_signals(tool);
    struct watch w;

    if (error) {
        return error;
    }
    watch_init(&w, tool, instance, migration);
    show(&w);
    while (!error && !is_over(&w) && !bus_is_interrupted(tool)) {
        bus_wait(tool, POLL_MS);
        if (!bus_is_interrupted(tool)) {
            error = poll_source(&w);
        }
    }
    clear_bar(&w);
    if (!error && bus_is_interrupted(tool)) {
        error = error_new(ERR_INTERNAL,
                          "migration %s goes on without being watched; "
                          "'droverctl migration abort %s' ends it",
                          w.uuid, w.uuid);
    } else if (!error) {
        error = conclude(&w);
    }
    watch_close(&w);
    return error;
}

static void
watch_init(struct watch *w, struct tool *tool, const struct json *instance,
           const struct json *migration)
{
    *w = (struct watch){
        .tool = tool,
        .instance = instance,
        .name = text_of(instance, "name"),
        .source = text_of(migration, "source"),
        .uuid = xstrdup(text_of(migration, "uuid")),
        .now = json_copy(migration),
        .start_ms = clock_now_ms(),
        .on_terminal = !tool->as_json && isatty(STDOUT_FILENO),
        .line_percent = -1,
    };
}

static void
watch_close(struct watch *w)
{
    json_free(w->now);
    json_free(w->printed);
    free(w->uuid);
    free(w->state);
}

/* The migration goes on whether or not we hear of it: an agent that does not
 * answer is asked again. */
static struct error *
poll_source(struct watch *w)
{
    AUTO_JSON args = args_of("migration", w->uuid);
    struct json *now = NULL;
    AUTO_ERROR error = bus_ask(w->tool, w->source, "migration_show", args,
                               POLL_TIMEOUT_MS, &now);

    switch (error_code(error)) {
    case ERR_NONE:
        if (w->is_away) {
            clear_bar(w);
            fprintf(stderr, "droverctl: the agent of '%s' is back\n",
                    w->source);
        }
        w->is_away = false;
        json_free(w->now);
        w->now = now;
        show(w);
        return NULL;
    case ERR_CANCELLED:
    case ERR_TIMEOUT:
    case ERR_UNDELIVERABLE:
        if (!bus_is_interrupted(w->tool)) {
            source_away(w, error);
        }
        return NULL;
    default:
        return error_wrap(steal(&error), "follow migration %s", w->uuid);
    }
}

static void
source_away(struct watch *w, const struct error *error)
{
    if (!w->is_away) {
        clear_bar(w);
        fprintf(stderr,
                "droverctl: %s; the migration may go on: asking again\n",
                error_message(error));
    }
    w->is_away = true;
}

static bool
is_final(const struct json *migration)
{
    static const char *const names[] = {"completed", "failed", "cancelled",
                                        "error"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        if (str_eq(json_string_of(migration, "status"), names[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_over(struct watch *w)
{
    uint64_t now_ms = clock_now_ms();

    if (!is_final(w->now)) {
        w->final_since_ms = 0;
        return false;
    }
    if (!w->final_since_ms) {
        w->final_since_ms = now_ms;
    }
    return !json_string_of(w->now, "step") ||
           now_ms >= w->final_since_ms + SETTLE_MS;
}

/* The memory follows the disks, and before its turn the hypervisor does not
 * count it. */
static struct amount
amount_of(const struct watch *w)
{
    int64_t memory = number_of(w->now, "memory_total");
    int64_t memory_left = number_of(w->now, "memory_remaining");
    int64_t disk = number_of(w->now, "disk_total");
    int64_t disk_left = number_of(w->now, "disk_remaining");
    int64_t guest = number_of(w->instance, "memory_mb");

    if (memory <= 0 && guest > 0 &&
        str_eq(json_string_of(w->now, "type"), "live-migration")) {
        memory = memory_left = guest * MIB;
    }
    memory = memory < 0 ? 0 : memory;
    disk = disk < 0 ? 0 : disk;
    memory_left = memory_left < 0 ? memory : memory_left;
    disk_left = disk_left < 0 ? disk : disk_left;
    return (struct amount){memory + disk, memory_left + disk_left};
}

/* By what is left: of memory that is all zeroes next to nothing is sent. */
static int
percent_of(const struct watch *w, struct amount amount)
{
    int64_t done = amount.total - amount.left;

    if (str_eq(json_string_of(w->now, "status"), "completed")) {
        return 100;
    }
    if (amount.total <= 0 || done <= 0) {
        return 0;
    }
    int percent = (int)((double)done * 100 / (double)amount.total);
    return percent > 99 ? 99 : percent; /* The guest is not yet over there. */
}

static void
show(struct watch *w)
{
    int percent = percent_of(w, amount_of(w));

    w->percent = percent > w->percent ? percent : w->percent;
    AUTO_FREE numbers = numbers_text(w);
    AUTO_FREE state = state_text(w);
    if (w->on_terminal) {
        show_bar(w, numbers, state);
    } else {
        show_line(w, numbers, state);
    }
}

/* Padded with blanks, as there are terminals that can't erase. */
static void
show_bar(struct watch *w, const char *numbers, const char *state)
{
    char bar[BAR_WIDTH + 1];
    int n = w->percent * BAR_WIDTH / 100;
    AUTO_FREE elapsed = duration_text((int64_t)(clock_now_ms() - w->start_ms));
    AUTO_FREE name = text_clean(w->name);

    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)n);
    bar[BAR_WIDTH] = '\0';
    AUTO_FREE line = xasprintf("%s [%s] %3d%%  %s  %s  %s", name, bar,
                               w->percent, numbers, state, elapsed);
    unsigned room = print_width();
    size_t size = text_fitting(line, room > 1 ? room - 1 : 79);
    line[size] = '\0';
    unsigned width = text_width(line);
    int pad = w->shown_width > width ? (int)(w->shown_width - width) : 0;
    printf("\r%s%*s", line, pad, "");
    fflush(stdout);
    w->shown_width = width;
}

static void
show_line(struct watch *w, const char *numbers, const char *state)
{
    uint64_t now_ms = clock_now_ms();
    bool is_new = !str_eq(state, w->state);
    bool has_grown = w->percent >= w->line_percent + LINE_PERCENT &&
                     now_ms >= w->line_ms + LINE_MS;

    if (!is_new && !has_grown && now_ms < w->line_ms + ALIVE_MS) {
        return;
    }
    free(w->state);
    w->state = xstrdup(state);
    w->line_percent = w->percent;
    w->line_ms = now_ms;
    if (w->tool->as_json) {
        show_json(w);
        return;
    }
    AUTO_FREE elapsed = duration_text((int64_t)(now_ms - w->start_ms));
    AUTO_FREE name = text_clean(w->name);
    printf("%s  %3d%%  %s  %s  %s\n", name, w->percent, numbers, state,
           elapsed);
    fflush(stdout);
}

/* Not what was printed last. */
static void
show_json(struct watch *w)
{
    if (!w->printed || !json_equal(w->printed, w->now)) {
        print_json(w->now);
        json_free(w->printed);
        w->printed = json_copy(w->now);
    }
}

/* The caller's. */
static char *
numbers_text(const struct watch *w)
{
    struct amount amount = amount_of(w);
    int64_t rate = number_of(w->now, "rate");
    int64_t done = amount.total - amount.left;
    AUTO_FREE speed = rate > 0 ? xasprintf("%" PRId64 " MiB/s", rate / MIB)
                               : xstrdup("- MiB/s");

    if (amount.total <= 0) {
        return xstrdup(speed);
    }
    return xasprintf("%" PRId64 " MiB done, %" PRId64 " left, %s",
                     done > 0 ? done / MIB : 0, (amount.left + MIB - 1) / MIB,
                     speed);
}

/* "running/transfer"; the caller's. */
static char *
state_text(const struct watch *w)
{
    const char *step = json_string_of(w->now, "step");
    AUTO_FREE text = xasprintf(
        "%s%s%s%s", text_of(w->now, "status"), step ? "/" : "",
        json_bool_of(w->now, "going_back") ? "undo " : "", step ? step : "");

    return text_clean(text);
}

/* Makes room for a line of another kind. */
static void
clear_bar(struct watch *w)
{
    if (w->on_terminal && w->shown_width) {
        printf("\r%*s\r", (int)w->shown_width, "");
        fflush(stdout);
        w->shown_width = 0;
    }
}

static struct error *
conclude(struct watch *w)
{
    const char *status = text_of(w->now, "status");
    const char *reason = json_string_of(w->now, "error");
    AUTO_FREE host = current_host(w);

    if (w->tool->as_json) {
        show_json(w);
    } else {
        print_summary(w, host);
    }
    if (str_eq(status, "completed")) {
        return NULL;
    }
    return error_new(ERR_INTERNAL, "migration of '%s' %s%s%s", w->name, status,
                     reason ? ": " : "", reason ? reason : "");
}

static void
print_summary(struct watch *w, const char *host)
{
    const char *status = text_of(w->now, "status");
    int64_t memory = number_of(w->now, "memory_processed");
    int64_t disk = number_of(w->now, "disk_processed");
    int64_t sum = (memory > 0 ? memory : 0) + (disk > 0 ? disk : 0);
    int64_t total_ms = number_of(w->now, "total_ms");
    AUTO_FREE moved = size_text(memory < 0 && disk < 0 ? -1 : sum);
    AUTO_FREE downtime = duration_text(number_of(w->now, "downtime_ms"));
    AUTO_FREE total = duration_text(
        total_ms >= 0 ? total_ms : (int64_t)(clock_now_ms() - w->start_ms));

    print_field("Migration", "%s %s", w->uuid, status);
    print_field("Instance", "%s", w->name);
    print_field("Was on", "%s", text_of(w->instance, "host"));
    print_field("Is on", "%s", host);
    print_field("Total time", "%s", total);
    print_field("Downtime", "%s", downtime);
    print_field("Data moved", "%s", moved);
}

/* As the hosts say now, and if they don't as the migration says; the
 * caller's. */
static char *
current_host(struct watch *w)
{
    AUTO_JSON found = NULL;
    AUTO_ERROR error =
        w->tool->as_json
            ? NULL
            : instance_find(w->tool, text_of(w->instance, "uuid"), &found);
    const char *host = error ? NULL : json_string_of(found, "host");
    bool has_moved = str_eq(json_string_of(w->now, "status"), "completed");

    return xstrdup(host        ? host
                   : has_moved ? text_of(w->now, "dest")
                               : w->source);
}
