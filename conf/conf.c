#include <config.h>

#include "conf/conf.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf_file.h"
#include "conf/derive.h"
#include "conf/rules.h"
#include "conf/scan.h"
#include "conf/value.h"

/* An option that the file sets, for messages that come later. */
struct place {
    const struct option *option;
    int line;
};

struct loader {
    const char *name; /* Of the file. */
    conf_warn_fn *warn;
    void *aux;
    struct conf *conf;
    struct place *places;
    size_t n_places, n_room;
};

static void set_defaults(struct conf *conf);
static struct error *load_tree(struct loader *loader, const char *text,
                               size_t size);
static struct error *finish(struct loader *loader);
static void warn_public(struct loader *loader);
static bool holds_secret(struct conf *conf, const struct option_group *group,
                         const struct option *option);

static struct error *
load(struct loader *loader, const char *text, size_t size)
{
    if (size > CONF_FILE_MAX_SIZE) {
        return error_new(ERR_CONFIG, "%s: the file is too large", loader->name);
    }
    if (memchr(text, '\0', size)) {
        return error_new(ERR_CONFIG, "%s: the file holds a null byte",
                         loader->name);
    }
    struct error *error = scan_check(text, size, loader->name);
    if (!error) {
        error = load_tree(loader, text, size);
    }
    return error ? error : finish(loader);
}

/* 'is_public': others may read what 'text' was read from. */
static struct error *
load_into(const char *text, size_t size, bool is_public, struct loader *loader,
          struct conf **ret)
{
    AUTO_CONF conf = xzalloc(sizeof *conf);

    set_defaults(conf);
    loader->conf = conf;
    struct error *error = load(loader, text, size);
    if (!error && is_public) {
        warn_public(loader);
    }
    free(loader->places);
    if (!error) {
        *ret = steal(&conf);
    }
    return error;
}

struct error *
conf_load(const char *path, conf_warn_fn *warn, void *aux, struct conf **ret)
{
    struct loader loader = {.name = path, .warn = warn, .aux = aux};
    AUTO_FREE text = NULL;
    size_t size = 0;
    bool is_public = false;
    struct error *error = conf_file_read(path, &text, &size, &is_public);

    return error ? error : load_into(text, size, is_public, &loader, ret);
}

struct error *
conf_load_text(const char *text, size_t size, const char *name,
               conf_warn_fn *warn, void *aux, struct conf **ret)
{
    struct loader loader = {.name = name, .warn = warn, .aux = aux};

    return load_into(text, size, false, &loader, ret);
}

struct conf *
conf_defaults(void)
{
    struct conf *conf = xzalloc(sizeof *conf);

    set_defaults(conf);
    derive_rest(conf);
    return conf;
}

struct error *
conf_set(struct conf *conf, const char *group_name, const char *name,
         const char *text)
{
    const struct option_group *group = option_group_find(group_name);
    const struct option *option = group ? option_find(group, name) : NULL;
    struct value value = {0};
    const char *at_group, *at_name;

    if (option && option->type == OPTION_ALIAS) {
        option = option_find(group, option->text);
    }
    if (!option) {
        return error_new(ERR_CONFIG, "option '%s': there is no such option",
                         name);
    }
    struct error *error = value_parse(option, text, &value);
    if (!error) {
        error = value_check(option, &value);
    }
    if (!error) {
        value_swap(conf, group, option, &value);
        derive_rest(conf);
        error = rules_check(conf, &at_group, &at_name);
        if (error) {
            value_swap(conf, group, option, &value);
        }
    }
    value_clear(&value);
    return error_wrap(error, "option '%s'", name);
}

/* Calls 'each' for every option that has a place in 'conf'. */
static void
each_option(struct conf *conf,
            void (*each)(struct conf *conf, const struct option_group *group,
                         const struct option *option))
{
    size_t n_groups, n;
    const struct option_group *groups = option_groups(&n_groups);

    for (size_t g = 0; g < n_groups; g++) {
        const struct option *rows = groups[g].rows(&n);

        for (size_t i = 0; i < n; i++) {
            if (rows[i].type != OPTION_ALIAS && rows[i].type != OPTION_GONE) {
                each(conf, &groups[g], &rows[i]);
            }
        }
    }
}

static void
clear_one(struct conf *conf, const struct option_group *group,
          const struct option *option)
{
    struct value value = {0};

    value_swap(conf, group, option, &value);
    value_clear(&value);
}

void
conf_free(struct conf *conf)
{
    if (conf) {
        each_option(conf, clear_one);
        free(conf);
    }
}

