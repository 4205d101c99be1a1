#include <config.h>

#include "conf/option.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "conf/conf.h"

/* One function a group, since a row knows its own name only: 'scope' is the
 * struct that the row's member is in. */
#define USED true
#define UNUSED_HERE false
#define OPT_TOP_BEGIN(HELP) OPTIONS_OF(top, struct conf)
#define OPT_TOP_END() OPTIONS_END
#define OPT_GROUP_BEGIN(NAME, HELP) OPTIONS_OF(NAME, struct conf_##NAME)
#define OPT_GROUP_END(NAME) OPTIONS_END
/* clang-format off */
#define OPTIONS_OF(NAME, SCOPE)                                  \
    static const struct option *options_of_##NAME(size_t *ret_n) \
    {                                                            \
        typedef SCOPE scope;                                     \
        static const struct option rows[] = {
#define OPTIONS_END                                             \
        };                                                      \
        *ret_n = N_ELEMENTS(rows);                              \
        return rows;                                            \
    }
/* clang-format on */
#define ROW(NAME, TYPE, USE, ...) \
    {#NAME, OPTION_##TYPE, USE, offsetof(scope, NAME), __VA_ARGS__},
#define OPT_STRING(NAME, DEFAULT, USE, HELP) \
    ROW(NAME, STRING, USE, .text = DEFAULT)
#define OPT_PATH(NAME, DEFAULT, USE, HELP) ROW(NAME, PATH, USE, .text = DEFAULT)
#define OPT_ENUM(NAME, DEFAULT, VALUES, USE, HELP) \
    ROW(NAME, ENUM, USE, .text = DEFAULT, .values = VALUES)
#define OPT_LIST(NAME, DEFAULT, USE, HELP) ROW(NAME, LIST, USE, .text = DEFAULT)
#define OPT_BOOL(NAME, DEFAULT, USE, HELP) \
    ROW(NAME, BOOL, USE, .number = DEFAULT)
#define OPT_INT(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) \
    ROW(NAME, INT, USE, .number = DEFAULT, .min = MIN, .max = MAX)
#define OPT_INT64(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) \
    ROW(NAME, INT64, USE, .number = DEFAULT, .min = MIN, .max = MAX)
#define OPT_FLOAT(NAME, DEFAULT, MIN, MAX, UNIT, USE, HELP) \
    ROW(NAME, FLOAT, USE, .fraction = DEFAULT, .low = MIN, .high = MAX)
#define OPT_ALIAS(NAME, NEW_NAME) \
    {#NAME, OPTION_ALIAS, true, offsetof(scope, NEW_NAME), .text = #NEW_NAME},
#define OPT_GONE(NAME, HELP) {#NAME, OPTION_GONE, false, 0},
#include "conf/options.def"

const struct option_group *
option_groups(size_t *ret_n)
{
    static const struct option_group groups[] = {
        {NULL, 0, options_of_top},
#define OPT_GROUP_BEGIN(NAME, HELP) \
    {#NAME, offsetof(struct conf, NAME), options_of_##NAME},
#include "conf/options.def"
    };

    *ret_n = N_ELEMENTS(groups);
    return groups;
}

const struct option_group *
option_group_find(const char *name)
{
    size_t n;
    const struct option_group *groups = option_groups(&n);

    for (size_t i = 0; i < n; i++) {
        if (str_eq(groups[i].name, name)) {
            return &groups[i];
        }
    }
    return NULL;
}

const struct option *
option_find(const struct option_group *group, const char *name)
{
    size_t n;
    const struct option *rows = group->rows(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* A name that was meant, as far as is known. */
struct guess {
    const struct option_group *group; /* Null: nothing near. */
    const char *option;               /* Null: the group itself. */
    size_t distance;
};

static size_t distance_between(const char *a, const char *b);

static void
guess_at(struct guess *guess, const char *name,
         const struct option_group *group, const char *option, size_t handicap)
{
    const char *known = option ? option : group->name;
    size_t distance = distance_between(name, known) + handicap;

    if (distance <= strlen(known) / 3 && distance < guess->distance) {
        *guess = (struct guess){group, option, distance};
    }
}

struct error *
option_unknown(const struct option_group *group, const char *name)
{
    struct guess guess = {NULL, NULL, SIZE_MAX};
    size_t n_groups, n;
    const struct option_group *groups = option_groups(&n_groups);

    if (!group->name && strcmp(name, "DEFAULT") == 0) {
        return error_new(ERR_CONFIG,
                         "is not needed: its options stand outside any group");
    }
    for (size_t g = 0; g < n_groups; g++) {
        const struct option *rows = groups[g].rows(&n);

        if (!group->name && groups[g].name) {
            guess_at(&guess, name, &groups[g], NULL, 0);
        }
        for (size_t i = 0; i < n; i++) {
            /* At the same distance the group that was written is meant. */
            guess_at(&guess, name, &groups[g], rows[i].name,
                     &groups[g] == group ? 0 : 1);
        }
    }
    if (!guess.group) {
        return error_new(ERR_CONFIG, "there is no such option");
    }
    if (!guess.option || guess.group == group) {
        return error_new(ERR_CONFIG,
                         "there is no such option; did you mean '%s'?",
                         guess.option ? guess.option : guess.group->name);
    }
    if (!guess.group->name) {
        return error_new(ERR_CONFIG,
                         "there is no such option; did you mean '%s', outside "
                         "any group?",
                         guess.option);
    }
    return error_new(ERR_CONFIG,
                     "there is no such option; did you mean '%s' in group "
                     "'%s'?",
                     guess.option, guess.group->name);
}

/* How many letters must be put in, left out or changed (Levenshtein).  Names
 * longer than any of ours are far from all. */
#define NAME_MAX_COMPARED 64
static size_t
distance_between(const char *a, const char *b)
{
    size_t row[NAME_MAX_COMPARED + 1], n_a = strlen(a), n_b = strlen(b);

    if (n_a > NAME_MAX_COMPARED || n_b > NAME_MAX_COMPARED) {
        return NAME_MAX_COMPARED;
    }
    for (size_t j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = change < row[j] + 1 ? change : row[j] + 1;
            row[j] = row[j - 1] + 1 < row[j] ? row[j - 1] + 1 : row[j];
        }
    }
    return row[n_b];
}
