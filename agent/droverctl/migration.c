#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Steering waits for the hypervisor. */
#define STEER_TIMEOUT_MS 60000

static struct error *gather_lists(struct tool *tool, const char *instance,
                                  struct json **ret);
static void drop_doubles(struct json **list);
static bool is_better(const struct json *one, const struct json *other);
static struct json *newest(const struct json *known);
static bool is_of_several(const struct json *known);
static struct error *ambiguous(const char *name, const struct json *known);
static struct error *steer(struct tool *tool, const char *method,
                           struct json *settings);
static void print_list(const struct json *list);
static void print_migration(const struct json *migration);
static void print_settings(const struct json *settings);
static void print_passes(const struct json *migration);
static void print_downtime(const struct json *migration);
static void print_amount(const char *title, const struct json *migration,
                         const char *what);

struct error *
verb_migration_list(struct tool *tool)
{
    AUTO_JSON list = NULL;
    struct error *error =
        gather_lists(tool, tool->n_args ? tool->args[0] : NULL, &list);

    if (error) {
        return error;
    }
    json_sort(&list, "created_at", "id");
    if (tool->as_json) {
        print_json(list);
    } else {
        print_list(list);
    }
    return NULL;
}

struct error *
verb_migration_show(struct tool *tool)
{
    AUTO_JSON migration = NULL;
    struct error *error = migration_find(tool, tool->args[0], &migration);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(migration);
    } else {
        print_migration(migration);
    }
    return NULL;
}

struct error *
verb_migration_set(struct tool *tool)
{
    return steer(tool, "migration_set", migrate_settings_of(tool));
}

struct error *
verb_migration_abort(struct tool *tool)
{
    return steer(tool, "migration_abort", NULL);
}

struct error *
verb_migration_force_complete(struct tool *tool)
{
    return steer(tool, "migration_force_complete", NULL);
}

struct error *
migration_find(struct tool *tool, const char *name, struct json **ret)
{
    AUTO_JSON args = args_of("migration", name);

    if (tool->host) {
        return bus_ask(tool, tool->host, "migration_show", args,
                       tool->timeout_ms, ret);
    }
    AUTO_ANSWERS answers;
    struct error *error = bus_gather(tool, "migration_show", args, &answers);
    if (error) {
        return error;
    }
    AUTO_JSON known = json_copy(answers.results);
    drop_doubles(&known);
    if (json_size(known) == 0) {
        return answers_nothing(tool, &answers, ERR_MIGRATION_NOT_FOUND,
                               "migration_id", name);
    }
    if (is_of_several(known)) {
        return ambiguous(name, known);
    }
    *ret = newest(known);
    return NULL;
}

static struct error *
gather_lists(struct tool *tool, const char *instance, struct json **ret)
{
    AUTO_JSON args = instance ? args_of("instance", instance) : json_object();

    if (tool->host) {
        return bus_ask(tool, tool->host, "migration_list", args,
                       tool->timeout_ms, ret);
    }
    /* By name it is known to the host that has it only; by UUID to all. */
    AUTO_JSON found = NULL;
    AUTO_ERROR unknown = NULL;
    if (instance) {
        unknown = instance_find(tool, instance, &found);
        if (found) {
            json_set_string(args, "instance", json_string_of(found, "uuid"));
        } else if (error_code(unknown) != ERR_INSTANCE_NOT_FOUND) {
            return steal(&unknown);
        }
    }
    AUTO_ANSWERS answers;
    struct error *error = bus_gather(tool, "migration_list", args, &answers);
    if (!error) {
        error = answers_judge(&answers);
    }
    if (error) {
        return error;
    }
    *ret = json_array();
    json_for_each (list, answers.results) {
        json_for_each (migration, list) {
            json_append(*ret, json_copy(migration));
        }
    }
    drop_doubles(ret);
    if (unknown && json_size(*ret) == 0) {
        json_free(steal(ret));
        return steal(&unknown);
    }
    return NULL;
}

/* Both hosts may tell of one.  There may be thousands: they are put side by
 * side rather than looked for. */
