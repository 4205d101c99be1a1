#include <config.h>

#include "agent/attachments.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One connection_info, one VIF.  Nothing is checked but that what is needed is
 * there: the drivers look at each text before they use it. */

static void parse_iscsi(const struct json *data, struct volume *volume);
static void parse_rbd(const struct conf *conf, const struct json *data,
                      struct volume *volume);

static char *
text_of(const struct json *json, const char *name)
{
    return xstrdup_null(json_string_of(json, name));
}

/* Volumes. */

struct error *
attachments_parse_volume(const struct conf *conf, const struct json *info,
                         const char *uuid, struct volume **ret)
{
    const struct json *data = json_get(info, "data");
    const char *type = json_string_of(info, "driver_volume_type");
    const char *format = json_string_of(data, "format");

    if (!type || !json_is_object(data) || !json_string_of(info, "serial")) {
        return error_new(ERR_VALUE, "a connection_info has a "
                                    "driver_volume_type, data and a serial");
    }
    struct volume *volume = xzalloc(sizeof *volume);
    volume->type = xstrdup(type);
    volume->id = text_of(info, "serial");
    volume->user = xstrdup(uuid);
    volume->device_path = text_of(data, "device_path");
    volume->is_file = str_eq(json_string_of(data, "device_type"), "file");
    volume->format = xstrdup(format ? format : "raw");
    volume->readonly = str_eq(json_string_of(data, "access_mode"), "ro");
    volume->discard = json_bool_of(data, "discard");
    volume->share = text_of(data, "export");
    volume->options = text_of(data, "options");
    volume->name = text_of(data, "name");
    if (str_eq(type, "iscsi")) {
        parse_iscsi(data, volume);
    } else if (str_eq(type, "rbd")) {
        parse_rbd(conf, data, volume);
    }
    *ret = volume;
    return NULL;
}

static void
add_path(struct volume *volume, const char *portal, const char *iqn,
         int64_t lun)
{
    for (size_t i = 0; i < volume->n_paths; i++) {
        const struct volume_path *path = &volume->paths[i];
        if (str_eq(path->portal, portal) && str_eq(path->iqn, iqn) &&
            path->lun == lun) {
            return;
        }
    }
    volume->paths =
        xrealloc(volume->paths, (volume->n_paths + 1) * sizeof *volume->paths);
    volume->paths[volume->n_paths++] = (struct volume_path){
        .portal = xstrdup(portal), .iqn = xstrdup(iqn), .lun = lun};
}

/* The first is said by itself, too. */
static void
parse_iscsi(const struct json *data, struct volume *volume)
{
    const char *portal = json_string_of(data, "target_portal");
    const char *iqn = json_string_of(data, "target_iqn");
    const struct json *iqns = json_get(data, "target_iqns");
    const struct json *luns = json_get(data, "target_luns");
    size_t i = 0;

    volume->auth_method = text_of(data, "auth_method");
    volume->auth_username = text_of(data, "auth_username");
    volume->auth_password = text_of(data, "auth_password");
    if (portal && iqn) {
        add_path(volume, portal, iqn, json_int_of(data, "target_lun"));
    }
    json_for_each (other, json_get(data, "target_portals")) {
        const char *its_iqn = json_get_string(json_at(iqns, i));
        const struct json *its_lun = json_at(luns, i);
        if (json_get_string(other) && its_iqn && i < ATTACHMENTS_MAX) {
            add_path(volume, json_get_string(other), its_iqn,
                     its_lun ? json_get_int(its_lun)
                             : json_int_of(data, "target_lun"));
        }
        i++;
    }
}

static char *
port_text(const struct json *port)
{
    return json_is_int(port) ? xasprintf("%" PRId64, json_get_int(port))
                             : xstrdup_null(json_get_string(port));
}

/* Cinder's user comes before ours. */
static void
parse_rbd(const struct conf *conf, const struct json *data,
          struct volume *volume)
{
    const struct json *hosts = json_get(data, "hosts");
    const struct json *ports = json_get(data, "ports");
    size_t n = json_size(hosts);

    volume->hosts = xcalloc(n, sizeof *volume->hosts);
    volume->ports = xcalloc(n, sizeof *volume->ports);
    volume->n_hosts = n;
    for (size_t i = 0; i < n; i++) {
        volume->hosts[i] = xstrdup_null(json_get_string(json_at(hosts, i)));
        volume->ports[i] = port_text(json_at(ports, i));
    }
    if (!json_bool_of(data, "auth_enabled")) {
        return;
    }
    if (json_string_of(data, "secret_uuid") || !conf) {
        volume->ceph_user = text_of(data, "auth_username");
        volume->ceph_secret = text_of(data, "secret_uuid");
    } else {
        volume->ceph_user = xstrdup_null(conf->libvirt.rbd_user);
        volume->ceph_secret = xstrdup_null(conf->libvirt.rbd_secret_uuid);
    }
}

/* Ports. */

static int
small_int(const struct json *object, const char *name)
{
    int64_t value = json_int_of(object, name);

    return value < 0 || value > INT32_MAX ? -1 : (int)value;
}

/* Of a port that was recorded while it was bound nowhere it is not said which
 * bridge it is, but it is always this one. */
static char *
usual_bridge(const struct json *network)
{
    const char *id = json_string_of(network, "id");

    return id ? xasprintf("brq%.11s", id) : NULL;
}

struct error *
attachments_parse_vif(const struct json *json, const char *uuid,
                      struct vif **ret)
{
    const struct json *network = json_get(json, "network");
    const struct json *meta = json_get(network, "meta");
    const struct json *details = json_get(json, "details");
    const char *id = json_string_of(json, "id");
    const char *bridge = json_string_of(details, "bridge_name");
    const char *interface_id = json_string_of(json, "ovs_interfaceid");

    if (!id || !json_string_of(json, "address")) {
        return error_new(ERR_VALUE, "a port has an id and an address");
    }
    struct vif *vif = xzalloc(sizeof *vif);
    vif->id = xstrdup(id);
    vif->instance = xstrdup(uuid);
    vif->type = text_of(json, "type");
    vif->mac = text_of(json, "address");
    for (char *c = vif->mac; *c; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    vif->device = text_of(json, "devname");
    if (!vif->device) {
        vif->device = xasprintf("tap%.11s", id);
    }
    vif->bridge = bridge ? xstrdup(bridge) : text_of(network, "bridge");
    vif->interface_id = xstrdup(interface_id ? interface_id : id);
    vif->mtu = small_int(meta, "mtu");
    vif->is_hybrid = json_bool_of(details, "ovs_hybrid_plug");
    vif->is_delegated = json_bool_of(json, "delegate_create");
    vif->may_create_bridge = json_bool_of(meta, "should_create_bridge");
    if (!vif->bridge && str_eq(vif->type, "bridge")) {
        vif->bridge = usual_bridge(network);
        vif->may_create_bridge = true;
    }
    vif->source = text_of(details, "macvtap_source");
    vif->mode = text_of(details, "macvtap_mode");
    vif->parent = text_of(details, "physical_interface");
    vif->vlan = small_int(details, "vlan");
    *ret = vif;
    return NULL;
}
