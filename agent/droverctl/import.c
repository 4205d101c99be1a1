#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdio.h>

#include "conf/conf_file.h"
#include "conf/nova_import.h"

/* A droverd.conf out of the files that nova-compute was given. */

static struct error *
add_file(struct nova_conf *nova, const char *path)
{
    AUTO_FREE text = NULL;
    size_t size = 0;
    bool is_public;
    struct error *error = conf_file_read(path, &text, &size, &is_public);

    if (!error && size > CONF_FILE_MAX_SIZE) {
        error = error_new(ERR_CONFIG, "%s: the file is too large", path);
    }
    return error ? error : nova_conf_add(nova, text, size, path);
}

static void
note_left_out(void *aux, const struct nova_setting *setting, const char *reason)
{
    AUTO_JSON row = json_object();

    json_set_string(row, "group", setting->group);
    json_set_string(row, "name", setting->name);
    json_set_string(row, "file", setting->file);
    json_set_int(row, "line", setting->line);
    json_set_string(row, "reason", reason);
    json_append(aux, steal(&row));
}

static void
print_left_out(const struct json *left_out)
{
    size_t n = json_size(left_out);

    for (size_t i = 0; i < n; i++) {
        const struct json *row = json_at(left_out, i);
        AUTO_FREE line =
            xasprintf("%s:%" PRId64 ": %s of [%s]: %s", text_of(row, "file"),
                      number_of(row, "line"), text_of(row, "name"),
                      text_of(row, "group"), text_of(row, "reason"));
        AUTO_FREE clean = text_clean(line);

        fprintf(stderr, "%s\n", clean);
    }
}

struct error *
verb_import_nova_conf(struct tool *tool)
{
    AUTO_NOVA_CONF nova = nova_conf_create();
    AUTO_JSON left_out = json_array();
    AUTO_FREE text = NULL;
    struct error *error = NULL;

    for (int i = 0; i < tool->n_args && !error; i++) {
        error = add_file(nova, tool->args[i]);
    }
    if (!error) {
        error = nova_import(nova, note_left_out, left_out, &text);
    }
    if (error) {
        return error;
    }
    if (tool->as_json) {
        AUTO_JSON result = json_object();

        json_set_string(result, "configuration", text);
        json_set(result, "left_out", steal(&left_out));
        print_json(result);
    } else {
        fputs(text, stdout);
        print_left_out(left_out);
    }
    return NULL;
}
