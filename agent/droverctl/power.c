#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <stdio.h>
#include <stdlib.h>

/* Starting, stopping and the like. */

/* A guest may take its time to end; the agent's own patience is an option. */
#define PATIENCE_MS 300000

static struct error *
order(struct tool *tool, const char *name)
{
    AUTO_JSON instance = NULL;
    AUTO_JSON done = NULL;
    struct error *error = instance_find(tool, tool->args[0], &instance);

    if (error) {
        return error;
    }
    AUTO_JSON args = args_of("instance", json_string_of(instance, "uuid"));
    json_set_string(args, "order", name);
    json_set_bool(args, "hard", tool->options & OPTION_HARD);
    error = bus_ask(tool, json_string_of(instance, "host"), "instance_power",
                    args, tool->timeout_ms + PATIENCE_MS, &done);
    if (!error && tool->as_json) {
        AUTO_JSON nothing = json_object();
        print_json(nothing);
    }
    return error;
}

struct error *
verb_instance_start(struct tool *tool)
{
    return order(tool, "start");
}

struct error *
verb_instance_stop(struct tool *tool)
{
    return order(tool, "stop");
}

struct error *
verb_instance_reboot(struct tool *tool)
{
    return order(tool, "reboot");
}

struct error *
verb_instance_pause(struct tool *tool)
{
    return order(tool, "pause");
}

struct error *
verb_instance_unpause(struct tool *tool)
{
    return order(tool, "unpause");
}

struct error *
verb_instance_suspend(struct tool *tool)
{
    return order(tool, "suspend");
}

struct error *
verb_instance_resume(struct tool *tool)
{
    return order(tool, "resume");
}

/* As it is, but for what would steer the terminal it is shown on. */
static void
print_console(const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c >= ' ' || *c == '\n' || *c == '\t') {
            putchar(*c);
        }
    }
}

struct error *
verb_instance_console(struct tool *tool)
{
    AUTO_JSON instance = NULL;
    AUTO_JSON console = NULL;
    char *end = NULL;
    long lines = tool->n_args > 1 ? strtol(tool->args[1], &end, 10) : -1;
    struct error *error =
        end && (*end || lines < 0)
            ? error_new(ERR_INVALID, "'%s' is no number of lines",
                        tool->args[1])
            : instance_find(tool, tool->args[0], &instance);

    if (error) {
        return error;
    }
    AUTO_JSON args = args_of("instance", json_string_of(instance, "uuid"));
    if (lines >= 0) {
        json_set_int(args, "lines", lines);
    }
    error = bus_ask(tool, json_string_of(instance, "host"), "instance_console",
                    args, tool->timeout_ms, &console);
    if (!error && tool->as_json) {
        print_json(console);
    } else if (!error) {
        print_console(json_string_of(console, "console"));
    }
    return error;
}
