#include <config.h>

#include "rpc/failure.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/json.h"
#include "rpc/utf8.h"

/* Of a peer's failure we keep no more than this. */
#define NAME_MAX_SIZE 256
#define N_ARGS_MAX 8

/* An argument found in a text, neither with its end. */
struct found {
    const char *name, *value;
    size_t name_size, value_size;
};

static struct json *format_kwargs(const struct error *error);
static struct json *cut_string(const char *s, size_t max);
static struct error *known_error(enum error_code code, const char *message,
                                 const struct json *kwargs);
static enum error_code code_of(const char *class_name, const char *module);
static bool has_reason(enum error_code code);
static char *parse_name(const struct json *failure, const char *name);
static char *parse_message(const struct json *failure);
static void set_args(struct error *error, const struct json *kwargs);
static bool set_args_from_text(struct error *error, const char *text);
static bool match(const char *pattern, const char *text,
                  struct found found[N_ARGS_MAX], size_t *ret_n);
static const char *value_end(const char *pattern, const char *text);
static void set_arg(struct error *error, const char *name, const char *value);
static char *text_of_value(const struct json *value);
static bool is_number_text(const char *text);

char *
failure_format(const struct error *error)
{
    const char *class_name = error_class_name(error);
    AUTO_JSON failure = json_object();
    AUTO_FREE text = error_text(error);
    AUTO_FREE clean = utf8_clean(text, strlen(text));
    struct json *args = json_array();

    json_set(
        failure, "class",
        cut_string(class_name ? class_name : "NovaException", NAME_MAX_SIZE));
    json_set(failure, "module",
             cut_string(class_name && error_module(error) ? error_module(error)
                                                          : ERROR_NOVA,
                        NAME_MAX_SIZE));
    json_set(failure, "message", cut_string(clean, FAILURE_MESSAGE_MAX));
    json_set(failure, "tb", json_array());
    json_append(args, cut_string(clean, FAILURE_MESSAGE_MAX));
    json_set(failure, "args", args);
    json_set(failure, "kwargs", format_kwargs(error));
    return json_print(failure, NULL);
}

struct error *
failure_parse(const char *text)
{
    AUTO_JSON failure = NULL;
    struct error *error = json_parse(text, strlen(text), &failure);

    if (error) {
        return error_wrap(error, "failure of a peer");
    }
    if (!json_is_object(failure)) {
        return error_new(ERR_BAD_MESSAGE, "failure of a peer is no object");
    }

    AUTO_FREE class_name = parse_name(failure, "class");
    AUTO_FREE module = parse_name(failure, "module");
    AUTO_FREE message = parse_message(failure);
    const struct json *kwargs = json_get(failure, "kwargs");
    enum error_code code = code_of(class_name, module);
    if (code != ERR_REMOTE) {
        return known_error(code, message, kwargs);
    }
    error = error_new_remote(class_name, module, message);
    set_args(error, kwargs);
    return error;
}

static struct json *
format_kwargs(const struct error *error)
{
    int http_code = error_class(error_code(error))->http_code;
    struct json *kwargs = json_object();

    for (size_t i = 0; i < error_n_args(error); i++) {
        struct error_arg arg = error_arg_at(error, i);
        /* The one that is a number to those who read it. */
        bool is_code = str_eq(arg.name, "code") && is_number_text(arg.value);
        AUTO_FREE value = utf8_clean(arg.value, strlen(arg.value));
        json_set(kwargs, arg.name,
                 is_code ? json_int(atoi(value))
                         : cut_string(value, FAILURE_MESSAGE_MAX));
    }
    if (has_reason(error_code(error)) && !json_has(kwargs, "reason")) {
        AUTO_FREE reason =
            utf8_clean(error_message(error), strlen(error_message(error)));
        json_set(kwargs, "reason", cut_string(reason, FAILURE_MESSAGE_MAX));
    }
    if (http_code) {
        json_set_int(kwargs, "code", http_code);
    }
    return kwargs;
}

static struct json *
cut_string(const char *s, size_t max)
{
    return json_string_n(s, utf8_cut(s, max));
}

/* An error of which error_text() makes 'message' again, if that is possible. */
static struct error *
known_error(enum error_code code, const char *message,
            const struct json *kwargs)
{
    AUTO_ERROR full = error_new(code, "%s", message);

    set_args(full, kwargs);
    AUTO_FREE text = error_text(full);
    bool fits = str_eq(text, message) || set_args_from_text(full, message);

    /* The pattern's words around the reason are no part of our message. */
    const char *reason =
        fits && has_reason(code) ? error_arg(full, "reason") : NULL;
    struct error *error = error_new(code, "%s", reason ? reason : message);
    for (size_t i = 0; i < error_n_args(full); i++) {
        struct error_arg arg = error_arg_at(full, i);
        if (!has_reason(code) || !str_eq(arg.name, "reason")) {
            set_arg(error, arg.name, arg.value);
        }
    }
    return error;
}

