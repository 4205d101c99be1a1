#include <config.h>

#include "drivers/host_resources.h"

#include <stdlib.h>

static void
cell_close(struct host_cell *cell)
{
    for (size_t i = 0; i < cell->n_siblings; i++) {
        cpu_set_close(&cell->siblings[i]);
    }
    free(cell->siblings);
    free(cell->pages);
    cpu_set_close(&cell->cpus);
}

void
host_resources_free(struct host_resources *r)
{
    if (!r) {
        return;
    }
    for (size_t i = 0; i < r->n_cells; i++) {
        cell_close(&r->cells[i]);
    }
    for (size_t i = 0; i < r->n_kinds; i++) {
        free(r->kinds[i].arch);
        free(r->kinds[i].hypervisor);
        free(r->kinds[i].mode);
    }
    for (size_t i = 0; i < r->n_debts; i++) {
        free(r->debts[i].uuid);
        free(r->debts[i].target);
    }
    free(r->cells);
    free(r->kinds);
    free(r->debts);
    free(r->hostname);
    free(r->hypervisor_type);
    free(r->arch);
    free(r->cpu_model);
    free(r->cpu_vendor);
    cpu_set_close(&r->online);
    text_set_close(&r->cpu_features);
    text_set_close(&r->guest_cpu_features);
    text_set_close(&r->guests);
    text_set_close(&r->guest_archs);
    text_set_close(&r->disk_buses);
    text_set_close(&r->video_models);
    free(r);
}
