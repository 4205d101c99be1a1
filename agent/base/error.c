#include <config.h>

#include "agent/base/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ARGS_MAX 8

struct error {
    enum error_code code;
    char *message;
    char *class_name; /* Only of ERR_REMOTE; may be null. */
    char *module;     /* Only of ERR_REMOTE; may be null. */
    size_t n_args;
    struct {
        char *name, *value;
    } args[N_ARGS_MAX];
};

static const struct error_class classes[ERR_N_CODES] = {
#define ERROR_CODE(NAME, CLASS, MODULE, HTTP, PATTERN) \
    [ERR_##NAME] = {#NAME, CLASS, MODULE, HTTP, PATTERN},
    ERROR_CODES
#undef ERROR_CODE
};

static struct error *error_newv(enum error_code, const char *fmt, va_list)
    PRINTF_FORMAT(2, 0);
static void append_arg(const struct error *, const char *name, size_t size,
                       FILE *);

const struct error_class *
error_class(enum error_code code)
{
    assert(code > ERR_NONE && code < ERR_N_CODES);
    return &classes[code];
}

enum error_code
error_code_of_class(const char *class_name, const char *module)
{
    for (int code = ERR_NONE + 1; code < ERR_N_CODES; code++) {
        if (classes[code].class_name &&
            str_eq(classes[code].class_name, class_name) &&
            str_eq(classes[code].module, module)) {
            return code;
        }
    }
    return ERR_REMOTE;
}

struct error *
error_new(enum error_code code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    struct error *error = error_newv(code, fmt, args);
    va_end(args);
    return error;
}

struct error *
error_new_remote(const char *class_name, const char *module,
                 const char *message)
{
    struct error *error = error_new(ERR_REMOTE, "%s", message);

    error->class_name = xstrdup_null(class_name);
    error->module = xstrdup_null(module);
    return error;
}

struct error *
error_wrap(struct error *error, const char *fmt, ...)
{
    if (!error) {
        return NULL;
    }

    va_list args;
    va_start(args, fmt);
    AUTO_FREE context = xvasprintf(fmt, args);
    va_end(args);

    char *message = xasprintf("%s: %s", context, error->message);
    free(error->message);
    error->message = message;
    return error;
}

struct error *
error_set_arg(struct error *error, const char *name, const char *value)
{
    for (size_t i = 0; i < error->n_args; i++) {
        if (str_eq(error->args[i].name, name)) {
            free(error->args[i].value);
            error->args[i].value = xstrdup(value);
            return error;
        }
    }
    assert(error->n_args < N_ARGS_MAX);
    error->args[error->n_args].name = xstrdup(name);
    error->args[error->n_args++].value = xstrdup(value);
    return error;
}

struct error *
error_copy(const struct error *error)
{
    if (!error) {
        return NULL;
    }

    struct error *copy = error_new(error->code, "%s", error->message);
    copy->class_name = xstrdup_null(error->class_name);
    copy->module = xstrdup_null(error->module);
    for (size_t i = 0; i < error->n_args; i++) {
        error_set_arg(copy, error->args[i].name, error->args[i].value);
    }
    return copy;
}

void
error_free(struct error *error)
{
    if (!error) {
        return;
    }
    for (size_t i = 0; i < error->n_args; i++) {
        free(error->args[i].name);
        free(error->args[i].value);
    }
    free(error->message);
    free(error->class_name);
    free(error->module);
    free(error);
}

enum error_code
error_code(const struct error *error)
{
    return error ? error->code : ERR_NONE;
}

const char *
error_message(const struct error *error)
{
    return error ? error->message : "success";
}

size_t
error_n_args(const struct error *error)
{
    return error->n_args;
}

struct error_arg
error_arg_at(const struct error *error, size_t i)
{
    assert(i < error->n_args);
    return (struct error_arg){error->args[i].name, error->args[i].value};
}

const char *
error_arg(const struct error *error, const char *name)
{
    for (size_t i = 0; i < error->n_args; i++) {
        if (str_eq(error->args[i].name, name)) {
            return error->args[i].value;
        }
    }
    return NULL;
}

const char *
error_class_name(const struct error *error)
{
    return error->code == ERR_REMOTE ? error->class_name
                                     : classes[error->code].class_name;
}

const char *
error_module(const struct error *error)
{
    return error->code == ERR_REMOTE ? error->module
                                     : classes[error->code].module;
}

char *
error_text(const struct error *error)
{
    const char *pattern = classes[error->code].pattern;
    char *text = NULL;
    size_t size = 0;

    if (!pattern) {
        return xstrdup(error->message);
    }

    FILE *out = open_memstream(&text, &size);
    if (!out) {
        abort();
    }
    for (const char *p = pattern; *p;) {
        const char *end = strncmp(p, "%(", 2) == 0 ? strstr(p, ")s") : NULL;
        if (end) {
            append_arg(error, p + 2, (size_t)(end - p - 2), out);
            p = end + 2;
        } else {
            fputc(*p++, out);
        }
    }
    fclose(out);
    return text;
}

static struct error *
error_newv(enum error_code code, const char *fmt, va_list args)
{
    assert(code > ERR_NONE && code < ERR_N_CODES);
    struct error *error = xzalloc(sizeof *error);

    error->code = code;
    error->message = xvasprintf(fmt, args);
    return error;
}

/* The argument, or the message for "reason" and for what nobody set: a text
 * without its parameter would tell the operator nothing. */
static void
append_arg(const struct error *error, const char *name, size_t size, FILE *out)
{
    for (size_t i = 0; i < error->n_args; i++) {
        if (strlen(error->args[i].name) == size &&
            strncmp(error->args[i].name, name, size) == 0) {
            fputs(error->args[i].value, out);
            return;
        }
    }
    fputs(error->message, out);
}
