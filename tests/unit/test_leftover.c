#include <config.h>

#include "agent/leftover.h"

/* What an ended migration left behind on a host, and the same guest that comes
 * to that host again.  (spec/live-migration 6.3, 8.3) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/incoming/incoming.h"
#include "agent/incoming/places.h"
#include "agent/migrate/migration.h"
#include "tests/unit/two_agents.h"

/* Tries: more than there are. */
#define MANY 1000000

/* Between two tries: shorter than a slow migration. */
#define PAUSE_MS 2000

#define AT_A (1u << A)
#define AT_B (1u << B)

static int
set_up(void **state)
{
    *state = ta_create(2);
    return 0;
}

static int
tear_down(void **state)
{
    ta_free(*state);
    return 0;
}

static void
pass(struct two_agents *ta, unsigned s)
{
    uint64_t until_ms = ta_now_ms() + s * UINT64_C(1000);

    ta_until(ta, ta_now_ms() > until_ms);
}

static unsigned
n_residue(const struct two_agents *ta, int host)
{
    unsigned n_open, n;

    op_engine_count(ta->hosts[host].agent->ops, &n_open, &n);
    return n;
}

static void
migrate(struct two_agents *ta, int from)
{
    struct json *args = json_object();
    struct error *error = NULL;

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", ta->hosts[from == A ? B : A].name);
    AUTO_JSON migration UNUSED = ta_api(ta, from, "migrate", args, &error);
    if (error) {
        fail_msg("%s", error_message(error));
    }
}

static struct json *
instance_args(const struct two_agents *ta)
{
    struct json *args = json_object();

    json_set(args, "instance", json_copy(ta->instance));
    json_set(args, "migrate_data", json_copy(ta->data));
    return args;
}

/* hostb prepared, and was told to roll back while it could not: the incoming
 * domain is left there. */
static void
leave_incoming_at_b(struct two_agents *ta, unsigned n_failures)
{
    ta_check(ta);
    struct json *args = instance_args(ta);
    json_set_null(args, "disk");
    ta_cast(ta, B, "pre_live_migration", args);
    ta_until(ta, incoming_is_expected(ta->hosts[B].agent, ta->uuid));
    pass(ta, 1);
    ta_steer(ta, B, "fail discard INTERNAL %u", n_failures);
    op_engine_set_pause(ta->hosts[B].agent->ops, PAUSE_MS);
    args = instance_args(ta);
    json_set_bool(args, "destroy_disks", true);
    ta_cast(ta, B, "rollback_live_migration_at_destination", args);
    ta_until(ta, n_residue(ta, B) == 1);
    ta_until(ta, !incoming_is_expected(ta->hosts[B].agent, ta->uuid));
}

/* The definition is left at hosta, and the guest is at hostb. */
static void
leave_definition_at_a(struct two_agents *ta, unsigned n_failures)
{
    ta_steer(ta, A, "fail discard INTERNAL %u", n_failures);
    op_engine_set_pause(ta->hosts[A].agent->ops, PAUSE_MS);
    migrate(ta, A);
    ta_until(ta, n_residue(ta, A) == 1);
    ta_until(ta, str_eq(ta_status(ta), "completed") &&
                     !migrate_source_find(ta->hosts[A].agent, ta->uuid));
    assert_int_equal(ta_guest_active_at(ta), AT_B);
}

/* Residue is due in the middle of it. */
static void
migrate_slowly(struct two_agents *ta, int from)
{
    ta_steer(ta, from, "bandwidth 1");
    ta_leave_migrations(true);
    migrate(ta, from);
    pass(ta, 2 * PAUSE_MS / 1000);
    assert_int_equal(ta_guest_active_at(ta), 1u << from);
    ta_leave_migrations(false);
    ta_steer(ta, from, "bandwidth 1000");
    ta_rest(ta);
}

static void
test_residue_of_a_roll_back_spares_the_next_migration(void **state)
{
    struct two_agents *ta = *state;

    leave_incoming_at_b(ta, STEP_TRIES);
    migrate_slowly(ta, A);
    assert_string_equal(ta_status(ta), "completed");
    assert_int_equal(ta_guest_active_at(ta), AT_B);
}

