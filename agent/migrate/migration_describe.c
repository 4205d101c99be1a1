#include <config.h>

#include "agent/migrate/migration.h"

#include "agent/monitor.h"
#include "agent/relocate.h"

/* A migration as people see it: the record, and while it runs the newest
 * numbers. (agent/api/api.h) */

static void
copy_field(struct json *to, const char *name, const struct object *record,
           const char *field)
{
    json_set(to, name, json_copy(object_get(record, field)));
}

static void
set_known(struct json *json, const char *name, int64_t value)
{
    json_set(json, name, value >= 0 ? json_int(value) : json_null());
}

static void
describe_running(struct json *json, const struct job_stats *stats)
{
    set_known(json, "memory_total", stats->memory_total);
    set_known(json, "memory_processed", stats->memory_processed);
    set_known(json, "memory_remaining", stats->memory_remaining);
    set_known(json, "disk_total", stats->disk_total);
    set_known(json, "disk_processed", stats->disk_processed);
    set_known(json, "disk_remaining", stats->disk_remaining);
    json_set_int(json, "progress", monitor_progress(stats));
}

static void
describe_copy(struct json *json, const struct relocation *r)
{
    int64_t total = relocation_total(r);
    int64_t done = relocation_done(r);

    if (total > 0) {
        json_set_int(json, "disk_total", total);
        json_set_int(json, "disk_processed", done);
        json_set_int(json, "disk_remaining", total - done);
        json_set_int(json, "progress",
                     (int64_t)((double)done * 100 / (double)total));
    }
}

static void
describe_record(struct json *json, const struct object *record)
{
    static const char *const same[] = {"uuid",
                                       "id",
                                       "instance_uuid",
                                       "instance_name",
                                       "status",
                                       "created_at",
                                       "updated_at",
                                       "error",
                                       "memory_total",
                                       "memory_processed",
                                       "memory_remaining",
                                       "disk_total",
                                       "disk_processed",
                                       "disk_remaining"};
    struct migrate_numbers numbers;

    for (size_t i = 0; i < N_ELEMENTS(same); i++) {
        copy_field(json, same[i], record, same[i]);
    }
    copy_field(json, "type", record, "migration_type");
    copy_field(json, "source", record, "source_compute");
    copy_field(json, "dest", record, "dest_compute");
    copy_field(json, "settings", record, "settings");
    migrate_numbers_parse(object_get(record, "stats"), &numbers);
    migrate_numbers_describe(&numbers, false, json);
    bool completed = str_eq(object_string(record, "status"), "completed");
    json_set_int(json, "progress", completed ? 100 : 0);
}

struct json *
migration_describe(struct agent *agent, const struct object *record)
{
    struct op *op = op_find(agent->ops, object_string(record, "uuid"));
    struct json *json = json_object();
    const struct migration *m = NULL;

    if (op) {
        m = migrate_source_of(op);
    }
    /* What is under way knows more than what was saved last. */
    describe_record(json, m ? m->record : record);
    json_set_null(json, "step");
    json_set_null(json, "waits_for");
    json_set_null(json, "bandwidth");
    if (!m) {
        return json;
    }
    json_set(json, "settings", migrate_settings_format(&m->settings));
    json_set_string(json, "step", op_step_name(op));
    json_set_bool(json, "going_back", op_is_going_back(op));
    if (migrate_reserve_waits(m->reserve)) {
        json_set_string(json, "waits_for", m->dest);
    } else if (m->slot && !slot_is_granted(m->slot)) {
        json_set_string(json, "waits_for", agent->conf->host);
    }
    struct migrate_numbers numbers = m->numbers;
    numbers.total_ms = (int64_t)op_age_ms(op);
    migrate_numbers_describe(&numbers, m->monitor, json);
    if (m->shares_bandwidth) {
        json_set_int(json, "bandwidth", m->bandwidth_mib_s);
    }
    if (m->relocation && !op_is_committed(op)) {
        describe_copy(json, m->relocation);
    } else if (m->monitor) {
        describe_running(json, migrate_monitor_stats(m->monitor));
    } else if (op_is_committed(op)) {
        json_set_int(json, "progress", 100);
    }
    if (m->has_twin) {
        AUTO_FREE text = xasprintf("the guest was started at '%s' and went on "
                                   "here: it is paused here until one of the "
                                   "two is ended by hand",
                                   m->dest);
        json_set_string(json, "error", text);
    } else if (op_error(op)) {
        json_set_string(json, "error", error_message(op_error(op)));
    }
    return json;
}
