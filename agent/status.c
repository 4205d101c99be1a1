#include <config.h>

#include "agent/api/methods.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/self_test.h"
#include "rpc/link.h"

/* What `droverctl status` shows: {host, version, pid, started, driver,
 * hypervisor_up, n_instances, n_migrations, memory: {resident_kib,
 * private_dirty_kib}, bus: {consuming, publishing, since, blocked,
 * blocked_since, blocked_reason, broker, last_error, last_error_at, self_test:
 * {state, reason, ok_s_ago, n_ok, n_failed, n_repaired}, n_queued,
 * n_queued_bytes, n_unconfirmed, ...counters of rpc/link.h}, rpc:
 * {...counters}, storage: {n_unsaved, reason}, operations: [...]}. */

/* "Rss:  1234 kB" and its like in smaps_rollup; -1 if it can't be read. */
static int64_t
memory_kib(const char *name)
{
    FILE *in = fopen("/proc/self/smaps_rollup", "re");
    char line[128], key[32];
    long long value, found = -1;

    if (!in) {
        return -1;
    }
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%31[^:]: %lld kB", key, &value) == 2 &&
            str_eq(key, name)) {
            found = value;
        }
    }
    fclose(in);
    return found;
}

static struct json *
describe_memory(void)
{
    struct json *json = json_object();

    json_set_int(json, "resident_kib", memory_kib("Rss"));
    json_set_int(json, "private_dirty_kib", memory_kib("Private_Dirty"));
    return json;
}

/* Null for no time. */
static void
set_time(struct json *json, const char *name, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];

    json_set_string(json, name, us ? clock_format_iso(us, text) : NULL);
}

/* Null: there is none. */
static struct json *
describe_self_test(const struct self_test *self_test)
{
    if (!self_test) {
        return json_null();
    }
    struct self_test_status status = self_test_status(self_test);
    struct json *json = json_object();

    json_set_string(json, "state", self_test_state_name(status.state));
    json_set_string(json, "reason", status.reason);
    if (status.ok_ms_ago < 0) {
        json_set_null(json, "ok_s_ago");
    } else {
        json_set_int(json, "ok_s_ago", status.ok_ms_ago / 1000);
    }
    json_set(json, "n_ok", json_uint(status.n_ok));
    json_set(json, "n_failed", json_uint(status.n_failed));
    json_set(json, "n_repaired", json_uint(status.n_repaired));
    return json;
}

static struct json *
describe_bus(struct agent *agent)
{
    if (!agent->link) {
        return json_null();
    }
    struct link_status status = link_status(agent->link);
    struct json *json = json_object();

    json_set_bool(json, "consuming", status.consuming);
    json_set_bool(json, "publishing", status.publishing);
    set_time(json, "since", status.since_us);
    json_set_bool(json, "blocked", status.blocked);
    set_time(json, "blocked_since", status.blocked_us);
    json_set_string(json, "blocked_reason",
                    status.blocked ? status.blocked_reason : NULL);
    json_set_string(json, "broker", status.broker);
    json_set_string(json, "last_error",
                    status.last_error[0] ? status.last_error : NULL);
    set_time(json, "last_error_at", status.last_error_us);
    json_set(json, "self_test", describe_self_test(agent->self_test));
#define LINK_COUNTER(NAME) json_set(json, #NAME, json_uint(status.count.NAME));
    LINK_COUNTERS
#undef LINK_COUNTER
    json_set(json, "n_queued", json_uint(status.n_queued));
    json_set(json, "n_queued_bytes", json_uint(status.n_queued_bytes));
    json_set(json, "n_unconfirmed", json_uint(status.n_unconfirmed));
    return json;
}

static struct json *
describe_storage(const struct agent *agent)
{
    struct store_backlog backlog = store_backlog(agent->store);
    struct json *json = json_object();

    json_set(json, "n_unsaved", json_uint(backlog.n));
    json_set_string(json, "reason", backlog.reason);
    free(backlog.reason);
    return json;
}

static struct json *
describe_refusals(const uint64_t n[N_REFUSALS])
{
    struct json *json = json_object();

    json_set(json, "type", json_uint(n[REFUSAL_TYPE]));
    json_set(json, "size", json_uint(n[REFUSAL_SIZE]));
    json_set(json, "compression", json_uint(n[REFUSAL_COMPRESSION]));
    json_set(json, "body", json_uint(n[REFUSAL_BODY]));
    return json;
}

/* Calls of our own, and what came as replies to them. */
static struct json *
describe_client(const struct rpc_client *client)
{
    struct rpc_client_counters n = rpc_client_counters(client);
    struct json *json = json_object();

    json_set(json, "n_calls", json_uint(n.n_calls));
    json_set_int(json, "n_waiting", n.n_waiting);
    json_set(json, "n_unknown", json_uint(n.n_unknown));
    json_set(json, "rejected", describe_refusals(n.n_rejected_for));
    return json;
}

static struct json *
describe_rpc(const struct agent *agent)
{
    struct rpc_server_counters n = rpc_server_counters(agent->server);
    struct json *json = json_object();

    json_set(json, "n_requests", json_uint(n.n_requests));
    json_set(json, "n_replies", json_uint(n.n_replies));
    json_set(json, "n_failures", json_uint(n.n_failures));
    json_set(json, "n_rejected", json_uint(n.n_rejected));
    json_set(json, "n_duplicates", json_uint(n.n_duplicates));
    json_set(json, "n_keepalives", json_uint(n.n_keepalives));
    json_set(json, "n_replies_dropped", json_uint(n.n_replies_dropped));
    json_set(json, "n_stale", json_uint(n.n_stale));
    json_set_int(json, "n_held", n.n_held);
    json_set(json, "n_held_bytes", json_uint(n.n_held_bytes));
    json_set_int(json, "n_parsing", n.n_parsing);
    json_set(json, "n_put_off", json_uint(n.n_put_off));
    json_set(json, "n_invalid", json_uint(n.n_invalid));
    json_set(json, "n_instance_busy", json_uint(agent->n_instance_busy));
    json_set(json, "rejected", describe_refusals(n.n_rejected_for));
    json_set(json, "client", describe_client(agent->client));
    return json;
}

void
api_status(struct api_call *call)
{
    struct agent *agent = api_agent(call);
    char started[CLOCK_TEXT_SIZE];
    struct json *json = json_object();

    json_set_string(json, "host", agent->conf->host);
    json_set_string(json, "version", PACKAGE_VERSION);
    json_set_int(json, "pid", getpid());
    json_set_string(json, "started",
                    clock_format_iso(agent->started.wall_us, started));
    json_set_string(json, "driver", driver_name(agent->driver));
    json_set_bool(json, "hypervisor_up", driver_is_connected(agent->driver));
    json_set_int(json, "n_instances",
                 agent->local ? (int64_t)records_local_n_instances(agent->local)
                              : 0);
    json_set(json, "memory", describe_memory());
    json_set(json, "bus", describe_bus(agent));
    json_set(json, "rpc", describe_rpc(agent));
    json_set(json, "storage", describe_storage(agent));
    json_set(json, "operations", op_engine_list(agent->ops));
    api_reply(call, json);
}
