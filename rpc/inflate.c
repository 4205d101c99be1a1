#include <config.h>

#include "rpc/inflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ROOM_FIRST 16384

static bool is_zlib(const char *body, size_t size);
static int inflate_all(z_stream *stream, size_t max, char **ret,
                       size_t *ret_size);

struct error *
inflate_body(const char *compression, const char *body, size_t size, size_t max,
             char **ret, size_t *ret_size)
{
    AUTO_FREE out = NULL;
    size_t out_size = 0;

    if (!str_eq(compression, "application/x-gzip") || !is_zlib(body, size)) {
        *ret = NULL;
        *ret_size = 0;
        return NULL;
    }
    if (size > UINT_MAX) {
        *ret_size = size;
        return error_new(ERR_BAD_MESSAGE, "compressed body has %zu bytes",
                         size);
    }

    z_stream stream = {.next_in = (unsigned char *)(void *)body,
                       .avail_in = (unsigned)size};
    if (inflateInit(&stream) != Z_OK) {
        abort(); /* Out of memory, or built against another zlib. */
    }
    int status = inflate_all(&stream, max, &out, &out_size);
    inflateEnd(&stream);
    if (status == Z_STREAM_END && stream.avail_in == 0) {
        *ret = steal(&out);
        *ret_size = out_size;
        return NULL;
    }
    *ret_size = out_size;
    if (out_size > max) {
        return error_new(ERR_BAD_MESSAGE,
                         "body has more than %zu bytes when inflated", max);
    }
    return error_new(ERR_BAD_MESSAGE, "compressed body is damaged");
}

/* A header as RFC 1950 has it: JSON never begins so, nor does real gzip. */
static bool
is_zlib(const char *body, size_t size)
{
    if (size < 2) {
        return false;
    }

    unsigned cmf = (unsigned char)body[0], flg = (unsigned char)body[1];
    return (cmf & 0x0f) == 8 && cmf >> 4 <= 7 && (cmf * 256 + flg) % 31 == 0;
}

/* Inflates to the end, or to 'max' + 1 bytes.  Room only grows with what comes
 * out, so a small bomb costs no more than its limit. */
static int
inflate_all(z_stream *stream, size_t max, char **ret, size_t *ret_size)
{
    size_t room = 0, n = 0;
    int status = Z_OK;

    while (status == Z_OK && n <= max) {
        if (n == room) {
            room = room ? room * 2 : ROOM_FIRST;
            room = room > max ? max + 1 : room;
            *ret = xrealloc(*ret, room);
        }

        size_t free_room = room - n > UINT_MAX ? UINT_MAX : room - n;
        stream->next_out = (unsigned char *)*ret + n;
        stream->avail_out = (unsigned)free_room;
        status = inflate(stream, Z_NO_FLUSH);
        n += free_room - stream->avail_out;
    }
    *ret_size = n;
    return n > max ? Z_BUF_ERROR : status;
}
