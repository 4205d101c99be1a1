#include <config.h>

#include "agent/records_local.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/instance_adopt.h"
#include "agent/record_table.h"
#include "agent/records_answer.h"
#include "rpc/uuid.h"

/* The memory is written to at once and leads the disk; a write that fails is
 * told to its caller, and the next one of the same object, being of the whole
 * document, makes up for it. */

LOG_MODULE(records);

/* Ended migrations beyond this number are forgotten, oldest first. */
#define MIGRATIONS_MAX 200

struct records_local {
    struct records records;
    struct store *store;
    struct completion_queue *q;
    char *host, *availability_zone;
    struct record_table instances, migrations;
};

/* Keeps what was lent until the loop goes on. */
struct loan {
    struct completion completion; /* First: it is posted. */
    struct object *object;
};

static void instance_get(void *state, const struct json *context,
                         const char *uuid, records_object_done *done,
                         void *aux);
static void instance_list(void *state, const struct json *context,
                          records_list_done *done, void *aux);
static void instance_save(void *state, const struct json *context,
                          const struct object *instance,
                          const char *const *expected,
                          records_object_done *done, void *aux);
static void instance_drop_claim(void *state, const struct json *context,
                                const struct object *instance,
                                records_object_done *done, void *aux);
static void migration_create(void *state, const struct json *context,
                             const struct object *migration,
                             records_object_done *done, void *aux);
static void migration_save(void *state, const struct json *context,
                           const struct object *migration,
                           records_object_done *done, void *aux);
static void migration_get(void *state, const struct json *context, int64_t id,
                          const char *uuid, records_object_done *done,
                          void *aux);
static void migration_list(void *state, const struct json *context,
                           const char *instance_uuid, records_list_done *done,
                           void *aux);
static void event_start(void *state, const struct json *context,
                        const char *instance_uuid, const char *event);
static void event_finish(void *state, const struct json *context,
                         const char *instance_uuid, const char *event,
                         const struct error *error);
static void fault_create(void *state, const struct json *context,
                         const char *instance_uuid, const struct error *error);
static void instance_moved_away(void *state, const char *uuid, const char *dest,
                                records_done *done, void *aux);

static struct error *check_task_state(const struct object *stored,
                                      const char *const *expected);
static void set_migration_defaults(struct object *);
static void forget_old_migrations(struct records_local *);
static void merge(struct object *stored, const struct object *sent);

static struct error *instance_not_found(const char *uuid);
static struct error *migration_not_found(int64_t id, const char *uuid);

static void answer_object(struct records_local *, records_object_done *done,
                          void *aux, struct error *, struct object *);
static void write_and_answer(struct records_local *,
                             const struct record_table *, const struct record *,
                             records_object_done *done, void *aux);
static void write_record(struct records_local *, const struct record_table *,
                         const struct record *, struct records_answer *);
static void delete_record(struct records_local *, struct record_table *,
                          struct record *, struct records_answer *);
static void written(void *aux, struct error *);
static void loan_ends(struct completion *);

static const struct records_ops ops = {
    .instance_get = instance_get,
    .instance_list = instance_list,
    .instance_save = instance_save,
    .instance_drop_claim = instance_drop_claim,
    .instance_take_claim = instance_drop_claim,
    .migration_create = migration_create,
    .migration_save = migration_save,
    .migration_get = migration_get,
    .migration_list = migration_list,
    .event_start = event_start,
    .event_finish = event_finish,
    .fault_create = fault_create,
    .instance_moved_away = instance_moved_away,
};

struct error *
records_local_create(struct store *store, struct completion_queue *q,
                     const char *host, const char *availability_zone,
                     struct records_local **ret)
{
    struct records_local *records = xzalloc(sizeof *records);

    records->records.ops = &ops;
    records->records.state = records;
    records->store = store;
    records->q = q;
    records->host = xstrdup(host);
    records->availability_zone = xstrdup_null(availability_zone);
    records->instances.store_table = STORE_INSTANCES;
    records->migrations.store_table = STORE_MIGRATIONS;

