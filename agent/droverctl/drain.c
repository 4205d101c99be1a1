#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB INT64_C(1048576)

/* Every guest is checked at the host that it may go to. */
#define PLAN_TIMEOUT_MS 600000

static bool check_options(const struct tool *tool, struct error **ret_error);
static struct error *steer(struct tool *tool, const char *host,
                           const char *method);
static struct error *begin(struct tool *tool, const char *host);
static struct error *make_plan(struct tool *tool, const char *host,
                               struct json **ret);
static size_t count_movable(const struct json *plan);
static void print_plan(const struct json *plan);
static void print_guests(const struct json *plan);
static void print_hosts(const struct json *plan);
static char *memory_text(const struct json *json, const char *name);
static size_t print_returns(const struct tool *tool, const struct json *drain);

struct error *
verb_host_drain(struct tool *tool)
{
    const char *host = tool->args[0];
    struct error *error = NULL;

    if (!check_options(tool, &error)) {
        return error;
    }
    if (tool->options & OPTION_STOP) {
        return steer(tool, host, "drain_stop");
    }
    if (tool->options & OPTION_END) {
        return steer(tool, host, "drain_end");
    }
    return tool->options & OPTION_WATCH ? watch_drain(tool, host)
                                        : begin(tool, host);
}

struct error *
verb_host_restore(struct tool *tool)
{
    const char *host = tool->args[0];
    AUTO_JSON drain = NULL;
    AUTO_JSON answer = NULL;
    struct error *error =
        bus_ask(tool, host, "drain_show", NULL, tool->timeout_ms, &drain);

    if (error) {
        return error;
    }
    size_t n = print_returns(tool, drain);
    AUTO_FREE question = xasprintf("Bring back %zu guests to '%s'?", n, host);
    error = tool_confirm(tool, question);
    if (!error) {
        error = bus_ask(tool, host, "drain_restore", NULL, tool->timeout_ms,
                        &answer);
    }
    return error ? error : watch_drain(tool, host);
}

/* What excludes each other. */
static bool
check_options(const struct tool *tool, struct error **ret_error)
{
    unsigned ways = tool->options &
                    (OPTION_PLAN | OPTION_STOP | OPTION_RESUME | OPTION_END);
    bool is_more = tool->options & (OPTION_TO | OPTION_YES);
    bool only_asks = tool->options & (OPTION_STOP | OPTION_END | OPTION_WATCH);

    if (ways & (ways - 1) ||
        (only_asks && (is_more || tool->options & OPTION_RESUME)) ||
        (tool->options & OPTION_WATCH && ways & ~(unsigned)OPTION_STOP)) {
        *ret_error =
            error_new(ERR_VALUE, "--plan, --stop, --resume, --end and --watch "
                                 "exclude each other, but --stop --watch");
        return false;
    }
    return true;
}

static struct error *
steer(struct tool *tool, const char *host, const char *method)
{
    AUTO_JSON drain = NULL;
    struct error *error =
        bus_ask(tool, host, method, NULL, tool->timeout_ms, &drain);

    if (error) {
        return error;
    }
    if (tool->options & OPTION_WATCH) {
        return watch_drain(tool, host);
    }
    if (tool->as_json) {
        print_json(drain);
    } else {
        printf("%s: %s\n", host, text_of(drain, "phase"));
    }
    return NULL;
}

static struct error *
begin(struct tool *tool, const char *host)
{
    bool resumes = tool->options & OPTION_RESUME;
    AUTO_JSON plan = NULL;
    AUTO_JSON answer = NULL;
    struct error *error = make_plan(tool, host, &plan);

    if (error) {
        return error;
    }
    size_t n = count_movable(plan);
    bool is_all = n == json_size(json_get(plan, "guests"));
    if (tool->options & OPTION_PLAN || !tool->as_json) {
        if (tool->as_json) {
            print_json(plan);
        } else {
            print_plan(plan);
        }
    }
    if (tool->options & OPTION_PLAN) {
        tool->exit_status = is_all ? EXIT_SUCCESS : EXIT_PARTLY;
        return NULL;
    }
    AUTO_FREE question = xasprintf("Move %zu of %zu guests away from '%s'?", n,
                                   json_size(json_get(plan, "guests")), host);
    error = tool_confirm(tool, question);
    if (error) {
        return error;
    }
    AUTO_JSON args = json_object();
    json_set(args, "plan", steal(&plan));
    error = bus_ask(tool, host, resumes ? "drain_resume" : "drain_start", args,
                    tool->timeout_ms, &answer);
    if (error_code(error) == ERR_TIMEOUT) {
        return error_wrap(error, "it may have begun: see host drain --watch");
    }
    return error ? error : watch_drain(tool, host);
}

