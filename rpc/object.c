#include <config.h>

#include "rpc/object.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/object_internal.h"
#include "rpc/object_versions.h"
#include "rpc/utf8.h"

#define UPDATES_CHANGED "obj_what_changed"

/* No object has so many fields; each is looked for in a list. */
#define CHANGES_MAX 4096

/* How much of a peer's text a message quotes. */
#define QUOTE_MAX 256

struct object {
    struct json *json; /* A valid primitive; without changes, no such key. */
};

static struct error *check(const struct json *json);
static struct error *check_primitive(const struct json *json);
static struct error *check_changes(const struct json *changes);
static struct json *data_of(const struct object *object);
static void mark_changed(struct object *object, const char *field);
static void set_changes(struct object *object, const struct json *names);

struct object *
object_create(const char *name, const char *version)
{
    struct object *object = xzalloc(sizeof *object);

    assert(object_version_parse(version, &(struct object_version){0}, NULL));
    object->json = json_object();
    json_set_string(object->json, KEY_NAME, name);
    json_set_string(object->json, KEY_NAMESPACE, NAMESPACE);
    json_set_string(object->json, KEY_VERSION, version);
    json_set(object->json, KEY_DATA, json_object());
    return object;
}

struct error *
object_parse(const struct json *json, const char *name, struct object **ret)
{
    return object_take(json_copy(json), name, ret);
}

struct error *
object_take(struct json *json, const char *name, struct object **ret)
{
    AUTO_OBJECT object = xzalloc(sizeof *object);

    object->json = json;
    if (!object_is_primitive(json)) {
        return error_new(ERR_VALUE, "not an object of nova's");
    }

    struct error *error = check(json);
    if (error) {
        return error;
    }

    const char *actual = json_string_of(json, KEY_NAME);
    if (name && !str_eq(name, actual)) {
        return error_new(ERR_UNSUPPORTED_OBJECT,
                         "'%s' was expected, not '%.*s'", name,
                         (int)utf8_cut(actual, QUOTE_MAX), actual);
    }

    if (json_size(json_get(json, KEY_CHANGES)) == 0) {
        json_remove(json, KEY_CHANGES);
    }
    error = object_coerce(json);
    if (!error) {
        *ret = steal(&object);
    }
    return error;
}

void
object_free(struct object *object)
{
    if (object) {
        json_free(object->json);
        free(object);
    }
}

struct object *
object_copy(const struct object *object)
{
    if (!object) {
        return NULL;
    }

    struct object *copy = xzalloc(sizeof *copy);
    copy->json = json_copy(object->json);
    return copy;
}

const char *
object_name(const struct object *object)
{
    return json_string_of(object->json, KEY_NAME);
}

const char *
object_version(const struct object *object)
{
    return json_string_of(object->json, KEY_VERSION);
}

const struct json *
object_json(const struct object *object)
{
    return object->json;
}

struct json *
object_json_clean(const struct object *object)
{
    struct json *copy = json_copy(object->json);

    json_remove(copy, KEY_CHANGES);
    return copy;
}

const struct json *
object_get(const struct object *object, const char *field)
{
    return json_get(data_of(object), field);
}

bool
object_has(const struct object *object, const char *field)
{
    return object_get(object, field) != NULL;
}

void
object_set(struct object *object, const char *field, struct json *value)
{
    const struct json *old = object_get(object, field);

    if (!value) {
        value = json_null();
    }
    if (json_equal(old, value)) {
        json_free(value);
        return;
    }
    json_set(data_of(object), field, value);
    mark_changed(object, field);
}

void
object_set_changed(struct object *object, const char *field)
{
    mark_changed(object, field);
}

void
object_unset(struct object *object, const char *field)
{
    json_remove(data_of(object), field);
    object_clear_change(object, field);
}

void
object_set_string(struct object *o, const char *field, const char *value)
{
    object_set(o, field, json_string(value));
}

void
object_set_int(struct object *o, const char *field, int64_t value)
{
    object_set(o, field, json_int(value));
}

void
object_set_bool(struct object *o, const char *field, bool value)
{
    object_set(o, field, json_bool(value));
}

void
object_set_null(struct object *o, const char *field)
{
    object_set(o, field, NULL);
}

const char *
object_string(const struct object *o, const char *field)
{
    return json_get_string(object_get(o, field));
}

int64_t
object_int(const struct object *o, const char *field)
{
    return json_get_int(object_get(o, field));
}

bool
object_bool(const struct object *o, const char *field)
{
    return json_is_true(object_get(o, field));
}

bool
object_is_changed(const struct object *object, const char *field)
{
    json_for_each (name, json_get(object->json, KEY_CHANGES)) {
        if (str_eq(json_get_string(name), field)) {
            return true;
        }
    }
    return false;
}

