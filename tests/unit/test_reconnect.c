#include <config.h>

#include "rpc/reconnect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AUTO_RECONNECT CLEANUP(reconnect_free_at) struct reconnect *

#define LOWEST 0
#define HIGHEST UINT32_MAX

/* Always the number that 'aux' points to. */
static uint32_t
fixed(void *aux)
{
    return *(uint32_t *)aux;
}

/* Another number each time (xorshift), and the same ones in each run. */
static uint32_t
varied(void *aux)
{
    uint32_t *x = aux;

    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static struct reconnect *
create(size_t n_hosts, uint32_t (*random)(void *), uint32_t *number)
{
    struct reconnect_options options = {.n_hosts = n_hosts,
                                        .base_ms = 1000,
                                        .backoff_ms = 1000,
                                        .max_ms = 30000,
                                        .delay_ms = 1000,
                                        .shuffle = true,
                                        .random = random,
                                        .aux = number};

    return reconnect_create(&options, 100);
}

/* Has an attempt made as soon as it is due, and returns when that was. */
static uint64_t
attempt(struct reconnect *r, size_t *ret_host)
{
    uint64_t due_ms = reconnect_due_ms(r);
    size_t host = SIZE_MAX;

    if (due_ms > 0) {
        assert_int_equal(reconnect_run(r, due_ms - 1, &host), RECONNECT_WAIT);
        assert_true(host == SIZE_MAX);
    }
    assert_int_equal(reconnect_run(r, due_ms, &host), RECONNECT_CONNECT);
    assert_true(reconnect_due_ms(r) == UINT64_MAX);
    if (ret_host) {
        *ret_host = host;
    }
    return due_ms;
}

/* One that fails at once; returns the wait until the next. */
static uint64_t
fail_once(struct reconnect *r)
{
    uint64_t now_ms = attempt(r, NULL);

    reconnect_failed(r, now_ms, false);
    return reconnect_due_ms(r) - now_ms;
}

static uint64_t
refuse_once(struct reconnect *r)
{
    uint64_t now_ms = attempt(r, NULL);

    reconnect_failed(r, now_ms, true);
    return reconnect_due_ms(r) - now_ms;
}

static void
test_the_first_attempt_is_due_at_once(void **state)
{
    uint32_t number = HIGHEST;
    size_t host = 7;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    assert_int_equal(reconnect_due_ms(r), 100);
    assert_int_equal(reconnect_run(r, 100, &host), RECONNECT_CONNECT);
    assert_int_equal(host, 0);
    assert_int_equal(reconnect_run(r, 5000, &host), RECONNECT_NONE);
    reconnect_connected(r, 5000);
    assert_int_equal(reconnect_run(r, 6000, &host), RECONNECT_NONE);
    assert_true(reconnect_due_ms(r) == UINT64_MAX);
}

static void
test_waits_double_up_to_the_limit(void **state)
{
    static const uint64_t limits[] = {1000,  2000,  4000,  8000,
                                      16000, 30000, 30000, 30000};
    uint32_t number = HIGHEST;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        assert_int_equal(fail_once(r), limits[i]);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fail_once(r), 30000);
    }
}

static void
test_waits_are_anything_up_to_the_limit(void **state)
{
    uint32_t number = LOWEST;

    (void)state;
    AUTO_RECONNECT low = create(1, fixed, &number);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fail_once(low), 0);
    }

    uint32_t seed = 12345;
    AUTO_RECONNECT r = create(1, varied, &seed);
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t wait = fail_once(r);
        if (i >= 5) {
            least = wait < least ? wait : least;
            most = wait > most ? wait : most;
            sum += wait;
        }
    }
    assert_true(least < 1000);
    assert_true(most > 29000 && most <= 30000);
    assert_true(sum / 995 > 13500 && sum / 995 < 16500);
}

static void
test_every_host_is_tried_once_a_round(void **state)
{
    enum { N_HOSTS = 5, N_ROUNDS = 200 };
    uint32_t seed = 99;
    int n_first[N_HOSTS] = {0};

    (void)state;
    AUTO_RECONNECT r = create(N_HOSTS, varied, &seed);
    for (int round = 0; round < N_ROUNDS; round++) {
        bool tried[N_HOSTS] = {false};
        uint64_t began_ms = reconnect_due_ms(r);
        for (int i = 0; i < N_HOSTS; i++) {
            size_t host;
            uint64_t now_ms = attempt(r, &host);

            assert_true(host < N_HOSTS);
            assert_false(tried[host]);
            assert_int_equal(now_ms, began_ms); /* No pause within. */
            tried[host] = true;
            n_first[host] += i == 0;
            reconnect_failed(r, now_ms, false);
        }
    }
    for (int i = 0; i < N_HOSTS; i++) {
        assert_true(n_first[i] > N_ROUNDS / N_HOSTS / 2);
        assert_true(n_first[i] < N_ROUNDS / N_HOSTS * 2);
    }
}

