#ifndef DROVER_DRIVERS_DRIVER_H
#define DROVER_DRIVERS_DRIVER_H

/* What a hypervisor driver provides, and the asynchronous front before it.
 *
 * A driver is a module that is loaded by name (driver_load()) and exports one
 * table, struct driver_ops.  Its functions may block: the front calls them on
 * a worker thread, and the agent never runs two of them at once for one
 * instance but for those marked "any time".  They use nothing of the loop's,
 * keep no pointer to an argument, and turn the hypervisor's own error into a
 * struct error before they return, on the thread that saw it.
 *
 * Callers use driver_*(), never the table.  Each takes what it needs by value
 * or copies it, and calls 'done' on the loop, once.
 *
 * Threads: the front, the loop; the table, workers. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/completion.h"
#include "agent/base/error.h"
#include "drivers/guest_counters.h"
#include "drivers/host_resources.h"
#include "drivers/vif.h"
#include "drivers/volume.h"

/* As much of a console as Nova shows. */
#define CONSOLE_BYTES_MAX (100 << 10)

/* Nova's numbers. */
enum power_state {
    POWER_NOSTATE = 0,
    POWER_RUNNING = 1,
    POWER_PAUSED = 3,
    POWER_SHUTDOWN = 4,
    POWER_CRASHED = 6,
    POWER_SUSPENDED = 7,
};

/* Plain records. A string may be null where the comment says so. */
struct guest_disk {
    char *target;       /* "vda" */
    char *device;       /* "disk", "cdrom", "floppy", "lun" */
    char *path;         /* Null: not a local file or block device. */
    char *format;       /* "qcow2", "raw", ...; never null. */
    char *backing_path; /* Null: none. */
    char *backing_format;
    char *serial; /* Null: none. */
    bool is_block_device;
    bool readonly, shareable;
    bool is_volume; /* Said by who knows, never by the hypervisor: each host
                     * reaches it by itself. */
    int64_t virtual_size;   /* Bytes that the guest sees. */
    int64_t allocated_size; /* Bytes that it takes. */
};

/* What the hypervisor says of a guest's whereabouts. */
enum guest_presence {
    GUEST_ABSENT,   /* No such domain. */
    GUEST_OFF,      /* Defined, not active. */
    GUEST_ACTIVE,   /* Active, running or paused, and this host's. */
    GUEST_INCOMING, /* Active, but receiving a migration: not running here. */
    GUEST_MIGRATED, /* Not active, because it went to another host. */
    GUEST_POSTCOPY, /* Active, part of its memory is elsewhere. */
    GUEST_POSTCOPY_FAILED,
};

/* What ties a guest to the host that it runs on, and what a person calls
 * that. */
#define GUEST_TIES                                                          \
    GUEST_TIE(HOSTDEV, "a device of its host (hostdev, or an interface or " \
                       "disk that is one)")                                 \
    GUEST_TIE(VDPA, "a vDPA device of its host (vdpa, vhostvdpa)")          \
    GUEST_TIE(VHOST_USER_DISK, "a disk of another process (vhostuser)")     \
    GUEST_TIE(SHARED_FS, "a directory of its host (filesystem, by 9p or "   \
                         "virtiofs)")                                       \
    GUEST_TIE(SHMEM, "memory that it shares with others there (shmem)")     \
    GUEST_TIE(PMEM, "memory in a file of its host (memory, of model "       \
                    "nvdimm or virtio-pmem)")                               \
    GUEST_TIE(TPM, "the TPM of its host (tpm, passthrough)")                \
    GUEST_TIE(INPUT, "an input device of its host (input, passthrough "     \
                     "or evdev)")                                           \
    GUEST_TIE(CHARDEV, "a port of its host (serial, parallel, console or "  \
                       "channel of type dev)")                              \
    GUEST_TIE(SMARTCARD, "a smart card of its host (smartcard)")            \
    GUEST_TIE(GL, "graphics that are drawn by its host (accel3d)")          \
    GUEST_TIE(ENCRYPTED, "memory that only its host can read "              \
                         "(launchSecurity)")

enum guest_tie_bit {
#define GUEST_TIE(NAME, TEXT) GUEST_TIE_BIT_##NAME,
    GUEST_TIES
#undef GUEST_TIE
        GUEST_N_TIES
};
enum guest_tie {
#define GUEST_TIE(NAME, TEXT) GUEST_TIE_##NAME = 1 << GUEST_TIE_BIT_##NAME,
    GUEST_TIES
#undef GUEST_TIE
};

