#ifndef DROVER_CONF_CONF_FILE_H
#define DROVER_CONF_CONF_FILE_H

/* Reading a file of settings, whatever its syntax.
 *
 * Threads: any; waits for the disk. */

#include <stddef.h>

#include "agent/base/error.h"

/* Far above any real file. */
#define CONF_FILE_MAX_SIZE (1u << 20)

/* Stores the text, the caller's, of which there may be one byte more than
 * CONF_FILE_MAX_SIZE, and whether others may read the file.  ERR_CONFIG. */
struct error *conf_file_read(const char *path, char **ret, size_t *ret_size,
                             bool *ret_is_public) WARN_UNUSED;

#endif