static void
default_one(struct conf *conf, const struct option_group *group,
            const struct option *option)
{
    struct value value;

    value_default(option, &value);
    value_swap(conf, group, option, &value);
}

static void
set_defaults(struct conf *conf)
{
    each_option(conf, default_one);
}

/* "FILE:LINE: option 'GROUP.NAME'" before the reason; line 0 is unknown. */
static struct error *
at(const struct loader *loader, int line, const char *group, const char *name,
   struct error *error)
{
    const char *dot = group ? "." : "";

    group = group ? group : "";
    if (line == 0) {
        return error_wrap(error, "%s: option '%s%s%s'", loader->name, group,
                          dot, name);
    }
    return error_wrap(error, "%s:%d: option '%s%s%s'", loader->name, line,
                      group, dot, name);
}

/* The reason is made an error for its context only. */
static void
warn_at(const struct loader *loader, int line, const char *group,
        const char *name, const char *reason)
{
    AUTO_ERROR warning =
        at(loader, line, group, name, error_new(ERR_CONFIG, "%s", reason));

    if (loader->warn) {
        loader->warn(loader->aux, error_message(warning));
    }
}

static int
line_of(const struct loader *loader, const struct option *option)
{
    for (size_t i = 0; i < loader->n_places; i++) {
        if (loader->places[i].option == option) {
            return loader->places[i].line;
        }
    }
    return 0;
}

static struct error *
finish(struct loader *loader)
{
    const char *group, *name;

    derive_rest(loader->conf);
    struct error *error = rules_check(loader->conf, &group, &name);
    if (!error) {
        return NULL;
    }
    return at(loader,
              line_of(loader, option_find(option_group_find(group), name)),
              group, name, error);
}

static struct error *
wrong_type(const struct option *option)
{
    static const char *const wanted[] = {
        [OPTION_STRING] = "must be a string in quotes",
        [OPTION_PATH] = "must be a path in quotes",
        [OPTION_ENUM] = "must be a string in quotes",
        [OPTION_LIST] = "must be a list of strings, as in [ \"a\", \"b\" ]",
        [OPTION_BOOL] = "must be true or false",
        [OPTION_INT] = "must be an integer",
        [OPTION_INT64] = "must be an integer",
        [OPTION_FLOAT] = "must be a number",
    };
    return error_new(ERR_CONFIG, "%s", wanted[option->type]);
}

/* Elements of an array or list; null if one is no string. */
static char **
read_list(const config_setting_t *setting)
{
    struct value value = {0};
    int n = config_setting_length(setting);

    value.list = xcalloc((size_t)n + 1, sizeof *value.list);
    for (int i = 0; i < n; i++) {
        const char *s = config_setting_get_string_elem(setting, i);

        if (!s) {
            value_clear(&value);
            break;
        }
        value.list[i] = xstrdup(s);
    }
    return value.list;
}

/* False if the setting is of another type than the option. */
static bool
read_value(const config_setting_t *setting, const struct option *option,
           struct value *ret)
{
    int type = config_setting_type(setting);
    bool is_integer = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;

    switch (option->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_ENUM:
        if (type == CONFIG_TYPE_STRING) {
            ret->string =
                value_string(option, config_setting_get_string(setting));
        }
        return type == CONFIG_TYPE_STRING;
    case OPTION_LIST:
        if (type == CONFIG_TYPE_STRING) {
            ret->list = value_split(config_setting_get_string(setting));
        } else if (type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST) {
            ret->list = read_list(setting);
        }
        return ret->list;
    case OPTION_BOOL:
        ret->number = config_setting_get_bool(setting);
        return type == CONFIG_TYPE_BOOL;
    case OPTION_INT:
    case OPTION_INT64:
        ret->number = config_setting_get_int64(setting);
        return is_integer;
    case OPTION_FLOAT:
        ret->fraction = is_integer ? (double)config_setting_get_int64(setting)
                                   : config_setting_get_float(setting);
        return is_integer || type == CONFIG_TYPE_FLOAT;
    case OPTION_ALIAS:
    case OPTION_GONE:
        break;
    }
    return true;
}

