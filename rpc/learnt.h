#ifndef DROVER_RPC_LEARNT_H
#define DROVER_RPC_LEARNT_H

/* At which version a conductor has its objects.
 *
 * A conductor that receives an object newer than its own asks the conductor
 * for help, that is itself, and goes on doing so until nothing else is done
 * (spec/rpc-wire 8.6).  So nothing is sent before it is known that its version
 * is no newer.  The conductor is asked for a method that no class has, in the
 * newest version that matters to us: one that has the version says that there
 * is no such method, which is all that we need to know; one that has not says
 * which it has, and an error in its log.
 *
 * What was learnt is asked for again after some minutes, as conductors are
 * upgraded.
 *
 * Threads: the loop. */

#include "rpc/client.h"
#include "rpc/object_versions.h"

struct learnt;

/* 'target' is borrowed for as long as this lives; 'own' are our versions. */
struct learnt *learnt_create(struct rpc_client *client,
                             const struct rpc_target *target,
                             object_version_of *own, void *own_aux);

/* Who waits is told, ERR_CANCELLED, at once.  The memory goes when the client
 * has ended the calls under way. */
void learnt_close(struct learnt *learnt);

/* Learns what is not known of the versions of all objects in 'json', and of
 * the class 'name' unless that is null.  'done' is called once, perhaps before
 * this returns, with the first failure (taken) or null.  A class that the
 * conductor has not got is no failure here. */
void learnt_ask(struct learnt *learnt, struct json *json, const char *name,
                unsigned timeout_ms,
                void (*done)(void *aux, struct error *error), void *aux);

/* An object_version_of, 'aux' being the struct learnt: the conductor's, or the
 * newest that it was asked for if that is not newer; false if it has not got
 * the class, or was not asked. */
bool learnt_version_of(void *aux, const char *name, struct object_version *ret);

/* They seem to have changed: all are asked for again when needed. */
void learnt_forget(struct learnt *learnt);

#endif
