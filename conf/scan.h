#ifndef DROVER_CONF_SCAN_H
#define DROVER_CONF_SCAN_H

/* A look at the text of a configuration for what libconfig does not tell.
 *
 * libconfig 1.5 reads 5000000000 as 705032704 and says nothing, and reports a
 * name that is set twice without the name.  It would also follow @include to
 * any file, whose text would not be looked at; that is refused.  Whether the
 * text is well formed is libconfig's to say.  Pure.
 *
 * Threads: no shared state; any thread. */

#include <stddef.h>

#include "agent/base/error.h"

/* ERR_CONFIG, "FILE:LINE: ..." with 'name' for the file, if the text holds
 * what libconfig would silently misread. */
struct error *scan_check(const char *text, size_t size,
                         const char *name) WARN_UNUSED;

/* The full name ("libvirt.virt_type") of the setting on line 'line' that was
 * set before; the caller's.  Null if there is none. */
char *scan_repeated(const char *text, size_t size, int line);

#endif
