#ifndef DROVER_DROVERCTL_TABLE_H
#define DROVER_DROVERCTL_TABLE_H

/* Tables for people: columns aligned by what is seen, not by bytes.
 *
 * What comes from elsewhere, such as the name of a guest, can do nothing to a
 * terminal: control characters are shown as '?', bytes that are no UTF-8 as
 * U+FFFD.
 *
 * Threads: no shared state; any. */

#include <stdio.h>

#include "rpc/json.h"

struct table_column {
    const char *title;
    bool right; /* Numbers. */
};

struct table;

/* 'columns' must outlive the table. */
struct table *table_create(const struct table_column *columns, size_t n);
void table_free(struct table *table);
CLEANUP_FUNC(struct table, table_free)
#define AUTO_TABLE CLEANUP(table_free_at) struct table *

/* The next cell, row after row.  Null and "" are shown as "-". */
void table_add(struct table *table, const char *text);
void table_add_format(struct table *table, const char *fmt, ...)
    PRINTF_FORMAT(2, 3);

/* A member of 'object' as people read it: true is "yes", null "-". */
void table_add_member(struct table *table, const struct json *object,
                      const char *name);

/* Header and rows, no line wider than 'width' columns; 0: no limit.  Very long
 * names are cut, so that the columns behind them are seen. */
void table_print(const struct table *table, FILE *out, unsigned width);

/* Columns that 's', which must be clean, takes on a terminal. */
unsigned text_width(const char *s);

/* 's' without what could harm; the caller's.  Null gives "-". */
char *text_clean(const char *s);

/* The bytes of the clean text 's' that fit into 'width' columns. */
size_t text_fitting(const char *s, unsigned width);

#endif
