#include <config.h>

/* Live migrations in which everything goes wrong, one thing at a time and
 * several together: a step that fails, an agent that dies before or after any
 * record of its journal, a message that is lost, repeated or late.
 *
 * Whatever happened, in the end the guest runs on exactly one host, both hosts'
 * records say which, the migration's status is true, and nothing is left of it:
 * no operation, no file, no task.
 *
 *   TORTURE_HISTORIES=N  as many random ones (default: 100)
 *   TORTURE_SEED=N       of them
 *   TORTURE_ALL=1        each crash of each victim, not in turns
 *   TORTURE_ONLY="..."   this one, with its log; what a failure prints */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/api/api.h"
#include "tests/unit/two_agents.h"

#define N_RANDOM 100
#define FAILURES_MAX 10
#define STEPS_MAX 20000
#define BOUND_MS (12 * 3600 * UINT64_C(1000))
#define LATE_MS 20000
#define LATE_MAX 16
#define ROUTE "compute.host"

enum way { CAST, CONDUCT, COLD, STATIC, N_WAYS };
enum when { LOST, WRITTEN, BEGUN, N_WHENS };
enum victim { ITSELF, OTHER, BOTH, N_VICTIMS };
enum act { NOTHING, ABORT, FORCE_COMPLETE, START, N_ACTS };
enum bus_fault {
    NO_BUS_FAULT,
    DROPPED,
    UNCONFIRMED,
    TWICE,
    LATE,      /* And all behind it in its queue. */
    OVERTAKEN, /* By those behind it. */
    N_BUS_FAULTS
};

static const char *const when_names[] = {"lost", "written", "begun"};
static const char *const victim_names[] = {"itself", "other", "both"};
static const char *const way_names[] = {"cast", "conduct", "cold", "static"};
static const char *const act_names[] = {
    "-", "migration_abort", "migration_force_complete", "start of the guest"};
static const char *const bus_names[] = {"-",     "dropped", "unconfirmed",
                                        "twice", "late",    "overtaken"};

/* What the hypervisors are told.  The second of two is for hostb. */
static const struct fault {
    int host;
    const char *command;
    bool is_of_probe; /* Which then stays. */
} faults[] = {
    {A, "help", false}, /* None. */
    {A, "fail guest_get", false},
    {A, "fail guest_get INTERNAL 3", false},
    {A, "fail migrate", false},
    {A, "fail transfer", false},
    {A, "outcome lose-answer", false},
    {A, "fail peer_presence INTERNAL 3", false},
    {A, "fail job_get", false},
    {A, "fail job_get HYPERVISOR_UNAVAILABLE 3", false},
    {A, "fail discard", false},
    {A, "fail discard INTERNAL 9", false},
    {A, "fail unprepare", false},
    {A, "fail unprepare INTERNAL 9", false},
    {A, "fail migrate_set_downtime", false},
    {A, "fail probe_exists", false},
    {A, "fail host_get", false},
    {B, "fail host_get", false},
    {B, "fail probe_create", false},
    {B, "fail probe_remove", true},
    {B, "fail guest_get", false},
    {B, "fail guest_get INTERNAL 3", false},
    {B, "fail prepare", false},
    {B, "fail persist", false},
    {B, "fail persist INTERNAL 9", false},
    {B, "fail discard", false},
    {B, "fail unprepare INTERNAL 9", false},
    /* Of guests at rest. */
    {A, "fail save", false},
    {A, "fail rest_get", false},
    {A, "fail copy", false},
    {A, "fail rest_give_up", false},
    {A, "fail rest_wake", false},
    {A, "fail rest_wake INTERNAL 9", false},
    {B, "fail copy_serve", false},
    {B, "fail copy_stop", false},
    {B, "fail rest_seal", false},
    {B, "fail rest_take", false},
    {B, "fail rest_take INTERNAL 9", false},
    {B, "fail rest_wake", false},
    {B, "fail rest_wake INTERNAL 9", false},
};
#define NO_FAULT 0
#define FAILED_TRANSFER 4
#define FAILED_COPY 28
#define N_FAULTS ((int)N_ELEMENTS(faults))

