#include <config.h>

#include "tests/unit/two_agents.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/api/api.h"
#include "tests/unit/virtual_time.h"

#define REST_LIMIT_MS (6 * 3600 * UINT64_C(1000))
#define GUEST "fake-hosta-0001"
#define FAST_LINK "bandwidth 1000000" /* Transfers take real time. */
#define PAUSE_MS 1000
#define SETTLE_TRIES 1000
#define STOP_GRACE_MS 10000
#define CONDUCTOR_S 60
#define MIGRATION_UUID "2f1f4b3e-2b5c-4f0e-9a55-0a1c7f3b6d10"
#define MIGRATION_ID 41

static void
must(struct error *error, const char *what)
{
    if (error) {
        AUTO_ERROR owned = error;
        fail_msg("%s: %s", what, error_message(owned));
    }
}

/* Settings. */

static void
set(struct conf *conf, const char *group, const char *name, const char *value)
{
    must(conf_set(conf, group, name, value), name);
}

static struct conf *
make_conf(const struct two_agents *ta, const char *host)
{
    struct conf *conf = conf_defaults();
    const char *modules = getenv("DROVER_DRIVER_PATH");
    AUTO_FREE instances = xasprintf("%s/instances", ta->directory);

    set(conf, NULL, "host", host);
    set(conf, NULL, "compute_driver", "fake");
    char here[PATH_MAX];
    AUTO_FREE built =
        xasprintf("%s/drivers/.libs", getcwd(here, sizeof here) ? here : "");

    set(conf, NULL, "driver_path", modules ? modules : built);
    set(conf, NULL, "instances_path", instances);
    set(conf, "fake", "guests", str_eq(host, "hosta") ? "1" : "0");
    set(conf, "fake", "memory_mb", "64");
    set(conf, "oslo_messaging_notifications", "driver", "messaging");
    return conf;
}

/* What goes to disk and to the bus passes here, and ends here if the host is
 * dying. */

static void
note_status(struct two_agents *ta, const char *body)
{
    AUTO_JSON json = NULL;

    must(json_parse(body, strlen(body), &json), "a record");
    const char *status =
        json_string_of(json_get(json, "nova_object.data"), "status");
    const char *last = strrchr(ta->statuses, ' ');
    if (!str_eq(status, last ? last + 1 : ta->statuses)) {
        char *longer =
            xasprintf("%s%s%s", ta->statuses, *ta->statuses ? " " : "", status);
        free(ta->statuses);
        ta->statuses = longer;
    }
}

static bool
tap(void *aux, bool is_done, enum store_table table, int64_t id,
    const char *body)
{
    struct ta_host *host = aux;
    bool is_kept = !host->is_dying;

    (void)id;
    virtual_time_add_work(is_done ? -1 : 1);
    if (table == STORE_MIGRATIONS && !is_done && is_kept && body) {
        note_status(host->ta, body);
    }
    if (table == STORE_OPERATIONS && is_kept) {
        host->n_records += !is_done;
        is_kept = !host->ta->tap || host->ta->tap(host, is_done, body);
    }
    return is_kept;
}

static struct ta_host *host_of_transport(void *state);

static struct two_agents *current; /* The transport knows only its own. */

static struct ta_host *
host_of_transport(void *state)
{
    for (unsigned i = 0; i < current->n_hosts; i++) {
        if (current->hosts[i].transport->state == state) {
            return &current->hosts[i];
        }
    }
    abort();
}

static void
publish(void *state, struct message *message)
{
    struct ta_host *host = host_of_transport(state);

    if (host->is_dying) {
        host->lost =
            xrealloc(host->lost, (host->n_lost + 1) * sizeof *host->lost);
        host->lost[host->n_lost++] = message;
    }
    host->bus_ops->publish(state, message);
}

static void
settle(void *state, uint64_t tag, enum transport_settle how)
{
    struct ta_host *host = host_of_transport(state);

    if (!host->is_dying) {
        host->bus_ops->settle(state, tag, how);
    }
}

static void
count_servers(void *state, const char *topic, void (*done)(void *aux, int n),
              void *aux)
{
    host_of_transport(state)->bus_ops->count_servers(state, topic, done, aux);
}

