#include <config.h>

#include "agent/migrate/migration.h"

/* A live migration between two agents, from the message that asks for it to
 * what both hosts have of it afterwards.  (spec/live-migration 4 to 8) */

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
#include "agent/migrate/data.h"
#include "tests/unit/two_agents.h"
#include "tests/unit/virtual_time.h"

#define AT_A (1u << A)
#define AT_B (1u << B)
#define AT_C (1u << C)

#define SUCCESS                              \
    "hostb live_migration.pre.start\n"       \
    "hostb live_migration.pre.end\n"         \
    "hosta live_migration._post.start\n"     \
    "hostb live_migration.post.dest.start\n" \
    "hostb live_migration.post.dest.end\n"   \
    "hosta live_migration._post.end\n"
#define PREPARED                       \
    "hostb live_migration.pre.start\n" \
    "hostb live_migration.pre.end\n"

static int
set_up(void **state)
{
    *state = ta_create(2);
    return 0;
}

static int
set_up_one(void **state)
{
    *state = ta_create(1);
    return 0;
}

static int
set_up_three(void **state)
{
    *state = ta_create(3);
    return 0;
}

static int
tear_down(void **state)
{
    ta_free(*state);
    return 0;
}

static const char *
step(const struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);

    return op ? op_step_name(op) : "";
}

static bool
is_moving(const struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);
    const struct migration *m = op ? op_data(op) : NULL;

    return m && m->monitor &&
           migrate_monitor_stats(m->monitor)->type == JOB_UNBOUNDED;
}

static void
assert_heard(const struct two_agents *ta, const char *expected)
{
    AUTO_FREE heard = ta_notifications(ta);

    assert_string_equal(heard, expected);
}

/* The roll-back at the destination is a cast, so it runs beside the source's;
 * each side's own order is what is promised. */
static void
assert_host_heard(const struct two_agents *ta, const char *host,
                  const char *expected)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    for (size_t i = 0; i < ta->n_heard; i++) {
        if (str_eq(ta->heard[i].host, host)) {
            fprintf(out, "%s\n", ta->heard[i].event);
        }
    }
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void
assert_rolled_back(const struct two_agents *ta)
{
    assert_host_heard(ta, "hosta",
                      "live_migration._rollback.start\n"
                      "live_migration._rollback.end\n");
    assert_host_heard(ta, "hostb",
                      "live_migration.pre.start\n"
                      "live_migration.pre.end\n"
                      "live_migration.rollback.dest.start\n"
                      "live_migration.rollback.dest.end\n");
}

static void
assert_record(struct two_agents *ta, int host, int64_t power_state)
{
    AUTO_OBJECT instance = ta_instance(ta, host);

    assert_non_null(instance);
    assert_string_equal(object_string(instance, "host"), ta->hosts[host].name);
    assert_null(object_string(instance, "task_state"));
    assert_int_equal(object_int(instance, "power_state"), power_state);
    assert_int_equal(object_int(instance, "progress"), 0);
}

static void
assert_no_record(struct two_agents *ta, int host)
{
    AUTO_OBJECT instance = ta_instance(ta, host);

    assert_null(instance);
}

static void
assert_no_files(struct two_agents *ta, int host)
{
    AUTO_FREE files = ta_files(ta, host);

    assert_string_equal(files, "");
}

static void
assert_has_disk(struct two_agents *ta, int host)
{
    AUTO_FREE files = ta_files(ta, host);
    AUTO_FREE disk = xasprintf("/instances/%s/disk ", ta->uuid);

    assert_non_null(strstr(files, disk));
}

static void
assert_is_at_b_alone(struct two_agents *ta)
{
    assert_int_equal(ta_guest_active_at(ta), AT_B);
    assert_no_record(ta, A);
    assert_record(ta, B, POWER_RUNNING);
    assert_no_files(ta, A);
    assert_has_disk(ta, B);
    assert_true(ta_is_at_rest(ta));
}

static void
assert_is_at_a_alone(struct two_agents *ta)
{
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_record(ta, A, POWER_RUNNING);
    assert_no_record(ta, B);
    assert_has_disk(ta, A);
    assert_no_files(ta, B);
    assert_true(ta_is_at_rest(ta));
}

static void
assert_migration_error(struct two_agents *ta, const char *part)
{
    AUTO_OBJECT record = ta_migration(ta, A);
    const char *text = object_string(record, "error");

    if (!text || !strstr(text, part)) {
        fail_msg("error of the migration is '%s'", text ? text : "");
    }
}

static struct json *
migrate(struct two_agents *ta, const char *dest, struct error **ret_error)
{
    struct json *args = json_object();

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", dest);
    return ta_api(ta, A, "migrate", args, ret_error);
}

/* Success. */

static void
test_message_moves_the_guest(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);

    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_heard(ta, SUCCESS);
}

static void
test_numbers_of_the_transfer_are_kept(void **state)
{
    struct two_agents *ta = *state;
    ta_steer(ta, A, "bandwidth 400"); /* 0.2 s */
    ta_conduct(ta);

    ta_rest(ta);
    AUTO_OBJECT stored = ta_migration(ta, A);
    assert_string_equal(object_string(stored, "uuid"),
                        object_string(ta->record, "uuid"));
    assert_int_equal(object_int(stored, "memory_total"), 64 << 20);
    assert_int_equal(object_int(stored, "memory_remaining"), 0);
    assert_int_equal(object_int(stored, "disk_total"), 16 << 20);
    AUTO_JSON shown = migration_describe(ta->hosts[A].agent, stored);
    assert_true(json_int_of(shown, "downtime_ms") > 0);
    assert_true(json_is_number(json_get(shown, "downtime_net_ms")));
    assert_true(json_int_of(shown, "iteration") >= 1);
    assert_true(json_int_of(shown, "rate") > 0);
    assert_true(json_is_number(json_get(shown, "total_ms")));
    assert_true(json_is_null(json_get(shown, "expected_downtime_ms")));
}

static void
test_guest_comes_back_the_same_way(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);
    struct error *error = NULL;
    struct json *args = json_object();

    ta_rest(ta);
    json_set_string(args, "instance", ta->uuid);
    AUTO_JSON migration UNUSED = ta_api(ta, B, "migrate", args, &error);
    assert_null(error);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

/* Failures. */

static void
refuse(struct agent *agent, const struct json *context UNUSED,
       const struct object *instance UNUSED, const struct object *data UNUSED,
       attach_done *done, void *aux)
{
    (void)agent;
    done(aux, error_new(ERR_INTERNAL, "no port is free"));
}

static void
test_destination_that_refuses_has_undone_its_part_when_it_answers(void **state)
{
    struct two_agents *ta = *state;
    struct agent *b = ta->hosts[B].agent;
    struct vif_ops vifs = vif_host;

    /* Directory and disk are made by then. */
    vifs.plug_dest = refuse;
    b->vifs = &vifs;
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "list-disks") ||
                     str_eq(step(ta), "reserve-dest"));
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);
    ta_until(ta, op_is_going_back(op));
    assert_no_files(ta, B);
    assert_null(op_first(b->ops));
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing error failed");
    assert_migration_error(ta, "no port is free");
    b->vifs = &vif_host;
}

/* What the source's agent asked for, a word each. */
static char asked[256];

static void
note(const char *what, const char *migration_uuid, attach_done *done, void *aux)
{
    size_t size = strlen(asked);

    snprintf(asked + size, sizeof asked - size, "%s%s", size ? " " : "", what);
    assert_non_null(migration_uuid);
    done(aux, NULL);
}

/* They are told where the guest goes: no binding says so. */
static void
note_ports(const char *what, const struct object *data, attach_done *done,
           void *aux)
{
    const struct json *migration =
        json_get(migrate_data_migration(data), "nova_object.data");
    AUTO_FREE text =
        xasprintf("%s (%s)", what, json_string_of(migration, "dest_compute"));

    note(text, json_string_of(migration, "uuid"), done, aux);
}

static void
note_give_back(struct agent *agent UNUSED, const struct json *context UNUSED,
               const char *instance_uuid UNUSED, const char *migration_uuid,
               attach_done *done, void *aux)
{
    note("give-back", migration_uuid, done, aux);
}

static void
note_release(struct agent *agent UNUSED, const struct json *context UNUSED,
             const char *instance_uuid UNUSED, const char *migration_uuid,
             attach_done *done, void *aux)
{
    note("release", migration_uuid, done, aux);
}

