#include <config.h>

#include "drivers/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/disk_image.h"

static struct error *enter_probe(struct fake *, enum fake_op,
                                 const char *directory, const char *name,
                                 char **ret_path);
static struct error *check_disk(struct fake *, const struct prepare_request *,
                                const struct prepare_disk *);
static struct error *check_is_free(struct fake *, const char *path);
static void remove_tree(struct fake_store *, const char *host,
                        const char *path);
static void remove_seen(struct fake *, const char *path);
static void hosts_seen_by(struct fake_store *, const char *host,
                          struct fake_names *ret);
static char *encode(const char *path);
static char *decode(const char *name);
static char *file_key(const char *host, const char *path);

struct error *
fake_probe_create(void *state, const char *directory, char **ret_name)
{
    static unsigned counter;
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    AUTO_FREE name =
        xasprintf("tmp%08x%04x", (unsigned)uv_os_getpid(), counter++ & 0xffff);
    struct error *error =
        enter_probe(fake, FAKE_probe_create, directory, name, &path);
    if (!error) {
        error = fake_file_add(fake->store, fake->host, path, "probe");
    }
    if (!error) {
        *ret_name = steal(&name);
    }
    return error;
}

struct error *
fake_probe_exists(void *state, const char *directory, const char *name,
                  bool *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    struct error *error =
        enter_probe(fake, FAKE_probe_exists, directory, name, &path);
    if (!error) {
        *ret = fake_file_exists(fake->store, fake->host, path);
    }
    return error;
}

struct error *
fake_probe_remove(void *state, const char *directory, const char *name)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    struct error *error =
        enter_probe(fake, FAKE_probe_remove, directory, name, &path);
    if (!error) {
        remove_seen(fake, path);
    }
    return error;
}

struct error *
fake_prepare(void *state, const struct prepare_request *request)
{
    struct fake *fake = state;
    const char *root, *rest;
    size_t n_made = 0;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_prepare);
    if (!error && request->directory) {
        error = disk_path_resolve(&fake->roots, request->directory, false,
                                  &root, &rest);
    }
    for (size_t i = 0; !error && i < request->n_disks; i++) {
        error = check_disk(fake, request, &request->disks[i]);
    }
    if (!error && request->directory) {
        error = check_is_free(fake, request->directory);
    }
    if (error || request->only_check) {
        return error;
    }
    if (request->directory) {
        error =
            fake_file_add(fake->store, fake->host, request->directory, "dir");
    }
    while (!error && n_made < request->n_disks) {
        const struct prepare_disk *disk = &request->disks[n_made];
        AUTO_FREE text = disk->file_size ? xstrdup(FAKE_EMPTY)
                                         : xasprintf("disk %s", disk->format);

        error = fake_file_add(fake->store, fake->host, disk->path, text);
        n_made += !error;
    }
    if (error) {
        while (n_made--) {
            remove_seen(fake, request->disks[n_made].path);
        }
        if (request->directory) {
            remove_seen(fake, request->directory);
        }
    }
    return error;
}

struct error *
fake_unprepare(void *state, const struct prepare_request *request)
{
    struct fake *fake = state;
    const char *root, *rest;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_unprepare);
    enum guest_presence presence =
        fake_look(fake->store, fake->host, request->uuid, NULL);
    if (!error && presence != GUEST_ABSENT && presence != GUEST_OFF) {
        error =
            error_new(ERR_INVALID, "guest '%s' is active here", request->uuid);
    }
    for (size_t i = 0; !error && i < request->n_disks; i++) {
        error = disk_path_resolve(&fake->roots, request->disks[i].path, false,
                                  &root, &rest);
    }
    if (!error && request->directory) {
        error = disk_path_resolve(&fake->roots, request->directory, false,
                                  &root, &rest);
    }
    if (error) {
        return error;
    }
    for (size_t i = 0; i < request->n_disks; i++) {
        remove_seen(fake, request->disks[i].path);
    }
    if (request->directory) {
        remove_seen(fake, request->directory);
    }
    return NULL;
}

char *
fake_file_get(struct fake_store *store, const char *host, const char *path)
{
    CLEANUP(fake_names_close) struct fake_names hosts;
    char *text = NULL;

    hosts_seen_by(store, host, &hosts);
    for (size_t i = 0; !text && i < hosts.n; i++) {
        AUTO_FREE key = file_key(hosts.names[i], path);

        text = fake_store_get(store, key);
    }
    return text;
}

void
fake_file_remove(struct fake *fake, const char *path)
{
    remove_seen(fake, path);
}

bool
fake_file_exists(struct fake_store *store, const char *host, const char *path)
{
    CLEANUP(fake_names_close) struct fake_names hosts;
    bool exists = false;

    hosts_seen_by(store, host, &hosts);
    for (size_t i = 0; i < hosts.n; i++) {
        AUTO_FREE key = file_key(hosts.names[i], path);

        exists |= fake_store_has(store, key);
    }
    return exists;
}

struct error *
fake_file_add(struct fake_store *store, const char *host, const char *path,
              const char *text)
{
    AUTO_FREE key = file_key(host, path);

    return fake_store_put(store, key, text);
}

