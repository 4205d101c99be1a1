#include <config.h>

#include "conf/nova_import.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/value.h"

/* Nova's, where nova.conf does not say another. */
#define NOVA_STATE_PATH "/var/lib/nova"

/* Options that once had another name or group. (the options of Nova and
 * oslo.messaging, Zed)  Old names within a group are conf/options.def's. */
static const struct {
    const char *group, *name, *old_group, *old_name;
} moved[] = {
    {"notifications", "notify_on_state_change", "DEFAULT",
     "notify_on_state_change"},
    {"notifications", "default_level", "DEFAULT", "default_notification_level"},
    {"notifications", "notification_format", "DEFAULT", "notification_format"},
    {"vnc", "enabled", "DEFAULT", "vnc_enabled"},
    {"oslo_messaging_rabbit", "amqp_auto_delete", "DEFAULT",
     "amqp_auto_delete"},
    {"oslo_messaging_rabbit", "kombu_reconnect_delay", "DEFAULT",
     "kombu_reconnect_delay"},
    {"oslo_messaging_rabbit", "rabbit_login_method", "DEFAULT",
     "rabbit_login_method"},
    {"oslo_messaging_rabbit", "rabbit_retry_backoff", "DEFAULT",
     "rabbit_retry_backoff"},
    {"oslo_messaging_rabbit", "rabbit_ha_queues", "DEFAULT",
     "rabbit_ha_queues"},
    {"oslo_messaging_notifications", "driver", "DEFAULT",
     "notification_driver"},
    {"oslo_messaging_notifications", "transport_url", "DEFAULT",
     "notification_transport_url"},
    {"oslo_messaging_notifications", "topics", "rpc_notifier2", "topics"},
    {"oslo_messaging_notifications", "topics", "DEFAULT",
     "notification_topics"},
};

/* Those that have a value for each time that they stand there. */
static const struct {
    const char *group, *name;
} multiple[] = {
    {"oslo_messaging_notifications", "driver"},
    {"pci", "device_spec"},
    {"pci", "alias"},
};

struct import {
    const struct nova_conf *nova;
    char *text;
    bool *is_taken;   /* Of each setting. */
    const char **why; /* Each that is not taken is left out; null: unknown. */
    bool has_group;   /* The text is within braces. */
};

static struct error *import_group(struct import *import,
                                  const struct option_group *group);
static struct error *import_option(struct import *import,
                                   const struct option_group *group,
                                   const struct option *option);
static const struct nova_setting *find(const struct import *import,
                                       const struct option_group *group,
                                       const struct option *option);
static const struct nova_setting *find_old(const struct import *import,
                                           const struct option_group *group,
                                           const struct option *option);
static struct error *read_value(const struct import *import,
                                const struct option_group *group,
                                const struct option *option,
                                const struct nova_setting *setting,
                                struct value *ret);
static struct error *import_rest(struct import *import);
static void take(struct import *import, const struct nova_setting *setting,
                 const char *why_not);
static void add(struct import *import, const char *fmt, ...)
    PRINTF_FORMAT(2, 3);
static void add_value(struct import *import, const struct option *option,
                      const struct value *value);
static struct error *verify(const char *text);

struct error *
nova_import(const struct nova_conf *nova, nova_import_left_out *left_out,
            void *aux, char **ret)
{
    size_t n_groups, n;
    const struct option_group *groups = option_groups(&n_groups);
    const struct nova_setting *settings = nova_conf_settings(nova, &n);
    struct import import = {
        .nova = nova,
        .text = xstrdup(""),
        .is_taken = xcalloc(n + 1, sizeof *import.is_taken),
        .why = xcalloc(n + 1, sizeof *import.why),
    };
    struct error *error = import_rest(&import);

    for (size_t i = 0; i < n_groups && !error; i++) {
        error = import_group(&import, &groups[i]);
    }
    for (size_t i = 0; i < n && !error; i++) {
        if (!import.is_taken[i]) {
            left_out(aux, &settings[i],
                     import.why[i] ? import.why[i] : "not known to drover");
        }
    }
    if (!error) {
        error = verify(import.text);
    }
    if (!error) {
        *ret = steal(&import.text);
    }
    free(import.text);
    free(import.is_taken);
    free(import.why);
    return error;
}

