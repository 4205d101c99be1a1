#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "agent/migrate/data.h"
#include "rpc/object.h"
#include "rpc/object_level.h"

/* Names that a peer's fields, and ours, have. */
static const char *const fields[] = {
    "uuid", "id", "host", "updated_at", "objects", "",
};

static void exercise(const struct json *json);
static void walk(const struct json *json);
static void check_datetime(const char *text);
static void make_older(const struct json *json, bool is_valid);
static void change(struct object *object);
static void check_changes(const struct object *object);

/* The input, and every value right below it, is taken for an object. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json = NULL;

    error_free(json_parse((const char *)data, size, &json));

    if (json) {
        walk(json);
        exercise(json);
        json_for_each (value, json) {
            exercise(value);
        }
    }
    return 0;
}

static void
walk(const struct json *json)
{
    if (json_is_string(json)) {
        check_datetime(json_get_string(json));
    }
    json_for_each (value, json) {
        walk(value);
    }
}

static void
check_datetime(const char *text)
{
    int64_t us = INT64_MIN;

    REQUIRE(object_parse_datetime(text, &us) == (us != INT64_MIN));
    /* Years 0 to 9999, a day more for the zone. */
    REQUIRE(us == INT64_MIN ||
            (us > -62300000000ll * 1000000 && us < 253402400000ll * 1000000));
}

/* An object that is changed and written can be read again. */
static void
exercise(const struct json *json)
{
    AUTO_OBJECT object = NULL;
    AUTO_OBJECT data = NULL;
    AUTO_ERROR error = object_parse(json, NULL, &object);
    AUTO_ERROR data_error = migrate_data_parse(json, &data);

    REQUIRE(!error == !!object);
    REQUIRE(!data_error == !!data);
    REQUIRE(!data || object);
    make_older(json, object);
    if (!object || object_n_changes(object) > 1000) {
        return; /* A few more might be too many to be read again. */
    }
    REQUIRE(object_name(object) && object_version(object));
    check_changes(object);
    change(object);
    error_free(
        object_apply_updates(object, json_get(json, "nova_object.data")));

    AUTO_OBJECT again = NULL;
    AUTO_ERROR none = object_parse(object_json(object), NULL, &again);
    REQUIRE(!none && json_equal(object_json(object), object_json(again)));
    AUTO_OBJECT copy = object_copy(object);
    REQUIRE(json_equal(object_json(object), object_json(copy)));
    object_merge_changes(again, object);
    check_changes(again);
    object_clear_changes(again);
    REQUIRE(object_n_changes(again) == 0);
    AUTO_JSON clean = object_json_clean(object);
    REQUIRE(json_equal(clean, object_json(again)));
}

/* What can be made older is a valid object still, and not newer. */
static void
make_older(const struct json *json, bool is_valid)
{
    AUTO_JSON older = json_copy(json);

    object_drop_fixes(older, object_version_own, NULL);
    AUTO_ERROR misfit = object_check_fit(older, object_version_own, NULL);
    REQUIRE(misfit ||
            object_fit(older, object_version_own, NULL) == OBJECT_FITS);
    AUTO_ERROR error = object_level(older, object_version_own, NULL);
    if (!error) {
        REQUIRE(object_fit(older, object_version_own, NULL) == OBJECT_FITS);
        AUTO_OBJECT again = NULL;
        AUTO_ERROR none = object_parse(older, NULL, &again);
        REQUIRE(!is_valid || !none);
    }
    if (json_is_object(json)) {
        AUTO_JSON other = json_copy(json);
        object_overwrite(other, older);
    }
}

/* Reads and writes every way there is, by names known and unknown. */
static void
change(struct object *object)
{
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        const char *name = fields[i];
        AUTO_JSON before = json_copy(object_get(object, name));

        REQUIRE(object_has(object, name) == !!before);
        REQUIRE(!object_string(object, name) || json_is_string(before));
        (void)object_int(object, name);
        (void)object_bool(object, name);
        if (before) {
            bool was_changed = object_is_changed(object, name);
            object_set(object, name, json_copy(before));
            REQUIRE(object_is_changed(object, name) == was_changed);
        }
    }
    object_set_int(object, "id", 7);
    object_set_string(object, "host", object_version(object));
    object_set_null(object, "");
    object_set_bool(object, "deleted", true);
    object_set_changed(object, "deleted");
    REQUIRE(object_is_changed(object, "deleted"));
    object_clear_change(object, "deleted");
    REQUIRE(!object_is_changed(object, "deleted"));
    object_unset(object, "host");
    REQUIRE(!object_has(object, "host"));
}

static void
check_changes(const struct object *object)
{
    const struct json *names =
        json_get(object_json(object), "nova_object.changes");
    size_t n = 0;

    json_for_each (name, names) {
        n++;
    }
    REQUIRE(object_n_changes(object) == n);
}
