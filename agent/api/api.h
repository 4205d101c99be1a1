#ifndef DROVER_API_API_H
#define DROVER_API_API_H

/* What droverctl asks of an agent: namespace "drover" 1.0 on topic compute,
 * and the same methods on the control socket (agent/ctl.h).
 *
 * Method              arguments                  answer
 * status              -                          see agent/status.c
 * host_show           -                          {host, node, driver, version,
 *     hypervisor_type, hypervisor_version, libvirt_version, hypervisor_up,
 *     arch, cpu_model, cpu_xml, n_cpus, memory_mb, memory_free_mb,
 *     disk_total_gb, disk_free_gb, n_instances, uptime_s, drain (phase that
 *     keeps guests out, or null), n_nodes, hugepages: [{size_kib, n_free}],
 *     loaders}
 * host_names          -                          {host, known: [names of
 *     others that migrations here came from or went to]}
 * migrate_once        uuid (of the migration), instance, dest
 *                     -> migration; asked for twice it is one
 * drain_plan          to (names; null: any)      see agent/drain/survey.h
 * drain_start         plan                       see drain_describe()
 * drain_resume        plan                       the same
 * drain_stop, drain_restore, drain_end, drain_show   the same
 * instance_list       -                          [instance summary]
 * instance_show       instance (name, UUID or the beginning of one)
 *                     -> summary + disks: [{target, path, format,
 *                     virtual_size, allocated_size, backing_path, device}]
 *   summary: {uuid, name, display_name, host, vm_state, task_state,
 *     power_state (text), memory_mb, vcpus, progress}
 * attachments         instance, attachments (null: as they are)
 *                     -> {volumes, vifs} as agent/attachments.h has them,
 *                     without passwords
 * migrate             instance, dest (null: choose), block_migration (null:
 *                     find out), disk_over_commit, check (only check),
 *                     settings (see agent/migrate/settings.h), kind ("live",
 *                     "cold", "static"; agent/migrate/kind.h)
 *                     -> migration; with check: {ok, reason, dest, data,
 *                     rules: [{host, ok, reason, checks}], forecast}; checks
 *                     are [{rule, text, outcome ("passed", "failed", "n/a"),
 *                     reason}], forecast is null unless ok
 * check_incoming      instance (object), cpu_xml (null: not compared),
 *                     block_migration, disk_over_commit, kind -> {data,
 * report}: all that a destination checks (agent/check/check.h) check_outgoing
 * instance (object), data -> the same of a source, for the destination that
 * data names forecast            instance, dest (null: whichever),
 * block_migration (null: with its disks), settings -> see agent/forecaster.h;
 *                     takes some seconds
 * relocate_prepare, relocate_files, relocate_serve, relocate_seal,
 * relocate_finish, relocate_roll_back   see agent/relocate.h
 * migration_list      instance (optional)        [migration]
 * migration_show      migration (UUID, beginning of one, or an instance: its
 *                     newest)                    migration
 *   migration: {uuid, id, instance_uuid, instance_name, status, type, source,
 *     dest, created_at, updated_at, step, error, progress, memory_total,
 *     memory_processed, memory_remaining, disk_total, disk_processed,
 *     disk_remaining, rate (bytes/s: now, at the end the average),
 *     elapsed_ms, total_ms, iteration, downtime_ms and downtime_net_ms
 *     (measured, so not before the end), expected_downtime_ms (until then),
 *     dirty_rate (bytes/s), throttle_percent (the most), postcopy,
 *     settings, waits_for (the host that has no place for it), bandwidth
 *     (MiB/s that it may have now; 0: no limit)}; what is not known is null
 * migration_set       migration, settings (bandwidth, downtime)
 *                     -> migration
 * migration_is_open   instance (UUID), dest
 *                     -> {open: this host moves it there, or takes back that
 *                     it did}; what a destination asks that waits
 * guest_has_arrived   instance (UUID)
 *                     -> {arrived: it came to this host and became its own,
 *                     whatever became of it since}; what a source asks that
 *                     can't see it
 * migration_abort, migration_force_complete      migration -> null
 * op_list             -                          see op_engine_list()
 * op_show             op (number, key or the beginning of one)
 *                     -> see op_describe()
 * op_retry, op_forget op                         the same, as it was before
 * audit_facts         -                          see agent/audit/audit.h
 * audit               repair                     see agent/audit/run.h
 * fake                command (text)             {answer}
 * fault_set           name, action               null
 * fault_list          -                          [{name, action, n_passed}]
 *
 * A method that names an instance or migration this host does not have answers
 * InstanceNotFound or MigrationNotFound: droverctl asks all hosts at once and
 * takes the one that knows.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct api_call;

/* The table, for the RPC server. */
extern const struct rpc_method api_methods[];

/* The same for the control socket: 'args' is borrowed; 'done' is called once,
 * now or later, with an answer or an error, both its to free. */
void api_call_local(struct agent *agent, const char *method,
                    const struct json *args,
                    void (*done)(void *aux, struct json *result,
                                 struct error *error),
                    void *aux);

/* For the methods' own files. */
struct agent *api_agent(const struct api_call *call);
const struct json *api_args(const struct api_call *call);
const struct json *api_context(const struct api_call *call); /* Never null. */
const struct log_context *api_log(const struct api_call *call);
void api_reply(struct api_call *call, struct json *result); /* Takes both. */
void api_fail(struct api_call *call, struct error *error);  /* Takes both. */

#endif
