#include <config.h>

#include "agent/drain/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOSTS_MAX 6
#define GUESTS_MAX 12
#define N_RANDOM 20000

static struct drain_choice *
plan(const struct drain_guest *guests, size_t n_guests,
     const struct drain_host *hosts, size_t n_hosts,
     const struct drain_refusal *refusals, size_t n_refusals)
{
    struct drain_problem problem = {guests,  n_guests, hosts,
                                    n_hosts, refusals, n_refusals};

    return drain_plan(&problem);
}

#define PLAN(GUESTS, HOSTS) \
    plan(GUESTS, N_ELEMENTS(GUESTS), HOSTS, N_ELEMENTS(HOSTS), NULL, 0)
#define PLAN_REFUSED(GUESTS, HOSTS, REFUSALS)                            \
    plan(GUESTS, N_ELEMENTS(GUESTS), HOSTS, N_ELEMENTS(HOSTS), REFUSALS, \
         N_ELEMENTS(REFUSALS))

static void
test_guests_are_spread_by_free_memory(void **state UNUSED)
{
    const struct drain_guest guests[] = {
        {"a", 100, NULL}, {"b", 100, NULL}, {"c", 100, NULL}, {"d", 100, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, NULL}, {"h2", 1000, NULL}};
    struct drain_choice *choices = PLAN(guests, hosts);

    assert_int_equal(choices[0].host, 0);
    assert_int_equal(choices[1].host, 1);
    assert_int_equal(choices[2].host, 0);
    assert_int_equal(choices[3].host, 1);
    drain_choices_free(choices, N_ELEMENTS(guests));
}

static void
test_the_largest_choose_first(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"small", 100, NULL},
                                         {"large", 900, NULL}};
    const struct drain_host hosts[] = {{"h1", 500, NULL}, {"h2", 900, NULL}};
    struct drain_choice *choices = PLAN(guests, hosts);

    assert_int_equal(choices[0].host, 0);
    assert_int_equal(choices[1].host, 1);
    drain_choices_free(choices, N_ELEMENTS(guests));
}

static void
test_order_of_the_input_does_not_matter(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 100, NULL}, {"b", 100, NULL}};
    const struct drain_guest turned[] = {{"b", 100, NULL}, {"a", 100, NULL}};
    const struct drain_host hosts[] = {{"h2", 500, NULL}, {"h1", 500, NULL}};
    const struct drain_host other[] = {{"h1", 500, NULL}, {"h2", 500, NULL}};
    struct drain_choice *one = PLAN(guests, hosts);
    struct drain_choice *two = PLAN(turned, other);

    assert_string_equal(hosts[one[0].host].name, "h1");
    assert_string_equal(other[two[1].host].name, "h1");
    assert_string_equal(hosts[one[1].host].name, "h2");
    assert_string_equal(other[two[0].host].name, "h2");
    drain_choices_free(one, 2);
    drain_choices_free(two, 2);
}

static void
test_memory_is_never_overcommitted(void **state UNUSED)
{
    const struct drain_guest guests[] = {
        {"a", 600, NULL}, {"b", 600, NULL}, {"c", 600, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, NULL}, {"h2", 700, NULL}};
    struct drain_choice *choices = PLAN(guests, hosts);

    assert_int_equal(choices[0].host, 0);
    assert_int_equal(choices[1].host, 1);
    assert_int_equal(choices[2].host, DRAIN_NOWHERE);
    assert_string_equal(
        choices[2].reason,
        "host 'h1': 600 MiB needed, 400 of 1000 MiB free would be left; "
        "host 'h2': 600 MiB needed, 100 of 700 MiB free would be left");
    drain_choices_free(choices, N_ELEMENTS(guests));
}

static void
test_exactly_enough_is_enough(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 600, NULL}};
    const struct drain_host hosts[] = {{"h1", 600, NULL}};
    struct drain_choice *choices = PLAN(guests, hosts);

    assert_int_equal(choices[0].host, 0);
    drain_choices_free(choices, N_ELEMENTS(guests));
}

static void
test_stuck_guests_and_barred_hosts_have_their_reasons(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 100, "it is shut off"},
                                         {"b", 100, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, "it is being drained"},
                                       {"h2", 1000, NULL}};
    const struct drain_refusal refusals[] = {{1, 1, "no such CPU"}};
    struct drain_choice *choices = PLAN_REFUSED(guests, hosts, refusals);

    assert_int_equal(choices[0].host, DRAIN_NOWHERE);
    assert_string_equal(choices[0].reason, "it is shut off");
    assert_int_equal(choices[1].host, DRAIN_NOWHERE);
    assert_string_equal(choices[1].reason, "host 'h1': it is being drained; "
                                           "host 'h2': no such CPU");
    drain_choices_free(choices, N_ELEMENTS(guests));
}

/* Of a thousand hosts, each with its own. */
static void
test_reasons_of_many_hosts_are_told_together(void **state UNUSED)
{
    enum { N = 1000 };
    const struct drain_guest guests[] = {{"a", 600, NULL}};
    struct drain_host hosts[N];
    char names[N][8];

    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "h%03d", i);
        hosts[i] = (struct drain_host){names[i], 100, NULL};
    }
    hosts[1].barred = hosts[5].barred = "it is down";
    struct drain_choice *choices = plan(guests, 1, hosts, N, NULL, 0);
    assert_string_equal(
        choices[0].reason,
        "host 'h000', 'h002', 'h003' and 995 others: 600 MiB needed, 100 of "
        "100 MiB free would be left; host 'h001', 'h005': it is down");
    drain_choices_free(choices, 1);

    for (int i = 0; i < N; i++) {
        hosts[i].memory_free_mb = i % 500;
    }
    choices = plan(guests, 1, hosts, N, NULL, 0);
    assert_true(strlen(choices[0].reason) < 400);
    assert_non_null(
        strstr(choices[0].reason, "; 992 other hosts have other reasons"));
    drain_choices_free(choices, 1);
}

