#include <config.h>

#include "agent/nova/numa_fit.h"

#include <stdlib.h>
#include <string.h>

#include "agent/nova/numa_room.h"
#include "agent/nova/primitive.h"

struct fit {
    const struct numa_fit_rules *rules;
    struct numa_node *nodes; /* In the order in which they are tried. */
    struct numa_want *wants;
    size_t n_nodes, n_wants;
    bool *fits;      /* [want * n_nodes + node] */
    size_t *node_of; /* Of each want; n_nodes: none yet. */
};

static struct error *read_wants(const struct json *instance, struct fit *fit);
static struct error *read_nodes(const struct json *host, struct fit *fit);
static void sort_nodes(struct fit *fit);
static int compare_nodes(const struct fit *fit, const struct numa_node *a,
                         const struct numa_node *b);
static struct error *place(struct fit *fit);
static struct error *look_for_room(struct fit *fit, size_t want);
static bool seat(struct fit *fit, size_t want, bool *tried);
static size_t seated_at(const struct fit *fit, size_t node);
static void fit_close(struct fit *fit);

struct error *
numa_fit(const struct json *host, const struct json *instance,
         const struct numa_fit_rules *rules, struct json **ret)
{
    CLEANUP(fit_close) struct fit fit = {.rules = rules};
    struct error *error = read_wants(instance, &fit);

    error = error ? error : read_nodes(host, &fit);
    error = error ? error : place(&fit);
    if (error) {
        return error;
    }
    struct json *cells = json_array();
    for (size_t i = 0; i < fit.n_wants; i++) {
        json_append(cells,
                    numa_room_give(&fit.nodes[fit.node_of[i]], &fit.wants[i]));
    }
    *ret = json_copy(instance);
    json_remove(*ret, "nova_object.changes");
    json_set(json_get(*ret, "nova_object.data"), "cells", cells);
    return NULL;
}

/* What the guest asks for. */

static struct error *
read_wants(const struct json *instance, struct fit *fit)
{
    const struct json *cells = primitive_get(instance, "cells");
    bool isolates_emulator = str_eq(
        primitive_string(instance, "emulator_threads_policy"), "isolate");

    if (!json_is_array(cells) || json_size(cells) == 0) {
        return error_new(ERR_VALUE, "a NUMA topology has no nodes");
    }
    fit->wants = xcalloc(json_size(cells), sizeof *fit->wants);
    json_for_each (cell, cells) {
        struct numa_want *want = &fit->wants[fit->n_wants++];
        struct error *error = numa_want_read(cell, want);

        if (error) {
            return error;
        }
        /* The first node has the CPU on which its hypervisor runs. */
        want->n_reserved = isolates_emulator && fit->n_wants == 1;
    }
    return NULL;
}

/* What the host has. */

static struct error *
read_nodes(const struct json *host, struct fit *fit)
{
    const struct json *cells = primitive_get(host, "cells");
    size_t n = json_size(cells);

    if (n < fit->n_wants) {
        return numa_no_room("%zu NUMA nodes are wanted, and %zu are there",
                            fit->n_wants, n);
    }
    fit->nodes = xcalloc(n, sizeof *fit->nodes);
    json_for_each (cell, cells) {
        struct error *error = numa_node_read(cell, &fit->nodes[fit->n_nodes++]);

        if (error) {
            return error;
        }
    }
    if (fit->n_nodes > fit->n_wants) {
        sort_nodes(fit);
    }
    return NULL;
}

/* By insertion: there are few, and equal ones stay in order. */
static void
sort_nodes(struct fit *fit)
{
    for (size_t i = 1; i < fit->n_nodes; i++) {
        struct numa_node node = fit->nodes[i];
        size_t at = i;

        for (; at > 0 && compare_nodes(fit, &fit->nodes[at - 1], &node) > 0;
             at--) {
            fit->nodes[at] = fit->nodes[at - 1];
        }
        fit->nodes[at] = node;
    }
}

/* Fewer CPUs in use are before more, and of the same number more memory. */
static int
compare_nodes(const struct fit *fit, const struct numa_node *a,
              const struct numa_node *b)
{
    int64_t cpus = fit->wants[0].has_own
                       ? (int64_t)b->free_own.n - (int64_t)a->free_own.n
                       : a->cpu_usage - b->cpu_usage;
    int64_t more = cpus ? cpus : b->free_memory - a->free_memory;
    int order = (more > 0) - (more < 0);

    return fit->rules->is_packed ? -order : order;
}

/* Which node for which. */
static struct error *
place(struct fit *fit)
{
    bool *tried = xcalloc(fit->n_nodes, sizeof *tried);
    struct error *error = NULL;

    fit->fits = xcalloc(fit->n_wants * fit->n_nodes, sizeof *fit->fits);
    fit->node_of = xcalloc(fit->n_wants, sizeof *fit->node_of);
    for (size_t i = 0; i < fit->n_wants && !error; i++) {
        fit->node_of[i] = fit->n_nodes;
        error = look_for_room(fit, i);
    }
    for (size_t i = 0; i < fit->n_wants && !error; i++) {
        memset(tried, 0, fit->n_nodes * sizeof *tried);
        if (!seat(fit, i, tried)) {
            error = numa_no_room("its %zu nodes have room on fewer only",
                                 fit->n_wants);
        }
    }
    free(tried);
    return error;
}

/* If no node has room, why the last one has none. */
static struct error *
look_for_room(struct fit *fit, size_t want)
{
    AUTO_ERROR why = NULL;
    bool has_any = false;

    for (size_t at = 0; at < fit->n_nodes; at++) {
        struct error *error = numa_room_check(
            &fit->nodes[at], &fit->wants[want], fit->rules->limits);

        fit->fits[want * fit->n_nodes + at] = !error;
        has_any = has_any || !error;
        if (error) {
            error_free(why);
            why = error;
        }
    }
    return has_any ? NULL : steal(&why);
}

/* On the first that is free; else on one whose own may sit elsewhere. */
static bool
seat(struct fit *fit, size_t want, bool *tried)
{
    for (int only_free = 1; only_free >= 0; only_free--) {
        for (size_t at = 0; at < fit->n_nodes; at++) {
            size_t other = seated_at(fit, at);

            if (!fit->fits[want * fit->n_nodes + at] || tried[at] ||
                (only_free && other < fit->n_wants)) {
                continue;
            }
            tried[at] = true;
            if (other == fit->n_wants || seat(fit, other, tried)) {
                fit->node_of[want] = at;
                return true;
            }
        }
    }
    return false;
}

static size_t
seated_at(const struct fit *fit, size_t node)
{
    size_t want = 0;

    while (want < fit->n_wants && fit->node_of[want] != node) {
        want++;
    }
    return want;
}

static void
fit_close(struct fit *fit)
{
    for (size_t i = 0; i < fit->n_nodes; i++) {
        numa_node_close(&fit->nodes[i]);
    }
    for (size_t i = 0; i < fit->n_wants; i++) {
        numa_want_close(&fit->wants[i]);
    }
    free(fit->nodes);
    free(fit->wants);
    free(fit->fits);
    free(fit->node_of);
}