static const struct transport_ops tapped_ops = {
    .publish = publish,
    .settle = settle,
    .count_servers = count_servers,
};

static bool
take_lost(struct ta_host *host, const struct message *message)
{
    for (size_t i = 0; i < host->n_lost; i++) {
        if (host->lost[i] == message) {
            host->lost[i] = host->lost[--host->n_lost];
            return true;
        }
    }
    return false;
}

static enum memory_fate
filter(void *aux, const struct memory_mail *mail)
{
    struct two_agents *ta = aux;

    for (unsigned i = 0; i < ta->n_hosts; i++) {
        if (take_lost(&ta->hosts[i], mail->message)) {
            return MEMORY_DROP;
        }
    }
    return ta->filter ? ta->filter(ta, mail) : MEMORY_DELIVER;
}

/* Notifications. */

static void
heard(void *aux, const char *key, const char *body, size_t size)
{
    static const char prefix[] = "compute.instance.";
    struct two_agents *ta = aux;
    AUTO_JSON json = NULL;

    (void)key;
    must(json_parse(body, size, &json), "a notification");
    const char *type = json_string_of(json, "event_type");
    const char *publisher = json_string_of(json, "publisher_id");
    ta->heard = xrealloc(ta->heard, (ta->n_heard + 1) * sizeof *ta->heard);
    struct ta_heard *h = &ta->heard[ta->n_heard++];
    if (strncmp(type, prefix, strlen(prefix)) == 0) {
        type += strlen(prefix);
    }
    snprintf(h->event, sizeof h->event, "%s", type);
    snprintf(h->host, sizeof h->host, "%s", strchr(publisher, '.') + 1);
}

char *
ta_notifications(const struct two_agents *ta)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    for (size_t i = 0; i < ta->n_heard; i++) {
        fprintf(out, "%s %s\n", ta->heard[i].host, ta->heard[i].event);
    }
    fclose(out);
    return text;
}

/* Hosts. */

static void
ignore_event(void *aux, const struct driver_event *event)
{
    (void)aux;
    (void)event;
}

static struct driver *
observe(struct two_agents *ta, const struct conf *conf)
{
    struct driver *driver = NULL;
    struct driver_options options = {
        .host = conf->host,
        .connection_uri = "",
        .virt_type = "fake",
        .instances_path = conf->instances_path,
        .fake_world = "",
    };

    must(driver_load(ta->q, conf->driver_path, "fake", &options, ignore_event,
                     NULL, &driver),
         "load the driver");
    return driver;
}

static void
ignore_text(void *aux, struct error *error, char *text)
{
    (void)aux;
    error_free(error);
    free(text);
}

static void
ready(void *aux, struct error *error)
{
    struct ta_host *host = aux;

    assert_null(error);
    host->is_ready = true;
}

void
ta_up(struct two_agents *ta, int h)
{
    struct ta_host *host = &ta->hosts[h];

    host->is_dying = host->is_ready = false;
    host->transport = memory_bus_attach(ta->bus, "compute", host->name);
    host->bus_ops = host->transport->ops;
    host->transport->ops = &tapped_ops;
    struct agent_parts parts = {
        .q = ta->q,
        .conf = host->conf,
        .transport = host->transport,
    };
    must(store_open(host->store_path, ta->q, &parts.store), "open the store");
    host->store = parts.store;
    store_set_tap(host->store, tap, host);
    must(agent_create(&parts, &host->agent), "make the agent");
    op_engine_set_pause(host->agent->ops, PAUSE_MS);
    driver_steer(host->agent->driver, FAST_LINK, ignore_text, NULL);
    agent_start(host->agent, ready, host);
}

/* The dead send nothing, write nothing, and give nothing back. */
void
ta_doom(struct ta_host *host)
{
    host->is_dying = true;
    virtual_time_interrupt();
}

void
ta_crash(struct two_agents *ta, int h)
{
    struct ta_host *host = &ta->hosts[h];

    ta_doom(host);
    agent_free(host->agent);
    host->agent = NULL;
    host->store = NULL;
    memory_bus_detach(ta->bus, host->transport);
    virtual_time_settle();
}

static void
stopped(void *aux)
{
    *(bool *)aux = true;
}

