#ifndef DROVER_TESTS_ECHO_OBJECTS_H
#define DROVER_TESTS_ECHO_OBJECTS_H

/* What rpc_echo does with versioned objects: methods that look at them, and
 * commands for a conductor.
 *
 *   class CLASS METHOD [ARGS]      runs a class method
 *   object PRIMITIVE METHOD [ARGS] runs a method of an object
 *
 * ARGS is {"args": [...], "kwargs": {...}}, either may be left out.  The result
 * of "object" is {"object": the primitive as it is then, "result": ...}.
 *
 * Threads: the loop. */

#include "rpc/conductor.h"
#include "rpc/server.h"

/* "look" {object}: takes it apart, and puts it together again.
 * "tally" {objects}: how many there are in a list object. */
extern const struct rpc_method echo_object_methods[];

struct echo_objects;

/* Talks to a conductor; 'server' (null: none) has it make newer objects
 * older.  'own' is {"Instance": "2.5"}: instead of our own versions; it may be
 * null. */
struct echo_objects *echo_objects_create(struct rpc_client *client,
                                         struct rpc_server *server,
                                         const struct json *own,
                                         unsigned timeout_ms);
void echo_objects_close(struct echo_objects *objects); /* Null is fine. */

/* False if 'command' is none of the above, or its words 'args' are not. */
bool echo_objects_act(struct echo_objects *objects, const char *command,
                      char **args, rpc_done *done, void *aux);

#endif
