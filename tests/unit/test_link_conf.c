#include <config.h>

#include "agent/link_conf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
         "rabbit_login_method=EXTERNAL&ssl_cert_file=/c.pem&"
         "kombu_failover_strategy=shuffle&amqp_durable_queues=true",
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
        "rabbit://u:secret@h/?rabbit_login_method=NTLM",
        "rabbit://u:secret@h/?kombu_reconnect_delay=5",
        "rabbit://u:secret@h/?rabbit_retry_interval=0",
        "rabbit://u:secret@h/?rabbit_interval_max=0",
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

/* Each with something that the refusal must say. */
static void
test_what_cannot_work_is_refused_with_what_to_do(void **state)
{
    static const struct {
        const char *query, *says;
    } cases[] = {
        {"rabbit_ha_queues=1&rabbit_quorum_queue=1",
         "rabbit_ha_queues excludes"},
        {"rabbit_ha_queues=1&rabbit_transient_quorum_queue=1",
         "rabbit_ha_queues excludes"},
        {"amqp_auto_delete=1&rabbit_quorum_queue=1",
         "amqp_auto_delete excludes"},
        {"rabbit_stream_fanout=1", "rabbit_transient_quorum_queue"},
        {"rabbit_stream_fanout=1&rabbit_transient_quorum_queue=1",
         "rabbit_qos_prefetch_count above 0"},
        {"rabbit_stream_fanout=1&rabbit_qos_prefetch_count=9",
         "rabbit_transient_quorum_queue"},
        {"rabbit_login_method=RABBIT-CR-DEMO", "use PLAIN"},
        {"rabbit_login_method=EXTERNAL", "needs ssl"},
        {"rabbit_login_method=EXTERNAL&ssl=1", "ssl_cert_file"},
        {"ssl_key_file=/k.pem", "needs ssl_cert_file"},
        {"ssl_version=TLSv1", "use TLSv1_2"},
        {"ssl_version=tlsv1_1", "use TLSv1_2"},
        {"ssl_version=SSLv3", "use TLSv1_2"},
        {"ssl_version=SSLv2", "use TLSv1_2"},
        {"ssl_version=TLSv9", "not known"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE url = xasprintf("rabbit://h/?%s", cases[i].query);
        struct made made;

        make(&made, url, "compute");
        assert_int_equal(error_code(made.error), ERR_CONFIG);
        if (!strstr(error_message(made.error), cases[i].says)) {
            fail_msg("%s: %s", url, error_message(made.error));
        }
        unmake(&made);
    }
}

static void
test_a_version_of_tls_is_one_or_all(void **state)
{
    static const struct {
        const char *name;
        int version;
    } cases[] = {
        {"TLSv1_2", 12}, {"tlsv1_2", 12}, {"TLSv1_3", 13},
        {"TLS", 0},      {"SSLv23", 0},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE url =
            xasprintf("rabbit://h/?ssl=1&ssl_version=%s", cases[i].name);
        struct made made;

        make(&made, url, "compute");
        assert_null(made.error);
        assert_int_equal(made.options.tls_version, cases[i].version);
        unmake(&made);
    }
}

static void
test_options_about_reconnecting_are_times(void **state)
{
    struct made made;

    (void)state;
    make(&made, "rabbit://", "compute");
    assert_int_equal(made.options.reconnect_delay_ms, 1000);
    assert_int_equal(made.options.reconnect_splay_ms, 0);
    assert_int_equal(made.options.reconnect_backoff_ms, 2000);
    assert_int_equal(made.options.heartbeat_rate, 2);
    unmake(&made);
    make(&made,
         "rabbit://h/?kombu_reconnect_delay=4.5&kombu_reconnect_splay=0.25&"
         "rabbit_retry_backoff=0&heartbeat_rate=3",
         "compute");
    assert_int_equal(made.options.reconnect_delay_ms, 4500);
    assert_int_equal(made.options.reconnect_splay_ms, 250);
    assert_int_equal(made.options.reconnect_backoff_ms, 0);
    assert_int_equal(made.options.heartbeat_rate, 3);
    unmake(&made);
}

static void
test_queues_are_named_after_host_and_process_if_asked_to(void **state)
{
    struct made made;
    char host[256] = "";

    (void)state;
    gethostname(host, sizeof host - 1);
    make(&made, "rabbit://", "compute");
    assert_null(made.options.queue_host);
    assert_null(made.options.queue_process);
    unmake(&made);
    make(&made, "rabbit://h/?use_queue_manager=1", "compute");
    assert_string_equal(made.options.queue_host, host);
    assert_string_equal(made.options.queue_process,
                        program_invocation_short_name);
    unmake(&made);
    make(&made, "rabbit://h/?use_queue_manager=1&hostname=a&processname=b",
         "compute");
    assert_string_equal(made.options.queue_host, "a");
    assert_string_equal(made.options.queue_process, "b");
    unmake(&made);
}

static void
test_quorum_queues_and_streams_can_be_asked_for(void **state)
{
    struct made made;

    (void)state;
    make(&made,
         "rabbit://h/?rabbit_quorum_queue=1&rabbit_transient_quorum_queue=1&"
         "rabbit_stream_fanout=1&rabbit_qos_prefetch_count=5&"
         "rabbit_quorum_delivery_limit=1&rabbit_quroum_max_memory_length=2&"
         "rabbit_quorum_max_memory_bytes=3&rabbit_transient_queues_ttl=0&"
         "enable_cancel_on_failover=1",
         "compute");
    assert_null(made.error);
    assert_true(made.options.quorum);
    assert_true(made.options.transient_quorum);
    assert_true(made.options.stream_fanout);
    assert_true(made.options.cancel_on_failover);
    assert_int_equal(made.options.prefetch, 5);
    assert_int_equal(made.options.quorum_delivery_limit, 1);
    assert_int_equal(made.options.quorum_max_length, 2);
    assert_int_equal(made.options.quorum_max_bytes, 3);
    assert_int_equal(made.options.transient_ttl_s, 0);
    unmake(&made);
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
        cmocka_unit_test(test_what_cannot_work_is_refused_with_what_to_do),
        cmocka_unit_test(test_a_version_of_tls_is_one_or_all),
        cmocka_unit_test(test_options_about_reconnecting_are_times),
        cmocka_unit_test(
            test_queues_are_named_after_host_and_process_if_asked_to),
        cmocka_unit_test(test_quorum_queues_and_streams_can_be_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
