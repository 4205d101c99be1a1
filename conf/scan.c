#include <config.h>

#include "conf/scan.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A group in a group is more than any option needs; libconfig and those who
 * free its tree use the stack for each level. */
#define MAX_DEPTH 8

/* The setting that the text is at: "libvirt.virt_type". */
#define MAX_PATH_SIZE 256

struct scanner {
    const char *name; /* Of the file. */
    const char *p, *end;
    int line;
    char path[MAX_PATH_SIZE];
    size_t n_path;          /* Without the last name. */
    size_t ends[MAX_DEPTH]; /* 'n_path' before each opening bracket. */
    unsigned depth;

    /* Called, if set, for each setting, before its value. */
    bool (*on_setting)(struct scanner *s, void *aux);
    void *aux;
    bool is_done; /* on_setting() returned true. */
};

static struct error *scan(struct scanner *s);

struct error *
scan_check(const char *text, size_t size, const char *name)
{
    struct scanner s = {.name = name, .p = text, .end = text + size, .line = 1};

    return scan(&s);
}

/* All settings up to a line. */
struct seen {
    char **paths;
    size_t n, n_room;
    int line;
    char *repeated;
};

static bool
note_setting(struct scanner *s, void *aux)
{
    struct seen *seen = aux;

    if (s->line > seen->line) {
        return true;
    }
    for (size_t i = 0; s->line == seen->line && i < seen->n; i++) {
        if (strcmp(seen->paths[i], s->path) == 0) {
            seen->repeated = xstrdup(s->path);
            return true;
        }
    }
    if (seen->n == seen->n_room) {
        seen->paths = xgrow(seen->paths, &seen->n_room, sizeof *seen->paths);
    }
    seen->paths[seen->n++] = xstrdup(s->path);
    return false;
}

char *
scan_repeated(const char *text, size_t size, int line)
{
    struct seen seen = {.line = line};
    struct scanner s = {.name = "",
                        .p = text,
                        .end = text + size,
                        .line = 1,
                        .on_setting = note_setting,
                        .aux = &seen};

    error_free(scan(&s));
    for (size_t i = 0; i < seen.n; i++) {
        free(seen.paths[i]);
    }
    free(seen.paths);
    return seen.repeated;
}

static bool
starts_with(const struct scanner *s, const char *prefix)
{
    size_t size = strlen(prefix);

    return (size_t)(s->end - s->p) >= size && memcmp(s->p, prefix, size) == 0;
}

static void
advance(struct scanner *s)
{
    if (s->p < s->end) {
        s->line += *s->p == '\n';
        s->p++;
    }
}

static struct error *
fail(const struct scanner *s, struct error *error)
{
    return error_wrap(error, "%s:%d: option '%s'", s->name, s->line, s->path);
}

/* libconfig finds a missing end, too, but leaks the string. */
static struct error *
skip_string(struct scanner *s)
{
    int line = s->line;

    advance(s);
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\') {
            advance(s);
        }
        advance(s);
    }
    if (s->p == s->end) {
        s->line = line;
        return fail(s, error_new(ERR_CONFIG, "the string has no end"));
    }
    advance(s);
    return NULL;
}

static void
skip_line(struct scanner *s)
{
    while (s->p < s->end && *s->p != '\n') {
        s->p++;
    }
}

static void
skip_comment(struct scanner *s)
{
    s->p += 2;
    while (s->p < s->end && !starts_with(s, "*/")) {
        advance(s);
    }
    s->p += s->p < s->end ? 2 : 0;
}

static bool
is_name_start(char c)
{
    return isalpha((unsigned char)c) || c == '*';
}

static bool
is_name_part(char c)
{
    return isalnum((unsigned char)c) || c == '*' || c == '-' || c == '_';
}

/* Puts the name at hand at the end of the path; words that are no names, such
 * as true, are overwritten by the next. */
static void
take_name(struct scanner *s)
{
    const char *start = s->p;

    while (s->p < s->end && is_name_part(*s->p)) {
        s->p++;
    }
    size_t size = (size_t)(s->p - start);
    size_t room = sizeof s->path - 1 - s->n_path;

    size = size < room ? size : room;
    memcpy(s->path + s->n_path, start, size);
    s->path[s->n_path + size] = '\0';
}

