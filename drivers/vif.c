#include <config.h>

#include "drivers/vif.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/host.h"

static struct error *bridge_check(const struct vif *vif);
static struct error *bridge_plug(const struct host *host,
                                 const struct vif *vif);
static void bridge_describe(const struct vif *vif, struct vif_backend *ret);
static struct error *macvtap_check(const struct vif *vif);
static struct error *macvtap_plug(const struct host *host,
                                  const struct vif *vif);
static void macvtap_describe(const struct vif *vif, struct vif_backend *ret);
static struct error *tap_check(const struct vif *vif);
static struct error *tap_plug(const struct host *host, const struct vif *vif);
static struct error *tap_unplug(const struct host *host, const struct vif *vif);
static void tap_describe(const struct vif *vif, struct vif_backend *ret);
static struct error *nothing(const struct host *host, const struct vif *vif);
static bool is_mac(const char *text);

/* The bridge is other guests', too. */
static const struct vif_type vif_type_bridge = {
    .name = "bridge",
    .check = bridge_check,
    .plug = bridge_plug,
    .unplug = nothing,
    .describe = bridge_describe,
};

/* So is the device below. */
static const struct vif_type vif_type_macvtap = {
    .name = "macvtap",
    .check = macvtap_check,
    .plug = macvtap_plug,
    .unplug = nothing,
    .describe = macvtap_describe,
};

static const struct vif_type vif_type_tap = {
    .name = "tap",
    .check = tap_check,
    .plug = tap_plug,
    .unplug = tap_unplug,
    .describe = tap_describe,
};

static const struct vif_type *const types[] = {
    &vif_type_bridge, &vif_type_macvtap, &vif_type_ovs, &vif_type_tap};

/* Types that are no type to plug, and why. */
static const struct {
    const char *name, *reason;
} refused[] = {
    {"unbound", "it is bound to no host"},
    {"binding_failed", "the network service could not bind it to this host"},
    {"hw_veb", "it is a device of its host, and those do not move live"},
};

static const struct vif_type *find_type(const char *name);

/* Its strings. */
static const size_t strings[] = {
    offsetof(struct vif, id),           offsetof(struct vif, mac),
    offsetof(struct vif, type),         offsetof(struct vif, instance),
    offsetof(struct vif, device),       offsetof(struct vif, bridge),
    offsetof(struct vif, interface_id), offsetof(struct vif, source),
    offsetof(struct vif, mode),         offsetof(struct vif, parent),
};

static char **
string_at(struct vif *vif, size_t i)
{
    return (char **)(void *)((char *)vif + strings[i]);
}

void
vif_free(struct vif *vif)
{
    if (!vif) {
        return;
    }
    for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
        free(*string_at(vif, i));
    }
    free(vif);
}

struct vif *
vif_copy(const struct vif *vif)
{
    struct vif *copy = xmemdup(vif, sizeof *vif);

    for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
        *string_at(copy, i) = xstrdup_null(*string_at(copy, i));
    }
    return copy;
}

void
vif_list_close(struct vif_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        vif_free(list->vifs[i]);
    }
    free(list->vifs);
    *list = (struct vif_list){0};
}

void
vif_list_add(struct vif_list *list, struct vif *vif)
{
    list->vifs = xrealloc(list->vifs, (list->n + 1) * sizeof *list->vifs);
    list->vifs[list->n++] = vif;
}

struct vif_list
vif_list_copy(const struct vif_list *list)
{
    struct vif_list copy = {0};

    for (size_t i = 0; i < list->n; i++) {
        vif_list_add(&copy, vif_copy(list->vifs[i]));
    }
    return copy;
}