struct guest {
    char *uuid, *name;
    char *title; /* Null: none. */
    int memory_mb, n_vcpus;
    enum power_state power_state;
    enum guest_presence presence;
    bool persistent;
    bool has_nvram;
    int n_serial_tcp;   /* Serial ports reached by TCP: the highest of them and
                         * those before it; 0: none. */
    unsigned ties;      /* Of enum guest_tie. */
    char *cpu_xml;      /* <cpu> of a named model; null: its host's. */
    char *loader;       /* Firmware in a file, as UEFI is; null: none. */
    char *nvram_path;   /* Where its variables are; null: not known. */
    bool has_tpm_state; /* An emulated TPM, whose state is a secret. */
    bool is_saved;      /* Off, with its memory in a file. */
    int last_cpu;       /* Highest host CPU of its pins; -1: none. */
    int last_node;      /* Highest NUMA node of the host's; -1: none. */
    int64_t hugepage_kib; /* 0: none; -1: of the host's default size. */
    int n_snapshots;      /* Only guest_get() counts them; else 0. */
    struct guest_disk *disks;
    size_t n_disks;
    char *console_path; /* File that gets its console's output; null: none. */
    char **links; /* Bridges and devices of its host, by name, into which its
                   * interfaces are plugged; each once. */
    size_t n_links;
};
void guest_free(struct guest *guest);
CLEANUP_FUNC(struct guest, guest_free)
struct guest *guest_copy(const struct guest *guest);

struct guest_list {
    struct guest **guests;
    size_t n;
};
void guest_list_free(struct guest_list *list); /* The guests too. */
CLEANUP_FUNC(struct guest_list, guest_list_free)
bool guest_list_has(const struct guest_list *list, const char *uuid);

struct host_info {
    char *hostname;        /* The hypervisor's node name. */
    char *hypervisor_type; /* "QEMU" */
    int64_t hypervisor_version, libvirt_version; /* major*10^6+minor*10^3+rel */
    char *arch;                                  /* "x86_64" */
    char *cpu_model;                             /* Null: unknown. */
    char *cpu_vendor;                            /* Null: unknown. */
    char *cpu_xml; /* <cpu> for comparing; null: unknown. */
    int n_cpus, n_sockets, n_cores, n_threads;
    int64_t memory_mb, memory_free_mb;
    int64_t disk_total_gb, disk_free_gb; /* Where instances_path is. */
    int64_t disk_available_least_gb; /* Free if all disks grew to the full. */
    int n_guests_active;
    int n_nodes; /* NUMA nodes; 0: not known. */
    struct host_hugepages {
        int64_t size_kib, n_free;
    } * hugepages; /* The host's default size first. */
    size_t n_hugepages;
    char **loaders; /* Firmware files that the hypervisor knows. */
    size_t n_loaders;
};
void host_info_free(struct host_info *info);
CLEANUP_FUNC(struct host_info, host_info_free)

/* Where a destination makes disks, and which. (spec/live-migration 3.3) */
struct prepare_disk {
    char *path, *format; /* "qcow2" or "raw" */
    int64_t virtual_size;
    char *backing_path;   /* Null: none.  As the source has it: absolute, or
                           * the bare name of a file in the image cache. */
    char *backing_format; /* "qcow2" or "raw"; null: nobody told. */
    /* Its bytes will be copied: it is made as so many of nothing, whatever its
     * format, with this mode.  0: it is made as an empty disk. */
    int64_t file_size;
    unsigned file_mode;
};
struct prepare_request {
    char *uuid;
    char *directory; /* Instance directory to make; null: none. */
    struct prepare_disk *disks;
    size_t n_disks;
    bool only_check; /* prepare() makes nothing: it only says whether it
                      * could. */
};
void prepare_request_free(struct prepare_request *request);
CLEANUP_FUNC(struct prepare_request, prepare_request_free)
struct prepare_request *prepare_request_copy(const struct prepare_request *r);

