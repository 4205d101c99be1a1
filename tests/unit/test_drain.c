#include <config.h>

#include "agent/drain/drain.h"

/* A host is drained by whole agents: what is planned, what then happens, who
 * is kept out, and what is left after any crash. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/incoming/incoming.h"
#include "agent/incoming/places.h"
#include "agent/migrate/migration.h"
#include "agent/peer.h"
#include "tests/unit/two_agents.h"

#define N_GUESTS 3
#define STEPS_MAX 40000

/* What the hypervisor's lists say of one guest instead of the truth. */
static struct {
    const char *uuid; /* Null: they tell the truth. */
    bool is_missing;  /* It could not be read; else it has migrated. */
} lie;

struct listing {
    driver_list_done *done;
    void *aux;
};

static void
listed(void *aux, struct error *error, struct guest_list *list)
{
    struct listing *listing = aux;

    for (size_t i = 0; lie.uuid && !error && i < list->n; i++) {
        if (!str_eq(list->guests[i]->uuid, lie.uuid)) {
            continue;
        }
        list->guests[i]->presence = GUEST_MIGRATED;
        if (lie.is_missing) {
            guest_free(list->guests[i]);
            list->guests[i--] = list->guests[--list->n];
        }
    }
    listing->done(listing->aux, error, list);
    free(listing);
}

void __real_driver_guest_list(struct driver *driver, driver_list_done *done,
                              void *aux);
void __wrap_driver_guest_list(struct driver *driver, driver_list_done *done,
                              void *aux);

void
__wrap_driver_guest_list(struct driver *driver, driver_list_done *done,
                         void *aux)
{
    struct listing *listing = xzalloc(sizeof *listing);

    *listing = (struct listing){done, aux};
    __real_driver_guest_list(driver, listed, listing);
}

/* So many requests to migrate meet no agent. */
static unsigned n_away;

void __real_peer_call_drover(struct agent *agent, const char *host,
                             const char *method, struct json *args,
                             const struct json *context,
                             enum peer_patience patience, rpc_done *done,
                             void *aux);
void __wrap_peer_call_drover(struct agent *agent, const char *host,
                             const char *method, struct json *args,
                             const struct json *context,
                             enum peer_patience patience, rpc_done *done,
                             void *aux);

void
__wrap_peer_call_drover(struct agent *agent, const char *host,
                        const char *method, struct json *args,
                        const struct json *context, enum peer_patience patience,
                        rpc_done *done, void *aux)
{
    if (n_away && str_eq(method, "migrate_once")) {
        struct json *result = NULL;

        n_away--;
        json_free(args);
        done(aux, &result, error_new(ERR_UNDELIVERABLE, "nobody is there"));
        return;
    }
    __real_peer_call_drover(agent, host, method, args, context, patience, done,
                            aux);
}

static int
set_up(void **state)
{
    struct two_agents *ta = ta_create(3);

    for (int i = 1; i < N_GUESTS; i++) {
        ta_steer(ta, A, "guest-add fake-hosta-000%d 64 1 16", i + 1);
    }
    ta_rest(ta);
    *state = ta;
    return 0;
}

static int
tear_down(void **state)
{
    lie.uuid = NULL;
    n_away = 0;
    ta_free(*state);
    return 0;
}

/* How many guests are active at a host, by the hypervisor's word. */
static int
n_guests(struct two_agents *ta, int host)
{
    int n = 0;

    for (const char *p = ta_steer(ta, host, "list"); p && *p;) {
        const char *end = strchr(p, '\n');
        size_t size = end ? (size_t)(end - p) : strlen(p);
        AUTO_FREE line = xstrndup(p, size);

        n += strncmp(line, "guest ", 6) == 0 && strstr(line, " active");
        p = end ? end + 1 : NULL;
    }
    return n;
}

static void
assert_guests(struct two_agents *ta, int a, int b, int c)
{
    int at_a = n_guests(ta, A), at_b = n_guests(ta, B), at_c = n_guests(ta, C);

    if (at_a != a || at_b != b || at_c != c) {
        fail_msg("guests at hosts are %d %d %d, not %d %d %d", at_a, at_b, at_c,
                 a, b, c);
    }
}

static struct json *
api(struct two_agents *ta, int host, const char *method, struct json *args)
{
    struct error *error = NULL;
    struct json *json = ta_api(ta, host, method, args, &error);

    if (error) {
        AUTO_ERROR owned = error;
        fail_msg("%s: %s", method, error_message(owned));
    }
    return json;
}

static void
api_fails(struct two_agents *ta, int host, const char *method,
          struct json *args, enum error_code code)
{
    AUTO_ERROR error = NULL;
    AUTO_JSON json = ta_api(ta, host, method, args, &error);

    assert_null(json);
    assert_int_equal(error_code(error), code);
}

static struct json *
plan(struct two_agents *ta, int host, const char *to)
{
    struct json *args = json_object();

    if (to) {
        json_set(args, "to", json_append(json_array(), json_string(to)));
    }
    return api(ta, host, "drain_plan", args);
}

