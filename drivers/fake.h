#ifndef DROVER_DRIVERS_FAKE_H
#define DROVER_DRIVERS_FAKE_H

/* The fake driver: as many guests as wanted, and a hypervisor that fails,
 * hangs, and loses answers when told to.
 *
 * Hosts live in a world (drivers/fake_store.h): drivers that are opened with
 * the same world are hosts that can send guests to each other, in one process
 * or in several.  What is in the world:
 *
 *   HOST/UUID             a guest; at one host at any time
 *   .hosts/HOST           a host there is
 *   .down/HOST            its hypervisor can't be reached
 *   .born/UUID            a guest that was made once, not to be made again
 *   .incoming.HOST/UUID   a guest on its way to HOST
 *   .files.HOST/PATH      a directory, disk, image, probe file or saved
 *                         state
 *   .served.HOST/UUID     a file of that guest that may be written to
 *   .shared               files of one host are seen by all
 *
 * Threads: one mutex guards the world and all drivers of the process; the
 * functions below are called under it where not said otherwise.  Waiting is
 * done on one condition, which tells of any change. */

#include <stdatomic.h>
#include <uv.h>

#include "drivers/disk_path.h"
#include "drivers/driver.h"
#include "drivers/fake_guest.h"
#include "drivers/fake_store.h"

/* What can be told to fail: the entries of struct driver_ops, and the moment
 * in which a guest changes hosts. */
#define FAKE_OPS                   \
    FAKE_OP(host_get)              \
    FAKE_OP(host_resources)        \
    FAKE_OP(host_uptime)           \
    FAKE_OP(compare_cpu)           \
    FAKE_OP(guest_list)            \
    FAKE_OP(guest_get)             \
    FAKE_OP(peer_presence)         \
    FAKE_OP(probe_create)          \
    FAKE_OP(probe_exists)          \
    FAKE_OP(probe_remove)          \
    FAKE_OP(prepare)               \
    FAKE_OP(unprepare)             \
    FAKE_OP(migrate)               \
    FAKE_OP(migrate_abort)         \
    FAKE_OP(migrate_break)         \
    FAKE_OP(migrate_set_downtime)  \
    FAKE_OP(migrate_get_downtime)  \
    FAKE_OP(migrate_throttle)      \
    FAKE_OP(migrate_set_bandwidth) \
    FAKE_OP(migrate_get_bandwidth) \
    FAKE_OP(migrate_postcopy)      \
    FAKE_OP(job_get)               \
    FAKE_OP(dirty_rate_start)      \
    FAKE_OP(dirty_rate_get)        \
    FAKE_OP(suspend)               \
    FAKE_OP(resume)                \
    FAKE_OP(power_on)              \
    FAKE_OP(shut_down)             \
    FAKE_OP(power_off)             \
    FAKE_OP(console_read)          \
    FAKE_OP(guest_counters)        \
    FAKE_OP(persist)               \
    FAKE_OP(discard)               \
    FAKE_OP(save)                  \
    FAKE_OP(rest_get)              \
    FAKE_OP(rest_seal)             \
    FAKE_OP(rest_give_up)          \
    FAKE_OP(rest_take)             \
    FAKE_OP(rest_wake)             \
    FAKE_OP(copy_serve)            \
    FAKE_OP(copy_stop)             \
    FAKE_OP(copy)                  \
    FAKE_OP(copy_abort)            \
    FAKE_OP(copy_progress)         \
    FAKE_OP(image_exists)          \
    FAKE_OP(image_create)          \
    FAKE_OP(image_keep)            \
    FAKE_OP(image_copy)            \
    FAKE_OP(transfer)

/* What each host has. */
#define FAKE_HOST_MEMORY_MB (256 << 10)
#define FAKE_HOST_DISK_GB 1000
#define FAKE_HOST_CPUS 32

enum fake_op {
#define FAKE_OP(NAME) FAKE_##NAME,
    FAKE_OPS
#undef FAKE_OP
        FAKE_N_OPS
};