/* A live migration. */
enum migrate_flag {
    MIGRATE_BLOCK = 1 << 0,
    MIGRATE_TUNNELLED = 1 << 1,
    MIGRATE_TLS = 1 << 2,
    MIGRATE_POSTCOPY = 1 << 3,
    MIGRATE_AUTO_CONVERGE = 1 << 4,
    MIGRATE_POSTCOPY_RESUME = 1 << 5,
    /* The guest can be slowed by migrate_throttle(), and is not before. */
    MIGRATE_THROTTLE = 1 << 6,
};
/* What of the destination a guest is held to there.  Sets are libvirt's texts,
 * such as "2,3"; null: left as it is. */
struct guest_pins {
    struct guest_pin {
        char *id;  /* Of the guest's CPU, or its memory cell. */
        char *set; /* Of the host's CPUs, or nodes. */
    } * pins;
    size_t n;
};
struct dest_pins {
    struct guest_pins cpus, cells;
    char *all_cells; /* All nodes of 'cells'. */
    char *emulator;
    char *realtime; /* The guest's CPUs that run with ... */
    bool has_priority;
    int priority; /* ... this priority. */
};
void dest_pins_close(struct dest_pins *pins);

struct migrate_request {
    char *uuid;
    char *dest_uri;           /* dconnuri */
    char *migrate_uri;        /* Null: libvirt chooses. */
    unsigned flags;           /* Of enum migrate_flag. */
    unsigned bandwidth_mib_s; /* 0: no limit. */
    unsigned n_parallel;      /* 0 or 1: one connection. */
    char *compression;        /* "xbzrle", "mt"; null: none. */
    char **disks;             /* Targets to copy; with MIGRATE_BLOCK only. */
    size_t n_disks;
    /* Edits of the destination XML (4.3); null: left as it is. */
    char *vnc_listen, *spice_listen, *serial_listen;
    int *serial_ports;
    size_t n_serial_ports;
    bool remove_cpu_shares;
    bool file_backed_memory;
    struct dest_pins pins;
    struct volume_list volumes; /* As the destination connected them. */
    struct vif_list vifs;       /* As it plugged them; empty: not told. */
};
void migrate_request_free(struct migrate_request *request);
CLEANUP_FUNC(struct migrate_request, migrate_request_free)

/* A guest that does not run, as it lies on its host.
 *
 * It is moved by copying its files and giving its definition from one host to
 * the other (agent/relocate.h). */
struct guest_file {
    char *path;
    int64_t size, mtime_ns; /* By these it is known again. */
    unsigned mode;
};
struct guest_rest {
    struct guest *guest; /* Never null, but from rest_get(). */
    char *definition;    /* As the hypervisor takes it, passwords included. */
    bool autostart;
    struct guest_file *files; /* Its disks that are files, the variables of its
                               * firmware, its saved state. */
    size_t n_files;
};
void guest_rest_free(struct guest_rest *rest);
CLEANUP_FUNC(struct guest_rest, guest_rest_free)

struct at_rest_request {
    char *uuid, *name;
    char *definition; /* Null where it is of no use. */
    bool autostart;
    struct guest_file *files;
    size_t n_files;
    /* Edits of the definition (4.3); null: left as it is. */
    char *vnc_listen, *spice_listen, *serial_listen;
    bool remove_cpu_shares, file_backed_memory;
};
void at_rest_request_free(struct at_rest_request *request);
CLEANUP_FUNC(struct at_rest_request, at_rest_request_free)
struct at_rest_request *at_rest_request_copy(const struct at_rest_request *r);

/* A file on its way. */
struct copy_request {
    char *uuid, *path;
    int64_t size;
    char *place; /* serve(): address to listen at, null: any; copy(): what
                  * serve() answered there. */
    char *name;  /* serve(): what this host is called by the source. */
    char *tls_directory;      /* Certificates; null: not encrypted. */
    unsigned bandwidth_mib_s; /* 0: no limit. */
    unsigned port_min, port_max;
};
void copy_request_free(struct copy_request *request);
CLEANUP_FUNC(struct copy_request, copy_request_free)
struct copy_request *copy_request_copy(const struct copy_request *r);

/* An image that disks are based on: a file of the image cache, which is the
 * directory "_base" of instances_path. */
