#include <config.h>

#include "agent/report.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/incoming/incoming.h"
#include "agent/incoming/places.h"
#include "rpc/link.h"

static void add_process(struct metrics *m, const struct agent *agent);
static void add_bus(struct metrics *m, const struct link_status *bus);
static void add_bus_messages(struct metrics *m, const struct link_status *bus);
static void add_self_test(struct metrics *m, const struct self_test *self_test);
static void add_requests(struct metrics *m, const struct agent *agent);
static void add_methods(struct metrics *m, const struct rpc_server *server);
static void add_migrations(struct metrics *m, struct agent *agent);
static void add_guests(struct metrics *m, struct agent *agent);

char *
report_metrics(struct agent *agent, size_t *ret_size)
{
    struct metrics *m = metrics_create();

    add_process(m, agent);
    if (agent->link) {
        struct link_status bus = link_status(agent->link);
        add_bus(m, &bus);
        add_bus_messages(m, &bus);
    }
    add_self_test(m, agent->self_test);
    add_requests(m, agent);
    add_methods(m, agent->server);
    add_migrations(m, agent);
    add_guests(m, agent);
    return metrics_finish(m, ret_size);
}

char *
report_health(struct agent *agent, enum health *ret, size_t *ret_size)
{
    struct health_facts facts = {
        .is_stopping = agent->stopping,
        .has_bus = agent->link,
        .hypervisor_is_up = driver_is_connected(agent->driver),
        .has_self_test = agent->self_test,
    };
    AUTO_JSON json = json_object();
    struct store_backlog backlog = store_backlog(agent->store);
    AUTO_FREE reason = backlog.reason;
    unsigned n_open;

    facts.unsaved_reason = reason;
    if (agent->link) {
        struct link_status bus = link_status(agent->link);
        facts.bus_is_up = bus.is_up;
        facts.bus_is_blocked = bus.blocked;
    }
    if (agent->self_test) {
        struct self_test_status status = self_test_status(agent->self_test);
        facts.self_test = status.state;
        facts.self_test_reason = status.reason;
    }
    op_engine_count(agent->ops, &n_open, &facts.n_residue);
    *ret = health_judge(&facts, json);
    json_set_string(json, "host", agent->conf->host);
    json_set_string(json, "version", PACKAGE_VERSION);
    return json_print(json, ret_size);
}

static void
add_gauge(struct metrics *m, const char *name, const char *help, double value)
{
    metrics_begin(m, METRIC_GAUGE, name, help);
    metrics_value(m, value);
}

static void
add_counter(struct metrics *m, const char *name, const char *help,
            uint64_t value)
{
    metrics_begin(m, METRIC_COUNTER, name, help);
    metrics_count(m, value);
}

/* A sample of what was begun, told apart by one label. */
static void
add_labelled(struct metrics *m, const char *label, const char *value,
             uint64_t n)
{
    metrics_label(m, label, value);
    metrics_count(m, n);
}

/* -1 if it can't be read. */
static int64_t
resident_bytes(void)
{
    FILE *in = fopen("/proc/self/statm", "re");
    long long size, resident = -1;

    if (!in) {
        return -1;
    }
    if (fscanf(in, "%lld %lld", &size, &resident) != 2) {
        resident = -1;
    }
    fclose(in);
    return resident < 0 ? -1 : resident * (int64_t)sysconf(_SC_PAGESIZE);
}

static double
seconds_of(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void
add_process(struct metrics *m, const struct agent *agent)
{
    int64_t resident = resident_bytes();
    struct rusage usage;

    metrics_begin(m, METRIC_GAUGE, "drover_build_info",
                  "What this agent is; always 1.");
    metrics_label(m, "version", PACKAGE_VERSION);
    metrics_label(m, "driver", driver_name(agent->driver));
    metrics_label(m, "control_plane", agent->conf->control_plane);
    metrics_value(m, 1);
    add_gauge(m, "drover_up", "Whether the agent takes requests.",
              !agent->stopping);
    add_gauge(m, "drover_hypervisor_up",
              "Whether the hypervisor answered lately.",
              driver_is_connected(agent->driver));
    add_gauge(m, "process_start_time_seconds",
              "Start of the agent, since the epoch.",
              (double)agent->started.wall_us / 1e6);
    if (resident >= 0) {
        add_gauge(m, "process_resident_memory_bytes", "Memory in use.",
                  (double)resident);
    }
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metrics_begin(m, METRIC_COUNTER, "process_cpu_seconds_total",
                      "Processor time that was used.");
        metrics_value(m, seconds_of(&usage.ru_utime) +
                             seconds_of(&usage.ru_stime));
    }
}

