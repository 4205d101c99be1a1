#include <config.h>

#include "agent/migrate/settings.h"

/* What one migration has instead of the configuration. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json *
json_of(const char *text)
{
    struct json *json = NULL;

    assert_null(json_parse(text, strlen(text), &json));
    return json;
}

static struct error *
parse(const char *text, struct migrate_settings *ret)
{
    AUTO_JSON json = json_of(text);

    return migrate_settings_parse(json, ret);
}

static void
test_settings_come_back_as_they_went(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"bandwidth\":0,\"downtime\":1}",
        "{\"bandwidth\":2147483647,\"downtime\":2000000,"
        "\"completion_timeout\":0,\"timeout_action\":\"abort\","
        "\"convergence\":\"1:abort\",\"compression\":\"xbzrle\","
        "\"holds_downtime\":true}",
    };

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
        AUTO_SETTINGS copy = MIGRATE_SETTINGS_NONE;

        assert_null(parse(texts[i], &settings));
        migrate_settings_copy(&copy, &settings);
        AUTO_JSON json = migrate_settings_format(&copy);
        AUTO_FREE text = json_print(json, NULL);
        assert_string_equal(text, texts[i]);
    }
}

static void
test_wrong_settings_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[]",
        "7",
        "{\"bandwith\": 1}",
        "{\"bandwidth\": -1}",
        "{\"bandwidth\": 2147483648}",
        "{\"bandwidth\": 1.5}",
        "{\"bandwidth\": \"1\"}",
        "{\"downtime\": 0}",
        "{\"downtime\": 2000001}",
        "{\"completion_timeout\": -1}",
        "{\"timeout_action\": \"retry\"}",
        "{\"timeout_action\": 1}",
        "{\"convergence\": \"abort\"}",
        "{\"convergence\": [1]}",
        "{\"compression\": \"zip\"}",
        "{\"compression\": 1}",
    };

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
        AUTO_ERROR error = parse(texts[i], &settings);

        if (error_code(error) != ERR_VALUE) {
            fail_msg("%s is taken", texts[i]);
        }
    }
}

static void
test_what_is_not_set_is_the_configurations(void **state)
{
    (void)state;
    AUTO_CONF conf = conf_defaults();
    AUTO_SETTINGS none = MIGRATE_SETTINGS_NONE;
    AUTO_SETTINGS all = MIGRATE_SETTINGS_NONE;

    assert_null(migrate_settings_parse(NULL, &none));
    conf->libvirt.live_migration_bandwidth = 33;
    assert_int_equal(migrate_settings_bandwidth(&none, conf), 33);
    assert_int_equal(migrate_settings_downtime_ms(&none, conf), 500);
    assert_int_equal(migrate_settings_timeout_s(&none, conf, 13), 10400);
    assert_false(migrate_settings_timeout_forces(&none, conf));
    assert_int_equal(migrate_settings_convergence(&none, conf).n_steps, 0);

    assert_null(parse("{\"bandwidth\":0,\"downtime\":7,"
                      "\"completion_timeout\":60,"
                      "\"timeout_action\":\"force_complete\","
                      "\"convergence\":\"5:abort\"}",
                      &all));
    assert_int_equal(migrate_settings_bandwidth(&all, conf), 0);
    assert_int_equal(migrate_settings_downtime_ms(&all, conf), 7);
    assert_int_equal(migrate_settings_timeout_s(&all, conf, 13), 60);
    assert_true(migrate_settings_timeout_forces(&all, conf));
    assert_int_equal(migrate_settings_convergence(&all, conf).n_steps, 1);
}

static void
test_a_change_changes_what_it_names(void **state)
{
    (void)state;
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
    AUTO_SETTINGS change = MIGRATE_SETTINGS_NONE;
    AUTO_SETTINGS other = MIGRATE_SETTINGS_NONE;

    assert_null(
        parse("{\"bandwidth\":5,\"convergence\":\"1:abort\"}", &settings));
    assert_null(parse("{\"bandwidth\":0}", &change));
    migrate_settings_change(&settings, &change);
    assert_int_equal(settings.bandwidth_mib_s, 0);
    assert_int_equal(settings.downtime_ms, -1);
    assert_false(settings.holds_downtime);
    assert_null(parse("{\"downtime\":250}", &other));
    migrate_settings_change(&settings, &other);
    assert_int_equal(settings.bandwidth_mib_s, 0);
    assert_int_equal(settings.downtime_ms, 250);
    assert_true(settings.holds_downtime);
    assert_string_equal(settings.convergence, "1:abort");
}

static void
test_settings_do_not_permit_what_the_configuration_does_not(void **state)
{
    (void)state;
    AUTO_CONF conf = conf_defaults();
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;

    assert_null(migrate_settings_check(&settings, conf));
    assert_null(
        parse("{\"convergence\":\"1:throttle,2:postcopy\"}", &settings));
    AUTO_ERROR first = migrate_settings_check(&settings, conf);
    assert_int_equal(error_code(first), ERR_VALUE);
    assert_non_null(strstr(error_message(first), "post_copy"));
    conf->libvirt.live_migration_permit_post_copy = true;
    AUTO_ERROR second = migrate_settings_check(&settings, conf);
    assert_non_null(strstr(error_message(second), "auto_converge"));
    conf->libvirt.live_migration_permit_auto_converge = true;
    assert_null(migrate_settings_check(&settings, conf));
}

static void
test_compression_that_qemu_would_refuse_is_refused(void **state)
{
    (void)state;
    AUTO_CONF conf = conf_defaults();
    AUTO_SETTINGS none = MIGRATE_SETTINGS_NONE;
    AUTO_SETTINGS mt = MIGRATE_SETTINGS_NONE;
    AUTO_SETTINGS off = MIGRATE_SETTINGS_NONE;

    assert_null(migrate_settings_compression(&none, conf));
    assert_null(parse("{\"compression\":\"mt\"}", &mt));
    assert_null(parse("{\"compression\":\"none\"}", &off));
    assert_string_equal(migrate_settings_compression(&mt, conf), "mt");
    assert_null(migrate_settings_check(&mt, conf));
    conf->libvirt.live_migration_parallel_connections = 2;
    AUTO_ERROR error = migrate_settings_check(&mt, conf);
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_non_null(strstr(error_message(error), "parallel_connections"));
    /* That of the configuration can be done without. */
    free(conf->libvirt.live_migration_compression);
    conf->libvirt.live_migration_compression = xstrdup("xbzrle");
    assert_string_equal(migrate_settings_compression(&none, conf), "xbzrle");
    assert_null(migrate_settings_check(&off, conf));
    assert_null(migrate_settings_compression(&off, conf));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_come_back_as_they_went),
        cmocka_unit_test(test_wrong_settings_are_refused),
        cmocka_unit_test(test_what_is_not_set_is_the_configurations),
        cmocka_unit_test(test_a_change_changes_what_it_names),
        cmocka_unit_test(
            test_settings_do_not_permit_what_the_configuration_does_not),
        cmocka_unit_test(test_compression_that_qemu_would_refuse_is_refused),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