struct image_request {
    char *name; /* In the cache, without a directory. */
    /* image_keep(): what image_create() opened, and what was written there, as
     * Glance calls it: "raw", "iso", "ami", "ari", "aki", "qcow2", "vdi",
     * "vhd", "vhdx", "vmdk". image_copy(): "raw" or "qcow2"; null: whichever
     * of them it is. */
    int fd;
    char *format;
    bool is_made_raw;    /* image_keep(): whatever it is. */
    int64_t virtual_max; /* Bytes; a larger disk is refused.  0: any. */
    char *host;          /* image_copy(): from where. */
};
void image_request_free(struct image_request *request); /* Not 'fd'. */
CLEANUP_FUNC(struct image_request, image_request_free)
struct image_request *image_request_copy(const struct image_request *r);

enum job_type {
    JOB_NONE,
    JOB_BOUNDED,
    JOB_UNBOUNDED,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_CANCELLED,
};
/* -1: not known. */
struct job_stats {
    enum job_type type;
    int64_t elapsed_ms, downtime_ms, downtime_net_ms;
    int64_t memory_total, memory_processed, memory_remaining; /* bytes */
    int64_t disk_total, disk_processed, disk_remaining;       /* bytes */
    int64_t memory_bps, disk_bps; /* bytes a second */
    int64_t iteration, dirty_rate_pages, page_size, auto_converge_percent;
};

/* How much of its memory a guest rewrites, as the hypervisor sampled it. */
enum dirty_rate_state {
    DIRTY_RATE_NONE, /* Nothing was measured. */
    DIRTY_RATE_MEASURING,
    DIRTY_RATE_MEASURED,
};
struct dirty_rate {
    enum dirty_rate_state state;
    unsigned period_s;   /* Over this time ... */
    int64_t bytes_per_s; /* ... different pages of it, on average. */
};

/* What a driver tells unasked; posted to the loop by the front. */
enum driver_event_type {
    DRIVER_EVENT_STARTED,
    DRIVER_EVENT_STOPPED, /* 'detail' of enum stop_detail */
    DRIVER_EVENT_SUSPENDED,
    DRIVER_EVENT_RESUMED,
    DRIVER_EVENT_POSTCOPY, /* The switch to post-copy happened. */
    DRIVER_EVENT_POSTCOPY_FAILED,
    DRIVER_EVENT_DEFINED,
    DRIVER_EVENT_UNDEFINED,
    DRIVER_EVENT_JOB_COMPLETED,
    DRIVER_EVENT_CONNECTED,    /* No guest: list again, much may be new. */
    DRIVER_EVENT_DISCONNECTED, /* No guest: knowledge is stale, not gone. */
};
enum stop_detail {
    STOP_SHUTDOWN,
    STOP_DESTROYED,
    STOP_CRASHED,
    STOP_MIGRATED,
    STOP_SAVED,
    STOP_FAILED
};
struct driver_event {
    enum driver_event_type type;
    int detail;
    char uuid[40]; /* Empty where no guest is meant. */
};

/* What a driver is opened with; copied by it. */
struct driver_options {
    const char *host;           /* Service host name. */
    const char *connection_uri; /* Empty: the default of the driver. */
    const char *virt_type;
    const char *instances_path;
    const char *const *images_paths; /* Ends with null; may be null. */
    const char *saved_path; /* Where the hypervisor keeps saved guests, ... */
    const char *nvram_path; /* ... and variables of firmware. Or null. */
    /* Of the fake only. */
    const char *fake_world; /* Directory that hosts share; empty: memory. */
    unsigned fake_guests, fake_memory_mb, fake_dirty_rate_mib_s;
    /* Any thread may call it; 'event' is copied. */
    void (*event)(void *aux, const struct driver_event *event);
    void *event_aux;
};

#define DRIVER_ABI 3
struct driver_ops {
    int abi; /* DRIVER_ABI */
    const char *name;

    /* Makes the driver's state; may fail for wrong options only.  A hypervisor
     * that can't be reached is no failure: calls answer
     * ERR_HYPERVISOR_UNAVAILABLE until it can be. */
    struct error *(*open)(const struct driver_options *options,
                          void **ret_state);
    void (*close)(void *state); /* No call is under way. */

    /* True if the hypervisor answered lately.  Any time; must not block. */
    bool (*is_connected)(void *state);
    struct error *(*host_get)(void *state, struct host_info **ret);
    /* All that the host has to give, guests and their files included; the first
     * time it takes seconds.  Any time. */
    struct error *(*host_resources)(
        void *state, const struct host_resources_request *request,
        struct host_resources **ret);
    /* The host's uptime as `uptime` prints it. */
    struct error *(*host_uptime)(void *state, char **ret);
    /* ERR_INVALID_CPU_INFO if a guest on 'cpu_xml' can't run here.  Null:
     * nothing is compared. */
    struct error *(*compare_cpu)(void *state, const char *cpu_xml);