void
ta_stop(struct two_agents *ta, int h)
{
    struct ta_host *host = &ta->hosts[h];
    bool is_stopped = false;

    agent_stop(host->agent, STOP_GRACE_MS, stopped, &is_stopped);
    ta_until(ta, is_stopped);
    agent_free(host->agent);
    host->agent = NULL;
    host->store = NULL;
    memory_bus_detach(ta->bus, host->transport);
    virtual_time_settle();
}

static void
host_create(struct two_agents *ta, int h)
{
    struct ta_host *host = &ta->hosts[h];

    host->ta = ta;
    snprintf(host->name, sizeof host->name, "host%c", 'a' + h);
    host->conf = make_conf(ta, host->name);
    host->store_path = xasprintf("%s/%s.db", ta->directory, host->name);
    host->observer = observe(ta, host->conf);
    ta_up(ta, h);
}

static void
host_free(struct two_agents *ta, int h)
{
    struct ta_host *host = &ta->hosts[h];

    if (host->agent) {
        ta_steer(ta, h, "release"); /* A test that failed has not. */
        agent_free(host->agent);
        memory_bus_detach(ta->bus, host->transport);
    }
    driver_close(host->observer);
    unlink(host->store_path);
    free(host->store_path);
    free(host->lost);
    conf_free(host->conf);
}

static bool
all_are_ready(const struct two_agents *ta)
{
    for (unsigned i = 0; i < ta->n_hosts; i++) {
        if (!ta->hosts[i].is_ready) {
            return false;
        }
    }
    return true;
}

struct two_agents *
ta_create(unsigned n_hosts)
{
    struct two_agents *ta = xzalloc(sizeof *ta);
    const char *base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";

    json_init();
    current = ta;
    ta->statuses = xstrdup("");
    ta->n_hosts = n_hosts;
    snprintf(ta->directory, sizeof ta->directory, "%s/drover-test.XXXXXX",
             base);
    assert_non_null(mkdtemp(ta->directory));
    uv_loop_init(&ta->loop);
    virtual_time_install(&ta->loop);
    ta->q = completion_queue_create(&ta->loop);
    ta->bus = memory_bus_create(NULL);
    memory_bus_set_filter(ta->bus, filter, ta);
    memory_bus_set_listener(ta->bus, heard, ta);
    ta->transport = memory_bus_attach(ta->bus, NULL, "tester");
    ta->client = rpc_client_create(&ta->loop, ta->transport);
    for (int h = 0; h < (int)n_hosts; h++) {
        host_create(ta, h);
    }
    ta_until(ta, all_are_ready(ta));
    ta_rest(ta);

    AUTO_ERROR error = NULL;
    AUTO_JSON list = ta_api(ta, A, "instance_list", NULL, &error);
    snprintf(ta->uuid, sizeof ta->uuid, "%s",
             json_string_of(json_at(list, 0), "uuid"));
    return ta;
}

void
ta_free(struct two_agents *ta)
{
    for (int h = 0; h < (int)ta->n_hosts; h++) {
        host_free(ta, h);
    }
    rpc_client_close(ta->client);
    memory_bus_detach(ta->bus, ta->transport);
    memory_bus_close(ta->bus);
    virtual_time_leave_migrations(false);
    virtual_time_allow_hanging(false);
    virtual_time_settle();
    completion_queue_close(ta->q);
    virtual_time_remove();
    uv_run(&ta->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&ta->loop), 0);
    assert_int_equal(rmdir(ta->directory), 0);
    json_free(ta->instance);
    json_free(ta->data);
    object_free(ta->record);
    free(ta->heard);
    free(ta->answer);
    free(ta->status);
    free(ta->statuses);
    free(ta);
    current = NULL;
}

/* Progress. */

void
ta_interrupt(void)
{
    virtual_time_interrupt();
}

void
ta_leave_migrations(bool left)
{
    virtual_time_leave_migrations(left);
}

void
ta_settle(void)
{
    virtual_time_settle();
}

uint64_t
ta_now_ms(void)
{
    return virtual_time_now_ms();
}

bool
ta_step(struct two_agents *ta)
{
    bool did_step = memory_bus_deliver(ta->bus) || virtual_time_advance();

    virtual_time_settle();
    return did_step;
}

