#ifndef DROVER_RPC_JSON_H
#define DROVER_RPC_JSON_H

/* JSON, strict and exact.
 *
 * The only user of cJSON, whose trees it keeps and prints, and which it gives
 * what that lacks: a parser that takes nothing but JSON (UTF-8, control
 * characters, numbers, nesting, text after the value), "\u0000" within strings
 * and names (two bytes that no C string ends at, see rpc/utf8.h), numbers that
 * keep their text and so their digits, case-sensitive names, of duplicate names
 * the last as at the peers, and compact, valid UTF-8 in print.
 * (spec/rpc-wire 2.1 and appendix B)
 *
 * A struct json is a tree with one owner.  A value that is put into an object
 * or array belongs to it from then on; one that is looked up is borrowed.
 *
 * Threads: no shared state; a tree belongs to one thread at a time. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/base/mem.h"

struct json;

#define JSON_DEPTH_MAX 512

/* Makes out-of-memory fatal inside cJSON as well.  Call once, first. */
void json_init(void);

/* Parses the 'size' bytes at 'text', which may be anything at all.  On failure
 * returns ERR_BAD_MESSAGE and leaves '*ret' alone. */
struct error *json_parse(const char *text, size_t size,
                         struct json **ret) WARN_UNUSED;

/* The same, and tells about how much memory the tree takes: a list of small
 * numbers is larger than its text by far. */
struct error *json_parse_sized(const char *text, size_t size, struct json **ret,
                               size_t *ret_bytes) WARN_UNUSED;

/* About how many bytes the tree takes; it counts no further than 'max'. */
size_t json_weight(const struct json *json, size_t max);

/* Compact text, NUL-terminated; the caller's.  '*ret_size', unless null, is
 * its length without the NUL. */
char *json_print(const struct json *json, size_t *ret_size);

void json_free(struct json *json); /* Null is fine. */
CLEANUP_FUNC(struct json, json_free)
#define AUTO_JSON CLEANUP(json_free_at) struct json *

struct json *json_copy(const struct json *json); /* Null gives null. */

/* Numbers compare by value, objects without regard to order. */
bool json_equal(const struct json *a, const struct json *b);

/* New values; the caller's. */
struct json *json_null(void);
struct json *json_bool(bool value);
struct json *json_int(int64_t value);
struct json *json_uint(uint64_t value);
struct json *json_double(double value); /* Not finite: null. */
struct json *json_object(void);
struct json *json_array(void);

/* A string.  Bytes that are no UTF-8, or 0, become U+FFFD, one for each; null
 * gives JSON's null. */
struct json *json_string(const char *s);
struct json *json_string_n(const char *s, size_t size);

/* Questions about a value; null is no value and every answer is false. */
bool json_is_null(const struct json *json);
bool json_is_bool(const struct json *json);
bool json_is_number(const struct json *json);
bool json_is_int(const struct json *json); /* Whole, and fits int64_t. */
bool json_is_string(const struct json *json);
bool json_is_object(const struct json *json);
bool json_is_array(const struct json *json);
bool json_is_true(const struct json *json);

/* The content.  The string is borrowed, null if it is none; a number that is
 * none, or does not fit, is 0. */
const char *json_get_string(const struct json *json);
int64_t json_get_int(const struct json *json);
double json_get_double(const struct json *json);

/* Objects.  A null or wrong 'object' has no members, and none has a null name.
 * json_set() replaces, and takes 'value', where null means JSON's null; returns
 * 'object'. */
struct json *json_get(const struct json *object, const char *name);
struct json *json_set(struct json *object, const char *name,
                      struct json *value);

/* json_set() with a value that stays its owner's, unchanged, for as long as
 * 'object' lives: for what is only to be printed. */
void json_set_borrowed(struct json *object, const char *name,
                       const struct json *value);

struct json *json_detach(struct json *object, const char *name); /* or null */

/* Moves the members whose names begin with 'prefix' to a new object, the
 * caller's, without it; and the way back, each borrowed as above, none of
 * which 'object' may have already.  O(n), whatever a peer sent. */
struct json *json_detach_prefixed(struct json *object, const char *prefix);
void json_add_prefixed(struct json *object, const char *prefix,
                       const struct json *members);
void json_remove(struct json *object, const char *name);
bool json_has(const struct json *object, const char *name);

/* json_set() with a value made on the spot. */
void json_set_string(struct json *object, const char *name, const char *value);
void json_set_int(struct json *object, const char *name, int64_t value);
void json_set_bool(struct json *object, const char *name, bool value);
void json_set_null(struct json *object, const char *name);

/* Look-ups with a type: null, 0, false when absent or of another type. */
const char *json_string_of(const struct json *object, const char *name);
int64_t json_int_of(const struct json *object, const char *name);
bool json_bool_of(const struct json *object, const char *name);

/* Arrays.  json_append() takes 'value' and returns 'array'. */
size_t json_size(const struct json *container); /* Members or elements. */
struct json *json_at(const struct json *array, size_t i); /* O(i). */
struct json *json_append(struct json *array, struct json *value);

/* Walks members or elements in order: */
struct json *json_first(const struct json *container); /* or null */
struct json *json_next(const struct json *value);      /* or null */
const char *json_name(const struct json *member);      /* of an object's */
#define json_for_each(VAR, CONTAINER) \
    for (struct json *VAR = json_first(CONTAINER); VAR; VAR = json_next(VAR))

#endif
