#include <config.h>

#include "rpc/utf8.h"

#include <string.h>

#include "agent/base/mem.h"

#define REPLACEMENT "\xef\xbf\xbd"

static bool
is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t
utf8_sequence(const char *p, const char *end)
{
    unsigned char c = (unsigned char)p[0];

    if (c == 0xc0 && end - p >= 2 && (unsigned char)p[1] == 0x80) {
        return 2; /* UTF8_NUL */
    }
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    if (c > 0xf4 || (size_t)(end - p) < n) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if (!is_continuation(p[i])) {
            return 0;
        }
    }

    unsigned char second = n > 1 ? (unsigned char)p[1] : 0;
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
        (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f)) {
        return 0;
    }
    return n;
}

bool
utf8_has_nul(const char *s)
{
    return strstr(s, UTF8_NUL) != NULL;
}

char *
utf8_clean(const char *s, size_t size)
{
    const char *end = s + size;
    size_t n_bad = 0;

    for (const char *p = s; p < end;) {
        if ((signed char)*p > 0) {
            p++; /* ASCII, as nearly always. */
            continue;
        }
        size_t n = *p ? utf8_sequence(p, end) : 0;
        n_bad += n == 0;
        p += n ? n : 1;
    }
    if (n_bad == 0) {
        return xstrndup(s, size);
    }

    char *clean = xmalloc(size + n_bad * (sizeof REPLACEMENT - 2) + 1);
    char *out = clean;
    for (const char *p = s; p < end;) {
        size_t n = *p ? utf8_sequence(p, end) : 0;
        if (n) {
            memcpy(out, p, n);
            out += n;
            p += n;
        } else {
            memcpy(out, REPLACEMENT, sizeof REPLACEMENT - 1);
            out += sizeof REPLACEMENT - 1;
            p++;
        }
    }
    *out = '\0';
    return clean;
}

size_t
utf8_cut(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);

    if (n <= max) {
        return n;
    }
    for (n = max; n > 0 && is_continuation(s[n]); n--) {
    }
    return n;
}