static void
test_a_refused_guest_goes_to_the_next_best(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 100, NULL}, {"b", 100, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, NULL}, {"h2", 300, NULL}};
    const struct drain_refusal refusals[] = {{0, 0, "no"}};
    struct drain_choice *choices = PLAN_REFUSED(guests, hosts, refusals);

    assert_int_equal(choices[0].host, 1);
    assert_int_equal(choices[1].host, 0);
    drain_choices_free(choices, N_ELEMENTS(guests));
}

/* The large one takes the only host that the small one may go to, which then
 * has it go elsewhere. */
static void
test_room_is_made_by_one_that_can_go_elsewhere(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"large", 600, NULL},
                                         {"picky", 500, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, NULL}, {"h2", 700, NULL}};
    const struct drain_refusal refusals[] = {{1, 1, "no"}};
    struct drain_choice *choices = PLAN_REFUSED(guests, hosts, refusals);

    assert_int_equal(choices[0].host, 1);
    assert_int_equal(choices[1].host, 0);
    drain_choices_free(choices, N_ELEMENTS(guests));
}

static void
test_no_hosts_and_no_guests(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 100, NULL}};
    const struct drain_host hosts[] = {{"h1", 1000, NULL}};
    struct drain_choice *choices = plan(guests, 1, NULL, 0, NULL, 0);

    assert_int_equal(choices[0].host, DRAIN_NOWHERE);
    assert_string_equal(choices[0].reason, "there is no other host");
    drain_choices_free(choices, 1);
    choices = plan(NULL, 0, hosts, 1, NULL, 0);
    drain_choices_free(choices, 0);
}

static void
test_a_host_that_is_short_already_takes_none(void **state UNUSED)
{
    const struct drain_guest guests[] = {{"a", 1, NULL}};
    const struct drain_host hosts[] = {{"h1", -200, NULL}};
    struct drain_choice *choices = PLAN(guests, hosts);

    assert_int_equal(choices[0].host, DRAIN_NOWHERE);
    drain_choices_free(choices, 1);
}

static unsigned random_state = 1;

static unsigned
random_below(unsigned n)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % n;
}

/* Whatever is asked: no host is overcommitted, nobody goes where he is not
 * wanted, and who stays could not simply have gone. */
static void
test_random_problems(void **state UNUSED)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f",
                                        "g", "h", "i", "j", "k", "l"};

    for (int round = 0; round < N_RANDOM; round++) {
        struct drain_guest guests[GUESTS_MAX];
        struct drain_host hosts[HOSTS_MAX];
        struct drain_refusal refusals[GUESTS_MAX * HOSTS_MAX];
        bool refused[GUESTS_MAX][HOSTS_MAX] = {{false}};
        size_t n_guests = random_below(GUESTS_MAX + 1);
        size_t n_hosts = random_below(HOSTS_MAX + 1), n_refusals = 0;

        for (size_t g = 0; g < n_guests; g++) {
            guests[g] = (struct drain_guest){names[g], 1 + random_below(600),
                                             random_below(9) ? NULL : "off"};
            for (size_t h = 0; h < n_hosts; h++) {
                refused[g][h] = random_below(4) == 0;
                if (refused[g][h]) {
                    refusals[n_refusals++] = (struct drain_refusal){g, h, "no"};
                }
            }
        }
        for (size_t h = 0; h < n_hosts; h++) {
            hosts[h] = (struct drain_host){names[h], random_below(1500),
                                           random_below(6) ? NULL : "down"};
        }
        struct drain_choice *choices =
            plan(guests, n_guests, hosts, n_hosts, refusals, n_refusals);
        int64_t left[HOSTS_MAX];
        for (size_t h = 0; h < n_hosts; h++) {
            left[h] = hosts[h].memory_free_mb;
        }
        for (size_t g = 0; g < n_guests; g++) {
            size_t h = choices[g].host;
            assert_int_equal(h == DRAIN_NOWHERE, choices[g].reason != NULL);
            if (h != DRAIN_NOWHERE) {
                assert_null(guests[g].stuck);
                assert_null(hosts[h].barred);
                assert_false(refused[g][h]);
                left[h] -= guests[g].memory_mb;
                assert_true(left[h] >= 0);
            }
        }
        for (size_t g = 0; g < n_guests; g++) {
            for (size_t h = 0; h < n_hosts; h++) {
                assert_false(choices[g].host == DRAIN_NOWHERE &&
                             !guests[g].stuck && !hosts[h].barred &&
                             !refused[g][h] && left[h] >= guests[g].memory_mb);
            }
        }
        drain_choices_free(choices, n_guests);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guests_are_spread_by_free_memory),
        cmocka_unit_test(test_the_largest_choose_first),
        cmocka_unit_test(test_order_of_the_input_does_not_matter),
        cmocka_unit_test(test_memory_is_never_overcommitted),
        cmocka_unit_test(test_exactly_enough_is_enough),
        cmocka_unit_test(test_stuck_guests_and_barred_hosts_have_their_reasons),
        cmocka_unit_test(test_reasons_of_many_hosts_are_told_together),
        cmocka_unit_test(test_a_refused_guest_goes_to_the_next_best),
        cmocka_unit_test(test_room_is_made_by_one_that_can_go_elsewhere),
        cmocka_unit_test(test_no_hosts_and_no_guests),
        cmocka_unit_test(test_a_host_that_is_short_already_takes_none),
        cmocka_unit_test(test_random_problems),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