struct history {
    int way;
    int fault, more_fault;
    int crash_host, crash_at; /* The at-th record of the host; 0: none. */
    int when, victim;
    int down_s;   /* Until it is back. */
    int again_at; /* A second crash, that many records later; 0: none. */
    int bus_fault, bus_at; /* The at-th message. */
    int more_bus_fault, more_bus_at;
    int full_host, full_at, full_n; /* Records that can't be written, as the
                                     * disk is full: so many from that on. */
    bool is_slow;                   /* The transfer goes on while agents die. */
    int act, act_at; /* What somebody asks for, at that record of hosta. */
};

struct run {
    struct two_agents *ta;
    const struct history *history;
    unsigned n_records[2];
    unsigned n_messages;
    int crash_at; /* Of crash_host; 0: no more. */
    int act_at;   /* 0: no more. */
    bool wants_crash, has_crashed;
    bool is_down[2];
    uint64_t up_at_ms;
    uv_timer_t *up_alarm, *late_alarm;

    /* Of the caller of CONDUCT. */
    bool is_told;
    struct error *told;

    /* Messages to one host that are late. */
    struct late {
        char *body;
        size_t size;
    } late[LATE_MAX];
    unsigned n_late;
    int late_host;
    uint64_t late_at_ms;
    bool is_overtaken;
    bool is_stuck;
    bool is_started; /* By somebody else. */
};

static unsigned n_histories, n_failed;

static long
number_of(const char *variable, long otherwise)
{
    const char *text = getenv(variable);

    return text && *text ? strtol(text, NULL, 10) : otherwise;
}

static char *
history_format(const struct history *h)
{
    return xasprintf("%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d",
                     h->way, h->fault, h->more_fault, h->crash_host,
                     h->crash_at, h->when, h->victim, h->down_s, h->again_at,
                     h->bus_fault, h->bus_at, h->is_slow, h->act, h->act_at,
                     h->more_bus_fault, h->more_bus_at, h->full_host,
                     h->full_at, h->full_n);
}

static bool
history_parse(const char *text, struct history *ret)
{
    int is_slow;
    bool ok =
        sscanf(text, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d",
               &ret->way, &ret->fault, &ret->more_fault, &ret->crash_host,
               &ret->crash_at, &ret->when, &ret->victim, &ret->down_s,
               &ret->again_at, &ret->bus_fault, &ret->bus_at, &is_slow,
               &ret->act, &ret->act_at, &ret->more_bus_fault, &ret->more_bus_at,
               &ret->full_host, &ret->full_at, &ret->full_n) == 19;

    ret->is_slow = is_slow;
    return ok;
}

/* Says how it went wrong, for people, and how to see it again.  The test goes
 * on, and fails when it is through, or has seen enough. */
static void PRINTF_FORMAT(2, 3)
    fail_history(const struct run *run, const char *format, ...)
{
    const struct history *h = run->history;
    AUTO_FREE only = history_format(h);
    AUTO_FREE heard = ta_notifications(run->ta);
    AUTO_FREE what = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&what, format, args) >= 0);
    va_end(args);
    n_failed++;
    print_error("%s\n"
                "%s, '%s' at host%c, '%s' at host%c%s\n"
                "crash at record %d of host%c, %s, of %s, for %d s, again %d\n"
                "message %d %s, %d %s, at record %d %s\n"
                "disk of host%c full at record %d, for %d\n"
                "statuses: %s\n%s"
                "TORTURE_ONLY=\"%s\"\n\n",
                what, way_names[h->way], faults[h->fault].command,
                'a' + faults[h->fault].host, faults[h->more_fault].command,
                'a' + faults[h->more_fault].host, h->is_slow ? ", slowly" : "",
                h->crash_at, 'a' + h->crash_host, when_names[h->when],
                victim_names[h->victim], h->down_s, h->again_at, h->bus_at,
                bus_names[h->bus_fault], h->more_bus_at,
                bus_names[h->more_bus_fault], h->act_at, act_names[h->act],
                'a' + h->full_host, h->full_at, h->full_n, run->ta->statuses,
                heard, only);
}