struct fake_fault {
    enum error_code code;
    unsigned n_failures, slow_ms;
    bool hangs;
};

/* A driver that is open. */
struct fake {
    struct fake *next;
    struct fake_store *store;
    char *host;
    struct disk_roots roots;
    unsigned memory_mb;       /* Of guests made at the start. */
    bool is_full;             /* Nothing can be written to an image. */
    int64_t dirty_mib_s;      /* Of guests that have no rate of their own */
    int64_t link_mib_s;       /* What a migration can use. */
    bool loses_answer;        /* Of the next migration. */
    bool runs_twice;          /* The guest of the next migration. */
    atomic_bool is_connected; /* Read without the mutex. */
    struct fake_fault faults[FAKE_N_OPS];
    struct fake_dirty_rate *dirty_rates; /* Measured here so far. */
    struct fake_copy *copies;            /* Files that come and go. */
    void (*event)(void *aux, const struct driver_event *event);
    void *event_aux;
};

/* The mutex, for the rest of the scope. */
bool fake_lock(void);
void fake_unlock(bool *locked);
#define FAKE_LOCK CLEANUP(fake_unlock) UNUSED bool fake_locked_ = fake_lock()

void fake_changed(void); /* Wakes who waits. */
void fake_wait(uint64_t timeout_us);

/* The start of each entry: does what was steered.  May wait. */
struct error *fake_enter(struct fake *fake, enum fake_op op) WARN_UNUSED;

/* The failure that is due, if any. */
struct error *fake_take_failure(struct fake *fake, enum fake_op op) WARN_UNUSED;

/* Tells the drivers of that host in this process. 'uuid' may be null. */
void fake_emit(struct fake_store *store, const char *host,
               enum driver_event_type type, int detail, const char *uuid);

/* fake_look.c: what is where. */

/* What 'host' says of a guest; '*ret' (may be null) is null for
 * GUEST_ABSENT. */
enum guest_presence fake_look(struct fake_store *store, const char *host,
                              const char *uuid, struct fake_guest **ret);

/* The guest that is at that host, or null, not counting one that arrives. */
struct fake_guest *fake_guest_at(struct fake_store *store, const char *host,
                                 const char *uuid);
struct error *fake_guest_put(struct fake_store *store, const char *host,
                             const struct fake_guest *guest) WARN_UNUSED;
void fake_guest_remove(struct fake_store *store, const char *host,
                       const char *uuid);

/* The UUIDs of all that fake_look() would find. */
void fake_guests_at(struct fake_store *store, const char *host,
                    struct fake_names *ret);

/* A new guest with its disk. */
struct error *fake_guest_create(struct fake *fake,
                                const struct fake_guest *guest) WARN_UNUSED;

bool fake_host_is_up(struct fake_store *store, const char *host);
char *fake_host_of_uri(const char *uri); /* Null: names none. */

/* fake_files.c: entries of the table, which take the mutex themselves. */
struct error *fake_probe_create(void *state, const char *directory,
                                char **ret_name);
struct error *fake_probe_exists(void *state, const char *directory,
                                const char *name, bool *ret);
struct error *fake_probe_remove(void *state, const char *directory,
                                const char *name);
struct error *fake_prepare(void *state, const struct prepare_request *request);
struct error *fake_unprepare(void *state,
                             const struct prepare_request *request);

/* Its text; the caller's, null: there is none. */
char *fake_file_get(struct fake_store *store, const char *host,
                    const char *path);
/* Of a file whose text is this: "raw" or "qcow2". */
const char *fake_image_format(const char *text);
void fake_file_remove(struct fake *fake, const char *path);
/* True if 'host' sees the file. */
bool fake_file_exists(struct fake_store *store, const char *host,
                      const char *path);
struct error *fake_file_add(struct fake_store *store, const char *host,
                            const char *path, const char *text) WARN_UNUSED;
/* The paths with their texts, one a line, of what was made at 'host'. */
char *fake_files_list(struct fake_store *store, const char *host);

