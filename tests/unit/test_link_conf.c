#include <config.h>

#include "agent/link_conf.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct made {
    struct conf *conf;
    struct transport_url *url;
    struct link_options options;
    struct error *error;
};

static void
make(struct made *made, const char *url, const char *topic)
{
    AUTO_FREE text = xasprintf("host = \"hosta\"; transport_url = \"%s\";\n"
                               "control_exchange = \"other\";\n"
                               "oslo_messaging_rabbit : {\n"
                               "    heartbeat_timeout_threshold = 7;\n"
                               "    rabbit_retry_interval = 2;\n"
                               "    rabbit_interval_max = 20;\n"
                               "    ssl_ca_file = \"/ca.pem\";\n"
                               "};\n",
                               url);

    *made = (struct made){0};
    AUTO_ERROR error =
        conf_load_text(text, strlen(text), "test", NULL, NULL, &made->conf);
    assert_string_equal(error_message(error), "success");
    made->error =
        link_conf_make(made->conf, topic, "name", &made->options, &made->url);
}

static void
unmake(struct made *made)
{
    error_free(made->error);
    transport_url_free(made->url);
    conf_free(made->conf);
}

static void
test_an_agent_serves_under_its_host_name(void **state)
{
    struct made made;

    (void)state;
    make(&made, "rabbit://u:p@bus:1/v", "compute");
    assert_null(made.error);
    assert_string_equal(made.options.topic, "compute");
    assert_string_equal(made.options.server, "hosta");
    assert_string_equal(made.options.exchange, "other");
    assert_string_equal(made.options.name, "name");
    assert_string_equal(made.options.url->hosts[0].host, "bus");
    assert_string_equal(made.options.url->vhost, "v");
    unmake(&made);
}

static void
test_who_only_asks_has_neither_topic_nor_server(void **state)
{
    struct made made;

    (void)state;
    make(&made, "rabbit://", NULL);
    assert_null(made.error);
    assert_null(made.options.topic);
    assert_null(made.options.server);
    unmake(&made);
}

static void
test_options_come_from_their_group(void **state)
{
    struct made made;

    (void)state;
    make(&made, "rabbit://", "compute");
    assert_null(made.error);
    assert_int_equal(made.options.heartbeat_s, 7);
    assert_int_equal(made.options.reconnect_base_ms, 2000);
    assert_int_equal(made.options.reconnect_max_ms, 20000);
    assert_int_equal(made.options.transient_ttl_s, 1800);
    assert_int_equal(made.options.max_body, 67108864);
    assert_string_equal(made.options.ssl_ca_file, "/ca.pem");
    assert_false(made.options.ssl);
    assert_false(made.options.external);
    assert_false(made.options.shuffle);
    assert_true(made.options.ssl_verify_hostname);
    unmake(&made);
}

static void
test_the_query_overrides_them(void **state)
{
    struct made made;

    (void)state;
    make(&made,
         "rabbit://h/?ssl=1&heartbeat_timeout_threshold=9&"
         "rabbit_login_method=EXTERNAL&kombu_failover_strategy=shuffle&"
         "amqp_durable_queues=true",
         "compute");
    assert_null(made.error);
    assert_true(made.options.ssl);
    assert_int_equal(made.options.heartbeat_s, 9);
    assert_true(made.options.external);
    assert_true(made.options.shuffle);
    assert_true(made.options.durable);
    unmake(&made);
}

static void
test_a_query_that_makes_no_sense_is_refused_without_the_password(void **state)
{
    static const char *const urls[] = {
        "rabbit://u:secret@h/?nonsense=1",
        "rabbit://u:secret@h/?ssl=soon",
        "rabbit://u:secret@h/?heartbeat_timeout_threshold=-1",
        "rabbit://u:secret@h:port/",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(urls); i++) {
        struct made made;

        make(&made, urls[i], "compute");
        assert_int_equal(error_code(made.error), ERR_CONFIG);
        assert_null(strstr(error_message(made.error), "secret"));
        assert_null(made.url);
        unmake(&made);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_agent_serves_under_its_host_name),
        cmocka_unit_test(test_who_only_asks_has_neither_topic_nor_server),
        cmocka_unit_test(test_options_come_from_their_group),
        cmocka_unit_test(test_the_query_overrides_them),
        cmocka_unit_test(
            test_a_query_that_makes_no_sense_is_refused_without_the_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