static struct json *
plan_args(struct json *plan)
{
    return json_set(json_object(), "plan", plan);
}

static void
begin(struct two_agents *ta)
{
    json_free(api(ta, A, "drain_start", plan_args(plan(ta, A, NULL))));
}

static void
tell(struct two_agents *ta, const char *method)
{
    json_free(api(ta, A, method, NULL));
}

/* Null-safe, and without letting time pass. */
static bool
is_over_at(struct two_agents *ta, int host)
{
    struct agent *agent = ta->hosts[host].agent;
    AUTO_JSON json = agent ? drain_describe(agent) : NULL;

    return json_bool_of(json, "is_over");
}

static bool
is_over(struct two_agents *ta)
{
    return is_over_at(ta, A);
}

static void
assert_phase_at(struct two_agents *ta, int host, const char *phase)
{
    AUTO_JSON json = api(ta, host, "drain_show", NULL);

    assert_string_equal(json_string_of(json, "phase"), phase);
}

static void
assert_phase(struct two_agents *ta, const char *phase)
{
    assert_phase_at(ta, A, phase);
}

static void
finish(struct two_agents *ta, const char *phase)
{
    ta_until(ta, is_over(ta));
    assert_phase(ta, phase);
}

/* Time passes. */
static void
let_pass(struct two_agents *ta, unsigned s)
{
    uint64_t end_ms = ta_now_ms() + s * UINT64_C(1000);

    ta_until(ta, ta_now_ms() >= end_ms);
}

/* How many guests the drain has in that state. */
static int
count(struct two_agents *ta, const char *state)
{
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    int n = 0;

    json_for_each (move, json_get(json, "moves")) {
        n += str_eq(json_string_of(move, "state"), state);
    }
    return n;
}

static char *
reason_of(struct two_agents *ta, const char *state)
{
    AUTO_JSON json = api(ta, A, "drain_show", NULL);

    json_for_each (move, json_get(json, "moves")) {
        if (str_eq(json_string_of(move, "state"), state)) {
            return xstrdup_null(json_string_of(move, "reason"));
        }
    }
    return NULL;
}

static void
assert_part(const char *text, const char *part)
{
    if (!text || !strstr(text, part)) {
        fail_msg("'%s' does not say '%s'", text ? text : "(null)", part);
    }
}

static struct json *
migrate_args(const char *uuid, const char *dest)
{
    struct json *args = json_object();

    json_set_string(args, "instance", uuid);
    json_set_string(args, "dest", dest);
    return args;
}

/* ---- The plan -------------------------------------------------------------
 */

static void
test_a_plan_spreads_the_guests_and_moves_none(void **state)
{
    struct two_agents *ta = *state;
    AUTO_JSON json = plan(ta, A, NULL);
    int to_b = 0, to_c = 0;

    assert_int_equal(json_size(json_get(json, "guests")), N_GUESTS);
    json_for_each (guest, json_get(json, "guests")) {
        to_b += str_eq(json_string_of(guest, "dest"), "hostb");
        to_c += str_eq(json_string_of(guest, "dest"), "hostc");
        assert_int_equal(json_int_of(guest, "memory_mb"), 64);
    }
    assert_int_equal(to_b, 2);
    assert_int_equal(to_c, 1);
    assert_guests(ta, 3, 0, 0);
    api_fails(ta, A, "drain_show", NULL, ERR_NOT_FOUND);
}

/* Counts who asks what hosts are like. */
static enum memory_fate
count_questions(struct two_agents *ta, const struct memory_mail *mail)
{
    const struct message *message = mail->message;

    if (str_eq(mail->from, "hosta") &&
        memmem(message->body, message->size, "host_show", 9)) {
        (*(int *)ta->aux)++;
    }
    return MEMORY_DELIVER;
}

static void
test_a_plan_asks_the_hosts_once_for_all_guests(void **state)
{
    struct two_agents *ta = *state;
    int n = 0;

    ta->aux = &n;
    ta->filter = count_questions;
    json_free(plan(ta, A, NULL));
    ta->filter = NULL;
    assert_int_equal(n, 1);
}

static void
test_only_the_hosts_that_are_named_are_chosen(void **state)
{
    struct two_agents *ta = *state;
    AUTO_JSON json = plan(ta, A, "hostc");

    json_for_each (guest, json_get(json, "guests")) {
        assert_string_equal(json_string_of(guest, "dest"), "hostc");
    }
    AUTO_JSON none = plan(ta, A, "hostx");
    const struct json *first = json_first(json_get(none, "guests"));
    assert_null(json_string_of(first, "dest"));
    assert_part(json_string_of(first, "reason"), "no drover answers");
}

static void
test_who_is_refused_at_one_host_goes_to_another(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, B, "fail probe_create INTERNAL 99");
    AUTO_JSON json = plan(ta, A, NULL);
    json_for_each (guest, json_get(json, "guests")) {
        assert_string_equal(json_string_of(guest, "dest"), "hostc");
    }
}

