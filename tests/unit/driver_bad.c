#include <config.h>

/* Modules that must not be loaded: of another version, or with parts missing.
 */

#include "drivers/driver.h"

static struct error *
bad_open(UNUSED const struct driver_options *options, UNUSED void **ret_state)
{
    return NULL;
}

#ifdef BAD_ABI
const struct driver_ops drover_driver = {.abi = BAD_ABI, .open = bad_open};
#else
static void
bad_close(UNUSED void *state)
{
}

static bool
bad_is_connected(UNUSED void *state)
{
    return false;
}

/* Looks like the entry that is asked for; is never called. */
#define ANY (void *)bad_close

const struct driver_ops drover_driver = {
    .abi = DRIVER_ABI,
    .name = "hollow",
    .open = bad_open,
    .close = bad_close,
    .is_connected = bad_is_connected,
    .host_get = ANY,
    .host_resources = ANY,
    .host_uptime = ANY,
    .compare_cpu = ANY,
    .guest_list = ANY,
    .guest_get = ANY,
    .peer_presence = ANY,
    .probe_create = ANY,
    .probe_exists = ANY,
    .probe_remove = ANY,
    .prepare = ANY,
    .unprepare = ANY,
};
#endif
