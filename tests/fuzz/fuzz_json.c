#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "rpc/json.h"
#include "rpc/utf8.h"

static void check_value(const struct json *json, int depth);
static void check_string(const char *s);
static void check_members(const struct json *object);

/* Whatever is accepted prints as something that means the same, and prints the
 * same once more. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json = NULL;
    AUTO_ERROR error = json_parse((const char *)data, size, &json);

    REQUIRE(!error == !!json);
    if (error) {
        REQUIRE(error_code(error) == ERR_BAD_MESSAGE);
        return 0;
    }

    size_t printed_size, again_size;
    AUTO_FREE printed = json_print(json, &printed_size);
    AUTO_JSON again = NULL;
    AUTO_ERROR none = json_parse(printed, printed_size, &again);
    REQUIRE(!none && json_equal(json, again));
    REQUIRE(strlen(printed) == printed_size && !utf8_has_nul(printed));
    AUTO_FREE printed_again = json_print(again, &again_size);
    REQUIRE(printed_size == again_size && str_eq(printed, printed_again));

    AUTO_JSON copy = json_copy(json);
    REQUIRE(json_equal(copy, json));
    check_value(json, 0);
    return 0;
}

static void
check_value(const struct json *json, int depth)
{
    size_t n = 0;

    REQUIRE(depth <= JSON_DEPTH_MAX);
    REQUIRE(json_is_null(json) + json_is_bool(json) + json_is_number(json) +
                json_is_string(json) + json_is_object(json) +
                json_is_array(json) ==
            1);
    REQUIRE(!json_is_int(json) || json_is_number(json));
    (void)json_get_int(json);
    (void)json_get_double(json);
    if (json_is_string(json)) {
        check_string(json_get_string(json));
    }
    json_for_each (value, json) {
        if (json_is_object(json)) {
            check_string(json_name(value));
            REQUIRE(n > 100 || json_get(json, json_name(value)) == value);
        }
        check_value(value, depth + 1);
        n++;
    }
    REQUIRE(n == json_size(json));
    if (json_is_object(json)) {
        check_members(json);
    }
}

/* It is valid, and stays what it is. */
static void
check_string(const char *s)
{
    const char *end = s + strlen(s);
    AUTO_FREE clean = utf8_clean(s, strlen(s));

    REQUIRE(str_eq(s, clean));
    for (const char *p = s; p < end;) {
        size_t n = utf8_sequence(p, end);
        REQUIRE(n > 0);
        p += n;
    }
    for (size_t max = 0; max < 8; max++) {
        AUTO_FREE cut = xstrndup(s, utf8_cut(s, max));
        AUTO_FREE again = utf8_clean(cut, strlen(cut));
        REQUIRE(strlen(cut) <= max && str_eq(cut, again));
    }
}

static void
check_members(const struct json *object)
{
    AUTO_JSON copy = json_copy(object);
    AUTO_JSON moved = json_detach_prefixed(copy, "_context_");
    AUTO_JSON back = json_object();

    REQUIRE(json_size(copy) + json_size(moved) == json_size(object));
    json_add_prefixed(back, "_context_", moved);
    json_for_each (member, back) {
        REQUIRE(json_has(object, json_name(member)));
        REQUIRE(!json_has(copy, json_name(member)));
    }
}
