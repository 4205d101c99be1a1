#include <config.h>

#include "rpc/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "rpc/json_build.h"
#include "rpc/utf8.h"

/* A struct json is a cJSON item.  Every number is a raw item, that is its text
 * (see rpc/json_number.c). */

/* Most messages fit; the printer doubles it as needed. */
#define PRINT_ROOM 2048

static cJSON *node(const struct json *json);
static struct json *json_of(cJSON *item);
static bool is_named(const struct json *member, const char *name);
static char *escape_nuls(char *text, size_t *size);
static struct json *borrow(const struct json *value);
static bool members_equal(const struct json *a, const struct json *b);

void
json_init(void)
{
    cJSON_Hooks hooks = {.malloc_fn = xmalloc, .free_fn = free};

    cJSON_InitHooks(&hooks);
}

char *
json_print(const struct json *json, size_t *ret_size)
{
    char *text = cJSON_PrintBuffered(node(json), PRINT_ROOM, false);

    assert(text);
    size_t size = strlen(text);
    if (memchr(text, UTF8_NUL[0], size)) {
        text = escape_nuls(text, &size);
    }
    if (ret_size) {
        *ret_size = size;
    }
    return text;
}

size_t
json_weight(const struct json *json, size_t max)
{
    const cJSON *item = node(json);
    size_t weight = JSON_VALUE_BYTES;

    weight += item->valuestring ? strnlen(item->valuestring, max) : 0;
    weight += item->string ? strnlen(item->string, max) : 0;
    for (const cJSON *child = item->child; child && weight < max;
         child = child->next) {
        weight +=
            json_weight((const struct json *)(const void *)child, max - weight);
    }
    return weight < max ? weight : max;
}

void
json_free(struct json *json)
{
    cJSON_Delete(node(json));
}

struct json *
json_copy(const struct json *json)
{
    return json_build_copy(json);
}

bool
json_equal(const struct json *a, const struct json *b)
{
    if (!a || !b) {
        return a == b;
    }
    if ((node(a)->type & 0xff) != (node(b)->type & 0xff)) {
        return false;
    }
    if (json_is_number(a)) {
        return json_numbers_equal(a, b);
    }
    if (json_is_string(a)) {
        return str_eq(json_get_string(a), json_get_string(b));
    }
    if (json_is_object(a)) {
        return members_equal(a, b);
    }

    struct json *x = json_first(a), *y = json_first(b);
    while (x && y && json_equal(x, y)) {
        x = json_next(x);
        y = json_next(y);
    }
    return !x && !y;
}

struct json *
json_null(void)
{
    return json_of(cJSON_CreateNull());
}

struct json *
json_bool(bool value)
{
    return json_of(cJSON_CreateBool(value));
}

struct json *
json_object(void)
{
    return json_of(cJSON_CreateObject());
}

struct json *
json_array(void)
{
    return json_of(cJSON_CreateArray());
}

struct json *
json_string(const char *s)
{
    return s ? json_string_n(s, strlen(s)) : json_null();
}

struct json *
json_string_n(const char *s, size_t size)
{
    return json_build_string(utf8_clean(s, size));
}

bool
json_is_null(const struct json *json)
{
    return cJSON_IsNull(node(json));
}

bool
json_is_bool(const struct json *json)
{
    return cJSON_IsBool(node(json));
}

bool
json_is_number(const struct json *json)
{
    return cJSON_IsRaw(node(json));
}

bool
json_is_string(const struct json *json)
{
    return cJSON_IsString(node(json));
}

bool
json_is_object(const struct json *json)
{
    return cJSON_IsObject(node(json));
}

bool
json_is_array(const struct json *json)
{
    return cJSON_IsArray(node(json));
}

bool
json_is_true(const struct json *json)
{
    return cJSON_IsTrue(node(json));
}

const char *
json_get_string(const struct json *json)
{
    return json_is_string(json) ? node(json)->valuestring : NULL;
}

struct json *
json_get(const struct json *object, const char *name)
{
    struct json *member =
        name && json_is_object(object) ? json_first(object) : NULL;

    while (member && !is_named(member, name)) {
        member = json_next(member);
    }
    return member;
}

struct json *
json_set(struct json *object, const char *name, struct json *value)
{
    assert(json_is_object(object) && value != object);
    AUTO_FREE clean = utf8_clean(name, strlen(name));
    struct json *old = json_get(object, clean);

    if (!value) {
        value = json_null();
    }
    json_build_name(value, steal(&clean));
    if (old) {
        cJSON_ReplaceItemViaPointer(node(object), node(old), node(value));
    } else {
        json_build_append(object, value);
    }
    return object;
}

void
json_set_borrowed(struct json *object, const char *name,
                  const struct json *value)
{
    json_set(object, name, value ? borrow(value) : NULL);
}

