#include <config.h>

#include "rpc/link_internal.h"

#include <assert.h>

static amqp_field_value_t *add(struct table *, const char *key, uint8_t kind);

void
table_add_int(struct table *table, const char *key, int value)
{
    add(table, key, AMQP_FIELD_KIND_I32)->value.i32 = value;
}

void
table_add_int64(struct table *table, const char *key, int64_t value)
{
    add(table, key, AMQP_FIELD_KIND_I64)->value.i64 = value;
}

void
table_add_text(struct table *table, const char *key, const char *value)
{
    add(table, key, AMQP_FIELD_KIND_UTF8)->value.bytes =
        amqp_cstring_bytes(value);
}

void
table_add_bool(struct table *table, const char *key, bool value)
{
    add(table, key, AMQP_FIELD_KIND_BOOLEAN)->value.boolean = value;
}

void
table_add_table(struct table *table, const char *key, struct table *inner)
{
    add(table, key, AMQP_FIELD_KIND_TABLE)->value.table = table_value(inner);
}

amqp_table_t
table_value(struct table *table)
{
    return (amqp_table_t){.num_entries = table->n, .entries = table->entries};
}

static amqp_field_value_t *
add(struct table *table, const char *key, uint8_t kind)
{
    assert(table->n < TABLE_SIZE);
    amqp_table_entry_t *entry = &table->entries[table->n++];

    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = kind;
    return &entry->value;
}
