#ifndef DROVER_DRIVERS_VIF_H
#define DROVER_DRIVERS_VIF_H

/* Network interfaces of guests, as far as their host has to do with them.
 *
 * A port comes as a control plane describes it (Nova's VIF).  Its type has a
 * row in a table: what is made on the host before the guest comes and removed
 * after it went, and what the hypervisor is told.  Both are idempotent.
 *
 *   bridge   a Linux bridge, made if the description says so, and never removed
 *   ovs      Open vSwitch: the hypervisor plugs, or we do ("delegation"), or
 *            with a bridge between (qbr, qvb, qvo: "hybrid")
 *   macvtap  a device on top of one of the host's, which may be a VLAN
 *   tap      a tap device by itself, routed by others
 *
 * "unbound" and "binding_failed" say that there is nothing to plug into, and
 * fail at once; "hw_veb" is a device of the host, which does not move live.
 * (spec/live-migration 3.4, 4.3, 5.2)
 *
 * Threads: any; plugging and unplugging block, on workers. */

#include "agent/base/error.h"

struct host;

/* A plain record; strings that the type has no use for may be null. */
struct vif {
    char *id;       /* Of the port. */
    char *mac;      /* In lower case. */
    char *type;     /* vif_type */
    char *instance; /* UUID */
    char *device;   /* "tap0123..." */
    char *bridge;
    char *interface_id; /* ovs: iface-id */
    int mtu;            /* 0: not said. */
    bool is_hybrid, is_delegated;
    bool may_create_bridge;
    char *source, *mode, *parent; /* macvtap: device, "vepa", ..., and what a
                                   * VLAN is made on; null: none. */
    int vlan;                     /* 0: none. */
};
void vif_free(struct vif *vif);
CLEANUP_FUNC(struct vif, vif_free)
struct vif *vif_copy(const struct vif *vif);

struct vif_list {
    struct vif **vifs;
    size_t n;
};
void vif_list_close(struct vif_list *list);
void vif_list_add(struct vif_list *list, struct vif *vif);
struct vif_list vif_list_copy(const struct vif_list *list);
#define AUTO_VIFS CLEANUP(vif_list_close) struct vif_list

/* What the hypervisor is told; borrowed from the vif but for 'name'. */
struct vif_backend {
    const char *type; /* As in libvirt: "bridge", "direct", "ethernet". */
    char name[16];    /* Of the bridge or device; empty: none. */
    const char *mode; /* Of "direct". */
    const char *interface_id; /* Of a port of Open vSwitch; null: none. */
    const char *device;       /* The guest's end on the host; null: any. */
};

/* Without I/O. ERR_VALUE; ERR_VIF_PLUG for types that can't be plugged. */
struct error *vif_check(const struct vif *vif) WARN_UNUSED;

/* ERR_VIF_PLUG: in vain.  ERR_PROCESS: it may succeed another time. */
struct error *vif_plug(const struct host *host,
                       const struct vif *vif) WARN_UNUSED;

/* What is not plugged is success. ERR_PROCESS. */
struct error *vif_unplug(const struct host *host,
                         const struct vif *vif) WARN_UNUSED;

/* Pure. As vif_check(). */
struct error *vif_describe(const struct vif *vif,
                           struct vif_backend *ret) WARN_UNUSED;

/* The rows that have a file of their own. */
struct vif_type {
    const char *name;
    struct error *(*check)(const struct vif *vif);
    struct error *(*plug)(const struct host *host, const struct vif *vif);
    struct error *(*unplug)(const struct host *host, const struct vif *vif);
    void (*describe)(const struct vif *vif, struct vif_backend *ret);
};
extern const struct vif_type vif_type_ovs; /* vif_ovs.c */

/* For them: the name of a link of this port, at most 14 bytes as Nova has
 * them. */
#define VIF_LINK_SIZE 15
void vif_link_name(const struct vif *vif, const char *prefix,
                   char ret[VIF_LINK_SIZE]);
bool vif_is_link_name(const char *name);

/* Makes a bridge that forwards at once, if there is none. */
struct error *vif_ensure_bridge(const struct host *host, const char *name,
                                int mtu, bool floods) WARN_UNUSED;
struct error *vif_set_link(const struct host *host, const char *name, int mtu,
                           bool is_promiscuous) WARN_UNUSED;

#endif