/* What is said otherwise in drover, or not at all in nova.conf. */
static struct error *
import_rest(struct import *import)
{
    const struct nova_setting *state_path =
        nova_conf_find(import->nova, "DEFAULT", "state_path");
    const struct nova_setting *debug =
        nova_conf_find(import->nova, "DEFAULT", "debug");
    static const struct option is_debug = {.name = "debug",
                                           .type = OPTION_BOOL};
    struct value value = {0};

    add(import, "control_plane = \"nova\";\n");
    if (state_path) {
        take(import, state_path,
             "drover keeps a state of its own; instances_path follows it");
    }
    if (debug) {
        struct error *error = value_parse(&is_debug, debug->value, &value);

        if (error) {
            return error_wrap(error, "%s:%d: option 'debug'", debug->file,
                              debug->line);
        }
        take(import, debug, NULL);
        if (value.number) {
            add(import, "log_level = [ \"debug\" ];\n");
        }
    }
    return NULL;
}

static struct error *
import_group(struct import *import, const struct option_group *group)
{
    size_t n;
    const struct option *rows = group->rows(&n);
    struct error *error = NULL;

    import->has_group = false;
    for (size_t i = 0; i < n && !error; i++) {
        error = import_option(import, group, &rows[i]);
    }
    if (import->has_group) {
        add(import, "};\n");
    }
    return error;
}

static const char *
nova_group(const struct option_group *group)
{
    return group->name ? group->name : "DEFAULT";
}

static bool
is_state_path(const struct option_group *group, const struct option *option)
{
    return !group->name && str_eq(option->name, "state_path");
}

static bool
is_instances_path(const struct option_group *group, const struct option *option)
{
    return !group->name && str_eq(option->name, "instances_path");
}

static struct error *
import_option(struct import *import, const struct option_group *group,
              const struct option *option)
{
    static const struct nova_setting instances_path = {
        .group = (char *)"DEFAULT",
        .name = (char *)"instances_path",
        .value = (char *)"$state_path/instances",
        .file = (char *)"Nova's default",
    };
    const struct nova_setting *setting = find(import, group, option);
    struct value value = {0};

    if (!setting && is_instances_path(group, option)) {
        setting = &instances_path;
    }
    if (!setting || option->type == OPTION_ALIAS ||
        is_state_path(group, option)) {
        return NULL;
    }
    if (option->type == OPTION_GONE || !option->is_used) {
        take(import, setting, "has no effect in drover");
        return NULL;
    }
    const struct nova_setting *old = find_old(import, group, option);
    if (old) {
        take(import, old, "its new name is set, too");
    }
    take(import, setting, NULL);
    struct error *error = read_value(import, group, option, setting, &value);
    if (!error) {
        error = value_check(option, &value);
    }
    if (!error) {
        if (group->name && !import->has_group) {
            add(import, "\n%s : {\n", group->name);
            import->has_group = true;
        }
        add_value(import, option, &value);
    }
    value_clear(&value);
    return error_wrap(error, "%s:%d: option '%s' of [%s]", setting->file,
                      setting->line, setting->name, setting->group);
}

/* By its name, one of its old names, or where it was before; null: not set. */
static const struct nova_setting *
find(const struct import *import, const struct option_group *group,
     const struct option *option)
{
    const struct nova_setting *setting =
        nova_conf_find(import->nova, nova_group(group), option->name);

    return setting ? setting : find_old(import, group, option);
}

static const struct nova_setting *
find_old(const struct import *import, const struct option_group *group,
         const struct option *option)
{
    const struct nova_setting *setting = NULL;
    size_t n;
    const struct option *rows = group->rows(&n);

    for (size_t i = 0; i < n && !setting; i++) {
        if (rows[i].type == OPTION_ALIAS &&
            str_eq(rows[i].text, option->name)) {
            setting =
                nova_conf_find(import->nova, nova_group(group), rows[i].name);
        }
    }
    for (size_t i = 0; i < N_ELEMENTS(moved) && !setting; i++) {
        if (str_eq(moved[i].name, option->name) &&
            str_eq(moved[i].group, nova_group(group))) {
            setting = nova_conf_find(import->nova, moved[i].old_group,
                                     moved[i].old_name);
        }
    }
    return setting;
}

/* Every setting of that name is settled: earlier ones do not count. */
static void
take(struct import *import, const struct nova_setting *setting,
     const char *why_not)
{
    size_t n;
    const struct nova_setting *all = nova_conf_settings(import->nova, &n);

    for (size_t i = 0; i < n; i++) {
        if (str_eq(all[i].name, setting->name) &&
            str_eq(all[i].group, setting->group)) {
            import->is_taken[i] = !why_not || &all[i] != setting;
            import->why[i] = why_not;
        }
    }
}

/* ---- Values ---------------------------------------------------------------
 */

