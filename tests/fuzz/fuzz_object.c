#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "rpc/object.h"

static void exercise(const struct json *json);

/* The input, and every value right below it, is taken for an object. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json = NULL;

    error_free(json_parse((const char *)data, size, &json));

    if (json) {
        exercise(json);
        json_for_each (value, json) {
            exercise(value);
        }
    }
    return 0;
}

/* An object that is changed and written can be read again. */
static void
exercise(const struct json *json)
{
    AUTO_OBJECT object = NULL;
    AUTO_ERROR error = object_parse(json, NULL, &object);
    int64_t us;

    (void)object_parse_datetime(json_get_string(json), &us);
    if (!object) {
        REQUIRE(error);
        return;
    }
    if (object_n_changes(object) > 1000) {
        return; /* A few more might be too many to be read again. */
    }
    object_set_int(object, "id", 7);
    object_set_null(object, "");
    object_unset(object, "host");
    error_free(
        object_apply_updates(object, json_get(json, "nova_object.data")));

    AUTO_OBJECT again = NULL;
    AUTO_ERROR none = object_parse(object_json(object), NULL, &again);
    REQUIRE(!none && json_equal(object_json(object), object_json(again)));
    object_merge_changes(again, object);
    object_clear_changes(again);
    REQUIRE(object_n_changes(again) == 0);
}
