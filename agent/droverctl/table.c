#include <config.h>

#include "agent/droverctl/table.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "rpc/utf8.h"

#define GAP "  "
#define ELLIPSIS "\xe2\x80\xa6"

/* A column wider than a UUID has very long cells, and may be made narrower, so
 * that this much of the last one can be seen. */
#define LONG 36
#define SHORT 16
#define LAST 12

struct table {
    const struct table_column *columns;
    size_t n_columns;
    char **cells; /* Clean; the title's row first. */
    size_t n_cells, room;
};

static void fit(const struct table *table, unsigned *widths, unsigned width);
static void print_cell(FILE *out, const char *cell, unsigned width, bool right);
static char *format_row(const struct table *table, size_t row,
                        const unsigned *widths);
static unsigned code_point(const char *p, size_t size);
static unsigned character_width(unsigned code);
static bool is_control(unsigned code);

struct table *
table_create(const struct table_column *columns, size_t n)
{
    struct table *table = xzalloc(sizeof *table);

    table->columns = columns;
    table->n_columns = n;
    for (size_t i = 0; i < n; i++) {
        table_add(table, columns[i].title);
    }
    return table;
}

void
table_free(struct table *table)
{
    if (!table) {
        return;
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

void
table_add(struct table *table, const char *text)
{
    if (table->n_cells == table->room) {
        table->cells = xgrow(table->cells, &table->room, sizeof *table->cells);
    }
    table->cells[table->n_cells++] = text_clean(text && *text ? text : NULL);
}

void
table_add_format(struct table *table, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    AUTO_FREE text = xvasprintf(fmt, args);
    va_end(args);
    table_add(table, text);
}

void
table_add_member(struct table *table, const struct json *object,
                 const char *name)
{
    const struct json *value = json_get(object, name);

    if (json_is_string(value)) {
        table_add(table, json_get_string(value));
    } else if (json_is_bool(value)) {
        table_add(table, json_is_true(value) ? "yes" : "no");
    } else if (!value || json_is_null(value)) {
        table_add(table, NULL);
    } else {
        AUTO_FREE text = json_print(value, NULL);
        table_add(table, text);
    }
}

void
table_print(const struct table *table, FILE *out, unsigned width)
{
    unsigned *widths = xcalloc(table->n_columns, sizeof *widths);

    for (size_t i = 0; i < table->n_cells; i++) {
        unsigned w = text_width(table->cells[i]);
        unsigned *column = &widths[i % table->n_columns];
        *column = w > *column ? w : *column;
    }
    if (width) {
        fit(table, widths, width);
    }
    for (size_t row = 0; row < table->n_cells; row += table->n_columns) {
        AUTO_FREE line = format_row(table, row, widths);

        if (width && text_width(line) > width) {
            fprintf(out, "%.*s" ELLIPSIS "\n",
                    (int)text_fitting(line, width - 1), line);
        } else {
            fprintf(out, "%s\n", line);
        }
    }
    free(widths);
}

unsigned
text_width(const char *s)
{
    const char *end = s + strlen(s);
    unsigned width = 0;

    while (s < end) {
        size_t size = utf8_sequence(s, end);

        width += character_width(code_point(s, size));
        s += size ? size : 1;
    }
    return width;
}

char *
text_clean(const char *s)
{
    char *text = utf8_clean(s ? s : "-", s ? strlen(s) : 1);
    const char *end = text + strlen(text);
    char *to = text;

    for (const char *from = text; from < end;) {
        size_t size = utf8_sequence(from, end);

        if (is_control(code_point(from, size))) {
            *to++ = '?';
        } else {
            memmove(to, from, size);
            to += size;
        }
        from += size;
    }
    *to = '\0';
    return text;
}

size_t
text_fitting(const char *s, unsigned width)
{
    const char *start = s, *end = s + strlen(s);

    while (s < end) {
        size_t size = utf8_sequence(s, end);
        unsigned w = character_width(code_point(s, size));

        if (w > width) {
            break;
        }
        width -= w;
        s += size ? size : 1;
    }
    return (size_t)(s - start);
}

/* The widest give way.  The last column has whatever is left. */
static void
fit(const struct table *table, unsigned *widths, unsigned width)
{
    size_t last = table->n_columns - 1, widest;
    unsigned need = widths[last] < LAST ? widths[last] : LAST;
    bool *may_shrink = xcalloc(table->n_columns, sizeof *may_shrink);

    for (size_t i = 0; i < last; i++) {
        need += widths[i] + (unsigned)strlen(GAP);
        may_shrink[i] = widths[i] > LONG;
    }
    for (; need > width; need--) {
        widest = last;
        for (size_t i = 0; i < last; i++) {
            if (may_shrink[i] && widths[i] > SHORT &&
                (widest == last || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == last) {
            break;
        }
        widths[widest]--;
    }
    free(may_shrink);
}

static void
print_cell(FILE *out, const char *cell, unsigned width, bool right)
{
    unsigned w = text_width(cell);

    if (w > width) {
        size_t size = text_fitting(cell, width - 1);
        AUTO_FREE part = xstrndup(cell, size);
        fprintf(out, "%s" ELLIPSIS "%*s", part,
                (int)(width - 1 - text_width(part)), "");
    } else if (right) {
        fprintf(out, "%*s%s", (int)(width - w), "", cell);
    } else {
        fprintf(out, "%s%*s", cell, (int)(width - w), "");
    }
}

/* The caller's; without blanks at its end. */
static char *
format_row(const struct table *table, size_t row, const unsigned *widths)
{
    char *line = NULL;
    size_t size;
    FILE *out = open_memstream(&line, &size);

    for (size_t i = 0; i < table->n_columns && row + i < table->n_cells; i++) {
        print_cell(out, table->cells[row + i], widths[i],
                   table->columns[i].right);
        fputs(GAP, out);
    }
    fclose(out);
    while (size > 0 && line[size - 1] == ' ') {
        line[--size] = '\0';
    }
    return line;
}

/* Of the valid sequence of 'size' bytes at 'p'; any byte if that is 0. */
static unsigned
code_point(const char *p, size_t size)
{
    const unsigned char *u = (const unsigned char *)p;

    if (size < 2) {
        return u[0];
    }
    unsigned code = u[0] & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        code = code << 6 | (u[i] & 0x3f);
    }
    return code;
}

/* The C library knows the wide ones and those that combine, if the locale is
 * one of UTF-8. */
static unsigned
character_width(unsigned code)
{
    int width = code < 0x80 ? 1 : wcwidth((wchar_t)code);

    return width < 0 ? 1 : (unsigned)width;
}

/* C0, DEL and C1, which a terminal may obey, and what turns the direction of
 * writing round. */
static bool
is_control(unsigned code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) ||
           (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}