static void
add_bus(struct metrics *m, const struct link_status *bus)
{
    metrics_begin(m, METRIC_GAUGE, "drover_bus_connected",
                  "Whether the connection of this purpose stands.");
    add_labelled(m, "purpose", "consume", bus->consuming);
    add_labelled(m, "purpose", "publish", bus->publishing);
    add_gauge(m, "drover_bus_blocked",
              "Whether the broker takes no messages for the time being.",
              bus->blocked);
    add_counter(m, "drover_bus_connects_total", "Connections made.",
                bus->count.n_connects);
    add_counter(m, "drover_bus_connect_failures_total",
                "Attempts to connect that failed.", bus->count.n_failures);
    add_counter(m, "drover_bus_disconnects_total", "Connections lost.",
                bus->count.n_disconnects);
    add_counter(m, "drover_bus_silences_total",
                "Connections given up as nothing was heard on them.",
                bus->count.n_silent);
    add_counter(m, "drover_bus_channels_closed_total",
                "Channels that the broker closed.", bus->count.n_channels);
    add_counter(m, "drover_bus_repairs_total",
                "Times that queues were declared or connections made again "
                "because the agent was not heard.",
                bus->count.n_repairs);
    add_counter(m, "drover_bus_blocks_total",
                "Times that the broker stopped taking messages.",
                bus->count.n_blocks);
}

static void
add_bus_messages(struct metrics *m, const struct link_status *bus)
{
    add_gauge(m, "drover_bus_queued_messages", "Messages that wait to be sent.",
              (double)bus->n_queued);
    add_gauge(m, "drover_bus_queued_bytes", "Bytes of these messages.",
              (double)bus->n_queued_bytes);
    add_gauge(m, "drover_bus_unconfirmed_messages",
              "Messages sent that the broker has not confirmed yet.",
              (double)bus->n_unconfirmed);
    add_counter(m, "drover_bus_returned_messages_total",
                "Messages that no queue took.", bus->count.n_returns);
    add_counter(m, "drover_bus_refused_messages_total",
                "Messages that the broker refused.", bus->count.n_refused);
    add_counter(m, "drover_bus_expired_messages_total",
                "Messages not sent before it was too late.",
                bus->count.n_expired);
    metrics_begin(m, METRIC_COUNTER, "drover_bus_dropped_messages_total",
                  "Messages dropped for want of room, by kind.");
    add_labelled(m, "kind", "progress", bus->count.n_dropped_progress);
    add_labelled(m, "kind", "notification", bus->count.n_dropped_notifications);
    add_labelled(m, "kind", "reply", bus->count.n_dropped_replies);
    add_labelled(m, "kind", "request", bus->count.n_dropped_requests);
}

/* Without one there is nothing to tell. */
static void
add_self_test(struct metrics *m, const struct self_test *self_test)
{
    if (!self_test) {
        return;
    }
    struct self_test_status status = self_test_status(self_test);

    metrics_begin(m, METRIC_GAUGE, "drover_self_test_state",
                  "1 for the state that the call to oneself is in.");
    for (enum self_test_state state = SELF_TEST_WAITING;
         state <= SELF_TEST_FAILED; state++) {
        add_labelled(m, "state", self_test_state_name(state),
                     state == status.state);
    }
    if (status.ok_ms_ago >= 0) {
        add_gauge(m, "drover_self_test_age_seconds",
                  "Time since the agent last heard itself.",
                  (double)status.ok_ms_ago / 1000);
    }
    metrics_begin(m, METRIC_COUNTER, "drover_self_tests_total",
                  "Calls to oneself, by outcome.");
    add_labelled(m, "outcome", "ok", status.n_ok);
    add_labelled(m, "outcome", "failed", status.n_failed);
}

static void
add_requests(struct metrics *m, const struct agent *agent)
{
    struct rpc_server_counters n = rpc_server_counters(agent->server);
    struct rpc_client_counters client = rpc_client_counters(agent->client);

    add_counter(m, "drover_rpc_requests_total", "Requests that were taken.",
                n.n_requests);
    metrics_begin(m, METRIC_COUNTER, "drover_rpc_refused_requests_total",
                  "Requests that no method was given, by reason.");
    add_labelled(m, "reason", "malformed", n.n_rejected);
    add_labelled(m, "reason", "invalid", n.n_invalid);
    add_labelled(m, "reason", "duplicate", n.n_duplicates);
    add_labelled(m, "reason", "stale", n.n_stale);
    add_labelled(m, "reason", "instance_busy", agent->n_instance_busy);
    add_counter(m, "drover_rpc_dropped_replies_total",
                "Replies whose caller was gone.", n.n_replies_dropped);
    add_gauge(m, "drover_rpc_held_requests",
              "Requests under way or waiting their turn.", n.n_held);
    add_gauge(m, "drover_rpc_held_bytes", "Memory that they take, about.",
              (double)n.n_held_bytes);
    add_counter(m, "drover_rpc_calls_total", "Calls made to others.",
                client.n_calls);
    add_gauge(m, "drover_rpc_waiting_calls",
              "Calls to others that are not answered yet.", client.n_waiting);
}

