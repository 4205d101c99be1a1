#include <config.h>

#include "agent/notify.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was sent.  The notifier is replaced by this file's notifier_send(). */

struct sent {
    char *topic, *publisher_id, *priority, *event_type;
    struct json *context, *payload;
};

static struct sent sent[8];
static size_t n_sent;

void
notifier_send(struct notifier *notifier, const char *const *topics,
              const char *publisher_id, const char *priority,
              const char *event_type, const struct json *context,
              struct json *payload)
{
    (void)notifier;
    AUTO_JSON owned = payload;

    for (; *topics; topics++) {
        assert_in_range(n_sent, 0, N_ELEMENTS(sent) - 1);
        sent[n_sent++] = (struct sent){
            .topic = xstrdup(*topics),
            .publisher_id = xstrdup(publisher_id),
            .priority = xstrdup(priority),
            .event_type = xstrdup(event_type),
            .context = json_copy(context),
            .payload = json_copy(owned),
        };
    }
}

static void
forget_sent(void)
{
    for (size_t i = 0; i < n_sent; i++) {
        free(sent[i].topic);
        free(sent[i].publisher_id);
        free(sent[i].priority);
        free(sent[i].event_type);
        json_free(sent[i].context);
        json_free(sent[i].payload);
    }
    n_sent = 0;
}

#define TEXT(S) ((char[]){S})

static char *legacy_topics[] = {TEXT("notifications"), NULL};
static char *versioned_topics[] = {TEXT("versioned_notifications"), NULL};

/* Of host 'host' with the format 'format'. */
static struct notify *
notify_of(struct conf *conf, char *host, char *format)
{
    memset(conf, 0, sizeof *conf);
    conf->host = host;
    conf->notifications.notification_format = format;
    conf->notifications.versioned_notifications_topics = versioned_topics;
    conf->oslo_messaging_notifications.topics = legacy_topics;
    return notify_create(NULL, conf);
}

static struct json *
parse_text(const char *text)
{
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &json);

    if (error) {
        fail_msg("%.100s: %s", text, error_message(error));
    }
    return json;
}

static struct object *
parse_object(const struct json *json)
{
    struct object *object = NULL;
    AUTO_ERROR error = object_parse(json, "Instance", &object);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    return object;
}

/* The recorded. */

static char *
corpus_path(const char *name)
{
    const char *srcdir = getenv("srcdir");

    return xasprintf("%s/tests/corpus/notifications/%s", srcdir ? srcdir : ".",
                     name);
}

