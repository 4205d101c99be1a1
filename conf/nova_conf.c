#include <config.h>

#include "conf/nova_conf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Of names that stand for names that stand for names.  Any real file has two
 * or three; circles end here. */
#define MAX_DEPTH 10

/* What $ can make of a value that is not made to blow us up. */
#define MAX_VALUE 65536

#define BLANKS " \t\r\f\v"

struct nova_conf {
    struct nova_setting *settings;
    size_t n, n_room;
};

/* One file on its way in. */
struct reader {
    struct nova_conf *conf;
    const char *file;
    int line;
    char *group;      /* Null: before the first. */
    bool is_in_value; /* The next line may continue the last setting. */
};

/* A value on its way out. */
struct expansion {
    const struct nova_conf *conf;
    nova_conf_outside *outside;
    void *aux;
    int depth;
    char *text;
    size_t size;
};

static struct error *read_line(struct reader *reader, const char *line,
                               size_t size);
static struct error *read_group(struct reader *reader, const char *line,
                                size_t size);
static struct error *read_setting(struct reader *reader, const char *line,
                                  size_t size);
static void continue_value(struct reader *reader, const char *line,
                           size_t size);
static struct error *expand(struct expansion *expansion, const char *value);
static struct error *expand_name(struct expansion *expansion, const char *name,
                                 size_t size);

struct nova_conf *
nova_conf_create(void)
{
    return xzalloc(sizeof(struct nova_conf));
}

void
nova_conf_free(struct nova_conf *conf)
{
    for (size_t i = 0; conf && i < conf->n; i++) {
        free(conf->settings[i].group);
        free(conf->settings[i].name);
        free(conf->settings[i].value);
        free(conf->settings[i].file);
    }
    if (conf) {
        free(conf->settings);
    }
    free(conf);
}

const struct nova_setting *
nova_conf_settings(const struct nova_conf *conf, size_t *ret_n)
{
    *ret_n = conf->n;
    return conf->settings;
}

const struct nova_setting *
nova_conf_find(const struct nova_conf *conf, const char *group,
               const char *name)
{
    for (size_t i = conf->n; i > 0; i--) {
        const struct nova_setting *setting = &conf->settings[i - 1];

        if (str_eq(setting->name, name) && str_eq(setting->group, group)) {
            return setting;
        }
    }
    return NULL;
}

/* ---- Reading --------------------------------------------------------------
 */

struct error *
nova_conf_add(struct nova_conf *conf, const char *text, size_t size,
              const char *name)
{
    struct reader reader = {.conf = conf, .file = name};
    struct error *error = NULL;

    if (memchr(text, '\0', size)) {
        return error_new(ERR_CONFIG, "%s: the file holds a null byte", name);
    }
    while (size > 0 && !error) {
        const char *end = memchr(text, '\n', size);
        size_t n = end ? (size_t)(end - text) : size;

        reader.line++;
        error = read_line(&reader, text, n);
        n += end ? 1 : 0;
        text += n;
        size -= n;
    }
    free(reader.group);
    return error_wrap(error, "%s:%d", name, reader.line);
}

static struct error *
read_line(struct reader *reader, const char *line, size_t size)
{
    while (size > 0 && memchr(BLANKS, line[size - 1], sizeof BLANKS - 1)) {
        size--;
    }
    if (size == 0) {
        reader->is_in_value = false;
        return NULL;
    }
    if (*line == ' ' || *line == '\t') {
        if (!reader->is_in_value) {
            return error_new(ERR_CONFIG,
                             "the line begins with a blank, but there is no "
                             "value that it could continue");
        }
        continue_value(reader, line, size);
        return NULL;
    }
    reader->is_in_value = false;
    if (*line == '[') {
        return read_group(reader, line, size);
    }
    return *line == '#' || *line == ';' ? NULL
                                        : read_setting(reader, line, size);
}