/* Time must not go on beyond what the test itself waits for. */

static uv_timer_t *
alarm_create(struct two_agents *ta)
{
    uv_timer_t *timer = xzalloc(sizeof *timer);

    uv_timer_init(&ta->loop, timer);
    return timer;
}

static void
woken(uv_timer_t *timer UNUSED)
{
}

static void
wake_at(uv_timer_t *timer, uint64_t at_ms)
{
    uv_timer_start(timer, woken, at_ms - ta_now_ms(), 0);
}

static void
alarm_free(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, (uv_close_cb)free);
}

/* Crashes. */

static void
doom(struct run *run)
{
    const struct history *h = run->history;

    for (int host = A; host <= B; host++) {
        bool is_hit = h->victim == BOTH ||
                      (host == h->crash_host) == (h->victim == ITSELF);
        if (is_hit && run->ta->hosts[host].agent) {
            ta_doom(&run->ta->hosts[host]);
            run->wants_crash = true;
        }
    }
    run->crash_at =
        run->has_crashed || !h->again_at ? 0 : run->crash_at + h->again_at;
    run->has_crashed = true;
}

static bool
wants_to_act(const struct run *run)
{
    return run->act_at && (int)run->n_records[A] >= run->act_at &&
           run->ta->hosts[A].agent && !run->ta->hosts[A].is_dying;
}

static bool
tap(struct ta_host *host, bool is_done, const char *body UNUSED)
{
    struct run *run = host->ta->aux;
    int number = (int)(host - run->ta->hosts);
    const struct history *h = run->history;

    run->n_records[number] += !is_done;
    bool is_hit = number == h->crash_host && run->crash_at &&
                  (int)run->n_records[number] >= run->crash_at &&
                  is_done == (h->when == BEGUN);
    bool is_full = number == h->full_host && body &&
                   (int)run->n_records[number] >= h->full_at &&
                   (int)run->n_records[number] < h->full_at + h->full_n;
    bool is_kept = is_done ? true : !is_full && (!is_hit || h->when != LOST);

    if (is_hit) {
        doom(run);
    }
    if (wants_to_act(run)) {
        ta_interrupt();
    }
    return is_kept;
}

/* Whatever the answer. */
static void
answered(void *aux UNUSED, struct json *result, struct error *error)
{
    json_free(result);
    error_free(error);
}

/* As somebody with virsh: at whichever host has it defined. */
static void
start_guest(struct run *run)
{
    for (int host = A; host <= B; host++) {
        AUTO_FREE off =
            xasprintf("guest %s fake-hosta-0001 off", run->ta->uuid);

        AUTO_FREE list = ta_steer_past(run->ta, host, "list");
        AUTO_FREE start = xasprintf("guest-start %s", run->ta->uuid);

        if (strstr(list, off)) {
            free(ta_steer_past(run->ta, host, start));
            run->is_started = true;
        }
    }
}

static void
act(struct run *run)
{
    AUTO_JSON args = json_object();

    run->act_at = 0;
    if (run->history->act == START) {
        start_guest(run);
        return;
    }
    json_set_string(args, "migration", run->ta->uuid);
    api_call_local(run->ta->hosts[A].agent, act_names[run->history->act], args,
                   answered, NULL);
}

static void
crash(struct run *run)
{
    run->wants_crash = false;
    for (int host = A; host <= B; host++) {
        if (run->ta->hosts[host].is_dying && run->ta->hosts[host].agent) {
            ta_crash(run->ta, host);
            run->is_down[host] = true;
        }
    }
    run->up_at_ms = ta_now_ms() + (uint64_t)run->history->down_s * 1000;
    wake_at(run->up_alarm, run->up_at_ms);
}

/* A queue keeps its order: what was sent to it is in it before its host asks.
 */
