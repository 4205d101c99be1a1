#include <config.h>

#include "drivers/domain_edit.h"

#include <libxml/tree.h>

#include "drivers/driver.h"
#include "drivers/xml.h"

/* The host's CPUs and memory nodes that a guest is held to.  Only what the
 * definition has is changed, so that a guest that was held to nothing stays
 * free. (spec/live-migration 4.3) */

static void edit_pins(xmlNode *holder, const char *name, const char *id,
                      const char *set, const struct guest_pins *pins);
static void edit_scheduler(xmlNode *cputune, const struct dest_pins *pins);

void
domain_edit_pins(xmlNode *domain, const struct dest_pins *pins)
{
    xmlNode *cputune = xml_child(domain, "cputune");
    xmlNode *numatune = xml_child(domain, "numatune");
    xmlNode *emulator = xml_child(cputune, "emulatorpin");
    xmlNode *memory = xml_child(numatune, "memory");

    edit_pins(cputune, "vcpupin", "vcpu", "cpuset", &pins->cpus);
    edit_pins(numatune, "memnode", "cellid", "nodeset", &pins->cells);
    if (emulator && pins->emulator) {
        xml_set_attr(emulator, "cpuset", pins->emulator);
    }
    if (xml_has_attr(memory, "nodeset") && pins->all_cells) {
        xml_set_attr(memory, "nodeset", pins->all_cells);
    }
    edit_scheduler(cputune, pins);
}

static void
edit_pins(xmlNode *holder, const char *name, const char *id, const char *set,
          const struct guest_pins *pins)
{
    xml_for_each (node, holder, name) {
        AUTO_FREE text = xml_attr(node, id);

        for (size_t i = 0; i < pins->n; i++) {
            if (str_eq(text, pins->pins[i].id)) {
                xml_set_attr(node, set, pins->pins[i].set);
            }
        }
    }
}

/* Both are told or neither counts. */
static void
edit_scheduler(xmlNode *cputune, const struct dest_pins *pins)
{
    if (!cputune || !pins->realtime || !pins->has_priority) {
        return;
    }
    AUTO_FREE priority = xasprintf("%d", pins->priority);
    xml_remove_children(cputune, "vcpusched");
    xmlNode *scheduler = xml_add_child(cputune, "vcpusched");
    xml_set_attr(scheduler, "vcpus", pins->realtime);
    xml_set_attr(scheduler, "scheduler", "fifo");
    xml_set_attr(scheduler, "priority", priority);
}
