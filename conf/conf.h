#ifndef DROVER_CONF_CONF_H
#define DROVER_CONF_CONF_H

/* The configuration: a libconfig file in, one typed struct out.
 *
 * Every option stands once, in conf/options.def, from which the struct, the
 * look-up, the example file and the manual are made.  Nothing wrong is passed
 * over: an unknown name, a wrong type, a value out of range and options that
 * do not go together are refused with file, line, name and reason.  What a
 * value means is the affair of the modules that are given it; these do not
 * include this header (but for agent/main.c and its like).
 *
 * Messages and warnings never hold the value of a string that may contain a
 * password.
 *
 * Threads: no shared state; a loaded configuration is read-only and may be
 * read by any thread. */

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include "agent/base/error.h"

/* QEMU takes no longer pause. */
#define CONF_DOWNTIME_MAX_MS 2000000

/* struct conf: conf->host, conf->libvirt.live_migration_bandwidth...
 *
 * A string is null if the option is not set and has no default.  A list is
 * never null and ends with null.  'compute_driver' is "libvirt" or "fake",
 * whatever was written. */
/* clang-format off */
#define OPT_TOP_BEGIN(HELP) struct conf {
#define OPT_GROUP_BEGIN(NAME, HELP) struct conf_##NAME {
#define OPT_GROUP_END(NAME) } NAME;
#define OPT_STRING(NAME, DEFAULT, USE, HELP) char *NAME;
#define OPT_PATH(NAME, DEFAULT, USE, HELP) char *NAME;
#define OPT_ENUM(NAME, DEFAULT, VALUES, USE, HELP) char *NAME;
#define OPT_LIST(NAME, DEFAULT, USE, HELP) char **NAME;
#define OPT_BOOL(NAME, DEFAULT, USE, HELP) bool NAME;
#define OPT_INT(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) int NAME;
#define OPT_INT64(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) int64_t NAME;
#define OPT_FLOAT(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) double NAME;
#include "conf/options.def"
};
/* clang-format on */

/* Told, in one line, of each thing that is accepted but was hardly meant:
 * "FILE:LINE: option 'NAME': reason". */
typedef void conf_warn_fn(void *aux, const char *text);

/* Reads the file at 'path'.  On success stores a configuration, the caller's,
 * in '*ret'.  Otherwise ERR_CONFIG, and '*ret' is left alone.  'warn' may be
 * null. */
struct error *conf_load(const char *path, conf_warn_fn *warn, void *aux,
                        struct conf **ret) WARN_UNUSED;

/* The same for 'size' bytes of text, which may be anything at all; 'name'
 * stands for the file in messages. */
struct error *conf_load_text(const char *text, size_t size, const char *name,
                             conf_warn_fn *warn, void *aux,
                             struct conf **ret) WARN_UNUSED;

/* What an empty file gives, unchecked: the machine's host name may be one that
 * conf_load() refuses.  The caller's. */
struct conf *conf_defaults(void);

/* Sets an option from a text, as an option in the query of transport_url does:
 * a Boolean may be true, false, 1, 0, yes, no, on or off, a list is separated
 * by commas.  'group' is null for the top level.  ERR_CONFIG, with nothing
 * changed, if there is no such option or the value will not do.  Rules that
 * concern several options are checked as when loading. */
struct error *conf_set(struct conf *conf, const char *group, const char *name,
                       const char *value) WARN_UNUSED;

void conf_free(struct conf *conf);
CLEANUP_FUNC(struct conf, conf_free)
#define AUTO_CONF CLEANUP(conf_free_at) struct conf *

#endif