static void
come_up(struct run *run)
{
    memory_bus_deliver_all(run->ta->bus);
    for (int host = A; host <= B; host++) {
        if (run->is_down[host]) {
            run->is_down[host] = false;
            ta_up(run->ta, host);
        }
    }
}

/* The bus. */

/* The host whose queue it goes to; -1: none. */
static int
host_of(const struct message *message)
{
    bool is_request = strncmp(message->routing_key, ROUTE, strlen(ROUTE)) == 0;

    return is_request ? message->routing_key[strlen(ROUTE)] - 'a' : -1;
}

static enum memory_fate
hold(struct run *run, const struct message *message, int host)
{
    assert_in_range(run->n_late, 0, LATE_MAX - 1);
    run->late[run->n_late++] =
        (struct late){xmemdup(message->body, message->size), message->size};
    run->late_host = host;
    return MEMORY_DROP;
}

static enum memory_fate
go_wrong(struct run *run, const struct message *message, int host,
         int bus_fault)
{
    bool is_taken = run->n_late && run->late_host != host;

    switch (bus_fault) {
    case DROPPED:
        return MEMORY_DROP;
    case UNCONFIRMED:
        return MEMORY_LOSE;
    case TWICE:
        return MEMORY_REPEAT;
    case LATE:
    case OVERTAKEN:
        if (host < 0 || is_taken) {
            return MEMORY_DROP;
        }
        run->is_overtaken = bus_fault == OVERTAKEN;
        run->late_at_ms = ta_now_ms() + LATE_MS;
        wake_at(run->late_alarm, run->late_at_ms);
        return hold(run, message, host);
    default:
        return MEMORY_DELIVER;
    }
}

static enum memory_fate
filter(struct two_agents *ta, const struct memory_mail *mail)
{
    struct run *run = ta->aux;
    const struct history *h = run->history;
    const struct message *message = mail->message;
    int host = host_of(message);

    if (message->declares_queue) {
        return MEMORY_DELIVER; /* A notification: nobody acts on it. */
    }
    if (run->n_late && host == run->late_host && !run->is_overtaken) {
        return hold(run, message, host); /* A queue keeps its order. */
    }
    if (host >= 0 && str_eq(mail->from, ta->hosts[host].name)) {
        return MEMORY_DELIVER; /* It waited there, and is on its way again. */
    }
    run->n_messages++;
    if ((int)run->n_messages == h->bus_at) {
        return go_wrong(run, message, host, h->bus_fault);
    }
    return (int)run->n_messages == h->more_bus_at
               ? go_wrong(run, message, host, h->more_bus_fault)
               : MEMORY_DELIVER;
}

static void
deliver_late(struct run *run)
{
    for (unsigned i = 0; i < run->n_late; i++) {
        struct delivery delivery = {
            .body = run->late[i].body,
            .size = run->late[i].size,
        };

        memory_bus_inject(run->ta->bus, "compute",
                          run->ta->hosts[run->late_host].name, &delivery);
        free(run->late[i].body);
    }
    run->n_late = 0;
}

/* The end. */

static bool
is_at_rest(const struct run *run)
{
    return run->history->way == COLD || run->history->way == STATIC;
}

static unsigned
count_heard(const struct run *run, const char *event)
{
    unsigned n = 0;

    for (size_t i = 0; i < run->ta->n_heard; i++) {
        n += str_eq(run->ta->heard[i].event, event);
    }
    return n;
}

