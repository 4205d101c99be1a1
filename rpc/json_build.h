#ifndef DROVER_RPC_JSON_BUILD_H
#define DROVER_RPC_JSON_BUILD_H

/* What the parts of the module share: how rpc/json_parse.c makes a tree,
 * without a look at each object's members for each member that is added, and
 * what rpc/json_number.c knows of numbers.  For rpc/json*.c only. */

#include "rpc/json.h"

/* Take 'text', which is valid. */
struct json *json_build_string(char *text);
struct json *json_build_number(char *text);

/* Take 'value', and 'name', which is null for an array's element.  O(1). */
void json_build_append(struct json *container, char *name, struct json *value);

/* Of the 'n' members leaves, of each name, the last.  O(n log n). */
void json_build_drop_duplicates(struct json *object, size_t n);

/* The text of a number, borrowed; null if 'json' is none. */
const char *json_number_text(const struct json *json);

/* By value; both are numbers. */
bool json_numbers_equal(const struct json *a, const struct json *b);

#endif