/* What is not in nova.conf but has a value all the same.  The host's name and
 * address are found out by droverd. */
static char *
outside(void *aux, const char *group, const char *name)
{
    const struct option *option;

    (void)aux;
    if (str_eq(group, "DEFAULT")) {
        if (str_eq(name, "state_path")) {
            return xstrdup(NOVA_STATE_PATH);
        }
        if (str_eq(name, "host") || str_eq(name, "my_ip")) {
            return xasprintf("$%s", name);
        }
        if (str_eq(name, "instances_path")) {
            return xstrdup(NOVA_STATE_PATH "/instances");
        }
        group = NULL;
    }
    const struct option_group *of = option_group_find(group);
    option = of ? option_find(of, name) : NULL;
    return option && value_is_string(option) ? xstrdup_null(option->text)
                                             : NULL;
}

static bool
is_multiple(const struct option_group *group, const struct option *option)
{
    for (size_t i = 0; i < N_ELEMENTS(multiple); i++) {
        if (str_eq(multiple[i].name, option->name) &&
            str_eq(multiple[i].group, group->name)) {
            return true;
        }
    }
    return false;
}

static struct error *
read_multiple(const struct import *import, const struct nova_setting *setting,
              struct value *ret)
{
    size_t n, n_values = 0;
    const struct nova_setting *all = nova_conf_settings(import->nova, &n);
    struct error *error = NULL;

    ret->list = xcalloc(n + 1, sizeof *ret->list);
    for (size_t i = 0; i < n && !error; i++) {
        if (str_eq(all[i].name, setting->name) &&
            str_eq(all[i].group, setting->group) && *all[i].value) {
            error = nova_conf_value(import->nova, &all[i], outside, NULL,
                                    &ret->list[n_values]);
            n_values += error ? 0 : 1;
        }
    }
    return error;
}

static struct error *
read_value(const struct import *import, const struct option_group *group,
           const struct option *option, const struct nova_setting *setting,
           struct value *ret)
{
    if (is_multiple(group, option)) {
        return read_multiple(import, setting, ret);
    }
    AUTO_FREE text = NULL;
    struct error *error =
        nova_conf_value(import->nova, setting, outside, NULL, &text);

    if (error) {
        return error;
    }
    for (char *p = strchr(text, '\n'); p && option->type == OPTION_LIST;
         p = strchr(p, '\n')) {
        *p = ' ';
    }
    return value_parse(option, text, ret);
}

/* ---- Text -----------------------------------------------------------------
 */

static void
add(struct import *import, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    AUTO_FREE more = xvasprintf(fmt, args);
    va_end(args);
    char *text = xasprintf("%s%s", import->text, more);
    free(import->text);
    import->text = text;
}

/* In quotes, as libconfig reads it. */
static char *
quoted(const char *s)
{
    size_t n = 0;
    char *text = xmalloc(2 * strlen(s) + 3);

    text[n++] = '"';
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            text[n++] = '\\';
        }
        text[n++] = *s;
    }
    text[n++] = '"';
    text[n] = '\0';
    return text;
}

static void
add_list(struct import *import, char *const *list)
{
    add(import, "[");
    for (size_t i = 0; list[i]; i++) {
        AUTO_FREE s = quoted(list[i]);

        add(import, "%s %s", i > 0 ? "," : "", s);
    }
    add(import, " ];\n");
}

/* A string that is empty, so not set and without a default, is left out. */
static void
add_value(struct import *import, const struct option *option,
          const struct value *value)
{
    if (value_is_string(option) && !value->string) {
        return;
    }
    add(import, "%s%s = ", import->has_group ? "    " : "", option->name);
    switch (option->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_ENUM: {
        AUTO_FREE s = quoted(value->string);

        add(import, "%s;\n", s);
        break;
    }
    case OPTION_LIST:
        add_list(import, value->list);
        break;
    case OPTION_BOOL:
        add(import, "%s;\n", value->number ? "true" : "false");
        break;
    case OPTION_INT:
        add(import, "%" PRId64 ";\n", value->number);
        break;
    case OPTION_INT64:
        add(import, "%" PRId64 "L;\n", value->number);
        break;
    case OPTION_FLOAT:
        add(import, "%.15g;\n", value->fraction);
        break;
    case OPTION_ALIAS:
    case OPTION_GONE:
        break;
    }
}

/* Options that do not go together are found only now. */
static struct error *
verify(const char *text)
{
    AUTO_CONF conf = NULL;

    return conf_load_text(text, strlen(text), "the configuration for droverd",
                          NULL, NULL, &conf);
}
