#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>

/* Operations of an agent's journal. */

static void print_list(const struct json *list);
static void print_residue(const struct json *list);
static void print_operation(const struct json *op);
static void print_todo(const struct json *op);
static void add_wait(struct table *table, int64_t s);

struct error *
verb_op_list(struct tool *tool)
{
    AUTO_JSON list = NULL;
    struct error *error = agent_ask(tool, NULL, "op_list", NULL, &list);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(list);
    } else {
        print_list(list);
        print_residue(list);
    }
    return NULL;
}

struct error *
verb_op_show(struct tool *tool)
{
    AUTO_JSON args = args_of("op", tool->args[0]);
    AUTO_JSON op = NULL;
    struct error *error = agent_ask(tool, NULL, "op_show", args, &op);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(op);
    } else {
        print_operation(op);
    }
    return NULL;
}

struct error *
verb_op_retry(struct tool *tool)
{
    AUTO_JSON args = args_of("op", tool->args[0]);
    AUTO_JSON op = NULL;
    struct error *error = agent_ask(tool, NULL, "op_retry", args, &op);

    if (!error && tool->as_json) {
        print_json(op);
    }
    return error;
}

/* The question is about one operation, also if its beginning came to name
 * another one meanwhile. */
struct error *
verb_op_forget(struct tool *tool)
{
    AUTO_JSON args = args_of("op", tool->args[0]);
    AUTO_JSON op = NULL;
    AUTO_JSON before = NULL;
    struct error *error = agent_ask(tool, NULL, "op_show", args, &op);

    if (error) {
        return error;
    }
    if (!tool->as_json) {
        print_operation(op);
    }
    error = tool_confirm(tool, "Leave this behind and forget the operation?");
    if (error) {
        return error;
    }
    AUTO_JSON this_one = args_of("op", json_string_of(op, "key"));
    error = agent_ask(tool, NULL, "op_forget", this_one, &before);
    if (!error && tool->as_json) {
        print_json(before);
    }
    return error;
}

void
print_operations(const struct json *list)
{
    size_t n_open = 0, n_left = 0;

    json_for_each (op, list) {
        n_open += !str_eq(json_string_of(op, "step"), "finished");
        n_left += json_size(json_get(op, "residue"));
    }
    print_field("Operations", "%zu", n_open);
    if (n_left) {
        print_field("Left behind", "%zu, tried again from time to time",
                    n_left);
    }
    if (json_size(list)) {
        putchar('\n');
        print_list(list);
        print_residue(list);
    }
}

static void
print_list(const struct json *list)
{
    static const struct table_column columns[] = {
        {"OP", true},    {"TYPE", false},      {"KEY", false},
        {"STEP", false}, {"DIRECTION", false}, {"COMMITTED", false},
        {"WAITS", true}, {"ERROR", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (op, list) {
        table_add_member(table, op, "op");
        table_add_member(table, op, "type");
        table_add_member(table, op, "key");
        table_add_member(table, op, "step");
        table_add_member(table, op, "direction");
        table_add_member(table, op, "committed");
        add_wait(table, number_of(op, "waiting_s"));
        table_add_member(table, op, "error");
    }
    print_table(table);
}

/* Nothing, if there is none. */
static void
print_residue(const struct json *list)
{
    static const struct table_column columns[] = {
        {"OP", true},    {"LEFT BEHIND", false}, {"DIRECTION", false},
        {"TRIES", true}, {"NEXT", true},         {"REASON", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));
    size_t n = 0;

    json_for_each (op, list) {
        json_for_each (piece, json_get(op, "residue")) {
            table_add_member(table, op, "op");
            table_add_member(table, piece, "step");
            table_add_member(table, piece, "direction");
            table_add_member(table, piece, "tries");
            add_wait(table, number_of(piece, "next_s"));
            table_add_member(table, piece, "error");
            n++;
        }
    }
    if (n) {
        putchar('\n');
        print_table(table);
    }
}

static void
print_operation(const struct json *op)
{
    AUTO_JSON list = json_array();
    int64_t waiting_s = number_of(op, "waiting_s");

    print_member("Operation", op, "op");
    print_member("Type", op, "type");
    print_member("Key", op, "key");
    print_member("Instance", op, "instance");
    print_member("Request", op, "request");
    print_member("Started", op, "started");
    print_field("Step", "%s, %s, %s", text_of(op, "step"),
                str_eq(json_string_of(op, "direction"), "undo") ? "going back"
                                                                : "going on",
                json_bool_of(op, "committed") ? "committed" : "not committed");
    print_member("Failed tries", op, "tries");
    AUTO_FREE wait = duration_text(waiting_s > 0 ? waiting_s * 1000 : -1);
    print_field("Next try in", "%s", wait);
    print_member("Reason", op, "error");
    json_append(list, json_copy(op));
    print_residue(list);
    print_todo(op);
}

static void
print_todo(const struct json *op)
{
    static const struct table_column columns[] = {
        {"STILL TO DO", false},
        {"DIRECTION", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (step, json_get(op, "todo")) {
        table_add_member(table, step, "step");
        table_add_member(table, step, "direction");
    }
    putchar('\n');
    print_table(table);
}

static void
add_wait(struct table *table, int64_t s)
{
    AUTO_FREE text = duration_text(s > 0 ? s * 1000 : -1);

    table_add(table, text);
}
