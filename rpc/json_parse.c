#include <config.h>

#include "rpc/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/json_build.h"
#include "rpc/utf8.h"

/* A recursive descent over RFC 8259 that takes nothing else.  cJSON's parser
 * is not used: it lets 17 of the 188 texts pass that JSONTestSuite wants to be
 * refused, keeps invalid UTF-8, and forgets the digits of a number. */

/* Each becomes some hundred bytes of memory. */
#define VALUES_MAX 2000000

/* Digits of one number; Python's limit is near. */
#define NUMBER_MAX 4096

struct parser {
    const char *start, *p, *end;
    size_t n_values;
    const char *why; /* Set once something is wrong, at 'p'. */
};

static struct json *parse_value(struct parser *, int depth);
static struct json *parse_object(struct parser *, int depth);
static struct json *parse_array(struct parser *, int depth);
static bool parse_member(struct parser *, int depth, struct json *object);
static struct json *parse_number(struct parser *);
static char *parse_string(struct parser *);
static const char *skip_string(struct parser *, bool *ret_escapes);
static bool unescape(struct parser *, const char *end, char *out);
static char escaped(char c);
static bool unescape_unicode(struct parser *, const char *end, char **out);
static bool parse_hex4(const char *p, const char *end, unsigned *ret);
static char *put_utf8(char *out, unsigned c);
static const char *skip_digits(const struct parser *, const char *p);
static void skip_space(struct parser *);
static bool skip_char(struct parser *, char c);
static bool skip_word(struct parser *, const char *word);
static void *fail(struct parser *, const char *why);

struct error *
json_parse(const char *text, size_t size, struct json **ret)
{
    struct parser parser = {.start = text, .p = text, .end = text + size};
    AUTO_JSON json = parse_value(&parser, 0);

    if (json) {
        skip_space(&parser);
        if (parser.p < parser.end) {
            fail(&parser, "text after the value");
        }
    }
    if (parser.why) {
        return error_new(ERR_BAD_MESSAGE, "bad JSON at byte %zu: %s",
                         (size_t)(parser.p - parser.start), parser.why);
    }
    *ret = steal(&json);
    return NULL;
}

/* All of these return null, having told why, if something is wrong. */
static struct json *
parse_value(struct parser *parser, int depth)
{
    skip_space(parser);
    if (++parser->n_values > VALUES_MAX) {
        return fail(parser, "too many values");
    }
    if (parser->p == parser->end) {
        return fail(parser, "a value is missing");
    }
    switch (*parser->p) {
    case '{':
        return parse_object(parser, depth + 1);
    case '[':
        return parse_array(parser, depth + 1);
    case '"': {
        char *text = parse_string(parser);
        return text ? json_build_string(text) : NULL;
    }
    case 't':
        return skip_word(parser, "true") ? json_bool(true) : NULL;
    case 'f':
        return skip_word(parser, "false") ? json_bool(false) : NULL;
    case 'n':
        return skip_word(parser, "null") ? json_null() : NULL;
    default:
        return parse_number(parser);
    }
}

static struct json *
parse_object(struct parser *parser, int depth)
{
    AUTO_JSON object = json_object();
    size_t n = 0;

    if (depth > JSON_DEPTH_MAX) {
        return fail(parser, "nested too deeply");
    }
    parser->p++;
    skip_space(parser);
    if (skip_char(parser, '}')) {
        return steal(&object);
    }
    do {
        if (!parse_member(parser, depth, object)) {
            return NULL;
        }
        n++;
        skip_space(parser);
    } while (skip_char(parser, ','));
    if (!skip_char(parser, '}')) {
        return fail(parser, "a comma or a brace is missing");
    }
    json_build_drop_duplicates(object, n);
    return steal(&object);
}

static bool
parse_member(struct parser *parser, int depth, struct json *object)
{
    skip_space(parser);
    if (parser->p == parser->end || *parser->p != '"') {
        return fail(parser, "a name is missing");
    }

    AUTO_FREE name = parse_string(parser);
    if (!name) {
        return false;
    }
    skip_space(parser);
    if (!skip_char(parser, ':')) {
        return fail(parser, "a colon is missing");
    }

    struct json *value = parse_value(parser, depth);
    if (!value) {
        return false;
    }
    json_build_append(object, steal(&name), value);
    return true;
}

static struct json *
parse_array(struct parser *parser, int depth)
{
    AUTO_JSON array = json_array();

    if (depth > JSON_DEPTH_MAX) {
        return fail(parser, "nested too deeply");
    }
    parser->p++;
    skip_space(parser);
    if (skip_char(parser, ']')) {
        return steal(&array);
    }
    do {
        struct json *value = parse_value(parser, depth);
        if (!value) {
            return NULL;
        }
        json_build_append(array, NULL, value);
        skip_space(parser);
    } while (skip_char(parser, ','));
    if (!skip_char(parser, ']')) {
        return fail(parser, "a comma or a bracket is missing");
    }
    return steal(&array);
}