static struct json *
load(const char *name)
{
    AUTO_FREE path = corpus_path(name);
    FILE *file = fopen(path, "r");
    char text[65536];

    if (!file) {
        fail_msg("%s is not there", path);
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    fclose(file);
    return parse_text(text);
}

static enum notify_event
event_of(const char *name)
{
#define NOTIFY_EVENT(NAME, LEGACY, VERSIONED, FIXED_IPS, BDMS) \
    if (str_eq(name, #NAME)) {                                 \
        return NOTIFY_##NAME;                                  \
    }
    NOTIFY_EVENTS
#undef NOTIFY_EVENT
    fail_msg("no event '%s'", name);
    return NOTIFY_N_EVENTS;
}

/* Key by key, so that a failure says where. */
static void
assert_same(const char *where, const struct json *ours,
            const struct json *novas)
{
    if (json_is_object(ours) && json_is_object(novas)) {
        json_for_each (value, novas) {
            AUTO_FREE path = xasprintf("%s/%s", where, json_name(value));
            if (!json_has(ours, json_name(value))) {
                fail_msg("%s is missing", path);
            }
            assert_same(path, json_get(ours, json_name(value)), value);
        }
        json_for_each (value, ours) {
            if (!json_has(novas, json_name(value))) {
                fail_msg("%s/%s is too much", where, json_name(value));
            }
        }
    } else if (!json_equal(ours, novas)) {
        AUTO_FREE a = json_print(ours, NULL);
        AUTO_FREE b = json_print(novas, NULL);
        fail_msg("%s: %s, not %s", where, a, b);
    }
}

static void
assert_sent(const char *name, const struct sent *ours, const struct json *novas)
{
    assert_string_equal(ours->topic, json_string_of(novas, "topic"));
    assert_string_equal(ours->publisher_id,
                        json_string_of(novas, "publisher_id"));
    assert_string_equal(ours->priority, json_string_of(novas, "priority"));
    assert_string_equal(ours->event_type, json_string_of(novas, "event_type"));
    assert_same(name, ours->payload, json_get(novas, "payload"));
}

static void
check_recorded(const char *name)
{
    AUTO_FREE in_name = xasprintf("%s.in.json", name);
    AUTO_FREE out_name = xasprintf("%s.out.json", name);
    AUTO_JSON in = load(in_name);
    AUTO_JSON out = load(out_name);
    AUTO_OBJECT instance = parse_object(json_get(in, "instance"));
    AUTO_FREE host = xstrdup(json_string_of(in, "host"));
    const struct json *context = json_get(in, "context");
    struct conf conf;
    struct notify *notify = notify_of(&conf, host, TEXT("both"));

    notify_instance(notify, context, event_of(json_string_of(in, "event")),
                    str_eq(json_string_of(in, "phase"), "start") ? NOTIFY_START
                                                                 : NOTIFY_END,
                    instance);
    assert_int_equal(n_sent, 2);
    if (json_has(out, "legacy")) {
        assert_sent(name, &sent[0], json_get(out, "legacy"));
    }
    assert_sent(name, &sent[1], json_get(out, "versioned"));
    assert_true(json_equal(sent[0].context, context));
    forget_sent();
    notify_free(notify);
}

static void
test_notifications_are_those_that_nova_sent(void **state)
{
    (void)state;
    AUTO_FREE path = corpus_path("");
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *end = strstr(entry->d_name, ".in.json");
        if (end) {
            AUTO_FREE name =
                xstrndup(entry->d_name, (size_t)(end - entry->d_name));
            check_recorded(name);
            n++;
        }
    }
    closedir(dir);
    assert_in_range(n, 16, 1000);
}

/* Formats. */

static struct object *
small_instance(void)
{
    struct object *instance = object_create("Instance", "2.7");

    object_set_string(instance, "uuid", "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909");
    object_set_string(instance, "display_name", "vm2");
    return instance;
}

static size_t
count_sent(char *format)
{
    struct conf conf;
    struct notify *notify = notify_of(&conf, TEXT("cmp-01"), format);
    AUTO_OBJECT instance = small_instance();

    notify_instance(notify, NULL, NOTIFY_PRE, NOTIFY_START, instance);
    notify_free(notify);
    return n_sent;
}

static void
test_the_format_is_as_configured(void **state)
{
    (void)state;
    assert_int_equal(count_sent(TEXT("unversioned")), 1);
    assert_string_equal(sent[0].event_type,
                        "compute.instance.live_migration.pre.start");
    assert_string_equal(sent[0].publisher_id, "compute.cmp-01");
    forget_sent();
    assert_int_equal(count_sent(TEXT("versioned")), 1);
    assert_string_equal(sent[0].event_type,
                        "instance.live_migration_pre.start");
    assert_string_equal(sent[0].publisher_id, "nova-compute:cmp-01");
    forget_sent();
    assert_int_equal(count_sent(TEXT("both")), 2);
    forget_sent();
}

static void
test_block_devices_are_listed_when_wanted(void **state)
{
    (void)state;
    struct conf conf;
    struct notify *notify = notify_of(&conf, TEXT("cmp-01"), TEXT("versioned"));
    AUTO_OBJECT instance = small_instance();

    for (int wanted = 0; wanted < 2; wanted++) {
        conf.notifications.bdms_in_notifications = wanted;
        notify_instance(notify, NULL, NOTIFY_POST, NOTIFY_END, instance);
        const struct json *list = json_get(
            json_get(sent[0].payload, "nova_object.data"), "block_devices");
        assert_true(wanted ? json_is_array(list) : json_is_null(list));
        forget_sent();
    }
    notify_free(notify);
}

static void
test_topics_are_as_configured(void **state)
{
    (void)state;
    char *more[] = {TEXT("notifications"), TEXT("ceilometer"), NULL};
    char *none[] = {NULL};
    struct conf conf;
    struct notify *notify = notify_of(&conf, TEXT("cmp-01"), TEXT("both"));
    AUTO_OBJECT instance = small_instance();

    conf.oslo_messaging_notifications.topics = more;
    conf.notifications.versioned_notifications_topics = none;
    notify_instance(notify, NULL, NOTIFY_POST, NOTIFY_END, instance);
    assert_int_equal(n_sent, 2);
    assert_string_equal(sent[0].topic, "notifications");
    assert_string_equal(sent[1].topic, "ceilometer");
    assert_string_equal(sent[1].event_type,
                        "compute.instance.live_migration._post.end");
    forget_sent();
    notify_free(notify);
}

static void
test_every_event_has_its_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        [NOTIFY_PRE] = {"live_migration.pre", "live_migration_pre"},
        [NOTIFY_POST] = {"live_migration._post", "live_migration_post"},
        [NOTIFY_POST_DEST] = {"live_migration.post.dest",
                              "live_migration_post_dest"},
        [NOTIFY_ROLLBACK] = {"live_migration._rollback",
                             "live_migration_rollback"},
        [NOTIFY_ROLLBACK_DEST] = {"live_migration.rollback.dest",
                                  "live_migration_rollback_dest"},
        [NOTIFY_ABORT] = {"live.migration.abort", "live_migration_abort"},
        [NOTIFY_FORCE_COMPLETE] = {"live.migration.force.complete",
                                   "live_migration_force_complete"},
        [NOTIFY_POWER_ON] = {"power_on", "power_on"},
        [NOTIFY_POWER_OFF] = {"power_off", "power_off"},
        [NOTIFY_REBOOT] = {"reboot", "reboot"},
        [NOTIFY_PAUSE] = {"pause", "pause"},
        [NOTIFY_UNPAUSE] = {"unpause", "unpause"},
        [NOTIFY_SUSPEND] = {"suspend", "suspend"},
        [NOTIFY_RESUME] = {"resume", "resume"},
        [NOTIFY_DELETE] = {"delete", "delete"},
        [NOTIFY_SHUTDOWN] = {"shutdown", "shutdown"},
    };
    struct conf conf;
    struct notify *notify = notify_of(&conf, TEXT("cmp-01"), TEXT("both"));
    AUTO_OBJECT instance = small_instance();

    assert_int_equal(N_ELEMENTS(names), NOTIFY_N_EVENTS);
    for (int i = 0; i < NOTIFY_N_EVENTS; i++) {
        bool has_ips = i != NOTIFY_ROLLBACK && i < NOTIFY_ABORT;
        AUTO_FREE legacy = xasprintf("compute.instance.%s.end", names[i][0]);
        AUTO_FREE versioned = xasprintf("instance.%s.end", names[i][1]);

        notify_instance(notify, NULL, (enum notify_event)i, NOTIFY_END,
                        instance);
        assert_string_equal(sent[0].event_type, legacy);
        assert_string_equal(sent[1].event_type, versioned);
        assert_int_equal(json_has(sent[0].payload, "fixed_ips"), has_ips);
        forget_sent();
    }
    notify_free(notify);
}

