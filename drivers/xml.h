#ifndef DROVER_DRIVERS_XML_H
#define DROVER_DRIVERS_XML_H

/* libxml2 made safe and short for documents that a hypervisor or a peer sends.
 *
 * A document is limited in size, loads nothing from elsewhere, and has no
 * document type, hence no entities of its own.
 *
 * Threads: any, one document at a time; call xmlInitParser() before threads
 * start. */

#include <libxml/tree.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/base/mem.h"

#define XML_SIZE_MAX (4u << 20) /* bytes; real ones have some KiB */

static inline void
xml_doc_free_at(xmlDoc **doc)
{
    if (*doc) {
        xmlFreeDoc(*doc);
    }
}
#define AUTO_XML CLEANUP(xml_doc_free_at) xmlDoc *

/* Parses 'size' bytes, which may be anything at all; the root must be called
 * 'root'.  ERR_VALUE. */
struct error *xml_parse(const char *text, size_t size, const char *root,
                        xmlDoc **ret) WARN_UNUSED;

char *xml_format(xmlDoc *doc);
char *xml_format_node(xmlDoc *doc, xmlNode *node);

/* The first child element of that name, and the next sibling.  A null node
 * has none, so that look-ups can be nested. */
xmlNode *xml_child(const xmlNode *node, const char *name);
xmlNode *xml_next(const xmlNode *node, const char *name);
#define xml_for_each(CHILD, NODE, NAME)                 \
    for (xmlNode *CHILD = xml_child(NODE, NAME); CHILD; \
         CHILD = xml_next(CHILD, NAME))

/* The caller's; null: no node, no attribute, or (text) empty. */
char *xml_attr(const xmlNode *node, const char *name);
char *xml_text(const xmlNode *node);

bool xml_attr_is(const xmlNode *node, const char *name, const char *value);
bool xml_has_attr(const xmlNode *node, const char *name);

/* A whole number from 0 to 'max', or -1 if 'text' (may be null) is none. */
int64_t xml_number(const char *text, int64_t max);

void xml_set_attr(xmlNode *node, const char *name, const char *value);
xmlNode *xml_add_child(xmlNode *node, const char *name);
void xml_remove(xmlNode *node); /* Null is fine. */
void xml_remove_children(xmlNode *node, const char *name);

#endif