    struct error *(*guest_list)(void *state, struct guest_list **ret);
    /* ERR_INSTANCE_NOT_FOUND if there is none.  Any time. */
    struct error *(*guest_get)(void *state, const char *uuid,
                               struct guest **ret);
    /* The same question to another host's hypervisor.  Only GUEST_* of the
     * answer counts.  Any error means "unknown".  Any time. */
    struct error *(*peer_presence)(void *state, const char *uri,
                                   const char *uuid, enum guest_presence *ret);

    /* Storage probes (spec/live-migration 2.5).  'directory' null means
     * instances_path; else it must be allowed (prepare()). */
    struct error *(*probe_create)(void *state, const char *directory,
                                  char **ret_name);
    struct error *(*probe_exists)(void *state, const char *directory,
                                  const char *name, bool *ret);
    /* Gone already is success. */
    struct error *(*probe_remove)(void *state, const char *directory,
                                  const char *name);

    /* Makes directory and disks.  Paths only below instances_path and
     * images_paths, without "..", not through a symbolic link
     * (ERR_INVALID names the path); what exists is ERR_DESTINATION_DISK_EXISTS
     * and what was made before the failure is removed again.  A backing file
     * must be here and of the format that is told; where none is, it is what a
     * file of the image cache begins like, and any other file is raw
     * (ERR_MIGRATION). */
    struct error *(*prepare)(void *state,
                             const struct prepare_request *request);
    /* Removes what prepare() made: those disks and that directory with all in
     * it.  Refused (ERR_INVALID) while the guest is active here.  Gone
     * already is success. */
    struct error *(*unprepare)(void *state,
                               const struct prepare_request *request);

    /* Moves a running guest; returns null once it runs there.  An error does
     * not say where it runs: the caller asks.  May take hours; has a thread to
     * itself. */
    struct error *(*migrate)(void *state,
                             const struct migrate_request *request);
    /* Any time: while migrate() blocks.  No job is ERR_INVALID. */
    struct error *(*migrate_abort)(void *state, const char *uuid);
    /* Breaks its connections with the other host, as an end of the link would:
     * whatever waits for them fails.  Any time; nothing to break is success,
     * also where the hypervisor can't.  Not in post-copy: it would be stopped.
     */
    struct error *(*migrate_break)(void *state, const char *uuid);
    struct error *(*migrate_set_downtime)(void *state, const char *uuid,
                                          unsigned ms);
    /* What it has now, whoever set it. */
    struct error *(*migrate_get_downtime)(void *state, const char *uuid,
                                          unsigned *ret_ms);
    struct error *(*migrate_set_bandwidth)(void *state, const char *uuid,
                                           unsigned mib_s);
    /* What was set last while it runs, whoever did; before that anything, but
     * always the same. */
    struct error *(*migrate_get_bandwidth)(void *state, const char *uuid,
                                           unsigned *ret_mib_s);
    /* Slows the guest more and more from now on, for as long as it writes too
     * much.  Only with MIGRATE_THROTTLE; a second time it changes nothing. */
    struct error *(*migrate_throttle)(void *state, const char *uuid);
    struct error *(*migrate_postcopy)(void *state, const char *uuid);
    /* 'completed': the last ended job's.  Any time. */
    struct error *(*job_get)(void *state, const char *uuid, bool completed,
                             struct job_stats *ret);
    /* Begins to measure for 'seconds' (1 to 60) and returns at once.
     * ERR_NOT_IMPLEMENTED if the hypervisor can't. Any time, as the next. */
    struct error *(*dirty_rate_start)(void *state, const char *uuid,
                                      unsigned seconds);
    /* How that goes, or went. */
    struct error *(*dirty_rate_get)(void *state, const char *uuid,
                                    struct dirty_rate *ret);
    struct error *(*suspend)(void *state, const char *uuid);
    struct error *(*resume)(void *state, const char *uuid);

