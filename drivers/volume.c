#include <config.h>

#include "drivers/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "drivers/host.h"

static struct error *local_check(const struct volume *volume);
static struct error *local_connect(const struct host *host,
                                   struct volume *volume);
static struct error *local_describe(const struct volume *volume,
                                    struct volume_source *ret);
static struct error *rbd_check(const struct volume *volume);
static struct error *rbd_describe(const struct volume *volume,
                                  struct volume_source *ret);
static struct error *nothing_to_connect(const struct host *host,
                                        struct volume *volume);
static struct error *nothing_to_disconnect(const struct host *host,
                                           const struct volume *volume);

static const struct volume_type volume_type_local = {
    .name = "local",
    .check = local_check,
    .connect = local_connect,
    .disconnect = nothing_to_disconnect,
    .describe = local_describe,
};

/* QEMU is a client of Ceph itself. */
static const struct volume_type volume_type_rbd = {
    .name = "rbd",
    .check = rbd_check,
    .connect = nothing_to_connect,
    .disconnect = nothing_to_disconnect,
    .describe = rbd_describe,
};

static const struct volume_type *const types[] = {
    &volume_type_iscsi,
    &volume_type_local,
    &volume_type_nfs,
    &volume_type_rbd,
};

static const struct volume_type *find_type(const char *name);

static void
strings_free(char **strings, size_t n)
{
    for (size_t i = 0; strings && i < n; i++) {
        free(strings[i]);
    }
    free(strings);
}

static char **
strings_copy(char *const *strings, size_t n)
{
    char **copy = xcalloc(n, sizeof *copy);

    for (size_t i = 0; i < n; i++) {
        copy[i] = xstrdup_null(strings[i]);
    }
    return copy;
}

/* Its strings. */
static const size_t strings[] = {
    offsetof(struct volume, type),
    offsetof(struct volume, id),
    offsetof(struct volume, user),
    offsetof(struct volume, device_path),
    offsetof(struct volume, format),
    offsetof(struct volume, share),
    offsetof(struct volume, options),
    offsetof(struct volume, name),
    offsetof(struct volume, auth_method),
    offsetof(struct volume, auth_username),
    offsetof(struct volume, auth_password),
    offsetof(struct volume, ceph_user),
    offsetof(struct volume, ceph_secret),
    offsetof(struct volume, target),
    offsetof(struct volume, bus),
    offsetof(struct volume, encryption_secret_uuid),
};

static char **
string_at(struct volume *volume, size_t i)
{
    return (char **)(void *)((char *)volume + strings[i]);
}

void
volume_free(struct volume *volume)
{
    if (!volume) {
        return;
    }
    for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
        free(*string_at(volume, i));
    }
    for (size_t i = 0; i < volume->n_paths; i++) {
        free(volume->paths[i].portal);
        free(volume->paths[i].iqn);
    }
    free(volume->paths);
    strings_free(volume->hosts, volume->n_hosts);
    strings_free(volume->ports, volume->n_hosts);
    free(volume);
}

struct volume *
volume_copy(const struct volume *volume)
{
    struct volume *copy = xmemdup(volume, sizeof *volume);

    for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
        *string_at(copy, i) = xstrdup_null(*string_at(copy, i));
    }
    copy->paths = xcalloc(volume->n_paths, sizeof *copy->paths);
    for (size_t i = 0; i < volume->n_paths; i++) {
        copy->paths[i] = (struct volume_path){
            .portal = xstrdup_null(volume->paths[i].portal),
            .iqn = xstrdup_null(volume->paths[i].iqn),
            .lun = volume->paths[i].lun,
        };
    }
    copy->hosts = strings_copy(volume->hosts, volume->n_hosts);
    copy->ports = strings_copy(volume->ports, volume->n_hosts);
    return copy;
}

void
volume_list_close(struct volume_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        volume_free(list->volumes[i]);
    }
    free(list->volumes);
    *list = (struct volume_list){0};
}

void
volume_list_add(struct volume_list *list, struct volume *volume)
{
    list->volumes =
        xrealloc(list->volumes, (list->n + 1) * sizeof *list->volumes);
    list->volumes[list->n++] = volume;
}

struct volume_list
volume_list_copy(const struct volume_list *list)
{
    struct volume_list copy = {0};

    for (size_t i = 0; i < list->n; i++) {
        volume_list_add(&copy, volume_copy(list->volumes[i]));
    }
    return copy;
}