struct error *
vif_check(const struct vif *vif)
{
    const struct vif_type *type = find_type(vif->type);

    if (!host_is_plain(vif->id, "-") || !host_is_plain(vif->instance, "-") ||
        strlen(vif->id) < 11) {
        return error_new(ERR_VALUE, "a port or its instance has no id");
    }
    for (size_t i = 0; i < N_ELEMENTS(refused); i++) {
        if (str_eq(vif->type, refused[i].name)) {
            return error_new(ERR_VIF_PLUG, "port '%s' is of type '%s': %s",
                             vif->id, vif->type, refused[i].reason);
        }
    }
    if (!type) {
        return error_new(ERR_VIF_PLUG, "ports of type '%s' are not known",
                         vif->type ? vif->type : "");
    }
    if (!is_mac(vif->mac)) {
        return error_new(ERR_VALUE, "port '%s' has no address", vif->id);
    }
    if (vif->mtu < 0 || vif->mtu > 65535 || vif->vlan < 0 || vif->vlan > 4094) {
        return error_new(ERR_VALUE, "MTU or VLAN of port '%s' is none",
                         vif->id);
    }
    if (vif->device && !vif_is_link_name(vif->device)) {
        return error_new(ERR_VALUE, "the device of port '%s' has no name",
                         vif->id);
    }
    return error_wrap(type->check(vif), "port '%s'", vif->id);
}

struct error *
vif_plug(const struct host *host, const struct vif *vif)
{
    struct error *error = vif_check(vif);

    return error ? error
                 : error_wrap(find_type(vif->type)->plug(host, vif),
                              "plug port '%s'", vif->id);
}

struct error *
vif_unplug(const struct host *host, const struct vif *vif)
{
    AUTO_ERROR error = vif_check(vif);

    return error ? NULL /* It never was plugged. */
                 : error_wrap(find_type(vif->type)->unplug(host, vif),
                              "unplug port '%s'", vif->id);
}

struct error *
vif_describe(const struct vif *vif, struct vif_backend *ret)
{
    struct error *error = vif_check(vif);

    if (!error) {
        *ret = (struct vif_backend){0};
        find_type(vif->type)->describe(vif, ret);
    }
    return error;
}

void
vif_link_name(const struct vif *vif, const char *prefix,
              char ret[VIF_LINK_SIZE])
{
    snprintf(ret, VIF_LINK_SIZE, "%s%.11s", prefix, vif->id);
}

bool
vif_is_link_name(const char *name)
{
    return host_is_plain(name, "._-") && strlen(name) <= 15;
}

struct error *
vif_ensure_bridge(const struct host *host, const char *name, int mtu,
                  bool floods)
{
    AUTO_FREE ipv6 = xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    struct error *error = NULL;

    if (!host_has_link(host, name)) {
        error = floods ? HOST_RUN(host, ERR_PROCESS, "ip", "link", "add",
                                  "name", name, "type", "bridge", "stp_state",
                                  "0", "forward_delay", "0", "ageing_time", "0",
                                  "mcast_snooping", "0")
                       : HOST_RUN(host, ERR_PROCESS, "ip", "link", "add",
                                  "name", name, "type", "bridge", "stp_state",
                                  "0", "forward_delay", "0");
        if (error && host_has_link(host, name)) {
            error_free(error); /* Somebody else was faster. */
            error = NULL;
        }
    }
    if (!error && host_has(host, ipv6)) {
        error = host_write(host, ipv6, "1", ERR_PROCESS);
    }
    return error ? error : vif_set_link(host, name, mtu, false);
}

struct error *
vif_set_link(const struct host *host, const char *name, int mtu,
             bool is_promiscuous)
{
    struct error *error = NULL;

    if (mtu) {
        AUTO_FREE text = xasprintf("%d", mtu);
        error = HOST_RUN(host, ERR_PROCESS, "ip", "link", "set", "dev", name,
                         "mtu", text);
    }
    if (error) {
        return error;
    }
    return is_promiscuous ? HOST_RUN(host, ERR_PROCESS, "ip", "link", "set",
                                     "dev", name, "promisc", "on", "up")
                          : HOST_RUN(host, ERR_PROCESS, "ip", "link", "set",
                                     "dev", name, "up");
}

static const struct vif_type *
find_type(const char *name)
{
    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        if (str_eq(types[i]->name, name)) {
            return types[i];
        }
    }
    return NULL;
}