/* Of the codes that share a class the one that says no more than it does. */
static enum error_code
code_of(const char *class_name, const char *module)
{
    if (!class_name || !module) {
        return ERR_REMOTE;
    }

    enum error_code code = error_code_of_class(
        class_name, str_eq(module, "exceptions") ? "builtins" : module);
    return code == ERR_BAD_MESSAGE ? ERR_VALUE
           : code == ERR_CANCELLED ? ERR_MIGRATION
           : code == ERR_STORAGE   ? ERR_INTERNAL
                                   : code;
}

static bool
has_reason(enum error_code code)
{
    const char *pattern = error_class(code)->pattern;

    return pattern && strstr(pattern, "%(reason)s");
}

/* A class or a module, without the mark of one that was passed on; null if
 * there is none. */
static char *
parse_name(const struct json *failure, const char *name)
{
    static const char mark[] = "_Remote";
    const char *s = json_string_of(failure, name);

    if (!s || !*s) {
        return NULL;
    }

    size_t n = utf8_cut(s, NAME_MAX_SIZE);
    while (n > sizeof mark - 1 &&
           strncmp(s + n - (sizeof mark - 1), mark, sizeof mark - 1) == 0) {
        n -= sizeof mark - 1;
    }
    return xstrndup(s, n);
}

static char *
parse_message(const struct json *failure)
{
    const char *s = json_string_of(failure, "message");

    if (!s) {
        s = json_get_string(json_first(json_get(failure, "args")));
    }
    return s ? xstrndup(s, utf8_cut(s, FAILURE_MESSAGE_MAX))
             : xstrdup("a peer failed without a message");
}

static void
set_args(struct error *error, const struct json *kwargs)
{
    if (!json_is_object(kwargs)) {
        return;
    }
    json_for_each (member, kwargs) {
        /* A code of ours has its HTTP code anyway. */
        bool is_known = error_code(error) != ERR_REMOTE &&
                        str_eq(json_name(member), "code");
        if (!is_known && strlen(json_name(member)) <= NAME_MAX_SIZE) {
            AUTO_FREE value = text_of_value(member);
            set_arg(error, json_name(member), value);
        }
    }
}

/* Reads the arguments of the pattern back out of a text made from it: peers
 * that build an exception from its text alone send no kwargs.  False, nothing
 * done, if the text is not of that make. */
static bool
set_args_from_text(struct error *error, const char *text)
{
    const char *pattern = error_class(error_code(error))->pattern;
    struct found found[N_ARGS_MAX];
    size_t n = 0;

    if (!pattern || !match(pattern, text, found, &n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE name = xstrndup(found[i].name, found[i].name_size);
        AUTO_FREE value = xstrndup(found[i].value, found[i].value_size);
        set_arg(error, name, value);
    }
    return true;
}

static bool
match(const char *pattern, const char *text, struct found found[N_ARGS_MAX],
      size_t *ret_n)
{
    while (*ret_n < N_ARGS_MAX) {
        const char *open = strstr(pattern, "%(");
        size_t size = open ? (size_t)(open - pattern) : strlen(pattern);

        if (strncmp(pattern, text, size) != 0) {
            return false;
        }
        text += size;
        if (!open) {
            return *text == '\0';
        }

        const char *close = strstr(open, ")s");
        pattern = close + 2;
        const char *end = value_end(pattern, text);
        if (!end) {
            return false;
        }
        found[(*ret_n)++] = (struct found){
            .name = open + 2,
            .name_size = (size_t)(close - open - 2),
            .value = text,
            .value_size = (size_t)(end - text),
        };
        text = end;
    }
    return false;
}

/* Where the value at 'text' ends: where the literal with which 'pattern' goes
 * on begins.  The last literal is at the end.  Null: nowhere. */
static const char *
value_end(const char *pattern, const char *text)
{
    size_t size = strcspn(pattern, "%"), left = strlen(text);

    if (!pattern[size]) {
        return left >= size ? text + left - size : NULL;
    }
    AUTO_FREE literal = xstrndup(pattern, size);
    return strstr(text, literal);
}

/* A peer may send more arguments than an error has room for. */
static void
set_arg(struct error *error, const char *name, const char *value)
{
    if (error_n_args(error) < N_ARGS_MAX || error_arg(error, name)) {
        error_set_arg(error, name, value);
    }
}

static char *
text_of_value(const struct json *value)
{
    AUTO_FREE printed = NULL;
    const char *text = json_get_string(value);

    if (!text) {
        /* As Python would have put them into the message. */
        text = json_is_null(value)   ? "None"
               : json_is_true(value) ? "True"
               : json_is_bool(value) ? "False"
                                     : (printed = json_print(value, NULL));
    }
    return xstrndup(text, utf8_cut(text, FAILURE_MESSAGE_MAX));
}

static bool
is_number_text(const char *text)
{
    size_t n = strlen(text);

    return n > 0 && n < 10 && strspn(text, "0123456789") == n;
}
