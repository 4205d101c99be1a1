#ifndef DROVER_BASE_SETS_H
#define DROVER_BASE_SETS_H

/* Small sets: of CPUs, and of names.
 *
 * A set that is all zeroes is empty.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>
#include <stddef.h>

/* Numbers of CPUs: ascending, each once. */
struct cpu_set {
    int *cpus;
    size_t n;
};
void cpu_set_add(struct cpu_set *set, int cpu);
bool cpu_set_has(const struct cpu_set *set, int cpu);
/* "0-3,^2,5": "^" takes one out, wherever it stands.  False, with nothing
 * left in '*ret', if it is no such text or a number is above 'max'. */
bool cpu_set_parse(const char *text, int max, struct cpu_set *ret);
void cpu_set_close(struct cpu_set *set);

/* Texts in the order in which they came, each once. */
struct text_set {
    char **texts;
    size_t n;
};
void text_set_add(struct text_set *set, const char *text);
bool text_set_has(const struct text_set *set, const char *text);
void text_set_close(struct text_set *set);

#endif