struct json *
json_detach(struct json *object, const char *name)
{
    cJSON *item = node(json_get(object, name));

    if (item) {
        cJSON_DetachItemViaPointer(node(object), item);
        json_build_name(json_of(item), NULL);
    }
    return json_of(item);
}

struct json *
json_detach_prefixed(struct json *object, const char *prefix)
{
    struct json *moved = json_object();
    size_t size = strlen(prefix);

    for (struct json *next, *member = json_first(object); member;
         member = next) {
        char *name = node(member)->string;

        next = json_next(member);
        if (strncmp(name, prefix, size) == 0) {
            cJSON_DetachItemViaPointer(node(object), node(member));
            memmove(name, name + size, strlen(name + size) + 1);
            json_build_append(moved, member);
        }
    }
    return moved;
}

void
json_add_prefixed(struct json *object, const char *prefix,
                  const struct json *members)
{
    json_for_each (member, members) {
        struct json *value = borrow(member);

        json_build_name(value, xasprintf("%s%s", prefix, json_name(member)));
        json_build_append(object, value);
    }
}

void
json_remove(struct json *object, const char *name)
{
    json_free(json_detach(object, name));
}

bool
json_has(const struct json *object, const char *name)
{
    return json_get(object, name) != NULL;
}

void
json_set_string(struct json *object, const char *name, const char *value)
{
    json_set(object, name, json_string(value));
}

void
json_set_int(struct json *object, const char *name, int64_t value)
{
    json_set(object, name, json_int(value));
}

void
json_set_bool(struct json *object, const char *name, bool value)
{
    json_set(object, name, json_bool(value));
}

void
json_set_null(struct json *object, const char *name)
{
    json_set(object, name, NULL);
}

const char *
json_string_of(const struct json *object, const char *name)
{
    return json_get_string(json_get(object, name));
}

int64_t
json_int_of(const struct json *object, const char *name)
{
    return json_get_int(json_get(object, name));
}

bool
json_bool_of(const struct json *object, const char *name)
{
    return json_is_true(json_get(object, name));
}

size_t
json_size(const struct json *container)
{
    size_t n = 0;

    json_for_each (value, container) {
        n++;
    }
    return n;
}

struct json *
json_at(const struct json *array, size_t i)
{
    struct json *value = json_first(array);

    while (value && i-- > 0) {
        value = json_next(value);
    }
    return value;
}

struct json *
json_append(struct json *array, struct json *value)
{
    assert(json_is_array(array) && value != array);
    if (!value) {
        value = json_null();
    }
    json_build_name(value, NULL);
    json_build_append(array, value);
    return array;
}

struct json *
json_first(const struct json *container)
{
    return container ? json_of(node(container)->child) : NULL;
}

struct json *
json_next(const struct json *value)
{
    return json_of(node(value)->next);
}

const char *
json_name(const struct json *member)
{
    return node(member)->string;
}

const char *
json_number_text(const struct json *json)
{
    return json_is_number(json) ? node(json)->valuestring : NULL;
}

/* Most names differ in their first letter. */
static bool
is_named(const struct json *member, const char *name)
{
    const char *its = node(member)->string;

    return *its == *name && strcmp(its, name) == 0;
}

static cJSON *
node(const struct json *json)
{
    return (cJSON *)(void *)json;
}

static struct json *
json_of(cJSON *item)
{
    return (struct json *)(void *)item;
}

/* U+0000 as JSON has it, of which cJSON knows nothing.  Takes 'text'. */
static char *
escape_nuls(char *text, size_t *size)
{
    static const char nul[] = UTF8_NUL, escape[] = "\\u0000";
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, nul)); p += sizeof nul - 1) {
        n++;
    }
    char *escaped = xmalloc(*size + n * (sizeof escape - sizeof nul) + 1);
    char *out = escaped;
    const char *from = text;
    for (const char *p; (p = strstr(from, nul)); from = p + sizeof nul - 1) {
        out = mempcpy(out, from, (size_t)(p - from));
        out = mempcpy(out, escape, sizeof escape - 1);
    }
    memcpy(out, from, strlen(from) + 1);
    *size = (size_t)(out - escaped) + strlen(from);
    free(text);
    return escaped;
}

/* A value that shares its content with 'value'. */
static struct json *
borrow(const struct json *value)
{
    cJSON *item = cJSON_CreateNull();

    item->type = (node(value)->type & 0xff) | cJSON_IsReference;
    item->child = node(value)->child;
    item->valuestring = node(value)->valuestring;
    return json_of(item);
}

static bool
members_equal(const struct json *a, const struct json *b)
{
    size_t n = json_size(a);

    if (n != json_size(b)) {
        return false;
    }

    struct json **x = json_build_sorted(a, n), **y = json_build_sorted(b, n);
    bool equal = true;
    for (size_t i = 0; equal && i < n; i++) {
        equal = strcmp(json_name(x[i]), json_name(y[i])) == 0 &&
                json_equal(x[i], y[i]);
    }
    free(x);
    free(y);
    return equal;
}