/* fake_migrate.c: entries again. */
struct error *fake_migrate(void *state, const struct migrate_request *request);
struct error *fake_migrate_abort(void *state, const char *uuid);
struct error *fake_migrate_break(void *state, const char *uuid);
struct error *fake_migrate_set_downtime(void *state, const char *uuid,
                                        unsigned ms);
struct error *fake_migrate_get_downtime(void *state, const char *uuid,
                                        unsigned *ret_ms);
struct error *fake_migrate_throttle(void *state, const char *uuid);
struct error *fake_migrate_set_bandwidth(void *state, const char *uuid,
                                         unsigned mib_s);
struct error *fake_migrate_get_bandwidth(void *state, const char *uuid,
                                         unsigned *ret_mib_s);
struct error *fake_migrate_postcopy(void *state, const char *uuid);
struct error *fake_job_get(void *state, const char *uuid, bool completed,
                           struct job_stats *ret);

/* Cuts the link of a guest in post-copy; false if there is none. */
bool fake_postcopy_break(struct fake *fake, const char *uuid);

/* True if the guest is between hosts, as post-copy leaves it; then '*ret' is
 * what 'host' says, and '*ret_guest' (may be null) the guest as it left. */
bool fake_is_postcopy(struct fake_store *store, const char *host,
                      const char *uuid, enum guest_presence *ret,
                      struct fake_guest **ret_guest);
/* The UUIDs that only fake_is_postcopy() knows at their source. */
void fake_postcopy_visit(struct fake_store *store, const char *host,
                         void (*visit)(void *aux, const char *uuid), void *aux);
void fake_migrations_free(struct fake_store *store);

/* fake_resources.c: an entry again, as the next. */
struct error *fake_host_resources(void *state,
                                  const struct host_resources_request *request,
                                  struct host_resources **ret);

/* fake_dirty_rate.c */
struct error *fake_dirty_rate_start(void *state, const char *uuid,
                                    unsigned seconds);
struct error *fake_dirty_rate_get(void *state, const char *uuid,
                                  struct dirty_rate *ret);
void fake_dirty_rates_free(struct fake *fake);

/* fake_power.c: entries again. */
struct error *fake_power_on(void *state, const char *uuid);
struct error *fake_shut_down(void *state, const char *uuid);
struct error *fake_power_off(void *state, const char *uuid);
struct error *fake_console_read(void *state, const char *uuid, char **ret);
struct error *fake_guest_counters(void *state, const char *uuid,
                                  struct guest_counters **ret);

/* fake_rest.c: entries again. */
#define FAKE_EMPTY "empty" /* A file that was made and not yet written. */
struct error *fake_save(void *state, const char *uuid);
struct error *fake_rest_get(void *state, const char *uuid,
                            struct guest_rest **ret);
struct error *fake_rest_seal(void *state,
                             const struct at_rest_request *request);
struct error *fake_rest_give_up(void *state,
                                const struct at_rest_request *request);
struct error *fake_rest_take(void *state,
                             const struct at_rest_request *request);
struct error *fake_rest_wake(void *state,
                             const struct at_rest_request *request);
struct error *fake_copy_serve(void *state, const struct copy_request *request,
                              char **ret_place);
struct error *fake_copy_stop(void *state, const char *uuid);
struct error *fake_copy(void *state, const struct copy_request *request);
struct error *fake_copy_abort(void *state, const char *uuid);
struct error *fake_copy_progress(void *state, const char *uuid, unsigned *ret);
void fake_copies_free(struct fake *fake);

/* fake_images.c: entries again. */
struct error *fake_image_exists(void *state, const char *name, bool *ret);
struct error *fake_image_create(void *state, const char *name, int *ret_fd);
struct error *fake_image_keep(void *state, const struct image_request *request);
struct error *fake_image_copy(void *state, const struct image_request *request);

/* fake_steer.c */
struct error *fake_steer(void *state, const char *text, char **ret);

#endif