static void
note_restore(struct agent *agent UNUSED, const struct json *context UNUSED,
             const struct object *instance UNUSED, const struct object *data,
             attach_done *done, void *aux)
{
    note_ports("restore-ports", data, done, aux);
}

static void
note_activate(struct agent *agent UNUSED, const struct json *context UNUSED,
              const struct object *instance UNUSED, const struct object *data,
              attach_done *done, void *aux)
{
    note_ports("activate-ports", data, done, aux);
}

static struct json *rollback_args(const struct two_agents *ta);

static void
note_unbind(struct agent *agent UNUSED, const struct json *context UNUSED,
            const struct object *instance, const struct object *data UNUSED,
            attach_done *done, void *aux)
{
    note("unbind-ports", object_string(instance, "uuid"), done, aux);
}

static const struct allocation_ops noted_allocations = {
    .give_back = note_give_back,
    .release = note_release,
};

static void
watch_source(struct two_agents *ta, struct vif_ops *vifs)
{
    *vifs = vif_host;
    vifs->restore_source = note_restore;
    vifs->activate_dest = note_activate;
    ta->hosts[A].agent->vifs = vifs;
    ta->hosts[A].agent->allocations = &noted_allocations;
    asked[0] = '\0';
}

static void
unwatch_source(struct two_agents *ta)
{
    ta->hosts[A].agent->vifs = &vif_host;
    ta->hosts[A].agent->allocations = &allocation_host;
}

static void
test_what_is_allotted_is_given_back_by_a_roll_back(void **state)
{
    struct two_agents *ta = *state;
    struct vif_ops vifs;

    watch_source(ta, &vifs);
    ta_steer(ta, A, "fail transfer");
    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(asked, "restore-ports (hostb) give-back");
    unwatch_source(ta);
}

/* The conductor binds its ports to the destination before that is asked. */
static void
test_ports_are_unbound_where_nothing_was_plugged(void **state)
{
    struct two_agents *ta = *state;
    struct vif_ops vifs = vif_host;
    struct error *error = NULL;

    vifs.unbind_dest = note_unbind;
    ta->hosts[B].agent->vifs = &vifs;
    asked[0] = '\0';
    ta_check(ta);
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "rollback_live_migration_at_destination",
                rollback_args(ta), &error);
    assert_null(error);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(asked, "unbind-ports");
    ta->hosts[B].agent->vifs = &vif_host;
}

static void
test_what_is_allotted_is_released_by_success(void **state)
{
    struct two_agents *ta = *state;
    struct vif_ops vifs;

    watch_source(ta, &vifs);
    ta_conduct(ta);
    ta_rest(ta);
    assert_string_equal(ta_status(ta), "completed");
    assert_string_equal(asked, "activate-ports (hostb) release");
    unwatch_source(ta);
}

static void
test_disk_that_exists_at_the_destination_is_left_alone(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, B, "file-add %s/instances/%s/disk", ta->directory, ta->uuid);
    AUTO_FREE before = ta_files(ta, B);
    ta_conduct(ta);
    ta_rest(ta);
    AUTO_FREE after = ta_files(ta, B);
    assert_string_equal(after, before);
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_record(ta, A, POWER_RUNNING);
    assert_string_equal(ta_status(ta), "failed");
}

static void
test_failed_transfer_is_rolled_back(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail transfer");
    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running failed");
    assert_migration_error(ta, "told to fail 'transfer'");
    assert_rolled_back(ta);
}

static void
test_transfer_that_does_not_start_is_rolled_back(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "fail migrate");
    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "failed");
    assert_rolled_back(ta);
}

static void
test_lost_answer_of_migrate_is_completed_by_evidence(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "outcome lose-answer");
    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_heard(ta, SUCCESS);
}

static void
test_47_guest_that_shuts_down_in_the_middle_did_not_move(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    ta_steer(ta, A, "guest-stop %s", ta->uuid);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), 0);
    assert_string_equal(ta_status(ta), "failed");
    assert_record(ta, A, POWER_SHUTDOWN);
    assert_no_record(ta, B);
    assert_no_files(ta, B);
    assert_rolled_back(ta);
}

static void
test_destination_that_is_away_at_the_end_is_waited_for(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);

    ta_until(ta, str_eq(step(ta), "finish-dest"));
    ta_crash(ta, B);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 600 * 1000);
    assert_string_equal(ta_status(ta), "running");
    assert_string_equal(step(ta), "finish-dest");
    ta_up(ta, B);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta_status(ta), "completed");
}

static bool
has_record(struct two_agents *ta, int host)
{
    AUTO_OBJECT instance = ta_instance(ta, host);

    return instance && !object_string(instance, "task_state");
}

static bool
is_about(const struct memory_mail *mail, const char *method)
{
    AUTO_FREE body = xstrndup(mail->message->body, mail->message->size);

    return strstr(body, method);
}

static enum memory_fate
die_before_the_post(struct two_agents *ta, const struct memory_mail *mail)
{
    if (!is_about(mail, "post_live_migration_at_destination")) {
        return MEMORY_DELIVER;
    }
    ta_doom(&ta->hosts[A]);
    return MEMORY_DROP;
}

/* Row "DST killed during 5.5" of the table in spec/live-migration 8.3, the
 * other way round: the source is killed and does not come back. */
static void
test_source_that_never_comes_back_is_not_waited_for(void **state)
{
    struct two_agents *ta = *state;

    ta->hosts[B].conf->long_rpc_timeout = 300;
    ta->filter = die_before_the_post;
    ta_conduct(ta);
    ta_until(ta, ta->hosts[A].is_dying);
    ta_crash(ta, A);
    ta->filter = NULL;
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 200 * 1000);
    assert_true(incoming_is_expected(ta->hosts[B].agent, ta->uuid));
    ta_until(ta, has_record(ta, B));
    assert_true(ta_now_ms() < start_ms + 500 * 1000);
    assert_record(ta, B, POWER_RUNNING);

    /* And if it does, it comes to the same end. */
    ta_up(ta, A);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta_status(ta), "completed");
}

static bool
doom_dest_as_it_starts(struct ta_host *host, bool is_done, const char *body)
{
    if (!is_done && host == &host->ta->hosts[A] && body &&
        strstr(body, "\"step\":\"transfer\"")) {
        ta_doom(&host->ta->hosts[B]);
        host->ta->tap = NULL;
    }
    return true;
}

/* The guest arrives at hostb and is shut down there, and its source does not
 * know. */
static void
arrive_and_end(struct two_agents *ta, bool is_seen)
{
    AUTO_FREE stop = xasprintf("guest-stop %s", ta->uuid);

    ta_steer(ta, A, "bandwidth 400"); /* 0.2 s */
    if (!is_seen) {
        ta->tap = doom_dest_as_it_starts;
    }
    ta_conduct(ta);
    if (!is_seen) {
        ta_until(ta, ta->hosts[B].is_dying);
        ta_crash(ta, B);
    }
    ta_until(ta, ta_guest_active_at(ta) == AT_B);
    assert_string_equal(step(ta), "transfer");
    ta_crash(ta, A);
    free(ta_steer_past(ta, B, stop));
    if (!is_seen) {
        ta_up(ta, B);
    }
}

/* Nobody saw it arrive, and nobody claims that it did not: what there is of it
 * stays where it is. */
static void
test_guest_that_ended_unseen_over_there_is_not_destroyed(void **state)
{
    struct two_agents *ta = *state;

    arrive_and_end(ta, false);
    ta_up(ta, A);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 300 * 1000);
    assert_string_equal(step(ta), "transfer");
    assert_has_disk(ta, A);
    assert_has_disk(ta, B);

    ta_steer(ta, B, "guest-start %s", ta->uuid);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
assert_arrived_and_ended(struct two_agents *ta)
{
    assert_record(ta, B, POWER_SHUTDOWN);
    assert_has_disk(ta, B);
    assert_int_equal(ta_guest_active_at(ta), 0);
}

static void
test_source_is_told_that_the_guest_had_arrived(void **state)
{
    struct two_agents *ta = *state;

    arrive_and_end(ta, true);
    ta_crash(ta, B); /* It is in the journal. */
    ta_up(ta, B);
    ta_up(ta, A);
    ta_rest(ta);
    assert_arrived_and_ended(ta);
    assert_no_files(ta, A);
    assert_no_record(ta, A);
    assert_string_equal(ta_status(ta), "completed");
}

