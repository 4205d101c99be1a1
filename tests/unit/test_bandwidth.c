#include <config.h>

#include "agent/bandwidth.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/base/mem.h"

#define N_MAX 8

struct row {
    unsigned budget;
    unsigned limits[N_MAX], shares[N_MAX];
    size_t n;
};

static const struct row rows[] = {
    /* No budget: each its own limit. */
    {0, {0}, {0}, 1},
    {0, {5, 0, 7}, {5, 0, 7}, 3},
    /* Alone. */
    {100, {0}, {100}, 1},
    {100, {40}, {40}, 1},
    {100, {400}, {100}, 1},
    /* In equal parts; the rest goes to the first. */
    {100, {0, 0}, {50, 50}, 2},
    {100, {0, 0, 0}, {34, 33, 33}, 3},
    {101, {0, 0, 0}, {34, 34, 33}, 3},
    {100, {60, 60}, {50, 50}, 2},
    /* What one leaves is the others'. */
    {100, {10, 0}, {10, 90}, 2},
    {100, {0, 10}, {90, 10}, 2},
    {100, {10, 0, 0}, {10, 45, 45}, 3},
    {100, {10, 20, 0}, {10, 20, 70}, 3},
    {90, {10, 35, 0, 0}, {10, 27, 27, 26}, 4},
    {90, {10, 35, 0}, {10, 35, 45}, 3}, /* 35 fits only after 10. */
    {100, {10, 10, 10}, {10, 10, 10}, 3},
    {100, {50, 50}, {50, 50}, 2},
    /* 0 would be no limit at all. */
    {2, {0, 0, 0}, {1, 1, 1}, 3},
    {1, {1, 1}, {1, 1}, 2},
    {UINT_MAX, {0, UINT_MAX}, {2147483648u, 2147483647u}, 2},
    {100, {0}, {0}, 0},
};

static void
test_budgets_are_divided(void **state UNUSED)
{
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        unsigned shares[N_MAX];

        bandwidth_divide(rows[i].budget, rows[i].limits, rows[i].n, shares);
        for (size_t k = 0; k < rows[i].n; k++) {
            if (shares[k] != rows[i].shares[k]) {
                fail_msg("row %zu, share %zu: %u", i, k, shares[k]);
            }
        }
    }
}

static void
assert_is_max_min(unsigned budget, const unsigned *limits, size_t n)
{
    unsigned shares[N_MAX], sum = 0, most = 0;

    bandwidth_divide(budget, limits, n, shares);
    for (size_t i = 0; i < n; i++) {
        assert_true(shares[i] >= 1);
        assert_true(!limits[i] || shares[i] <= limits[i]);
        sum += shares[i];
        most = shares[i] > most ? shares[i] : most;
    }
    assert_true(sum <= (budget > n ? budget : (unsigned)n));
    for (size_t i = 0; i < n; i++) {
        bool is_at_limit = limits[i] && shares[i] == limits[i];
        /* Who has less than the most has all that it may. */
        assert_true(is_at_limit || shares[i] + 1 >= most);
        /* And if anyone could have more, nothing is left. */
        assert_true(is_at_limit || sum >= budget);
    }
}

static void
test_any_division_is_fair(void **state UNUSED)
{
    unsigned seed = 1;

    for (int round = 0; round < 20000; round++) {
        unsigned limits[N_MAX];
        size_t n = 1 + (size_t)rand_r(&seed) % N_MAX;

        for (size_t i = 0; i < n; i++) {
            limits[i] = (unsigned)rand_r(&seed) % 60;
        }
        assert_is_max_min(1 + (unsigned)rand_r(&seed) % 200, limits, n);
    }
}

static void
test_what_is_fixed_leaves_the_others_their_part(void **state UNUSED)
{
    assert_int_equal(bandwidth_left(0, 70, 1, 3), 0); /* No limit. */
    assert_int_equal(bandwidth_left(100, 0, 0, 3), 100);
    assert_int_equal(bandwidth_left(100, 40, 1, 3), 75); /* Its part is 25. */
    assert_int_equal(bandwidth_left(100, 10, 1, 3), 90);
    assert_int_equal(bandwidth_left(100, 1000, 1, 3), 75);
    assert_int_equal(bandwidth_left(100, UINT64_C(1) << 40, 3, 1), 25);
    assert_int_equal(bandwidth_left(1, 5, 3, 1), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budgets_are_divided),
        cmocka_unit_test(test_any_division_is_fair),
        cmocka_unit_test(test_what_is_fixed_leaves_the_others_their_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
