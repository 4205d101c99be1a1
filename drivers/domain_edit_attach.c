#include <config.h>

#include "drivers/domain_edit.h"

#include <ctype.h>
#include <libxml/tree.h>
#include <stdlib.h>

#include "drivers/driver.h"
#include "drivers/vif.h"
#include "drivers/volume.h"
#include "drivers/xml.h"

/* Volumes and ports, as their destination reaches them.
 *
 * Only what stands for the host's side is replaced: where a disk is read and
 * an interface is plugged.  The rest (address, model, boot order, limits) the
 * guest sees, or its owner asked for; the destination's idea of it, which Nova
 * would put in, is at best the same. (spec/live-migration 4.3) */

static struct error *edit_disk(xmlNode *disk, const struct volume *volume);
static void edit_driver(xmlNode *disk, const struct volume *volume,
                        const struct volume_source *source);
static void fill_network_source(xmlNode *node, const struct volume *volume,
                                const struct volume_source *source);
static struct error *edit_interface(xmlNode *interface, const struct vif *vif);
static const struct volume *volume_of(const struct volume_list *volumes,
                                      const char *serial);
static const struct vif *vif_of(const struct vif_list *vifs, const char *mac);
static xmlNode *empty_child(xmlNode *node, const char *name);

struct error *
domain_edit_volumes(xmlNode *devices, const struct volume_list *volumes)
{
    xml_for_each (disk, devices, "disk") {
        AUTO_FREE serial = xml_text(xml_child(disk, "serial"));
        const struct volume *volume = volume_of(volumes, serial);
        struct error *error = volume ? edit_disk(disk, volume) : NULL;

        if (error) {
            return error;
        }
    }
    return NULL;
}

struct error *
domain_edit_vifs(xmlNode *devices, const struct vif_list *vifs)
{
    if (!vifs->n) {
        return NULL; /* Nobody said anything of them. */
    }
    xml_for_each (interface, devices, "interface") {
        AUTO_FREE mac = xml_attr(xml_child(interface, "mac"), "address");
        const struct vif *vif = vif_of(vifs, mac);

        if (!vif) {
            return error_new(ERR_VALUE,
                             "the interface with address '%s' is none of the "
                             "ports that were told",
                             mac ? mac : "");
        }
        struct error *error = edit_interface(interface, vif);
        if (error) {
            return error;
        }
    }
    return NULL;
}

static struct error *
edit_disk(xmlNode *disk, const struct volume *volume)
{
    static const char *const stale[] = {"auth", "encryption", "backingStore",
                                        "mirror"};
    struct volume_source source;
    struct error *error = volume_describe(volume, &source);

    if (error) {
        return error;
    }
    xml_set_attr(disk, "type", source.type);
    for (size_t i = 0; i < N_ELEMENTS(stale); i++) {
        xml_remove_children(disk, stale[i]);
    }
    edit_driver(disk, volume, &source);
    xmlNode *node = empty_child(disk, "source");
    if (str_eq(source.type, "network")) {
        fill_network_source(node, volume, &source);
    } else {
        xml_set_attr(node, str_eq(source.type, "file") ? "file" : "dev",
                     source.path);
    }
    if (volume->encryption_secret_uuid) {
        xmlNode *encryption = xml_add_child(node, "encryption");
        xml_set_attr(encryption, "format", "luks");
        xmlNode *secret = xml_add_child(encryption, "secret");
        xml_set_attr(secret, "type", "passphrase");
        xml_set_attr(secret, "uuid", volume->encryption_secret_uuid);
    }
    if (volume->readonly && !xml_child(disk, "readonly")) {
        xml_add_child(disk, "readonly");
    }
    return NULL;
}

/* How it is cached and queued is part of what the guest sees; a new element
 * has what Nova gives. */