static void
test_who_can_not_be_moved_is_named_with_the_reason(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "guest-stop %s", ta->uuid);
    ta_rest(ta);
    begin(ta);
    finish(ta, "partly drained");
    AUTO_FREE reason = reason_of(ta, "stuck");
    assert_part(reason, "shut off");
    assert_guests(ta, 0, 1, 1);
    assert_int_equal(count(ta, "moved"), 2);
    tell(ta, "drain_end");
}

/* ---- The drain ------------------------------------------------------------
 */

static void
test_all_go_and_come_back(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    assert_int_equal(count(ta, "moving"), 1); /* The limit. */
    finish(ta, "drained");
    assert_guests(ta, 0, 2, 1);
    tell(ta, "drain_restore");
    finish(ta, "restored");
    assert_guests(ta, 3, 0, 0);
    assert_int_equal(count(ta, "returned"), 3);
    ta_rest(ta); /* Nothing is left of it. */
}

static void
test_a_drained_host_takes_no_guests_until_it_is_restored(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    const struct json *move = json_first(json_get(json, "moves"));
    const char *uuid = json_string_of(move, "uuid");
    int at = str_eq(json_string_of(move, "host"), "hostb") ? B : C;

    api_fails(ta, at, "migrate", migrate_args(uuid, "hosta"),
              ERR_MIGRATION_PRE_CHECK);
    AUTO_JSON other = plan(ta, at, "hosta");
    assert_part(json_string_of(json_first(json_get(other, "guests")), "reason"),
                "kept empty");
    tell(ta, "drain_end");
    ta_rest(ta);
    json_free(api(ta, at, "migrate", migrate_args(uuid, "hosta")));
    ta_rest(ta);
    assert_int_equal(n_guests(ta, A), 1);
}

static void
test_it_is_stopped_and_goes_on(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    tell(ta, "drain_stop");
    assert_phase(ta, "stopping");
    finish(ta, "stopped");
    assert_int_equal(n_guests(ta, A), 2);
    api_fails(ta, A, "drain_start", plan_args(plan(ta, A, NULL)), ERR_INVALID);
    json_free(api(ta, A, "drain_resume", plan_args(plan(ta, A, NULL))));
    finish(ta, "drained");
    assert_guests(ta, 0, 2, 1);
    tell(ta, "drain_restore");
    finish(ta, "restored");
    assert_guests(ta, 3, 0, 0);
}

static void
test_a_stopped_drain_is_undone(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    api_fails(ta, A, "drain_restore", NULL, ERR_INVALID);
    tell(ta, "drain_stop");
    finish(ta, "stopped");
    tell(ta, "drain_restore");
    finish(ta, "restored");
    assert_guests(ta, 3, 0, 0);
    assert_int_equal(count(ta, "returned"), 1);
}

static void
test_what_failed_is_tried_again(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail transfer");
    begin(ta);
    finish(ta, "drained");
    assert_guests(ta, 0, 2, 1);
    tell(ta, "drain_end");
}

static void
test_who_fails_each_time_stays_until_it_is_resumed(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail migrate INTERNAL %d", N_GUESTS * DRAIN_TRIES);
    begin(ta);
    finish(ta, "partly drained");
    assert_int_equal(count(ta, "failed"), N_GUESTS);
    assert_guests(ta, 3, 0, 0);
    AUTO_FREE reason = reason_of(ta, "failed");
    assert_part(reason, "told to fail");
    json_free(api(ta, A, "drain_resume", plan_args(plan(ta, A, NULL))));
    finish(ta, "drained");
    assert_guests(ta, 0, 2, 1);
    tell(ta, "drain_end");
}

static void
test_an_abort_is_not_overruled(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    begin(ta);
    ta_until(ta, migrate_source_find(ta->hosts[A].agent, ta->uuid) ||
                     count(ta, "moving") == 1);
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    struct json *args = json_object();
    json_for_each (move, json_get(json, "moves")) {
        if (str_eq(json_string_of(move, "state"), "moving")) {
            json_set_string(args, "migration",
                            json_string_of(move, "migration"));
        }
    }
    const char *uuid = json_string_of(args, "migration");
    ta_until(ta, op_find(ta->hosts[A].agent->ops, uuid));
    json_free(api(ta, A, "migration_abort", args));
    ta_steer(ta, A, "release");
    finish(ta, "partly drained");
    assert_int_equal(count(ta, "failed"), 1);
    assert_int_equal(count(ta, "moved"), 2);
    tell(ta, "drain_end");
}

