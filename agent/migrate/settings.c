#include <config.h>

#include "agent/migrate/settings.h"

#include <limits.h>
#include <stdlib.h>

#include "agent/monitor.h"
#include "conf/compression.h"

static struct error *parse_numbers(const struct json *json,
                                   struct migrate_settings *ret);
static struct error *parse_texts(const struct json *json,
                                 struct migrate_settings *ret);

struct error *
migrate_settings_parse(const struct json *json, struct migrate_settings *ret)
{
    struct migrate_settings settings = MIGRATE_SETTINGS_NONE;
    struct error *error = NULL;

    if (json && !json_is_null(json)) {
        error = json_is_object(json)
                    ? parse_numbers(json, &settings)
                    : error_new(ERR_VALUE, "settings are not an object");
        if (!error) {
            error = parse_texts(json, &settings);
        }
    }
    if (error) {
        migrate_settings_close(&settings);
        return error;
    }
    *ret = settings;
    return NULL;
}

struct json *
migrate_settings_format(const struct migrate_settings *settings)
{
    struct json *json = json_object();

    if (settings->bandwidth_mib_s >= 0) {
        json_set_int(json, "bandwidth", settings->bandwidth_mib_s);
    }
    if (settings->downtime_ms >= 0) {
        json_set_int(json, "downtime", settings->downtime_ms);
    }
    if (settings->completion_timeout_s >= 0) {
        json_set_int(json, "completion_timeout",
                     settings->completion_timeout_s);
    }
    if (settings->timeout_action) {
        json_set_string(json, "timeout_action", settings->timeout_action);
    }
    if (settings->convergence) {
        json_set_string(json, "convergence", settings->convergence);
    }
    if (settings->compression) {
        json_set_string(json, "compression", settings->compression);
    }
    if (settings->holds_downtime) {
        json_set_bool(json, "holds_downtime", true);
    }
    return json;
}

void
migrate_settings_close(struct migrate_settings *settings)
{
    free(settings->timeout_action);
    free(settings->convergence);
    free(settings->compression);
}

void
migrate_settings_copy(struct migrate_settings *to,
                      const struct migrate_settings *from)
{
    *to = from ? *from : (struct migrate_settings)MIGRATE_SETTINGS_NONE;
    to->timeout_action = xstrdup_null(to->timeout_action);
    to->convergence = xstrdup_null(to->convergence);
    to->compression = xstrdup_null(to->compression);
}

void
migrate_settings_change(struct migrate_settings *settings,
                        const struct migrate_settings *from)
{
    if (from->bandwidth_mib_s >= 0) {
        settings->bandwidth_mib_s = from->bandwidth_mib_s;
    }
    if (from->downtime_ms >= 0) {
        settings->downtime_ms = from->downtime_ms;
        settings->holds_downtime = true;
    }
}

struct error *
migrate_settings_check(const struct migrate_settings *settings,
                       const struct conf *conf)
{
    struct convergence convergence =
        migrate_settings_convergence(settings, conf);
    unsigned wanted =
        settings->convergence ? convergence_actions(&convergence) : 0;

    if (wanted & CONVERGENCE_POSTCOPY &&
        !conf->libvirt.live_migration_permit_post_copy) {
        return error_new(ERR_VALUE, "post-copy is not permitted here "
                                    "(live_migration_permit_post_copy)");
    }
    if (wanted & CONVERGENCE_THROTTLE &&
        !conf->libvirt.live_migration_permit_auto_converge) {
        return error_new(ERR_VALUE, "throttling is not permitted here "
                                    "(live_migration_permit_auto_converge)");
    }
    AUTO_ERROR error = settings->compression
                           ? compression_check(settings->compression, conf)
                           : NULL;
    return error ? error_new(ERR_VALUE, "compression %s", error_message(error))
                 : NULL;
}

unsigned
migrate_settings_bandwidth(const struct migrate_settings *settings,
                           const struct conf *conf)
{
    return settings->bandwidth_mib_s >= 0
               ? (unsigned)settings->bandwidth_mib_s
               : (unsigned)conf->libvirt.live_migration_bandwidth;
}

