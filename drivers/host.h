#ifndef DROVER_DRIVERS_HOST_H
#define DROVER_DRIVERS_HOST_H

/* The hands with which volumes are connected to this host and interfaces
 * plugged: its programs, its devices, and a memory of who uses what.
 *
 * Several guests may use one thing, as a mount or an iSCSI session is.  Each
 * user has a claim on it, an empty file below 'claims_path', made before the
 * thing is and removed before it goes; only the last one takes the thing away.
 * Claims outlive the daemon.  Whoever holds the lock of a thing is alone with
 * it, also among processes.
 *
 * Threads: workers.  A struct host is not changed while they use it. */

#include "agent/base/command.h"
#include "agent/base/error.h"

struct host {
    /* Runs 'argv' (ending with null) and stores what it wrote and its exit
     * code; host_run_command() but in tests. */
    struct error *(*run)(void *aux, const char *const *argv,
                         enum error_code code, struct command_result *ret);
    /* Waits; host_wait() but in tests. */
    void (*wait)(void *aux, unsigned ms);
    void *aux;
    const char *root; /* Before the paths of devices and of the kernel's
                       * files: "" but in tests. */

    /* Settings. */
    const char *claims_path;
    const char *nfs_mount_point_base;
    const char *nfs_mount_options;          /* Null: none. */
    const char *iscsi_iface;                /* Null: the default. */
    unsigned scan_tries;                    /* num_volume_scan_tries */
    const char *rbd_user, *rbd_secret_uuid; /* Null: not set. */
};

/* 'aux' is an atomic_bool by which both are ended. */
struct error *host_run_command(void *aux, const char *const *argv,
                               enum error_code code,
                               struct command_result *ret);
void host_wait(void *aux, unsigned ms);

/* Runs the program with these arguments.  A code of exit other than 0 is an
 * error, of 'code'. */
struct error *host_run(const struct host *host, enum error_code code,
                       const char *const *argv) WARN_UNUSED;
#define HOST_RUN(HOST, CODE, ...) \
    host_run(HOST, CODE, (const char *const[]){__VA_ARGS__, NULL})

/* Only of letters, digits and 'others', at least one, and no '-' at the
 * beginning, which would make an option of it, and no '.', which would hide it
 * or lead away.  Null is not. */
bool host_is_plain(const char *text, const char *others);

/* Below the root. */
char *host_path(const struct host *host, const char *fmt, ...)
    PRINTF_FORMAT(2, 3); /* The caller's. */
bool host_has(const struct host *host, const char *path);
bool host_has_link(const struct host *host, const char *name); /* Network. */
struct error *host_write(const struct host *host, const char *path,
                         const char *text, enum error_code code) WARN_UNUSED;

/* Names of the network links, but for those of single guests, as tap devices
 * are; the array, which ends with null, is the caller's. */
char **host_links(const struct host *host);

/* Claims. */

struct host_lock {
    int fd; /* -1: not held. */
};

/* 'thing' is any text.  Waits for whoever has it, who is bounded by the
 * deadlines of programs. */
struct error *host_lock(const struct host *host, const char *thing,
                        struct host_lock *ret) WARN_UNUSED;
void host_unlock(struct host_lock *lock);
#define AUTO_HOST_LOCK CLEANUP(host_unlock) struct host_lock

/* With the lock held.  Twice is once. */
struct error *host_claim(const struct host_lock *lock,
                         const char *user) WARN_UNUSED;
/* Stores whether nobody else claims the thing. */
struct error *host_disclaim(const struct host_lock *lock, const char *user,
                            bool *ret_is_last) WARN_UNUSED;

/* MD5, as it is in the names of directories that others make too; 33 bytes. */
void host_hash(const char *text, char ret[33]);

#endif
