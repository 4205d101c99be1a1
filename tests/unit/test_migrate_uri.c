#include <config.h>

#include "agent/migrate/uri.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *uri, *scheme, *virt_type;
    bool tunnelled;
    const char *dest, *connect_addr;
    const char *dest_uri, *migrate_uri; /* Expected. */
};

static const struct row rows[] = {
    /* The name of the destination. */
    {NULL, NULL, "kvm", false, "cmp-07", NULL, "qemu+tcp://cmp-07/system",
     NULL},
    {NULL, NULL, "qemu", false, "host_b.example.org", NULL,
     "qemu+tcp://host_b.example.org/system", NULL},
    {NULL, "tls", "kvm", false, "cmp-07", NULL, "qemu+tls://cmp-07/system",
     NULL},
    {NULL, NULL, "parallels", false, "cmp-07", NULL,
     "parallels+tcp://cmp-07/system", NULL},
    /* The address that it sent. */
    {NULL, NULL, "kvm", false, "cmp-07", "10.1.2.3",
     "qemu+tcp://10.1.2.3/system", "tcp://10.1.2.3"},
    {NULL, "ssh", "qemu", false, "cmp-07", "mig.cmp-07",
     "qemu+ssh://mig.cmp-07/system", "tcp://mig.cmp-07"},
    {NULL, NULL, "kvm", true, "cmp-07", "10.1.2.3",
     "qemu+tcp://10.1.2.3/system", NULL},
    {NULL, NULL, "parallels", false, "cmp-07", "10.1.2.3",
     "parallels+tcp://10.1.2.3/system", NULL},
    /* IPv6. */
    {NULL, NULL, "kvm", false, "cmp-07", "fd00::17",
     "qemu+tcp://[fd00::17]/system", "tcp://[fd00::17]"},
    {NULL, NULL, "kvm", false, "cmp-07", "[fd00::17]",
     "qemu+tcp://[fd00::17]/system", "tcp://[fd00::17]"},
    {NULL, NULL, "kvm", false, "fd00::1", NULL, "qemu+tcp://[fd00::1]/system",
     NULL},
    /* The option of old. */
    {"qemu+tcp://%s:16510/system", "tls", "kvm", false, "cmp-07", NULL,
     "qemu+tcp://cmp-07:16510/system", NULL},
    {"qemu+ssh://nova@%s/system?keyfile=/k%%20y", NULL, "lxc", false, "cmp-07",
     NULL, "qemu+ssh://nova@cmp-07/system?keyfile=/k%20y", NULL},
    {"xen+tls://%s/", NULL, "kvm", false, "cmp-07", "fd00::17",
     "xen+tls://[fd00::17]/", "tcp://[fd00::17]"},
};

static struct error *
make(const struct row *row, char **dest_uri, char **migrate_uri)
{
    const struct migrate_uri_options options = {
        .live_migration_uri = row->uri,
        .scheme = row->scheme,
        .virt_type = row->virt_type,
        .tunnelled = row->tunnelled,
    };

    return migrate_uri_make(&options, row->dest, row->connect_addr, dest_uri,
                            migrate_uri);
}

static void
test_23_uris_are_made_as_by_nova(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_FREE dest_uri = NULL;
        AUTO_FREE migrate_uri = NULL;
        AUTO_ERROR error = make(&rows[i], &dest_uri, &migrate_uri);

        assert_null(error);
        assert_string_equal(dest_uri, rows[i].dest_uri);
        if (!str_eq(migrate_uri, rows[i].migrate_uri)) {
            fail_msg("row %zu: %s", i, migrate_uri ? migrate_uri : "null");
        }
    }
}

static void
test_the_data_uri_need_not_be_wanted(void **state)
{
    (void)state;
    AUTO_FREE dest_uri = NULL;
    AUTO_ERROR error = make(&rows[4], &dest_uri, NULL);

    assert_null(error);
    assert_string_equal(dest_uri, "qemu+tcp://10.1.2.3/system");
}

static enum error_code
refuse(const char *uri, const char *virt_type, const char *dest,
       const char *addr, char **ret_text)
{
    const struct row row = {
        .uri = uri, .virt_type = virt_type, .dest = dest, .connect_addr = addr};
    char *dest_uri = NULL, *migrate_uri = NULL;
    AUTO_ERROR error = make(&row, &dest_uri, &migrate_uri);

    assert_null(dest_uri);
    assert_null(migrate_uri);
    if (ret_text) {
        *ret_text = error_text(error);
    }
    return error_code(error);
}

static void
test_a_name_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",           "a b",          "a/b",         "host?x=1",
        "a\n",        "a@b",          "a%s",         "[cmp-07]",
        "[fd00::1",   "fe80::1%eth0", "h\xc3\xb6st", "#",
        "a;rm -rf /", "[]",           "host\"'"};
    char *text = NULL;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        assert_int_equal(refuse(NULL, "kvm", names[i], NULL, NULL),
                         ERR_INVALID_HOSTNAME);
        assert_int_equal(refuse(NULL, "kvm", "cmp-07", names[i], NULL),
                         ERR_INVALID_HOSTNAME);
    }
    /* The name is checked though it would not be used. */
    assert_int_equal(refuse(NULL, "kvm", "a b", "10.1.2.3", &text),
                     ERR_INVALID_HOSTNAME);
    assert_string_equal(text, "Invalid characters in hostname 'a b'");
    free(text);
}

static void
test_a_name_that_never_ends_is_refused(void **state)
{
    (void)state;
    char name[300];

    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_false(migrate_uri_is_hostname(name));
    name[255] = '\0';
    assert_true(migrate_uri_is_hostname(name));
}

static void
test_a_type_that_does_not_migrate_is_refused(void **state)
{
    (void)state;
    char *text = NULL;

    assert_int_equal(refuse(NULL, "lxc", "cmp-07", NULL, &text),
                     ERR_URI_NOT_AVAILABLE);
    assert_string_equal(text, "No live migration URI configured and no default "
                              "available for \"lxc\" hypervisor "
                              "virtualization type.");
    free(text);
}

static void
test_a_template_has_one_place_for_the_host(void **state)
{
    (void)state;
    static const char *const templates[] = {"qemu+tcp://host/system",
                                            "qemu+tcp://%s/%s",
                                            "qemu+tcp://%d/system",
                                            "qemu+tcp://%%s/system",
                                            "%",
                                            "%s%"};

    for (size_t i = 0; i < N_ELEMENTS(templates); i++) {
        assert_int_equal(refuse(templates[i], "kvm", "cmp-07", NULL, NULL),
                         ERR_CONFIG);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_23_uris_are_made_as_by_nova),
        cmocka_unit_test(test_the_data_uri_need_not_be_wanted),
        cmocka_unit_test(test_a_name_that_is_none_is_refused),
        cmocka_unit_test(test_a_name_that_never_ends_is_refused),
        cmocka_unit_test(test_a_type_that_does_not_migrate_is_refused),
        cmocka_unit_test(test_a_template_has_one_place_for_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
