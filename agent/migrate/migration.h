#ifndef DROVER_MIGRATE_MIGRATION_H
#define DROVER_MIGRATE_MIGRATION_H

/* A live migration at its source.
 *
 * Who speaks: the conductor (or agent/conduct.c in its place) casts
 * live_migration to the source; the source asks the destination to prepare
 * (pre_live_migration), has libvirt move the guest, tells the destination to
 * take over (post_live_migration_at_destination) or to forget
 * (rollback_live_migration_at_destination).
 * What is decided: one thing, where the guest runs, and the hypervisors decide
 * it; "transfer" is the commit of the operation.
 * Who cleans up: each side its own, from its own journal.
 *
 *   source.c               the table; the steps up to the transfer, and back
 *   reserve.c              the preparation at the destination, and the wait
 *   plugs.c                for its ports
 *   source_post.c          the steps after it
 *   bandwidth.c            what it may send, beside the others of this host
 *   monitor.c              the timer and the hands of the monitor
 *   relocate.c             the table of a guest at rest
 *   migrate_dest.c         the destination's table
 *
 * (spec/live-migration 3.6, 4, 5.2, 6.2)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/kind.h"
#include "agent/migrate/numbers.h"
#include "agent/migrate/settings.h"

struct migrate_monitor;
struct migrate_plugs;
struct migrate_reserve;
struct relocation;

struct migration {
    struct agent *agent;
    struct json *context;     /* Of the request; travels on. */
    struct object *instance;  /* Never null. */
    struct object *record;    /* The Migration; never null. */
    struct object *data;      /* LibvirtLiveMigrateData; never null. */
    char *dest;               /* Service host name. */
    char *disks;              /* 'disk' of pre_live_migration; null: none. */
    struct json *attachments; /* As agent/attachments.h keeps them, of a control
                               * plane; null: as the instance's record says. */
    bool was_prepared;        /* It came as far as asking the destination. */
    bool announced;           /* _rollback.start is out. */
    bool paused_here;         /* By us, to force its completion, or... */
    bool has_twin;            /* ...as it runs at its destination, too. */
    struct migrate_numbers numbers; /* For people. */
    struct migrate_settings settings;
    struct relocation *relocation; /* Of a guest at rest; else null. */
    bool bandwidth_is_due;         /* The running job has another. */
    unsigned told_bandwidth_mib_s; /* The job, by us; 0: no limit. */
    unsigned bandwidth_mib_s;      /* What it may have; 0: no limit. */
    int64_t known_bandwidth_mib_s; /* As the hypervisor last said, with a
                                    * budget; -1: it was not asked. */
    bool bandwidth_is_by_hand;     /* Set past us: it stays. */
    struct stamp transfer_started; /* Never: not yet, or not known. */

    /* Not in the journal. */
    bool saw_twin;     /* Once: it may have been about to end. */
    bool was_refused;  /* The destination has no place, and prepared nothing. */
    bool told_to_drop; /* So was the destination, of what it claimed. */
    struct migrate_reserve *reserve; /* The wait for that place; or null. */
    struct migrate_plugs *plugs;     /* The wait for its ports; or null. */
    bool shares_bandwidth;           /* Its transfer runs. */
    bool bandwidth_is_asked_for;     /* Due whatever the hypervisor has. */
    bool is_cancelled; /* While it was prepared, or had no monitor yet. */
    struct slot *slot;
    struct op_ticket *slot_ticket; /* While it waits for the slot. */
    struct migrate_monitor *monitor;
    unsigned flags; /* Of enum migrate_flag, from the transfer on. */
};

extern const struct op_type migrate_source_type;

/* What the conductor casts, and 'settings', which may be null: as configured.
 * All but these and 'dest' are taken. */
struct migrate_source_request {
    struct json *context;
    struct object *instance, *record, *data;
    const char *dest;
    const struct migrate_settings *settings;
    enum migrate_kind kind;
};

/* Starts the operation, that of agent/relocate.h for a guest at rest, whose key
 * is the migration's UUID.  'accepted' as in op_start(). */
void migrate_source_start(
    struct agent *agent, struct migrate_source_request *request,
    const struct log_context *log,
    void (*accepted)(void *aux, struct op *op, struct error *error), void *aux);

/* After a restart: those that go on have their places on this host, whatever
 * the limit.  Those that turn back need none. */
void migrate_source_take_slots(struct agent *agent);

/* The operation that moves this instance away; null if there is none. */
struct op *migrate_source_find(struct agent *agent, const char *instance_uuid);

/* What such an operation moves, of either type; null: it is another. */
struct migration *migrate_source_of(struct op *op);

/* Turns a migration back (7.1): from the queue and while it is prepared at the
 * next step, in the transfer through the hypervisor.  'done' is called when it
 * was asked for.  ERR_INVALID_MIGRATION_STATE if it is too late.  Both this and
 * the next are announced, in the 'context' (borrowed) of who asks. */
void migrate_source_abort(struct op *op, const struct json *context,
                          attach_done *done, void *aux);

/* Makes the transfer end soon (7.2). ERR_INVALID_MIGRATION_STATE if none is
 * running. */
struct error *
migrate_source_force_complete(struct op *op,
                              const struct json *context) WARN_UNUSED;