static struct json *
parse_number(struct parser *parser)
{
    const char *p = parser->p;
    bool has_exponent = false;

    p += *p == '-';
    const char *digits = p;
    p = skip_digits(parser, p);
    if (p == digits) {
        return fail(parser, "not a value");
    }
    if (*digits == '0' && p - digits > 1) {
        return fail(parser, "a number begins with zero");
    }
    if (p < parser->end && *p == '.') {
        digits = ++p;
        p = skip_digits(parser, p);
        if (p == digits) {
            return fail(parser, "a fraction has no digits");
        }
    }
    if (p < parser->end && (*p == 'e' || *p == 'E')) {
        has_exponent = true;
        p++;
        p += p < parser->end && (*p == '+' || *p == '-');
        digits = p;
        p = skip_digits(parser, p);
        if (p == digits) {
            return fail(parser, "an exponent has no digits");
        }
    }
    if (p - parser->p > NUMBER_MAX) {
        return fail(parser, "a number is too long");
    }

    AUTO_FREE text = xstrndup(parser->p, (size_t)(p - parser->p));
    if (has_exponent && !isfinite(strtod(text, NULL))) {
        return fail(parser, "a number is too large");
    }
    parser->p = p;
    return json_build_number(steal(&text));
}

/* The string at the parser's quotation mark; the caller's. */
static char *
parse_string(struct parser *parser)
{
    bool has_escapes = false;

    parser->p++;
    const char *end = skip_string(parser, &has_escapes);
    if (!end) {
        return NULL;
    }

    size_t size = (size_t)(end - parser->p);
    AUTO_FREE text = xmalloc(size + 1); /* Escapes only make it shorter. */
    if (!has_escapes) {
        memcpy(text, parser->p, size);
        text[size] = '\0';
    } else if (!unescape(parser, end, text)) {
        return NULL;
    }
    parser->p = end + 1;
    return steal(&text);
}

/* Finds the closing quotation mark, having seen that what is before it is
 * valid but for its escapes. */
static const char *
skip_string(struct parser *parser, bool *ret_escapes)
{
    /* Nearly everything is one of these, so it is looked for first. */
    static const bool is_plain[256] = {
        [0x20 ... '"' - 1] = true,
        ['"' + 1 ... '\\' - 1] = true,
        ['\\' + 1 ... 0x7f] = true,
    };
    const char *p = parser->p;

    for (;;) {
        while (p < parser->end && is_plain[(unsigned char)*p]) {
            p++;
        }
        if (p == parser->end) {
            return fail(parser, "a string has no end");
        }
        if (*p == '"') {
            return p;
        }

        if (*p == '\\') {
            *ret_escapes = true;
            p += parser->end - p > 1 ? 2 : 1;
            continue;
        }

        bool is_control = (unsigned char)*p < 0x20;
        bool is_nul = (unsigned char)*p == 0xc0; /* Only ours may have it. */
        size_t n = is_control || is_nul ? 0 : utf8_sequence(p, parser->end);
        if (n == 0) {
            parser->p = p;
            return fail(parser, is_control ? "a control character in a string"
                                           : "not UTF-8");
        }
        p += n;
    }
}

static bool
unescape(struct parser *parser, const char *end, char *out)
{
    const char *p = parser->p;

    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }

        char c = escaped(p[1]);
        if (c) {
            *out++ = c;
            p += 2;
            continue;
        }
        parser->p = p;
        if (!unescape_unicode(parser, end, &out)) {
            return false;
        }
        p = parser->p;
    }
    *out = '\0';
    return true;
}

/* What a backslash and 'c' stand for; NUL if there is more to it. */
static char
escaped(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return '\0';
    }
}

/* A backslash that must begin \uXXXX, or two of them that make a pair. */
static bool
unescape_unicode(struct parser *parser, const char *end, char **out)
{
    const char *p = parser->p;
    unsigned c, low;

    if (p[1] != 'u' || !parse_hex4(p + 2, end, &c)) {
        return fail(parser, "a bad escape");
    }
    p += 6;
    if (c >= 0xd800 && c < 0xdc00 && end - p >= 6 && p[0] == '\\' &&
        p[1] == 'u' && parse_hex4(p + 2, end, &low) && low >= 0xdc00 &&
        low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    if (c >= 0xd800 && c < 0xe000) {
        return fail(parser, "half a surrogate pair");
    }
    *out = put_utf8(*out, c);
    parser->p = p;
    return true;
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

static const char *
skip_digits(const struct parser *parser, const char *p)
{
    while (p < parser->end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

static void
skip_space(struct parser *parser)
{
    while (parser->p < parser->end &&
           (*parser->p == ' ' || *parser->p == '\n' || *parser->p == '\r' ||
            *parser->p == '\t')) {
        parser->p++;
    }
}

static bool
skip_char(struct parser *parser, char c)
{
    if (parser->p < parser->end && *parser->p == c) {
        parser->p++;
        return true;
    }
    return false;
}

static bool
skip_word(struct parser *parser, const char *word)
{
    size_t size = strlen(word);

    if ((size_t)(parser->end - parser->p) < size ||
        memcmp(parser->p, word, size) != 0) {
        return fail(parser, "not a value");
    }
    parser->p += size;
    return true;
}

/* Always null, which is false, too. */
static void *
fail(struct parser *parser, const char *why)
{
    parser->why = why;
    return NULL;
}
