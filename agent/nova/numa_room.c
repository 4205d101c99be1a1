#include <config.h>

#include "agent/nova/numa_room.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "agent/nova/primitive.h"

static struct error *read_cpus(const struct json *array, const char *what,
                               struct cpu_set *ret);
static struct error *check_memory(const struct numa_node *node,
                                  const struct numa_want *want);
static struct error *check_limits(const struct json *limits,
                                  const struct numa_node *node,
                                  const struct numa_want *want);
static bool pack(const struct numa_node *node, const struct numa_want *want,
                 struct numa_packing *ret);
static void read_cores(const struct numa_node *node, struct numa_cores *ret);

struct error *
numa_want_read(const struct json *cell, struct numa_want *ret)
{
    const char *policy = primitive_string(cell, "cpu_policy");
    const char *threads = primitive_string(cell, "cpu_thread_policy");
    CLEANUP(cpu_set_close) struct cpu_set shared = {0};
    bool is_dedicated = str_eq(policy, "dedicated");

    *ret = (struct numa_want){
        .cell = cell,
        .memory = primitive_int(cell, "memory"),
        .page_kib = primitive_int(cell, "pagesize"),
        .has_own = is_dedicated || str_eq(policy, "mixed"),
        .has_shared = !is_dedicated,
        .threads = str_eq(threads, "require")   ? NUMA_THREADS_REQUIRE
                   : str_eq(threads, "isolate") ? NUMA_THREADS_ISOLATE
                                                : NUMA_THREADS_PREFER,
    };
    if (!json_is_object(primitive_data(cell)) || ret->memory < 0 ||
        ret->memory > INT64_MAX / 1024 || ret->page_kib < 0) {
        return error_new(ERR_VALUE, "this is no NUMA node");
    }
    struct error *error =
        read_cpus(primitive_get(cell, "pcpuset"), "pcpuset", &ret->own);
    error = error ? error
                  : read_cpus(primitive_get(cell, "cpuset"), "cpuset", &shared);
    ret->n_shared = shared.n;
    return error;
}

struct error *
numa_node_read(const struct json *cell, struct numa_node *ret)
{
    CLEANUP(cpu_set_close) struct cpu_set shared = {0}, own = {0}, pinned = {0};
    struct error *error =
        read_cpus(primitive_get(cell, "cpuset"), "cpuset", &shared);

    error = error ? error
                  : read_cpus(primitive_get(cell, "pcpuset"), "pcpuset", &own);
    error = error ? error
                  : read_cpus(primitive_get(cell, "pinned_cpus"), "pinned_cpus",
                              &pinned);
    *ret = (struct numa_node){
        .cell = cell,
        .id = primitive_int(cell, "id"),
        .memory = primitive_int(cell, "memory"),
        .cpu_usage = primitive_int(cell, "cpu_usage"),
        .n_shared = shared.n,
        .n_own = own.n,
        .gives_any = shared.n == own.n,
    };
    ret->free_memory = ret->memory - primitive_int(cell, "memory_usage");
    for (size_t i = 0; i < own.n; i++) {
        ret->gives_any = ret->gives_any && cpu_set_has(&shared, own.cpus[i]);
        if (!cpu_set_has(&pinned, own.cpus[i])) {
            cpu_set_add(&ret->free_own, own.cpus[i]);
        }
    }
    return error;
}

/* Null is none. */
static struct error *
read_cpus(const struct json *array, const char *what, struct cpu_set *ret)
{
    json_for_each (number, array) {
        if (!json_is_int(number) || json_get_int(number) < 0 ||
            json_get_int(number) > INT_MAX) {
            return error_new(ERR_VALUE, "'%s' is no set of CPUs", what);
        }
        cpu_set_add(ret, (int)json_get_int(number));
    }
    return NULL;
}

void
numa_node_close(struct numa_node *node)
{
    cpu_set_close(&node->free_own);
}

void
numa_want_close(struct numa_want *want)
{
    cpu_set_close(&want->own);
}

struct error *
numa_room_check(const struct numa_node *node, const struct numa_want *want,
                const struct json *limits)
{
    struct error *error = check_memory(node, want);
    CLEANUP(numa_packing_close) struct numa_packing packing = {0};

    if (!error && want->has_own &&
        (want->own.n + want->n_reserved > node->free_own.n)) {
        error = numa_no_room("node %" PRId64
                             " has %zu CPUs of %zu left that guests "
                             "may have to themselves, and %zu are wanted",
                             node->id, node->free_own.n, node->n_own,
                             want->own.n + want->n_reserved);
    }
    if (!error && want->has_shared && want->n_shared > node->n_shared) {
        error =
            numa_no_room("node %" PRId64 " has %zu CPUs that guests share, and "
                         "one wants %zu",
                         node->id, node->n_shared, want->n_shared);
    }
    if (!error && want->has_own && want->memory > node->free_memory) {
        error = numa_no_room("node %" PRId64 " has %" PRId64 " MiB left, and "
                             "%" PRId64 " are wanted",
                             node->id, node->free_memory, want->memory);
    }
    if (!error && want->has_own && !pack(node, want, &packing)) {
        error =
            numa_no_room("node %" PRId64 " has no CPUs left that are threads "
                         "as wanted",
                         node->id);
    }
    if (!error && want->has_shared) {
        error = check_limits(limits, node, want);
    }
    return error;
}

/* Huge pages are given out once.  Without them memory is given out more than
 * once, but not to the same guest. */
