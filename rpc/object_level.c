#include <config.h>

#include "rpc/object_level.h"

#include "rpc/object_internal.h"
#include "rpc/utf8.h"

/* How much of a peer's text a message quotes. */
#define QUOTE_MAX 256

/* Whose versions count. */
struct versions {
    object_version_of *of;
    void *aux;
    enum object_fit fit; /* The worst so far. */
};

static struct error *drop_fix(void *aux, struct json *primitive);
static struct error *note_fit(void *aux, struct json *primitive);
static struct error *check_fit(void *aux, struct json *primitive);
static struct error *level(void *aux, struct json *primitive);
static struct error *supported_of(const struct versions *,
                                  const struct json *primitive,
                                  struct object_version *ret_stated,
                                  struct object_version *ret_supported);
static void drop_newer_fields(struct json *primitive, int minor);
static void forget_lost_changes(struct json *primitive);
static bool mark_holders(struct json *json);
static void mark(struct json *primitive, const char *field);

struct error *
object_walk(struct json *json, bool only_top,
            struct error *(*each)(void *aux, struct json *primitive), void *aux)
{
    struct error *error = NULL;

    if (object_is_primitive(json)) {
        error = each(aux, json);
        if (error || only_top) {
            return error;
        }
    }
    json_for_each (value, json) {
        if (!error && json_first(value)) {
            error = object_walk(value, only_top, each, aux);
        }
    }
    return error;
}

const char *
object_primitive_name(const struct json *primitive)
{
    return json_string_of(primitive, KEY_NAME);
}

void
object_drop_fixes(struct json *json, object_version_of *of, void *aux)
{
    struct versions versions = {of, aux, OBJECT_FITS};

    error_free(object_walk(json, false, drop_fix, &versions));
}

enum object_fit
object_fit(const struct json *json, object_version_of *of, void *aux)
{
    struct versions versions = {of, aux, OBJECT_FITS};

    /* Nothing is changed by this walk. */
    error_free(object_walk((struct json *)json, false, note_fit, &versions));
    return versions.fit;
}

struct error *
object_check_fit(struct json *json, object_version_of *of, void *aux)
{
    struct versions versions = {of, aux, OBJECT_FITS};

    return object_walk(json, false, check_fit, &versions);
}

struct error *
object_level(struct json *json, object_version_of *of, void *aux)
{
    struct versions versions = {of, aux, OBJECT_FITS};
    struct error *error = object_walk(json, false, level, &versions);

    if (!error) {
        mark_holders(json);
    }
    return error;
}

void
object_overwrite(struct json *primitive, const struct json *from)
{
    static const char *const keys[] = {KEY_NAME, KEY_NAMESPACE, KEY_VERSION,
                                       KEY_DATA, KEY_CHANGES};

    for (size_t i = 0; i < N_ELEMENTS(keys); i++) {
        const struct json *value = json_get(from, keys[i]);

        if (value) {
            json_set(primitive, keys[i], json_copy(value));
        } else {
            json_remove(primitive, keys[i]);
        }
    }
}

struct error *
object_incompatible(const char *name, const char *version,
                    struct object_version supported)
{
    char text[OBJECT_VERSION_SIZE];
    AUTO_FREE cut_name = xstrndup(name, utf8_cut(name, QUOTE_MAX));
    AUTO_FREE cut = xstrndup(version ? version : "none",
                             version ? utf8_cut(version, QUOTE_MAX) : 4);
    struct error *error =
        error_new(ERR_INCOMPATIBLE_OBJECT,
                  "Version %s of %s is not supported, supported version is %s",
                  cut, cut_name, object_version_format(supported, text));

    error_set_arg(error, "objname", cut_name);
    error_set_arg(error, "objver", cut);
    return error_set_arg(error, "supported", text);
}

static struct error *
drop_fix(void *aux, struct json *primitive)
{
    const struct versions *v = aux;
    const char *name = object_primitive_name(primitive);
    struct object_version stated, supported;
    char text[OBJECT_VERSION_SIZE];
    bool has_third;

    if (name && v->of(v->aux, name, &supported) &&
        object_version_parse(json_string_of(primitive, KEY_VERSION), &stated,
                             &has_third) &&
        has_third && object_version_compare(stated, supported) == 0) {
        json_set_string(primitive, KEY_VERSION,
                        object_version_format(stated, text));
    }
    return NULL;
}