static bool
has_operations(const struct agent *agent)
{
    AUTO_JSON list = op_engine_list(agent->ops);

    return json_size(list) > 0;
}

bool
ta_is_at_rest(struct two_agents *ta)
{
    struct memory_mail mail;

    if (memory_bus_peek(ta->bus, &mail)) {
        return false;
    }
    for (unsigned i = 0; i < ta->n_hosts; i++) {
        const struct ta_host *host = &ta->hosts[i];

        if (!host->agent || !host->is_ready || has_operations(host->agent) ||
            rpc_server_counters(host->agent->server).n_held) {
            return false;
        }
    }
    return true;
}

void
ta_rest(struct two_agents *ta)
{
    uint64_t end_ms = ta_now_ms() + REST_LIMIT_MS;

    virtual_time_settle();
    while (!ta_is_at_rest(ta)) {
        if (!ta_step(ta) || ta_now_ms() > end_ms) {
            fail_msg("it never comes to rest");
        }
    }
}

/* Questions and commands. */

struct answer {
    bool is_there;
    struct json *json;
    struct error *error;
    char *text;
};

static void
on_text(void *aux, struct error *error, char *text)
{
    struct answer *answer = aux;

    *answer = (struct answer){.is_there = true, .error = error, .text = text};
}

static void
on_json(void *aux, struct json *result, struct error *error)
{
    struct answer *answer = aux;

    *answer = (struct answer){.is_there = true, .error = error, .json = result};
}

static void
on_reply(void *aux, struct json **result, struct error *error)
{
    on_json(aux, error ? NULL : steal(result), error);
}

/* Once is enough, unless something hangs. */
static void
settle_until(const bool *flag, const char *what)
{
    for (int i = 0; i < SETTLE_TRIES && !*flag; i++) {
        virtual_time_settle();
    }
    if (!*flag) {
        fail_msg("no answer: %s", what);
    }
}

static char *
steer(struct driver *driver, const char *command)
{
    struct answer answer = {.is_there = false};

    driver_steer(driver, command, on_text, &answer);
    settle_until(&answer.is_there, command);
    must(answer.error, command);
    return answer.text;
}

const char *
ta_steer(struct two_agents *ta, int h, const char *format, ...)
{
    AUTO_FREE command = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&command, format, args) >= 0);
    va_end(args);
    if (str_eq(command, "hang transfer")) {
        virtual_time_leave_migrations(true);
    } else if (strncmp(command, "hang", 4) == 0) {
        virtual_time_allow_hanging(true);
    } else if (strncmp(command, "release", 7) == 0) {
        virtual_time_leave_migrations(false);
        virtual_time_allow_hanging(false);
    }
    free(ta->answer);
    ta->answer = steer(ta->hosts[h].agent->driver, command);
    return ta->answer;
}

struct json *
ta_api(struct two_agents *ta, int h, const char *method, struct json *args,
       struct error **ret_error)
{
    struct answer answer = {.is_there = false};
    AUTO_JSON owned = args ? args : json_object();

    api_call_local(ta->hosts[h].agent, method, owned, on_json, &answer);
    ta_until(ta, answer.is_there);
    *ret_error = answer.error;
    return answer.json;
}

static struct rpc_target
target_of(const struct ta_host *host)
{
    return (struct rpc_target){
        .exchange = "nova",
        .topic = "compute",
        .server = host->name,
        .version = "6.0",
    };
}

struct json *
ta_call(struct two_agents *ta, int h, const char *method, struct json *args,
        struct error **ret_error)
{
    struct rpc_target target = target_of(&ta->hosts[h]);
    struct rpc_options options = {.timeout_ms = CONDUCTOR_S * 1000};
    struct answer answer = {.is_there = false};
    AUTO_JSON owned = args;

    rpc_call(ta->client, &target, &options, NULL, method, owned, on_reply,
             &answer);
    ta_until(ta, answer.is_there);
    *ret_error = answer.error;
    return answer.json;
}

void
ta_cast(struct two_agents *ta, int h, const char *method, struct json *args)
{
    struct rpc_target target = target_of(&ta->hosts[h]);
    AUTO_JSON owned = args;

    rpc_cast(ta->client, &target, NULL, method, owned, CONDUCTOR_S * 1000, NULL,
             NULL);
}