static void
check_notifications(const struct run *run, bool has_moved)
{
    static const char *const of_success[] = {
        "live_migration._post.start", "live_migration._post.end",
        "live_migration.post.dest.start", "live_migration.post.dest.end"};
    static const char *const of_failure[] = {
        "live_migration._rollback.start", "live_migration._rollback.end",
        "live_migration.rollback.dest.start",
        "live_migration.rollback.dest.end"};
    bool is_calm = !run->history->crash_at && !run->history->bus_at &&
                   !run->history->more_bus_at;

    for (size_t i = 0; is_at_rest(run) && i < run->ta->n_heard; i++) {
        if (strncmp(run->ta->heard[i].event, "live_migration", 14) == 0) {
            fail_history(run, "it was announced as '%s'",
                         run->ta->heard[i].event);
        }
    }
    for (size_t i = 0; !is_at_rest(run) && i < N_ELEMENTS(of_success); i++) {
        unsigned n_good = count_heard(run, of_success[i]);
        unsigned n_bad = count_heard(run, of_failure[i]);

        if (has_moved ? n_good == 0 || n_bad > 0 : n_good > 0) {
            fail_history(run, "'%s' came %u times, '%s' %u times",
                         of_success[i], n_good, of_failure[i], n_bad);
        }
        if (is_calm && (n_good > 1 || n_bad > 1)) {
            fail_history(run, "it was announced more than once");
        }
    }
}

static bool
is_off(const struct run *run)
{
    return run->history->way == COLD && !run->is_started;
}

static void
check_records(const struct run *run, int there)
{
    for (int host = A; host <= B; host++) {
        AUTO_OBJECT instance = ta_instance(run->ta, host);
        const char *name = run->ta->hosts[host].name;

        if (host != there) {
            if (instance) {
                fail_history(run, "%s still has a record of the guest", name);
            }
            continue;
        }
        if (!instance) {
            fail_history(run, "%s has no record of its guest", name);
            return;
        }
        if (!str_eq(object_string(instance, "host"), name)) {
            fail_history(run, "the record of %s says host '%s'", name,
                         object_string(instance, "host"));
        }
        if (object_string(instance, "task_state")) {
            fail_history(run, "the guest at %s is still '%s'", name,
                         object_string(instance, "task_state"));
        }
        if (object_int(instance, "power_state") !=
                (is_off(run) ? POWER_SHUTDOWN : POWER_RUNNING) ||
            object_int(instance, "progress") != 0) {
            fail_history(run, "the record of %s is stale", name);
        }
    }
}

static void
check_status(struct run *run, bool has_moved)
{
    const char *status = ta_status(run->ta);
    bool has_failed = str_eq(status, "failed") || str_eq(status, "error") ||
                      str_eq(status, "cancelled");

    if (has_moved ? !str_eq(status, "completed") : *status && !has_failed) {
        fail_history(run, "the migration is '%s', and the guest at host%c",
                     status, has_moved ? 'b' : 'a');
    }
    if (run->is_told && !run->told && !*status) {
        fail_history(run, "the caller was told of a migration without record");
    }
    if (run->is_told && run->told && has_moved &&
        error_code(run->told) != ERR_CANCELLED) {
        fail_history(run, "the caller was told that it did not move: %s",
                     error_message(run->told));
    }
}

/* A hypervisor that does not remove it; it is found by its age later. */
static bool
is_left_probe(const struct run *run, const char *files)
{
    const struct history *h = run->history;
    const char *line = strchr(files, '\n');

    return (faults[h->fault].is_of_probe ||
            faults[h->more_fault].is_of_probe) &&
           line && !line[1] && strstr(files, " probe\n");
}

static void
check_files(const struct run *run, int there)
{
    for (int host = A; host <= B; host++) {
        AUTO_FREE files = ta_files(run->ta, host);

        if (host != there && *files && !is_left_probe(run, files)) {
            fail_history(run, "left at host%c:\n%s", 'a' + host, files);
        }
        if (host == there && !strstr(files, "/disk ")) {
            fail_history(run, "the disk is gone from host%c", 'a' + host);
        }
    }
}

/* A bit for each host that has it in such a state. */
static unsigned
guest_at(struct two_agents *ta, const char *state)
{
    AUTO_FREE line = xasprintf("guest %s fake-hosta-0001%s", ta->uuid, state);
    unsigned hosts = 0;

    for (int host = A; host <= B; host++) {
        AUTO_FREE list = ta_steer_past(ta, host, "list");

        hosts |= strstr(list, line) ? 1u << host : 0;
    }
    return hosts;
}