static void
edit_driver(xmlNode *disk, const struct volume *volume,
            const struct volume_source *source)
{
    bool is_network = str_eq(source->type, "network");
    xmlNode *driver = xml_child(disk, "driver");

    if (!driver) {
        driver = xml_add_child(disk, "driver");
        xml_set_attr(driver, "cache", "none");
        if (!is_network) {
            xml_set_attr(driver, "io", "native");
        }
    }
    xml_set_attr(driver, "name", "qemu");
    xml_set_attr(driver, "type", volume->format);
    if (volume->discard) {
        xml_set_attr(driver, "discard", "unmap");
    }
    if (is_network) {
        xmlUnsetProp(driver, BAD_CAST "io");
    }
}

static void
fill_network_source(xmlNode *node, const struct volume *volume,
                    const struct volume_source *source)
{
    xml_set_attr(node, "protocol", source->protocol);
    xml_set_attr(node, "name", source->name);
    for (size_t i = 0; i < volume->n_hosts; i++) {
        xmlNode *host = xml_add_child(node, "host");
        xml_set_attr(host, "name", volume->hosts[i]);
        if (volume->ports[i]) {
            xml_set_attr(host, "port", volume->ports[i]);
        }
    }
    if (volume->ceph_user) {
        xmlNode *auth = xml_add_child(node, "auth");
        xml_set_attr(auth, "username", volume->ceph_user);
        xmlNode *secret = xml_add_child(auth, "secret");
        xml_set_attr(secret, "type", "ceph");
        xml_set_attr(secret, "uuid", volume->ceph_secret);
    }
}

static struct error *
edit_interface(xmlNode *interface, const struct vif *vif)
{
    struct vif_backend backend;
    struct error *error = vif_describe(vif, &backend);

    if (error) {
        return error;
    }
    xml_set_attr(interface, "type", backend.type);
    xmlUnsetProp(interface, BAD_CAST "managed");
    xml_remove_children(interface, "virtualport");
    if (*backend.name) {
        bool is_bridge = str_eq(backend.type, "bridge");
        xmlNode *source = empty_child(interface, "source");
        xml_set_attr(source, is_bridge ? "bridge" : "dev", backend.name);
        if (backend.mode) {
            xml_set_attr(source, "mode", backend.mode);
        }
    } else {
        xml_remove_children(interface, "source");
    }
    if (backend.interface_id) {
        xmlNode *port = xml_add_child(interface, "virtualport");
        xml_set_attr(port, "type", "openvswitch");
        xml_set_attr(xml_add_child(port, "parameters"), "interfaceid",
                     backend.interface_id);
    }
    if (backend.device) {
        xml_set_attr(empty_child(interface, "target"), "dev", backend.device);
    } else {
        xml_remove_children(interface, "target");
    }
    xmlNode *mtu = xml_child(interface, "mtu");
    if (mtu && vif->mtu) { /* One that it never had keeps it from starting. */
        AUTO_FREE size = xasprintf("%d", vif->mtu);
        xml_set_attr(mtu, "size", size);
    }
    return NULL;
}

static const struct volume *
volume_of(const struct volume_list *volumes, const char *serial)
{
    for (size_t i = 0; serial && i < volumes->n; i++) {
        if (str_eq(volumes->volumes[i]->id, serial)) {
            return volumes->volumes[i];
        }
    }
    return NULL;
}

static const struct vif *
vif_of(const struct vif_list *vifs, const char *mac)
{
    AUTO_FREE lower = xstrdup(mac ? mac : "");

    for (char *c = lower; *c; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    for (size_t i = 0; i < vifs->n; i++) {
        if (str_eq(vifs->vifs[i]->mac, lower)) {
            return vifs->vifs[i];
        }
    }
    return NULL;
}

/* The child of that name, where it stands, with nothing in it. */
static xmlNode *
empty_child(xmlNode *node, const char *name)
{
    xmlNode *child = xml_child(node, name);

    if (!child) {
        return xml_add_child(node, name);
    }
    while (child->properties) {
        xmlRemoveProp(child->properties);
    }
    while (child->children) {
        xml_remove(child->children);
    }
    return child;
}