static struct error *
open_bracket(struct scanner *s)
{
    if (s->depth == MAX_DEPTH) {
        return fail(s, error_new(ERR_CONFIG, "brackets are nested too deep"));
    }
    s->ends[s->depth++] = s->n_path;
    if (*s->p == '{') {
        size_t size = strlen(s->path);

        if (size > 0 && size + 1 < sizeof s->path) {
            s->path[size++] = '.';
            s->path[size] = '\0';
        }
        s->n_path = size;
    }
    s->p++;
    return NULL;
}

static void
close_bracket(struct scanner *s)
{
    if (s->depth > 0) {
        s->n_path = s->ends[--s->depth];
        s->path[s->n_path] = '\0';
    }
    s->p++;
}

/* The digits at hand; false if there are more than 64 bits hold. */
static bool
take_digits(struct scanner *s, unsigned base, uint64_t *ret)
{
    bool fits = true;

    *ret = 0;
    while (s->p < s->end && isxdigit((unsigned char)*s->p)) {
        unsigned digit = isdigit((unsigned char)*s->p)
                             ? (unsigned)(*s->p - '0')
                             : (unsigned)(tolower(*s->p) - 'a') + 10;

        if (digit >= base) {
            break;
        }
        fits = fits && !__builtin_mul_overflow(*ret, base, ret) &&
               !__builtin_add_overflow(*ret, digit, ret);
        s->p++;
    }
    return fits;
}

/* The rest of a floating point number after its whole part; false if the
 * number ends there and is an integer. */
static bool
take_fraction(struct scanner *s)
{
    const char *start = s->p;
    uint64_t ignored;

    if (starts_with(s, ".")) {
        s->p++;
        take_digits(s, 10, &ignored);
    }
    if (starts_with(s, "e") || starts_with(s, "E")) {
        const char *before = s->p;

        s->p++;
        s->p += starts_with(s, "+") || starts_with(s, "-");
        const char *digits = s->p;
        take_digits(s, 10, &ignored);
        if (s->p == digits) {
            s->p = before; /* A name that begins with this letter. */
        }
    }
    return s->p > start;
}

static struct error *
take_number(struct scanner *s)
{
    const char *start = s->p;
    bool is_negative = *s->p == '-';
    uint64_t number;

    s->p += *s->p == '-' || *s->p == '+';
    bool is_hex = starts_with(s, "0x") || starts_with(s, "0X");
    s->p += is_hex ? 2 : 0;

    bool fits = take_digits(s, is_hex ? 16 : 10, &number);
    if (!is_hex && take_fraction(s)) {
        return NULL;
    }

    bool is_long = starts_with(s, "L");
    s->p += starts_with(s, "LL") ? 2 : is_long;
    if (!fits || number > (uint64_t)INT64_MAX + is_negative) {
        return fail(s, error_new(ERR_CONFIG, "the number is too large"));
    }
    if (!is_long && number > (uint64_t)INT32_MAX + is_negative) {
        return fail(s, error_new(ERR_CONFIG,
                                 "the number needs 64 bits: write '%.*sL'",
                                 (int)(s->p - start), start));
    }
    return NULL;
}

static bool
is_number_start(const struct scanner *s)
{
    const char *p = s->p;

    p += *p == '-' || *p == '+';
    return p < s->end && (isdigit((unsigned char)*p) || *p == '.');
}

/* What begins at 's->p', which is no comment and no string. */
static struct error *
scan_token(struct scanner *s)
{
    switch (*s->p) {
    case '{':
    case '(':
    case '[':
        return open_bracket(s);
    case '}':
    case ')':
    case ']':
        close_bracket(s);
        return NULL;
    case '=':
    case ':':
        s->is_done = s->on_setting && s->on_setting(s, s->aux);
        s->p++;
        return NULL;
    case '@':
        return error_new(ERR_CONFIG, "%s:%d: '@include' is not supported",
                         s->name, s->line);
    default:
        break;
    }
    if (is_name_start(*s->p)) {
        take_name(s);
        return NULL;
    }
    if (is_number_start(s)) {
        return take_number(s);
    }
    advance(s);
    return NULL;
}

static struct error *
scan(struct scanner *s)
{
    struct error *error = NULL;

    while (s->p < s->end && !error && !s->is_done) {
        if (*s->p == '"') {
            error = skip_string(s);
        } else if (*s->p == '#' || starts_with(s, "//")) {
            skip_line(s);
        } else if (starts_with(s, "/*")) {
            skip_comment(s);
        } else {
            error = scan_token(s);
        }
    }
    return error;
}
