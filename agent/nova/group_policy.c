#include <config.h>

#include "agent/nova/group_policy.h"

#include <stdlib.h>

#include "agent/nova/primitive.h"

LOG_MODULE(nova);

/* Members that one host may have, unless the group's rules say so. */
#define DEFAULT_MAX_SERVER_PER_HOST "1"

struct group_check {
    struct nova *nova;
    struct json *context;
    char *instance;
    struct json *here;       /* UUIDs of the instances of this host. */
    struct json *migrations; /* MigrationList of those under way. */
    attach_done *done;
    void *aux;
};

static void group_known(void *aux, struct json **result, struct object *object,
                        struct error *error);
static void ask_hosts(struct group_check *check, const struct json *group);
static void hosts_known(void *aux, struct json **result, struct object *group,
                        struct error *error);
static void here_known(void *aux, struct json **result, struct object *object,
                       struct error *error);
static void migrations_known(void *aux, struct json **result,
                             struct object *object, struct error *error);
static void members_known(void *aux, struct json **result,
                          struct object *object, struct error *error);
static unsigned n_others_here(const struct group_check *check,
                              const struct json *group);
static bool is_coming(const struct json *migrations, const char *uuid);
static bool has_string(const struct json *list, const char *text);
static unsigned max_server_per_host(const struct json *group);
static void ask(struct group_check *check, const char *class_name,
                const char *method, struct json *args,
                conductor_work_done *done);
static struct error *violation(const struct group_check *check,
                               const char *policy);
static void finish(struct group_check *check, struct error *error);

void
group_policy_check(struct nova *nova, const struct json *context,
                   const char *instance, attach_done *done, void *aux)
{
    if (nova->agent->conf->workarounds.disable_group_policy_check_upcall) {
        done(aux, NULL);
        return;
    }
    struct group_check *check = xzalloc(sizeof *check);
    check->nova = nova;
    check->context = json_copy(context);
    check->instance = xstrdup(instance);
    check->done = done;
    check->aux = aux;
    ask(check, "InstanceGroup", "get_by_instance_uuid",
        json_append(json_array(), json_string(instance)), group_known);
}

/* The soft policies are the scheduler's alone. */
static void
group_known(void *aux, struct json **result, struct object *object UNUSED,
            struct error *error)
{
    struct group_check *check = aux;
    const char *policy = error ? NULL : primitive_string(*result, "policy");

    if (str_eq(policy, "affinity")) {
        ask_hosts(check, *result);
    } else if (str_eq(policy, "anti-affinity")) {
        ask(check, "InstanceList", "get_uuids_by_host",
            json_append(json_array(),
                        json_string(check->nova->agent->conf->host)),
            here_known);
    } else {
        finish(check, error);
    }
}

/* Together. */

static void
ask_hosts(struct group_check *check, const struct json *primitive)
{
    CLEANUP(object_free_at) struct object *group = NULL;
    struct error *error = object_parse(primitive, "InstanceGroup", &group);

    if (error) {
        finish(check, error);
        return;
    }
    struct json *kwargs = json_object();
    json_set(kwargs, "exclude",
             json_append(json_array(), json_string(check->instance)));
    const struct conductor_work_request request = {
        .context = check->context,
        .object = group,
        .method = "get_hosts",
        .kwargs = kwargs,
        .patience_ms =
            (unsigned)check->nova->agent->conf->rpc_response_timeout * 1000,
    };
    conductor_work_start(check->nova->works, &request, hosts_known, check);
}

static void
hosts_known(void *aux, struct json **result, struct object *group,
            struct error *error)
{
    struct group_check *check = aux;

    object_free(group);
    if (!error && json_size(*result) &&
        !has_string(*result, check->nova->agent->conf->host)) {
        error = violation(check, "Affinity");
    }
    finish(check, error);
}

/* Apart. */

static void
here_known(void *aux, struct json **result, struct object *object UNUSED,
           struct error *error)
{
    struct group_check *check = aux;
    const char *node = update_resources_node(check->nova->resources);

    if (!error && !node) {
        error = error_new(ERR_HYPERVISOR_UNAVAILABLE,
                          "the hypervisor has not said its name yet");
    }
    if (error) {
        finish(check, error);
        return;
    }
    check->here = steal(result);
    struct json *place =
        json_append(json_array(), json_string(check->nova->agent->conf->host));
    ask(check, "MigrationList", "get_in_progress_by_host_and_node",
        json_append(place, json_string(node)), migrations_known);
}

static void
migrations_known(void *aux, struct json **result, struct object *object UNUSED,
                 struct error *error)
{
    struct group_check *check = aux;

    if (error) {
        finish(check, error);
        return;
    }
    check->migrations = steal(result);
    ask(check, "InstanceGroup", "get_by_instance_uuid",
        json_append(json_array(), json_string(check->instance)), members_known);
}

/* As they are now: last, so that who has joined meanwhile is among them. */
static void
members_known(void *aux, struct json **result, struct object *object UNUSED,
              struct error *error)
{
    struct group_check *check = aux;

    if (!error &&
        n_others_here(check, *result) >= max_server_per_host(*result)) {
        error = violation(check, "Anti-affinity");
    }
    finish(check, error);
}

static unsigned
n_others_here(const struct group_check *check, const struct json *group)
{
    unsigned n = 0;

    json_for_each (member, primitive_get(group, "members")) {
        const char *uuid = json_get_string(member);

        n += uuid && !str_eq(uuid, check->instance) &&
             (has_string(check->here, uuid) ||
              is_coming(check->migrations, uuid));
    }
    return n;
}

static bool
is_coming(const struct json *migrations, const char *uuid)
{
    json_for_each (migration, primitive_objects(migrations)) {
        if (str_eq(primitive_string(migration, "instance_uuid"), uuid)) {
            return true;
        }
    }
    return false;
}

static bool
has_string(const struct json *list, const char *text)
{
    json_for_each (each, list) {
        if (str_eq(json_get_string(each), text)) {
            return true;
        }
    }
    return false;
}

/* Rules are texts; Nova's API takes no number below 1. */
static unsigned
max_server_per_host(const struct json *group)
{
    const char *text =
        json_string_of(primitive_get(group, "_rules"), "max_server_per_host");
    long max = strtol(text ? text : DEFAULT_MAX_SERVER_PER_HOST, NULL, 10);

    return max > 0 ? (unsigned)max : 1;
}

/* What both have in common. */

static void
ask(struct group_check *check, const char *class_name, const char *method,
    struct json *args, conductor_work_done *done)
{
    const struct conductor_work_request request = {
        .context = check->context,
        .class_name = class_name,
        .method = method,
        .args = args,
        .patience_ms =
            (unsigned)check->nova->agent->conf->rpc_response_timeout * 1000,
    };

    conductor_work_start(check->nova->works, &request, done, check);
}

static struct error *
violation(const struct group_check *check, const char *policy)
{
    struct error *error =
        error_new(ERR_GROUP_AFFINITY_VIOLATION,
                  "%s instance group policy was violated", policy);

    error_set_arg(error, "instance_uuid", check->instance);
    return error_set_arg(error, "policy", policy);
}

static void
finish(struct group_check *check, struct error *error)
{
    if (error_code(error) == ERR_INSTANCE_GROUP_NOT_FOUND) {
        error_free(steal(&error)); /* It is in none, or not any more. */
    } else if (error_code(error) != ERR_GROUP_AFFINITY_VIOLATION) {
        error = error_wrap(error, "look for its server group");
    }
    check->done(check->aux, error);
    json_free(check->context);
    json_free(check->here);
    json_free(check->migrations);
    free(check->instance);
    free(check);
}
