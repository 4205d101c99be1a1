#include <config.h>

#include "agent/migrate/kind.h"

static const struct {
    const char *word, *type;
} kinds[] = {
#define MIGRATE_KIND(NAME, WORD, TYPE) [MIGRATE_##NAME] = {WORD, TYPE},
    MIGRATE_KINDS
#undef MIGRATE_KIND
};

const char *
migrate_kind_word(enum migrate_kind kind)
{
    return kinds[kind].word;
}

const char *
migrate_kind_type(enum migrate_kind kind)
{
    return kinds[kind].type;
}

struct error *
migrate_kind_parse(const char *word, enum migrate_kind *ret)
{
    for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
        if (!word || str_eq(kinds[i].word, word)) {
            *ret = (enum migrate_kind)i;
            return NULL;
        }
    }
    return error_new(ERR_VALUE,
                     "a migration is live, cold or static, not "
                     "'%.32s'",
                     word);
}
