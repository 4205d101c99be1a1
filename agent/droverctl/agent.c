#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What concerns one agent: how it is doing, and how it is made to fail. */

static void print_status(const struct json *status);
static void print_bus(const struct json *bus);
static void print_self_test(const struct json *test);
static void print_faults(const struct json *bus);
static void print_requests(const struct json *rpc);
static void print_storage(const struct json *storage);

struct error *
verb_status(struct tool *tool)
{
    const char *host = tool->n_args ? tool->args[0] : NULL;
    AUTO_JSON status = NULL;
    struct error *error = agent_ask(tool, host, "status", NULL, &status);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(status);
    } else {
        print_status(status);
    }
    return NULL;
}

struct error *
verb_fake(struct tool *tool)
{
    AUTO_FREE command = xstrdup(tool->args[0]);

    for (int i = 1; i < tool->n_args; i++) {
        char *longer = xasprintf("%s %s", command, tool->args[i]);
        free(command);
        command = longer;
    }
    AUTO_JSON args = args_of("command", command);
    AUTO_JSON result = NULL;
    struct error *error = agent_ask(tool, NULL, "fake", args, &result);
    if (error) {
        return error;
    }
    const char *answer = json_string_of(result, "answer");
    if (tool->as_json) {
        print_json(result);
    } else if (answer && *answer) {
        bool has_end = answer[strlen(answer) - 1] == '\n';
        printf("%s%s", answer, has_end ? "" : "\n");
    }
    return NULL;
}

struct error *
verb_fault_set(struct tool *tool)
{
    AUTO_JSON args = args_of("name", tool->args[0]);
    AUTO_JSON result = NULL;

    json_set_string(args, "action", tool->args[1]);
    struct error *error = agent_ask(tool, NULL, "fault_set", args, &result);
    if (!error && tool->as_json) {
        print_json(result);
    }
    return error;
}

struct error *
verb_fault_list(struct tool *tool)
{
    static const struct table_column columns[] = {
        {"NAME", false},
        {"ACTION", false},
        {"PASSED", true},
    };
    AUTO_JSON list = NULL;
    struct error *error = agent_ask(tool, NULL, "fault_list", NULL, &list);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(list);
        return NULL;
    }
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));
    json_for_each (point, list) {
        table_add_member(table, point, "name");
        table_add_member(table, point, "action");
        table_add_member(table, point, "n_passed");
    }
    print_table(table);
    return NULL;
}

static void
print_status(const struct json *status)
{
    const struct json *memory = json_get(status, "memory");
    bool is_up = json_bool_of(status, "hypervisor_up");

    print_member("Host", status, "host");
    print_field("Agent", "drover %s, process %" PRId64 ", since %s",
                text_of(status, "version"), number_of(status, "pid"),
                text_of(status, "started"));
    print_field("Hypervisor", "%s, %s", text_of(status, "driver"),
                is_up ? "connected" : "not connected");
    print_member("Instances", status, "n_instances");
    print_field("Memory",
                "%" PRId64 " KiB resident, %" PRId64 " KiB private dirty",
                number_of(memory, "resident_kib"),
                number_of(memory, "private_dirty_kib"));
    print_bus(json_get(status, "bus"));
    print_requests(json_get(status, "rpc"));
    print_storage(json_get(status, "storage"));
    print_operations(json_get(status, "operations"));
}

static void
print_bus(const struct json *bus)
{
    const char *last_error = json_string_of(bus, "last_error");
    const char *broker = json_string_of(bus, "broker");
    bool has_broker = broker && *broker; /* Not before the first connection. */
    bool is_up =
        json_bool_of(bus, "consuming") && json_bool_of(bus, "publishing");

    if (!json_is_object(bus)) {
        return;
    }
    print_field("Broker", "%s%s%s since %s", has_broker ? broker : "",
                has_broker ? ", " : "", is_up ? "connected" : "not connected",
                text_of(bus, "since"));
    if (json_bool_of(bus, "blocked")) {
        print_field("", "takes no messages since %s: %s",
                    text_of(bus, "blocked_since"),
                    text_of(bus, "blocked_reason"));
    }
    print_field("",
                "%" PRId64 " connects, %" PRId64 " disconnects, %" PRId64
                " messages wait, %" PRId64 " dropped",
                number_of(bus, "n_connects"), number_of(bus, "n_disconnects"),
                number_of(bus, "n_queued"), number_of(bus, "n_dropped"));
    print_self_test(json_get(bus, "self_test"));
    print_faults(bus);
    if (last_error && *last_error) {
        print_field("Last error", "%s, %s", text_of(bus, "last_error_at"),
                    last_error);
    }
}

static void
print_self_test(const struct json *test)
{
    const char *reason = json_string_of(test, "reason");
    const struct json *ok_s_ago = json_get(test, "ok_s_ago");

    if (!json_is_object(test)) {
        print_field("Self-test", "none");
        return;
    }
    AUTO_FREE ago =
        json_is_null(ok_s_ago)
            ? xstrdup("never")
            : xasprintf("%" PRId64 " s ago", number_of(test, "ok_s_ago"));
    print_field("Self-test", "%s%s%s, heard itself %s", text_of(test, "state"),
                reason ? ": " : "", reason ? reason : "", ago);
    if (number_of(test, "n_failed")) {
        print_field("", "%" PRId64 " failed, %" PRId64 " times well again",
                    number_of(test, "n_failed"), number_of(test, "n_repaired"));
    }
}

/* Those that there were. */
static void
print_faults(const struct json *bus)
{
    static const struct {
        const char *name, *text;
    } faults[] = {
        {"n_failures", "attempts to connect failed"},
        {"n_closed", "connections closed by the broker"},
        {"n_silent", "connections gone silent"},
        {"n_channels", "channels closed by the broker"},
        {"n_cancels", "queues deleted under us"},
        {"n_deaf", "times deaf, declared again"},
        {"n_repairs", "repairs after a self-test"},
        {"n_blocks", "times blocked by the broker"},
        {"n_returns", "messages without a queue"},
        {"n_refused", "messages refused by the broker"},
        {"n_oversized", "messages too large"},
        {"n_expired", "messages too late to be sent"},
        {"n_dropped_progress", "progress reports dropped"},
        {"n_dropped_notifications", "notifications dropped"},
        {"n_dropped_replies", "replies dropped"},
        {"n_dropped_requests", "requests dropped"},
    };
    const char *title = "Bus faults";

    for (size_t i = 0; i < N_ELEMENTS(faults); i++) {
        int64_t n = number_of(bus, faults[i].name);

        if (n > 0) {
            print_field(title, "%" PRId64 " %s", n, faults[i].text);
            title = "";
        }
    }
}

static void
print_requests(const struct json *rpc)
{
    print_field("Requests",
                "%" PRId64 " taken, %" PRId64 " under way, %" PRId64
                " failed, %" PRId64 " duplicates, %" PRId64 " rejected",
                number_of(rpc, "n_requests"), number_of(rpc, "n_held"),
                number_of(rpc, "n_failures"), number_of(rpc, "n_duplicates"),
                number_of(rpc, "n_rejected"));
}

/* Nothing, if all is on disk. */
static void
print_storage(const struct json *storage)
{
    if (number_of(storage, "n_unsaved") > 0) {
        print_field("Storage", "%" PRId64 " documents are not on disk: %s",
                    number_of(storage, "n_unsaved"),
                    text_of(storage, "reason"));
    }
}
