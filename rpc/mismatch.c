#include <config.h>

#include "rpc/mismatch.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/mem.h"

static const char sign[] = "inequivalent arg '";

bool
mismatch_is(const char *text)
{
    return strstr(text, sign) != NULL;
}

const char *
mismatch_option(const char *text, enum mismatch_of of)
{
    static const struct {
        const char *argument;
        const char *shared, *transient, *stream;
    } rows[] = {
        {"durable", "amqp_durable_queues or rabbit_quorum_queue",
         "rabbit_transient_quorum_queue", "rabbit_stream_fanout"},
        {"auto_delete", "amqp_auto_delete", NULL, NULL},
        {"type", "control_exchange", NULL, NULL},
        {"x-queue-type", "rabbit_quorum_queue", "rabbit_transient_quorum_queue",
         "rabbit_stream_fanout"},
        {"x-delivery-limit", "rabbit_quorum_delivery_limit", NULL, NULL},
        {"x-max-in-memory-length", "rabbit_quorum_max_memory_length", NULL,
         NULL},
        {"x-max-in-memory-bytes", "rabbit_quorum_max_memory_bytes", NULL, NULL},
        {"x-ha-policy", "rabbit_ha_queues", "rabbit_ha_queues",
         "rabbit_ha_queues"},
        {"x-expires", NULL, "rabbit_transient_queues_ttl",
         "rabbit_transient_queues_ttl"},
        {"x-max-age", NULL, NULL, "rabbit_transient_queues_ttl"},
    };
    const char *quote = strstr(text, sign);
    char argument[32] = "";

    if (quote) {
        sscanf(quote + sizeof sign - 1, "%31[^']'", argument);
    }
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (str_eq(rows[i].argument, argument)) {
            return of == MISMATCH_SHARED      ? rows[i].shared
                   : of == MISMATCH_TRANSIENT ? rows[i].transient
                                              : rows[i].stream;
        }
    }
    return NULL;
}
