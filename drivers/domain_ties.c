#include <config.h>

#include "drivers/domain_xml.h"

#include <string.h>

#include "drivers/driver.h"
#include "drivers/xml.h"

/* Devices that a guest can't take along.  Each row names an element of
 * <devices>, a condition, and what it means; "/" in 'where' goes down to a
 * child.  A null 'attribute' is always met, a null 'value' by an attribute
 * that is missing. */
static const struct row {
    const char *element, *where, *attribute, *value;
    enum guest_tie tie;
} rows[] = {
    {"hostdev", NULL, NULL, NULL, GUEST_TIE_HOSTDEV},
    {"interface", NULL, "type", "hostdev", GUEST_TIE_HOSTDEV},
    {"disk", NULL, "type", "nvme", GUEST_TIE_HOSTDEV},
    {"interface", NULL, "type", "vdpa", GUEST_TIE_VDPA},
    {"disk", NULL, "type", "vhostvdpa", GUEST_TIE_VDPA},
    {"disk", NULL, "type", "vhostuser", GUEST_TIE_VHOST_USER_DISK},
    /* One that is block or file backed is storage. */
    {"filesystem", NULL, "type", "mount", GUEST_TIE_SHARED_FS},
    {"filesystem", NULL, "type", NULL, GUEST_TIE_SHARED_FS},
    {"shmem", NULL, NULL, NULL, GUEST_TIE_SHMEM},
    {"memory", NULL, "model", "nvdimm", GUEST_TIE_PMEM},
    {"memory", NULL, "model", "virtio-pmem", GUEST_TIE_PMEM},
    {"tpm", "backend", "type", "passthrough", GUEST_TIE_TPM},
    {"input", NULL, "type", "passthrough", GUEST_TIE_INPUT},
    {"input", NULL, "type", "evdev", GUEST_TIE_INPUT},
    {"serial", NULL, "type", "dev", GUEST_TIE_CHARDEV},
    {"parallel", NULL, "type", "dev", GUEST_TIE_CHARDEV},
    {"console", NULL, "type", "dev", GUEST_TIE_CHARDEV},
    {"channel", NULL, "type", "dev", GUEST_TIE_CHARDEV},
    {"smartcard", NULL, "mode", "host", GUEST_TIE_SMARTCARD},
    {"smartcard", NULL, "mode", "host-certificates", GUEST_TIE_SMARTCARD},
    {"video", "model/acceleration", "accel3d", "yes", GUEST_TIE_GL},
};

static bool is_met(const struct row *row, const xmlNode *device);
static const xmlNode *go_down(const xmlNode *node, const char *where);

unsigned
domain_ties(const xmlNode *domain)
{
    const xmlNode *devices = xml_child(domain, "devices");
    unsigned ties =
        xml_child(domain, "launchSecurity") ? GUEST_TIE_ENCRYPTED : 0;

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        xml_for_each (device, devices, rows[i].element) {
            ties |= is_met(&rows[i], device) ? rows[i].tie : 0;
        }
    }
    return ties;
}

static bool
is_met(const struct row *row, const xmlNode *device)
{
    const xmlNode *node = go_down(device, row->where);

    if (!row->attribute) {
        return node;
    }
    return row->value ? xml_attr_is(node, row->attribute, row->value)
                      : !xml_has_attr(node, row->attribute);
}

static const xmlNode *
go_down(const xmlNode *node, const char *where)
{
    AUTO_FREE path = xstrdup_null(where);

    for (char *at = path, *name; at && (name = strsep(&at, "/"));) {
        node = xml_child(node, name);
    }
    return node;
}
