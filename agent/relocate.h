#ifndef DROVER_AGENT_RELOCATE_H
#define DROVER_AGENT_RELOCATE_H

/* Moves a guest that does not run: "cold", one that is shut off, or "static",
 * one whose memory is saved first and goes along. (spec/live-migration 9.4)
 *
 * Who speaks: the source asks the destination, in namespace drover:
 *
 *   relocate_prepare    to expect the guest: a place, volumes, ports
 *   relocate_files      to make its files, as so many bytes of nothing
 *   relocate_serve      to let one of them be written, once for each
 *   relocate_seal       to put them on the disk for good and to make sure that
 *                       it could define the guest
 *   relocate_finish     to define it, let it go on, and take its record
 *   relocate_roll_back  instead of that, to remove what it made
 *
 * What is decided: one thing, which host can start the guest.  In this order,
 * each step in the journal before it is done:
 *
 *   source                           destination
 *   ------------------------------   -------------------------------------
 *   the guest is off, or is saved    knows of it, makes files, is written to
 *   copies                           has all bytes, says so (seal)
 *   "give-up": the definition goes   waits
 *   tells (finish), again and again  defines it, wakes it, has its record
 *   removes its files                -
 *
 * The commit is "give-up", and it is the source's alone: before it the guest is
 * defined at the source only, after it there no more, and the destination
 * defines it only when told that it is so.  Between the two nobody can start
 * it; its definition is then in both journals, and its files at both hosts.  A
 * destination that has sealed goes neither on nor back by itself.
 *
 * Whoever starts the guest at the source before that has won: QEMU's locks
 * refuse it while a file of the guest is read, otherwise it is seen as an
 * event, by its state, or by the times of its files, and all is taken back.  A
 * guest that was saved for the move goes on where it was.
 *
 * After a restart of either agent in the copy nothing copies any more
 * (agent/base/process.h), and the move is taken back: it never goes on with
 * half a file.
 *
 *   relocate.c           the table of the source, and what it does here
 *   relocate_copy.c      the step that copies
 *   relocate_dest.c      what it asks of the destination
 *   incoming/relocate.c  the destination's part
 *
 * Threads: the loop. */

#include "agent/migrate/migration.h"

/* What a struct migration has more for it. */
struct relocation {
    enum migrate_kind kind;
    bool was_active; /* It was saved by us, and goes on if we turn back. */

    /* From "list-files" on. */
    char *name, *definition;
    bool autostart;
    struct guest_file *files; /* All. */
    size_t n_files;
    struct prepare_request *copied; /* Those that are copied; null: none. */

    int64_t done; /* Bytes of files that are over there. */

    /* Not in the journal. */
    struct relocate_copy *copy; /* While files are copied; or null. */
    bool is_cancelled;
};

extern const struct op_type relocate_type;

struct relocation *relocation_create(enum migrate_kind kind);
void relocation_free(struct relocation *r); /* Null is fine. */
struct json *relocation_save(const struct relocation *r);
/* Into 'm', whose other members are there. */
struct error *relocation_load(struct migration *m,
                              const struct json *json) WARN_UNUSED;

/* The hypervisor said something of this guest. */
void relocation_event(struct op *op, const struct driver_event *event);

/* Bytes that are copied in all, and so far. */
int64_t relocation_total(const struct relocation *r);
int64_t relocation_done(const struct relocation *r);

/* For the files of this module. */

/* The guest as the driver's calls have it, with all files. */
struct at_rest_request *relocation_request(const struct migration *m);

/* relocate_copy.c */
void relocate_copy_run(struct op *op, struct op_ticket *ticket);
void relocate_copy_cancel(struct op *op);
int64_t relocate_copy_done(const struct relocate_copy *copy); /* Bytes */
void relocate_copy_drop(struct relocate_copy *copy); /* Null is fine. */

/* relocate_dest.c */
void relocate_files_run(struct op *op, struct op_ticket *ticket);
void relocate_seal_run(struct op *op, struct op_ticket *ticket);
void relocate_finish_run(struct op *op, struct op_ticket *ticket);
/* Asks it to expect the guest, and to expect it no longer. */
void relocate_ask(struct migration *m, const struct object *data,
                  rpc_done *done, void *aux);
void relocate_roll_back(struct op *op, struct op_ticket *ticket);
/* Asks where to write the file. */
void relocate_serve(struct migration *m, const char *path, rpc_done *done,
                    void *aux);

#endif
