#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <stdlib.h>

/* Do all that know of guests agree? */

static void print_findings(const struct json *result);
static const char *mend_text(const struct json *result,
                             const struct json *finding);
static void print_silent(const struct json *result);
static size_t count_left(const struct json *result);

struct error *
verb_audit(struct tool *tool)
{
    AUTO_JSON args = json_object();
    AUTO_JSON result = NULL;

    json_set_bool(args, "repair", tool->options & OPTION_REPAIR);
    struct error *error = agent_ask(tool, NULL, "audit", args, &result);
    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(result);
    } else {
        print_silent(result);
        print_findings(result);
    }
    if (count_left(result)) {
        tool->exit_status = EXIT_PARTLY;
    }
    return NULL;
}

static void
print_findings(const struct json *result)
{
    static const struct table_column columns[] = {
        {"INSTANCE", false}, {"HOST", false}, {"RULE", false},
        {"MEND", false},     {"WHAT", false},
    };
    const struct json *findings = json_get(result, "findings");
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    if (json_size(findings) == 0) {
        print_field("Contradictions", "none, on %zu hosts",
                    json_size(json_get(result, "hosts")));
        return;
    }
    json_for_each (finding, findings) {
        const char *name = json_string_of(finding, "name");

        table_add(table, name ? name : json_string_of(finding, "instance"));
        table_add_member(table, finding, "host");
        table_add_member(table, finding, "rule");
        table_add(table, mend_text(result, finding));
        table_add_member(table, finding, "text");
    }
    print_table(table);
}

/* What was done about it, or could be. */
static const char *
mend_text(const struct json *result, const struct json *finding)
{
    if (json_bool_of(finding, "mended")) {
        return "done";
    }
    if (json_string_of(finding, "error")) {
        return json_string_of(finding, "error");
    }
    if (!json_string_of(finding, "mend")) {
        return "by hand";
    }
    return str_eq(json_string_of(finding, "host"),
                  json_string_of(result, "host"))
               ? "--repair"
               : "--repair there";
}

static void
print_silent(const struct json *result)
{
    json_for_each (name, json_get(result, "silent")) {
        fprintf(stderr,
                "droverctl: host '%s' did not answer: what depends on it is "
                "not told\n",
                json_get_string(name));
    }
}

static size_t
count_left(const struct json *result)
{
    size_t n = 0;

    json_for_each (finding, json_get(result, "findings")) {
        n += !json_bool_of(finding, "mended");
    }
    return n;
}
