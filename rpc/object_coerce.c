#include <config.h>

#include "rpc/object_internal.h"

#include <math.h>
#include <string.h>

#include "agent/base/clock.h"
#include "rpc/object.h"
#include "rpc/object_versions.h"

/* Up to here a double has all whole numbers. */
#define EXACT_MAX 9007199254740992.0

static struct json *sent_form_of(const char *text);
static struct json *integer_of(const struct json *value);
static struct json *integer_of_text(const char *text);

struct error *
object_coerce(struct json *json)
{
    struct error *error = NULL;

    if (object_is_primitive(json)) {
        error = object_coerce_fields(json_string_of(json, KEY_NAME),
                                     json_get(json, KEY_DATA));
    }
    json_for_each (value, json) {
        if (!error && json_first(value)) {
            error = object_coerce(value);
        }
    }
    return error;
}

struct error *
object_coerce_fields(const char *name, struct json *data)
{
    const struct object_class *class = object_class_find(name);
    struct json *value = class ? json_first(data) : NULL;

    while (value) {
        const struct object_field *field =
            object_field_find(class, json_name(value));
        enum object_kind kind = field ? field->kind : OBJECT_ANY;
        int64_t us;

        if (kind == OBJECT_DATETIME && !json_is_null(value) &&
            !object_parse_datetime(json_get_string(value), &us)) {
            return error_new(ERR_VALUE, "'%s' of '%s' is no point in time",
                             field->name, name);
        }
        if (kind == OBJECT_INTEGER && !json_is_null(value) &&
            !json_is_int(value)) {
            struct json *number = integer_of(value);
            if (!number) {
                return error_new(ERR_VALUE, "'%s' of '%s' is no integer",
                                 field->name, name);
            }
            json_set(data, field->name, number);
            value = json_get(data, field->name);
        }
        value = json_next(value);
    }
    return NULL;
}

void
object_write_datetimes(const char *name, struct json *data)
{
    const struct object_class *class = object_class_find(name);
    struct json *value = class ? json_first(data) : NULL;

    while (value) {
        const struct object_field *field =
            object_field_find(class, json_name(value));
        struct json *sent = field && field->kind == OBJECT_DATETIME
                                ? sent_form_of(json_get_string(value))
                                : NULL;

        if (sent) {
            json_set(data, field->name, sent);
            value = json_get(data, field->name);
        }
        value = json_next(value);
    }
}

/* Null if it has that form already, or no year that has one. */
static struct json *
sent_form_of(const char *text)
{
    char sent[CLOCK_TEXT_SIZE];
    int64_t us;

    if (!object_parse_datetime(text, &us)) {
        return NULL;
    }
    us -= (us % 1000000 + 1000000) % 1000000;
    clock_format_iso(us, sent);
    return str_eq(sent, text) || !object_parse_datetime(sent, &us)
               ? NULL
               : json_string(sent);
}

/* What int() makes of it, the caller's, or null. */
static struct json *
integer_of(const struct json *value)
{
    double number = json_get_double(value);

    if (json_is_string(value)) {
        return integer_of_text(json_get_string(value));
    }
    if (json_is_bool(value)) {
        return json_int(json_is_true(value));
    }
    if (!json_is_number(value)) {
        return NULL;
    }
    /* What is larger than an int64_t keeps its digits. */
    return fabs(number) < EXACT_MAX ? json_int((int64_t)number)
                                    : json_copy(value);
}

/* Blanks around it, a sign and leading zeros are fine. */
static struct json *
integer_of_text(const char *text)
{
    static const char blanks[] = " \t\n\v\f\r";
    struct json *number = NULL;

    text += strspn(text, blanks);
    const char *sign = *text == '-' ? "-" : "";
    text += *text == '-' || *text == '+';
    size_t n = strspn(text, "0123456789");
    if (n == 0 || text[n + strspn(text + n, blanks)]) {
        return NULL;
    }
    while (n > 1 && *text == '0') {
        text++;
        n--;
    }
    AUTO_FREE digits = xasprintf("%s%.*s", sign, (int)n, text);
    error_free(json_parse(digits, strlen(digits), &number));
    return number;
}