static void
drop_doubles(struct json **list)
{
    struct json *kept = json_array();
    const struct json *best = NULL;

    json_sort(list, "uuid", NULL);
    json_for_each (migration, *list) {
        bool is_double = best && str_eq(json_string_of(best, "uuid"),
                                        json_string_of(migration, "uuid"));

        if (best && !is_double) {
            json_append(kept, json_copy(best));
        }
        if (!is_double || !is_better(best, migration)) {
            best = migration;
        }
    }
    if (best) {
        json_append(kept, json_copy(best));
    }
    json_free(*list);
    *list = kept;
}

/* The source knows the step; else the one that heard of it last. */
static bool
is_better(const struct json *one, const struct json *other)
{
    const char *a = json_string_of(one, "updated_at");
    const char *b = json_string_of(other, "updated_at");

    if (json_string_of(one, "step") || json_string_of(other, "step")) {
        return json_string_of(one, "step") != NULL;
    }
    return strcmp(a ? a : "", b ? b : "") >= 0;
}

/* A copy; the caller's. */
static struct json *
newest(const struct json *known)
{
    const struct json *best = json_first(known);

    json_for_each (other, known) {
        const char *a = json_string_of(best, "created_at");
        const char *b = json_string_of(other, "created_at");
        int64_t id = number_of(other, "id");
        int order = strcmp(b ? b : "", a ? a : "");

        if (order > 0 || (order == 0 && id > number_of(best, "id"))) {
            best = other;
        }
    }
    return json_copy(best);
}

static bool
is_of_several(const struct json *known)
{
    const char *uuid = json_string_of(json_first(known), "instance_uuid");

    json_for_each (other, known) {
        if (!str_eq(json_string_of(other, "instance_uuid"), uuid)) {
            return true;
        }
    }
    return false;
}

static struct error *
ambiguous(const char *name, const struct json *known)
{
    AUTO_FREE list = NULL;

    json_for_each (migration, known) {
        char *longer =
            xasprintf("%s%s%s from %s", list ? list : "", list ? ", " : "",
                      text_of(migration, "uuid"), text_of(migration, "source"));
        free(list);
        list = longer;
    }
    return error_new(ERR_INVALID,
                     "'%s' names several migrations: %s (use the UUID)", name,
                     list);
}

/* Takes 'settings', which may be null. */
static struct error *
steer(struct tool *tool, const char *method, struct json *settings)
{
    AUTO_JSON owned = settings;
    AUTO_JSON migration = NULL;
    AUTO_JSON result = NULL;
    struct error *error = migration_find(tool, tool->args[0], &migration);

    if (error) {
        return error;
    }
    AUTO_JSON args = args_of("migration", json_string_of(migration, "uuid"));
    if (owned) {
        json_set(args, "settings", steal(&owned));
    }
    error = bus_ask(tool, json_string_of(migration, "source"), method, args,
                    tool->timeout_ms > STEER_TIMEOUT_MS ? tool->timeout_ms
                                                        : STEER_TIMEOUT_MS,
                    &result);
    if (!error && tool->as_json) {
        print_json(result);
    }
    return error;
}