static void
test_who_was_moved_on_stays_there(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    const struct json *move = json_first(json_get(json, "moves"));
    bool at_b = str_eq(json_string_of(move, "host"), "hostb");
    json_free(api(
        ta, at_b ? B : C, "migrate",
        migrate_args(json_string_of(move, "uuid"), at_b ? "hostc" : "hostb")));
    ta_until(ta, n_guests(ta, at_b ? B : C) == (at_b ? 1 : 0));
    tell(ta, "drain_restore");
    finish(ta, "restored");
    assert_int_equal(count(ta, "away"), 1);
    assert_int_equal(count(ta, "returned"), 2);
    AUTO_FREE reason = reason_of(ta, "away");
    assert_part(reason, "not on host");
}

static void
test_one_that_came_another_way_is_noticed(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    ta_steer(ta, A, "guest-add latecomer 64 1 16");
    finish(ta, "partly drained");
    AUTO_FREE reason = reason_of(ta, "stuck");
    assert_part(reason, "not here when");
    json_free(api(ta, A, "drain_resume", plan_args(plan(ta, A, NULL))));
    finish(ta, "drained");
    assert_int_equal(n_guests(ta, A), 0);
    tell(ta, "drain_end");
}

static void
test_one_that_comes_when_all_is_done_is_noticed(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    ta_steer(ta, A, "guest-add latecomer 64 1 16");
    ta_until(ta, count(ta, "stuck") == 1);
    assert_phase(ta, "partly drained");
    tell(ta, "drain_end");
}

/* The UUID of a guest that is made there. */
static char *
add_guest(struct two_agents *ta, int host, const char *name)
{
    char *uuid = xstrdup(ta_steer(ta, host, "guest-add %s 64 1 16", name));

    uuid[strcspn(uuid, "\n")] = '\0';
    ta_rest(ta);
    return uuid;
}

static const char *
status_of(struct two_agents *ta, int host, const char *uuid)
{
    struct json *args = json_object();

    json_set_string(args, "migration", uuid);
    AUTO_JSON json = api(ta, host, "migration_show", args);
    free(ta->status);
    ta->status = xstrdup(json_string_of(json, "status"));
    return ta->status;
}

static void
test_one_that_was_on_its_way_is_waited_for(void **state)
{
    struct two_agents *ta = *state;
    AUTO_FREE uuid = add_guest(ta, B, "traveller");

    ta_steer(ta, B, "hang transfer");
    json_free(api(ta, B, "migrate", migrate_args(uuid, "hosta")));
    ta_until(ta, str_eq(status_of(ta, B, uuid), "running"));
    begin(ta);
    ta_until(ta, count(ta, "moved") == N_GUESTS);
    assert_false(is_over(ta));
    ta_steer(ta, B, "release");
    finish(ta, "partly drained");
    assert_int_equal(count(ta, "stuck"), 1);
    assert_int_equal(n_guests(ta, A), 1);
    tell(ta, "drain_end");
}

/* It was checked before the drain, and waits for its turn at the source. */
static void
test_one_that_was_let_in_but_has_not_begun_stays_away(void **state)
{
    struct two_agents *ta = *state;
    AUTO_FREE first = add_guest(ta, B, "first");
    AUTO_FREE second = add_guest(ta, B, "second");

    ta_steer(ta, B, "hang transfer");
    json_free(api(ta, B, "migrate", migrate_args(first, "hostc")));
    ta_until(ta, str_eq(status_of(ta, B, first), "running"));
    json_free(api(ta, B, "migrate", migrate_args(second, "hosta")));
    begin(ta);
    finish(ta, "drained");
    ta_steer(ta, B, "release");
    ta_until(ta, str_eq(status_of(ta, B, second), "failed"));
    assert_phase(ta, "drained");
    assert_int_equal(n_guests(ta, A), 0);
    tell(ta, "drain_end");
}

static void
begin_at(struct two_agents *ta, int host, struct json *plan)
{
    json_free(api(ta, host, "drain_start", plan_args(plan)));
}

static struct json *
no_guests(void)
{
    return json_set(json_object(), "guests", json_array());
}

/* It runs here already, with a part of its memory elsewhere. */
static void
test_one_in_post_copy_is_waited_for(void **state)
{
    struct two_agents *ta = *state;
    AUTO_FREE uuid = add_guest(ta, B, "traveller");
    struct json *args = json_object();

    ta->hosts[B].conf->libvirt.live_migration_permit_post_copy = true;
    ta->hosts[C].conf->libvirt.live_migration_permit_post_copy = true;
    ta_steer(ta, B, "bandwidth 1");
    ta_steer(ta, B, "dirty-rate * 50");
    ta_leave_migrations(true);
    json_free(api(ta, B, "migrate", migrate_args(uuid, "hostc")));
    ta_until(ta, str_eq(status_of(ta, B, uuid), "running"));
    json_set_string(args, "migration", uuid);
    json_free(api(ta, B, "migration_force_complete", args));
    ta_until(ta, strstr(ta_steer(ta, C, "list"), "postcopy"));

    begin_at(ta, C, no_guests());
    let_pass(ta, 5);
    assert_false(is_over_at(ta, C));
    ta_steer(ta, B, "bandwidth 1000000");
    ta_until(ta, is_over_at(ta, C));
    assert_int_equal(n_guests(ta, C), 1);
    assert_phase_at(ta, C, "partly drained");
    json_free(api(ta, C, "drain_end", NULL));
    ta_rest(ta);
}

