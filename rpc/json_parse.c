#include <config.h>

#include "rpc/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/json_build.h"

/* A recursive descent over RFC 8259 that takes nothing else.  cJSON's parser
 * is not used: it lets 17 of the 188 texts pass that JSONTestSuite wants to be
 * refused, keeps invalid UTF-8, and forgets the digits of a number. */

/* Each becomes some hundred bytes of memory. */
#define VALUES_MAX 2000000

/* Digits of one number; Python's limit is near. */
#define NUMBER_MAX 4096

/* Strings with escapes are read in one go if the text is not larger than this,
 * as all that nova sends: it takes as much memory again meanwhile.  In a larger
 * one their ends are looked for first. */
#define SCRATCH_MAX (1u << 20)

struct parser {
    const char *start, *p, *end;
    char *scratch; /* As large as the text; null: that is too large. */
    size_t n_values;
    const char *why; /* Set once something is wrong, at 'p'. */
};

/* A text as it stands in what is read. */
struct span {
    const char *start; /* Null: there is none. */
    size_t size;
    bool has_escapes;
};

static struct json *parse_value(struct parser *, int depth,
                                const struct span *name);
static struct json *parse_object(struct parser *, int depth,
                                 const struct span *name);
static struct json *parse_array(struct parser *, int depth,
                                const struct span *name);
static bool parse_member(struct parser *, int depth, struct json *object);
static struct json *parse_word(struct parser *, const char *word,
                               enum json_type, const struct span *name);
static struct json *parse_number(struct parser *, const struct span *name);
static struct json *parse_string(struct parser *, const struct span *name);
static struct json *build(struct parser *, enum json_type,
                          const struct span *name, const struct span *text);
static bool copy_span(struct parser *, const struct span *, char *out);
static bool skip_string(struct parser *, struct span *ret);
static bool decode_string(struct parser *, const char *p, struct span *ret);
static const char *skip_digits(const struct parser *, const char *p);
static void skip_space(struct parser *);
static bool skip_char(struct parser *, char c);
static bool skip_word(struct parser *, const char *word);
static void *fail(struct parser *, const char *why);

struct error *
json_parse(const char *text, size_t size, struct json **ret)
{
    size_t bytes;

    return json_parse_sized(text, size, ret, &bytes);
}

struct error *
json_parse_sized(const char *text, size_t size, struct json **ret,
                 size_t *ret_bytes)
{
    AUTO_FREE scratch = size <= SCRATCH_MAX ? xmalloc(size) : NULL;
    struct parser parser = {
        .start = text, .p = text, .end = text + size, .scratch = scratch};
    AUTO_JSON json = parse_value(&parser, 0, &(struct span){0});

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
    *ret_bytes = size + parser.n_values * JSON_VALUE_BYTES;
    return NULL;
}

/* All of these return null, having told why, if something is wrong. */
static struct json *
parse_value(struct parser *parser, int depth, const struct span *name)
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
        return parse_object(parser, depth + 1, name);
    case '[':
        return parse_array(parser, depth + 1, name);
    case '"':
        return parse_string(parser, name);
    case 't':
        return parse_word(parser, "true", JSON_TRUE, name);
    case 'f':
        return parse_word(parser, "false", JSON_FALSE, name);
    case 'n':
        return parse_word(parser, "null", JSON_NULL, name);
    default:
        return parse_number(parser, name);
    }
}

static struct json *
parse_object(struct parser *parser, int depth, const struct span *name)
{
    AUTO_JSON object = build(parser, JSON_OBJECT, name, NULL);
    size_t n = 0;

    if (!object) {
        return NULL;
    }
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

    struct span name;
    if (!skip_string(parser, &name)) {
        return false;
    }
    skip_space(parser);
    if (!skip_char(parser, ':')) {
        return fail(parser, "a colon is missing");
    }

    struct json *value = parse_value(parser, depth, &name);
    if (!value) {
        return false;
    }
    json_build_append(object, value);
    return true;
}