/* The labels are bounded: methods that are not ours never get here. */
static void
add_methods(struct metrics *m, const struct rpc_server *server)
{
    const struct rpc_method_count *counts;
    size_t n = rpc_server_method_counts(server, &counts);

    metrics_begin(m, METRIC_COUNTER, "drover_rpc_answers_total",
                  "Requests that a method has ended, by outcome.");
    for (size_t i = 0; i < n; i++) {
        const char *space = counts[i].name_space;
        const struct {
            const char *name;
            uint64_t n;
        } outcomes[] = {{"ok", counts[i].n_ok}, {"failed", counts[i].n_failed}};

        for (size_t k = 0; k < N_ELEMENTS(outcomes); k++) {
            metrics_label(m, "namespace", space ? space : "");
            metrics_label(m, "method", counts[i].method->name);
            metrics_label(m, "outcome", outcomes[k].name);
            metrics_count(m, outcomes[k].n);
        }
    }
}

static void
add_outcomes(struct metrics *m, const char *direction,
             const uint64_t n[N_MIGRATION_OUTCOMES])
{
    for (enum migration_outcome i = 0; i < N_MIGRATION_OUTCOMES; i++) {
        metrics_label(m, "direction", direction);
        metrics_label(m, "outcome", migration_outcome_name(i));
        metrics_count(m, n[i]);
    }
}

static void
add_active(struct metrics *m, const char *direction, const char *state,
           unsigned n)
{
    metrics_label(m, "direction", direction);
    metrics_label(m, "state", state);
    metrics_count(m, n);
}

static void
add_migrations(struct metrics *m, struct agent *agent)
{
    const struct tally *tally = &agent->tally;

    metrics_begin(m, METRIC_COUNTER, "drover_migrations_total",
                  "Live migrations that ended, by direction and outcome.");
    add_outcomes(m, "outgoing", tally->n_outgoing);
    add_outcomes(m, "incoming", tally->n_incoming);
    metrics_begin(m, METRIC_GAUGE, "drover_migrations",
                  "Live migrations that run, and that wait for their turn.");
    add_active(m, "outgoing", "running", slots_n_used(agent->outgoing));
    add_active(m, "outgoing", "queued", slots_n_waiting(agent->outgoing));
    add_active(m, "incoming", "running", incoming_count(agent));
    add_active(m, "incoming", "queued",
               incoming_places_n_waiting(agent->incoming));
    metrics_begin(m, METRIC_COUNTER, "drover_migration_sent_bytes_total",
                  "What outgoing migrations have sent, ended ones only.");
    add_labelled(m, "kind", "memory", tally->memory_bytes);
    add_labelled(m, "kind", "disk", tally->disk_bytes);
    metrics_begin(m, METRIC_HISTOGRAM, "drover_migration_downtime_seconds",
                  "How long guests stood still, as measured.");
    metrics_histogram(m, &tally->downtime_s);
    metrics_begin(m, METRIC_HISTOGRAM, "drover_migration_duration_seconds",
                  "Time of completed outgoing migrations, waiting included.");
    metrics_histogram(m, &tally->duration_s);
}

static void
add_guests(struct metrics *m, struct agent *agent)
{
    unsigned n[N_VM_STATES], n_open, n_residue;

    op_engine_count(agent->ops, &n_open, &n_residue);
    add_gauge(m, "drover_operations", "Operations that the journal has open.",
              n_open);
    add_gauge(m, "drover_residue",
              "Steps of ended operations that are still tried again.",
              n_residue);
    if (!agent->local) {
        return;
    }
    records_local_count_states(agent->local, n);
    metrics_begin(m, METRIC_GAUGE, "drover_guests",
                  "Instances of this host, by state.");
    for (enum vm_state state = 0; state < N_VM_STATES; state++) {
        add_labelled(m, "state", vm_state_name(state), n[state]);
    }
}
