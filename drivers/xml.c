#include <config.h>

#include "drivers/xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

static xmlNode *first_element(xmlNode *node, const char *name);

struct error *
xml_parse(const char *text, size_t size, const char *root, xmlDoc **ret)
{
    if (size > XML_SIZE_MAX) {
        return error_new(ERR_VALUE, "xml has %zu bytes", size);
    }

    AUTO_XML doc = xmlReadMemory(text, (int)size, NULL, NULL,
                                 XML_PARSE_NONET | XML_PARSE_NOERROR |
                                     XML_PARSE_NOWARNING);
    if (!doc) {
        const xmlError *why = xmlGetLastError();
        AUTO_FREE reason = xstrdup(why && why->message ? why->message : "");
        reason[strcspn(reason, "\n")] = '\0';
        return error_new(ERR_VALUE, "xml is not well-formed: %s", reason);
    }
    if (doc->intSubset || doc->extSubset) {
        return error_new(ERR_VALUE, "xml has a document type");
    }

    const xmlNode *top = xmlDocGetRootElement(doc);
    if (!top || strcmp((const char *)top->name, root) != 0) {
        return error_new(ERR_VALUE, "xml is no '%s'", root);
    }
    *ret = steal(&doc);
    return NULL;
}

char *
xml_format(xmlDoc *doc)
{
    return xml_format_node(doc, xmlDocGetRootElement(doc));
}

char *
xml_format_node(xmlDoc *doc, xmlNode *node)
{
    xmlBuffer *buffer = xmlBufferCreate();

    if (!buffer || xmlNodeDump(buffer, doc, node, 0, 0) < 0) {
        abort(); /* No memory. */
    }
    char *text = xstrdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

xmlNode *
xml_child(const xmlNode *node, const char *name)
{
    return node ? first_element(node->children, name) : NULL;
}

xmlNode *
xml_next(const xmlNode *node, const char *name)
{
    return first_element(node->next, name);
}

char *
xml_attr(const xmlNode *node, const char *name)
{
    xmlChar *value = node ? xmlGetNoNsProp(node, BAD_CAST name) : NULL;
    char *copy = xstrdup_null((const char *)value);

    xmlFree(value);
    return copy;
}

char *
xml_text(const xmlNode *node)
{
    xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
    char *copy = value && *value ? xstrdup((const char *)value) : NULL;

    xmlFree(value);
    return copy;
}

bool
xml_attr_is(const xmlNode *node, const char *name, const char *value)
{
    AUTO_FREE actual = xml_attr(node, name);

    return actual && strcmp(actual, value) == 0;
}

bool
xml_has_attr(const xmlNode *node, const char *name)
{
    return node && xmlHasNsProp(node, BAD_CAST name, NULL);
}

int64_t
xml_number(const char *text, int64_t max)
{
    char *end;

    if (!text || *text < '0' || *text > '9') {
        return -1;
    }
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return *end || errno || number > max ? -1 : number;
}

void
xml_set_attr(xmlNode *node, const char *name, const char *value)
{
    if (!xmlSetProp(node, BAD_CAST name, BAD_CAST value)) {
        abort(); /* No memory. */
    }
}

xmlNode *
xml_add_child(xmlNode *node, const char *name)
{
    xmlNode *child = xmlNewChild(node, NULL, BAD_CAST name, NULL);

    if (!child) {
        abort(); /* No memory. */
    }
    return child;
}

void
xml_remove(xmlNode *node)
{
    if (node) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
}

void
xml_remove_children(xmlNode *node, const char *name)
{
    for (xmlNode *child = xml_child(node, name), *next; child; child = next) {
        next = xml_next(child, name);
        xml_remove(child);
    }
}

static xmlNode *
first_element(xmlNode *node, const char *name)
{
    while (node && (node->type != XML_ELEMENT_NODE ||
                    strcmp((const char *)node->name, name) != 0)) {
        node = node->next;
    }
    return node;
}
