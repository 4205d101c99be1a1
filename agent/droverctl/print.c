#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TITLE_WIDTH 14
#define MIB INT64_C(1048576)

struct json *
args_of(const char *name, const char *value)
{
    struct json *args = json_object();

    json_set_string(args, name, value);
    return args;
}

void
print_json(const struct json *json)
{
    AUTO_FREE text = json_print(json, NULL);

    puts(text);
    fflush(stdout);
}

unsigned
print_width(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO)) {
        return 0;
    }
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col
               ? size.ws_col
               : 80;
}

void
print_table(const struct table *table)
{
    table_print(table, stdout, print_width());
}

void
print_member(const char *title, const struct json *json, const char *name)
{
    const struct json *value = json_get(json, name);

    if (json_is_string(value)) {
        print_field(title, "%s", json_get_string(value));
    } else if (json_is_bool(value)) {
        print_field(title, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_number(value)) {
        AUTO_FREE text = json_print(value, NULL);
        print_field(title, "%s", text);
    } else {
        print_field(title, "-");
    }
}

void
print_field(const char *title, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    AUTO_FREE text = xvasprintf(fmt, args);
    va_end(args);
    AUTO_FREE clean = text_clean(*text ? text : NULL);
    printf("%-*s  %s\n", TITLE_WIDTH, title, clean);
}

char *
size_text(int64_t bytes)
{
    int64_t mib = bytes / MIB;

    if (bytes < 0) {
        return xstrdup("-");
    }
    if (mib >= 10 * 1024) {
        return xasprintf("%.1f GiB", (double)bytes / (1024.0 * MIB));
    }
    return bytes > 0 && mib == 0
               ? xasprintf("%" PRId64 " KiB", (bytes + 1023) / 1024)
               : xasprintf("%" PRId64 " MiB", mib);
}

char *
duration_text(int64_t ms)
{
    int64_t s = ms / 1000;

    if (ms < 0) {
        return xstrdup("-");
    }
    if (ms < 1000) {
        return xasprintf("%" PRId64 " ms", ms);
    }
    if (s < 60) {
        return xasprintf("%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    }
    return s < 3600 ? xasprintf("%" PRId64 " min %" PRId64 " s", s / 60, s % 60)
                    : xasprintf("%" PRId64 " h %" PRId64 " min", s / 3600,
                                s % 3600 / 60);
}

const char *
text_of(const struct json *json, const char *name)
{
    const char *text = json_string_of(json, name);

    return text ? text : "-";
}

int64_t
number_of(const struct json *json, const char *name)
{
    const struct json *value = json_get(json, name);

    return json_is_number(value) ? json_get_int(value) : -1;
}

struct sorted {
    const struct json *json;
    const char *first, *second;
    int64_t number; /* In place of 'second'. */
};

static int
compare(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int order = strcmp(x->first, y->first);

    if (!order) {
        order = strcmp(x->second, y->second);
    }
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static const char *
key_of(const struct json *json, const char *name)
{
    const char *text = name ? json_string_of(json, name) : NULL;

    return text ? text : "";
}

void
json_sort(struct json **array, const char *first, const char *second)
{
    size_t n = json_size(*array), i = 0;
    struct sorted *all = xcalloc(n + 1, sizeof *all);
    struct json *sorted = json_array();

    json_for_each (json, *array) {
        all[i++] = (struct sorted){
            .json = json,
            .first = key_of(json, first),
            .second = key_of(json, second),
            .number = second ? number_of(json, second) : 0,
        };
    }
    qsort(all, n, sizeof *all, compare);
    for (i = 0; i < n; i++) {
        json_append(sorted, json_copy(all[i].json));
    }
    free(all);
    json_free(*array);
    *array = sorted;
}
