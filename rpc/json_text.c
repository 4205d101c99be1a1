#include <config.h>

#include "rpc/json_build.h"

#include <endian.h>
#include <string.h>

#include "agent/base/mem.h"
#include "rpc/utf8.h"

/* The inside of strings.  A request of nova's is a string of 13 kB with a
 * thousand strings in it: most of what is read is read here, and so it goes by
 * words of eight bytes. */

/* What is decoded at once; and what most texts between two escapes are not
 * longer than. */
#define BLOCK 64
#define SHORT 16

/* A word whose bytes are all 'c'. */
#define BYTES(c) ((c)*0x0101010101010101u)

static bool decode_block(const char **at, char **out_at);
static char *copy_short(char *out, const char *from, size_t n);
static uint64_t special_bits(const char *block);
static uint64_t specials(uint64_t word);
static uint64_t bytes_below(uint64_t word, unsigned char c);
static uint64_t bytes_equal(uint64_t word, unsigned char c);
static uint64_t load(const char *p);
static const char *unescape_unicode(const char **at, const char *end,
                                    char **out);
static bool parse_hex4(const char *p, const char *end, unsigned *ret);
static char *put_utf8(char *out, unsigned c);

static const bool is_plain[256] = {
    [0x20 ... '"' - 1] = true,
    ['"' + 1 ... '\\' - 1] = true,
    ['\\' + 1 ... 0x7f] = true,
};