static struct error *
read_group(struct reader *reader, const char *line, size_t size)
{
    if (line[size - 1] != ']' || size <= 2) {
        return error_new(ERR_CONFIG, "a group is a name in brackets");
    }
    free(reader->group);
    reader->group = xstrndup(line + 1, size - 2);
    for (char *p = reader->group; *p && !str_eq(reader->group, "DEFAULT");
         p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return NULL;
}

/* A copy without the blanks around it. */
static char *
stripped(const char *s, size_t size)
{
    size_t skip = 0;

    while (skip < size && memchr(BLANKS, s[skip], sizeof BLANKS - 1)) {
        skip++;
    }
    while (size > skip && memchr(BLANKS, s[size - 1], sizeof BLANKS - 1)) {
        size--;
    }
    return xstrndup(s + skip, size - skip);
}

/* Quotes count at the ends of the first line only, and a single one as both
 * of them, as in oslo.config. */
static char *
value_of(const char *s, size_t size)
{
    char *value = stripped(s, size);
    size_t n = strlen(value);

    if (n > 0 && strchr("'\"", value[0]) && value[n - 1] == value[0]) {
        memmove(value, value + 1, n - 1);
        value[n > 1 ? n - 2 : 0] = '\0';
    }
    return value;
}

static struct error *
read_setting(struct reader *reader, const char *line, size_t size)
{
    struct nova_conf *conf = reader->conf;
    size_t n_name = 0;

    while (n_name < size && line[n_name] != '=' && line[n_name] != ':') {
        n_name++;
    }
    if (n_name == size) {
        return error_new(ERR_CONFIG, "the line is no \"name = value\"");
    }
    AUTO_FREE name = stripped(line, n_name);
    if (!*name) {
        return error_new(ERR_CONFIG, "the value has no name");
    }
    if (!reader->group) {
        return error_new(ERR_CONFIG, "a [group] must come first");
    }
    for (char *p = strchr(name, '-'); p; p = strchr(p, '-')) {
        *p = '_';
    }
    if (conf->n == conf->n_room) {
        conf->settings =
            xgrow(conf->settings, &conf->n_room, sizeof *conf->settings);
    }
    conf->settings[conf->n++] = (struct nova_setting){
        .group = xstrdup(reader->group),
        .name = steal(&name),
        .value = value_of(line + n_name + 1, size - n_name - 1),
        .file = xstrdup(reader->file),
        .line = reader->line,
    };
    reader->is_in_value = true;
    return NULL;
}

static void
continue_value(struct reader *reader, const char *line, size_t size)
{
    struct nova_setting *setting = &reader->conf->settings[reader->conf->n - 1];
    AUTO_FREE more = stripped(line, size);
    char *value = xasprintf("%s\n%s", setting->value, more);

    free(setting->value);
    setting->value = value;
}

/* ---- Names in values ------------------------------------------------------
 */

struct error *
nova_conf_value(const struct nova_conf *conf,
                const struct nova_setting *setting, nova_conf_outside *outside,
                void *aux, char **ret)
{
    struct expansion expansion = {
        .conf = conf, .outside = outside, .aux = aux, .text = xstrdup("")};
    struct error *error = expand(&expansion, setting->value);

    if (error) {
        free(expansion.text);
        return error;
    }
    *ret = expansion.text;
    return NULL;
}

static struct error *
append(struct expansion *expansion, const char *s, size_t size)
{
    if (expansion->size + size > MAX_VALUE) {
        return error_new(ERR_CONFIG, "becomes too long");
    }
    expansion->text = xrealloc(expansion->text, expansion->size + size + 1);
    memcpy(expansion->text + expansion->size, s, size);
    expansion->size += size;
    expansion->text[expansion->size] = '\0';
    return NULL;
}

static bool
begins_name(char c)
{
    return c == '_' || isalpha((unsigned char)c);
}

static size_t
name_size(const char *s)
{
    size_t n = 0;

    while (begins_name(*s) &&
           (begins_name(s[n]) || s[n] == '.' || isdigit((unsigned char)s[n]))) {
        n++;
    }
    return n;
}

/* What a $ (or \$) at 's' is, and how many bytes it takes. */
static struct error *
expand_dollar(struct expansion *expansion, const char *s, size_t *ret_size)
{
    size_t n = name_size(s + 1);

    *ret_size = 1;
    if (s[0] == '\\' || s[1] == '$') {
        *ret_size = 2;
    } else if (n > 0) {
        *ret_size = 1 + n;
        return expand_name(expansion, s + 1, n);
    } else if (s[1] == '{') {
        n = name_size(s + 2);
        if (n > 0 && s[2 + n] == '}') {
            *ret_size = 3 + n;
            return expand_name(expansion, s + 2, n);
        }
    }
    return append(expansion, "$", 1);
}

static struct error *
expand(struct expansion *expansion, const char *value)
{
    struct error *error = NULL;

    if (++expansion->depth > MAX_DEPTH) {
        return error_new(ERR_CONFIG, "names itself in the end");
    }
    while (*value && !error) {
        size_t size = strcspn(value, "$\\");

        if (size > 0) {
            error = append(expansion, value, size);
        } else if (*value == '$' || value[1] == '$') {
            error = expand_dollar(expansion, value, &size);
        } else {
            size = 1;
            error = append(expansion, value, size);
        }
        value += size;
    }
    expansion->depth--;
    return error;
}

/* "name" of [DEFAULT], or "group.name". */
static struct error *
expand_name(struct expansion *expansion, const char *s, size_t size)
{
    AUTO_FREE group = xstrndup(s, size);
    char *dot = strchr(group, '.');
    const char *name = dot ? dot + 1 : group;

    if (dot) {
        *dot = '\0';
    }
    const char *of = dot ? group : "DEFAULT";
    const struct nova_setting *setting =
        nova_conf_find(expansion->conf, of, name);
    if (setting) {
        return expand(expansion, setting->value);
    }
    AUTO_FREE text = expansion->outside(expansion->aux, of, name);
    if (!text) {
        return error_new(ERR_CONFIG, "uses $%.*s, which is not set", (int)size,
                         s);
    }
    return append(expansion, text, strlen(text));
}