static void
check_end(struct run *run)
{
    unsigned at = guest_at(run->ta, is_off(run) ? " off" : " active");

    if (guest_at(run->ta, "") != at) {
        fail_history(run, "the guest is defined at hosts %#x, but runs at %#x",
                     guest_at(run->ta, ""), at);
    }
    if (at != 1u << A && at != 1u << B) {
        fail_history(run, "the guest runs at hosts %#x", at);
        return;
    }
    int there = at == 1u << A ? A : B;
    check_records(run, there);
    check_status(run, there == B);
    if (!run->is_stuck) {
        check_notifications(run, there == B);
        check_files(run, there);
    }
}

/* A history. */

static void
told(void *aux, struct json *result, struct error *error)
{
    struct run *run = aux;

    if (run->is_told) {
        fail_history(run, "the caller was told twice");
    }
    run->is_told = true;
    run->told = error;
    json_free(result);
}

static void
begin(struct run *run)
{
    struct two_agents *ta = run->ta;
    const struct history *h = run->history;

    if (h->way == CAST) {
        ta_check(ta);
    }
    if (h->way == COLD) {
        ta_steer(ta, A, "guest-stop %s", ta->uuid);
        ta_rest(ta);
    }
    ta_steer(ta, faults[h->fault].host, "%s", faults[h->fault].command);
    ta_steer(ta, faults[h->more_fault].host, "%s",
             faults[h->more_fault].command);
    if (h->is_slow) {
        ta_steer(ta, A, "bandwidth 1600"); /* 50 ms */
        ta_leave_migrations(true);
    }
    ta->aux = run;
    ta->tap = tap;
    ta->filter = filter;
    run->crash_at = h->crash_at;
    run->act_at = h->act ? h->act_at : 0;
    if (h->way == CAST) {
        ta_cast_migration(ta, ta->record);
        return;
    }
    AUTO_JSON args = json_object();
    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", "hostb");
    if (h->way != CONDUCT) {
        json_set_string(args, "kind", way_names[h->way]);
    }
    api_call_local(ta->hosts[A].agent, "migrate", args, told, run);
}

static bool
is_over(const struct run *run)
{
    return !run->is_down[A] && !run->is_down[B] && !run->n_late &&
           ta_is_at_rest(run->ta);
}

static void
run_to_the_end(struct run *run)
{
    unsigned n_steps = 0;

    ta_settle();
    while (run->wants_crash || !is_over(run)) {
        bool is_down = run->is_down[A] || run->is_down[B];

        if (run->wants_crash) {
            crash(run);
        } else if (wants_to_act(run)) {
            act(run);
        } else if (is_down && ta_now_ms() >= run->up_at_ms) {
            come_up(run);
        } else if (run->n_late && ta_now_ms() >= run->late_at_ms) {
            deliver_late(run);
        } else if (!ta_step(run->ta)) {
            break;
        }
        ta_settle();
        if (++n_steps > STEPS_MAX || ta_now_ms() > BOUND_MS) {
            break;
        }
    }
    if (is_over(run)) {
        return;
    }
    AUTO_JSON ops = op_engine_list(run->ta->hosts[A].agent->ops);
    AUTO_JSON more = op_engine_list(run->ta->hosts[B].agent->ops);
    AUTO_FREE text = json_print(ops, NULL);
    AUTO_FREE more_text = json_print(more, NULL);

    fail_history(run, "it never comes to rest\n%s\n%s", text, more_text);
    run->is_stuck = true;
}

/* Returns how many records each host wrote, and messages there were. */
static struct run
run_history(const struct history *history)
{
    if (n_failed >= FAILURES_MAX) {
        fail_msg("%u histories went wrong", n_failed);
    }
    n_histories++;
    struct run run = {.ta = ta_create(2), .history = history};

    run.up_alarm = alarm_create(run.ta);
    run.late_alarm = alarm_create(run.ta);
    begin(&run);
    run_to_the_end(&run);
    ta_leave_migrations(false);
    check_end(&run);
    run.ta->tap = NULL;
    run.ta->filter = NULL;
    alarm_free(run.up_alarm);
    alarm_free(run.late_alarm);
    ta_free(run.ta);
    error_free(run.told);
    for (unsigned i = 0; i < run.n_late; i++) {
        free(run.late[i].body);
    }
    return run;
}