static void
print_list(const struct json *list)
{
    static const struct table_column columns[] = {
        {"UUID", false},    {"INSTANCE", false}, {"FROM", false},
        {"TO", false},      {"STATUS", false},   {"DONE", true},
        {"CREATED", false}, {"ERROR", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (migration, list) {
        const char *name = json_string_of(migration, "instance_name");

        table_add_member(table, migration, "uuid");
        table_add(table,
                  name ? name : json_string_of(migration, "instance_uuid"));
        table_add_member(table, migration, "source");
        table_add_member(table, migration, "dest");
        table_add_member(table, migration, "status");
        table_add_format(table, "%" PRId64 "%%",
                         number_of(migration, "progress"));
        table_add_member(table, migration, "created_at");
        table_add_member(table, migration, "error");
    }
    print_table(table);
}

static void
print_migration(const struct json *migration)
{
    AUTO_FREE elapsed = duration_text(number_of(migration, "elapsed_ms"));
    AUTO_FREE total = duration_text(number_of(migration, "total_ms"));
    AUTO_FREE rate = size_text(number_of(migration, "rate"));

    print_member("Migration", migration, "uuid");
    print_member("Instance", migration, "instance_name");
    print_member("", migration, "instance_uuid");
    print_member("From", migration, "source");
    print_member("To", migration, "dest");
    print_member("Type", migration, "type");
    print_member("Status", migration, "status");
    print_member("Step", migration, "step");
    if (json_string_of(migration, "waits_for")) {
        print_field("Waits for", "a place at %s",
                    json_string_of(migration, "waits_for"));
    }
    print_field("Progress", "%" PRId64 " %%", number_of(migration, "progress"));
    print_amount("Memory", migration, "memory");
    print_amount("Disk", migration, "disk");
    print_field("Rate", number_of(migration, "rate") < 0 ? "%s" : "%s/s", rate);
    print_field("Time", "%s, of which %s to move the data", total, elapsed);
    print_passes(migration);
    print_downtime(migration);
    print_member("Created", migration, "created_at");
    print_member("Updated", migration, "updated_at");
    print_settings(json_get(migration, "settings"));
    if (json_string_of(migration, "error")) {
        print_member("Error", migration, "error");
    }
}

/* What it has instead of the configuration. */
static void
print_settings(const struct json *settings)
{
    static const struct {
        const char *name, *title, *unit;
    } numbers[] = {
        {"bandwidth", "Bandwidth", "MiB/s"},
        {"downtime", "Pause", "ms accepted"},
        {"completion_timeout", "Time-out", "s"},
    };

    for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
        if (json_has(settings, numbers[i].name)) {
            print_field(numbers[i].title, "%" PRId64 " %s",
                        number_of(settings, numbers[i].name), numbers[i].unit);
        }
    }
    if (json_has(settings, "timeout_action")) {
        print_member("At time-out", settings, "timeout_action");
    }
    if (json_has(settings, "convergence")) {
        print_member("Convergence", settings, "convergence");
    }
    if (json_has(settings, "compression")) {
        print_member("Compression", settings, "compression");
    }
}

static void
print_amount(const char *title, const struct json *migration, const char *what)
{
    AUTO_FREE total_name = xasprintf("%s_total", what);
    AUTO_FREE processed_name = xasprintf("%s_processed", what);
    AUTO_FREE remaining_name = xasprintf("%s_remaining", what);

    if (number_of(migration, total_name) <= 0) {
        return;
    }
    AUTO_FREE total = size_text(number_of(migration, total_name));
    AUTO_FREE processed = size_text(number_of(migration, processed_name));
    AUTO_FREE remaining = size_text(number_of(migration, remaining_name));
    print_field(title, "%s, %s sent, %s left", total, processed, remaining);
}

/* What the guest did to the transfer, and the transfer to the guest. */
static void
print_passes(const struct json *migration)
{
    int64_t throttle = number_of(migration, "throttle_percent");
    AUTO_FREE dirty = size_text(number_of(migration, "dirty_rate"));

    print_member("Passes", migration, "iteration");
    if (number_of(migration, "dirty_rate") >= 0) {
        print_field("Dirty rate", "%s/s", dirty);
    }
    if (throttle > 0) {
        print_field("Throttle", "%" PRId64 " %% at most", throttle);
    }
    if (json_bool_of(migration, "postcopy")) {
        print_field("Post-copy", "yes");
    }
}

/* A forecast never looks like a measurement. */
static void
print_downtime(const struct json *migration)
{
    int64_t net_ms = number_of(migration, "downtime_net_ms");
    int64_t expected_ms = number_of(migration, "expected_downtime_ms");
    AUTO_FREE downtime = duration_text(number_of(migration, "downtime_ms"));
    AUTO_FREE net = duration_text(net_ms);
    AUTO_FREE expected = duration_text(expected_ms);

    if (expected_ms >= 0) {
        print_field("Downtime", "%s expected", expected);
    } else if (net_ms >= 0) {
        print_field("Downtime", "%s, %s without the hand-over", downtime, net);
    } else {
        print_field("Downtime", "%s", downtime);
    }
}
