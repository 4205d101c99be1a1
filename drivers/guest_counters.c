#include <config.h>

#include "drivers/guest_counters.h"

#include <stdlib.h>

#define ADD(LIST, N)                                  \
    (LIST = xrealloc(LIST, (N + 1) * sizeof *(LIST)), \
     LIST[N] = (__typeof__(*(LIST))){0}, &LIST[N++])

struct cpu_counters *
guest_counters_add_cpu(struct guest_counters *counters)
{
    return ADD(counters->cpus, counters->n_cpus);
}

struct disk_counters *
guest_counters_add_disk(struct guest_counters *counters)
{
    return ADD(counters->disks, counters->n_disks);
}

struct nic_counters *
guest_counters_add_nic(struct guest_counters *counters)
{
    return ADD(counters->nics, counters->n_nics);
}

void
guest_counters_add_memory(struct guest_counters *counters, const char *name,
                          int64_t value)
{
    struct memory_counter *memory = ADD(counters->memory, counters->n_memory);

    memory->name = name;
    memory->value = value;
}

void
guest_counters_free(struct guest_counters *counters)
{
    if (!counters) {
        return;
    }
    for (size_t i = 0; i < counters->n_disks; i++) {
        free(counters->disks[i].target);
    }
    for (size_t i = 0; i < counters->n_nics; i++) {
        free(counters->nics[i].mac);
        free(counters->nics[i].device);
    }
    free(counters->cpus);
    free(counters->disks);
    free(counters->nics);
    free(counters->memory);
    free(counters);
}