/* Those that are gone through one by one. */

static int
set_up(void **state UNUSED)
{
    n_failed = n_histories = 0;
    return 0;
}

static int
tear_down(void **state UNUSED)
{
    print_message("%u histories\n", n_histories);
    assert_int_equal(n_failed, 0);
    return 0;
}

static void
test_every_failure(void **state UNUSED)
{
    for (int way = CAST; way < N_WAYS; way++) {
        for (int fault = 0; fault < N_FAULTS; fault++) {
            struct history h = {.way = way, .fault = fault};

            run_history(&h);
            h.more_fault = FAILED_TRANSFER;
            run_history(&h);
        }
    }
}

static void
crash_everywhere(struct history h)
{
    struct run calm = run_history(&h);

    for (h.crash_host = A; h.crash_host <= B; h.crash_host++) {
        unsigned n = calm.n_records[h.crash_host];

        for (h.crash_at = 1; h.crash_at <= (int)n; h.crash_at++) {
            for (h.when = LOST; h.when < N_WHENS; h.when++) {
                if (number_of("TORTURE_ALL", 0)) {
                    for (h.victim = ITSELF; h.victim < N_VICTIMS; h.victim++) {
                        run_history(&h);
                    }
                } else { /* Each in its turn. */
                    h.victim = (h.crash_at + h.when) % N_VICTIMS;
                    run_history(&h);
                }
            }
        }
    }
}

static void
test_every_crash_of_a_migration(void **state UNUSED)
{
    crash_everywhere((struct history){.way = CAST});
}

static void
test_every_crash_of_a_roll_back(void **state UNUSED)
{
    crash_everywhere(
        (struct history){.way = CAST, .fault = FAILED_TRANSFER, .down_s = 10});
}

static void
test_every_crash_of_a_conducted_migration(void **state UNUSED)
{
    crash_everywhere((struct history){.way = CONDUCT, .down_s = 200});
}

static void
test_every_crash_of_a_guest_at_rest(void **state UNUSED)
{
    for (int way = COLD; way <= STATIC; way++) {
        crash_everywhere((struct history){.way = way});
        crash_everywhere(
            (struct history){.way = way, .fault = FAILED_COPY, .down_s = 10});
    }
}

static void
every_message(int way, int failure)
{
    for (int fault = NO_FAULT; fault <= failure; fault += failure) {
        struct history h = {.way = way, .fault = fault};
        struct run calm = run_history(&h);

        for (h.bus_at = 1; h.bus_at <= (int)calm.n_messages; h.bus_at++) {
            for (h.bus_fault = DROPPED; h.bus_fault < N_BUS_FAULTS;
                 h.bus_fault++) {
                run_history(&h);
            }
        }
    }
}

/* An operation is refused, or stops before the step that is not recorded. */
static void
test_every_record_that_finds_the_disk_full(void **state UNUSED)
{
    for (int fault = NO_FAULT; fault <= FAILED_TRANSFER;
         fault += FAILED_TRANSFER) {
        struct history h = {.way = CONDUCT, .fault = fault};
        struct run calm = run_history(&h);

        for (h.full_host = A; h.full_host <= B; h.full_host++) {
            int n = (int)calm.n_records[h.full_host];

            for (h.full_at = 1; h.full_at <= n; h.full_at++) {
                h.full_n = 1 + h.full_at % 3;
                run_history(&h);
            }
        }
    }
}

static void
test_every_message_that_goes_wrong(void **state UNUSED)
{
    every_message(CONDUCT, FAILED_TRANSFER);
}

static void
test_every_message_of_a_guest_at_rest(void **state UNUSED)
{
    every_message(STATIC, FAILED_COPY);
}