static struct json *
parse_array(struct parser *parser, int depth, const struct span *name)
{
    AUTO_JSON array = build(parser, JSON_ARRAY, name, NULL);

    if (!array) {
        return NULL;
    }
    if (depth > JSON_DEPTH_MAX) {
        return fail(parser, "nested too deeply");
    }
    parser->p++;
    skip_space(parser);
    if (skip_char(parser, ']')) {
        return steal(&array);
    }
    do {
        struct json *value = parse_value(parser, depth, &(struct span){0});
        if (!value) {
            return NULL;
        }
        json_build_append(array, value);
        skip_space(parser);
    } while (skip_char(parser, ','));
    if (!skip_char(parser, ']')) {
        return fail(parser, "a comma or a bracket is missing");
    }
    return steal(&array);
}

static struct json *
parse_word(struct parser *parser, const char *word, enum json_type type,
           const struct span *name)
{
    return skip_word(parser, word) ? build(parser, type, name, NULL) : NULL;
}

static struct json *
parse_number(struct parser *parser, const struct span *name)
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

    struct span text = {parser->p, (size_t)(p - parser->p), false};
    AUTO_JSON number = build(parser, JSON_NUMBER, name, &text);
    if (number && has_exponent &&
        !isfinite(strtod(json_number_text(number), NULL))) {
        return fail(parser, "a number is too large");
    }
    parser->p = p;
    return steal(&number);
}

static struct json *
parse_string(struct parser *parser, const struct span *name)
{
    struct span text;

    return skip_string(parser, &text) ? build(parser, JSON_STRING, name, &text)
                                      : NULL;
}

/* 'text' may be null.  Escapes only make it shorter. */
static struct json *
build(struct parser *parser, enum json_type type, const struct span *name,
      const struct span *text)
{
    char *name_at, *text_at;
    AUTO_JSON json =
        json_build_value(type, name->start ? name->size : JSON_NO_TEXT,
                         &name_at, text ? text->size : JSON_NO_TEXT, &text_at);

    if ((name_at && !copy_span(parser, name, name_at)) ||
        (text_at && !copy_span(parser, text, text_at))) {
        return NULL;
    }
    return steal(&json);
}

static bool
copy_span(struct parser *parser, const struct span *span, char *out)
{
    if (!span->has_escapes) {
        *(char *)mempcpy(out, span->start, span->size) = '\0';
        return true;
    }

    const char *end = span->start + span->size;
    const char *why, *bad = json_text_unescape(span->start, end, out, &why);
    if (bad) {
        parser->p = bad;
        return fail(parser, why);
    }
    return true;
}

/* The string at the parser's quotation mark, having seen that it is valid but
 * for its escapes. */
static bool
skip_string(struct parser *parser, struct span *ret)
{
    const char *p = ++parser->p;
    bool has_escapes = false;

    for (;;) {
        p = json_text_skip_plain(p, parser->end);
        if (p == parser->end) {
            return fail(parser, "a string has no end");
        }
        if (*p == '"') {
            break;
        }

        if (*p == '\\' && parser->scratch) {
            return decode_string(parser, p, ret);
        }
        if (*p == '\\') {
            has_escapes = true;
            do {
                p += parser->end - p > 1 ? 2 : 1;
            } while (p < parser->end && *p == '\\');
            continue;
        }

        const char *why;
        size_t n = json_text_sequence(p, parser->end, &why);
        if (n == 0) {
            parser->p = p;
            return fail(parser, why);
        }
        p += n;
    }
    *ret = (struct span){parser->p, (size_t)(p - parser->p), has_escapes};
    parser->p = p + 1;
    return true;
}

/* The same of one whose first escape is at 'p'. */
static bool
decode_string(struct parser *parser, const char *p, struct span *ret)
{
    /* In its own place, which no other string can want. */
    char *text = parser->scratch + (parser->p - parser->start);
    char *out = mempcpy(text, parser->p, (size_t)(p - parser->p));
    const char *why;

    p = json_text_decode(p, parser->end, &out, &why);
    if (why) {
        if (p < parser->end) {
            parser->p = p;
        }
        return fail(parser, why);
    }
    *ret = (struct span){text, (size_t)(out - text), false};
    parser->p = p + 1;
    return true;
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