    /* Starts a guest that is off; one that is saved goes on from there.  Active
     * is success.  ERR_INVALID if it went to another host, or is on its way. */
    struct error *(*power_on)(void *state, const char *uuid);
    /* Asks an active guest to end by itself, and returns at once: it may take
     * its time, or not listen.  Off is success. */
    struct error *(*shut_down)(void *state, const char *uuid);
    /* Ends an active guest at once, as pulling its plug would; it stays
     * defined.  Off is success.  ERR_INVALID while it is on its way. */
    struct error *(*power_off)(void *state, const char *uuid);
    /* The end of what it wrote to its console, at most CONSOLE_BYTES_MAX,
     * whatever the bytes are but none of them zero; empty if it wrote nothing.
     * ERR_NOT_FOUND if that is kept nowhere.  Any time. */
    struct error *(*console_read)(void *state, const char *uuid, char **ret);
    /* What was counted of a guest that runs. Any time. */
    struct error *(*guest_counters)(void *state, const char *uuid,
                                    struct guest_counters **ret);

    /* Makes an active guest persistent, from its live definition, if it is
     * not. */
    struct error *(*persist)(void *state, const char *uuid);
    /* Removes the remains of a guest that does not run here: an incoming one
     * that hangs, a definition.  Refused (ERR_INVALID) for one that runs.
     * Absent is success. */
    struct error *(*discard)(void *state, const char *uuid);

    /* Of guests at rest. */

    /* Saves the memory of an active guest, paused or running, and ends it.
     * One that is saved already is success; one that is plainly off is
     * ERR_INSTANCE_NOT_RUNNING.  Takes as long as its memory is large. */
    struct error *(*save)(void *state, const char *uuid);
    /* All of it.  ERR_INSTANCE_NOT_FOUND. */
    struct error *(*rest_get)(void *state, const char *uuid,
                              struct guest_rest **ret);
    /* At its destination, before it has it: puts the files on the disk for
     * good, after which they must have the right sizes, and makes sure that the
     * definition will be taken.  ERR_MIGRATION says why not. */
    struct error *(*rest_seal)(void *state,
                               const struct at_rest_request *request);
    /* Where it is given away: removes the definition, and a saved state, but no
     * other file.  Refused (ERR_MIGRATION), with the definition as it was, if
     * the guest is active or one of the files is not as the request has it. */
    struct error *(*rest_give_up)(void *state,
                                  const struct at_rest_request *request);
    /* At its destination: defines it.  Defined already is success. */
    struct error *(*rest_take)(void *state,
                               const struct at_rest_request *request);
    /* Lets one that is saved go on.  Active is success; off without a saved
     * state is ERR_INVALID, as it would lose its memory. */
    struct error *(*rest_wake)(void *state,
                               const struct at_rest_request *request);

    /* Lets one peer write one file that prepare() made, and answers where.
     * What was served of this guest before no longer is.  Only below the
     * directories that prepare() allows. */
    struct error *(*copy_serve)(void *state, const struct copy_request *request,
                                char **ret_place);
    /* Ends it.  Nothing is written any more when it returns. Nothing served is
     * success. */
    struct error *(*copy_stop)(void *state, const char *uuid);
    /* Copies a file, byte by byte, to what is served at 'place'.  It has a
     * thread to itself. */
    struct error *(*copy)(void *state, const struct copy_request *request);
    /* Makes it end with ERR_CANCELLED; nothing under way, or not yet, is
     * success.  Any time, as the next. */
    struct error *(*copy_abort)(void *state, const char *uuid);
    /* Per mille of the file that are done. */
    struct error *(*copy_progress)(void *state, const char *uuid,
                                   unsigned *ret);

    /* The image cache, which gives no name to what is not whole, replaces no
     * file and follows no symbolic link (ERR_INVALID).  All any time. */

    /* True if there is a file of that name. */
    struct error *(*image_exists)(void *state, const char *name, bool *ret);
    /* Opens a file without a name, to read and write, that image_keep() can
     * give this one; closing it is all that is to be done to give up.  The
     * cache is made if need be. */
    struct error *(*image_create)(void *state, const char *name, int *ret_fd);
    /* Looks at what was written there, makes it raw if it is to be, and gives
     * it its name.  ERR_IMAGE_UNACCEPTABLE, with the name as "image_id", unless
     * it is of the format that it is said to be and of no other, stands alone,
     * is not encrypted and not too large.  If there is a file of that name by
     * now, that is as good.  It has a thread to itself. */
    struct error *(*image_keep)(void *state,
                                const struct image_request *request);
    /* Copies the file of the same name from another host's cache, of the same
     * path, with scp(1).  It must be of the format that is named, and stand
     * alone.  ERR_INVALID_HOSTNAME; ERR_STORAGE: it can't be had from there.
     * It has a thread to itself. */
    struct error *(*image_copy)(void *state,
                                const struct image_request *request);