    struct error *error = record_table_load(&records->instances, store);
    if (!error) {
        error = record_table_load(&records->migrations, store);
    }
    if (error) {
        records_local_free(records);
        return error;
    }
    *ret = records;
    return NULL;
}

void
records_local_free(struct records_local *records)
{
    if (!records) {
        return;
    }
    record_table_close(&records->instances);
    record_table_close(&records->migrations);
    free(records->host);
    free(records->availability_zone);
    free(records);
}

struct records *
records_local_records(struct records_local *records)
{
    return &records->records;
}

bool
records_local_adopt(struct records_local *records, const struct guest *guest,
                    const char *node)
{
    struct record_table *table = &records->instances;
    struct record *record = record_table_find(table, guest->uuid);
    const struct adopt_place place = {
        .host = records->host,
        .node = node,
        .availability_zone = records->availability_zone,
    };

    if (!record) {
        int64_t id = store_next_id(records->store, STORE_INSTANCES);
        AUTO_OBJECT instance = instance_from_guest(guest, &place, id);

        record = record_table_add(table, id);
        record_set(table, record, instance);
        write_record(records, table, record, NULL);
        return true;
    }

    AUTO_OBJECT instance = record_get(table, record);
    instance_update_from_guest(instance, guest, &place);
    if (object_n_changes(instance)) {
        char now[CLOCK_TEXT_SIZE];

        object_set_string(instance, "updated_at",
                          clock_format_iso(clock_wall_us(), now));
        record_set(table, record, instance);
        write_record(records, table, record, NULL);
    }
    return false;
}

bool
records_local_forget(struct records_local *records, const char *uuid)
{
    struct record *record = record_table_find(&records->instances, uuid);

    if (!record || record->has_task) {
        return false;
    }
    delete_record(records, &records->instances, record, NULL);
    return true;
}

const struct object *
records_local_find(struct records_local *records, const char *name,
                   size_t *ret_n)
{
    const struct record_table *table = &records->instances;
    const struct record *found = record_table_find(&records->instances, name);
    size_t n = found ? 1 : 0, size = strlen(name);

    for (int by_prefix = 0; by_prefix <= 1 && n == 0; by_prefix++) {
        for (size_t i = 0; i < table->n; i++) {
            const struct record *r = &table->records[i];

            if (by_prefix ? size >= 4 && !strncasecmp(r->uuid, name, size)
                          : str_eq(r->name, name) || str_eq(r->domain, name)) {
                found = r;
                n++;
            }
        }
    }
    if (ret_n) {
        *ret_n = n;
    }
    if (n != 1) {
        return NULL;
    }

    struct loan *loan = xzalloc(sizeof *loan);
    loan->completion.deliver = loan_ends;
    loan->object = record_get(table, found);
    completion_post(records->q, &loan->completion);
    return loan->object;
}

char **
records_local_uuids(const struct records_local *records, size_t *ret_n)
{
    const struct record_table *table = &records->instances;
    char **uuids = xcalloc(table->n, sizeof *uuids);

    for (size_t i = 0; i < table->n; i++) {
        uuids[i] = xstrdup(table->records[i].uuid);
    }
    *ret_n = table->n;
    return uuids;
}

size_t
records_local_n_instances(const struct records_local *records)
{
    return records->instances.n;
}

void
records_local_count_states(const struct records_local *records,
                           unsigned ret_n[N_VM_STATES])
{
    memset(ret_n, 0, N_VM_STATES * sizeof *ret_n);
    for (size_t i = 0; i < records->instances.n; i++) {
        ret_n[records->instances.records[i].vm_state]++;
    }
}

static void
instance_get(void *state, const struct json *context UNUSED, const char *uuid,
             records_object_done *done, void *aux)
{
    struct records_local *records = state;
    const struct record *record = record_table_find(&records->instances, uuid);

    if (record) {
        answer_object(records, done, aux, NULL,
                      record_get(&records->instances, record));
    } else {
        answer_object(records, done, aux, instance_not_found(uuid), NULL);
    }
}

