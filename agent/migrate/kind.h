#ifndef DROVER_MIGRATE_KIND_H
#define DROVER_MIGRATE_KIND_H

/* How a guest is moved. (spec/live-migration 1.1)
 *
 * Pure.  Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"

/* Each with the word by which people and agents ask for it, and the type that
 * its record has: Nova's, as far as it has one. */
#define MIGRATE_KINDS                            \
    MIGRATE_KIND(LIVE, "live", "live-migration") \
    MIGRATE_KIND(COLD, "cold", "migration")      \
    MIGRATE_KIND(STATIC, "static", "static-migration")

enum migrate_kind {
#define MIGRATE_KIND(NAME, WORD, TYPE) MIGRATE_##NAME,
    MIGRATE_KINDS
#undef MIGRATE_KIND
};

const char *migrate_kind_word(enum migrate_kind kind);
const char *migrate_kind_type(enum migrate_kind kind);

/* Null is "live".  ERR_VALUE. */
struct error *migrate_kind_parse(const char *word,
                                 enum migrate_kind *ret) WARN_UNUSED;

#endif
