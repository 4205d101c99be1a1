#include <config.h>

#include "drivers/volume.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/host.h"

/* iSCSI by iscsiadm, in the order and with the codes of os-brick.
 *
 * A unit appears below /dev/disk/by-path; it is taken away by the kernel's
 * 'delete', and the session by a logout once no unit of its target is left. */

#define BY_PATH "/dev/disk/by-path"

/* Codes of iscsiadm that say as much as success. */
#define SESSION_EXISTS 15
#define NO_RECORDS 21
#define NO_OBJECTS 255 /* In older versions. */

static struct error *check(const struct volume *volume);
static struct error *connect_iscsi(const struct host *host,
                                   struct volume *volume);
static struct error *disconnect_iscsi(const struct host *host,
                                      const struct volume *volume);
static struct error *describe(const struct volume *volume,
                              struct volume_source *ret);
static struct error *connect_path(const struct host *host,
                                  struct volume *volume,
                                  const struct volume_path *path);
static struct error *log_in(const struct host *host,
                            const struct volume *volume,
                            const struct volume_path *path);
static struct error *find_unit(const struct host *host,
                               const struct volume_path *path,
                               const char *link);
static struct error *disconnect_path(const struct host *host,
                                     const struct volume *volume,
                                     const struct volume_path *path);
static struct error *remove_unit(const struct host *host,
                                 const struct volume_path *path);
static struct error *log_out(const struct host *host,
                             const struct volume_path *path);
static bool has_units(const struct host *host, const struct volume_path *path);

const struct volume_type volume_type_iscsi = {
    .name = "iscsi",
    .check = check,
    .connect = connect_iscsi,
    .disconnect = disconnect_iscsi,
    .describe = describe,
};

static struct error *
check(const struct volume *volume)
{
    if (!volume->n_paths) {
        return error_new(ERR_VALUE, "it has no target");
    }
    for (size_t i = 0; i < volume->n_paths; i++) {
        const struct volume_path *path = &volume->paths[i];
        bool is_bracketed = path->portal && path->portal[0] == '[';
        if (!host_is_plain(path->portal + is_bracketed, ".:]-%") ||
            !host_is_plain(path->iqn, ".:-") || path->lun < 0) {
            return error_new(ERR_VALUE, "portal, name or unit of its target "
                                        "is none");
        }
    }
    return NULL;
}

static char *
unit_link(const struct volume_path *path)
{
    return xasprintf(BY_PATH "/ip-%s-iscsi-%s-lun-%lld", path->portal,
                     path->iqn, (long long)path->lun);
}

/* The first path that leads there. */
static struct error *
connect_iscsi(const struct host *host, struct volume *volume)
{
    struct error *first = NULL;

    for (size_t i = 0; i < volume->n_paths; i++) {
        struct error *error = connect_path(host, volume, &volume->paths[i]);
        if (!error) {
            error_free(first);
            return NULL;
        }
        if (first) {
            error_free(error);
        } else {
            first = error;
        }
    }
    return first;
}

static struct error *
disconnect_iscsi(const struct host *host, const struct volume *volume)
{
    struct error *first = NULL;

    for (size_t i = 0; i < volume->n_paths; i++) {
        struct error *error = disconnect_path(host, volume, &volume->paths[i]);
        if (first) {
            error_free(error);
        } else {
            first = error;
        }
    }
    return first;
}

static struct error *
describe(const struct volume *volume, struct volume_source *ret)
{
    *ret = (struct volume_source){
        .type = "block",
        .path = volume->device_path ? volume->device_path : ""};
    return NULL;
}

/* The target is locked before its unit, by everyone. */
static struct error *
lock_path(const struct host *host, const struct volume_path *path,
          struct host_lock *target, struct host_lock *unit)
{
    AUTO_FREE target_name = xasprintf("iscsi %s %s", path->portal, path->iqn);
    AUTO_FREE unit_name =
        xasprintf("%s %lld", target_name, (long long)path->lun);
    struct error *error = host_lock(host, target_name, target);

    return error ? error : host_lock(host, unit_name, unit);
}

static struct error *
connect_path(const struct host *host, struct volume *volume,
             const struct volume_path *path)
{
    AUTO_FREE claimant = volume_claimant(volume);
    AUTO_FREE link = unit_link(path);
    struct error *error = NULL;
    {
        AUTO_HOST_LOCK target = {-1}, unit = {-1};

        error = lock_path(host, path, &target, &unit);
        if (!error) {
            error = host_claim(&target, claimant);
        }
        if (!error) {
            error = host_claim(&unit, claimant);
        }
        if (!error) {
            error = log_in(host, volume, path);
        }
        if (!error) {
            error = find_unit(host, path, link);
        }
    }
    if (error) {
        error_free(disconnect_path(host, volume, path)); /* The first counts. */
        return error;
    }
    free(volume->device_path);
    volume->device_path = steal(&link);
    return NULL;
}

#define NODE(PATH) \
    "iscsiadm", "-m", "node", "-T", (PATH)->iqn, "-p", (PATH)->portal

/* Any of two codes is success, too. */
static struct error *
run_tolerant(const struct host *host, const char *const *argv, int code,
             int other_code, int *ret_code)
{
    struct command_result result;
    struct error *error = host->run(host->aux, argv, ERR_STORAGE, &result);

    if (error) {
        return error;
    }
    if (ret_code) {
        *ret_code = result.exit_code;
    }
    if (result.exit_code != code && result.exit_code != other_code) {
        error = command_check(argv[0], ERR_STORAGE, &result);
    }
    command_result_close(&result);
    return error;
}
#define RUN_TOLERANT(HOST, CODE, OTHER, RET, ...)                             \
    run_tolerant(HOST, (const char *const[]){__VA_ARGS__, NULL}, CODE, OTHER, \
                 RET)