static void
instance_list(void *state, const struct json *context UNUSED,
              records_list_done *done, void *aux)
{
    struct records_local *records = state;
    const struct record_table *table = &records->instances;
    struct records_answer *answer = records_answer_create(aux);

    answer->list_done = done;
    answer->objects = xcalloc(table->n, sizeof(struct object *));
    for (size_t i = 0; i < table->n; i++) {
        answer->objects[answer->n++] = record_get(table, &table->records[i]);
    }
    records_answer_post(answer, records->q);
}

static void
instance_save(void *state, const struct json *context UNUSED,
              const struct object *instance, const char *const *expected,
              records_object_done *done, void *aux)
{
    struct records_local *records = state;
    struct record_table *table = &records->instances;
    const char *uuid = object_string(instance, "uuid");
    struct record *record = uuid ? record_table_find(table, uuid) : NULL;
    AUTO_OBJECT stored = NULL;

    if (record) {
        stored = record_get(table, record);
        struct error *error = check_task_state(stored, expected);
        if (error) {
            answer_object(records, done, aux, error, NULL);
            return;
        }
        merge(stored, instance);
    } else if (uuid && uuid_is_valid(uuid) &&
               str_eq(object_string(instance, "host"), records->host)) {
        int64_t id = store_next_id(records->store, STORE_INSTANCES);

        stored = object_copy(instance);
        object_set_int(stored, "id", id); /* The sender's means nothing here. */
        record = record_table_add(table, id);
    } else {
        answer_object(records, done, aux, instance_not_found(uuid), NULL);
        return;
    }
    record_set(table, record, stored);
    write_and_answer(records, table, record, done, aux);
}

/* Nobody claims anything here. */
static void
instance_drop_claim(void *state, const struct json *context UNUSED,
                    const struct object *instance, records_object_done *done,
                    void *aux)
{
    answer_object(state, done, aux, NULL, object_copy(instance));
}

static void
migration_create(void *state, const struct json *context UNUSED,
                 const struct object *migration, records_object_done *done,
                 void *aux)
{
    struct records_local *records = state;
    struct record_table *table = &records->migrations;
    AUTO_OBJECT stored = object_copy(migration);
    char uuid[UUID_SIZE], now[CLOCK_TEXT_SIZE];
    const char *given = object_string(stored, "uuid");

    if (given && (!uuid_is_valid(given) || record_table_find(table, given))) {
        answer_object(records, done, aux,
                      error_new(ERR_INVALID,
                                "migration '%s' exists, or is no uuid", given),
                      NULL);
        return;
    }

    int64_t id = store_next_id(records->store, STORE_MIGRATIONS);
    object_set_int(stored, "id", id);
    if (!given) {
        object_set_string(stored, "uuid", uuid_generate_text(uuid));
    }
    object_set_string(stored, "created_at",
                      clock_format_iso(clock_wall_us(), now));
    object_set_null(stored, "updated_at");
    set_migration_defaults(stored);

    struct record *record = record_table_add(table, id);
    record_set(table, record, stored);
    write_and_answer(records, table, record, done, aux);
    forget_old_migrations(records);
}

static void
migration_save(void *state, const struct json *context UNUSED,
               const struct object *migration, records_object_done *done,
               void *aux)
{
    struct records_local *records = state;
    struct record_table *table = &records->migrations;
    const char *uuid = object_string(migration, "uuid");
    int64_t id = object_int(migration, "id");
    struct record *record =
        uuid ? record_table_find(table, uuid) : record_table_find_id(table, id);

    if (!record && uuid && uuid_is_valid(uuid)) {
        /* Made by a conductor of its own, which keeps no records here. */
        record = record_table_add(
            table, store_next_id(records->store, STORE_MIGRATIONS));
        record_set(table, record, migration);
    }
    if (!record) {
        answer_object(records, done, aux, migration_not_found(id, uuid), NULL);
        return;
    }
    AUTO_OBJECT stored = record_get(table, record);
    merge(stored, migration);
    record_set(table, record, stored);
    write_and_answer(records, table, record, done, aux);
    forget_old_migrations(records);
}

