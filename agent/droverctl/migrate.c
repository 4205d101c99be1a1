#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <stdlib.h>

/* The agent that has the instance finds a destination and has it check itself
 * before it answers. */
#define START_TIMEOUT_MS 600000

static struct error *make_args(const struct tool *tool,
                               const struct json *instance, struct json **ret);
static struct error *show_check(const struct tool *tool,
                                const struct json *check);
static void print_check(const struct json *check);
static void print_forecast(const struct json *forecast);

struct error *
verb_migrate(struct tool *tool)
{
    AUTO_JSON instance = NULL;
    AUTO_JSON args = NULL;
    AUTO_JSON result = NULL;
    struct error *error = instance_find(tool, tool->args[0], &instance);

    if (!error) {
        error = make_args(tool, instance, &args);
    }
    if (error) {
        return error;
    }
    const char *host = json_string_of(instance, "host");
    error = bus_ask(tool, tool->host ? tool->host : host, "migrate", args,
                    START_TIMEOUT_MS, &result);
    if (error_code(error) == ERR_TIMEOUT) {
        return error_wrap(error, "it may have begun: see migration list");
    }
    if (error) {
        return error;
    }
    if (tool->options & OPTION_CHECK) {
        return show_check(tool, result);
    }
    if (tool->options & OPTION_WATCH) {
        return watch_migration(tool, instance, result);
    }
    if (tool->as_json) {
        print_json(result);
    } else {
        puts(text_of(result, "uuid"));
    }
    return NULL;
}

static struct error *
make_args(const struct tool *tool, const struct json *instance,
          struct json **ret)
{
    const char *uuid = json_string_of(instance, "uuid");

    if (!uuid || !json_string_of(instance, "host")) {
        return error_new(ERR_BAD_MESSAGE, "instance '%s' has no UUID or host",
                         tool->args[0]);
    }
    struct json *args = args_of("instance", uuid);
    if (tool->n_args > 1) {
        json_set_string(args, "dest", tool->args[1]);
    }
    if (tool->options & (OPTION_BLOCK_MIGRATE | OPTION_SHARED)) {
        json_set_bool(args, "block_migration",
                      tool->options & OPTION_BLOCK_MIGRATE);
    }
    if (tool->options & OPTION_DISK_OVER_COMMIT) {
        json_set_bool(args, "disk_over_commit", true);
    }
    if (tool->options & OPTION_CHECK) {
        json_set_bool(args, "check", true);
    }
    if (tool->options & (OPTION_COLD | OPTION_STATIC)) {
        json_set_string(args, "kind",
                        tool->options & OPTION_COLD ? "cold" : "static");
    }
    struct json *settings = migrate_settings_of(tool);
    if (settings) {
        json_set(args, "settings", settings);
    }
    *ret = args;
    return NULL;
}

struct json *
migrate_settings_of(const struct tool *tool)
{
    static const struct {
        enum verb_option option;
        const char *name;
        bool is_number;
    } settings[] = {
        {OPTION_BANDWIDTH, "bandwidth", true},
        {OPTION_DOWNTIME, "downtime", true},
        {OPTION_COMPLETION_TIMEOUT, "completion_timeout", true},
        {OPTION_TIMEOUT_ACTION, "timeout_action", false},
        {OPTION_CONVERGENCE, "convergence", false},
        {OPTION_COMPRESSION, "compression", false},
    };
    struct json *json = NULL;

    for (size_t i = 0; i < N_ELEMENTS(settings); i++) {
        const char *value = tool_value(tool, settings[i].option);

        if (!value) {
            continue;
        }
        json = json ? json : json_object();
        if (settings[i].is_number) {
            json_set_int(json, settings[i].name, strtol(value, NULL, 10));
        } else {
            json_set_string(json, settings[i].name, value);
        }
    }
    return json;
}

static struct error *
show_check(const struct tool *tool, const struct json *check)
{
    if (tool->as_json) {
        print_json(check);
    } else {
        print_check(check);
    }
    if (json_bool_of(check, "ok")) {
        return NULL;
    }
    return error_new(ERR_NOT_FOUND, "'%s' can't be moved: %s", tool->args[0],
                     text_of(check, "reason"));
}

static void
print_check(const struct json *check)
{
    static const struct table_column columns[] = {
        {"HOST", false},
        {"RULE", false},
        {"OUTCOME", false},
        {"WHAT", false},
    };
    const struct json *data = json_get(check, "data");
    const struct json *inner = json_get(data, "nova_object.data");
    const struct json *is_block =
        json_get(inner ? inner : data, "block_migration");
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (host, json_get(check, "rules")) {
        json_for_each (rule, json_get(host, "checks")) {
            const char *reason = json_string_of(rule, "reason");

            table_add_member(table, host, "host");
            table_add_member(table, rule, "rule");
            table_add_member(table, rule, "outcome");
            table_add(table, reason ? reason : json_string_of(rule, "text"));
        }
    }
    if (json_first(json_get(check, "rules"))) {
        print_table(table);
    }
    if (json_bool_of(check, "ok")) {
        printf("\n");
        print_member("Destination", check, "dest");
        print_field("Disks", "%s",
                    json_is_true(is_block) ? "copied (block migration)"
                                           : "shared, or none");
        print_forecast(json_get(check, "forecast"));
    }
}

static void
print_forecast(const struct json *forecast)
{
    AUTO_FREE dirty = size_text(number_of(forecast, "dirty_rate"));
    AUTO_FREE hot = size_text(number_of(forecast, "hot_memory"));
    AUTO_FREE link = size_text(number_of(forecast, "link_rate"));
    const char *source = json_string_of(forecast, "link_source");

    if (!json_is_object(forecast)) {
        return;
    }
    print_member("Forecast", forecast, "text");
    if (number_of(forecast, "dirty_rate") >= 0) {
        print_field("", "it writes %s/s, of which %s again and again", dirty,
                    hot);
    }
    if (source) {
        print_field("", "the link carries %s/s (%s)", link,
                    str_eq(source, "limit")      ? "the limit"
                    : str_eq(source, "measured") ? "as migrations there did"
                                                 : "assumed: none is known");
    }
}