/* Changes bandwidth and accepted pause, if 'settings' sets them, of one that
 * waits, runs or is about to.  'done' is called when that is in the journal; a
 * running job is told in the monitor's next round.
 * ERR_INVALID_MIGRATION_STATE if it is too late. */
void migrate_source_set(struct op *op, const struct migrate_settings *settings,
                        attach_done *done, void *aux);

/* The hypervisor said something of this guest, or is back, which concerns
 * all. */
void migrate_source_event(struct agent *agent,
                          const struct driver_event *event);

/* For people: status, step and the newest numbers, as agent/api/api.h has them.
 */
struct json *migration_describe(struct agent *agent,
                                const struct object *record);

/* For the files of this module. */
extern const struct step migrate_source_steps[];
void migration_set_status(struct op *op, const char *status,
                          struct op_ticket *ticket);
void migration_accept(struct op *op, struct op_ticket *ticket);
void migration_settle(struct op *op, struct op_ticket *ticket);
/* The instance with what it has here, for what asks about that; the caller's.
 */
struct object *migration_attached_instance(const struct migration *m);
void migration_queue_run(struct op *op, struct op_ticket *ticket);
void migration_queue_cancel(struct op *op);
void migration_prepare(struct op *op, struct op_ticket *ticket);
void migration_queue_undo(struct op *op, struct op_ticket *ticket);
void migration_volumes_undo(struct op *op, struct op_ticket *ticket);
void migration_start(struct op *op, struct op_ticket *ticket);
void migration_transfer_run(struct op *op, struct op_ticket *ticket);
void migration_transfer_readopt(struct op *op, struct op_ticket *ticket);
void migration_transfer_probe(struct op *op, struct op_ticket *ticket);
void migration_transfer_undo(struct op *op, struct op_ticket *ticket);
void migration_transfer_cancel(struct op *op);
void migration_announce_post(struct op *op, struct op_ticket *ticket);
void migration_activate(struct op *op, struct op_ticket *ticket);
void migration_finish_dest(struct op *op, struct op_ticket *ticket);
void migration_release_volumes(struct op *op, struct op_ticket *ticket);
void migration_release_vifs(struct op *op, struct op_ticket *ticket);
void migration_release_guest(struct op *op, struct op_ticket *ticket);
void migration_announce_end(struct op *op, struct op_ticket *ticket);
void migration_revoke_consoles(struct op *op, struct op_ticket *ticket);
void migration_complete(struct op *op, struct op_ticket *ticket);
void migration_release_allocations(struct op *op, struct op_ticket *ticket);
void migration_forget(struct op *op, struct op_ticket *ticket);

struct json *migration_save(const void *data);
struct error *migration_load(void *aux, const struct json *json,
                             void **ret_data);
void migration_free(void *data);
void migration_finished(struct op *op, const struct error *error);

/* Puts the numbers into the record, where that is ours; the next save stores
 * them. */
void migration_keep_numbers(struct op *op);

/* The migrate data with the migration itself in them, as Nova has them from the
 * transfer on: a port's binding does not say to which host it goes.  The
 * caller's. (1.10) */
struct object *migration_told_data(const struct migration *m);

/* Where libvirt's peer is reached; "" if that can't be said. The caller's. */
char *migration_dest_uri(const struct migration *m);

/* peer.c: what libvirt of 'dest' has of the guest; and, of one that is
 * off there, whether its agent saw it arrive.  An error: nobody knows. */
typedef void migration_peer_done(void *aux, struct error *error,
                                 enum guest_presence presence,
                                 bool has_arrived);
void migration_ask_peer(struct agent *agent, const char *dest,
                        const char *dest_uri, const char *uuid,
                        migration_peer_done *done, void *aux);

/* reserve.c */
void migration_reserve_run(struct op *op, struct op_ticket *ticket);
void migration_reserve_undo(struct op *op, struct op_ticket *ticket);
void migration_reserve_cancel(struct op *op);
/* For a place at the destination; null: it does not. */
bool migrate_reserve_waits(const struct migrate_reserve *wait);
void migrate_reserve_free(struct migrate_reserve *wait); /* Null is fine. */

/* bandwidth.c: its transfer begins, and has this much (MiB/s; 0: no
 * limit) until it is told otherwise; ends; has another limit of its own.  Each
 * divides the host's budget again. */
unsigned migrate_bandwidth_join(struct migration *m);
void migrate_bandwidth_leave(struct migration *m);
void migrate_bandwidth_change(struct migration *m);
void migrate_bandwidth_divide(struct agent *agent);

/* monitor.c */
struct migrate_monitor *migrate_monitor_start(struct op *op,
                                              struct op_ticket *ticket,
                                              struct migrate_request *request);
void migrate_monitor_stop(struct migrate_monitor *monitor); /* Null is fine. */
void migrate_monitor_abort(struct migrate_monitor *monitor, attach_done *done,
                           void *aux);
void migrate_monitor_force_complete(struct migrate_monitor *monitor);
void migrate_monitor_hold_downtime(struct migrate_monitor *monitor,
                                   unsigned ms);
void migrate_monitor_event(struct migrate_monitor *monitor,
                           const struct driver_event *event);
const struct job_stats *
migrate_monitor_stats(const struct migrate_monitor *monitor);
bool migrate_monitor_is_postcopy(const struct migrate_monitor *monitor);

#endif
