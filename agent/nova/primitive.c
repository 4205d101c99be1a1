#include <config.h>

#include "agent/nova/primitive.h"

#define CHANGES "nova_object.changes"

struct json *
primitive_create(const char *name, const char *version, struct json *data)
{
    struct json *made = json_object();

    json_set_string(made, "nova_object.name", name);
    json_set_string(made, "nova_object.namespace", "nova");
    json_set_string(made, "nova_object.version", version);
    return json_set(made, "nova_object.data", data);
}

const struct json *
primitive_data(const struct json *primitive)
{
    return json_get(primitive, "nova_object.data");
}

const struct json *
primitive_get(const struct json *primitive, const char *field)
{
    return json_get(primitive_data(primitive), field);
}

const char *
primitive_string(const struct json *primitive, const char *field)
{
    return json_string_of(primitive_data(primitive), field);
}

int64_t
primitive_int(const struct json *primitive, const char *field)
{
    return json_int_of(primitive_data(primitive), field);
}

const struct json *
primitive_objects(const struct json *list)
{
    return primitive_get(list, "objects");
}

struct json *
primitive_cpus(const struct cpu_set *set)
{
    struct json *array = json_array();

    for (size_t i = 0; i < set->n; i++) {
        json_append(array, json_int(set->cpus[i]));
    }
    return array;
}

static bool
is_plain(const struct json *value)
{
    return !json_is_array(value) && !json_is_object(value);
}

static bool
has_plain(const struct json *array, const struct json *value)
{
    json_for_each (other, array) {
        if (json_equal(other, value)) {
            return true;
        }
    }
    return false;
}

static bool
same_arrays(const struct json *a, const struct json *b)
{
    const struct json *other = json_first(b);

    if (json_size(a) != json_size(b)) {
        return false;
    }
    json_for_each (value, a) {
        if (is_plain(value) ? !has_plain(b, value)
                            : !primitive_same(value, other)) {
            return false;
        }
        other = json_next(other);
    }
    return true;
}

static size_t
n_members(const struct json *object)
{
    return json_size(object) - json_has(object, CHANGES);
}

bool
primitive_same(const struct json *a, const struct json *b)
{
    if (json_is_array(a) && json_is_array(b)) {
        return same_arrays(a, b);
    }
    if (!json_is_object(a) || !json_is_object(b)) {
        return a && b && json_equal(a, b);
    }
    if (n_members(a) != n_members(b)) {
        return false;
    }
    json_for_each (member, a) {
        const char *name = json_name(member);
        if (!str_eq(name, CHANGES) &&
            !primitive_same(member, json_get(b, name))) {
            return false;
        }
    }
    return true;
}
