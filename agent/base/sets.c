#include <config.h>

#include "agent/base/sets.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/mem.h"

/* Where 'cpu' is, or belongs. */
static size_t
cpu_place(const struct cpu_set *set, int cpu)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->cpus[middle] < cpu) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool
cpu_set_has(const struct cpu_set *set, int cpu)
{
    size_t at = cpu_place(set, cpu);

    return at < set->n && set->cpus[at] == cpu;
}

void
cpu_set_add(struct cpu_set *set, int cpu)
{
    size_t at = cpu_place(set, cpu);

    if (at < set->n && set->cpus[at] == cpu) {
        return;
    }
    set->cpus = xrealloc(set->cpus, (set->n + 1) * sizeof *set->cpus);
    memmove(set->cpus + at + 1, set->cpus + at,
            (set->n - at) * sizeof *set->cpus);
    set->cpus[at] = cpu;
    set->n++;
}

void
cpu_set_close(struct cpu_set *set)
{
    free(set->cpus);
    *set = (struct cpu_set){0};
}

static const char *
skip_blanks(const char *at)
{
    while (*at == ' ') {
        at++;
    }
    return at;
}

static bool
read_number(const char **at, int max, int *ret)
{
    long number = 0;

    if (!isdigit((unsigned char)**at)) {
        return false;
    }
    for (; isdigit((unsigned char)**at); ++*at) {
        number = number * 10 + (**at - '0');
        if (number > max) {
            return false;
        }
    }
    *ret = (int)number;
    return true;
}

/* One rule, up to the comma or the end: "3", "0-3", "^2", or nothing. */
static bool
read_rule(const char **at, int max, struct cpu_set *in, struct cpu_set *out)
{
    int first, last;

    *at = skip_blanks(*at);
    if (**at == ',' || **at == '\0') {
        return true;
    }
    bool is_out = **at == '^';
    *at = skip_blanks(*at + is_out);
    if (!read_number(at, max, &first)) {
        return false;
    }
    last = first;
    *at = skip_blanks(*at);
    if (**at == '-' && !is_out) {
        *at = skip_blanks(*at + 1);
        if (!read_number(at, max, &last) || last < first) {
            return false;
        }
    }
    for (int cpu = first; cpu <= last; cpu++) {
        cpu_set_add(is_out ? out : in, cpu);
    }
    *at = skip_blanks(*at);
    return **at == ',' || **at == '\0';
}

bool
cpu_set_parse(const char *text, int max, struct cpu_set *ret)
{
    CLEANUP(cpu_set_close) struct cpu_set in = {0}, out = {0};
    bool is_right;

    *ret = (struct cpu_set){0};
    for (;;) {
        is_right = read_rule(&text, max, &in, &out);
        if (!is_right || *text == '\0') {
            break;
        }
        text++;
    }
    for (size_t i = 0; is_right && i < in.n; i++) {
        if (!cpu_set_has(&out, in.cpus[i])) {
            cpu_set_add(ret, in.cpus[i]);
        }
    }
    return is_right;
}

bool
text_set_has(const struct text_set *set, const char *text)
{
    for (size_t i = 0; i < set->n; i++) {
        if (str_eq(set->texts[i], text)) {
            return true;
        }
    }
    return false;
}

void
text_set_add(struct text_set *set, const char *text)
{
    if (!text || text_set_has(set, text)) {
        return;
    }
    set->texts = xrealloc(set->texts, (set->n + 1) * sizeof *set->texts);
    set->texts[set->n++] = xstrdup(text);
}

void
text_set_close(struct text_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        free(set->texts[i]);
    }
    free(set->texts);
    *set = (struct text_set){0};
}