static struct error *
check_memory(const struct numa_node *node, const struct numa_want *want)
{
    const struct json *sizes = primitive_get(node->cell, "mempages");
    int64_t page_kib = want->page_kib, n_free = -1;

    if (page_kib == 0) {
        json_for_each (pages, sizes) {
            int64_t kib = primitive_int(pages, "size_kb");
            page_kib = page_kib == 0 || kib < page_kib ? kib : page_kib;
        }
    }
    json_for_each (pages, sizes) {
        if (page_kib > 0 && primitive_int(pages, "size_kb") == page_kib) {
            n_free = primitive_int(pages, "total");
            if (want->page_kib > 0) {
                n_free -= primitive_int(pages, "used") +
                          primitive_int(pages, "reserved");
            }
        }
    }
    if (page_kib == 0) { /* The host does not tell of pages. */
        n_free = node->memory;
        page_kib = 1024;
    }
    if (n_free < 0) {
        return numa_no_room("node %" PRId64 " has no pages of %" PRId64 " KiB",
                            node->id, page_kib);
    }
    if (want->memory * 1024 % page_kib != 0 ||
        want->memory * 1024 / page_kib > n_free) {
        return numa_no_room("node %" PRId64 " has %" PRId64 " pages of %" PRId64
                            " KiB left, and %" PRId64 " MiB are wanted",
                            node->id, n_free, page_kib, want->memory);
    }
    return NULL;
}

static double
ratio_of(const struct json *limits, const char *field)
{
    return json_get_double(primitive_get(limits, field));
}

static struct error *
check_limits(const struct json *limits, const struct numa_node *node,
             const struct numa_want *want)
{
    if (!primitive_data(limits)) {
        return NULL;
    }
    double cpus = (double)node->cpu_usage + (double)want->n_shared;
    double memory = (double)(node->memory - node->free_memory + want->memory);

    if (cpus >
        (double)node->n_shared * ratio_of(limits, "cpu_allocation_ratio")) {
        return numa_no_room("node %" PRId64
                            " has %zu CPUs that guests share, of "
                            "which they would have %.0f",
                            node->id, node->n_shared, cpus);
    }
    if (memory >
        (double)node->memory * ratio_of(limits, "ram_allocation_ratio")) {
        return numa_no_room("node %" PRId64 " has %" PRId64
                            " MiB, of which guests "
                            "would have %.0f",
                            node->id, node->memory, memory);
    }
    return NULL;
}

struct json *
numa_room_give(const struct numa_node *node, const struct numa_want *want)
{
    struct json *cell = json_copy(want->cell);
    struct json *data = json_get(cell, "nova_object.data");
    CLEANUP(numa_packing_close) struct numa_packing packing = {0};
    struct json *pins = json_null(), *reserved = json_null();

    if (want->has_own && pack(node, want, &packing)) {
        json_free(pins);
        pins = json_object();
        for (size_t i = 0; i < want->own.n; i++) {
            AUTO_FREE name = xasprintf("%d", want->own.cpus[i]);
            json_set_int(pins, name, packing.pins[i]);
        }
        if (packing.reserved.n) {
            json_free(reserved);
            reserved = primitive_cpus(&packing.reserved);
        }
    }
    json_remove(cell, "nova_object.changes");
    json_set_int(data, "id", node->id);
    json_set(data, "cpu_pinning_raw", pins);
    json_set(data, "cpuset_reserved", reserved);
    return cell;
}

static bool
pack(const struct numa_node *node, const struct numa_want *want,
     struct numa_packing *ret)
{
    CLEANUP(numa_cores_close) struct numa_cores cores = {0};

    read_cores(node, &cores);
    /* Siblings that it leaves idle would be for nobody to count. */
    if (want->threads == NUMA_THREADS_ISOLATE && cores.n_threads > 1 &&
        !node->gives_any) {
        return false;
    }
    return numa_pack(&cores, want->own.n, want->n_reserved, want->threads, ret);
}

/* CPUs of which no siblings are told are cores by themselves. */
static void
read_cores(const struct numa_node *node, struct numa_cores *ret)
{
    const struct json *siblings = primitive_get(node->cell, "siblings");
    CLEANUP(cpu_set_close) struct cpu_set told = {0};

    ret->free =
        xcalloc(json_size(siblings) + node->free_own.n, sizeof *ret->free);
    ret->n_threads = 1;
    json_for_each (core, siblings) {
        struct cpu_set *free_cpus = &ret->free[ret->n];

        json_for_each (number, core) {
            int cpu = (int)json_get_int(number);

            cpu_set_add(&told, cpu);
            if (cpu_set_has(&node->free_own, cpu)) {
                cpu_set_add(free_cpus, cpu);
            }
        }
        ret->n += free_cpus->n > 0;
        ret->n_threads =
            json_size(core) > ret->n_threads ? json_size(core) : ret->n_threads;
    }
    for (size_t i = 0; i < node->free_own.n; i++) {
        if (!cpu_set_has(&told, node->free_own.cpus[i])) {
            cpu_set_add(&ret->free[ret->n++], node->free_own.cpus[i]);
        }
    }
}

struct error *
numa_no_room(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    AUTO_FREE text = xvasprintf(format, args);
    va_end(args);
    return error_new(ERR_COMPUTE_RESOURCES_UNAVAILABLE,
                     "Requested instance NUMA topology cannot fit the given "
                     "host NUMA topology: %s",
                     text);
}