/* Payloads of instances that say little, or odd things. */

/* An Instance with these fields, with ' for ". */
static struct object *
instance_of(const char *fields)
{
    AUTO_FREE text = xasprintf(
        "{'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', "
        "'nova_object.version': '2.7', 'nova_object.data': %s}",
        fields);

    for (char *p = text; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    AUTO_JSON json = parse_text(text);
    return parse_object(json);
}

static void
test_a_local_instance_has_all_keys(void **state)
{
    (void)state;
    AUTO_JSON out = load("pre-start.out.json");
    AUTO_OBJECT instance =
        instance_of("{'uuid': 'u', 'memory_mb': 512, 'vcpus': 2, 'root_gb': 3, "
                    "'ephemeral_gb': 1}");
    AUTO_JSON legacy = notify_legacy_payload(instance, NULL, true);
    AUTO_JSON versioned = notify_versioned_payload(instance, NULL, false);
    const struct json *data = json_get(versioned, "nova_object.data");
    const struct json *flavor =
        json_get(json_get(data, "flavor"), "nova_object.data");
    const struct json *novas = json_get(
        json_get(json_get(out, "versioned"), "payload"), "nova_object.data");

    json_for_each (value, json_get(json_get(out, "legacy"), "payload")) {
        assert_true(json_has(legacy, json_name(value)));
    }
    json_for_each (value, novas) {
        assert_true(json_has(data, json_name(value)));
    }
    json_for_each (value,
                   json_get(json_get(novas, "flavor"), "nova_object.data")) {
        assert_true(json_has(flavor, json_name(value)));
    }
    assert_int_equal(json_int_of(legacy, "memory_mb"), 512);
    assert_int_equal(json_int_of(legacy, "disk_gb"), 4);
    assert_int_equal(json_int_of(flavor, "vcpus"), 2);
    assert_string_equal(json_string_of(legacy, "launched_at"), "");
    assert_string_equal(json_string_of(legacy, "image_ref_url"), "");
    assert_string_equal(json_string_of(legacy, "progress"), "");
    assert_int_equal(json_size(json_get(legacy, "fixed_ips")), 0);
    assert_true(json_is_null(json_get(data, "power_state")));
    assert_true(json_is_null(json_get(data, "request_id")));
}

static void
test_dates_have_novas_forms(void **state)
{
    (void)state;
    AUTO_OBJECT instance =
        instance_of("{'created_at': '2026-11-22T05:38:10.250000Z', "
                    "'launched_at': '2026-11-22T05:38:12Z', "
                    "'terminated_at': '2026-11-22T06:00:00Z', "
                    "'deleted_at': null, "
                    "'updated_at': '2026-11-22T05:38:13.999999+00:00'}");
    AUTO_JSON legacy = notify_legacy_payload(instance, NULL, false);
    AUTO_JSON versioned = notify_versioned_payload(instance, NULL, false);
    const struct json *data = json_get(versioned, "nova_object.data");

    assert_string_equal(json_string_of(legacy, "created_at"),
                        "2026-11-22 05:38:10.250000+00:00");
    assert_string_equal(json_string_of(legacy, "launched_at"),
                        "2026-11-22T05:38:12.000000");
    assert_string_equal(json_string_of(legacy, "terminated_at"),
                        "2026-11-22T06:00:00.000000");
    assert_string_equal(json_string_of(legacy, "deleted_at"), "");
    assert_string_equal(json_string_of(data, "created_at"),
                        "2026-11-22T05:38:10Z");
    assert_string_equal(json_string_of(data, "updated_at"),
                        "2026-11-22T05:38:13Z");
    assert_true(json_is_null(json_get(data, "deleted_at")));
}

static void
test_power_states_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"pending", "running",   NULL,
                                        "paused",  "shutdown",  NULL,
                                        "crashed", "suspended", NULL};

    for (int i = -1; i < (int)N_ELEMENTS(names); i++) {
        AUTO_FREE fields = xasprintf("{'power_state': %d}", i);
        AUTO_OBJECT instance = instance_of(fields);
        AUTO_JSON payload = notify_versioned_payload(instance, NULL, false);
        const char *name = json_string_of(json_get(payload, "nova_object.data"),
                                          "power_state");

        assert_true(str_eq(name, i < 0 ? NULL : names[i]));
    }
}

