#include <config.h>

#include "agent/nova/numa_topology.h"

#include "agent/nova/primitive.h"

static struct json *cell_of(const struct host_cell *cell,
                            const struct cpu_set *shared,
                            const struct cpu_set *dedicated);
static struct json *cpus_of(const struct cpu_set *cpus,
                            const struct cpu_set *allowed,
                            const struct cpu_set *also);
static struct json *siblings_of(const struct host_cell *cell,
                                const struct cpu_set *shared,
                                const struct cpu_set *dedicated);
static struct json *pages_of(const struct host_cell *cell);
static void take(struct json *cell, const struct json *wanted);
static void take_pages(const struct json *cell, const struct json *wanted);
static void pin(struct json *cell, const struct json *wanted);
static void pin_one(const struct json *cell, struct json *pinned, int64_t cpu,
                    bool with_siblings);
static void add_number(struct json *array, int64_t number);
static bool has_number(const struct json *array, int64_t number);

static bool
has_nodes(const struct host_resources *host)
{
    const char *arch = host->arch;

    return str_eq(arch, "ppc64") || str_eq(arch, "ppc64le") ||
           str_eq(arch, "x86_64") || str_eq(arch, "i686") ||
           str_eq(arch, "aarch64");
}

/* An operator who names only CPUs to share, none to give away, has none for
 * pinned guests; one who names neither lets both use all. */
struct json *
numa_topology_create(const struct host_resources *host,
                     const struct node_settings *settings,
                     const struct node_cpus *cpus)
{
    bool is_either = cpus->dedicated.n == 0 &&
                     !(settings->shared_set && *settings->shared_set);
    const struct cpu_set *dedicated =
        is_either ? &cpus->shared : &cpus->dedicated;
    struct json *cells = json_array();
    struct json *data = json_object();

    if (!has_nodes(host) || host->n_cells == 0) {
        json_free(cells);
        json_free(data);
        return NULL;
    }
    for (size_t i = 0; i < host->n_cells; i++) {
        json_append(cells, cell_of(&host->cells[i], &cpus->shared, dedicated));
    }
    json_set(data, "cells", cells);
    return primitive_create("NUMATopology", "1.2", data);
}

void
numa_topology_take(struct json *topology, const struct json *of_instance)
{
    json_for_each (cell, primitive_get(topology, "cells")) {
        json_for_each (wanted, primitive_get(of_instance, "cells")) {
            if (primitive_int(wanted, "id") == primitive_int(cell, "id")) {
                take(cell, wanted);
            }
        }
    }
}

static struct json *
cell_of(const struct host_cell *cell, const struct cpu_set *shared,
        const struct cpu_set *dedicated)
{
    struct json *data = json_object(), *network = json_object();

    json_set_int(data, "id", cell->id);
    json_set(data, "cpuset", cpus_of(&cell->cpus, shared, NULL));
    json_set(data, "pcpuset", cpus_of(&cell->cpus, dedicated, NULL));
    json_set_int(data, "memory", cell->memory_kib >> 10);
    json_set_int(data, "cpu_usage", 0);
    json_set_int(data, "memory_usage", 0);
    json_set(data, "pinned_cpus", json_array());
    json_set(data, "siblings", siblings_of(cell, shared, dedicated));
    json_set(data, "mempages", pages_of(cell));
    json_set(network, "physnets", json_array());
    json_set_bool(network, "tunneled", false);
    json_set(data, "network_metadata",
             primitive_create("NetworkMetadata", "1.0", network));
    json_set(data, "socket",
             cell->socket < 0 ? json_null() : json_int(cell->socket));
    return primitive_create("NUMACell", "1.5", data);
}

/* Those of 'cpus' that are in one of the two; 'also' may be null. */
static struct json *
cpus_of(const struct cpu_set *cpus, const struct cpu_set *allowed,
        const struct cpu_set *also)
{
    struct json *array = json_array();

    for (size_t i = 0; i < cpus->n; i++) {
        int cpu = cpus->cpus[i];
        if (cpu_set_has(allowed, cpu) || (also && cpu_set_has(also, cpu))) {
            json_append(array, json_int(cpu));
        }
    }
    return array;
}

