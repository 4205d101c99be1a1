#include <config.h>

#include "agent/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_python_text(FILE *out, const char *text);

/* Nova sends what Python's repr() makes of its exception. */
struct json *
notify_legacy_exception(const struct object *instance,
                        const struct error *error)
{
    const struct error_class *class = error_class(error_code(error));
    struct json *payload = json_object(), *args = json_object();
    AUTO_FREE text = error_text(error);
    char *repr = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&repr, &size);

    if (!out) {
        abort();
    }
    fputs("{'kwargs': {", out);
    for (size_t i = 0; i < error_n_args(error); i++) {
        struct error_arg arg = error_arg_at(error, i);
        print_python_text(out, arg.name);
        fputs(": ", out);
        print_python_text(out, arg.value);
        fputs(", ", out);
    }
    fprintf(out, "'code': %d}, 'message': ",
            class->http_code ? class->http_code : 500);
    print_python_text(out, text);
    fputs(", 'class': ", out);
    print_python_text(out, error_class_name(error));
    fputs("}", out);
    fclose(out);
    json_set_string(payload, "exception", repr);
    free(repr);

    if (instance) {
        struct json *who = json_object();
        json_set_string(who, "uuid", object_string(instance, "uuid"));
        json_set(args, "instance", who);
    }
    json_set(payload, "args", args);
    return payload;
}

struct json *
notify_versioned_exception(const char *function, const struct error *error)
{
    AUTO_FREE text = error_text(error);
    struct json *payload = json_object(), *data = json_object();

    json_set_string(data, "module_name", "drover");
    json_set_string(data, "function_name", function);
    json_set_string(data, "exception", error_class_name(error));
    json_set_string(data, "exception_message", text);
    json_set_string(data, "traceback", "");
    json_set_string(payload, "nova_object.name", "ExceptionPayload");
    json_set_string(payload, "nova_object.namespace", "nova");
    json_set_string(payload, "nova_object.version", "1.1");
    json_set(payload, "nova_object.data", data);
    return payload;
}

static void
print_python_text(FILE *out, const char *text)
{
    char quote = text && strchr(text, '\'') && !strchr(text, '"') ? '"' : '\'';

    fputc(quote, out);
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == quote || *p == '\\') {
            fprintf(out, "\\%c", *p);
        } else if (*p == '\n') {
            fputs("\\n", out);
        } else if ((unsigned char)*p < ' ' || *p == 0x7f) {
            fprintf(out, "\\x%02x", (unsigned)*p);
        } else {
            fputc(*p, out);
        }
    }
    fputc(quote, out);
}
