#include <config.h>

#include "conf/value.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool
value_is_string(const struct option *option)
{
    return option->type == OPTION_STRING || option->type == OPTION_PATH ||
           option->type == OPTION_ENUM;
}

void
value_default(const struct option *option, struct value *ret)
{
    *ret = (struct value){
        .number = option->number,
        .fraction = option->fraction,
    };
    if (value_is_string(option)) {
        ret->string = xstrdup_null(option->text);
    } else if (option->type == OPTION_LIST) {
        ret->list = value_split(option->text);
    }
}

char *
value_string(const struct option *option, const char *text)
{
    return *text ? xstrdup(text) : xstrdup_null(option->text);
}

char **
value_split(const char *text)
{
    size_t n = 0, n_room = 4;
    char **list = xcalloc(n_room, sizeof *list);

    while (*text) {
        size_t skip = strspn(text, " \t,");
        size_t size = strcspn(text + skip, ",");
        const char *start = text + skip;

        text = start + size;
        while (size > 0 &&
               (start[size - 1] == ' ' || start[size - 1] == '\t')) {
            size--;
        }
        if (size == 0) {
            continue;
        }
        if (n + 1 == n_room) {
            list = xgrow(list, &n_room, sizeof *list);
        }
        list[n++] = xstrndup(start, size);
    }
    list[n] = NULL;
    return list;
}

static struct error *
parse_bool(const char *text, int64_t *ret)
{
    static const char *const words[2][4] = {{"false", "0", "no", "off"},
                                            {"true", "1", "yes", "on"}};

    for (size_t i = 0; i < N_ELEMENTS(words); i++) {
        for (size_t j = 0; j < N_ELEMENTS(words[i]); j++) {
            if (strcasecmp(text, words[i][j]) == 0) {
                *ret = (int64_t)i;
                return NULL;
            }
        }
    }
    return error_new(ERR_CONFIG, "must be true or false");
}

struct error *
value_parse(const struct option *option, const char *text, struct value *ret)
{
    struct value value = {0};
    char *end = NULL;

    errno = 0;
    switch (option->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_ENUM:
        value.string = value_string(option, text);
        break;
    case OPTION_LIST:
        value.list = value_split(text);
        break;
    case OPTION_BOOL: {
        struct error *error = parse_bool(text, &value.number);
        if (error) {
            return error;
        }
        break;
    }
    case OPTION_INT:
    case OPTION_INT64:
        value.number = strtoll(text, &end, 10);
        if (end == text || *end || errno || isspace((unsigned char)*text)) {
            return error_new(ERR_CONFIG, "must be an integer");
        }
        break;
    case OPTION_FLOAT:
        value.fraction = strtod(text, &end);
        if (end == text || *end || errno || isspace((unsigned char)*text)) {
            return error_new(ERR_CONFIG, "must be a number");
        }
        break;
    case OPTION_ALIAS:
    case OPTION_GONE:
        break;
    }
    *ret = value;
    return NULL;
}

const char *
value_path_fault(const char *path)
{
    if (path[0] != '/' && strncmp(path, "$state_path/", 12) != 0) {
        return "must be an absolute path";
    }
    for (const char *p = strstr(path, "/.."); p; p = strstr(p + 1, "/..")) {
        if (p[3] == '/' || p[3] == '\0') {
            return "must not contain '..'";
        }
    }
    return NULL;
}

/* Strings go into JSON, XML, URIs and the log. */
static const char *
string_fault(const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            return "must not hold control characters";
        }
        if (*p < 0x80) {
            continue;
        }
        int n_more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        bool is_bad = *p < 0xc2 || *p > 0xf4 ||
                      (*p == 0xe0 && p[1] < 0xa0) || /* overlong */
                      (*p == 0xed && p[1] > 0x9f) || /* surrogate */
                      (*p == 0xf0 && p[1] < 0x90) ||
                      (*p == 0xf4 && p[1] > 0x8f);

        for (; !is_bad && n_more > 0; n_more--) {
            is_bad = (*++p & 0xc0) != 0x80;
        }
        if (is_bad) {
            return "must be UTF-8";
        }
    }
    return NULL;
}

static bool
is_one_of(const char *s, const char *values)
{
    size_t size = strlen(s);

    for (const char *v = values; *v; v += strcspn(v, "|"), v += *v == '|') {
        if (strncmp(v, s, size) == 0 && strcspn(v, "|") == size) {
            return true;
        }
    }
    return false;
}

static struct error *
check_number(const struct option *option, int64_t number)
{
    if (number >= option->min && number <= option->max) {
        return NULL;
    }
    if (option->max == INT_MAX) {
        return error_new(ERR_CONFIG, "must be at least %lld, not %lld",
                         (long long)option->min, (long long)number);
    }
    return error_new(ERR_CONFIG, "must be between %lld and %lld, not %lld",
                     (long long)option->min, (long long)option->max,
                     (long long)number);
}

static struct error *
check_string(const struct option *option, const char *s)
{
    const char *fault = string_fault(s);

    if (!fault && option->type == OPTION_PATH) {
        fault = value_path_fault(s);
    }
    if (fault) {
        return error_new(ERR_CONFIG, "%s", fault);
    }
    if (option->type == OPTION_ENUM && !is_one_of(s, option->values)) {
        return error_new(ERR_CONFIG, "must be one of %s", option->values);
    }
    return NULL;
}

struct error *
value_check(const struct option *option, const struct value *value)
{
    struct error *error = NULL;

    switch (option->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_ENUM:
        return value->string ? check_string(option, value->string) : NULL;
    case OPTION_LIST:
        for (char **s = value->list; *s && !error; s++) {
            error = check_string(option, *s);
        }
        return error;
    case OPTION_INT:
    case OPTION_INT64:
        return check_number(option, value->number);
    case OPTION_FLOAT:
        /* The other way round a NaN would pass. */
        if (!(value->fraction >= option->low &&
              value->fraction <= option->high)) {
            return error_new(ERR_CONFIG, "must be between %g and %g, not %g",
                             option->low, option->high, value->fraction);
        }
        return NULL;
    case OPTION_BOOL:
    case OPTION_ALIAS:
    case OPTION_GONE:
        break;
    }
    return NULL;
}

void
value_swap(struct conf *conf, const struct option_group *group,
           const struct option *option, struct value *value)
{
    void *at = (char *)conf + group->offset + option->offset;
    struct value old = {0};

    switch (option->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_ENUM:
        old.string = *(char **)at;
        *(char **)at = value->string;
        break;
    case OPTION_LIST:
        old.list = *(char ***)at;
        *(char ***)at = value->list;
        break;
    case OPTION_BOOL:
        old.number = *(bool *)at;
        *(bool *)at = value->number != 0;
        break;
    case OPTION_INT:
        old.number = *(int *)at;
        *(int *)at = (int)value->number;
        break;
    case OPTION_INT64:
        old.number = *(int64_t *)at;
        *(int64_t *)at = value->number;
        break;
    case OPTION_FLOAT:
        old.fraction = *(double *)at;
        *(double *)at = value->fraction;
        break;
    case OPTION_ALIAS:
    case OPTION_GONE:
        break;
    }
    *value = old;
}

char **
value_string_at(struct conf *conf, const struct option_group *group,
                const struct option *option)
{
    return (char **)(void *)((char *)conf + group->offset + option->offset);
}

void
value_clear(struct value *value)
{
    for (char **s = value->list; s && *s; s++) {
        free(*s);
    }
    free(value->list);
    free(value->string);
    *value = (struct value){0};
}
