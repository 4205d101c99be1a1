#include <config.h>

#include "rpc/json_build.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

/* cJSON frees name and text of an item, unless flags that it has for other
 * purposes say that they belong to somebody else: here to the item's block. */
#define NAME_INSIDE cJSON_StringIsConst
#define TEXT_INSIDE cJSON_IsReference
#define TYPE_MASK 0xff

/* Objects with more members are sorted to find out whether a name repeats. */
#define HASHED_MAX 512

static cJSON *item_create(int type, const char *name, const char *text);
static bool may_repeat(const struct json *object, size_t n);
static uint32_t hash(const char *name);
static cJSON *node(const struct json *json);
static struct json *json_of(cJSON *item);

struct json *
json_build_value(enum json_type type, size_t name_size, char **ret_name,
                 size_t text_size, char **ret_text)
{
    static const int types[] = {
        [JSON_NULL] = cJSON_NULL,     [JSON_FALSE] = cJSON_False,
        [JSON_TRUE] = cJSON_True,     [JSON_NUMBER] = cJSON_Raw,
        [JSON_STRING] = cJSON_String, [JSON_ARRAY] = cJSON_Array,
        [JSON_OBJECT] = cJSON_Object,
    };
    size_t name_room = name_size == JSON_NO_TEXT ? 0 : name_size + 1;
    size_t text_room = text_size == JSON_NO_TEXT ? 0 : text_size + 1;
    cJSON *item = xmalloc(sizeof *item + name_room + text_room);
    char *room = (char *)(item + 1);

    *item = (cJSON){.type = types[type]};
    if (name_room) {
        item->string = room;
        item->type |= NAME_INSIDE;
    }
    if (text_room) {
        item->valuestring = room + name_room;
        item->type |= TEXT_INSIDE;
    }
    *ret_name = item->string;
    *ret_text = item->valuestring;
    return json_of(item);
}

struct json *
json_build_string(char *text)
{
    cJSON *item = cJSON_CreateNull();

    item->type = cJSON_String;
    item->valuestring = text;
    return json_of(item);
}

struct json *
json_build_number(char *text)
{
    cJSON *item = cJSON_CreateNull();

    item->type = cJSON_Raw;
    item->valuestring = text;
    return json_of(item);
}

/* No deeper than JSON_DEPTH_MAX and what is put around it. */
struct json *
json_build_copy(const struct json *json)
{
    if (!json) {
        return NULL;
    }

    const cJSON *item = node(json);
    cJSON *copy =
        item_create(item->type & TYPE_MASK, item->string, item->valuestring);
    json_for_each (value, json) {
        json_build_append(json_of(copy), json_build_copy(value));
    }
    return json_of(copy);
}

void
json_build_name(struct json *value, char *name)
{
    cJSON *item = node(value);

    if (!(item->type & NAME_INSIDE)) {
        free(item->string);
    }
    item->type &= ~NAME_INSIDE;
    item->string = name;
}

void
json_build_append(struct json *container, struct json *value)
{
    cJSON *parent = node(container), *item = node(value);

    /* cJSON's list: the first item's 'prev' is the last item. */
    item->next = NULL;
    if (!parent->child) {
        parent->child = item;
    } else {
        cJSON *last = parent->child->prev;
        last->next = item;
        item->prev = last;
    }
    parent->child->prev = item;
}

void
json_build_drop_duplicates(struct json *object, size_t n)
{
    if (n < 2 || (n <= HASHED_MAX && !may_repeat(object, n))) {
        return;
    }

    struct json **sorted = json_build_sorted(object, n);
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(json_name(sorted[i]), json_name(sorted[i + 1])) == 0) {
            cJSON_Delete(
                cJSON_DetachItemViaPointer(node(object), node(sorted[i])));
        }
    }
    free(sorted);
}

struct member {
    struct json *value;
    size_t i;
};

static int
compare_members(const void *a_, const void *b_)
{
    const struct member *a = a_, *b = b_;
    int order = strcmp(json_name(a->value), json_name(b->value));

    return order ? order : a->i < b->i ? -1 : 1;
}

struct json **
json_build_sorted(const struct json *object, size_t n)
{
    struct member *members = xcalloc(n, sizeof *members);
    size_t i = 0;

    json_for_each (member, object) {
        members[i] = (struct member){member, i};
        i++;
    }
    qsort(members, n, sizeof *members, compare_members);

    struct json **sorted = xcalloc(n, sizeof(struct json *));
    for (i = 0; i < n; i++) {
        sorted[i] = members[i].value;
    }
    free(members);
    return sorted;
}

static cJSON *
item_create(int type, const char *name, const char *text)
{
    size_t name_size = name ? strlen(name) + 1 : 0;
    size_t text_size = text ? strlen(text) + 1 : 0;
    cJSON *item = xmalloc(sizeof *item + name_size + text_size);
    char *room = (char *)(item + 1);

    *item = (cJSON){.type = type};
    if (name) {
        item->string = memcpy(room, name, name_size);
        item->type |= NAME_INSIDE;
    }
    if (text) {
        item->valuestring = memcpy(room + name_size, text, text_size);
        item->type |= TEXT_INSIDE;
    }
    return item;
}

/* False: no name does.  Names whose hash is the same, or a peer that is after
 * long chains, are left to the sorting. */
static bool
may_repeat(const struct json *object, size_t n)
{
    uint32_t table[2 * HASHED_MAX];
    size_t room = 4, n_probes = 0;

    while (room < 2 * n) {
        room *= 2;
    }
    memset(table, 0, room * sizeof *table);
    json_for_each (member, object) {
        uint32_t h = hash(json_name(member));
        size_t i = h & (room - 1);

        for (; table[i]; i = (i + 1) & (room - 1)) {
            if (table[i] == h || ++n_probes > 2 * n) {
                return true;
            }
        }
        table[i] = h;
    }
    return false;
}

/* Of the length, the first eight bytes and the last.  Never 0. */
static uint32_t
hash(const char *name)
{
    uint64_t size = strlen(name), first = 0, last = 0;
    size_t n = size < sizeof first ? size : sizeof first;

    for (size_t i = 0; i < n; i++) {
        first = first << 8 | (unsigned char)name[i];
        last = last << 8 | (unsigned char)name[size - n + i];
    }
    uint64_t mixed = (first + size) * 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 32 ^ last) * 0xd6e8feb86659fd93u;
    return (uint32_t)(mixed >> 32) | 1;
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