static struct json *
siblings_of(const struct host_cell *cell, const struct cpu_set *shared,
            const struct cpu_set *dedicated)
{
    struct json *array = json_array();

    for (size_t i = 0; i < cell->n_siblings; i++) {
        struct json *cpus = cpus_of(&cell->siblings[i], shared, dedicated);
        if (json_size(cpus) > 0) {
            json_append(array, cpus);
        } else {
            json_free(cpus);
        }
    }
    return array;
}

static struct json *
pages_of(const struct host_cell *cell)
{
    struct json *array = json_array();

    for (size_t i = 0; i < cell->n_pages; i++) {
        struct json *data = json_object();
        json_set_int(data, "size_kb", cell->pages[i].size_kib);
        json_set_int(data, "total", cell->pages[i].total);
        json_set_int(data, "used", 0);
        json_set_int(data, "reserved", 0);
        json_append(array, primitive_create("NUMAPagesTopology", "1.1", data));
    }
    return array;
}

static void
add_to(const struct json *primitive, const char *field, int64_t more)
{
    struct json *data = json_get(primitive, "nova_object.data");

    json_set_int(data, field, json_int_of(data, field) + more);
}

/* CPUs that the guest shares with others are counted, its own are pinned. */
static void
take(struct json *cell, const struct json *wanted)
{
    take_pages(cell, wanted);
    add_to(cell, "memory_usage", primitive_int(wanted, "memory"));
    add_to(cell, "cpu_usage",
           (int64_t)json_size(primitive_get(wanted, "cpuset")));
    pin(cell, wanted);
}

/* Memory of no particular page size is of the smallest. */
static void
take_pages(const struct json *cell, const struct json *wanted)
{
    const struct json *sizes = primitive_get(cell, "mempages");
    int64_t size_kib = primitive_int(wanted, "pagesize");

    if (size_kib <= 0) {
        json_for_each (pages, sizes) {
            int64_t kib = primitive_int(pages, "size_kb");
            size_kib = size_kib <= 0 || kib < size_kib ? kib : size_kib;
        }
    }
    json_for_each (pages, sizes) {
        if (size_kib > 0 && primitive_int(pages, "size_kb") == size_kib) {
            add_to(pages, "used",
                   primitive_int(wanted, "memory") * 1024 / size_kib);
        }
    }
}

static void
pin(struct json *cell, const struct json *wanted)
{
    const char *policy = primitive_string(wanted, "cpu_policy");
    bool with_siblings =
        str_eq(primitive_string(wanted, "cpu_thread_policy"), "isolate");
    struct json *pinned =
        json_get(json_get(cell, "nova_object.data"), "pinned_cpus");

    if (!policy || str_eq(policy, "shared")) {
        return;
    }
    json_for_each (cpu, primitive_get(wanted, "cpu_pinning_raw")) {
        pin_one(cell, pinned, json_get_int(cpu), with_siblings);
    }
    json_for_each (cpu, primitive_get(wanted, "cpuset_reserved")) {
        pin_one(cell, pinned, json_get_int(cpu), with_siblings);
    }
}

/* An isolated guest has the other threads of its cores, too. */
static void
pin_one(const struct json *cell, struct json *pinned, int64_t cpu,
        bool with_siblings)
{
    if (!with_siblings) {
        add_number(pinned, cpu);
        return;
    }
    json_for_each (siblings, primitive_get(cell, "siblings")) {
        if (!has_number(siblings, cpu)) {
            continue;
        }
        json_for_each (sibling, siblings) {
            add_number(pinned, json_get_int(sibling));
        }
    }
}

static void
add_number(struct json *array, int64_t number)
{
    if (!has_number(array, number)) {
        json_append(array, json_int(number));
    }
}

static bool
has_number(const struct json *array, int64_t number)
{
    json_for_each (other, array) {
        if (json_get_int(other) == number) {
            return true;
        }
    }
    return false;
}