static void
test_round_robin_keeps_its_order_and_goes_on_after_a_loss(void **state)
{
    uint32_t seed = 7;
    struct reconnect_options options = {
        .n_hosts = 4, .random = varied, .aux = &seed};
    size_t order[4], host;

    (void)state;
    AUTO_RECONNECT r = reconnect_create(&options, 0);
    for (int i = 0; i < 4; i++) {
        reconnect_failed(r, attempt(r, &order[i]), true);
    }
    for (int i = 0; i < 8; i++) {
        reconnect_failed(r, attempt(r, &host), true);
        assert_int_equal(host, order[i % 4]);
    }
    reconnect_failed(r, attempt(r, &host), true);
    uint64_t now_ms = attempt(r, &host);
    assert_int_equal(host, order[1]);
    reconnect_connected(r, now_ms);
    reconnect_lost(r, now_ms + 3600000);
    for (int i = 2; i < 6; i++) {
        reconnect_failed(r, attempt(r, &host), true);
        assert_int_equal(host, order[i % 4]);
    }
}

static void
test_what_an_attempt_took_is_part_of_the_wait(void **state)
{
    uint32_t number = HIGHEST;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    attempt(r, NULL);
    reconnect_failed(r, 600, false);
    assert_int_equal(reconnect_due_ms(r), 1100);
    attempt(r, NULL);
    reconnect_failed(r, 11100, false);
    assert_int_equal(reconnect_due_ms(r), 11100);
}

static void
test_a_host_that_refuses_is_asked_often(void **state)
{
    uint32_t number = HIGHEST;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    assert_int_equal(refuse_once(r), 1000);
    assert_int_equal(refuse_once(r), 2000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(refuse_once(r), 4000);
    }
    /* Now it accepts, and fails later: that costs something. */
    assert_int_equal(fail_once(r), 4000);
    assert_int_equal(fail_once(r), 8000);
    assert_int_equal(refuse_once(r), 4000);
    assert_int_equal(fail_once(r), 16000);
}

static void
test_one_host_that_does_not_refuse_makes_the_round_dear(void **state)
{
    uint32_t number = HIGHEST;
    uint64_t now_ms;

    (void)state;
    AUTO_RECONNECT r = create(2, fixed, &number);
    for (int i = 0; i < 8; i++) {
        reconnect_failed(r, attempt(r, NULL), i % 2);
        now_ms = attempt(r, NULL);
        reconnect_failed(r, now_ms, !(i % 2));
    }
    assert_int_equal(reconnect_due_ms(r) - now_ms, 30000);
}

/* As many as share a broker: a quarter of a second holds few of them, and all
 * are back in time. */
static void
test_many_do_not_come_back_in_step(void **state)
{
    enum { N = 500, SLOT_MS = 250, N_SLOTS = 16 };
    uint32_t seed = 4711;
    int n_in_slot[N_SLOTS] = {0};

    (void)state;
    for (int i = 0; i < N; i++) {
        AUTO_RECONNECT r = create(1, varied, &seed);
        uint64_t now_ms = attempt(r, NULL);

        reconnect_connected(r, now_ms);
        reconnect_lost(r, 100000);
        do {
            now_ms = attempt(r, NULL);
            reconnect_failed(r, now_ms, true);
        } while (reconnect_due_ms(r) < 160000);
        assert_true(reconnect_due_ms(r) <= 164000);
        n_in_slot[(reconnect_due_ms(r) - 160000) / SLOT_MS % N_SLOTS]++;
    }
    for (int i = 0; i < N_SLOTS; i++) {
        assert_true(n_in_slot[i] < N / 5);
    }
}

static void
test_after_a_loss_there_is_a_short_random_pause(void **state)
{
    uint32_t number = HIGHEST;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    uint64_t now_ms = attempt(r, NULL);
    reconnect_connected(r, now_ms);
    now_ms += 60000;
    reconnect_lost(r, now_ms);
    assert_int_equal(reconnect_due_ms(r), now_ms + 1999);

    now_ms = attempt(r, NULL);
    reconnect_connected(r, now_ms);
    number = LOWEST;
    reconnect_lost(r, now_ms + 60000);
    assert_int_equal(reconnect_due_ms(r), now_ms + 60000);
}