static void
migration_get(void *state, const struct json *context UNUSED, int64_t id,
              const char *uuid, records_object_done *done, void *aux)
{
    struct records_local *records = state;
    struct record_table *table = &records->migrations;
    const struct record *record =
        uuid ? record_table_find(table, uuid) : record_table_find_id(table, id);

    if (record) {
        answer_object(records, done, aux, NULL, record_get(table, record));
    } else {
        answer_object(records, done, aux, migration_not_found(id, uuid), NULL);
    }
}

static void
migration_list(void *state, const struct json *context UNUSED,
               const char *instance_uuid, records_list_done *done, void *aux)
{
    struct records_local *records = state;
    const struct record_table *table = &records->migrations;
    struct records_answer *answer = records_answer_create(aux);

    answer->list_done = done;
    answer->objects = xcalloc(table->n, sizeof(struct object *));
    for (size_t i = table->n; i-- > 0;) {
        const struct record *record = &table->records[i];

        if (!instance_uuid || str_eq(record->instance_uuid, instance_uuid)) {
            answer->objects[answer->n++] = record_get(table, record);
        }
    }
    records_answer_post(answer, records->q);
}

/* Events and faults are for the control plane's users; here the log has them.
 */
static void
event_start(void *state UNUSED, const struct json *context UNUSED,
            const char *instance_uuid, const char *event)
{
    log_debug(NULL, "event '%s' of '%s' starts", event, instance_uuid);
}

static void
event_finish(void *state UNUSED, const struct json *context UNUSED,
             const char *instance_uuid, const char *event,
             const struct error *error)
{
    log_debug(NULL, "event '%s' of '%s' ends: %s", event, instance_uuid,
              error_message(error));
}

static void
fault_create(void *state UNUSED, const struct json *context UNUSED,
             const char *instance_uuid, const struct error *error)
{
    log_debug(NULL, "fault of '%s': %s", instance_uuid, error_message(error));
}

static void
instance_moved_away(void *state, const char *uuid, const char *dest,
                    records_done *done, void *aux)
{
    struct records_local *records = state;
    struct record *record = record_table_find(&records->instances, uuid);
    struct records_answer *answer = records_answer_create(aux);

    answer->done = done;
    if (record) {
        log_debug(NULL, "instance '%s' lives on '%s' now", uuid, dest);
        delete_record(records, &records->instances, record, answer);
    } else {
        records_answer_post(answer, records->q);
    }
}

static struct error *
check_task_state(const struct object *stored, const char *const *expected)
{
    const char *actual = object_string(stored, "task_state");
    AUTO_FREE list = xstrdup("");

    if (!expected) {
        return NULL;
    }
    for (size_t i = 0; expected[i]; i++) {
        if (str_eq(expected[i], actual ? actual : "")) {
            return NULL;
        }
        char *longer =
            *expected[i]
                ? xasprintf("%s%s'%s'", list, i ? ", " : "", expected[i])
                : xasprintf("%s%sNone", list, i ? ", " : "");
        free(list);
        list = longer;
    }

    AUTO_FREE wanted = xasprintf("{'task_state': [%s]}", list);
    AUTO_FREE found = actual ? xasprintf("{'task_state': '%s'}", actual)
                             : xstrdup("{'task_state': None}");
    const char *uuid = object_string(stored, "uuid");
    struct error *error = error_new(ERR_UNEXPECTED_TASK_STATE,
                                    "task_state of '%s' is '%s', expected %s",
                                    uuid, actual ? actual : "", list);
    error_set_arg(error, "instance_uuid", uuid);
    error_set_arg(error, "expected", wanted);
    return error_set_arg(error, "actual", found);
}