unsigned
migrate_settings_downtime_ms(const struct migrate_settings *settings,
                             const struct conf *conf)
{
    return settings->downtime_ms >= 0
               ? (unsigned)settings->downtime_ms
               : (unsigned)conf->libvirt.live_migration_downtime;
}

uint64_t
migrate_settings_timeout_s(const struct migrate_settings *settings,
                           const struct conf *conf, double data_gb)
{
    unsigned s_per_gb =
        (unsigned)conf->libvirt.live_migration_completion_timeout;

    return settings->completion_timeout_s >= 0
               ? (uint64_t)settings->completion_timeout_s
               : monitor_timeout_s(s_per_gb, data_gb);
}

bool
migrate_settings_timeout_forces(const struct migrate_settings *settings,
                                const struct conf *conf)
{
    return str_eq(settings->timeout_action
                      ? settings->timeout_action
                      : conf->libvirt.live_migration_timeout_action,
                  "force_complete");
}

const char *
migrate_settings_compression(const struct migrate_settings *settings,
                             const struct conf *conf)
{
    const char *method = settings->compression
                             ? settings->compression
                             : conf->libvirt.live_migration_compression;

    return str_eq(method, "none") ? NULL : method;
}

struct convergence
migrate_settings_convergence(const struct migrate_settings *settings,
                             const struct conf *conf)
{
    struct convergence convergence = {0};

    /* Both were checked when they came. */
    error_free(convergence_parse(settings->convergence
                                     ? settings->convergence
                                     : conf->libvirt.live_migration_convergence,
                                 &convergence));
    return convergence;
}

/* A name nobody knows is a wish that would not be met. */
static bool
is_known(const char *name)
{
    static const char *const names[] = {
        "bandwidth",   "downtime",    "completion_timeout", "timeout_action",
        "convergence", "compression", "holds_downtime"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        if (str_eq(name, names[i])) {
            return true;
        }
    }
    return false;
}

static struct error *
parse_numbers(const struct json *json, struct migrate_settings *ret)
{
    const struct {
        const char *name;
        int64_t min, max;
        int64_t *ret;
    } numbers[] = {
        {"bandwidth", 0, INT_MAX, &ret->bandwidth_mib_s},
        {"downtime", 1, CONF_DOWNTIME_MAX_MS, &ret->downtime_ms},
        {"completion_timeout", 0, INT_MAX, &ret->completion_timeout_s},
    };

    for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
        const struct json *value = json_get(json, numbers[i].name);

        if (!value || json_is_null(value)) {
            continue;
        }
        if (!json_is_int(value) || json_get_int(value) < numbers[i].min ||
            json_get_int(value) > numbers[i].max) {
            return error_new(ERR_VALUE, "%s must be a number from %lld to %lld",
                             numbers[i].name, (long long)numbers[i].min,
                             (long long)numbers[i].max);
        }
        *numbers[i].ret = json_get_int(value);
    }
    json_for_each (member, json) {
        if (!is_known(json_name(member))) {
            return error_new(ERR_VALUE, "there is no setting '%.64s'",
                             json_name(member));
        }
    }
    return NULL;
}

static struct error *
parse_texts(const struct json *json, struct migrate_settings *ret)
{
    const char *action = json_string_of(json, "timeout_action");
    const char *policy = json_string_of(json, "convergence");
    struct convergence convergence;

    ret->timeout_action = xstrdup_null(action);
    ret->convergence = xstrdup_null(policy);
    ret->compression = xstrdup_null(json_string_of(json, "compression"));
    ret->holds_downtime = json_bool_of(json, "holds_downtime");
    if (json_has(json, "timeout_action") && !str_eq(action, "abort") &&
        !str_eq(action, "force_complete")) {
        return error_new(ERR_VALUE,
                         "timeout_action must be abort or force_complete");
    }
    if (json_has(json, "compression") &&
        (!ret->compression || !compression_is_known(ret->compression))) {
        return error_new(ERR_VALUE, "compression must be none, xbzrle or mt");
    }
    if (json_has(json, "convergence") && !policy) {
        return error_new(ERR_VALUE, "convergence must be a text");
    }
    AUTO_ERROR error = policy ? convergence_parse(policy, &convergence) : NULL;
    if (error) {
        return error_new(ERR_VALUE, "convergence %s", error_message(error));
    }
    return NULL;
}