static void
test_guest_that_arrived_and_ended_is_taken_over_from_a_dead_source(void **state)
{
    struct two_agents *ta = *state;

    ta->hosts[B].conf->long_rpc_timeout = 300;
    arrive_and_end(ta, true);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 200 * 1000);
    assert_true(incoming_is_expected(ta->hosts[B].agent, ta->uuid));
    ta_until(ta, has_record(ta, B));
    assert_arrived_and_ended(ta);

    /* Though that is over long since. */
    ta_up(ta, A);
    ta_rest(ta);
    assert_arrived_and_ended(ta);
    assert_no_files(ta, A);
    assert_string_equal(ta_status(ta), "completed");
}

static enum memory_fate
stop_before_the_post(struct two_agents *ta, const struct memory_mail *mail)
{
    if (is_about(mail, "post_live_migration_at_destination")) {
        ta_steer(ta, B, "guest-stop %s", ta->uuid);
        ta->filter = NULL;
    }
    return MEMORY_DELIVER;
}

static void
test_guest_that_is_shut_down_before_the_post_has_arrived(void **state)
{
    struct two_agents *ta = *state;

    ta->filter = stop_before_the_post;
    ta_conduct(ta);
    ta_rest(ta);
    assert_record(ta, B, POWER_SHUTDOWN);
    assert_has_disk(ta, B);
    assert_no_files(ta, A);
    assert_no_record(ta, A);
    assert_string_equal(ta_status(ta), "completed");
}

/* The source knows of nothing any more, and whether the guest arrived can't be
 * seen. */
static void
test_guest_that_was_shut_down_before_the_post_is_kept(void **state)
{
    struct two_agents *ta = *state;

    arrive_and_end(ta, false);
    assert_int_equal(unlink(ta->hosts[A].store_path), 0);
    ta_up(ta, A);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 300 * 1000);
    assert_has_disk(ta, B);
    assert_true(incoming_is_expected(ta->hosts[B].agent, ta->uuid));

    ta_steer(ta, B, "guest-start %s", ta->uuid);
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_B);
    assert_record(ta, B, POWER_RUNNING);
    assert_has_disk(ta, B);
}

static void
test_guest_that_arrived_and_ended_is_this_hosts_if_the_source_forgot(
    void **state)
{
    struct two_agents *ta = *state;

    arrive_and_end(ta, true);
    assert_int_equal(unlink(ta->hosts[A].store_path), 0);
    ta_up(ta, A);
    ta_rest(ta);
    assert_arrived_and_ended(ta);
}

static enum memory_fate
lose_roll_back(struct two_agents *ta UNUSED, const struct memory_mail *mail)
{
    return is_about(mail, "rollback_live_migration_at_destination")
               ? MEMORY_DROP
               : MEMORY_DELIVER;
}

static void
test_roll_back_that_was_lost_is_made_up_for(void **state)
{
    struct two_agents *ta = *state;

    ta->filter = lose_roll_back;
    ta_steer(ta, A, "fail transfer");
    ta_conduct(ta);
    ta_until(ta, str_eq(ta_status(ta), "failed"));
    assert_has_disk(ta, B);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_no_files(ta, B);
}

/* Before it has listed its guests. */
static void
test_agent_that_dies_as_it_starts_is_started_again(void **state)
{
    struct two_agents *ta = *state;

    ta_conduct(ta);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
test_restarted_source_takes_up_the_transfer_again(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "bandwidth 400"); /* 0.2 s */
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "transfer"));
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_heard(ta, SUCCESS);
}

static void
test_restarted_destination_still_waits_for_the_guest(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    ta_crash(ta, B);
    ta_up(ta, B);
    ta_until(ta, ta->hosts[B].is_ready);
    assert_has_disk(ta, B);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_heard(ta, SUCCESS);
}

static void
test_source_that_is_stopped_in_the_middle_goes_on_when_it_is_back(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, B, "hang prepare");
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "reserve-dest"));
    ta_stop(ta, A);
    assert_string_equal(ta->statuses, "queued preparing");
    ta_steer(ta, B, "release");
    ta_up(ta, A);
    ta_rest(ta);
    /* Before the transfer it can only go back. */
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "failed");
}

static void
test_destination_that_is_stopped_answers_first(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);

    ta_until(ta, str_eq(step(ta), "finish-dest"));
    ta_stop(ta, B);
    ta_up(ta, B);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta_status(ta), "completed");
}

/* Only evidence ends the doubt: a paused guest may be the half that stayed. */
static void
test_where_a_paused_guest_runs_is_asked_until_it_is_known(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "guest-pause %s", ta->uuid);
    ta_steer(ta, A, "fail transfer");
    ta_steer(ta, A, "fail peer_presence INTERNAL 3");
    uint64_t start_ms = ta_now_ms();
    ta_conduct(ta);
    ta_rest(ta);
    assert_true(ta_now_ms() >= start_ms + 3 * 1000);
    assert_string_equal(ta_status(ta), "failed");
    assert_record(ta, A, POWER_PAUSED);
    assert_no_files(ta, B);
}

static bool
is_paused_here(struct two_agents *ta)
{
    AUTO_FREE paused =
        xasprintf("%s fake-hosta-0001 active %d", ta->uuid, POWER_PAUSED);

    return strstr(ta_steer(ta, A, "list"), paused);
}

static bool
runs_at(struct two_agents *ta, int host)
{
    AUTO_FREE text =
        xasprintf("%s fake-hosta-0001 active %d", ta->uuid, POWER_RUNNING);

    return strstr(ta_steer(ta, host, "list"), text);
}

/* The one that went on at the source is paused; which of them is to end is
 * for a person to say. */
static void
run_twice(struct two_agents *ta)
{
    ta_steer(ta, A, "outcome run-twice");
    ta_conduct(ta);
    ta_until(ta, is_paused_here(ta));
    assert_true(runs_at(ta, B));
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 100 * 1000);
    assert_true(is_paused_here(ta) && runs_at(ta, B));
    assert_string_equal(ta_status(ta), "running");
    AUTO_OBJECT record = ta_migration(ta, A);
    AUTO_JSON shown = migration_describe(ta->hosts[A].agent, record);
    assert_non_null(strstr(json_string_of(shown, "error"),
                           "until one of the two is ended"));
}

static void
test_guest_that_runs_twice_is_paused_and_arrives_if_ended_here(void **state)
{
    struct two_agents *ta = *state;

    run_twice(ta);
    ta_steer(ta, A, "guest-remove %s", ta->uuid);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta_status(ta), "completed");
}

static void
test_guest_that_runs_twice_is_paused_and_stays_if_ended_there(void **state)
{
    struct two_agents *ta = *state;

    run_twice(ta);
    ta_steer(ta, B, "guest-remove %s", ta->uuid);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "failed");
    assert_rolled_back(ta);
}

static void
test_guest_that_runs_twice_stays_paused_over_a_restart(void **state)
{
    struct two_agents *ta = *state;

    run_twice(ta);
    ta_crash(ta, A);
    ta_up(ta, A);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 100 * 1000);
    assert_true(is_paused_here(ta) && runs_at(ta, B));
    ta_steer(ta, B, "guest-remove %s", ta->uuid);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

/* The source could not ask, and takes the migration for failed. */
static void
test_guest_that_runs_twice_unseen_is_paused_by_its_destination(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "outcome run-twice");
    ta_steer(ta, A, "fail peer_presence INTERNAL 3");
    ta_conduct(ta);
    ta_until(ta, str_eq(ta_status(ta), "failed"));
    assert_true(runs_at(ta, A) && runs_at(ta, B));
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 100 * 1000);
    assert_true(runs_at(ta, A) && !runs_at(ta, B));
    assert_false(has_record(ta, B));
    ta_steer(ta, B, "guest-remove %s", ta->uuid);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "failed");
}

/* The disk. */

static bool
lose_migration(struct ta_host *host UNUSED, bool is_done UNUSED,
               const char *body)
{
    return !body || !strstr(body, "\"type\":\"live-migration\"");
}

static void
test_migration_that_can_not_be_written_is_refused(void **state)
{
    struct two_agents *ta = *state;

    ta->tap = lose_migration;
    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_heard(ta, "hosta live_migration\n");
}

static void
test_conducted_migration_that_can_not_be_written_is_taken_back(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;

    ta->tap = lose_migration;
    AUTO_JSON result UNUSED = migrate(ta, "hostb", &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_STORAGE);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "error");
}

/* Abort and force-complete. */

static struct json *
instance_args(const struct two_agents *ta)
{
    struct json *args = json_object();

    json_set(args, "instance", json_copy(ta->instance));
    return args;
}