static void
test_one_that_is_prepared_for_is_waited_for(void **state)
{
    struct two_agents *ta = *state;
    AUTO_FREE uuid = add_guest(ta, B, "traveller");

    json_free(api(ta, B, "migrate", migrate_args(uuid, "hostc")));
    ta_until(ta, migrate_source_find(ta->hosts[B].agent, uuid));
    ta_steer(ta, C, "hang prepare");
    ta_until(ta, incoming_count(ta->hosts[C].agent) == 1);
    begin_at(ta, C, no_guests());
    let_pass(ta, 5);
    assert_false(is_over_at(ta, C));
    ta_steer(ta, C, "release");
    ta_until(ta, is_over_at(ta, C));
    assert_int_equal(n_guests(ta, C), 1);
    assert_phase_at(ta, C, "partly drained");
    json_free(api(ta, C, "drain_end", NULL));
    ta_rest(ta);
}

/* Nova's compute service waits at the destination for a place. */
static void
test_one_that_waits_for_a_place_is_not_let_in(void **state)
{
    struct two_agents *ta = *state;
    struct ta_host *b = &ta->hosts[B];
    struct json *args = json_object();

    ta_stop(ta, B);
    b->conf->max_concurrent_incoming_live_migrations = 1;
    ta_up(ta, B);
    ta_until(ta, b->is_ready);
    struct slot *place = incoming_places_take(b->agent->incoming);
    ta_check(ta);
    json_set(args, "instance", json_copy(ta->instance));
    json_set_null(args, "disk");
    json_set(args, "migrate_data", json_copy(ta->data));
    ta_cast(ta, B, "pre_live_migration", args);
    ta_until(ta, incoming_places_n_waiting(b->agent->incoming) == 1);
    begin_at(ta, B, no_guests());
    ta_until(ta, is_over_at(ta, B));
    slot_release(place);
    ta_settle();
    assert_false(incoming_is_expected(b->agent, ta->uuid));
    assert_phase_at(ta, B, "drained");
    json_free(api(ta, B, "drain_end", NULL));
    ta_rest(ta);
}

static void
test_what_changes_during_a_look_has_it_repeated(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, C, "hang guest_list");
    begin_at(ta, C, no_guests());
    ta_settle();
    drain_guests_changed(ta->hosts[C].agent);
    ta_steer(ta, C, "release");
    ta_settle(); /* No time has passed: that was the old look. */
    assert_false(is_over_at(ta, C));
    ta_until(ta, is_over_at(ta, C));
    json_free(api(ta, C, "drain_end", NULL));
}

static void
test_one_that_no_list_has_is_asked_for(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail migrate INTERNAL %d", N_GUESTS * DRAIN_TRIES);
    begin(ta);
    lie.uuid = ta->uuid;
    lie.is_missing = true;
    finish(ta, "partly drained");
    assert_int_equal(count(ta, "failed"), N_GUESTS);
    tell(ta, "drain_end");
}

static void
test_one_that_can_not_be_read_is_stuck(void **state)
{
    struct two_agents *ta = *state;

    lie.uuid = ta->uuid;
    lie.is_missing = true;
    ta_steer(ta, A, "fail guest_get INTERNAL 1");
    AUTO_JSON json = plan(ta, A, NULL);
    assert_int_equal(json_size(json_get(json, "guests")), N_GUESTS);
    json_for_each (guest, json_get(json, "guests")) {
        if (str_eq(json_string_of(guest, "uuid"), ta->uuid)) {
            assert_null(json_string_of(guest, "dest"));
            assert_part(json_string_of(guest, "reason"), "can't be read");
            assert_int_equal(json_int_of(guest, "memory_mb"), 64);
        }
    }
    /* Nor is it forgotten when all others are gone. */
    ta_steer(ta, A, "fail guest_get INTERNAL 1");
    begin_at(ta, A, no_guests());
    finish(ta, "partly drained");
    assert_int_equal(count(ta, "stuck"), N_GUESTS);
    tell(ta, "drain_end");
}

static void
test_what_is_left_of_one_that_went_is_no_guest(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "guest-stop %s", ta->uuid);
    ta_rest(ta);
    begin(ta);
    finish(ta, "partly drained");
    lie.uuid = ta->uuid;
    lie.is_missing = false;
    drain_guests_changed(ta->hosts[A].agent);
    finish(ta, "drained");
    assert_int_equal(count(ta, "away"), 1);
    tell(ta, "drain_end");
}