/* What the records say. */

struct found {
    bool is_there;
    struct object *object;
};

static void
on_object(void *aux, struct error *error, struct object *object)
{
    struct found *found = aux;

    *found = (struct found){true, object};
    error_free(error);
}

static void
on_list(void *aux, struct error *error, struct object **objects, size_t n)
{
    struct found *found = aux;

    *found = (struct found){true, n ? objects[0] : NULL};
    for (size_t i = 1; i < n; i++) {
        object_free(objects[i]);
    }
    free(objects);
    error_free(error);
}

struct object *
ta_instance(struct two_agents *ta, int h)
{
    struct records *records = ta->hosts[h].agent->records;
    struct found found = {.is_there = false};

    records->ops->instance_get(records->state, NULL, ta->uuid, on_object,
                               &found);
    settle_until(&found.is_there, "the instance");
    return found.object;
}

struct object *
ta_migration(struct two_agents *ta, int h)
{
    struct records *records = ta->hosts[h].agent->records;
    struct found found = {.is_there = false};

    records->ops->migration_list(records->state, NULL, NULL, on_list, &found);
    settle_until(&found.is_there, "the migrations");
    return found.object;
}

const char *
ta_status(struct two_agents *ta)
{
    AUTO_OBJECT record = ta_migration(ta, A);
    const char *status = record ? object_string(record, "status") : NULL;

    free(ta->status);
    ta->status = xstrdup(status ? status : "");
    return ta->status;
}

unsigned
ta_guest_active_at(struct two_agents *ta)
{
    unsigned hosts = 0;
    AUTO_FREE line = xasprintf("guest %s " GUEST " active", ta->uuid);

    for (unsigned h = 0; h < ta->n_hosts; h++) {
        AUTO_FREE list = steer(ta->hosts[h].observer, "list");

        if (strstr(list, line)) {
            hosts |= 1u << h;
        }
    }
    return hosts;
}

char *
ta_steer_past(struct two_agents *ta, int h, const char *command)
{
    return steer(ta->hosts[h].observer, command);
}

char *
ta_files(struct two_agents *ta, int h)
{
    AUTO_FREE list = steer(ta->hosts[h].observer, "list");
    const char *files = strstr(list, "file ");

    return xstrdup(files ? files : "");
}

/* The conductor. */

static struct object *
new_record(const struct two_agents *ta)
{
    struct object *record = object_create("Migration", "1.7");

    object_set_int(record, "id", MIGRATION_ID);
    object_set_string(record, "uuid", MIGRATION_UUID);
    object_set_string(record, "instance_uuid", ta->uuid);
    object_set_string(record, "source_compute", "hosta");
    object_set_string(record, "dest_compute", "hostb");
    object_set_string(record, "status", "accepted");
    object_set_string(record, "migration_type", "live-migration");
    object_clear_changes(record);
    return record;
}

void
ta_cast_migration(struct two_agents *ta, const struct object *record)
{
    struct json *args = json_object();

    json_set_string(args, "dest", "hostb");
    json_set(args, "instance", json_copy(ta->instance));
    json_set_null(args, "block_migration");
    json_set(args, "migration", json_copy(object_json(record)));
    json_set(args, "migrate_data", json_copy(ta->data));
    ta_cast(ta, A, "live_migration", args);
}

void
ta_conduct(struct two_agents *ta)
{
    ta_check(ta);
    ta_cast_migration(ta, ta->record);
}

void
ta_check(struct two_agents *ta)
{
    AUTO_OBJECT instance = ta_instance(ta, A);
    struct json *args = json_object();
    struct error *error = NULL;

    json_free(ta->instance);
    ta->instance = json_copy(object_json(instance));
    json_set(args, "instance", json_copy(ta->instance));
    json_set_null(args, "block_migration");
    json_set_null(args, "disk_over_commit");
    json_free(ta->data);
    ta->data =
        ta_call(ta, B, "check_can_live_migrate_destination", args, &error);
    must(error, "check");
    object_free(ta->record);
    ta->record = new_record(ta);
}