/* What a backslash and a character stand for; 0 if there is more to it. */
static const char escaped[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

const char *
json_text_skip_plain(const char *p, const char *end)
{
    for (; end - p >= (ptrdiff_t)sizeof(uint64_t); p += sizeof(uint64_t)) {
        uint64_t special = specials(load(p));
        if (special) {
            return p + __builtin_ctzll(special) / 8;
        }
    }
    while (p < end && is_plain[(unsigned char)*p]) {
        p++;
    }
    return p;
}

/* What comes out is not longer, so whole words may be copied while there are
 * some. */
const char *
json_text_unescape(const char *p, const char *end, char *out,
                   const char **ret_why)
{
    while (p < end) {
        if (end - p >= (ptrdiff_t)sizeof(uint64_t)) {
            uint64_t backslashes = bytes_equal(load(p), '\\');
            int n = backslashes ? __builtin_ctzll(backslashes) / 8
                                : (int)sizeof(uint64_t);
            memcpy(out, p, sizeof(uint64_t));
            p += n;
            out += n;
        }
        if (p < end && *p != '\\') {
            *out++ = *p++;
            continue;
        }
        /* Of a text in a text they come in rows. */
        for (char c;
             p < end && *p == '\\' && (c = escaped[(unsigned char)p[1]]);
             p += 2) {
            *out++ = c;
        }
        if (p < end && *p == '\\') {
            *ret_why = unescape_unicode(&p, end, &out);
            if (*ret_why) {
                return p;
            }
        }
    }
    *out = '\0';
    return NULL;
}

const char *
json_text_decode(const char *p, const char *end, char **at,
                 const char **ret_why)
{
    char *out = *at;

    for (*ret_why = NULL; !*ret_why;) {
        /* A copy of a block may reach into the next. */
        while (end - p >= 2 * BLOCK && decode_block(&p, &out)) {
        }
        while (p < end && is_plain[(unsigned char)*p]) {
            *out++ = *p++;
        }
        if (p == end) {
            *ret_why = "a string has no end";
        } else if (*p == '"') {
            *at = out;
            return p;
        } else if (*p != '\\') {
            size_t n = json_text_sequence(p, end, ret_why);
            out = mempcpy(out, p, n);
            p += n;
        } else if (end - p < 2) {
            p = end;
        } else if (escaped[(unsigned char)p[1]]) {
            *out++ = escaped[(unsigned char)p[1]];
            p += 2;
        } else {
            *ret_why = unescape_unicode(&p, end, &out);
        }
    }
    return p;
}

size_t
json_text_sequence(const char *p, const char *end, const char **ret_why)
{
    bool is_control = (unsigned char)*p < 0x20;
    bool is_nul = (unsigned char)*p == 0xc0; /* Only ours may have it. */
    size_t n = is_control || is_nul ? 0 : utf8_sequence(p, end);

    if (n == 0) {
        *ret_why = is_control ? "a control character in a string" : "not UTF-8";
    }
    return n;
}

/* Decodes the block at '*at', whose escapes are of two characters, and more if
 * the last of them is not in it as a whole.  False: it got as far as something
 * else, which is at '*at' now.  Where the escapes are is found out for all of
 * them at once, so that none waits for the one before. */
static bool
decode_block(const char **at, char **out_at)
{
    const char *start = *at, *from = start;
    char *out = *out_at;

    for (uint64_t bits = special_bits(start); bits;) {
        int i = __builtin_ctzll(bits);
        const char *p = start + i;
        char c = *p == '\\' ? escaped[(unsigned char)p[1]] : '\0';

        out = copy_short(out, from, (size_t)(p - from));
        if (!c) {
            *at = p;
            *out_at = out;
            return false;
        }
        *out++ = c;
        from = p + 2;
        bits &= ~(3ull << i);
    }
    if (from < start + BLOCK) {
        out = copy_short(out, from, (size_t)(start + BLOCK - from));
        from = start + BLOCK;
    }
    *at = from;
    *out_at = out;
    return true;
}

/* At most a block, by copying as much or more. */
static char *
copy_short(char *out, const char *from, size_t n)
{
    memcpy(out, from, SHORT);
    if (n > SHORT) {
        memcpy(out + SHORT, from + SHORT, BLOCK - SHORT);
    }
    return out + n;
}

/* A bit for each byte of the block that is not plain, the lowest for the
 * first. */
static uint64_t
special_bits(const char *block)
{
    typedef signed char bytes __attribute__((vector_size(16)));
    uint64_t words[BLOCK / sizeof(uint64_t)], bits = 0;

    for (size_t i = 0; i < BLOCK / sizeof(bytes); i++) {
        bytes b;

        memcpy(&b, block + i * sizeof b, sizeof b);
        /* Those from 0x80 on are less than 0. */
        bytes special = (b < 0x20) | (b == '"') | (b == '\\');
        memcpy((char *)words + i * sizeof b, &special, sizeof special);
    }
    for (size_t i = 0; i < N_ELEMENTS(words); i++) {
        /* Of byte k, all ones or none, bit k; then they are added up. */
        uint64_t each = le64toh(words[i]) & 0x8040201008040201u;
        bits |= (each * BYTES(1u)) >> 56 << (8 * i);
    }
    return bits;
}

/* Sets the highest bit of the first byte that is not plain. */
static uint64_t
specials(uint64_t word)
{
    return bytes_equal(word, '"') | bytes_equal(word, '\\') |
           bytes_below(word, 0x20) | (word & BYTES(0x80));
}

/* Sets the highest bit of each byte that is less than 'c', at most 0x80; of
 * bytes after the first such one perhaps of others, too. */
static uint64_t
bytes_below(uint64_t word, unsigned char c)
{
    return (word - BYTES(c)) & ~word & BYTES(0x80);
}

static uint64_t
bytes_equal(uint64_t word, unsigned char c)
{
    return bytes_below(word ^ BYTES(c), 1);
}

/* Eight bytes, the first one lowest. */
static uint64_t
load(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

/* A backslash that must begin \uXXXX, or two of them that make a pair.  Null,
 * or what is wrong. */
static const char *
unescape_unicode(const char **at, const char *end, char **out)
{
    const char *p = *at;
    unsigned c, low;

    if (p[1] != 'u' || !parse_hex4(p + 2, end, &c)) {
        return "a bad escape";
    }
    p += 6;
    if (c >= 0xd800 && c < 0xdc00 && end - p >= 6 && p[0] == '\\' &&
        p[1] == 'u' && parse_hex4(p + 2, end, &low) && low >= 0xdc00 &&
        low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    if (c >= 0xd800 && c < 0xe000) {
        return "half a surrogate pair";
    }
    *out = put_utf8(*out, c);
    *at = p;
    return NULL;
}

static bool
parse_hex4(const char *p, const char *end, unsigned *ret)
{
    unsigned value = 0;

    if (end - p < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit == 16) {
            return false;
        }
        value = value << 4 | digit;
    }
    *ret = value;
    return true;
}

/* U+0000 in two bytes, as rpc/utf8.h has it. */
static char *
put_utf8(char *out, unsigned c)
{
    if (c > 0 && c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}