static struct error *
note_fit(void *aux, struct json *primitive)
{
    struct versions *v = aux;
    const char *name = object_primitive_name(primitive);
    struct object_version stated, supported;

    if (name && v->of(v->aux, name, &supported) &&
        object_version_parse(json_string_of(primitive, KEY_VERSION), &stated,
                             NULL)) {
        if (stated.major != supported.major) {
            v->fit = OBJECT_OTHER_MAJOR;
        } else if (stated.minor > supported.minor && v->fit == OBJECT_FITS) {
            v->fit = OBJECT_NEWER;
        }
    }
    return NULL;
}

static struct error *
check_fit(void *aux, struct json *primitive)
{
    struct object_version stated, supported;
    struct error *error = supported_of(aux, primitive, &stated, &supported);

    if (!error && stated.minor > supported.minor) {
        error = object_incompatible(object_primitive_name(primitive),
                                    json_string_of(primitive, KEY_VERSION),
                                    supported);
    }
    return error;
}

/* A third part goes as well: not every conductor takes one. */
static struct error *
level(void *aux, struct json *primitive)
{
    struct object_version stated, supported;
    char text[OBJECT_VERSION_SIZE];
    struct error *error = supported_of(aux, primitive, &stated, &supported);

    if (error) {
        return error;
    }
    if (stated.minor > supported.minor) {
        stated = supported;
    }
    drop_newer_fields(primitive, stated.minor);
    object_write_datetimes(object_primitive_name(primitive),
                           json_get(primitive, KEY_DATA));
    json_set_string(primitive, KEY_VERSION,
                    object_version_format(stated, text));
    return NULL;
}

static struct error *
supported_of(const struct versions *v, const struct json *primitive,
             struct object_version *ret_stated,
             struct object_version *ret_supported)
{
    const char *name = object_primitive_name(primitive);
    const char *version = json_string_of(primitive, KEY_VERSION);

    if (!name || !v->of(v->aux, name, ret_supported)) {
        const char *shown = name ? name : "";

        return error_new(ERR_UNSUPPORTED_OBJECT, "Unsupported object type %.*s",
                         (int)utf8_cut(shown, QUOTE_MAX), shown);
    }
    if (!object_version_parse(version, ret_stated, NULL) ||
        ret_stated->major != ret_supported->major) {
        return object_incompatible(name, version, *ret_supported);
    }
    return NULL;
}

static void
drop_newer_fields(struct json *primitive, int minor)
{
    const struct object_class *class =
        object_class_find(object_primitive_name(primitive));
    struct json *data = json_get(primitive, KEY_DATA);
    bool dropped = false;
    size_t n = 0;
    const struct object_field *fields = class ? object_fields(class, &n) : NULL;

    for (size_t i = 0; i < n; i++) {
        if (fields[i].since > minor && json_has(data, fields[i].name)) {
            json_remove(data, fields[i].name);
            dropped = true;
        }
    }
    if (dropped) {
        forget_lost_changes(primitive);
    }
}

static void
forget_lost_changes(struct json *primitive)
{
    const struct json *data = json_get(primitive, KEY_DATA);
    struct json *left = json_array();

    json_for_each (name, json_get(primitive, KEY_CHANGES)) {
        if (json_is_string(name) && json_has(data, json_get_string(name))) {
            json_append(left, json_copy(name));
        }
    }
    json_set(primitive, KEY_CHANGES, left);
    if (json_size(left) == 0) {
        json_remove(primitive, KEY_CHANGES);
    }
}

/* Is anything in 'json' changed?  It need not be valid. */
static bool
mark_holders(struct json *json)
{
    bool is_primitive = object_is_primitive(json), any = false;

    json_for_each (value, is_primitive ? json_get(json, KEY_DATA) : json) {
        if (mark_holders(value)) {
            any = true;
            if (is_primitive && json_name(value)) {
                mark(json, json_name(value));
            }
        }
    }
    return any || (is_primitive && json_size(json_get(json, KEY_CHANGES)));
}

static void
mark(struct json *primitive, const char *field)
{
    struct json *changes = json_get(primitive, KEY_CHANGES);

    json_for_each (name, changes) {
        if (str_eq(json_get_string(name), field)) {
            return;
        }
    }
    if (!json_is_array(changes)) {
        changes = json_array();
        json_set(primitive, KEY_CHANGES, changes);
    }
    json_append(changes, json_string(field));
}