static void
test_the_pause_after_a_loss_is_what_the_options_say(void **state)
{
    uint32_t number = HIGHEST;
    struct reconnect_options options = {.n_hosts = 1,
                                        .delay_ms = 4500,
                                        .splay_ms = 100000,
                                        .random = fixed,
                                        .aux = &number};

    (void)state;
    AUTO_RECONNECT r = reconnect_create(&options, 0);
    reconnect_connected(r, attempt(r, NULL));
    reconnect_lost(r, 100000);
    assert_int_equal(reconnect_due_ms(r), 100000 + 8999 + 99999);

    options.delay_ms = options.splay_ms = 0;
    AUTO_RECONNECT eager = reconnect_create(&options, 0);
    reconnect_connected(eager, attempt(eager, NULL));
    reconnect_lost(eager, 100000);
    assert_int_equal(reconnect_due_ms(eager), 100000);
}

static void
test_only_a_long_life_resets_the_ladder(void **state)
{
    uint32_t number = HIGHEST;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    for (int i = 0; i < 10; i++) {
        fail_once(r);
    }

    /* Thrown out after 59.999 s: as if it had failed. */
    uint64_t now_ms = attempt(r, NULL);
    reconnect_connected(r, now_ms);
    reconnect_lost(r, now_ms + 59999);
    assert_int_equal(reconnect_due_ms(r) - now_ms - 59999, 30000);

    now_ms = attempt(r, NULL);
    reconnect_connected(r, now_ms);
    reconnect_lost(r, now_ms + 60000);
    assert_int_equal(fail_once(r), 1000);
}

static void
test_a_host_that_throws_us_out_is_not_hammered(void **state)
{
    uint32_t number = HIGHEST;
    uint64_t last = 0;

    (void)state;
    AUTO_RECONNECT r = create(1, fixed, &number);
    for (int i = 0; i < 8; i++) {
        uint64_t now_ms = attempt(r, NULL);
        reconnect_connected(r, now_ms);
        reconnect_lost(r, now_ms);
        uint64_t wait = reconnect_due_ms(r) - now_ms;
        assert_true(wait >= last);
        last = wait;
    }
    assert_int_equal(last, 30000);
}

static void
test_after_a_host_that_throws_us_out_the_others_have_their_turn(void **state)
{
    uint32_t seed = 5;
    bool tried[3] = {false};

    (void)state;
    AUTO_RECONNECT r = create(3, varied, &seed);
    for (int i = 0; i < 3; i++) {
        size_t host;
        uint64_t now_ms = attempt(r, &host);
        assert_false(tried[host]);
        tried[host] = true;
        reconnect_connected(r, now_ms);
        reconnect_lost(r, now_ms + 10);
    }
}

static void
test_options_left_out_have_defaults(void **state)
{
    uint32_t number = HIGHEST;
    struct reconnect_options options = {
        .n_hosts = 1, .random = fixed, .aux = &number};

    (void)state;
    AUTO_RECONNECT steady = reconnect_create(&options, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fail_once(steady), 1000);
    }
    options.backoff_ms = 2000;
    AUTO_RECONNECT r = reconnect_create(&options, 0);
    assert_int_equal(fail_once(r), 1000);
    assert_int_equal(fail_once(r), 3000);
    assert_int_equal(fail_once(r), 6000);
    for (int i = 0; i < 6; i++) {
        fail_once(r);
    }
    assert_int_equal(fail_once(r), 30000);
}

static void
test_a_limit_below_the_base_holds(void **state)
{
    uint32_t number = HIGHEST;
    struct reconnect_options options = {.n_hosts = 1,
                                        .base_ms = 1000,
                                        .max_ms = 10,
                                        .random = fixed,
                                        .aux = &number};

    (void)state;
    AUTO_RECONNECT r = reconnect_create(&options, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fail_once(r), 10);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_attempt_is_due_at_once),
        cmocka_unit_test(test_waits_double_up_to_the_limit),
        cmocka_unit_test(test_waits_are_anything_up_to_the_limit),
        cmocka_unit_test(test_every_host_is_tried_once_a_round),
        cmocka_unit_test(
            test_round_robin_keeps_its_order_and_goes_on_after_a_loss),
        cmocka_unit_test(test_what_an_attempt_took_is_part_of_the_wait),
        cmocka_unit_test(test_a_host_that_refuses_is_asked_often),
        cmocka_unit_test(
            test_one_host_that_does_not_refuse_makes_the_round_dear),
        cmocka_unit_test(test_many_do_not_come_back_in_step),
        cmocka_unit_test(test_after_a_loss_there_is_a_short_random_pause),
        cmocka_unit_test(test_the_pause_after_a_loss_is_what_the_options_say),
        cmocka_unit_test(test_only_a_long_life_resets_the_ladder),
        cmocka_unit_test(test_a_host_that_throws_us_out_is_not_hammered),
        cmocka_unit_test(
            test_after_a_host_that_throws_us_out_the_others_have_their_turn),
        cmocka_unit_test(test_options_left_out_have_defaults),
        cmocka_unit_test(test_a_limit_below_the_base_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
