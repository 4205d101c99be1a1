#include <config.h>

#include "agent/record_table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/instance_adopt.h"

struct loading {
    struct record_table *table;
    struct error *error; /* The first. */
};

static void load_record(void *aux, int64_t id, const char *key,
                        const char *body);
static struct error *parse(const struct record_table *, const char *text,
                           struct object **ret);
static enum vm_state vm_state_of(const char *name);
static bool is_over(const char *status);
static void record_close(struct record *);

struct error *
record_table_load(struct record_table *table, struct store *store)
{
    struct loading loading = {.table = table};
    struct error *error =
        store_load(store, table->store_table, load_record, &loading);

    if (error) {
        error_free(loading.error);
        return error;
    }
    return loading.error;
}

void
record_table_close(struct record_table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        record_close(&table->records[i]);
    }
    free(table->records);
}

struct record *
record_table_find(const struct record_table *table, const char *uuid)
{
    for (size_t i = 0; i < table->n; i++) {
        if (strcasecmp(table->records[i].uuid, uuid) == 0) {
            return &table->records[i];
        }
    }
    return NULL;
}

struct record *
record_table_find_id(const struct record_table *table, int64_t id)
{
    for (size_t i = 0; i < table->n; i++) {
        if (table->records[i].id == id) {
            return &table->records[i];
        }
    }
    return NULL;
}

struct record *
record_table_add(struct record_table *table, int64_t id)
{
    if (table->n == table->n_room) {
        table->records =
            xgrow(table->records, &table->n_room, sizeof *table->records);
    }
    struct record *record = &table->records[table->n++];
    *record = (struct record){.id = id};
    return record;
}

void
record_table_remove(struct record_table *table, struct record *record)
{
    size_t i = (size_t)(record - table->records);

    record_close(record);
    memmove(record, record + 1, (--table->n - i) * sizeof *record);
}

struct object *
record_get(const struct record_table *table, const struct record *record)
{
    struct object *object = NULL;
    AUTO_ERROR error = parse(table, record->text, &object);

    if (error) { /* It is our own text. */
        abort();
    }
    return object;
}

void
record_set(const struct record_table *table, struct record *record,
           const struct object *object)
{
    AUTO_JSON clean = object_json_clean(object);
    const char *uuid = object_string(object, "uuid");
    int64_t id = record->id;

    record_close(record);
    *record = (struct record){.id = id};
    record->text = json_print(clean, NULL);
    memcpy(record->uuid, uuid, strnlen(uuid, UUID_SIZE - 1));
    if (table->store_table == STORE_INSTANCES) {
        record->name = xstrdup_null(object_string(object, "display_name"));
        record->domain = xstrdup_null(instance_domain_name(object));
        record->has_task = object_string(object, "task_state");
        record->vm_state = vm_state_of(object_string(object, "vm_state"));
    } else {
        record->instance_uuid =
            xstrdup_null(object_string(object, "instance_uuid"));
        record->is_over = is_over(object_string(object, "status"));
    }
}

static void
load_record(void *aux, int64_t id, const char *key, const char *body)
{
    struct loading *loading = aux;
    struct record_table *table = loading->table;
    AUTO_OBJECT object = NULL;

    if (loading->error) {
        return;
    }
    AUTO_ERROR error = parse(table, body, &object);
    if (error) {
        loading->error =
            error_new(ERR_STORAGE, "record %lld of '%s' is unreadable: %s",
                      (long long)id, key, error_message(error));
        return;
    }
    record_set(table, record_table_add(table, id), object);
}

static struct error *
parse(const struct record_table *table, const char *text, struct object **ret)
{
    AUTO_JSON json = NULL;
    AUTO_OBJECT object = NULL;
    struct error *error = json_parse(text, strlen(text), &json);

    if (!error) {
        error = object_parse(
            json,
            table->store_table == STORE_INSTANCES ? "Instance" : "Migration",
            &object);
    }
    if (!error && !object_string(object, "uuid")) {
        error = error_new(ERR_VALUE, "it has no uuid");
    }
    if (!error) {
        *ret = steal(&object);
    }
    return error;
}

static const char *const vm_state_names[] = {
#define VM_STATE(NAME) #NAME,
    VM_STATES
#undef VM_STATE
};

const char *
vm_state_name(enum vm_state state)
{
    return vm_state_names[state];
}

static enum vm_state
vm_state_of(const char *name)
{
    enum vm_state state = 0;

    while (state < VM_STATE_other && !str_eq(name, vm_state_names[state])) {
        state++;
    }
    return state;
}

static bool
is_over(const char *status)
{
    return str_eq(status, "completed") || str_eq(status, "failed") ||
           str_eq(status, "cancelled") || str_eq(status, "error");
}

static void
record_close(struct record *record)
{
    free(record->text);
    free(record->name);
    free(record->domain);
    free(record->instance_uuid);
}
