#include <config.h>

#include "agent/drain/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of what hosts say why a guest can't come to them. */
#define GROUPS_MAX 4
#define NAMES_MAX 3

struct plan {
    const struct drain_problem *problem;
    struct drain_choice *choices;
    int64_t *left_mb;         /* Of each host. */
    const char **refused;     /* By guest and host: why not; or null. */
    const size_t *host_order; /* By name. */
};

static size_t *sorted(size_t n,
                      int (*compare)(size_t a, size_t b, const void *),
                      const void *aux);
static int by_size(size_t a, size_t b, const void *aux);
static int by_name(size_t a, size_t b, const void *aux);
static void note_refusals(struct plan *plan);
static bool may_take(const struct plan *plan, size_t guest, size_t host);
static size_t roomiest(const struct plan *plan, size_t guest, size_t except);
static bool make_room(struct plan *plan, size_t guest);
static bool give_way(struct plan *plan, size_t guest, size_t host);
static void put(struct plan *plan, size_t guest, size_t host);
static char *why_nowhere(const struct plan *plan, size_t guest);
static size_t tell_group(const struct plan *plan, char **answers, size_t first,
                         FILE *out);
static const char *name_at(const struct plan *plan, size_t i);
static char *why_not(const struct plan *plan, size_t guest, size_t host);

struct drain_choice *
drain_plan(const struct drain_problem *problem)
{
    size_t n_guests = problem->n_guests, n_hosts = problem->n_hosts;
    size_t *order = sorted(n_guests, by_size, problem);
    size_t *host_order = sorted(n_hosts, by_name, problem);
    struct plan plan = {
        .problem = problem,
        .choices = xcalloc(n_guests + 1, sizeof *plan.choices),
        .left_mb = xcalloc(n_hosts + 1, sizeof *plan.left_mb),
        .refused = xcalloc(n_guests * n_hosts + 1, sizeof *plan.refused),
        .host_order = host_order,
    };

    for (size_t h = 0; h < n_hosts; h++) {
        plan.left_mb[h] = problem->hosts[h].memory_free_mb;
    }
    for (size_t g = 0; g < n_guests; g++) {
        plan.choices[g].host = DRAIN_NOWHERE;
    }
    note_refusals(&plan);
    for (size_t i = 0; i < n_guests; i++) {
        size_t guest = order[i];
        size_t host = roomiest(&plan, guest, DRAIN_NOWHERE);

        if (host != DRAIN_NOWHERE) {
            put(&plan, guest, host);
        } else if (!make_room(&plan, guest)) {
            plan.choices[guest].reason = why_nowhere(&plan, guest);
        }
    }
    free(plan.left_mb);
    free(plan.refused);
    free(host_order);
    free(order);
    return plan.choices;
}

void
drain_choices_free(struct drain_choice *choices, size_t n)
{
    for (size_t i = 0; choices && i < n; i++) {
        free(choices[i].reason);
    }
    free(choices);
}

