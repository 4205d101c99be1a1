#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <string.h>

static enum error_code code_of(const virError *error,
                               enum error_code otherwise);

struct error *
libvirt_error(enum error_code otherwise, const char *uuid)
{
    const virError *last = virGetLastError();
    if (!last || last->code == VIR_ERR_OK) {
        return error_new(otherwise, "libvirt failed and did not say why");
    }

    AUTO_FREE reason = xstrdup(last->message ? last->message : "no reason");
    reason[strcspn(reason, "\n")] = '\0'; /* Of QEMU's output, one line. */
    struct error *error = error_new(code_of(last, otherwise), "%s", reason);

    if (uuid) {
        error_set_arg(error, "instance_id", uuid);
        error_set_arg(error, "instance_uuid", uuid);
    }
    return error;
}

static enum error_code
code_of(const virError *error, enum error_code otherwise)
{
    switch (error->code) {
    case VIR_ERR_NO_DOMAIN:
        return ERR_INSTANCE_NOT_FOUND;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_INVALID_ARG:
        return ERR_INVALID;
    case VIR_ERR_CPU_INCOMPATIBLE:
        return ERR_INVALID_CPU_INFO;
    case VIR_ERR_OPERATION_ABORTED:
        return ERR_CANCELLED;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_RPC:
    case VIR_ERR_NO_CLIENT:
        return ERR_HYPERVISOR_UNAVAILABLE;
    default:
        /* What the client's own transport says, it says of the connection. */
        return error->domain == VIR_FROM_RPC || error->domain == VIR_FROM_REMOTE
                   ? ERR_HYPERVISOR_UNAVAILABLE
                   : otherwise;
    }
}