/* Stores the setting's value; the error is the bare reason. */
static struct error *
load_value(struct loader *loader, const config_setting_t *setting,
           const struct option_group *group, const struct option *option)
{
    struct value value = {0};
    struct error *error = NULL;

    if (line_of(loader, option) != 0) {
        return error_new(ERR_CONFIG, "is set twice, under two spellings");
    }
    if (!read_value(setting, option, &value)) {
        error = wrong_type(option);
    } else {
        error = value_check(option, &value);
    }
    if (!error) {
        value_swap(loader->conf, group, option, &value);
        if (loader->n_places == loader->n_room) {
            loader->places =
                xgrow(loader->places, &loader->n_room, sizeof *loader->places);
        }
        loader->places[loader->n_places++] =
            (struct place){option, (int)config_setting_source_line(setting)};
    }
    value_clear(&value);
    return error;
}

static struct error *
load_setting(struct loader *loader, const config_setting_t *setting,
             const struct option_group *group)
{
    const char *name = config_setting_name(setting);
    int line = (int)config_setting_source_line(setting);
    const struct option *option = option_find(group, name);
    struct error *error;

    if (option && option->type == OPTION_ALIAS) {
        option = option_find(group, option->text);
    }
    if (!option) {
        error = option_unknown(group, name);
    } else if (option->type == OPTION_GONE) {
        warn_at(loader, line, group->name, name, "has no effect any more");
        error = NULL;
    } else {
        error = load_value(loader, setting, group, option);
        if (!error && !option->is_used) {
            warn_at(loader, line, group->name, name, "has no effect in drover");
        }
    }
    return at(loader, line, group->name, name, error);
}

static struct error *
load_group(struct loader *loader, const config_setting_t *tree,
           const struct option_group *group)
{
    struct error *error = NULL;
    int n = config_setting_length(tree);

    for (int i = 0; i < n && !error; i++) {
        error = load_setting(loader, config_setting_get_elem(tree, (unsigned)i),
                             group);
    }
    return error;
}

static struct error *
load_top(struct loader *loader, const config_setting_t *root)
{
    const struct option_group *top = option_group_find(NULL);
    struct error *error = NULL;
    int n = config_setting_length(root);

    for (int i = 0; i < n && !error; i++) {
        const config_setting_t *setting =
            config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(setting);
        const struct option_group *group = option_group_find(name);

        if (!group) {
            error = load_setting(loader, setting, top);
        } else if (config_setting_is_group(setting)) {
            error = load_group(loader, setting, group);
        } else {
            error =
                at(loader, (int)config_setting_source_line(setting), NULL, name,
                   error_new(ERR_CONFIG,
                             "is a group: write its options in braces"));
        }
    }
    return error;
}

/* libconfig's parser ran over 'text' and did not like it. */
static struct error *
parse_error(const struct loader *loader, const config_t *tree, const char *text,
            size_t size)
{
    int line = config_error_line(tree);
    const char *reason = config_error_text(tree);

    if (reason && strstr(reason, "duplicate")) {
        AUTO_FREE name = scan_repeated(text, size, line);

        if (name) {
            return at(loader, line, NULL, name,
                      error_new(ERR_CONFIG, "is set twice"));
        }
    }
    return error_new(ERR_CONFIG, "%s:%d: %s", loader->name, line,
                     reason ? reason : "syntax error");
}

static struct error *
load_tree(struct loader *loader, const char *text, size_t size)
{
    AUTO_FREE string = xstrndup(text, size);
    struct error *error;
    config_t tree;

    config_init(&tree);
    if (config_read_string(&tree, string)) {
        error = load_top(loader, config_root_setting(&tree));
    } else {
        error = parse_error(loader, &tree, text, size);
    }
    config_destroy(&tree);
    return error;
}

static void
warn_public(struct loader *loader)
{
    size_t n, n_rows;
    const struct option_group *groups = option_groups(&n);

    for (size_t i = 0; i < n; i++) {
        const struct option *rows = groups[i].rows(&n_rows);

        for (size_t k = 0; k < n_rows; k++) {
            if (holds_secret(loader->conf, &groups[i], &rows[k])) {
                warn_at(loader, line_of(loader, &rows[k]), groups[i].name,
                        rows[k].name,
                        "holds a password that everyone can read: take the "
                        "right to read this file from others");
            }
        }
    }
}

static bool
holds_secret(struct conf *conf, const struct option_group *group,
             const struct option *option)
{
    static const char *const names[] = {"password",
                                        "application_credential_secret"};

    if (option->type != OPTION_STRING) {
        return false;
    }
    const char *value = *value_string_at(conf, group, option);
    bool is_secret = false;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        is_secret |= str_eq(option->name, names[i]);
    }
    if (str_eq(option->name, "transport_url")) {
        is_secret = value && rules_url_has_password(value);
    }
    return value && is_secret;
}
