#include <config.h>

#include "agent/bandwidth.h"

#include <stdbool.h>
#include <string.h>

/* Gives all whose limit is below the equal part of what is left just that.
 * False if there is none. */
static bool
settle_modest(unsigned *left, const unsigned *limits, size_t n, size_t *n_open,
              unsigned *shares)
{
    unsigned part = *n_open ? *left / (unsigned)*n_open : 0;
    bool has_settled = false;

    for (size_t i = 0; i < n; i++) {
        if (!shares[i] && limits[i] && limits[i] <= part) {
            shares[i] = limits[i];
            *left -= limits[i];
            (*n_open)--;
            has_settled = true;
        }
    }
    return has_settled;
}

void
bandwidth_divide(unsigned budget, const unsigned *limits, size_t n,
                 unsigned *ret_shares)
{
    unsigned left = budget;
    size_t n_open = n;

    if (!budget) {
        memcpy(ret_shares, limits, n * sizeof *limits);
        return;
    }
    memset(ret_shares, 0, n * sizeof *ret_shares);
    while (settle_modest(&left, limits, n, &n_open, ret_shares)) {
    }
    /* The others take an equal part each, which none has as its limit. */
    for (size_t i = 0; i < n; i++) {
        if (!ret_shares[i]) {
            unsigned part = left / (unsigned)n_open;
            part += left % (unsigned)n_open > 0;
            ret_shares[i] = part ? part : 1;
            left -= part;
            n_open--;
        }
    }
}

unsigned
bandwidth_left(unsigned budget, uint64_t fixed, size_t n_fixed, size_t n)
{
    uint64_t left = fixed < budget ? budget - fixed : 0;
    uint64_t floor = n ? (uint64_t)budget * n / (n + n_fixed) : 0;

    left = left > floor ? left : floor;
    return budget && !left ? 1 : (unsigned)left;
}