struct error *
volume_check(const struct volume *volume)
{
    const struct volume_type *type = find_type(volume->type);

    if (!type) {
        return error_set_arg(error_new(ERR_VOLUME_DRIVER_NOT_FOUND,
                                       "volumes of type '%s' are not known",
                                       volume->type ? volume->type : ""),
                             "driver_type", volume->type ? volume->type : "");
    }
    if (!host_is_plain(volume->id, "._-") ||
        !host_is_plain(volume->user, "._-")) {
        return error_new(ERR_VALUE, "a volume or its instance has no id");
    }
    if (!host_is_plain(volume->format, "_-")) {
        return error_new(ERR_VALUE, "the format of volume '%s' is none",
                         volume->id);
    }
    return error_wrap(type->check(volume), "volume '%s'", volume->id);
}

struct error *
volume_connect(const struct host *host, struct volume *volume)
{
    struct error *error = volume_check(volume);

    return error ? error
                 : error_wrap(find_type(volume->type)->connect(host, volume),
                              "connect volume '%s'", volume->id);
}

struct error *
volume_disconnect(const struct host *host, const struct volume *volume)
{
    struct error *error = volume_check(volume);

    return error ? error
                 : error_wrap(find_type(volume->type)->disconnect(host, volume),
                              "disconnect volume '%s'", volume->id);
}

struct error *
volume_describe(const struct volume *volume, struct volume_source *ret)
{
    struct volume_source source = {0};
    struct error *error = volume_check(volume);

    if (!error) {
        error = find_type(volume->type)->describe(volume, &source);
    }
    if (!error && source.path && !volume_is_path(source.path)) {
        error = error_new(ERR_VALUE, "volume '%s' has no path", volume->id);
    }
    if (!error) {
        *ret = source;
    }
    return error;
}

char *
volume_claimant(const struct volume *volume)
{
    return xasprintf("%s_%s", volume->user, volume->id);
}

bool
volume_is_path(const char *text)
{
    if (!text || *text != '/' || strlen(text) > 4095) {
        return false;
    }
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127) {
            return false;
        }
    }
    const char *up = strstr(text, "/..");
    return !up || (up[3] != '/' && up[3] != '\0');
}

static const struct volume_type *
find_type(const char *name)
{
    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        if (str_eq(types[i]->name, name)) {
            return types[i];
        }
    }
    return NULL;
}

/* local */

static struct error *
local_check(const struct volume *volume)
{
    return volume_is_path(volume->device_path)
               ? NULL
               : error_new(ERR_VALUE, "it has no absolute path");
}

static struct error *
local_connect(const struct host *host, struct volume *volume)
{
    AUTO_FREE path = host_path(host, "%s", volume->device_path);
    struct stat st;

    if (stat(path, &st)) {
        return error_new(ERR_STORAGE, "look at '%s': %s", path,
                         strerror(errno));
    }
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
        return error_new(ERR_STORAGE, "'%s' is no file and no block device",
                         path);
    }
    volume->is_file = S_ISREG(st.st_mode);
    return NULL;
}

static struct error *
local_describe(const struct volume *volume, struct volume_source *ret)
{
    *ret = (struct volume_source){
        .type = volume->is_file ? "file" : "block",
        .path = volume->device_path,
    };
    return NULL;
}

/* rbd */

static struct error *
rbd_check(const struct volume *volume)
{
    if (!host_is_plain(volume->name, "/._@:-")) {
        return error_new(ERR_VALUE, "it has no image");
    }
    for (size_t i = 0; i < volume->n_hosts; i++) {
        if (!host_is_plain(volume->hosts[i], ".:[]_-%") &&
            !(volume->hosts[i] && volume->hosts[i][0] == ':')) {
            return error_new(ERR_VALUE, "one of its monitors has no name");
        }
        if (volume->ports[i] && !host_is_plain(volume->ports[i], "")) {
            return error_new(ERR_VALUE, "one of its monitors has no port");
        }
    }
    if (volume->ceph_user && (!host_is_plain(volume->ceph_user, "._-") ||
                              !host_is_plain(volume->ceph_secret, "-"))) {
        return error_new(ERR_VALUE, "its user has no name or no secret");
    }
    return NULL;
}

static struct error *
rbd_describe(const struct volume *volume, struct volume_source *ret)
{
    *ret = (struct volume_source){
        .type = "network", .protocol = "rbd", .name = volume->name};
    return NULL;
}

static struct error *
nothing_to_connect(const struct host *host UNUSED, struct volume *volume UNUSED)
{
    return NULL;
}

static struct error *
nothing_to_disconnect(const struct host *host UNUSED,
                      const struct volume *volume UNUSED)
{
    return NULL;
}
