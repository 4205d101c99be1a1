#include <config.h>

#include "rpc/transport_url.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AUTO_URL CLEANUP(transport_url_free_at) struct transport_url *

static struct transport_url *
parse(const char *text)
{
    struct transport_url *url = NULL;
    AUTO_ERROR error = transport_url_parse(text, &url);

    if (error) {
        fail_msg("%s: %s", text, error_message(error));
    }
    return url;
}

/* user|password|host|port, a blank between two, then the vhost. */
static void
assert_means(const char *text, const char *expected)
{
    AUTO_URL url = parse(text);
    char *made = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&made, &size);

    for (size_t i = 0; i < url->n_hosts; i++) {
        const struct transport_host *h = &url->hosts[i];
        fprintf(out, "%s|%s|%s|%d ", h->user, h->password, h->host, h->port);
    }
    fputs(url->vhost, out);
    fclose(out);
    if (!str_eq(made, expected)) {
        fail_msg("%s: '%s', wanted '%s'", text, made, expected);
    }
    free(made);
}

static void
test_every_row_of_the_specification(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        /* No port, no path. */
        {"rabbit://u:p@h", "u|p|h|5672 /"},
        {"rabbit://u:p@h:1234/", "u|p|h|1234 /"},
        {"rabbit://u:p@h:65535", "u|p|h|65535 /"},
        /* Virtual hosts. */
        {"rabbit://u:p@h//", "u|p|h|5672 /"},
        {"rabbit://u:p@h/%2F", "u|p|h|5672 /"},
        {"rabbit://u:p@h/vh", "u|p|h|5672 vh"},
        {"rabbit://u:p@h/a/b", "u|p|h|5672 a/b"},
        {"rabbit://u:p@h/v%20h", "u|p|h|5672 v h"},
        {"rabbit://u:p@h/%2Fvh", "u|p|h|5672 /vh"},
        {"rabbit://u:p@h/v+h", "u|p|h|5672 v+h"},
        {"rabbit://u:p@h/vh?ssl=1", "u|p|h|5672 vh"},
        {"rabbit://u:p@h/vh#x", "u|p|h|5672 vh"},
        /* Credentials. */
        {"rabbit://h", "guest|guest|h|5672 /"},
        {"rabbit://u@h", "u||h|5672 /"},
        {"rabbit://u:@h", "u||h|5672 /"},
        {"rabbit://:p@h", "|p|h|5672 /"},
        {"rabbit://a@b:p@h", "a@b|p|h|5672 /"},
        {"rabbit://u:p:q@h", "u|p:q|h|5672 /"},
        {"rabbit://u:p%40ss%3A%2F%2C@h", "u|p@ss:/,|h|5672 /"},
        {"rabbit://u%3a:p+%2B@h", "u:|p++|h|5672 /"},
        {"rabbit://u:100%@h", "u|100%|h|5672 /"},
        {"rabbit://u:%zz%4@h", "u|%zz%4|h|5672 /"},
        {"rabbit://u:p%3F%23@h", "u|p?#|h|5672 /"},
        /* IPv6. */
        {"rabbit://u:p@[::1]:5673", "u|p|::1|5673 /"},
        {"rabbit://[fe80::2]/v", "guest|guest|fe80::2|5672 v"},
        {"rabbit://[fe80::2]:/v", "guest|guest|fe80::2|5672 v"},
        {"rabbit://::1", "guest|guest|::1|5672 /"},
        {"rabbit://u:p@2001:db8::5/v", "u|p|2001:db8::5|5672 v"},
        /* Ports and lists. */
        {"rabbit://h:", "guest|guest|h|5672 /"},
        {"rabbit://u:p@a,u2:p2@b:7,c/v",
         "u|p|a|5672 u2|p2|b|7 guest|guest|c|5672 v"},
        {"rabbit://,a,,b,/v", "guest|guest|a|5672 guest|guest|b|5672 v"},
        {"rabbit://[::1]:1,::2,c:3",
         "guest|guest|::1|1 guest|guest|::2|5672 guest|guest|c|3 /"},
        /* Case. */
        {"RABBIT://Host", "guest|guest|Host|5672 /"},
        /* The library's default. */
        {"rabbit://", "guest|guest|localhost|5672 /"},
        {"rabbit:///v", "guest|guest|localhost|5672 v"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        assert_means(cases[i].text, cases[i].expected);
    }
}