char *
fake_files_list(struct fake_store *store, const char *host)
{
    AUTO_FREE group = xasprintf(".files.%s", host);
    CLEANUP(fake_names_close) struct fake_names names;
    char *list = NULL;
    size_t size;
    FILE *out = open_memstream(&list, &size);

    fake_store_list(store, group, &names);
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE key = xasprintf("%s/%s", group, names.names[i]);
        AUTO_FREE text = fake_store_get(store, key);
        AUTO_FREE path = decode(names.names[i]);

        fprintf(out, "file %s %s\n", path, text ? text : "");
    }
    fclose(out);
    return list;
}

static struct error *
enter_probe(struct fake *fake, enum fake_op op, const char *directory,
            const char *name, char **ret_path)
{
    const char *root, *rest;
    struct error *error = fake_enter(fake, op);

    if (!error) {
        error = disk_name_check(name);
    }
    if (!error && directory) {
        error = disk_path_resolve(&fake->roots, directory, true, &root, &rest);
    }
    if (!error) {
        *ret_path = xasprintf(
            "%s/%s", directory ? directory : fake->roots.paths[0], name);
    }
    return error;
}

/* As drivers/disk.c does, but for links, of which there are none here. */
static struct error *
check_disk(struct fake *fake, const struct prepare_request *request,
           const struct prepare_disk *disk)
{
    struct disk_image image = {
        disk->format, disk->virtual_size, disk->backing_path,
        disk->backing_format ? disk->backing_format : "raw"};
    const char *root, *rest, *given = disk->backing_path;
    struct error *error =
        disk_path_resolve(&fake->roots, disk->path, false, &root, &rest);

    if (!error) {
        error = error_wrap(disk_image_check(&image), "disk '%s'", disk->path);
    }
    if (error) {
        return error;
    }
    AUTO_FREE parent =
        xstrndup(disk->path, (size_t)(strrchr(disk->path, '/') - disk->path));
    if (!str_eq(parent, root) && !str_eq(parent, request->directory) &&
        !fake_file_exists(fake->store, fake->host, parent)) {
        return error_new(ERR_NOT_FOUND, "there is no directory '%s'", parent);
    }
    error = check_is_free(fake, disk->path);
    if (error || !given) {
        return error;
    }
    AUTO_FREE backing = strchr(given, '/')
                            ? xstrdup(given)
                            : disk_path_of_image(&fake->roots, given);
    error = disk_path_resolve(&fake->roots, backing, false, &root, &rest);
    if (error) {
        return error_wrap(error, "backing file of '%s'", disk->path);
    }
    AUTO_FREE text = fake_file_get(fake->store, fake->host, backing);
    if (!text) {
        return error_new(ERR_MIGRATION,
                         "backing file '%s' of '%s' is not on this host", given,
                         disk->path);
    }
    if (disk->backing_format &&
        !str_eq(disk->backing_format, fake_image_format(text))) {
        return error_new(ERR_MIGRATION,
                         "backing file '%s' of '%s' is said to be '%s', and is "
                         "not",
                         given, disk->path, disk->backing_format);
    }
    return NULL;
}

static struct error *
check_is_free(struct fake *fake, const char *path)
{
    if (fake_file_exists(fake->store, fake->host, path)) {
        return error_set_arg(
            error_new(ERR_DESTINATION_DISK_EXISTS, "'%s' exists already", path),
            "path", path);
    }
    return NULL;
}

static void
remove_tree(struct fake_store *store, const char *host, const char *path)
{
    AUTO_FREE group = xasprintf(".files.%s", host);
    AUTO_FREE below = xasprintf("%s/", path);
    CLEANUP(fake_names_close) struct fake_names names;

    fake_store_list(store, group, &names);
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE key = xasprintf("%s/%s", group, names.names[i]);
        AUTO_FREE name = decode(names.names[i]);

        if (str_eq(name, path) || !strncmp(name, below, strlen(below))) {
            fake_store_remove(store, key);
        }
    }
}

static void
remove_seen(struct fake *fake, const char *path)
{
    CLEANUP(fake_names_close) struct fake_names hosts;

    hosts_seen_by(fake->store, fake->host, &hosts);
    for (size_t i = 0; i < hosts.n; i++) {
        remove_tree(fake->store, hosts.names[i], path);
    }
}

static void
hosts_seen_by(struct fake_store *store, const char *host,
              struct fake_names *ret)
{
    if (fake_store_has(store, ".shared")) {
        fake_store_list(store, ".hosts", ret);
        return;
    }
    *ret = (struct fake_names){xcalloc(1, sizeof *ret->names), 1};
    ret->names[0] = xstrdup(host);
}

/* A path as the name of a file: '+' for each slash, '%' and what was '+' or
 * '%' for itself. */
static char *
encode(const char *path)
{
    char *name = xmalloc(strlen(path) * 2 + 1), *to = name;

    for (; *path; path++) {
        if (*path == '+' || *path == '%') {
            *to++ = '%';
        }
        *to++ = *path;
        if (*path == '/') {
            to[-1] = '+';
        }
    }
    *to = '\0';
    return name;
}

static char *
decode(const char *name)
{
    char *path = xmalloc(strlen(name) + 1), *to = path;

    for (; *name; name++) {
        if (*name == '%' && name[1]) {
            *to++ = *++name;
        } else {
            *to++ = *name == '+' ? '/' : *name;
        }
    }
    *to = '\0';
    return path;
}

static char *
file_key(const char *host, const char *path)
{
    AUTO_FREE name = encode(path);

    return xasprintf(".files.%s/%s", host, name);
}