static void
abort_migration(struct two_agents *ta, const struct object *record)
{
    struct json *args = instance_args(ta);

    json_set_int(args, "migration_id", object_int(record, "id"));
    ta_cast(ta, A, "live_migration_abort", args);
}

static void
granted(void *aux)
{
    *(bool *)aux = true;
}

static void
test_abort_in_the_queue(void **state)
{
    struct two_agents *ta = *state;
    bool has_slot = false;
    struct slot *slot =
        slots_request(ta->hosts[A].agent->outgoing, granted, &has_slot);
    struct vif_ops vifs;

    watch_source(ta, &vifs);
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "queue"));
    assert_string_equal(ta_status(ta), "queued");
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_string_equal(asked, "restore-ports (hostb) give-back");
    unwatch_source(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued cancelled");
    assert_heard(ta, "hosta live.migration.abort.start\n"
                     "hosta live.migration.abort.end\n");
    slot_release(slot);
}

/* A destination without a place.  hostb takes one at a time, and 'place' is
 * it. */

static struct slot *
fill_b(struct two_agents *ta)
{
    struct ta_host *b = &ta->hosts[B];

    ta_stop(ta, B);
    b->conf->max_concurrent_incoming_live_migrations = 1;
    b->conf->incoming_live_migration_wait = 30; /* No caller's time-out. */
    ta->hosts[A].conf->incoming_live_migration_wait = 60;
    ta_up(ta, B);
    ta_until(ta, b->is_ready);
    return incoming_places_take(b->agent->incoming);
}

static bool
waits_for_b(const struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);
    const struct migration *m = op ? op_data(op) : NULL;

    return m && migrate_reserve_waits(m->reserve);
}

static void
test_migration_waits_for_a_place_at_its_destination(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);

    ta_conduct(ta);
    ta_until(ta, waits_for_b(ta));
    assert_int_equal(slots_n_used(ta->hosts[A].agent->outgoing), 0);
    AUTO_OBJECT record = ta_migration(ta, A);
    AUTO_JSON shown = migration_describe(ta->hosts[A].agent, record);
    assert_string_equal(json_string_of(shown, "waits_for"), "hostb");
    slot_release(place);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_heard(ta, SUCCESS); /* It prepared once. */
    assert_false(incoming_places_are_full(ta->hosts[B].agent->incoming));
}

static void
test_migration_that_waits_is_queued_again_for_its_own_place(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);
    bool has_slot = false;

    ta_conduct(ta);
    ta_until(ta, waits_for_b(ta));
    struct slot *other =
        slots_request(ta->hosts[A].agent->outgoing, granted, &has_slot);
    assert_true(has_slot);
    slot_release(place); /* It could come, but may not go. */
    ta_until(ta, slots_n_waiting(ta->hosts[A].agent->outgoing) == 1);
    assert_string_equal(step(ta), "reserve-dest");
    slot_release(other);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
test_migration_does_not_wait_for_ever_for_a_place(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);

    ta_conduct(ta);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing error failed");
    AUTO_OBJECT record = ta_migration(ta, A);
    assert_non_null(strstr(object_string(record, "error"),
                           "host 'hostb' had no place for an incoming "
                           "migration in 60 s"));
    slot_release(place);
}

static void
test_abort_while_it_waits_for_a_place(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);

    ta_conduct(ta);
    ta_until(ta, waits_for_b(ta));
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing cancelled");
    slot_release(place);
}

static struct json *
pre_args(const struct two_agents *ta)
{
    struct json *args = instance_args(ta);

    json_set_null(args, "disk");
    json_set(args, "migrate_data", json_copy(ta->data));
    return args;
}

static void
test_source_that_does_not_ask_again_waits_for_the_answer(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);
    struct incoming_places *places = ta->hosts[B].agent->incoming;
    struct error *error = NULL;

    ta_check(ta);
    /* In vain. */
    AUTO_JSON refused UNUSED =
        ta_call(ta, B, "pre_live_migration", pre_args(ta), &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_MIGRATION_PRE_CHECK);
    assert_non_null(strstr(error_message(owned), "had no place"));
    assert_int_equal(incoming_places_n_waiting(places), 0);

    /* Until there is one. */
    ta_cast(ta, B, "pre_live_migration", pre_args(ta));
    ta_until(ta, incoming_places_n_waiting(places) == 1);
    slot_release(place);
    ta_until(ta, incoming_is_expected(ta->hosts[B].agent, ta->uuid));
    assert_true(incoming_places_are_full(places));

    /* The journal has it: it counts after a restart. */
    ta_crash(ta, B);
    ta_up(ta, B);
    assert_true(incoming_places_are_full(ta->hosts[B].agent->incoming));
    struct json *args = instance_args(ta);
    json_set_bool(args, "destroy_disks", true);
    json_set(args, "migrate_data", json_copy(ta->data));
    ta_cast(ta, B, "rollback_live_migration_at_destination", args);
    ta_until(ta, !incoming_places_are_full(ta->hosts[B].agent->incoming));
    ta_rest(ta);
}

static void
test_who_waits_for_a_place_is_told_when_the_agent_stops(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);

    ta_check(ta);
    ta_cast(ta, B, "pre_live_migration", pre_args(ta));
    ta_until(ta, incoming_places_n_waiting(ta->hosts[B].agent->incoming) == 1);
    ta_stop(ta, B);
    free(place); /* What it was a place of is gone. */
    ta_up(ta, B);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

/* The question is out, and the answer is that there is no place. */
static void
test_abort_while_a_place_is_asked_for(void **state)
{
    struct two_agents *ta = *state;
    struct slot *place = fill_b(ta);

    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "reserve-dest"));
    assert_false(waits_for_b(ta));
    uint64_t start_ms = ta_now_ms();
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_true(ta_now_ms() - start_ms < 10000); /* It waits for 60 s. */
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing cancelled");
    slot_release(place);
}

static void
test_abort_while_the_destination_prepares(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, B, "hang prepare");
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "reserve-dest"));
    abort_migration(ta, ta->record);
    ta_until(ta, ta->n_heard >= 3);
    assert_string_equal(ta_status(ta), "preparing");
    ta_steer(ta, B, "release");
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing cancelled");
}

static void
test_abort_of_a_running_transfer(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running cancelled");
    assert_host_heard(ta, "hosta",
                      "live.migration.abort.start\n"
                      "live.migration.abort.end\n"
                      "live_migration._rollback.start\n"
                      "live_migration._rollback.end\n");
    ta_steer(ta, A, "release");
}

/* Of a hypervisor that takes the abort and does nothing. */
static void
test_abort_without_effect_breaks_the_transfer(void **state)
{
    struct two_agents *ta = *state;

    ta_leave_migrations(true);
    ta_steer(ta, A, "hang transfer");
    ta_steer(ta, A, "fail migrate_abort INVALID 1000");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    abort_migration(ta, ta->record);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, str_eq(ta_status(ta), "cancelled"));
    assert_in_range(ta_now_ms() - start_ms, 5000, 60000);
    ta_leave_migrations(false);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

static void
test_transfer_into_a_network_that_is_gone_is_given_up(void **state)
{
    struct two_agents *ta = *state;

    ta_leave_migrations(true);
    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 300 * 1000);
    assert_string_equal(ta_status(ta), "running"); /* Slow, and reachable. */
    ta_steer(ta, A, "fail peer_presence INTERNAL 3");
    ta_until(ta, str_eq(ta_status(ta), "failed"));
    ta_leave_migrations(false);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

static void
test_downtime_is_no_number_before_it_was_measured(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    AUTO_OBJECT running = ta_migration(ta, A);
    AUTO_JSON shown = migration_describe(ta->hosts[A].agent, running);
    assert_true(json_is_null(json_get(shown, "downtime_ms")));
    assert_true(json_int_of(shown, "expected_downtime_ms") > 0);
    abort_migration(ta, ta->record);
    ta_rest(ta);
    AUTO_OBJECT stored = ta_migration(ta, A);
    AUTO_JSON ended = migration_describe(ta->hosts[A].agent, stored);
    assert_string_equal(json_string_of(ended, "status"), "cancelled");
    assert_true(json_is_null(json_get(ended, "downtime_ms")));
    assert_true(json_is_null(json_get(ended, "expected_downtime_ms")));
    assert_true(json_is_number(json_get(ended, "elapsed_ms")));
    assert_true(json_is_number(json_get(ended, "total_ms")));
    ta_steer(ta, A, "release");
}

