#include <config.h>

#include "rpc/names.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/mem.h"

bool
names_has(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (!strcmp(names->names[i], name)) {
            return true;
        }
    }
    return false;
}

void
names_add(struct names *names, const char *name)
{
    if (names->n == names->room) {
        names->names = xgrow(names->names, &names->room, sizeof *names->names);
    }
    names->names[names->n++] = xstrdup(name);
}

void
names_remove(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (!strcmp(names->names[i], name)) {
            free(names->names[i]);
            names->names[i] = names->names[--names->n];
            return;
        }
    }
}

void
names_clear(struct names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (struct names){0};
}
