#include <config.h>

#include "conf/convergence.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static struct error *add_step(struct convergence *to, const char *text,
                              size_t size);
static enum convergence_action find_action(const char *name, size_t size);

struct error *
convergence_parse(const char *text, struct convergence *ret)
{
    struct convergence convergence = {0};

    if (strcmp(text, "nova") == 0) {
        *ret = convergence;
        return NULL;
    }
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        struct error *error = add_step(&convergence, at, size);

        if (error) {
            return error;
        }
        at += size;
        if (!*at) {
            *ret = convergence;
            return NULL;
        }
    }
}

unsigned
convergence_actions(const struct convergence *convergence)
{
    unsigned actions = 0;

    for (size_t i = 0; i < convergence->n_steps; i++) {
        actions |= convergence->steps[i].action;
    }
    return actions;
}

void
convergence_drop(struct convergence *convergence, unsigned actions)
{
    size_t n = 0;

    for (size_t i = 0; i < convergence->n_steps; i++) {
        if (!(convergence->steps[i].action & actions)) {
            convergence->steps[n++] = convergence->steps[i];
        }
    }
    convergence->n_steps = n;
}

/* "N:ACTION" */
static struct error *
add_step(struct convergence *to, const char *text, size_t size)
{
    const char *end = text;
    unsigned after = 0;

    for (; isdigit((unsigned char)*end) && after <= CONVERGENCE_MAX_ITERATIONS;
         end++) {
        after = after * 10 + (unsigned)(*end - '0');
    }
    enum convergence_action action =
        *end == ':' ? find_action(end + 1, size - (size_t)(end + 1 - text)) : 0;
    if (after < 1 || after > CONVERGENCE_MAX_ITERATIONS || !action) {
        return error_new(ERR_CONFIG,
                         "must be 'nova', or N:ACTION,... with N from 1 to %d "
                         "and downtime, throttle, postcopy or abort",
                         CONVERGENCE_MAX_ITERATIONS);
    }
    if (convergence_actions(to) & action) {
        return error_new(ERR_CONFIG, "must not have an action twice");
    }
    if (to->n_steps && to->steps[to->n_steps - 1].after > after) {
        return error_new(ERR_CONFIG, "must have its steps in their order");
    }
    to->steps[to->n_steps++] =
        (struct convergence_step){.after = after, .action = action};
    return NULL;
}

/* 0: there is none. */
static enum convergence_action
find_action(const char *name, size_t size)
{
    static const struct {
        const char *name;
        enum convergence_action action;
    } actions[CONVERGENCE_N_ACTIONS] = {
        {"downtime", CONVERGENCE_DOWNTIME},
        {"throttle", CONVERGENCE_THROTTLE},
        {"postcopy", CONVERGENCE_POSTCOPY},
        {"abort", CONVERGENCE_ABORT},
    };

    for (size_t i = 0; i < N_ELEMENTS(actions); i++) {
        if (strlen(actions[i].name) == size &&
            strncmp(actions[i].name, name, size) == 0) {
            return actions[i].action;
        }
    }
    return 0;
}
