#include <config.h>

#include "conf/conf_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct error *
conf_file_read(const char *path, char **ret, size_t *ret_size,
               bool *ret_is_public)
{
    FILE *file = fopen(path, "re");
    struct stat status;

    if (!file) {
        return error_new(ERR_CONFIG, "%s: cannot be opened: %s", path,
                         strerror(errno));
    }
    AUTO_FREE text = xmalloc(CONF_FILE_MAX_SIZE + 1);
    size_t size = fread(text, 1, CONF_FILE_MAX_SIZE + 1, file);
    bool is_bad = ferror(file) || fstat(fileno(file), &status) < 0;
    int saved_errno = errno;

    fclose(file);
    if (is_bad) {
        return error_new(ERR_CONFIG, "%s: cannot be read: %s", path,
                         strerror(saved_errno));
    }
    *ret = steal(&text);
    *ret_size = size;
    *ret_is_public = status.st_mode & S_IROTH;
    return NULL;
}
