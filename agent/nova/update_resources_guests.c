#include <config.h>

#include "agent/nova/update_resources_internal.h"

#include "agent/base/log.h"

LOG_MODULE(resources);

/* 4, 5. */

void
round_list_instances(struct round *r)
{
    static const char *const names[] = {"system_metadata", "numa_topology",
                                        "flavor", "migration_context",
                                        "resources"};
    struct json *kwargs = json_object();

    json_set(kwargs, "expected_attrs", round_names(names, N_ELEMENTS(names)));
    round_ask(r, "InstanceList", "get_by_host_and_node",
              round_place(r->u, r->u->hostname), kwargs);
}

struct error *
round_instances_listed(struct round *r, struct json **result,
                       struct error *error, bool *ret_is_over UNUSED)
{
    r->instances = error ? NULL : steal(result);
    return error;
}

void
round_list_migrations(struct round *r)
{
    round_ask(r, "MigrationList", "get_in_progress_and_error",
              round_place(r->u, r->u->hostname), NULL);
}

struct error *
round_migrations_listed(struct round *r, struct json **result,
                        struct error *error, bool *ret_is_over UNUSED)
{
    r->migrations = error ? NULL : steal(result);
    return error;
}

/* Instances that are not recorded here, one after the other; deleted ones,
 * too, as a guest may be left of them. */

void
round_get_strangers(struct round *r)
{
    static const char *const names[] = {"migration_context", "flavor",
                                        "numa_topology"};
    struct json *args, *kwargs;

    if (r->next == 0) {
        struct node_records records = round_records(r);
        node_records_strangers(&records, &r->uuids);
    }
    if (r->next == r->uuids.n) {
        json_set_string(r->context, "read_deleted", "no");
        round_go_on(r, NULL);
        return;
    }
    json_set_string(r->context, "read_deleted", "yes");
    args = json_append(json_array(), json_string(r->uuids.texts[r->next]));
    kwargs = json_object();
    json_set(kwargs, "expected_attrs", round_names(names, N_ELEMENTS(names)));
    round_ask(r, "Instance", "get_by_uuid", args, kwargs);
}

struct error *
round_stranger_got(struct round *r, struct json **result, struct error *error,
                   bool *ret_is_over)
{
    const char *uuid = r->uuids.texts[r->next++];

    *ret_is_over = false;
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        log_debug(NULL, "instance '%s' of a migration is not found", uuid);
        error_free(steal(&error));
    } else if (!error) {
        json_set(r->strangers, uuid, steal(result));
    }
    return error;
}

/* Which devices are volumes, of all that count, and of the guests whose files
 * may grow. */

void
round_list_volumes(struct round *r)
{
    struct node_records records = round_records(r);
    struct json *uuids;

    node_records_counted(&records, &r->uuids);
    for (size_t i = 0; i < r->host->n_debts; i++) {
        text_set_add(&r->uuids, r->host->debts[i].uuid);
    }
    if (r->uuids.n == 0) {
        round_go_on(r, NULL);
        return;
    }
    uuids = round_names((const char *const *)r->uuids.texts, r->uuids.n);
    round_ask(r, "BlockDeviceMappingList", "get_by_instance_uuids",
              json_append(json_array(), uuids), NULL);
}

struct error *
round_volumes_listed(struct round *r, struct json **result, struct error *error,
                     bool *ret_is_over UNUSED)
{
    r->devices = error ? NULL : steal(result);
    return error;
}