static struct error *
set_value(const struct host *host, const struct volume_path *path,
          const char *name, const char *value)
{
    return HOST_RUN(host, ERR_STORAGE, NODE(path), "--op", "update", "-n", name,
                    "-v", value);
}

static struct error *
make_record(const struct host *host, const struct volume_path *path)
{
    int code;
    struct error *error =
        RUN_TOLERANT(host, NO_RECORDS, NO_OBJECTS, &code, NODE(path));

    if (error || !code) {
        return error;
    }
    return HOST_RUN(host, ERR_STORAGE, NODE(path), "--interface",
                    host->iscsi_iface ? host->iscsi_iface : "default", "--op",
                    "new");
}

static struct error *
log_in(const struct host *host, const struct volume *volume,
       const struct volume_path *path)
{
    struct error *error = make_record(host, path);

    if (!error && volume->auth_method) {
        error = set_value(host, path, "node.session.auth.authmethod",
                          volume->auth_method);
        if (!error) {
            error =
                set_value(host, path, "node.session.auth.username",
                          volume->auth_username ? volume->auth_username : "");
        }
        if (!error) {
            error =
                set_value(host, path, "node.session.auth.password",
                          volume->auth_password ? volume->auth_password : "");
        }
    }
    if (!error) {
        error = RUN_TOLERANT(host, SESSION_EXISTS, SESSION_EXISTS, NULL,
                             NODE(path), "--login");
    }
    return error ? error : set_value(host, path, "node.startup", "automatic");
}

/* It takes a moment, and a session that was there looks for new units only
 * when it is told to. */
static struct error *
find_unit(const struct host *host, const struct volume_path *path,
          const char *link)
{
    for (unsigned i = 0; i < host->scan_tries; i++) {
        if (host_has(host, link)) {
            return NULL;
        }
        struct error *error =
            HOST_RUN(host, ERR_STORAGE, NODE(path), "--rescan");
        if (error) {
            return error;
        }
        if (host_has(host, link)) {
            return NULL;
        }
        host->wait(host->aux, (i + 1) * (i + 1) * 1000);
    }
    return host_has(host, link)
               ? NULL
               : error_new(ERR_STORAGE, "'%s' did not appear", link);
}

static struct error *
disconnect_path(const struct host *host, const struct volume *volume,
                const struct volume_path *path)
{
    AUTO_FREE claimant = volume_claimant(volume);
    AUTO_HOST_LOCK target = {-1}, unit = {-1};
    bool is_last = false;

    struct error *error = lock_path(host, path, &target, &unit);
    if (!error) {
        error = host_disclaim(&unit, claimant, &is_last);
    }
    if (!error && is_last) {
        error = remove_unit(host, path);
    }
    if (!error) {
        error = host_disclaim(&target, claimant, &is_last);
    }
    if (!error && is_last && !has_units(host, path)) {
        error = log_out(host, path);
    }
    return error;
}

static struct error *
remove_unit(const struct host *host, const struct volume_path *path)
{
    AUTO_FREE link = unit_link(path);
    AUTO_FREE real_link = host_path(host, "%s", link);
    AUTO_FREE device = realpath(real_link, NULL);

    if (!device) {
        return NULL; /* It is gone already. */
    }
    const char *name = strrchr(device, '/') + 1;
    AUTO_FREE switch_path = xasprintf("/sys/block/%s/device/delete", name);
    struct error *error =
        HOST_RUN(host, ERR_STORAGE, "blockdev", "--flushbufs", device);

    return error ? error : host_write(host, switch_path, "1", ERR_STORAGE);
}

static struct error *
log_out(const struct host *host, const struct volume_path *path)
{
    struct error *error =
        RUN_TOLERANT(host, NO_RECORDS, NO_OBJECTS, NULL, NODE(path), "--op",
                     "update", "-n", "node.startup", "-v", "manual");

    if (!error) {
        error = RUN_TOLERANT(host, NO_RECORDS, NO_OBJECTS, NULL, NODE(path),
                             "--logout");
    }
    return error ? error
                 : RUN_TOLERANT(host, NO_RECORDS, NO_OBJECTS, NULL, NODE(path),
                                "--op", "delete");
}

/* Of this target: there may be some that nobody claims, of guests that were
 * here before the agent. */
static bool
has_units(const struct host *host, const struct volume_path *path)
{
    AUTO_FREE removed = unit_link(path);
    AUTO_FREE prefix =
        xasprintf("ip-%s-iscsi-%s-lun-", path->portal, path->iqn);
    AUTO_FREE directory_path = host_path(host, BY_PATH);
    DIR *directory = opendir(directory_path);
    struct dirent *entry;
    bool found = false;

    while (directory && !found && (entry = readdir(directory))) {
        /* The link of the one just removed goes a moment later, those of its
         * partitions too. */
        size_t own = strlen(removed) - strlen(BY_PATH "/");
        bool is_own =
            strncmp(entry->d_name, removed + strlen(BY_PATH "/"), own) == 0 &&
            (entry->d_name[own] == '\0' || entry->d_name[own] == '-');
        found = !is_own && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    if (directory) {
        closedir(directory);
    }
    return found;
}
