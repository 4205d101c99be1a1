#include <config.h>

#include "conf/compression.h"

#include "agent/base/mem.h"

bool
compression_is_known(const char *method)
{
    return str_eq(method, "none") || str_eq(method, "xbzrle") ||
           str_eq(method, "mt");
}

struct error *
compression_check(const char *method, const struct conf *conf)
{
    const struct conf_libvirt *libvirt = &conf->libvirt;

    if (str_eq(method, "none")) {
        return NULL;
    }
    if (libvirt->live_migration_parallel_connections > 1) {
        return error_new(ERR_CONFIG,
                         "'%s' does not work over several connections "
                         "(live_migration_parallel_connections)",
                         method);
    }
    return NULL;
}