void
object_clear_change(struct object *object, const char *field)
{
    AUTO_JSON left = json_array();

    json_for_each (name, json_get(object->json, KEY_CHANGES)) {
        if (!str_eq(json_get_string(name), field)) {
            json_append(left, json_copy(name));
        }
    }
    set_changes(object, left);
}

void
object_clear_changes(struct object *object)
{
    json_remove(object->json, KEY_CHANGES);
}

size_t
object_n_changes(const struct object *object)
{
    return json_size(json_get(object->json, KEY_CHANGES));
}

struct error *
object_apply_updates(struct object *object, const struct json *updates)
{
    const struct json *changed = json_get(updates, UPDATES_CHANGED);

    if (!json_is_object(updates)) {
        return error_new(ERR_VALUE, "updates of '%s' are no object",
                         object_name(object));
    }

    struct error *error = changed ? check_changes(changed) : NULL;
    json_for_each (value, updates) {
        error = error ? error : check(value);
    }
    AUTO_JSON fields = error ? NULL : json_copy(updates);
    if (!error) {
        json_remove(fields, UPDATES_CHANGED);
        error = object_coerce_fields(object_name(object), fields);
    }
    if (!error) {
        error = object_coerce(fields);
    }
    if (error) {
        return error_wrap(error, "updates of '%s'", object_name(object));
    }

    json_for_each (value, fields) {
        json_set(data_of(object), json_name(value), json_copy(value));
    }
    set_changes(object, changed);
    return NULL;
}

void
object_merge_changes(struct object *to, const struct object *from)
{
    json_for_each (name, json_get(from->json, KEY_CHANGES)) {
        const char *field = json_get_string(name);
        const struct json *value = object_get(from, field);

        if (value) {
            json_set(data_of(to), field, json_copy(value));
            mark_changed(to, field);
        }
    }
}

/* Every primitive in 'json', and 'json' itself if it is one, has to be valid;
 * nothing else is looked at.  As deep as JSON may be, no deeper. */
static struct error *
check(const struct json *json)
{
    struct error *error =
        object_is_primitive(json) ? check_primitive(json) : NULL;

    json_for_each (value, json) {
        if (!error && json_first(value)) {
            error = check(value);
        }
    }
    return error;
}

static struct error *
check_primitive(const struct json *json)
{
    const char *name = json_string_of(json, KEY_NAME);
    const char *name_space = json_string_of(json, KEY_NAMESPACE);
    const char *version = json_string_of(json, KEY_VERSION);
    const struct json *changes = json_get(json, KEY_CHANGES);

    if (!name || !*name) {
        return error_new(ERR_VALUE, "an object has no name");
    }

    int n = (int)utf8_cut(name, QUOTE_MAX);
    if (!name_space) {
        return error_new(ERR_VALUE, "object '%.*s' has no namespace", n, name);
    }
    if (!str_eq(name_space, NAMESPACE)) {
        return error_new(ERR_UNSUPPORTED_OBJECT,
                         "object '%.*s' is of namespace '%.*s'", n, name,
                         (int)utf8_cut(name_space, QUOTE_MAX), name_space);
    }
    if (!object_version_parse(version, &(struct object_version){0}, NULL)) {
        return error_new(ERR_VALUE, "object '%.*s' has no version", n, name);
    }
    if (!json_is_object(json_get(json, KEY_DATA))) {
        return error_new(ERR_VALUE, "data of object '%.*s' is no object", n,
                         name);
    }
    return changes
               ? error_wrap(check_changes(changes), "object '%.*s'", n, name)
               : NULL;
}

static struct error *
check_changes(const struct json *changes)
{
    size_t n = 0;

    if (!json_is_array(changes)) {
        return error_new(ERR_VALUE, "changes are no list");
    }
    json_for_each (name, changes) {
        if (!json_is_string(name)) {
            return error_new(ERR_VALUE, "a change is no string");
        }
        if (++n > CHANGES_MAX) {
            return error_new(ERR_VALUE, "more than %d changes", CHANGES_MAX);
        }
    }
    return NULL;
}

static struct json *
data_of(const struct object *object)
{
    return json_get(object->json, KEY_DATA);
}

static void
mark_changed(struct object *object, const char *field)
{
    if (object_is_changed(object, field)) {
        return;
    }

    struct json *changes = json_get(object->json, KEY_CHANGES);
    if (!changes) {
        changes = json_array();
        json_set(object->json, KEY_CHANGES, changes);
    }
    json_append(changes, json_string(field));
}

/* Copies 'names', which may be null. */
static void
set_changes(struct object *object, const struct json *names)
{
    if (json_size(names) == 0) {
        json_remove(object->json, KEY_CHANGES);
    } else {
        json_set(object->json, KEY_CHANGES, json_copy(names));
    }
}
