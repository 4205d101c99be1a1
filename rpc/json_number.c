#include <config.h>

#include "rpc/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/json_build.h"

/* Numbers, which are kept as their text: cJSON's own are doubles, which lose
 * integers beyond 2^53 and are printed as floats or as another number from
 * 10^15 on (1.7.15), and what a peer sent is to be passed on unchanged. */

static struct json *number(const char *fmt, ...) PRINTF_FORMAT(1, 2);
static bool is_int_text(const char *text);
static bool whole_number(const char *text, int64_t *ret);

struct json *
json_int(int64_t value)
{
    return number("%" PRId64, value);
}

struct json *
json_uint(uint64_t value)
{
    return number("%" PRIu64, value);
}

struct json *
json_double(double value)
{
    char text[64];

    if (!isfinite(value)) {
        return json_null();
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    /* A float stays a float at the peer. */
    return number("%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

bool
json_is_int(const struct json *json)
{
    const char *text = json_number_text(json);
    int64_t value;

    return text && whole_number(text, &value);
}

int64_t
json_get_int(const struct json *json)
{
    const char *text = json_number_text(json);
    int64_t value;

    return text && whole_number(text, &value) ? value : 0;
}

double
json_get_double(const struct json *json)
{
    const char *text = json_number_text(json);
    double value = text ? strtod(text, NULL) : 0;

    return isfinite(value) ? value : 0;
}

bool
json_numbers_equal(const struct json *a_, const struct json *b_)
{
    const char *a = json_number_text(a_), *b = json_number_text(b_);
    int64_t x, y;

    if (strcmp(a, b) == 0) {
        return true;
    }
    if (whole_number(a, &x) && whole_number(b, &y)) {
        return x == y;
    }
    /* Long integers differ if their digits do, as there are no leading zeros;
     * as doubles they might not. */
    return !(is_int_text(a) && is_int_text(b)) &&
           strtod(a, NULL) == strtod(b, NULL);
}

static struct json *
number(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = xvasprintf(fmt, args);
    va_end(args);
    return json_build_number(text);
}

static bool
is_int_text(const char *text)
{
    return strpbrk(text, ".eE") == NULL;
}

/* Is it whole, and does it fit?  "1e3" and "2.0" are whole, too. */
static bool
whole_number(const char *text, int64_t *ret)
{
    if (is_int_text(text)) {
        errno = 0;
        *ret = strtoll(text, NULL, 10);
        return errno == 0;
    }

    double value = strtod(text, NULL);
    if (!(value >= -0x1p63 && value < 0x1p63) || value != floor(value)) {
        return false;
    }
    *ret = (int64_t)value;
    return true;
}