static void
test_abort_of_a_migration_that_is_over_is_refused(void **state)
{
    struct two_agents *ta = *state;
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct error *error = NULL;
    AUTO_JSON migration UNUSED = migrate(ta, "hostb", &error);

    assert_null(error);
    ta_rest(ta);
    ta->instance = json_copy(object_json(instance));
    struct json *args = instance_args(ta);
    AUTO_OBJECT stored = ta_migration(ta, A);
    json_set_int(args, "migration_id", object_int(stored, "id"));
    AUTO_JSON result UNUSED =
        ta_call(ta, A, "live_migration_abort", args, &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_INVALID_MIGRATION_STATE);
    assert_is_at_b_alone(ta);
}

static void
force_complete(struct two_agents *ta)
{
    ta_cast(ta, A, "live_migration_force_complete", instance_args(ta));
}

static void
test_53_force_complete_pauses_the_guest_and_it_arrives_running(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    force_complete(ta);
    ta_until(ta, is_paused_here(ta));
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
    assert_host_heard(ta, "hosta",
                      "live.migration.force.complete.start\n"
                      "live.migration.force.complete.end\n"
                      "live_migration._post.start\n"
                      "live_migration._post.end\n");
}

static void
test_53_guest_that_was_paused_to_complete_runs_again_after_abort(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    force_complete(ta);
    ta_until(ta, is_paused_here(ta));
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "cancelled");
    ta_steer(ta, A, "release");
}

static void
test_guest_that_its_user_paused_stays_paused_after_an_abort(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "guest-pause %s", ta->uuid);
    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    force_complete(ta);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 2000);
    abort_migration(ta, ta->record);
    ta_rest(ta);
    assert_string_equal(ta_status(ta), "cancelled");
    assert_record(ta, A, POWER_PAUSED);
    ta_steer(ta, A, "release");
}

/* It is to be known before it is done: else nobody would resume the guest. */
static bool
die_before_the_pause_is_written(struct ta_host *host, bool is_done,
                                const char *body)
{
    if (is_done || !body || !strstr(body, "\"paused_here\":true")) {
        return true;
    }
    ta_doom(host);
    return false;
}

static void
test_agent_that_dies_when_it_pauses_leaves_no_guest_paused(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "bandwidth 400"); /* 0.2 s */
    ta_steer(ta, A, "fail transfer");
    ta_leave_migrations(true);
    ta->tap = die_before_the_pause_is_written;
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    force_complete(ta);
    ta_until(ta, ta->hosts[A].is_dying);
    ta_leave_migrations(false);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "failed");
}

/* Settings of one migration. */

static struct json *
settings_args(const struct two_agents *ta, const char *what, const char *text)
{
    struct json *args = json_object(), *settings = NULL;

    assert_null(json_parse(text, strlen(text), &settings));
    json_set_string(args, what, ta->uuid);
    json_set(args, "settings", settings);
    return args;
}

static void
migrate_with(struct two_agents *ta, const char *settings)
{
    struct error *error = NULL;
    AUTO_JSON migration UNUSED = ta_api(
        ta, A, "migrate", settings_args(ta, "instance", settings), &error);

    assert_null(error);
}

static enum error_code
set(struct two_agents *ta, const char *settings)
{
    struct error *error = NULL;
    AUTO_JSON migration =
        ta_api(ta, A, "migration_set", settings_args(ta, "migration", settings),
               &error);
    AUTO_ERROR owned = error;

    assert_true(owned ||
                json_has(json_get(migration, "settings"), "downtime") ||
                json_has(json_get(migration, "settings"), "bandwidth"));
    return error_code(owned);
}

/* MiB a second that the transfer has. */
static int64_t
rate(struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);
    const struct migration *m = op ? op_data(op) : NULL;

    if (!m || !m->monitor) {
        return -1;
    }
    const struct job_stats *stats = migrate_monitor_stats(m->monitor);
    int64_t bps = stats->disk_bps > 0 ? stats->disk_bps : stats->memory_bps;
    return bps >> 20;
}

static void
set_past(void *aux, struct error *error)
{
    assert_null(error);
    *(bool *)aux = true;
}

struct number {
    bool is_known;
    unsigned value;
};

static void
number_known(void *aux, struct error *error, unsigned value)
{
    struct number *number = aux;

    assert_null(error);
    *number = (struct number){true, value};
}

static unsigned
downtime(struct two_agents *ta)
{
    struct number number = {0};

    driver_migrate_get_downtime(ta->hosts[A].observer, ta->uuid, number_known,
                                &number);
    ta_until(ta, number.is_known);
    return number.value;
}

static void
pass(struct two_agents *ta, unsigned s)
{
    uint64_t until_ms = ta_now_ms() + s * UINT64_C(1000);

    ta_until(ta, ta_now_ms() > until_ms);
}

static void
test_settings_of_a_migration_hold(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    migrate_with(ta, "{\"bandwidth\": 640, \"downtime\": 1000, "
                     "\"completion_timeout\": 700}");
    ta_until(ta, is_moving(ta));
    assert_int_equal(rate(ta), 640);
    pass(ta, 2);
    assert_int_equal(downtime(ta), 100); /* The first of ten steps. */
    pass(ta, 320);
    assert_int_equal(downtime(ta), 190); /* The next one, after 300 s. */
    assert_string_equal(ta_status(ta), "running");
    pass(ta, 400);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    assert_string_equal(ta_status(ta), "cancelled");
    AUTO_OBJECT record = ta_migration(ta, A);
    assert_int_equal(
        json_int_of(object_get(record, "settings"), "completion_timeout"), 700);
}

static void
test_a_running_migration_can_be_changed(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    assert_int_equal(set(ta, "{\"bandwidth\": 77, \"downtime\": 123}"), 0);
    ta_until(ta, rate(ta) == 77);
    pass(ta, 2);
    assert_int_equal(downtime(ta), 123);
    pass(ta, 700); /* Steps of the schedule are due. */
    assert_int_equal(downtime(ta), 123);
    assert_int_equal(rate(ta), 77);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

/* A slow one, and time goes on beside it. */
static void
migrate_slowly(struct two_agents *ta, const char *settings)
{
    ta_leave_migrations(true);
    migrate_with(ta, settings);
    ta_until(ta, is_moving(ta));
}

static void
end_slow_one(struct two_agents *ta)
{
    assert_int_equal(set(ta, "{\"bandwidth\": 1000}"), 0);
    ta_until(ta, rate(ta) > 100);
    ta_leave_migrations(false);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
test_settings_of_a_migration_hold_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    migrate_slowly(ta, "{\"bandwidth\": 1, \"downtime\": 1000}");
    pass(ta, 2);
    assert_int_equal(downtime(ta), 100);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 400);
    assert_int_equal(downtime(ta), 190);
    /* What was set by hand is kept, too. */
    assert_int_equal(set(ta, "{\"downtime\": 123}"), 0);
    pass(ta, 2);
    assert_int_equal(downtime(ta), 123);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 700);
    assert_int_equal(downtime(ta), 123);
    end_slow_one(ta);
}

/* Post-copy. */

/* One that takes a minute, so that a test is not in a hurry.  After the switch
 * only the link limits it. */
static void
migrate_for_postcopy(struct two_agents *ta)
{
    ta_steer(ta, A, "bandwidth 1");
    ta->hosts[A].conf->libvirt.live_migration_permit_post_copy = true;
    migrate_slowly(ta, "{\"bandwidth\": 1}");
}

static void
switch_past_us(struct two_agents *ta)
{
    bool is_done = false;

    driver_migrate_postcopy(ta->hosts[A].observer, ta->uuid, set_past,
                            &is_done);
    ta_until(ta, is_done);
}

static struct migrate_monitor *
monitor_of(const struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);
    const struct migration *m = op ? op_data(op) : NULL;

    return m ? m->monitor : NULL;
}

static bool
is_postcopy_known(const struct two_agents *ta)
{
    struct migrate_monitor *monitor = monitor_of(ta);

    return monitor && migrate_monitor_is_postcopy(monitor);
}

/* Nobody who does not know that it is post-copy would ask for the rest. */
static void
assert_is_mended(struct two_agents *ta)
{
    ta_until(ta, is_postcopy_known(ta));
    ta_steer(ta, A, "break-postcopy %s", ta->uuid);
    ta_steer(ta, A, "bandwidth 1000000");
    ta_leave_migrations(false);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_non_null(strstr(ta->statuses, " running (post-copy) completed"));
}

