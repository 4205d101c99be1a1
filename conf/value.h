#ifndef DROVER_CONF_VALUE_H
#define DROVER_CONF_VALUE_H

/* The value of one option, on its way into struct conf.
 *
 * What can be said of a value without knowing any other option is checked
 * here; conf/rules.h has the rest.  Nothing here knows libconfig.
 *
 * Threads: no shared state; any thread. */

#include "conf/conf.h"
#include "conf/option.h"

/* Which member counts is said by the option's type: 'number' for booleans and
 * integers, 'string' (which may be null) for strings, paths and enumerations.
 */
struct value {
    int64_t number;
    double fraction;
    char *string;
    char **list; /* Ends with null. */
};

/* The default as a value. */
void value_default(const struct option *option, struct value *ret);

/* Reads a value from a text; see conf_set(). */
struct error *value_parse(const struct option *option, const char *text,
                          struct value *ret) WARN_UNUSED;

/* What a string option is given by 'text': an empty one means "not set", and
 * leaves the default.  The caller's; may be null. */
char *value_string(const struct option *option, const char *text);

/* The elements of a list separated by commas, without blanks around them. */
char **value_split(const char *text);

/* ERR_CONFIG with a reason that names neither the option nor, for strings, the
 * value. */
struct error *value_check(const struct option *option,
                          const struct value *value) WARN_UNUSED;

/* Null, or what is wrong with 'path' as an absolute path, which may yet begin
 * with $state_path (see conf/derive.h). */
const char *value_path_fault(const char *path);

/* Moves '*value' into 'conf', and what was there into '*value'. */
void value_swap(struct conf *conf, const struct option_group *group,
                const struct option *option, struct value *value);

/* Where a string is kept in 'conf'; the option must be one of strings. */
char **value_string_at(struct conf *conf, const struct option_group *group,
                       const struct option *option);
bool value_is_string(const struct option *option);

void value_clear(struct value *value); /* To all zero. */

#endif
