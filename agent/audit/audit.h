#ifndef DROVER_AUDIT_AUDIT_H
#define DROVER_AUDIT_AUDIT_H

/* Do the records, the journals, the hypervisors and the disks of several hosts
 * agree?  A pure core: facts in, contradictions out.
 *
 * Facts of a host, as facts.h collects them:
 *
 *   {host, local (the records are its own), instances: [{uuid, name, host,
 *    task_state}], migrations: [{uuid, instance_uuid, status, source, dest}]
 *    (newest first), guests: [{uuid, name, presence}], operations: see
 *    op_engine_list(), directories: [{uuid, path, id}]}
 *
 * Directories with the same id are the same one, on shared storage.
 *
 * An instance for which any host has an operation open is on its way, and only
 * the operation itself is judged.
 *
 * Threads: no shared state. */

#include "rpc/json.h"

/* What can be mended for certain, by the host that the finding is of. */
#define AUDIT_MENDS                      \
    AUDIT_MEND(ADOPT, "adopt")           \
    AUDIT_MEND(FORGET, "forget-record")  \
    AUDIT_MEND(CLEAR_TASK, "clear-task") \
    AUDIT_MEND(SET_STATUS, "set-status") \
    AUDIT_MEND(UNDEFINE, "undefine")     \
    AUDIT_MEND(TAKE_BACK, "take-back")
enum audit_mend {
#define AUDIT_MEND(NAME, TEXT) AUDIT_##NAME,
    AUDIT_MENDS
#undef AUDIT_MEND
        AUDIT_N_MENDS
};
const char *audit_mend_name(enum audit_mend mend);
enum audit_mend audit_mend_parse(const char *name); /* N_MENDS: unknown. */

/* 'facts' is an array of them, one a host; 'silent' has the names of hosts that
 * are known and did not answer: what they might have is not judged.  Both
 * borrowed.  The contradictions, the caller's:
 *
 *   [{rule, instance, name, host, text, mend (null: not certain), value (of
 *     set-status), migration (the same; UUID)}] */
struct json *audit_judge(const struct json *facts, const struct json *silent);

/* Those that are in both, by rule, instance and host: what was seen in the
 * middle of a change is not seen twice. */
struct json *audit_confirmed(const struct json *first,
                             const struct json *second);

#endif
