#include <config.h>

#include "drivers/qcow2.h"

#include <stdlib.h>
#include <string.h>

/* Offsets and numbers of the format's description (docs/interop/qcow2.txt). */
#define MAGIC 0x514649fbu
#define VERSION_AT 4
#define BACKING_OFFSET_AT 8
#define BACKING_SIZE_AT 16
#define VIRTUAL_SIZE_AT 24
#define CRYPT_METHOD_AT 32
#define INCOMPATIBLE_LOW_AT 76
#define INCOMPATIBLE_DATA_FILE (1u << 2)
#define HEADER_SIZE_AT 100
#define V2_HEADER_SIZE 72
#define V3_HEADER_MIN 104
#define BACKING_SIZE_MAX 1023
#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau

static struct error *check_name(const char *name, const char *path);
static char *find_format(const uint8_t *data, size_t size);
static uint32_t number_at(const uint8_t *data, size_t at);
static uint64_t long_at(const uint8_t *data, size_t at);

struct error *
qcow2_backing(const void *data_, size_t size, const char *path,
              char **ret_backing, char **ret_format)
{
    const uint8_t *data = data_;

    if (size < V2_HEADER_SIZE || number_at(data, 0) != MAGIC) {
        return error_new(ERR_VALUE, "'%s' is no qcow2 image", path);
    }
    uint64_t offset = long_at(data, BACKING_OFFSET_AT);
    uint32_t n = number_at(data, BACKING_SIZE_AT);

    if (offset == 0) {
        *ret_backing = *ret_format = NULL;
        return NULL;
    }
    if (n > BACKING_SIZE_MAX || offset > size || n > size - offset) {
        return error_new(ERR_VALUE, "the header of '%s' is damaged", path);
    }
    AUTO_FREE name = xstrndup((const char *)data + offset, n);
    struct error *error = check_name(name, path);
    if (error) {
        return error;
    }
    const char *slash = strrchr(path, '/');
    *ret_backing = name[0] == '/' || !slash
                       ? xstrdup(name)
                       : xasprintf("%.*s/%s", (int)(slash - path), path, name);
    *ret_format = find_format(data, offset);
    return NULL;
}

struct error *
qcow2_look(const void *data_, size_t size, const char *path,
           struct qcow2_facts *ret)
{
    const uint8_t *data = data_;
    uint32_t version = size >= V2_HEADER_SIZE ? number_at(data, VERSION_AT) : 0;
    bool is_v3 = version == 3 && size >= V3_HEADER_MIN;

    if ((version != 2 && !is_v3) || number_at(data, 0) != MAGIC) {
        return error_new(ERR_VALUE, "'%s' is no qcow2 image", path);
    }
    *ret = (struct qcow2_facts){
        .virtual_size = long_at(data, VIRTUAL_SIZE_AT),
        .has_backing = long_at(data, BACKING_OFFSET_AT) != 0,
        .has_data_file = is_v3 && (number_at(data, INCOMPATIBLE_LOW_AT) &
                                   INCOMPATIBLE_DATA_FILE),
        .is_encrypted = number_at(data, CRYPT_METHOD_AT) != 0,
    };
    return NULL;
}

/* "json:{...}", "nbd://..." and the like are no files of a host. */
static struct error *
check_name(const char *name, const char *path)
{
    const char *colon = strchr(name, ':');
    const char *slash = strchr(name, '/');

    if (!*name || (colon && (!slash || colon < slash))) {
        return error_new(ERR_VALUE, "'%s' is laid over '%s', which is no file",
                         path, name);
    }
    return NULL;
}

/* In the extensions of the header, which end before 'size'. */
static char *
find_format(const uint8_t *data, size_t size)
{
    size_t at = V2_HEADER_SIZE;

    if (number_at(data, VERSION_AT) >= 3 && size >= V3_HEADER_MIN) {
        at = number_at(data, HEADER_SIZE_AT);
    }
    while (at <= size && size - at >= 8) {
        uint32_t type = number_at(data, at);
        uint32_t n = number_at(data, at + 4);

        at += 8;
        if (type == EXTENSION_END || n > size - at) {
            break;
        }
        if (type == EXTENSION_BACKING_FORMAT) {
            return xstrndup((const char *)data + at, n);
        }
        at += ((size_t)n + 7) & ~(size_t)7;
    }
    return NULL;
}

/* Big-endian. */
static uint32_t
number_at(const uint8_t *data, size_t at)
{
    return (uint32_t)data[at] << 24 | (uint32_t)data[at + 1] << 16 |
           (uint32_t)data[at + 2] << 8 | data[at + 3];
}

static uint64_t
long_at(const uint8_t *data, size_t at)
{
    return (uint64_t)number_at(data, at) << 32 | number_at(data, at + 4);
}
