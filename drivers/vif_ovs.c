#include <config.h>

#include "drivers/vif.h"

#include <stdio.h>
#include <string.h>

#include "drivers/host.h"

/* Open vSwitch, with the names and the arguments of os-vif.
 *
 * Three ways: the hypervisor adds the port, and nothing is to be done; we add
 * it, so that the switch knows it before the guest comes ("delegation"); or
 * there is a bridge between for a firewall, joined to the switch by a pair of
 * links ("hybrid"):
 *
 *   guest -- tap -- qbr -- qvb == qvo -- switch */

static struct error *check(const struct vif *vif);
static struct error *plug(const struct host *host, const struct vif *vif);
static struct error *unplug(const struct host *host, const struct vif *vif);
static void describe(const struct vif *vif, struct vif_backend *ret);
static struct error *add_port(const struct host *host, const struct vif *vif,
                              const char *name);
static struct error *delete_port(const struct host *host, const struct vif *vif,
                                 const char *name);
static struct error *make_pair(const struct host *host, const struct vif *vif,
                               const char *ours, const char *switchs);

const struct vif_type vif_type_ovs = {
    .name = "ovs",
    .check = check,
    .plug = plug,
    .unplug = unplug,
    .describe = describe,
};

static struct error *
check(const struct vif *vif)
{
    if (!vif_is_link_name(vif->bridge) ||
        !host_is_plain(vif->interface_id, "-") || !vif->device) {
        return error_new(ERR_VALUE, "its switch, id there, or device is none");
    }
    return NULL;
}

static struct error *
plug(const struct host *host, const struct vif *vif)
{
    char bridge[VIF_LINK_SIZE], ours[VIF_LINK_SIZE], switchs[VIF_LINK_SIZE];

    if (!vif->is_hybrid) {
        return vif->is_delegated ? add_port(host, vif, vif->device) : NULL;
    }
    vif_link_name(vif, "qbr", bridge);
    vif_link_name(vif, "qvb", ours);
    vif_link_name(vif, "qvo", switchs);
    struct error *error = vif_ensure_bridge(host, bridge, vif->mtu, true);
    if (!error) {
        error = make_pair(host, vif, ours, switchs);
    }
    if (!error) {
        error = HOST_RUN(host, ERR_PROCESS, "ip", "link", "set", "dev", ours,
                         "master", bridge);
    }
    return error ? error : add_port(host, vif, switchs);
}

static struct error *
unplug(const struct host *host, const struct vif *vif)
{
    char bridge[VIF_LINK_SIZE], switchs[VIF_LINK_SIZE];

    if (!vif->is_hybrid) {
        return vif->is_delegated ? delete_port(host, vif, vif->device) : NULL;
    }
    vif_link_name(vif, "qbr", bridge);
    vif_link_name(vif, "qvo", switchs);
    struct error *error = delete_port(host, vif, switchs);
    if (!error && host_has_link(host, switchs)) { /* The other end goes, too. */
        error =
            HOST_RUN(host, ERR_PROCESS, "ip", "link", "delete", "dev", switchs);
    }
    if (!error && host_has_link(host, bridge)) {
        error =
            HOST_RUN(host, ERR_PROCESS, "ip", "link", "delete", "dev", bridge);
    }
    return error;
}

/* A delegated port is there already: the hypervisor makes the device only. */
static void
describe(const struct vif *vif, struct vif_backend *ret)
{
    ret->type = "bridge";
    ret->device = vif->device;
    if (vif->is_hybrid) {
        vif_link_name(vif, "qbr", ret->name);
    } else if (vif->is_delegated) {
        ret->type = "ethernet";
    } else {
        snprintf(ret->name, sizeof ret->name, "%s", vif->bridge);
        ret->interface_id = vif->interface_id;
    }
}

static struct error *
add_port(const struct host *host, const struct vif *vif, const char *name)
{
    AUTO_FREE id = xasprintf("external-ids:iface-id=%s", vif->interface_id);
    AUTO_FREE mac = xasprintf("external-ids:attached-mac=%s", vif->mac);
    AUTO_FREE vm = xasprintf("external-ids:vm-uuid=%s", vif->instance);
    AUTO_FREE mtu = xasprintf("mtu_request=%d", vif->mtu);

    return HOST_RUN(host, ERR_PROCESS, "ovs-vsctl", "--timeout=120", "--",
                    "--may-exist", "add-port", vif->bridge, name, "--", "set",
                    "Interface", name, id, "external-ids:iface-status=active",
                    mac, vm, vif->mtu ? mtu : NULL);
}

static struct error *
delete_port(const struct host *host, const struct vif *vif, const char *name)
{
    return HOST_RUN(host, ERR_PROCESS, "ovs-vsctl", "--timeout=120", "--",
                    "--if-exists", "del-port", vif->bridge, name);
}

static struct error *
make_pair(const struct host *host, const struct vif *vif, const char *ours,
          const char *switchs)
{
    struct error *error = NULL;

    if (!host_has_link(host, switchs)) {
        error = HOST_RUN(host, ERR_PROCESS, "ip", "link", "add", "name", ours,
                         "type", "veth", "peer", "name", switchs);
    }
    if (!error) {
        error = vif_set_link(host, ours, vif->mtu, true);
    }
    return error ? error : vif_set_link(host, switchs, vif->mtu, true);
}