static void
test_states_that_matter_are_told(void **state)
{
    (void)state;
    AUTO_OBJECT instance = instance_of(
        "{'progress': 42, 'locked': true, 'auto_disk_config': true, "
        "'task_state': 'migrating', 'cell_name': null, 'image_ref': 'i1', "
        "'system_metadata': {'locked_reason': 'mine', 'image_': 'x', "
        "'image_min_ram': '0', 'other': '1'}}");
    AUTO_JSON legacy = notify_legacy_payload(instance, NULL, false);
    AUTO_JSON versioned = notify_versioned_payload(instance, NULL, false);
    const struct json *data = json_get(versioned, "nova_object.data");

    assert_int_equal(json_int_of(legacy, "progress"), 42);
    assert_string_equal(json_string_of(legacy, "state_description"),
                        "migrating");
    assert_string_equal(json_string_of(legacy, "cell_name"), "");
    /* Without a catalog Nova sends the id, too. */
    assert_string_equal(json_string_of(legacy, "image_ref_url"), "i1");
    assert_int_equal(json_size(json_get(legacy, "image_meta")), 2);
    assert_string_equal(
        json_string_of(json_get(legacy, "image_meta"), "min_ram"), "0");
    assert_string_equal(json_string_of(data, "locked_reason"), "mine");
    assert_string_equal(json_string_of(data, "auto_disk_config"), "AUTO");
    assert_int_equal(json_int_of(data, "progress"), 42);
}

