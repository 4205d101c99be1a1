#ifndef DROVER_RPC_QUEUE_MANAGER_H
#define DROVER_RPC_QUEUE_MANAGER_H

/* Names of reply and fanout queues that are the same after a restart:
 * "<host>:<process>:<n>" instead of 32 random digits.  (spec/rpc-wire 1.4)
 *
 * A broker keeps something of every name that a quorum queue ever had, so names
 * must not be used up; but two processes under one name take each other's
 * replies.  The peers count in a file that knows one process group only and let
 * others begin at 1 again.  Here 'n' belongs to whoever holds the lock of the
 * file "<host>_<process>_drover_<n>": the lowest that nobody has.  Those that
 * living peers have counted, by "<host>_<process>_qmanager", are left to them.
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"

/* A name that is ours. */
struct queue_manager;

/* Where the peers have theirs: the same for all processes of a host, and empty
 * after a boot. */
#define QUEUE_MANAGER_DIRECTORY "/dev/shm"

/* Takes a name.  Fails if files cannot be locked in 'directory', or if very
 * many are taken: a random name does then. */
struct error *queue_manager_create(const char *directory, const char *host,
                                   const char *process,
                                   struct queue_manager **ret) WARN_UNUSED;

/* Gives it back; null is fine. */
void queue_manager_free(struct queue_manager *qm);
CLEANUP_FUNC(struct queue_manager, queue_manager_free)

/* "<host>:<process>:<n>". */
const char *queue_manager_name(const struct queue_manager *qm);

#endif