static struct error *
nothing(const struct host *host UNUSED, const struct vif *vif UNUSED)
{
    return NULL;
}

static bool
is_mac(const char *text)
{
    size_t size = text ? strlen(text) : 0;

    for (size_t i = 0; i < size; i++) {
        bool is_colon = i % 3 == 2;
        if (is_colon ? text[i] != ':'
                     : !isdigit((unsigned char)text[i]) &&
                           !(text[i] >= 'a' && text[i] <= 'f')) {
            return false;
        }
    }
    return size == 17;
}

/* bridge */

static struct error *
bridge_check(const struct vif *vif)
{
    return vif_is_link_name(vif->bridge)
               ? NULL
               : error_new(ERR_VALUE, "its bridge has no name");
}

static struct error *
bridge_plug(const struct host *host, const struct vif *vif)
{
    if (host_has_link(host, vif->bridge)) {
        return NULL; /* As whoever made it wants it. */
    }
    if (!vif->may_create_bridge) {
        return error_new(ERR_PROCESS, "there is no bridge '%s' here",
                         vif->bridge);
    }
    return vif_ensure_bridge(host, vif->bridge, vif->mtu, false);
}

static void
bridge_describe(const struct vif *vif, struct vif_backend *ret)
{
    ret->type = "bridge";
    snprintf(ret->name, sizeof ret->name, "%s", vif->bridge);
    ret->device = vif->device;
}

/* macvtap */

static struct error *
macvtap_check(const struct vif *vif)
{
    static const char *const modes[] = {"vepa", "bridge", "private",
                                        "passthrough"};
    bool is_mode = false;

    for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
        is_mode |= str_eq(vif->mode, modes[i]);
    }
    if (!vif_is_link_name(vif->source) || !is_mode ||
        (vif->vlan && !vif_is_link_name(vif->parent))) {
        return error_new(ERR_VALUE, "its device, mode or VLAN is none");
    }
    return NULL;
}

static struct error *
macvtap_plug(const struct host *host, const struct vif *vif)
{
    struct error *error = NULL;

    if (!host_has_link(host, vif->source)) {
        AUTO_FREE id = xasprintf("%d", vif->vlan);
        error = vif->vlan
                    ? HOST_RUN(host, ERR_PROCESS, "ip", "link", "add", "link",
                               vif->parent, "name", vif->source, "type", "vlan",
                               "id", id)
                    : error_new(ERR_PROCESS, "there is no device '%s' here",
                                vif->source);
    }
    return error || !vif->vlan ? error
                               : vif_set_link(host, vif->source, 0, false);
}

static void
macvtap_describe(const struct vif *vif, struct vif_backend *ret)
{
    ret->type = "direct";
    snprintf(ret->name, sizeof ret->name, "%s", vif->source);
    ret->mode = vif->mode;
}

/* tap */

static struct error *
tap_check(const struct vif *vif)
{
    return vif->device ? NULL : error_new(ERR_VALUE, "its device has no name");
}

static struct error *
tap_plug(const struct host *host, const struct vif *vif)
{
    struct error *error = NULL;

    if (!host_has_link(host, vif->device)) {
        error = HOST_RUN(host, ERR_PROCESS, "ip", "tuntap", "add", "dev",
                         vif->device, "mode", "tap");
        if (!error) {
            error = HOST_RUN(host, ERR_PROCESS, "ip", "link", "set", "dev",
                             vif->device, "address", vif->mac);
        }
    }
    return error ? error : vif_set_link(host, vif->device, vif->mtu, false);
}

static struct error *
tap_unplug(const struct host *host, const struct vif *vif)
{
    return host_has_link(host, vif->device)
               ? HOST_RUN(host, ERR_PROCESS, "ip", "link", "delete", "dev",
                          vif->device)
               : NULL;
}

static void
tap_describe(const struct vif *vif, struct vif_backend *ret)
{
    ret->type = "ethernet";
    ret->device = vif->device;
}