static void
test_bad_urls_are_refused_without_telling_secrets(void **state)
{
    static const char *const texts[] = {
        "",
        "secret",
        "rabbit:secret",
        "rabbit:/secret",
        "kombu://u:secret@h",
        "amqp://u:secret@h",
        "rabbits://u:secret@h",
        " rabbit://u:secret@h",
        "rabbit://u:secret@h:0",
        "rabbit://u:secret@h:65536",
        "rabbit://u:secret@h:99999999999999999999",
        "rabbit://u:secret@h:x",
        "rabbit://u:secret@h:-1",
        "rabbit://u:secret@",
        "rabbit://u:secret@:5672",
        "rabbit://u:secret@a:b:c",
        "rabbit://u:secret@[::1",
        "rabbit://u:secret@[::1]x",
        "rabbit://u:secret@[h]",
        "rabbit://u:secret@[]",
        /* Raw where they must be escaped. */
        "rabbit://u:secret,x@h",
        "rabbit://u:secret/x@h",
        "rabbit://u:secret?x@h",
        "rabbit://u:secret#x@h",
        /* Would end the string. */
        "rabbit://u:secret%00@h",
        "rabbit://secret%00:p@h",
        "rabbit://h/secret%00",
        "rabbit://h?secret%00=1",
        "rabbit://h?a=secret%00",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct transport_url *url = NULL;
        AUTO_FREE text = xstrdup(texts[i]);
        AUTO_ERROR error = transport_url_parse(text, &url);
        if (!error) {
            fail_msg("accepted: %s", texts[i]);
        }
        assert_int_equal(error_code(error), ERR_CONFIG);
        assert_null(strstr(error_message(error), "secret"));
        assert_null(url);
    }
}

static void
test_options_of_the_query(void **state)
{
    (void)state;
    AUTO_URL url = parse("rabbit://h/v?ssl=1&rabbit_login_method=PLAIN&ssl=0"
                         "&&empty=&none&a%3Db=c+d%2B%26&x=y=z");

    assert_int_equal(url->n_options, 4);
    assert_string_equal(url->options[0].name, "ssl");
    assert_string_equal(url->options[0].value, "1,0");
    assert_string_equal(url->options[1].name, "rabbit_login_method");
    assert_string_equal(url->options[1].value, "PLAIN");
    assert_string_equal(url->options[2].name, "a=b");
    assert_string_equal(url->options[2].value, "c d+&");
    assert_string_equal(url->options[3].name, "x");
    assert_string_equal(url->options[3].value, "y=z");
    assert_string_equal(url->vhost, "v");

    AUTO_URL no_path = parse("rabbit://h?ssl=true");
    assert_int_equal(no_path->n_options, 1);
    assert_string_equal(no_path->vhost, "/");
    AUTO_URL none = parse("rabbit://h/v?");
    assert_int_equal(none->n_options, 0);
}

static void
test_hosts_without_credentials_among_others_are_noticed(void **state)
{
    (void)state;
    AUTO_URL some = parse("rabbit://u:p@a,b");
    AUTO_URL all = parse("rabbit://u:p@a,u@b");
    AUTO_URL none = parse("rabbit://a,b");

    assert_true(some->some_lack_credentials);
    assert_false(all->some_lack_credentials);
    assert_false(none->some_lack_credentials);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_of_the_specification),
        cmocka_unit_test(test_bad_urls_are_refused_without_telling_secrets),
        cmocka_unit_test(test_options_of_the_query),
        cmocka_unit_test(
            test_hosts_without_credentials_among_others_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