static void
test_a_reason_without_a_lock_is_not_told(void **state)
{
    (void)state;
    AUTO_OBJECT instance = instance_of(
        "{'locked': false, 'system_metadata': {'locked_reason': 'old'}}");
    AUTO_JSON payload = notify_versioned_payload(instance, NULL, false);

    assert_true(json_is_null(
        json_get(json_get(payload, "nova_object.data"), "locked_reason")));
}

static void
test_all_addresses_are_told(void **state)
{
    (void)state;
    AUTO_OBJECT instance = instance_of("{}");
    AUTO_OBJECT cache = object_create("InstanceInfoCache", "1.5");

    object_set_string(
        cache, "network_info",
        "[{\"id\": \"p1\", \"address\": \"m1\", \"network\": {\"label\": "
        "\"n1\", \"subnets\": [{\"ips\": [{\"address\": \"a1\", \"version\": "
        "4}, {\"address\": \"a2\", \"version\": 6}]}, {\"ips\": "
        "[{\"address\": \"a3\", \"version\": 6}]}]}}, {\"id\": \"p2\", "
        "\"network\": null}, 5, {\"network\": {\"subnets\": [{\"ips\": "
        "[\"bad\"]}]}}]");
    object_set(instance, "info_cache", json_copy(object_json(cache)));
    AUTO_JSON legacy = notify_legacy_payload(instance, NULL, true);
    AUTO_JSON versioned = notify_versioned_payload(instance, NULL, false);
    const struct json *fixed = json_get(legacy, "fixed_ips");
    const struct json *ips =
        json_get(json_get(versioned, "nova_object.data"), "ip_addresses");

    assert_int_equal(json_size(fixed), 3);
    assert_string_equal(json_string_of(json_at(fixed, 2), "address"), "a3");
    assert_string_equal(json_string_of(json_at(fixed, 2), "label"), "n1");
    assert_string_equal(json_string_of(json_at(fixed, 0), "vif_mac"), "m1");
    assert_int_equal(json_size(ips), 3);
    assert_string_equal(
        json_string_of(json_get(json_at(ips, 1), "nova_object.data"),
                       "port_uuid"),
        "p1");
}

static void
test_network_info_that_is_none_tells_of_no_address(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "{",          "5",
                                        "\"x\"", "{\"a\": 1}", "null"};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_OBJECT instance = instance_of("{}");
        AUTO_OBJECT cache = object_create("InstanceInfoCache", "1.5");
        object_set_string(cache, "network_info", texts[i]);
        object_set(instance, "info_cache", json_copy(object_json(cache)));
        AUTO_JSON legacy = notify_legacy_payload(instance, NULL, true);

        assert_int_equal(json_size(json_get(legacy, "fixed_ips")), 0);
    }
}

/* Failures. */

