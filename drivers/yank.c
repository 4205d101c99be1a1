#include <config.h>

#include "drivers/yank.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/mem.h"

/* libvirt's names for disks over there (8 to 11). */
#define DISK "\"migration-"
#define MEMORY "\"migration\""

static void
add(char **list, const char *type, const char *name, int size)
{
    char *longer = xasprintf(
        "%s%s{\"type\": \"%s\"%s%.*s}", *list ? *list : "", *list ? ", " : "",
        type, size ? ", \"node-name\": " : "", size, size ? name : "");

    free(*list);
    *list = longer;
}

char *
yank_command(const char *answer, bool only_disks)
{
    AUTO_FREE list = NULL;

    for (const char *at = answer; (at = strstr(at, DISK));) {
        const char *end = strchr(at + 1, '"');

        if (!end) {
            break;
        }
        add(&list, "block-node", at, (int)(end + 1 - at));
        at = end + 1;
    }
    if (!only_disks && strstr(answer, MEMORY)) {
        add(&list, "migration", NULL, 0);
    }
    return list ? xasprintf("{\"execute\": \"yank\", \"arguments\": "
                            "{\"instances\": [%s]}}",
                            list)
                : NULL;
}
