#ifndef DROVER_AGENT_BANDWIDTH_H
#define DROVER_AGENT_BANDWIDTH_H

/* A budget shared fairly: a pure core.
 *
 * Max-min: nobody gets more than its limit, and what it leaves goes to the
 * others in equal parts; nobody's share can grow but at the cost of one that is
 * not larger.
 *
 * Threads: no shared state. */

#include <stddef.h>
#include <stdint.h>

/* Divides 'budget' among 'n' with these 'limits'; 0 is no limit in all three,
 * so each share is at least 1 if there is a budget, even one smaller than 'n'.
 * What does not divide evenly goes to the first ones. */
void bandwidth_divide(unsigned budget, const unsigned *limits, size_t n,
                      unsigned *ret_shares);

/* What of 'budget' (0: no limit) is left for 'n' to divide, beside 'n_fixed'
 * that have 'fixed' together and keep it: at least an equal part for each of
 * the 'n', although then all together exceed the budget; never 0 if there is
 * one. */
unsigned bandwidth_left(unsigned budget, uint64_t fixed, size_t n_fixed,
                        size_t n);

#endif
