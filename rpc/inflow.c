#include <config.h>

#include "rpc/inflow.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "agent/base/mem.h"

struct inflow {
    size_t max_bytes;
    unsigned max_n;
    atomic_size_t bytes;
    atomic_uint n, n_refs;
};

struct inflow *
inflow_create(size_t max_bytes, unsigned max_n)
{
    struct inflow *inflow = xzalloc(sizeof *inflow);

    inflow->max_bytes = max_bytes;
    inflow->max_n = max_n;
    atomic_init(&inflow->n_refs, 1);
    return inflow;
}

void
inflow_unref(struct inflow *inflow)
{
    if (inflow && atomic_fetch_sub(&inflow->n_refs, 1) == 1) {
        free(inflow);
    }
}

void
inflow_came(struct inflow *inflow, size_t bytes)
{
    atomic_fetch_add(&inflow->n_refs, 1);
    atomic_fetch_add(&inflow->n, 1);
    atomic_fetch_add(&inflow->bytes, bytes);
}

void
inflow_went(struct inflow *inflow, size_t bytes)
{
    atomic_fetch_sub(&inflow->bytes, bytes);
    atomic_fetch_sub(&inflow->n, 1);
    inflow_unref(inflow);
}

bool
inflow_is_full(struct inflow *inflow)
{
    return atomic_load(&inflow->n) >= inflow->max_n ||
           atomic_load(&inflow->bytes) >= inflow->max_bytes;
}
