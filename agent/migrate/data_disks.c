#include <config.h>

#include "agent/migrate/data.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migrate/rules.h"
#include "agent/monitor.h"
#include "rpc/utf8.h"

#define DISKS_MAX 256
#define SIZE_MAX_BYTES (INT64_C(1) << 56)

/* Where Nova keeps the images that disks are laid over. */
#define CACHE_DIRECTORY "_base"

static struct json *describe_disk(const struct guest_disk *disk);
static bool is_file_copied(const struct guest_rest *rest,
                           const struct guest_file *file, bool copies_disks,
                           const char *shared);
static struct json *describe_file(const struct guest *guest,
                                  const struct guest_file *file);
static const char *backing_name(const char *path);
static struct error *parse_disk(const struct json *json,
                                struct prepare_disk *ret);
static struct error *check_disk(const struct json *json);
static bool is_path(const char *path);
static bool is_bare_name(const char *name);
static bool is_format(const char *format);

char *
migrate_data_disks_format(const struct guest *guest)
{
    AUTO_JSON list = json_array();

    for (size_t i = 0; i < guest->n_disks; i++) {
        if (migrate_rules_is_copied(&guest->disks[i])) {
            json_append(list, describe_disk(&guest->disks[i]));
        }
    }
    return json_print(list, NULL);
}

char *
migrate_data_files_format(const struct guest_rest *rest, bool copies_disks,
                          const char *shared)
{
    AUTO_JSON list = json_array();

    for (size_t i = 0; i < rest->n_files; i++) {
        const struct guest_file *file = &rest->files[i];

        if (is_file_copied(rest, file, copies_disks, shared)) {
            json_append(list, describe_file(rest->guest, file));
        }
    }
    return json_print(list, NULL);
}

struct error *
migrate_data_disks_parse(const char *text, const char *uuid,
                         const char *directory, struct prepare_request **ret)
{
    AUTO_JSON list = NULL;
    struct error *error = text ? json_parse(text, strlen(text), &list) : NULL;

    if (error) {
        AUTO_ERROR cause = error;
        return error_new(ERR_VALUE, "list of disks: %s", error_message(cause));
    }
    if (list && !json_is_null(list) &&
        (!json_is_array(list) || json_size(list) > DISKS_MAX)) {
        return error_new(ERR_VALUE, "list of disks: no list, or too long");
    }

    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = xzalloc(sizeof *request);
    request->uuid = xstrdup(uuid);
    request->directory = xstrdup_null(directory);
    request->disks = xcalloc(json_size(list) + 1, sizeof *request->disks);
    json_for_each (json, list) {
        struct prepare_disk *disk = &request->disks[request->n_disks];

        error = parse_disk(json, disk);
        for (size_t i = 0; i < request->n_disks && !error; i++) {
            if (str_eq(request->disks[i].path, disk->path)) {
                error = error_new(ERR_VALUE, "'%s' is named twice", disk->path);
            }
        }
        request->n_disks++; /* Half a disk is freed with the others. */
        if (error) {
            return error_wrap(error, "list of disks");
        }
    }
    *ret = steal(&request);
    return NULL;
}

double
migrate_data_gb(int memory_mb, const char *disks)
{
    AUTO_JSON list = NULL;
    AUTO_ERROR error = disks ? json_parse(disks, strlen(disks), &list) : NULL;
    int64_t sizes[DISKS_MAX];
    size_t n = 0;

    if (!error && json_is_array(list)) {
        json_for_each (disk, list) {
            if (n < DISKS_MAX) {
                sizes[n++] = json_int_of(disk, "disk_size");
            }
        }
    }
    return monitor_data_gb(memory_mb, sizes, n);
}

/* Nova's keys, and one of ours, which Nova does not look at. */
static struct json *
describe_disk(const struct guest_disk *disk)
{
    struct json *json = json_object();
    int64_t grows = disk->virtual_size - disk->allocated_size;

    json_set_string(json, "type", disk->format);
    json_set_string(json, "path", disk->path);
    json_set_int(json, "virt_disk_size", disk->virtual_size);
    json_set_string(json, "backing_file",
                    disk->backing_path ? backing_name(disk->backing_path) : "");
    json_set_int(json, "disk_size", disk->allocated_size);
    json_set_int(json, "over_committed_disk_size", grows > 0 ? grows : 0);
    if (disk->backing_path && disk->backing_format) {
        json_set_string(json, "backing_format", disk->backing_format);
    }
    return json;
}

static const struct guest_disk *
disk_of(const struct guest *guest, const char *path)
{
    for (size_t i = 0; i < guest->n_disks; i++) {
        if (str_eq(guest->disks[i].path, path)) {
            return &guest->disks[i];
        }
    }
    return NULL;
}

/* What is no disk of the guest's is this host's, unless it lies beside the
 * disks that the hosts share. */