static void
test_one_that_leaves_when_all_is_done_is_noticed(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail migrate INTERNAL %d", N_GUESTS * DRAIN_TRIES);
    begin(ta);
    finish(ta, "partly drained");
    json_free(api(ta, A, "migrate", migrate_args(ta->uuid, "hostb")));
    ta_until(ta, count(ta, "away") == 1);
    lie.uuid = NULL;
    AUTO_JSON list = api(ta, A, "instance_list", NULL);
    json_for_each (guest, list) {
        ta_steer(ta, A, "guest-remove %s", json_string_of(guest, "uuid"));
    }
    ta_until(ta, count(ta, "away") == N_GUESTS);
    finish(ta, "drained");
    tell(ta, "drain_end");
}

static void
test_a_resume_that_is_refused_changes_nothing(void **state)
{
    struct two_agents *ta = *state;
    AUTO_JSON good = plan(ta, A, NULL);
    struct json *last = json_object();

    begin(ta);
    tell(ta, "drain_stop");
    finish(ta, "stopped");
    api_fails(ta, A, "drain_resume", plan_args(json_null()), ERR_VALUE);
    json_append((struct json *)json_get(good, "guests"), last);
    api_fails(ta, A, "drain_resume", plan_args(json_copy(good)), ERR_VALUE);
    let_pass(ta, 60);
    assert_phase(ta, "stopped");
    assert_int_equal(n_guests(ta, A), N_GUESTS - 1);
    tell(ta, "drain_end");
}

/* It may bring the guest back one day. */
static void
test_a_host_that_never_answers_does_not_keep_a_drain(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    ta_steer(ta, B, "hang transfer");
    ta_steer(ta, C, "hang transfer");
    tell(ta, "drain_restore");
    let_pass(ta, 10);
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    int at = C;
    json_for_each (move, json_get(json, "moves")) {
        if (str_eq(json_string_of(move, "state"), "returning")) {
            at = str_eq(json_string_of(move, "host"), "hostb") ? B : C;
        }
    }
    tell(ta, "drain_stop");
    let_pass(ta, 10);
    api_fails(ta, A, "drain_end", NULL, ERR_INVALID); /* It answers. */
    ta_steer(ta, B, "release");
    ta_steer(ta, C, "release");
    ta_crash(ta, at);
    let_pass(ta, 600);
    assert_phase(ta, "stopping");
    tell(ta, "drain_end");
    ta_up(ta, at);
    ta_rest(ta);
    int n = n_guests(ta, A) + n_guests(ta, B) + n_guests(ta, C);
    assert_int_equal(n, N_GUESTS);
}

/* With those that it has. */
static void
test_a_drain_never_has_too_many_guests(void **state)
{
    struct two_agents *ta = *state;
    struct json *guests = json_array();

    for (unsigned i = 0; i < DRAIN_MOVES_MAX - N_GUESTS + 1; i++) {
        AUTO_FREE uuid = xasprintf("%08x-2b5c-4f0e-9a55-0a1c7f3b6d10", i);
        struct json *guest = json_object();

        json_set_string(guest, "uuid", uuid);
        json_append(guests, guest);
    }
    AUTO_JSON large = json_set(json_object(), "guests", guests);
    begin(ta);
    finish(ta, "drained");
    api_fails(ta, A, "drain_resume", plan_args(json_copy(large)), ERR_VALUE);
    assert_phase(ta, "drained");
    tell(ta, "drain_end");
}

static void
test_one_that_came_home_by_itself_has_returned(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    AUTO_JSON json = api(ta, A, "drain_show", NULL);
    const struct json *last = json_at(json_get(json, "moves"), N_GUESTS - 1);
    int at = str_eq(json_string_of(last, "host"), "hostb") ? B : C;
    tell(ta, "drain_restore");
    json_free(api(ta, at, "migrate",
                  migrate_args(json_string_of(last, "uuid"), "hosta")));
    finish(ta, "restored");
    assert_int_equal(count(ta, "returned"), N_GUESTS);
    assert_guests(ta, N_GUESTS, 0, 0);
}

static void
test_an_agent_that_is_away_is_waited_for(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    n_away = N_GUESTS * DRAIN_TRIES * 2;
    tell(ta, "drain_restore");
    finish(ta, "restored");
    assert_int_equal(n_away, 0);
    assert_guests(ta, N_GUESTS, 0, 0);
}

static void
test_a_restore_is_not_given_up_under_way(void **state)
{
    struct two_agents *ta = *state;

    begin(ta);
    finish(ta, "drained");
    tell(ta, "drain_restore");
    assert_phase(ta, "restoring");
    api_fails(ta, A, "drain_end", NULL, ERR_INVALID);
    tell(ta, "drain_stop");
    finish(ta, "stopped");
    int n = n_guests(ta, A);
    tell(ta, "drain_end");
    ta_rest(ta);
    assert_in_range(n, 1, N_GUESTS - 1);
    assert_int_equal(n_guests(ta, A), n);
}

