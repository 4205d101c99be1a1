#ifndef DROVER_RPC_BULK_H
#define DROVER_RPC_BULK_H

/* What is so large that the loop would be held up by it: it is parsed, printed
 * and freed on worker threads.
 *
 * Threads: the loop. */

#include <stddef.h>

#include "agent/base/worker.h"
#include "rpc/json.h"

/* From so many bytes on.  A megabyte takes some 10 ms to parse. */
#define BULK_BYTES (256u << 10)

/* Is it worth a thread?  'pool' null: never. */
bool bulk_is_large(const struct worker_pool *pool, const struct json *json);

/* Has 'what' freed by 'free_it' on a thread if it takes that many 'bytes' of
 * memory, else at once. */
void bulk_free(struct worker_pool *pool, size_t bytes, void (*free_it)(void *),
               void *what);
void bulk_free_json(struct worker_pool *pool, struct json *json); /* or null */

#endif