static bool
is_file_copied(const struct guest_rest *rest, const struct guest_file *file,
               bool copies_disks, const char *shared)
{
    const struct guest_disk *disk = disk_of(rest->guest, file->path);
    size_t size = shared ? strlen(shared) : 0;

    if (disk) {
        return copies_disks && migrate_rules_is_copied(disk);
    }
    return !shared || strncmp(file->path, shared, size) ||
           file->path[size] != '/';
}

/* As a disk, with two more keys of ours.  The bytes of an unusual image are
 * bytes like others. */
static struct json *
describe_file(const struct guest *guest, const struct guest_file *file)
{
    const struct guest_disk *disk = disk_of(guest, file->path);
    struct guest_disk plain = disk ? *disk : (struct guest_disk){NULL};
    char raw[] = "raw";

    plain.path = file->path;
    plain.allocated_size = file->size;
    if (!plain.format || !is_format(plain.format)) {
        plain.format = raw;
        plain.backing_path = NULL;
    }
    if (plain.virtual_size <= 0) {
        plain.virtual_size = file->size;
    }
    struct json *json = describe_disk(&plain);
    json_set_int(json, "file_size", file->size);
    json_set_int(json, "file_mode", file->mode);
    return json;
}

/* An image of the cache by its name, as each host may keep its cache where it
 * likes; any other file by its path. */
static const char *
backing_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;
    size_t n = strlen(CACHE_DIRECTORY);

    if (size > n && path[size - n - 1] == '/' &&
        strncmp(path + size - n, CACHE_DIRECTORY, n) == 0) {
        return slash + 1;
    }
    return path;
}

static struct error *
parse_disk(const struct json *json, struct prepare_disk *ret)
{
    struct error *error = check_disk(json);

    if (error) {
        return error;
    }
    const char *backing = json_string_of(json, "backing_file");
    ret->path = xstrdup(json_string_of(json, "path"));
    ret->format = xstrdup(json_string_of(json, "type"));
    ret->virtual_size = json_int_of(json, "virt_disk_size");
    ret->file_size = json_int_of(json, "file_size");
    ret->file_mode = (unsigned)json_int_of(json, "file_mode") & 0777;
    if (backing && *backing) {
        const char *format = json_string_of(json, "backing_format");
        ret->backing_path = xstrdup(backing);
        ret->backing_format = xstrdup_null(format); /* Nova does not tell. */
    }
    return NULL;
}

static struct error *
check_disk(const struct json *json)
{
    const char *path = json_string_of(json, "path");
    const char *type = json_string_of(json, "type");
    const struct json *size = json_get(json, "virt_disk_size");
    const struct json *backing = json_get(json, "backing_file");
    const struct json *format = json_get(json, "backing_format");

    if (!path || !is_path(path)) {
        return error_new(ERR_VALUE, "a disk has no path, or a relative one");
    }
    if (!type || !is_format(type)) {
        return error_new(ERR_VALUE, "type of '%s' is neither qcow2 nor raw",
                         path);
    }
    if (!json_is_int(size) || json_get_int(size) <= 0 ||
        json_get_int(size) > SIZE_MAX_BYTES) {
        return error_new(ERR_VALUE, "size of '%s' is none", path);
    }
    if (json_int_of(json, "file_size") < 0 ||
        json_int_of(json, "file_size") > SIZE_MAX_BYTES) {
        return error_new(ERR_VALUE, "size of the file '%s' is none", path);
    }
    if (backing && !json_is_null(backing)) {
        const char *name = json_get_string(backing);
        if (!name || (*name && !is_path(name) && !is_bare_name(name))) {
            return error_new(ERR_VALUE, "backing file of '%s' is no file",
                             path);
        }
        if (*name && !str_eq(type, "qcow2")) {
            return error_new(ERR_VALUE, "'%s' can't have a backing file", path);
        }
    }
    if (format && !json_is_null(format) &&
        (!json_is_string(format) || !is_format(json_get_string(format)))) {
        return error_new(ERR_VALUE,
                         "format of the backing file of '%s' is neither qcow2 "
                         "nor raw",
                         path);
    }
    return NULL;
}

/* Absolute, of proper components. */
static bool
is_path(const char *path)
{
    size_t size = strlen(path);

    if (path[0] != '/' || size < 2 || size >= PATH_MAX) {
        return false;
    }
    for (const char *p = path; *p;) {
        size_t n = strcspn(p + 1, "/");
        AUTO_FREE component = xstrndup(p + 1, n);
        if (!is_bare_name(component)) {
            return false;
        }
        p += n + 1;
    }
    return true;
}

static bool
is_bare_name(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size > NAME_MAX || str_eq(name, ".") ||
        str_eq(name, "..") || strchr(name, '/') || utf8_has_nul(name)) {
        return false;
    }
    for (const char *p = name; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool
is_format(const char *format)
{
    return str_eq(format, "qcow2") || str_eq(format, "raw");
}