static void
test_guest_is_refused_while_residue_can_not_be_settled(void **state)
{
    struct two_agents *ta = *state;

    leave_incoming_at_b(ta, MANY);
    migrate(ta, A);
    ta_until(ta, str_eq(ta_status(ta), "failed"));
    AUTO_OBJECT record = ta_migration(ta, A);
    assert_non_null(
        strstr(object_string(record, "error"), "was left behind here"));
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_int_equal(n_residue(ta, B), 1); /* It stays what it is. */
    ta_steer(ta, B, "fail discard INTERNAL 0");
    migrate(ta, A);
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_B);
}

/* What it prepared stays, as the source may yet come back. */
static void
test_source_that_says_nothing_any_more_holds_no_place(void **state)
{
    struct two_agents *ta = *state;
    struct ta_host *b = &ta->hosts[B];

    b->conf->max_concurrent_incoming_live_migrations = 1;
    b->conf->long_rpc_timeout = 300;
    ta_stop(ta, B);
    ta_up(ta, B);
    ta_until(ta, b->is_ready);
    ta_check(ta);
    ta_crash(ta, A);
    struct json *args = instance_args(ta);
    json_set_null(args, "disk");
    ta_cast(ta, B, "pre_live_migration", args);
    ta_until(ta, incoming_places_are_full(b->agent->incoming));
    pass(ta, 200);
    assert_true(incoming_places_are_full(b->agent->incoming));
    ta_until(ta, !incoming_places_are_full(b->agent->incoming));
    assert_true(incoming_is_expected(b->agent, ta->uuid));
    ta_up(ta, A); /* It says that it is over. */
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_A);
}

static void
test_residue_takes_no_place_after_a_restart(void **state)
{
    struct two_agents *ta = *state;
    struct ta_host *b = &ta->hosts[B];

    b->conf->max_concurrent_incoming_live_migrations = 1;
    ta_stop(ta, B);
    ta_up(ta, B);
    ta_until(ta, b->is_ready);
    leave_incoming_at_b(ta, MANY);
    assert_false(incoming_places_are_full(b->agent->incoming));
    ta_crash(ta, B);
    ta_up(ta, B);
    ta_until(ta, b->is_ready);
    assert_int_equal(n_residue(ta, B), 1);
    assert_false(incoming_places_are_full(b->agent->incoming));
    ta_rest(ta);
}

static void
test_residue_of_a_source_spares_the_guest_that_comes_back(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "shared on");
    leave_definition_at_a(ta, STEP_TRIES);
    migrate_slowly(ta, B);
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_int_equal(n_residue(ta, A), 0);
}

static void
moved(void *aux, struct error *error)
{
    assert_null(error);
    *(bool *)aux = true;
}

/* As with virsh. */
static void
move_past_us(struct two_agents *ta)
{
    bool is_done = false;
    struct migrate_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(ta->uuid);
    request->dest_uri = xstrdup("qemu+tcp://hostb/system");
    driver_migrate(ta->hosts[A].observer, request, moved, &is_done);
    ta_until(ta, is_done);
    assert_int_equal(ta_guest_active_at(ta), AT_B);
}

/* What is off by then would be taken for what was left. */
static void
assert_survives_being_off_at_b(struct two_agents *ta)
{
    ta_until(ta, ta->hosts[B].is_ready && n_residue(ta, B) == 0);
    ta_steer(ta, B, "guest-stop %s", ta->uuid);
    ta_steer(ta, B, "fail discard INTERNAL 0");
    pass(ta, 700);
    assert_non_null(strstr(ta_steer(ta, B, "list"), ta->uuid));
    ta_rest(ta);
}

static void
test_residue_is_void_once_the_guest_runs_here(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "shared on");
    leave_incoming_at_b(ta, MANY);
    move_past_us(ta);
    assert_survives_being_off_at_b(ta);
}

static void
test_residue_is_void_if_the_guest_runs_here_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "shared on");
    leave_incoming_at_b(ta, MANY);
    ta_crash(ta, B);
    move_past_us(ta);
    ta_up(ta, B);
    assert_survives_being_off_at_b(ta);
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_residue_of_a_roll_back_spares_the_next_migration),
        TEST(test_guest_is_refused_while_residue_can_not_be_settled),
        TEST(test_source_that_says_nothing_any_more_holds_no_place),
        TEST(test_residue_takes_no_place_after_a_restart),
        TEST(test_residue_of_a_source_spares_the_guest_that_comes_back),
        TEST(test_residue_is_void_once_the_guest_runs_here),
        TEST(test_residue_is_void_if_the_guest_runs_here_after_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