static void
test_54_broken_postcopy_is_mended_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    migrate_for_postcopy(ta);
    migrate_monitor_force_complete(monitor_of(ta));
    ta_until(ta, str_eq(ta_status(ta), "running (post-copy)"));
    ta_crash(ta, A);
    ta_up(ta, A);
    assert_is_mended(ta);
}

static enum error_code
ask_to_abort(struct two_agents *ta)
{
    struct error *error = NULL;
    struct json *args = json_object();

    json_set_string(args, "migration", ta->uuid);
    AUTO_JSON result UNUSED = ta_api(ta, A, "migration_abort", args, &error);
    AUTO_ERROR owned = error;
    return error_code(owned);
}

/* Neither by its time-out nor by anybody. */
static void
test_54_postcopy_is_not_aborted_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "bandwidth 1");
    ta->hosts[A].conf->libvirt.live_migration_permit_post_copy = true;
    migrate_slowly(ta, "{\"bandwidth\": 1, \"completion_timeout\": 1000}");
    migrate_monitor_force_complete(monitor_of(ta));
    ta_until(ta, str_eq(ta_status(ta), "running (post-copy)"));
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    assert_int_equal(ask_to_abort(ta), ERR_INVALID_MIGRATION_STATE);
    pass(ta, 1500);
    assert_int_equal(ask_to_abort(ta), ERR_INVALID_MIGRATION_STATE);
    assert_is_mended(ta);
}

static void
test_switch_to_postcopy_is_noticed_whoever_made_it(void **state)
{
    struct two_agents *ta = *state;

    migrate_for_postcopy(ta);
    switch_past_us(ta);
    ta_until(ta, str_eq(ta_status(ta), "running (post-copy)"));
    assert_is_mended(ta);
}

static void
test_switch_to_postcopy_while_the_agent_was_away_is_noticed(void **state)
{
    struct two_agents *ta = *state;

    migrate_for_postcopy(ta);
    ta_crash(ta, A);
    switch_past_us(ta);
    ta_up(ta, A);
    assert_is_mended(ta);
}

static void
test_a_queued_migration_can_be_changed(void **state)
{
    struct two_agents *ta = *state;
    bool has_slot = false;
    struct slot *slot =
        slots_request(ta->hosts[A].agent->outgoing, granted, &has_slot);

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "queue"));
    assert_int_equal(set(ta, "{\"bandwidth\": 78}"), 0);
    assert_int_equal(set(ta, "{\"downtime\": 124}"), 0);
    slot_release(slot);
    ta_until(ta, is_moving(ta));
    assert_int_equal(rate(ta), 78);
    pass(ta, 700);
    assert_int_equal(downtime(ta), 124);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

/* It was in the journal, and the hypervisor was not told yet. */
static void
test_a_change_that_was_not_told_yet_is_told_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    migrate_slowly(ta, "{\"bandwidth\": 1}");
    assert_int_equal(set(ta, "{\"bandwidth\": 2}"), 0);
    ta_crash(ta, A); /* Before the next round. */
    ta_up(ta, A);
    ta_until(ta, rate(ta) == 2);
    end_slow_one(ta);
}

static void
test_30_pause_set_past_the_agent_is_not_overwritten(void **state)
{
    struct two_agents *ta = *state;
    bool is_done = false;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    pass(ta, 2);
    assert_int_equal(downtime(ta), 50);
    driver_migrate_set_downtime(ta->hosts[A].observer, ta->uuid, 66, set_past,
                                &is_done);
    ta_until(ta, is_done);
    pass(ta, 700);
    assert_int_equal(downtime(ta), 66);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
test_pause_that_the_hypervisor_was_away_for_is_told_when_it_is_back(
    void **state)
{
    struct two_agents *ta = *state;

    migrate_slowly(ta, "{\"bandwidth\": 1}");
    pass(ta, 2);
    ta_steer(ta, A, "fail migrate_set_downtime HYPERVISOR_UNAVAILABLE 2");
    assert_int_equal(set(ta, "{\"downtime\": 123}"), 0);
    pass(ta, 3);
    assert_int_equal(downtime(ta), 123);
    end_slow_one(ta);
}

static const struct migration *
moving(const struct two_agents *ta)
{
    struct op *op = migrate_source_find(ta->hosts[A].agent, ta->uuid);

    return op ? op_data(op) : NULL;
}

static unsigned
bandwidth(struct two_agents *ta)
{
    struct number number = {0};

    driver_migrate_get_bandwidth(ta->hosts[A].observer, ta->uuid, number_known,
                                 &number);
    ta_until(ta, number.is_known);
    return number.value;
}

/* The host's budget is divided anew, as when another migration came. */
static void
set_budget(struct two_agents *ta, int mib_s)
{
    ta->hosts[A].conf->libvirt.live_migration_host_bandwidth = mib_s;
    migrate_bandwidth_divide(ta->hosts[A].agent);
}

static void
test_30_bandwidth_set_past_the_agent_is_not_overwritten(void **state)
{
    struct two_agents *ta = *state;
    bool is_done = false;

    set_budget(ta, 4);
    migrate_slowly(ta, "{}");
    assert_int_equal(bandwidth(ta), 4);
    set_budget(ta, 3);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 3);

    driver_migrate_set_bandwidth(ta->hosts[A].observer, ta->uuid, 2, set_past,
                                 &is_done);
    ta_until(ta, is_done);
    set_budget(ta, 1);
    ta_until(ta, moving(ta)->bandwidth_is_by_hand);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 2);

    /* Nor after a restart. */
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    set_budget(ta, 3);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 2);

    /* Unless it is asked for. */
    assert_int_equal(set(ta, "{\"bandwidth\": 7}"), 0);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 3);
    set_budget(ta, 0);
    end_slow_one(ta);
}

static void
test_share_of_the_budget_is_that_of_before_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    set_budget(ta, 4);
    migrate_slowly(ta, "{}");
    set_budget(ta, 3);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 3);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    assert_int_equal(moving(ta)->bandwidth_mib_s, 3);
    assert_false(moving(ta)->bandwidth_is_due);
    set_budget(ta, 2);
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 2);
    set_budget(ta, 0);
    end_slow_one(ta);
}

/* Without a budget nobody asks what the job has. */
static void
test_30_bandwidth_set_past_the_agent_survives_its_restart(void **state)
{
    struct two_agents *ta = *state;
    bool is_done = false;

    ta->hosts[A].conf->libvirt.live_migration_bandwidth = 4;
    migrate_slowly(ta, "{}");
    assert_int_equal(bandwidth(ta), 4);
    driver_migrate_set_bandwidth(ta->hosts[A].observer, ta->uuid, 2, set_past,
                                 &is_done);
    ta_until(ta, is_done);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 2);
    assert_int_equal(bandwidth(ta), 2);
    end_slow_one(ta);
}

static void
test_timeout_counts_from_the_transfer_also_after_a_restart(void **state)
{
    struct two_agents *ta = *state;
    bool has_slot = false;
    struct slot *slot =
        slots_request(ta->hosts[A].agent->outgoing, granted, &has_slot);

    ta_leave_migrations(true);
    migrate_with(ta, "{\"bandwidth\": 1, \"completion_timeout\": 1000}");
    ta_until(ta, str_eq(step(ta), "queue"));
    pass(ta, 1500);
    slot_release(slot);
    ta_until(ta, is_moving(ta));
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 3);
    end_slow_one(ta);
    assert_null(strstr(ta->statuses, "cancelled"));
}

/* A destination whose source is silent waits, as libvirt over there may still
 * send; its place is another's. */
static void
test_silent_source_of_a_transfer_that_hangs_is_waited_for(void **state)
{
    struct two_agents *ta = *state;

    ta->hosts[B].conf->long_rpc_timeout = 300;
    migrate_slowly(ta, "{\"bandwidth\": 1}");
    ta_crash(ta, A);
    uint64_t start_ms = ta_now_ms();
    ta_until(ta, ta_now_ms() > start_ms + 1000 * 1000);
    assert_true(incoming_is_expected(ta->hosts[B].agent, ta->uuid));
    assert_has_disk(ta, B);
    assert_int_equal(ta_guest_active_at(ta), AT_A);

    ta_crash(ta, B); /* Nor does it take it back when it starts. */
    ta_up(ta, B);
    ta_until(ta, ta_now_ms() > start_ms + 2000 * 1000);
    assert_has_disk(ta, B);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    end_slow_one(ta);
    assert_string_equal(ta_status(ta), "completed");
}