static struct error *
make_plan(struct tool *tool, const char *host, struct json **ret)
{
    const char *names = tool_value(tool, OPTION_TO);
    AUTO_JSON args = json_object();

    if (names) {
        struct json *to = json_array();

        for (const char *p = names; p;) {
            const char *comma = strchr(p, ',');
            size_t size = comma ? (size_t)(comma - p) : strlen(p);

            if (size) {
                json_append(to, json_string_n(p, size));
            }
            p = comma ? comma + 1 : NULL;
        }
        json_set(args, "to", to);
    }
    return bus_ask(tool, host, "drain_plan", args, PLAN_TIMEOUT_MS, ret);
}

static size_t
count_movable(const struct json *plan)
{
    size_t n = 0;

    json_for_each (guest, json_get(plan, "guests")) {
        n += json_string_of(guest, "dest") != NULL;
    }
    return n;
}

static void
print_plan(const struct json *plan)
{
    if (json_first(json_get(plan, "guests"))) {
        print_guests(plan);
    } else {
        puts("No guests are on this host.");
    }
    if (json_first(json_get(plan, "hosts"))) {
        puts("");
        print_hosts(plan);
    }
}

static void
print_guests(const struct json *plan)
{
    static const struct table_column columns[] = {
        {"GUEST", false}, {"MEMORY", true}, {"DISK", true},
        {"TO", false},    {"TIME", true},   {"REMARK", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (guest, json_get(plan, "guests")) {
        const struct json *forecast = json_get(guest, "forecast");
        const char *reason = json_string_of(guest, "reason");
        AUTO_FREE memory = memory_text(guest, "memory_mb");
        AUTO_FREE disk = memory_text(guest, "disk_mb");
        AUTO_FREE time = duration_text(number_of(forecast, "total_ms"));

        table_add_member(table, guest, "name");
        table_add(table, memory);
        table_add(table, disk);
        table_add_member(table, guest, "dest");
        table_add(table, time);
        table_add(table, reason ? reason : json_string_of(forecast, "text"));
    }
    print_table(table);
}

static void
print_hosts(const struct json *plan)
{
    static const struct table_column columns[] = {
        {"HOST", false},      {"GETS", true},     {"FREE NOW", true},
        {"FREE AFTER", true}, {"WHY NOT", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (host, json_get(plan, "hosts")) {
        AUTO_FREE now = memory_text(host, "memory_free_mb");
        AUTO_FREE after = memory_text(host, "memory_after_mb");

        table_add_member(table, host, "host");
        table_add_member(table, host, "n_guests");
        table_add(table, now);
        table_add(table, after);
        table_add_member(table, host, "reason");
    }
    print_table(table);
}

/* The caller's. */
static char *
memory_text(const struct json *json, const char *name)
{
    int64_t mb = number_of(json, name);

    return size_text(mb < 0 ? -1 : mb * MIB);
}

/* How many guests there are to bring back. */
static size_t
print_returns(const struct tool *tool, const struct json *drain)
{
    static const struct table_column columns[] = {
        {"GUEST", false}, {"MEMORY", true}, {"WENT TO", false}};
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));
    size_t n = 0;

    json_for_each (move, json_get(drain, "moves")) {
        const char *state = json_string_of(move, "state");
        AUTO_FREE memory = memory_text(move, "memory_mb");

        if (!str_eq(state, "moved") && !str_eq(state, "not-returned") &&
            !str_eq(state, "to-return")) {
            continue;
        }
        table_add_member(table, move, "name");
        table_add(table, memory);
        table_add_member(table, move, "host");
        n++;
    }
    if (n && !tool->as_json) {
        print_table(table);
    }
    return n;
}
