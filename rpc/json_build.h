#ifndef DROVER_RPC_JSON_BUILD_H
#define DROVER_RPC_JSON_BUILD_H

/* What the parts of the module share: how trees are made, and what
 * rpc/json_number.c knows of numbers and rpc/json_text.c of strings.  For
 * rpc/json*.c only.
 *
 * A request of nova's has some thousand values.  One that is read or copied is
 * a single block of memory, with its name and its text behind it, and is put
 * into its container without a look at the others. */

#include <stdint.h>

#include "rpc/json.h"

/* What a value takes besides its texts: cJSON's item and the allocator's part
 * in it and in them; measured with glibc 2.36 and cJSON 1.7.15. */
#define JSON_VALUE_BYTES 112

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

#define JSON_NO_TEXT SIZE_MAX

/* A value with room for a name and a text of so many bytes, and a NUL each,
 * which the caller writes at '*ret_name' and '*ret_text'.  JSON_NO_TEXT: it has
 * none, and the pointer becomes null. */
struct json *json_build_value(enum json_type type, size_t name_size,
                              char **ret_name, size_t text_size,
                              char **ret_text);

/* Take 'text', which is valid. */
struct json *json_build_string(char *text);
struct json *json_build_number(char *text);

struct json *json_build_copy(const struct json *json);

/* Takes 'name', which may be null, in place of the one 'value' has. */
void json_build_name(struct json *value, char *name);

/* Takes 'value', whose name stays.  O(1). */
void json_build_append(struct json *container, struct json *value);

/* Of the 'n' members leaves, of each name, the last.  O(n log n). */
void json_build_drop_duplicates(struct json *object, size_t n);

/* The 'n' members by name; those of one name in their order.  The array is the
 * caller's. */
struct json **json_build_sorted(const struct json *object, size_t n);

/* The text of a number, borrowed; null if 'json' is none. */
const char *json_number_text(const struct json *json);

/* By value; both are numbers. */
bool json_numbers_equal(const struct json *a, const struct json *b);

/* The first byte from 'p' on that is no ASCII or that means something in a
 * string; or 'end'. */
const char *json_text_skip_plain(const char *p, const char *end);

/* Writes what is before 'end', where no escape is cut off, without its escapes
 * and with a NUL behind it.  It takes at most as many bytes.  Null, or the
 * place of an escape that is none, and what is wrong with it. */
const char *json_text_unescape(const char *p, const char *end, char *out,
                               const char **ret_why) WARN_UNUSED;

/* Reads a string up to its closing quotation mark, and returns that.  Its text
 * goes to '*at', where has to be as much room as there is up to 'end', and
 * '*at' behind it.  When something is wrong '*ret_why' says so, and the return
 * value is the place, or 'end'. */
const char *json_text_decode(const char *p, const char *end, char **at,
                             const char **ret_why) WARN_UNUSED;

/* The size of the character at 'p', which is no plain one.  0: there is none,
 * and '*ret_why' tells what is wrong. */
size_t json_text_sequence(const char *p, const char *end, const char **ret_why);

#endif
