#include <config.h>

#include "agent/nova/numa_pack.h"

#include <stdlib.h>

#include "agent/base/mem.h"

static bool pack_isolated(const struct numa_cores *cores, size_t n,
                          size_t n_reserved, struct numa_packing *ret);
static bool pack_by(const struct numa_cores *cores, size_t n, size_t n_reserved,
                    size_t n_each, struct numa_packing *ret);
static bool take_pins(const struct numa_cores *cores, size_t n, size_t n_least,
                      size_t n_most, struct numa_packing *ret);
static bool take_reserved(const struct numa_cores *cores, size_t n,
                          size_t n_reserved, bool whole_cores,
                          struct numa_packing *ret);
static bool is_taken(const struct numa_packing *packing, size_t n, int cpu);
static bool is_core_taken(const struct cpu_set *core,
                          const struct numa_packing *packing, size_t n);

bool
numa_pack(const struct numa_cores *cores, size_t n, size_t n_reserved,
          enum numa_threads threads, struct numa_packing *ret)
{
    size_t n_least = threads == NUMA_THREADS_REQUIRE ? 2 : 1;

    if (threads == NUMA_THREADS_ISOLATE) {
        return pack_isolated(cores, n, n_reserved, ret);
    }
    for (size_t n_each = cores->n_threads; n_each >= n_least; n_each--) {
        if (pack_by(cores, n, n_reserved, n_each, ret)) {
            return true;
        }
    }
    /* However they lie. */
    return threads == NUMA_THREADS_PREFER &&
           pack_by(cores, n, n_reserved, 0, ret);
}

void
numa_packing_close(struct numa_packing *packing)
{
    free(packing->pins);
    cpu_set_close(&packing->reserved);
    *packing = (struct numa_packing){0};
}

void
numa_cores_close(struct numa_cores *cores)
{
    for (size_t i = 0; i < cores->n; i++) {
        cpu_set_close(&cores->free[i]);
    }
    free(cores->free);
    *cores = (struct numa_cores){0};
}

/* What is reserved for it is on cores of its own, too. */
static bool
pack_isolated(const struct numa_cores *cores, size_t n, size_t n_reserved,
              struct numa_packing *ret)
{
    return take_pins(cores, n, cores->n_threads, 1, ret) &&
           take_reserved(cores, n, n_reserved, true, ret);
}

/* 'n_each' threads of each core that has so many free; 0: all that are. */
static bool
pack_by(const struct numa_cores *cores, size_t n, size_t n_reserved,
        size_t n_each, struct numa_packing *ret)
{
    return take_pins(cores, n, n_each ? n_each : 1,
                     n_each ? n_each : cores->n_threads, ret) &&
           take_reserved(cores, n, n_reserved, false, ret);
}

/* Of each core that has at least 'n_least' free at most 'n_most'. */
static bool
take_pins(const struct numa_cores *cores, size_t n, size_t n_least,
          size_t n_most, struct numa_packing *ret)
{
    size_t n_taken = 0;

    *ret = (struct numa_packing){.pins = xcalloc(n, sizeof *ret->pins)};
    for (size_t i = 0; i < cores->n; i++) {
        const struct cpu_set *core = &cores->free[i];

        for (size_t j = 0;
             core->n >= n_least && j < core->n && j < n_most && n_taken < n;
             j++) {
            ret->pins[n_taken++] = core->cpus[j];
        }
    }
    if (n_taken < n) {
        numa_packing_close(ret);
    }
    return n_taken == n;
}

/* Of what the pins left. */
static bool
take_reserved(const struct numa_cores *cores, size_t n, size_t n_reserved,
              bool whole_cores, struct numa_packing *ret)
{
    for (size_t i = 0; i < cores->n; i++) {
        const struct cpu_set *core = &cores->free[i];
        bool is_out = whole_cores && is_core_taken(core, ret, n);

        for (size_t j = 0;
             !is_out && j < core->n && ret->reserved.n < n_reserved; j++) {
            if (!is_taken(ret, n, core->cpus[j])) {
                cpu_set_add(&ret->reserved, core->cpus[j]);
            }
        }
    }
    if (ret->reserved.n < n_reserved) {
        numa_packing_close(ret);
        return false;
    }
    return true;
}

static bool
is_taken(const struct numa_packing *packing, size_t n, int cpu)
{
    for (size_t i = 0; i < n; i++) {
        if (packing->pins[i] == cpu) {
            return true;
        }
    }
    return false;
}

static bool
is_core_taken(const struct cpu_set *core, const struct numa_packing *packing,
              size_t n)
{
    for (size_t i = 0; i < core->n; i++) {
        if (is_taken(packing, n, core->cpus[i])) {
            return true;
        }
    }
    return false;
}