static void
test_plans_that_are_none_are_refused(void **state)
{
    struct two_agents *ta = *state;
    struct json *guest = json_object();

    api_fails(ta, A, "drain_start", plan_args(json_null()), ERR_VALUE);
    json_set_string(guest, "uuid", ta->uuid);
    json_set_string(guest, "dest", "hosta");
    struct json *self =
        json_set(json_object(), "guests", json_append(json_array(), guest));
    api_fails(ta, A, "drain_start", plan_args(self), ERR_VALUE);
    api_fails(ta, A, "drain_plan",
              json_set(json_object(), "to", json_string("hostb")), ERR_VALUE);
}

static void
test_an_empty_host_is_drained_at_once(void **state)
{
    struct two_agents *ta = *state;

    json_free(api(ta, B, "drain_start", plan_args(plan(ta, B, NULL))));
    assert_non_null(drain_bars(ta->hosts[B].agent));
    AUTO_JSON other = plan(ta, A, NULL);
    json_for_each (guest, json_get(other, "guests")) {
        assert_string_equal(json_string_of(guest, "dest"), "hostc");
    }
}

static struct json *
named_args(const struct two_agents *ta, const char *migration)
{
    struct json *args = migrate_args(ta->uuid, "hostb");

    json_set_string(args, "uuid", migration);
    return args;
}

static void
test_a_migration_that_is_asked_for_twice_is_one(void **state)
{
    static const char uuid[] = "2f1f4b3e-2b5c-4f0e-9a55-0a1c7f3b6d10";
    struct two_agents *ta = *state;
    AUTO_JSON first = api(ta, A, "migrate_once", named_args(ta, uuid));
    AUTO_JSON again = api(ta, A, "migrate_once", named_args(ta, uuid));

    assert_string_equal(json_string_of(first, "uuid"), uuid);
    assert_string_equal(json_string_of(again, "uuid"), uuid);
    ta_rest(ta);
    assert_int_equal(n_guests(ta, B), 1);
    AUTO_JSON after = api(ta, A, "migrate_once", named_args(ta, uuid));
    assert_string_equal(json_string_of(after, "status"), "completed");
    AUTO_JSON list = api(ta, A, "migration_list", NULL);
    assert_int_equal(json_size(list), 1);
    api_fails(ta, A, "migrate_once", named_args(ta, "me"), ERR_VALUE);
}

/* ---- Crashes --------------------------------------------------------------
 */

struct torture {
    int host, at, n;
    bool is_begun; /* Dies after the record is on disk; else it is lost. */
    bool wants_crash;
};

static bool
tap(struct ta_host *host, bool is_done, const char *body)
{
    struct torture *t = host->ta->aux;

    (void)body;
    if (host != &host->ta->hosts[t->host]) {
        return true;
    }
    t->n += !is_done;
    if (t->at && t->n >= t->at && is_done == t->is_begun) {
        t->at = 0;
        t->wants_crash = true;
        ta_doom(host);
        return t->is_begun;
    }
    return true;
}

static void
crash_if_wanted(struct two_agents *ta)
{
    struct torture *t = ta->aux;

    if (t->wants_crash) {
        t->wants_crash = false;
        ta_crash(ta, t->host);
        ta_up(ta, t->host);
    }
}

/* True if the drain got into the journal, and then is over. */
static bool
run_to_the_end(struct two_agents *ta)
{
    ta_settle();
    for (int i = 0; i < STEPS_MAX && !is_over(ta); i++) {
        struct torture *t = ta->aux;
        struct agent *agent = ta->hosts[A].agent;
        bool is_lost = !t->at && !t->wants_crash && ta->hosts[A].is_ready &&
                       !drain_bars(agent) && !agent->last_drain &&
                       ta_is_at_rest(ta);

        if (is_lost) {
            return false;
        }
        bool did_step = ta_step(ta);
        crash_if_wanted(ta);
        if (!did_step && !t->wants_crash && !is_over(ta)) {
            fail_msg("nothing happens any more");
        }
    }
    assert_true(is_over(ta));
    return true;
}

static void
ignored(void *aux, struct error *error)
{
    (void)aux;
    error_free(error);
}

/* A drain in which 'host' dies at its at-th record; the number of records if
 * it did not die. */
static int
run_history(int host, int at, bool is_begun)
{
    void *state;
    struct torture t = {.host = host, .at = at, .is_begun = is_begun};
    struct log_context log = {.op = 0};

    set_up(&state);
    struct two_agents *ta = state;
    AUTO_JSON json = plan(ta, A, NULL);
    ta->aux = &t;
    ta->tap = tap;
    drain_start(ta->hosts[A].agent, json, &log, ignored, NULL);
    bool is_known = run_to_the_end(ta);
    ta->tap = NULL;
    ta_until(ta, ta->hosts[A].is_ready && ta->hosts[B].is_ready);
    if (is_known) {
        AUTO_JSON shown = api(ta, A, "drain_show", NULL);
        if (!str_eq(json_string_of(shown, "phase"), "drained")) {
            AUTO_FREE text = json_print(shown, NULL);
            fail_msg("host%c at %d (%d): %s", 'a' + host, at, is_begun, text);
        }
        assert_int_equal(n_guests(ta, A), 0);
        tell(ta, "drain_restore");
        finish(ta, "restored");
    }
    ta_rest(ta);
    assert_guests(ta, N_GUESTS, 0, 0);
    tear_down(&state);
    return t.n;
}