static void
test_every_moment_to_abort_or_start_a_guest_at_rest(void **state UNUSED)
{
    for (int way = COLD; way <= STATIC; way++) {
        for (int is_slow = 0; is_slow <= 1; is_slow++) {
            struct history h = {.way = way, .is_slow = is_slow};
            struct run calm = run_history(&h);

            for (h.act = ABORT; h.act < N_ACTS; h.act++) {
                for (h.act_at = 1; h.act_at <= (int)calm.n_records[A];
                     h.act_at++) {
                    run_history(&h);
                }
            }
        }
    }
}

static void
test_every_moment_to_abort_or_to_hurry(void **state UNUSED)
{
    for (int is_slow = 0; is_slow <= 1; is_slow++) {
        struct history h = {.way = CONDUCT, .is_slow = is_slow};
        struct run calm = run_history(&h);

        for (h.act = ABORT; h.act < START; h.act++) {
            for (h.act_at = 1; h.act_at <= (int)calm.n_records[A]; h.act_at++) {
                run_history(&h);
            }
        }
    }
}

/* Random ones. */

static uint64_t random_state;

static int
random_below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)(random_state % (uint64_t)n);
}

static struct history
random_history(void)
{
    static const int downs[] = {0, 5, 70, 900};
    struct history h = {
        .way = random_below(N_WAYS),
        .fault = random_below(2) ? random_below(N_FAULTS) : NO_FAULT,
        .more_fault = random_below(3) ? NO_FAULT : random_below(N_FAULTS),
        .crash_host = random_below(2),
        .crash_at = random_below(4) ? 1 + random_below(20) : 0,
        .when = random_below(N_WHENS),
        .victim = random_below(N_VICTIMS),
        .down_s = downs[random_below(N_ELEMENTS(downs))],
        .again_at = random_below(2) ? 1 + random_below(4) : 0,
        .is_slow = random_below(8) == 0,
    };

    if (random_below(3) == 0) {
        h.act = 1 + random_below(N_ACTS - 1);
        h.act_at = 1 + random_below(20);
        h.is_slow = random_below(2);
    }

    if (random_below(2)) {
        h.bus_fault = 1 + random_below(N_BUS_FAULTS - 1);
        h.bus_at = 1 + random_below(14);
    }
    if (random_below(4) == 0) {
        h.full_host = random_below(2);
        h.full_at = 1 + random_below(20);
        h.full_n = 1 + random_below(8);
    }
    if (random_below(3) == 0) {
        h.more_bus_fault = 1 + random_below(N_BUS_FAULTS - 1);
        h.more_bus_at = 1 + random_below(14);
    }
    return h;
}

static void
test_random_histories(void **state UNUSED)
{
    long n = number_of("TORTURE_HISTORIES", N_RANDOM);

    random_state = (uint64_t)number_of("TORTURE_SEED", 1) * 2654435761u + 1;
    for (long i = 0; i < n; i++) {
        struct history h = random_history();

        run_history(&h);
    }
}

static void
test_one_history(void **state UNUSED)
{
    struct history h = {.way = CAST};

    assert_true(history_parse(getenv("TORTURE_ONLY"), &h));
    run_history(&h);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest one[] = {TEST(test_one_history)};
    const struct CMUnitTest all[] = {
        TEST(test_every_failure),
        TEST(test_every_crash_of_a_migration),
        TEST(test_every_crash_of_a_roll_back),
        TEST(test_every_crash_of_a_conducted_migration),
        TEST(test_every_message_that_goes_wrong),
        TEST(test_every_record_that_finds_the_disk_full),
        TEST(test_every_moment_to_abort_or_to_hurry),
        TEST(test_every_crash_of_a_guest_at_rest),
        TEST(test_every_message_of_a_guest_at_rest),
        TEST(test_every_moment_to_abort_or_start_a_guest_at_rest),
        TEST(test_random_histories),
    };

    if (getenv("TORTURE_ONLY")) {
        return cmocka_run_group_tests(one, NULL, NULL);
    }
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(all, NULL, NULL);
}