static void
test_clock_that_is_set_times_nothing_out(void **state)
{
    struct two_agents *ta = *state;

    migrate_slowly(ta, "{\"bandwidth\": 1, \"completion_timeout\": 1000}");
    virtual_time_step_wall(7200 * INT64_C(1000000));
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 3);
    virtual_time_step_wall(-14400 * INT64_C(1000000));
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    pass(ta, 3);
    end_slow_one(ta);
    assert_null(strstr(ta->statuses, "cancelled"));
    AUTO_OBJECT record = ta_migration(ta, A);
    int64_t total_ms = json_int_of(object_get(record, "stats"), "total_ms");
    assert_in_range(total_ms, 1, 3600 * 1000);
}

static void
test_transfer_keeps_its_place_after_a_restart(void **state)
{
    struct two_agents *ta = *state;

    migrate_slowly(ta, "{\"bandwidth\": 1}");
    assert_int_equal(slots_n_used(ta->hosts[A].agent->outgoing), 1);
    ta_crash(ta, A);
    ta_up(ta, A);
    ta_until(ta, is_moving(ta));
    assert_int_equal(slots_n_used(ta->hosts[A].agent->outgoing), 1);
    end_slow_one(ta);
    assert_int_equal(slots_n_used(ta->hosts[A].agent->outgoing), 0);
}

static void
test_32_query_that_fails_ten_times_aborts_nothing(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    ta_steer(ta, A, "fail job_get HYPERVISOR_UNAVAILABLE 10");
    pass(ta, 20);
    assert_string_equal(ta_status(ta), "running");
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
}

static void
test_what_can_not_be_changed_is_refused(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    assert_int_equal(set(ta, "{}"), ERR_VALUE);
    assert_int_equal(set(ta, "{\"downtime\": 0}"), ERR_VALUE);
    assert_int_equal(set(ta, "{\"timeout_action\": \"abort\"}"), ERR_VALUE);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    AUTO_OBJECT record = ta_migration(ta, A);
    struct json *args = settings_args(ta, "migration", "{\"bandwidth\": 1}");
    json_set_string(args, "migration", object_string(record, "uuid"));
    struct error *error = NULL;
    AUTO_JSON result UNUSED = ta_api(ta, A, "migration_set", args, &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_INVALID_MIGRATION_STATE);
}

static void
test_policy_of_a_migration_needs_permission(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;
    AUTO_JSON result UNUSED = ta_api(
        ta, A, "migrate",
        settings_args(ta, "instance", "{\"convergence\": \"1:postcopy\"}"),
        &error);
    AUTO_ERROR owned = error;

    assert_int_equal(error_code(owned), ERR_VALUE);
    assert_is_at_a_alone(ta);
}

static void
test_force_complete_without_a_migration_is_refused(void **state)
{
    struct two_agents *ta = *state;
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct error *error = NULL;

    ta->instance = json_copy(object_json(instance));
    AUTO_JSON result UNUSED = ta_call(ta, A, "live_migration_force_complete",
                                      instance_args(ta), &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_NO_ACTIVE_MIGRATION);
}

/* Questions that come twice, or too late. */

static void
test_take_over_is_answered_twice_the_same(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);
    struct error *error = NULL;

    ta_rest(ta);
    struct json *args = instance_args(ta);
    json_set_bool(args, "block_migration", true);
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "post_live_migration_at_destination", args, &error);
    assert_null(error);
    assert_true(!result || json_is_null(result));
    ta_rest(ta);
    assert_is_at_b_alone(ta);
}

static void
test_take_over_of_a_guest_that_is_not_here_fails(void **state)
{
    struct two_agents *ta = *state;
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct error *error = NULL;

    ta->instance = json_copy(object_json(instance));
    struct json *args = instance_args(ta);
    json_set_bool(args, "block_migration", true);
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "post_live_migration_at_destination", args, &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_INSTANCE_NOT_FOUND);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

static struct json *
rollback_args(const struct two_agents *ta)
{
    struct json *args = instance_args(ta);

    json_set_bool(args, "destroy_disks", true);
    json_set(args, "migrate_data", json_copy(ta->data));
    return args;
}

static void
test_roll_back_of_a_guest_that_runs_here_is_refused(void **state)
{
    struct two_agents *ta = *state;
    ta_conduct(ta);
    struct error *error = NULL;

    ta_rest(ta);
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "rollback_live_migration_at_destination",
                rollback_args(ta), &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_MIGRATION);
    assert_is_at_b_alone(ta);
}

static void
test_roll_back_of_nothing_is_success(void **state)
{
    struct two_agents *ta = *state;
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct error *error = NULL;

    ta->instance = json_copy(object_json(instance));
    struct json *args = instance_args(ta);
    json_set_bool(args, "destroy_disks", true);
    json_set_null(args, "migrate_data");
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "rollback_live_migration_at_destination", args, &error);
    assert_null(error);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

static void
test_same_migration_that_comes_twice_runs_once(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    ta_cast_migration(ta, ta->record);
    ta_until(ta, rpc_server_counters(ta->hosts[A].agent->server).n_held == 0);
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    ta_cast_migration(ta, ta->record);
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_heard(ta, SUCCESS);
    assert_string_equal(ta->statuses, "queued preparing running completed");
}

static void
test_second_migration_of_the_same_instance_is_refused(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "hang transfer");
    ta_conduct(ta);
    ta_until(ta, is_moving(ta));
    AUTO_OBJECT other = object_copy(ta->record);
    object_set_string(other, "uuid", "8f0d1c52-6a0e-4d8b-b7c3-0d5b7c1f4e22");
    ta_cast_migration(ta, other);
    ta_until(ta, ta->n_heard == 3);
    assert_heard(ta, PREPARED "hosta live_migration\n");
    AUTO_OBJECT instance = ta_instance(ta, A);
    assert_string_equal(object_string(instance, "task_state"), "migrating");
    ta_steer(ta, A, "release");
    ta_rest(ta);
    assert_is_at_b_alone(ta);
    assert_string_equal(ta->statuses, "queued preparing running completed");
}

/* What an earlier attempt left is taken back when the next one prepares. */
static void
test_preparation_that_was_never_ended_is_taken_back_by_the_next(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;

    ta_steer(ta, A, "fail transfer");
    ta_conduct(ta);
    ta_until(ta, str_eq(step(ta), "transfer"));
    ta_rest(ta);
    assert_is_at_a_alone(ta);
    for (int i = 0; i < 2; i++) {
        AUTO_FREE disks = xasprintf(
            "[{\"path\": \"%s/instances/%s/disk\", \"type\": \"raw\", "
            "\"virt_disk_size\": 16777216, \"backing_file\": \"\", "
            "\"disk_size\": 16777216, \"over_committed_disk_size\": 0}]",
            ta->directory, ta->uuid);
        struct json *args = instance_args(ta);
        json_set_string(args, "disk", disks);
        json_set(args, "migrate_data", json_copy(ta->data));
        AUTO_JSON result UNUSED =
            ta_call(ta, B, "pre_live_migration", args, &error);
        if (error) {
            fail_msg("%s", error_message(error));
        }
    }
    struct op *op = op_first(ta->hosts[B].agent->ops);
    assert_non_null(op);
    assert_null(op_next(op));
    AUTO_JSON result UNUSED =
        ta_call(ta, B, "rollback_live_migration_at_destination",
                rollback_args(ta), &error);
    assert_null(error);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

/* The conductor's part, played by the source. */

static void
test_conduct_without_any_destination_leaves_the_guest_alone(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;
    AUTO_JSON result UNUSED = migrate(ta, NULL, &error);
    AUTO_ERROR owned = error;

    assert_int_equal(error_code(owned), ERR_NO_VALID_HOST);
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_record(ta, A, POWER_RUNNING);
    assert_string_equal(ta_status(ta), "error");
    assert_heard(ta, "");
}

static void
test_conduct_finds_a_destination(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;
    AUTO_JSON result UNUSED = migrate(ta, NULL, &error);

    assert_null(error);
    ta_rest(ta);
    unsigned at = ta_guest_active_at(ta);
    assert_true(at == AT_B || at == AT_C);
    assert_string_equal(ta_status(ta), "completed");
    assert_record(ta, at == AT_B ? B : C, POWER_RUNNING);
    assert_no_record(ta, A);
    assert_no_record(ta, at == AT_B ? C : B);
}

static void
test_conduct_goes_on_to_the_next_if_one_refuses(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;

    ta_steer(ta, B, "fail probe_create");
    AUTO_JSON result UNUSED = migrate(ta, NULL, &error);
    assert_null(error);
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_C);
    assert_string_equal(ta_status(ta), "completed");
    assert_no_files(ta, B);
}