static void
test_a_failure_is_told_in_both_forms(void **state)
{
    (void)state;
    struct conf conf;
    struct notify *notify = notify_of(&conf, TEXT("hostB"), TEXT("both"));
    AUTO_OBJECT instance = small_instance();
    AUTO_ERROR error = error_set_arg(
        error_new(ERR_DESTINATION_DISK_EXISTS, "it's there"), "path", "/i/d");
    AUTO_JSON context = json_object();

    object_set_string(instance, "user_data", "secret");
    json_set_string(context, "request_id", "req-1");
    notify_exception(notify, context, "pre_live_migration", instance, error);
    assert_int_equal(n_sent, 2);

    assert_string_equal(sent[0].event_type, "pre_live_migration");
    assert_string_equal(sent[0].priority, "ERROR");
    assert_string_equal(sent[0].publisher_id, "compute.hostB");
    assert_string_equal(
        json_string_of(sent[0].payload, "exception"),
        "{'kwargs': {'path': '/i/d', 'code': 400}, 'message': 'The supplied "
        "disk path (/i/d) already exists, it is expected not to exist.', "
        "'class': 'DestinationDiskExists'}");
    const struct json *args = json_get(sent[0].payload, "args");
    assert_string_equal(json_string_of(json_get(args, "instance"), "uuid"),
                        "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909");
    assert_int_equal(json_size(json_get(args, "instance")), 1);

    assert_string_equal(sent[1].event_type, "compute.exception");
    assert_string_equal(sent[1].priority, "ERROR");
    assert_string_equal(sent[1].publisher_id, "nova-compute:hostB");
    assert_string_equal(json_string_of(sent[1].payload, "nova_object.name"),
                        "ExceptionPayload");
    assert_string_equal(json_string_of(sent[1].payload, "nova_object.version"),
                        "1.1");
    const struct json *data = json_get(sent[1].payload, "nova_object.data");
    assert_int_equal(json_size(data), 5);
    assert_true(json_is_string(json_get(data, "module_name")));
    assert_true(json_is_string(json_get(data, "traceback")));
    assert_string_equal(json_string_of(data, "function_name"),
                        "pre_live_migration");
    assert_string_equal(json_string_of(data, "exception"),
                        "DestinationDiskExists");
    assert_string_equal(json_string_of(data, "exception_message"),
                        "The supplied disk path (/i/d) already exists, it is "
                        "expected not to exist.");
    forget_sent();
    notify_free(notify);
}

static void
test_a_failure_of_no_instance_is_told(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new(ERR_VALUE, "it's \"odd\"\n\\\x01");
    AUTO_JSON payload = notify_legacy_exception(NULL, error);

    assert_int_equal(json_size(json_get(payload, "args")), 0);
    assert_string_equal(json_string_of(payload, "exception"),
                        "{'kwargs': {'code': 500}, 'message': 'it\\'s "
                        "\"odd\"\\n\\\\\\x01', 'class': 'ValueError'}");

    AUTO_ERROR quoted = error_new(ERR_VALUE, "it's");
    AUTO_JSON other = notify_legacy_exception(NULL, quoted);
    assert_non_null(
        strstr(json_string_of(other, "exception"), "'message': \"it's\""));
}

static void
test_a_failure_of_a_peer_keeps_its_class(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new_remote("ImageUnacceptable", "nova.exception",
                                        "Image is unacceptable");
    AUTO_JSON payload = notify_versioned_exception("live_migration", error);
    const struct json *data = json_get(payload, "nova_object.data");

    assert_string_equal(json_string_of(data, "exception"), "ImageUnacceptable");
    assert_string_equal(json_string_of(data, "exception_message"),
                        "Image is unacceptable");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notifications_are_those_that_nova_sent),
        cmocka_unit_test(test_the_format_is_as_configured),
        cmocka_unit_test(test_block_devices_are_listed_when_wanted),
        cmocka_unit_test(test_topics_are_as_configured),
        cmocka_unit_test(test_every_event_has_its_names),
        cmocka_unit_test(test_a_local_instance_has_all_keys),
        cmocka_unit_test(test_dates_have_novas_forms),
        cmocka_unit_test(test_power_states_have_names),
        cmocka_unit_test(test_states_that_matter_are_told),
        cmocka_unit_test(test_a_reason_without_a_lock_is_not_told),
        cmocka_unit_test(test_all_addresses_are_told),
        cmocka_unit_test(test_network_info_that_is_none_tells_of_no_address),
        cmocka_unit_test(test_a_failure_is_told_in_both_forms),
        cmocka_unit_test(test_a_failure_of_no_instance_is_told),
        cmocka_unit_test(test_a_failure_of_a_peer_keeps_its_class),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
