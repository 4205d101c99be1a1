#include <config.h>

#include "rpc/object_versions.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rows of the table by number: a class's fields are the rows between it
 * and the next class. */
enum row {
#define OBJECT(CLASS, MAJOR, MINOR, HOLDS) ROW_##CLASS,
#define FIELD(CLASS, NAME, KIND, SINCE) ROW_##CLASS##_##NAME,
#include "rpc/object_versions.def"
#undef OBJECT
#undef FIELD
    N_ROWS
};

static const struct object_field rows[N_ROWS] = {
#define OBJECT(CLASS, MAJOR, MINOR, HOLDS) {.name = NULL},
#define FIELD(CLASS, NAME, KIND, SINCE) {#NAME, OBJECT_##KIND, SINCE},
#include "rpc/object_versions.def"
#undef OBJECT
#undef FIELD
};

static const struct object_class classes[] = {
#define OBJECT(CLASS, MAJOR, MINOR, HOLDS) \
    {#CLASS, {MAJOR, MINOR}, HOLDS, ROW_##CLASS},
#define FIELD(CLASS, NAME, KIND, SINCE)
#include "rpc/object_versions.def"
#undef OBJECT
#undef FIELD
};

static bool parse_part(const char **text, int *ret);
static int compare_class(const void *name, const void *class);
static int compare_field(const void *name, const void *field);
static void add_reached(struct json *manifest, const struct object_class *,
                        object_version_of *of, void *aux, bool *seen);

bool
object_version_parse(const char *text, struct object_version *ret,
                     bool *ret_has_third)
{
    struct object_version version;
    bool has_third = false;
    int third;

    if (!text || !parse_part(&text, &version.major) || *text++ != '.' ||
        !parse_part(&text, &version.minor)) {
        return false;
    }
    if (*text == '.') {
        text++;
        has_third = true;
        if (!parse_part(&text, &third)) {
            return false;
        }
    }
    if (*text) {
        return false;
    }
    *ret = version;
    if (ret_has_third) {
        *ret_has_third = has_third;
    }
    return true;
}

const char *
object_version_format(struct object_version version,
                      char buf[OBJECT_VERSION_SIZE])
{
    snprintf(buf, OBJECT_VERSION_SIZE, "%d.%d", version.major, version.minor);
    return buf;
}

int
object_version_compare(struct object_version a, struct object_version b)
{
    return a.major != b.major ? (a.major > b.major) - (a.major < b.major)
                              : (a.minor > b.minor) - (a.minor < b.minor);
}

const struct object_class *
object_class_find(const char *name)
{
    return name ? bsearch(name, classes, N_ELEMENTS(classes), sizeof *classes,
                          compare_class)
                : NULL;
}

size_t
object_n_classes(void)
{
    return N_ELEMENTS(classes);
}

const struct object_class *
object_class_at(size_t i)
{
    return &classes[i];
}

const struct object_field *
object_field_find(const struct object_class *class, const char *name)
{
    size_t n;
    const struct object_field *fields = object_fields(class, &n);

    return name ? bsearch(name, fields, n, sizeof *fields, compare_field)
                : NULL;
}

const struct object_field *
object_fields(const struct object_class *class, size_t *ret_n)
{
    const struct object_class *next = class + 1;
    size_t end = next < classes + N_ELEMENTS(classes) ? next->row : N_ROWS;

    *ret_n = end - class->row - 1;
    return &rows[class->row + 1];
}

bool
object_version_own(void *aux UNUSED, const char *name,
                   struct object_version *ret)
{
    const struct object_class *class = object_class_find(name);

    if (class) {
        *ret = class->version;
    }
    return class;
}

struct json *
object_manifest(const struct object_class *class, object_version_of *of,
                void *aux)
{
    bool seen[N_ELEMENTS(classes)] = {false};
    struct json *manifest = json_object();

    add_reached(manifest, class, of, aux, seen);
    return manifest;
}

/* Rings are possible, so each class is entered once only. */
static void
add_reached(struct json *manifest, const struct object_class *class,
            object_version_of *of, void *aux, bool *seen)
{
    char text[OBJECT_VERSION_SIZE], name[64];
    struct object_version version;
    int n;

    if (seen[class - classes]) {
        return;
    }
    seen[class - classes] = true;
    if (of(aux, class->name, &version)) {
        json_set_string(manifest, class->name,
                        object_version_format(version, text));
    }
    for (const char *at = class->holds; sscanf(at, " %63[^ ]%n", name, &n) == 1;
         at += n) {
        const struct object_class *held = object_class_find(name);

        assert(held);
        add_reached(manifest, held, of, aux, seen);
    }
}

static bool
parse_part(const char **text, int *ret)
{
    size_t n = strspn(*text, "0123456789");

    if (n == 0 || n > 9) {
        return false;
    }
    *ret = (int)strtol(*text, NULL, 10);
    *text += n;
    return true;
}

static int
compare_class(const void *name, const void *class)
{
    return strcmp(name, ((const struct object_class *)class)->name);
}

static int
compare_field(const void *name, const void *field)
{
    return strcmp(name, ((const struct object_field *)field)->name);
}