/* Indices below 'n' in order; the caller's.  There are some hundreds. */
static size_t *
sorted(size_t n, int (*compare)(size_t a, size_t b, const void *),
       const void *aux)
{
    size_t *order = xcalloc(n + 1, sizeof *order);

    for (size_t i = 0; i < n; i++) {
        size_t at = i;

        for (; at > 0 && compare(order[at - 1], i, aux) > 0; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return order;
}

static int
by_size(size_t a, size_t b, const void *aux)
{
    const struct drain_problem *problem = aux;
    const struct drain_guest *one = &problem->guests[a];
    const struct drain_guest *other = &problem->guests[b];

    if (one->memory_mb != other->memory_mb) {
        return one->memory_mb > other->memory_mb ? -1 : 1;
    }
    return strcmp(one->uuid, other->uuid);
}

static int
by_name(size_t a, size_t b, const void *aux)
{
    const struct drain_problem *problem = aux;

    return strcmp(problem->hosts[a].name, problem->hosts[b].name);
}

static void
note_refusals(struct plan *plan)
{
    const struct drain_problem *problem = plan->problem;

    for (size_t i = 0; i < problem->n_refusals; i++) {
        const struct drain_refusal *refusal = &problem->refusals[i];

        plan->refused[refusal->guest * problem->n_hosts + refusal->host] =
            refusal->reason;
    }
}

/* But for its memory. */
static bool
may_take(const struct plan *plan, size_t guest, size_t host)
{
    const struct drain_problem *problem = plan->problem;

    return !problem->guests[guest].stuck && !problem->hosts[host].barred &&
           !plan->refused[guest * problem->n_hosts + host];
}

/* The host where most is left, if the guest fits there. */
static size_t
roomiest(const struct plan *plan, size_t guest, size_t except)
{
    const struct drain_problem *problem = plan->problem;
    size_t best = DRAIN_NOWHERE;

    for (size_t i = 0; i < problem->n_hosts; i++) {
        size_t host = plan->host_order[i];

        if (host != except && may_take(plan, guest, host) &&
            plan->left_mb[host] >= problem->guests[guest].memory_mb &&
            (best == DRAIN_NOWHERE ||
             plan->left_mb[host] > plan->left_mb[best])) {
            best = host;
        }
    }
    return best;
}

static bool
make_room(struct plan *plan, size_t guest)
{
    for (size_t i = 0; i < plan->problem->n_hosts; i++) {
        size_t host = plan->host_order[i];

        if (may_take(plan, guest, host) && give_way(plan, guest, host)) {
            put(plan, guest, host);
            return true;
        }
    }
    return false;
}

/* Has the smallest guest that makes enough room go elsewhere. */
static bool
give_way(struct plan *plan, size_t guest, size_t host)
{
    const struct drain_guest *guests = plan->problem->guests;
    int64_t lacking_mb = guests[guest].memory_mb - plan->left_mb[host];
    size_t best = DRAIN_NOWHERE, best_host = DRAIN_NOWHERE;

    for (size_t other = 0; other < plan->problem->n_guests; other++) {
        if (plan->choices[other].host != host ||
            guests[other].memory_mb < lacking_mb ||
            (best != DRAIN_NOWHERE &&
             by_size(other, best, plan->problem) < 0)) {
            continue;
        }
        size_t elsewhere = roomiest(plan, other, host);
        if (elsewhere != DRAIN_NOWHERE) {
            best = other;
            best_host = elsewhere;
        }
    }
    if (best == DRAIN_NOWHERE) {
        return false;
    }
    plan->left_mb[host] += guests[best].memory_mb;
    put(plan, best, best_host);
    return true;
}

static void
put(struct plan *plan, size_t guest, size_t host)
{
    plan->choices[guest].host = host;
    plan->left_mb[host] -= plan->problem->guests[guest].memory_mb;
}

/* What each host says, those that say the same together, and of many only some:
 * it is kept for each guest.  The caller's. */
static char *
why_nowhere(const struct plan *plan, size_t guest)
{
    const struct drain_problem *problem = plan->problem;
    const char *stuck = problem->guests[guest].stuck;
    size_t n_hosts = problem->n_hosts, n_told = 0, n_groups = 0;
    char *text = NULL;
    size_t size;

    if (stuck || n_hosts == 0) {
        return xstrdup(stuck ? stuck : "there is no other host");
    }
    char **answers = xcalloc(n_hosts, sizeof *answers);
    FILE *out = open_memstream(&text, &size);

    for (size_t i = 0; i < n_hosts; i++) {
        answers[i] = why_not(plan, guest, plan->host_order[i]);
    }
    for (size_t i = 0; i < n_hosts && n_groups < GROUPS_MAX; i++) {
        if (answers[i]) {
            fputs(n_groups++ ? "; " : "", out);
            n_told += tell_group(plan, answers, i, out);
        }
    }
    if (n_told < n_hosts) {
        fprintf(out, "; %zu other hosts have other reasons", n_hosts - n_told);
    }
    fclose(out);
    for (size_t i = 0; i < n_hosts; i++) {
        free(answers[i]);
    }
    free(answers);
    return text;
}

/* The answer of the host at 'first' (of the order), with all who say the same,
 * which then are done with.  How many that are. */
static size_t
tell_group(const struct plan *plan, char **answers, size_t first, FILE *out)
{
    AUTO_FREE answer = steal(&answers[first]);
    size_t n = 1;

    fprintf(out, "host '%s'", name_at(plan, first));
    for (size_t i = first + 1; i < plan->problem->n_hosts; i++) {
        if (answers[i] && str_eq(answers[i], answer)) {
            if (n < NAMES_MAX) {
                fprintf(out, ", '%s'", name_at(plan, i));
            }
            free(steal(&answers[i]));
            n++;
        }
    }
    if (n > NAMES_MAX) {
        fprintf(out, " and %zu others", n - NAMES_MAX);
    }
    fprintf(out, ": %s", answer);
    return n;
}

static const char *
name_at(const struct plan *plan, size_t i)
{
    return plan->problem->hosts[plan->host_order[i]].name;
}

/* The caller's. */
static char *
why_not(const struct plan *plan, size_t guest, size_t host)
{
    const struct drain_problem *problem = plan->problem;
    const struct drain_host *h = &problem->hosts[host];
    const char *refused = plan->refused[guest * problem->n_hosts + host];

    if (h->barred || refused) {
        return xstrdup(h->barred ? h->barred : refused);
    }
    return xasprintf("%" PRId64 " MiB needed, %" PRId64 " of %" PRId64
                     " MiB free would be left",
                     problem->guests[guest].memory_mb, plan->left_mb[host],
                     h->memory_free_mb);
}