static void
crash_everywhere(int host)
{
    int n = run_history(host, 0, false);

    assert_in_range(n, 20, 400);
    for (int at = 1; at <= n; at++) { /* In turns, unless all are wanted. */
        if (getenv("TORTURE_ALL") || at % 2) {
            run_history(host, at, false);
        }
        if (getenv("TORTURE_ALL") || at % 2 == 0) {
            run_history(host, at, true);
        }
    }
}

static void
test_every_crash_of_the_drained_host(void **state UNUSED)
{
    crash_everywhere(A);
}

static void
test_every_crash_of_a_destination(void **state UNUSED)
{
    crash_everywhere(B);
}

/* ---- Messages that go wrong -----------------------------------------------
 */

struct loss {
    int at, n;
    enum memory_fate fate;
};

static enum memory_fate
lose(struct two_agents *ta, const struct memory_mail *mail)
{
    struct loss *loss = ta->aux;

    if (mail->message->declares_queue) {
        return MEMORY_DELIVER; /* A notification: nobody acts on it. */
    }
    return ++loss->n == loss->at ? loss->fate : MEMORY_DELIVER;
}

/* A restore whose at-th message meets that fate; how many there were. */
static int
run_loss(int at, enum memory_fate fate)
{
    void *state;
    struct loss loss = {.at = at, .fate = fate};

    set_up(&state);
    struct two_agents *ta = state;
    begin(ta);
    finish(ta, "drained");
    ta->aux = &loss;
    ta->filter = lose;
    tell(ta, "drain_restore");
    ta_until(ta, is_over(ta));
    ta->filter = NULL;
    if (count(ta, "returned") != N_GUESTS || n_guests(ta, A) != N_GUESTS) {
        AUTO_JSON shown = api(ta, A, "drain_show", NULL);
        AUTO_FREE text = json_print(shown, NULL);
        fail_msg("message %d, fate %d: %s", at, fate, text);
    }
    tear_down(&state);
    return loss.n;
}

static void
test_every_message_of_a_restore_that_goes_wrong(void **state UNUSED)
{
    int n = run_loss(0, MEMORY_DELIVER);

    assert_in_range(n, 10, 400);
    for (int at = 1; at <= n; at++) {
        run_loss(at, MEMORY_DROP);
        run_loss(at, MEMORY_REPEAT);
    }
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_plan_spreads_the_guests_and_moves_none),
        TEST(test_a_plan_asks_the_hosts_once_for_all_guests),
        TEST(test_only_the_hosts_that_are_named_are_chosen),
        TEST(test_who_is_refused_at_one_host_goes_to_another),
        TEST(test_who_can_not_be_moved_is_named_with_the_reason),
        TEST(test_all_go_and_come_back),
        TEST(test_a_drained_host_takes_no_guests_until_it_is_restored),
        TEST(test_it_is_stopped_and_goes_on),
        TEST(test_a_stopped_drain_is_undone),
        TEST(test_what_failed_is_tried_again),
        TEST(test_who_fails_each_time_stays_until_it_is_resumed),
        TEST(test_an_abort_is_not_overruled),
        TEST(test_who_was_moved_on_stays_there),
        TEST(test_one_that_came_another_way_is_noticed),
        TEST(test_one_that_comes_when_all_is_done_is_noticed),
        TEST(test_one_that_was_on_its_way_is_waited_for),
        TEST(test_one_that_was_let_in_but_has_not_begun_stays_away),
        TEST(test_one_in_post_copy_is_waited_for),
        TEST(test_one_that_is_prepared_for_is_waited_for),
        TEST(test_one_that_waits_for_a_place_is_not_let_in),
        TEST(test_what_changes_during_a_look_has_it_repeated),
        TEST(test_one_that_no_list_has_is_asked_for),
        TEST(test_one_that_can_not_be_read_is_stuck),
        TEST(test_what_is_left_of_one_that_went_is_no_guest),
        TEST(test_one_that_leaves_when_all_is_done_is_noticed),
        TEST(test_a_resume_that_is_refused_changes_nothing),
        TEST(test_a_host_that_never_answers_does_not_keep_a_drain),
        TEST(test_a_drain_never_has_too_many_guests),
        TEST(test_one_that_came_home_by_itself_has_returned),
        TEST(test_an_agent_that_is_away_is_waited_for),
        TEST(test_a_restore_is_not_given_up_under_way),
        TEST(test_plans_that_are_none_are_refused),
        TEST(test_an_empty_host_is_drained_at_once),
        TEST(test_a_migration_that_is_asked_for_twice_is_one),
        cmocka_unit_test(test_every_crash_of_the_drained_host),
        cmocka_unit_test(test_every_crash_of_a_destination),
        cmocka_unit_test(test_every_message_of_a_restore_that_goes_wrong),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