static void
set_migration_defaults(struct object *o)
{
    static const char *const nulls[] = {"source_compute",
                                        "source_node",
                                        "dest_compute",
                                        "dest_node",
                                        "dest_host",
                                        "old_instance_type_id",
                                        "new_instance_type_id",
                                        "instance_uuid",
                                        "memory_total",
                                        "memory_processed",
                                        "memory_remaining",
                                        "disk_total",
                                        "disk_processed",
                                        "disk_remaining",
                                        "user_id",
                                        "project_id",
                                        "deleted_at",
                                        NULL};
    static const char *const falses[] = {"hidden", "cross_cell_move", "deleted",
                                         NULL};

    if (!object_string(o, "status")) {
        object_set_string(o, "status", "accepted");
    }
    if (!object_string(o, "migration_type")) {
        object_set_string(o, "migration_type", "live-migration");
    }
    for (size_t i = 0; nulls[i]; i++) {
        if (!object_has(o, nulls[i])) {
            object_set_null(o, nulls[i]);
        }
    }
    for (size_t i = 0; falses[i]; i++) {
        if (!object_has(o, falses[i])) {
            object_set_bool(o, falses[i], false);
        }
    }
}

static void
forget_old_migrations(struct records_local *records)
{
    struct record_table *table = &records->migrations;

    for (size_t i = 0; i < table->n && table->n > MIGRATIONS_MAX;) {
        if (table->records[i].is_over) {
            delete_record(records, table, &table->records[i], NULL);
        } else {
            i++;
        }
    }
}

/* What was changed, but not who it is. */
static void
merge(struct object *stored, const struct object *sent)
{
    int64_t id = object_int(stored, "id");
    AUTO_FREE uuid = xstrdup_null(object_string(stored, "uuid"));
    char now[CLOCK_TEXT_SIZE];

    object_merge_changes(stored, sent);
    object_set_int(stored, "id", id);
    object_set_string(stored, "uuid", uuid);
    object_set_string(stored, "updated_at",
                      clock_format_iso(clock_wall_us(), now));
}

static struct error *
instance_not_found(const char *uuid)
{
    const char *name = uuid ? uuid : "";

    return error_set_arg(
        error_new(ERR_INSTANCE_NOT_FOUND, "no record of instance '%s'", name),
        "instance_id", name);
}

static struct error *
migration_not_found(int64_t id, const char *uuid)
{
    AUTO_FREE name = uuid ? xstrdup(uuid) : xasprintf("%lld", (long long)id);

    return error_set_arg(
        error_new(ERR_MIGRATION_NOT_FOUND, "no record of migration '%s'", name),
        "migration_id", name);
}

static void
answer_object(struct records_local *records, records_object_done *done,
              void *aux, struct error *error, struct object *object)
{
    struct records_answer *answer = records_answer_create(aux);

    answer->object_done = done;
    answer->error = error;
    answer->object = object;
    records_answer_post(answer, records->q);
}

static void
write_and_answer(struct records_local *records,
                 const struct record_table *table, const struct record *record,
                 records_object_done *done, void *aux)
{
    struct records_answer *answer = records_answer_create(aux);

    answer->object_done = done;
    answer->object = record_get(table, record);
    write_record(records, table, record, answer);
}

/* 'answer' may be null: nobody waits, a failure is logged. */
static void
write_record(struct records_local *records, const struct record_table *table,
             const struct record *record, struct records_answer *answer)
{
    store_put(records->store, table->store_table, record->id, record->uuid,
              xstrdup(record->text), written, answer);
}

static void
delete_record(struct records_local *records, struct record_table *table,
              struct record *record, struct records_answer *answer)
{
    store_put(records->store, table->store_table, record->id, record->uuid,
              NULL, written, answer);
    record_table_remove(table, record);
}

static void
written(void *aux, struct error *error)
{
    struct records_answer *answer = aux;

    if (answer) {
        records_answer_give(answer, error);
    } else if (error) {
        log_limited(LOG_LEVEL_ERROR, NULL, "a record is not on disk: %s",
                    error_message(error));
        error_free(error);
    }
}

static void
loan_ends(struct completion *c)
{
    struct loan *loan = container_of(c, struct loan, completion);

    object_free(loan->object);
    free(loan);
}