static void
test_conduct_to_a_named_destination_that_refuses_ends_there(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;

    ta_steer(ta, B, "fail probe_create");
    AUTO_JSON result UNUSED = migrate(ta, "hostb", &error);
    AUTO_ERROR owned = error;
    assert_int_equal(error_code(owned), ERR_MIGRATION_PRE_CHECK);
    ta_rest(ta);
    assert_int_equal(ta_guest_active_at(ta), AT_A);
    assert_record(ta, A, POWER_RUNNING);
    assert_string_equal(ta_status(ta), "error");
}

static void
test_conduct_to_its_own_host_is_refused(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;
    AUTO_JSON result UNUSED = migrate(ta, "hosta", &error);
    AUTO_ERROR owned = error;

    assert_int_equal(error_code(owned), ERR_UNABLE_TO_MIGRATE_TO_SELF);
    ta_rest(ta);
    assert_is_at_a_alone(ta);
}

/* Checks. */

static struct json *
check_args(struct two_agents *ta)
{
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct json *args = json_object();

    json_set(args, "instance", json_copy(object_json(instance)));
    json_set_null(args, "block_migration");
    json_set_null(args, "disk_over_commit");
    return args;
}

static void
test_checks_leave_no_probe_files(void **state)
{
    static const char *const faults[] = {NULL, "fail probe_exists",
                                         "fail guest_get"};
    struct two_agents *ta = *state;

    for (size_t i = 0; i < N_ELEMENTS(faults); i++) {
        struct error *error = NULL;

        if (faults[i]) {
            ta_steer(ta, A, "%s", faults[i]);
        }
        AUTO_JSON result UNUSED =
            ta_call(ta, B, "check_can_live_migrate_destination", check_args(ta),
                    &error);
        AUTO_ERROR owned = error;
        assert_true(!faults[i] == !owned);
        ta_rest(ta);
        assert_is_at_a_alone(ta);
    }
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
#define TEST_OF(N, NAME) \
    cmocka_unit_test_setup_teardown(NAME, set_up_##N, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_message_moves_the_guest),
        TEST(test_numbers_of_the_transfer_are_kept),
        TEST(test_guest_comes_back_the_same_way),
        TEST(test_destination_that_refuses_has_undone_its_part_when_it_answers),
        TEST(test_what_is_allotted_is_given_back_by_a_roll_back),
        TEST(test_what_is_allotted_is_released_by_success),
        TEST(test_ports_are_unbound_where_nothing_was_plugged),
        TEST(test_disk_that_exists_at_the_destination_is_left_alone),
        TEST(test_failed_transfer_is_rolled_back),
        TEST(test_transfer_that_does_not_start_is_rolled_back),
        TEST(test_lost_answer_of_migrate_is_completed_by_evidence),
        TEST(test_47_guest_that_shuts_down_in_the_middle_did_not_move),
        TEST(test_destination_that_is_away_at_the_end_is_waited_for),
        TEST(test_source_that_never_comes_back_is_not_waited_for),
        TEST(test_guest_that_ended_unseen_over_there_is_not_destroyed),
        TEST(test_source_is_told_that_the_guest_had_arrived),
        TEST(
            test_guest_that_arrived_and_ended_is_taken_over_from_a_dead_source),
        TEST(
            test_guest_that_arrived_and_ended_is_this_hosts_if_the_source_forgot),
        TEST(test_silent_source_of_a_transfer_that_hangs_is_waited_for),
        TEST(test_abort_without_effect_breaks_the_transfer),
        TEST(test_transfer_into_a_network_that_is_gone_is_given_up),
        TEST(test_guest_that_is_shut_down_before_the_post_has_arrived),
        TEST(test_guest_that_was_shut_down_before_the_post_is_kept),
        TEST(test_roll_back_that_was_lost_is_made_up_for),
        TEST(test_agent_that_dies_as_it_starts_is_started_again),
        TEST(test_restarted_source_takes_up_the_transfer_again),
        TEST(test_restarted_destination_still_waits_for_the_guest),
        TEST(test_source_that_is_stopped_in_the_middle_goes_on_when_it_is_back),
        TEST(test_destination_that_is_stopped_answers_first),
        TEST(test_where_a_paused_guest_runs_is_asked_until_it_is_known),
        TEST(test_guest_that_runs_twice_is_paused_and_arrives_if_ended_here),
        TEST(test_guest_that_runs_twice_is_paused_and_stays_if_ended_there),
        TEST(test_guest_that_runs_twice_stays_paused_over_a_restart),
        TEST(test_guest_that_runs_twice_unseen_is_paused_by_its_destination),
        TEST(test_migration_that_can_not_be_written_is_refused),
        TEST(test_conducted_migration_that_can_not_be_written_is_taken_back),
        TEST(test_abort_in_the_queue),
        TEST(test_migration_waits_for_a_place_at_its_destination),
        TEST(test_migration_that_waits_is_queued_again_for_its_own_place),
        TEST(test_migration_does_not_wait_for_ever_for_a_place),
        TEST(test_abort_while_it_waits_for_a_place),
        TEST(test_source_that_does_not_ask_again_waits_for_the_answer),
        TEST(test_who_waits_for_a_place_is_told_when_the_agent_stops),
        TEST(test_abort_while_a_place_is_asked_for),
        TEST(test_abort_while_the_destination_prepares),
        TEST(test_abort_of_a_running_transfer),
        TEST(test_downtime_is_no_number_before_it_was_measured),
        TEST(test_abort_of_a_migration_that_is_over_is_refused),
        TEST(test_53_force_complete_pauses_the_guest_and_it_arrives_running),
        TEST(test_53_guest_that_was_paused_to_complete_runs_again_after_abort),
        TEST(test_guest_that_its_user_paused_stays_paused_after_an_abort),
        TEST(test_agent_that_dies_when_it_pauses_leaves_no_guest_paused),
        TEST(test_settings_of_a_migration_hold),
        TEST(test_settings_of_a_migration_hold_after_a_restart),
        TEST(test_a_running_migration_can_be_changed),
        TEST(test_a_queued_migration_can_be_changed),
        TEST(test_a_change_that_was_not_told_yet_is_told_after_a_restart),
        TEST(test_54_broken_postcopy_is_mended_after_a_restart),
        TEST(test_54_postcopy_is_not_aborted_after_a_restart),
        TEST(test_switch_to_postcopy_is_noticed_whoever_made_it),
        TEST(test_switch_to_postcopy_while_the_agent_was_away_is_noticed),
        TEST(test_30_pause_set_past_the_agent_is_not_overwritten),
        TEST(test_30_bandwidth_set_past_the_agent_survives_its_restart),
        TEST(test_timeout_counts_from_the_transfer_also_after_a_restart),
        TEST(test_clock_that_is_set_times_nothing_out),
        TEST(test_transfer_keeps_its_place_after_a_restart),
        TEST(test_32_query_that_fails_ten_times_aborts_nothing),
        TEST(
            test_pause_that_the_hypervisor_was_away_for_is_told_when_it_is_back),
        TEST(test_30_bandwidth_set_past_the_agent_is_not_overwritten),
        TEST(test_share_of_the_budget_is_that_of_before_after_a_restart),
        TEST(test_what_can_not_be_changed_is_refused),
        TEST(test_policy_of_a_migration_needs_permission),
        TEST(test_force_complete_without_a_migration_is_refused),
        TEST(test_take_over_is_answered_twice_the_same),
        TEST(test_take_over_of_a_guest_that_is_not_here_fails),
        TEST(test_roll_back_of_a_guest_that_runs_here_is_refused),
        TEST(test_roll_back_of_nothing_is_success),
        TEST(test_same_migration_that_comes_twice_runs_once),
        TEST(test_second_migration_of_the_same_instance_is_refused),
        TEST(test_preparation_that_was_never_ended_is_taken_back_by_the_next),
        TEST_OF(one,
                test_conduct_without_any_destination_leaves_the_guest_alone),
        TEST_OF(three, test_conduct_finds_a_destination),
        TEST_OF(three, test_conduct_goes_on_to_the_next_if_one_refuses),
        TEST(test_conduct_to_a_named_destination_that_refuses_ends_there),
        TEST(test_conduct_to_its_own_host_is_refused),
        TEST(test_checks_leave_no_probe_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
