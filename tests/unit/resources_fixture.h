#ifndef DROVER_TESTS_RESOURCES_FIXTURE_H
#define DROVER_TESTS_RESOURCES_FIXTURE_H

/* The host of tests/corpus/resources: what libvirt said of it, and what Nova's
 * own driver made of that in the same minute (nova-facts.json); and what real
 * agents sent (captured-*.json).
 *
 * Threads: that of the test. */

#include "agent/nova/node_settings.h"
#include "rpc/json.h"

char *resources_text(const char *name);        /* The caller's. */
struct json *resources_json(const char *name); /* The caller's. */

/* That host, as the driver would describe it. */
struct host_resources *resources_host(void);

/* Nova's defaults, with guests of QEMU. */
extern const struct node_settings resources_settings;

#endif