    /* Steering of the fake from droverctl ("fail migrate MIGRATION"...);
     * 'text' is a verb and words.  Null: not a fake. */
    struct error *(*steer)(void *state, const char *text, char **ret);
};

/* The symbol that a module exports. */
#define DRIVER_SYMBOL "drover_driver"
extern const struct driver_ops drover_driver;

struct driver;

/* Loads "drover-<name>.so" from 'directory' and opens it.  Required entries
 * are checked. ERR_CONFIG. 'on_event' is called on the loop. */
struct error *
driver_load(struct completion_queue *q, const char *directory, const char *name,
            const struct driver_options *options,
            void (*on_event)(void *aux, const struct driver_event *event),
            void *aux, struct driver **ret) WARN_UNUSED;

/* Ends the calls under way, and those that are made in answer to that, with
 * ERR_CANCELLED before it returns, so that whoever waits can tidy up; what they
 * find out is lost.  Only driver_close() may follow. */
void driver_cancel(struct driver *driver);

/* Waits for the calls under way, but not for migrations of which the
 * hypervisor takes care, nor for what else has a thread to itself: those are
 * left behind at exit.  After it no
 * 'done' and no 'on_event' is called any more, also of calls that have ended:
 * their results are freed, and every 'aux' stays its owner's.  Completions
 * that are on their way when it returns need the queue to run, or be closed,
 * before their memory goes. */
void driver_close(struct driver *driver);

const char *driver_name(const struct driver *driver);
bool driver_is_connected(struct driver *driver);
bool driver_can_steer(const struct driver *driver);

/* The front.  'error' is the callee's to free; results too, and null (a
 * descriptor: -1) after an error. */
typedef void driver_done(void *aux, struct error *error);
typedef void driver_host_done(void *aux, struct error *error,
                              struct host_info *host);
typedef void driver_resources_done(void *aux, struct error *error,
                                   struct host_resources *resources);
typedef void driver_text_done(void *aux, struct error *error, char *text);
typedef void driver_guest_done(void *aux, struct error *error,
                               struct guest *guest);
typedef void driver_rest_done(void *aux, struct error *error,
                              struct guest_rest *rest);
typedef void driver_counters_done(void *aux, struct error *error,
                                  struct guest_counters *counters);
typedef void driver_list_done(void *aux, struct error *error,
                              struct guest_list *list);
typedef void driver_fd_done(void *aux, struct error *error, int fd);
typedef void driver_bool_done(void *aux, struct error *error, bool answer);
typedef void driver_presence_done(void *aux, struct error *error,
                                  enum guest_presence presence);
typedef void driver_job_done(void *aux, struct error *error,
                             const struct job_stats *stats);
typedef void driver_number_done(void *aux, struct error *error,
                                unsigned number);
typedef void driver_dirty_rate_done(void *aux, struct error *error,
                                    const struct dirty_rate *rate);

void driver_host_get(struct driver *, driver_host_done *done, void *aux);
/* Copies 'request'. */
void driver_host_resources(struct driver *,
                           const struct host_resources_request *request,
                           driver_resources_done *done, void *aux);
void driver_host_uptime(struct driver *, driver_text_done *done, void *aux);
void driver_compare_cpu(struct driver *, const char *cpu_xml, driver_done *done,
                        void *aux);
void driver_guest_list(struct driver *, driver_list_done *done, void *aux);
void driver_guest_get(struct driver *, const char *uuid,
                      driver_guest_done *done, void *aux);
void driver_peer_presence(struct driver *, const char *uri, const char *uuid,
                          driver_presence_done *done, void *aux);
void driver_probe_create(struct driver *, const char *directory,
                         driver_text_done *done, void *aux);
void driver_probe_exists(struct driver *, const char *directory,
                         const char *name, driver_bool_done *done, void *aux);
void driver_probe_remove(struct driver *, const char *directory,
                         const char *name, driver_done *done, void *aux);
