#ifndef DROVER_AGENT_RECORD_TABLE_H
#define DROVER_AGENT_RECORD_TABLE_H

/* Objects of one kind in little memory: as their text, which is a fraction of
 * the tree's size, parsed when one is asked for; and what they are looked for
 * by.  The part of agent/records_local.h that knows nothing of who asks.
 *
 * Threads: the loop. */

#include "agent/store.h"
#include "rpc/object.h"
#include "rpc/uuid.h"

/* The states of instances that are told apart; others count as the last. */
#define VM_STATES     \
    VM_STATE(active)  \
    VM_STATE(paused)  \
    VM_STATE(stopped) \
    VM_STATE(error)   \
    VM_STATE(other)
enum vm_state {
#define VM_STATE(NAME) VM_STATE_##NAME,
    VM_STATES
#undef VM_STATE
        N_VM_STATES
};
const char *vm_state_name(enum vm_state state);

/* A plain record, valid until the table changes. */
struct record {
    int64_t id;
    char uuid[UUID_SIZE];
    char *text;
    /* Of an instance. */
    char *name, *domain; /* Display name and libvirt's; null: none. */
    bool has_task;
    enum vm_state vm_state;
    /* Of a migration. */
    char *instance_uuid; /* Null: none. */
    bool is_over;
};

/* By id: new ones come last. */
struct record_table {
    enum store_table store_table; /* STORE_INSTANCES or STORE_MIGRATIONS */
    struct record *records;
    size_t n, n_room;
};

/* What the store has.  ERR_STORAGE. */
struct error *record_table_load(struct record_table *table,
                                struct store *store) WARN_UNUSED;
void record_table_close(struct record_table *table);

/* Null if there is none. */
struct record *record_table_find(const struct record_table *table,
                                 const char *uuid);
struct record *record_table_find_id(const struct record_table *table,
                                    int64_t id);

/* 'id' must be higher than all there are.  To be followed by record_set(). */
struct record *record_table_add(struct record_table *table, int64_t id);
void record_table_remove(struct record_table *table, struct record *record);

/* The object, new, without changes. */
struct object *record_get(const struct record_table *table,
                          const struct record *record);

/* Keeps the object's text, without changes; it must have a uuid. */
void record_set(const struct record_table *table, struct record *record,
                const struct object *object);

#endif