/* Both copy 'request'. */
void driver_prepare(struct driver *, const struct prepare_request *request,
                    driver_done *done, void *aux);
void driver_unprepare(struct driver *, const struct prepare_request *request,
                      driver_done *done, void *aux);
/* Takes 'request'. */
void driver_migrate(struct driver *, struct migrate_request *request,
                    driver_done *done, void *aux);
void driver_migrate_abort(struct driver *, const char *uuid, driver_done *done,
                          void *aux);
void driver_migrate_break(struct driver *, const char *uuid, driver_done *done,
                          void *aux);
void driver_migrate_set_downtime(struct driver *, const char *uuid, unsigned ms,
                                 driver_done *done, void *aux);
void driver_migrate_get_downtime(struct driver *, const char *uuid,
                                 driver_number_done *done, void *aux);
void driver_migrate_throttle(struct driver *, const char *uuid,
                             driver_done *done, void *aux);
void driver_migrate_set_bandwidth(struct driver *, const char *uuid,
                                  unsigned mib_s, driver_done *done, void *aux);
void driver_migrate_get_bandwidth(struct driver *, const char *uuid,
                                  driver_number_done *done, void *aux);
void driver_migrate_postcopy(struct driver *, const char *uuid,
                             driver_done *done, void *aux);
void driver_job_get(struct driver *, const char *uuid, bool completed,
                    driver_job_done *done, void *aux);
void driver_dirty_rate_start(struct driver *, const char *uuid,
                             unsigned seconds, driver_done *done, void *aux);
void driver_dirty_rate_get(struct driver *, const char *uuid,
                           driver_dirty_rate_done *done, void *aux);
void driver_suspend(struct driver *, const char *uuid, driver_done *done,
                    void *aux);
void driver_resume(struct driver *, const char *uuid, driver_done *done,
                   void *aux);
void driver_power_on(struct driver *, const char *uuid, driver_done *done,
                     void *aux);
void driver_shut_down(struct driver *, const char *uuid, driver_done *done,
                      void *aux);
void driver_power_off(struct driver *, const char *uuid, driver_done *done,
                      void *aux);
void driver_console_read(struct driver *, const char *uuid,
                         driver_text_done *done, void *aux);
void driver_guest_counters(struct driver *, const char *uuid,
                           driver_counters_done *done, void *aux);
void driver_persist(struct driver *, const char *uuid, driver_done *done,
                    void *aux);
void driver_discard(struct driver *, const char *uuid, driver_done *done,
                    void *aux);
void driver_save(struct driver *, const char *uuid, driver_done *done,
                 void *aux);
void driver_rest_get(struct driver *, const char *uuid, driver_rest_done *done,
                     void *aux);
/* All copy the request. */
void driver_rest_seal(struct driver *, const struct at_rest_request *request,
                      driver_done *done, void *aux);
void driver_rest_give_up(struct driver *, const struct at_rest_request *request,
                         driver_done *done, void *aux);
void driver_rest_take(struct driver *, const struct at_rest_request *request,
                      driver_done *done, void *aux);
void driver_rest_wake(struct driver *, const struct at_rest_request *request,
                      driver_done *done, void *aux);
void driver_copy_serve(struct driver *, const struct copy_request *request,
                       driver_text_done *done, void *aux);
void driver_copy(struct driver *, const struct copy_request *request,
                 driver_done *done, void *aux);
void driver_copy_stop(struct driver *, const char *uuid, driver_done *done,
                      void *aux);
void driver_copy_abort(struct driver *, const char *uuid, driver_done *done,
                       void *aux);
void driver_copy_progress(struct driver *, const char *uuid,
                          driver_number_done *done, void *aux);
void driver_image_exists(struct driver *, const char *name,
                         driver_bool_done *done, void *aux);
/* The descriptor is the callee's to close; it is closed if the driver ended. */
void driver_image_create(struct driver *, const char *name,
                         driver_fd_done *done, void *aux);
/* Both copy the request; of 'fd' they have a descriptor of their own, so that
 * the caller's may be closed at once. */
void driver_image_keep(struct driver *, const struct image_request *request,
                       driver_done *done, void *aux);
void driver_image_copy(struct driver *, const struct image_request *request,
                       driver_done *done, void *aux);
void driver_steer(struct driver *, const char *text, driver_text_done *done,
                  void *aux);

#endif
