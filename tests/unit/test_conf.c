#include <config.h>

#include "conf/conf.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/value.h"

/* The warnings of the last load, one a line. */
static char warnings[65536];

static void
note_warning(void *aux, const char *text)
{
    size_t size = strlen(warnings);

    assert_null(aux);
    snprintf(warnings + size, sizeof warnings - size, "%s\n", text);
}

static struct conf *
load(const char *text)
{
    struct conf *conf = NULL;

    warnings[0] = '\0';
    AUTO_ERROR error =
        conf_load_text(text, strlen(text), "f", note_warning, NULL, &conf);
    if (error) {
        fail_msg("'%s': %s", text, error_message(error));
    }
    return conf;
}

static void
assert_refused_sized(const char *text, size_t size, const char *message)
{
    struct conf *conf = NULL;
    AUTO_ERROR error = conf_load_text(text, size, "f", NULL, NULL, &conf);

    assert_null(conf);
    assert_string_equal(error_message(error), message);
    assert_int_equal(error_code(error), ERR_CONFIG);
}

static void
assert_refused(const char *text, const char *message)
{
    assert_refused_sized(text, strlen(text), message);
}

static void
assert_list(char **list, const char *joined)
{
    char all[256] = "";

    for (char **s = list; *s; s++) {
        size_t size = strlen(all);

        snprintf(all + size, sizeof all - size, "%s;", *s);
    }
    assert_string_equal(all, joined);
}

static void
test_an_empty_file_gives_the_defaults(void **state)
{
    AUTO_CONF conf = load("");
    char host[256];

    (void)state;
    assert_int_equal(gethostname(host, sizeof host), 0);
    assert_string_equal(conf->host, host);
    assert_string_equal(conf->compute_driver, "libvirt");
    assert_string_equal(conf->control_plane, "none");
    assert_string_equal(conf->control_exchange, "nova");
    assert_string_equal(conf->transport_url, "rabbit://");
    assert_string_equal(conf->state_path, LOCALSTATEDIR "/lib/drover");
    assert_string_equal(conf->instances_path,
                        LOCALSTATEDIR "/lib/drover/instances");
    assert_string_equal(conf->driver_path, PKGLIBDIR);
    assert_int_equal(conf->max_concurrent_live_migrations, 1);
    assert_int_equal(conf->rpc_max_body, 64 << 20);
    assert_true(conf->initial_cpu_allocation_ratio == 16.0);
    assert_true(conf->vif_plugging_is_fatal);
    assert_int_equal(conf->libvirt.live_migration_downtime, 500);
    assert_string_equal(conf->libvirt.live_migration_timeout_action, "abort");
    assert_null(conf->libvirt.live_migration_scheme);
    assert_null(conf->libvirt.connection_uri);
    assert_list(conf->images_paths, "");
    assert_list(conf->oslo_messaging_notifications.topics, "notifications;");
    assert_true(conf->oslo_messaging_rabbit.ssl_enforce_hostname_verification);
    assert_string_equal(warnings, "");
}

static void
test_my_ip_is_found_out(void **state)
{
    AUTO_CONF conf = load("");
    struct in_addr address;

    (void)state;
    assert_int_equal(inet_pton(AF_INET, conf->my_ip, &address), 1);
}

static void
test_defaults_are_those_of_an_empty_file(void **state)
{
    AUTO_CONF empty = load("");
    AUTO_CONF defaults = conf_defaults();

    (void)state;
    assert_string_equal(defaults->host, empty->host);
    assert_string_equal(defaults->my_ip, empty->my_ip);
    assert_string_equal(defaults->instances_path, empty->instances_path);
    assert_list(defaults->log_level, "info;");
}

static void
test_values_of_all_types_arrive(void **state)
{
    AUTO_CONF conf = load("host = \"cmp-07.example.com\";\n"
                          "rpc_ping_enabled = true;\n"
                          "rpc_response_timeout = 5;\n"
                          "rpc_max_body = 131072L;\n"
                          "rpc_max_held = 0x10;\n"
                          "cpu_allocation_ratio = 2.5;\n"
                          "ram_allocation_ratio = 3;\n"
                          "default_ephemeral_format = \"ext4\";\n"
                          "images_paths = [ \"/a\", \"/b\" ];\n"
                          "log_level = ( \"warn\", \"link:debug\" );\n"
                          "libvirt : { virt_type = \"qemu\"; };\n"
                          "oslo_messaging_notifications : {\n"
                          "  driver = \"messagingv2, log\"; topics = []; };\n");

    (void)state;
    assert_string_equal(conf->host, "cmp-07.example.com");
    assert_true(conf->rpc_ping_enabled);
    assert_int_equal(conf->rpc_response_timeout, 5);
    assert_int_equal(conf->rpc_max_body, 131072);
    assert_int_equal(conf->rpc_max_held, 16);
    assert_true(conf->cpu_allocation_ratio == 2.5);
    assert_true(conf->ram_allocation_ratio == 3.0);
    assert_list(conf->images_paths, "/a;/b;");
    assert_list(conf->log_level, "warn;link:debug;");
    assert_string_equal(conf->libvirt.virt_type, "qemu");
    assert_list(conf->oslo_messaging_notifications.driver, "messagingv2;log;");
    assert_list(conf->oslo_messaging_notifications.topics, "");
    assert_non_null(strstr(warnings, "default_ephemeral_format")); /* No
                                                                    * use. */
}

static void
test_an_empty_string_leaves_the_default(void **state)
{
    AUTO_CONF conf = load("control_exchange = \"\"; transport_url = \"\";"
                          "libvirt : { live_migration_uri = \"\"; };"
                          "oslo_messaging_rabbit : { ssl_ca_file = \"\"; };");

    (void)state;
    assert_string_equal(conf->control_exchange, "nova");
    assert_string_equal(conf->transport_url, "rabbit://");
    assert_null(conf->libvirt.live_migration_uri);
    assert_null(conf->oslo_messaging_rabbit.ssl_ca_file);
}

static void
test_references_are_put_in(void **state)
{
    AUTO_CONF conf =
        load("host = \"h1\"; my_ip = \"192.0.2.1\";"
             "state_path = \"/srv\";"
             "control_socket = \"$state_path/$host.sock\";"
             "transport_url = \"rabbit://u:$host@h\";"
             "vnc : { server_listen = \"$my_ip\"; };"
             "libvirt : { connection_uri = \"a$hosts$my_ip$\"; };");

    (void)state;
    assert_string_equal(conf->instances_path, "/srv/instances");
    assert_string_equal(conf->control_socket, "/srv/h1.sock");
    assert_string_equal(conf->transport_url, "rabbit://u:$host@h");
    assert_string_equal(conf->vnc.server_listen, "192.0.2.1");
    assert_string_equal(conf->libvirt.connection_uri, "a$hosts192.0.2.1$");
}

static void
test_metrics_socket_is_beside_the_control_socket(void **state UNUSED)
{
    AUTO_CONF usual = load("control_socket = \"/srv/a.sock\";");
    AUTO_CONF other = load("control_socket = \"/srv/sock\";");
    AUTO_CONF set = load("metrics_socket = \"/srv/m\";");

    assert_string_equal(usual->metrics_socket, "/srv/a-metrics.sock");
    assert_string_equal(other->metrics_socket, "/srv/sock-metrics.sock");
    assert_string_equal(set->metrics_socket, "/srv/m");
}

static void
test_address_to_listen_at_is_checked(void **state UNUSED)
{
    static const char *const good[] = {"127.0.0.1:9464", "0.0.0.0:1",
                                       "[::1]:65535", "[::]:80"};
    static const char *const without_port[] = {
        "127.0.0.1", "127.0.0.1:",    "127.0.0.1:0", "1.2.3.4:-1", "1.2.3.4:x",
        "[::1]",     "1.2.3.4:65536", "1.2.3.4: 1",  "1.2.3.4:80x"};
    static const char *const without_address[] = {
        ":80",          "localhost:80", "*:80", "[]:80",
        "[1.2.3.4]:80", "::1:80",       "[:80", "]:80"};

    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        AUTO_FREE text = xasprintf("metrics_listen = \"%s\";", good[i]);
        AUTO_CONF conf = load(text);
        assert_string_equal(conf->metrics_listen, good[i]);
    }
    for (size_t i = 0; i < N_ELEMENTS(without_port); i++) {
        AUTO_FREE text = xasprintf("metrics_listen = \"%s\";", without_port[i]);
        assert_refused(text, "f:1: option 'metrics_listen': must end with a "
                             "colon and a port");
    }
    for (size_t i = 0; i < N_ELEMENTS(without_address); i++) {
        AUTO_FREE text =
            xasprintf("metrics_listen = \"%s\";", without_address[i]);
        assert_refused(text, "f:1: option 'metrics_listen': must begin with "
                             "an address, one of IPv6 in brackets");
    }
}

static void
test_novas_driver_names_are_taken(void **state)
{
    AUTO_CONF libvirt = load("compute_driver = \"libvirt.LibvirtDriver\";");
    AUTO_CONF fake = load("compute_driver = \"fake.FakeDriver\";");

    (void)state;
    assert_string_equal(libvirt->compute_driver, "libvirt");
    assert_string_equal(fake->compute_driver, "fake");
}

static void
test_an_unknown_name_is_refused_with_the_nearest(void **state)
{
    (void)state;
    assert_refused("\n\nhots = \"a\";",
                   "f:3: option 'hots': there is no such option");
    assert_refused("transport_ulr = 1;",
                   "f:1: option 'transport_ulr': there is no such option; did "
                   "you mean 'transport_url'?");
    assert_refused("libvirt : {\n live_migration_bandwith = 1; };",
                   "f:2: option 'libvirt.live_migration_bandwith': there is "
                   "no such option; did you mean 'live_migration_bandwidth'?");
    assert_refused("live_migration_bandwidth = 1;",
                   "f:1: option 'live_migration_bandwidth': there is no such "
                   "option; did you mean 'live_migration_bandwidth' in group "
                   "'libvirt'?");
    assert_refused("libvirt : { transport_url = \"\"; };",
                   "f:1: option 'libvirt.transport_url': there is no such "
                   "option; did you mean 'transport_url', outside any group?");
    assert_refused("libvrt : { };",
                   "f:1: option 'libvrt': there is no such option; did you "
                   "mean 'libvirt'?");
    assert_refused("DEFAULT : { };",
                   "f:1: option 'DEFAULT': is not needed: its options stand "
                   "outside any group");
    assert_refused("libvirt = 1;", "f:1: option 'libvirt': is a group: write "
                                   "its options in braces");
}

static void
test_a_wrong_type_is_refused(void **state)
{
    (void)state;
    assert_refused("host = 5;",
                   "f:1: option 'host': must be a string in quotes");
    assert_refused("rpc_ping_enabled = 1;",
                   "f:1: option 'rpc_ping_enabled': must be true or false");
    assert_refused("rpc_max_held = \"5\";",
                   "f:1: option 'rpc_max_held': must be an integer");
    assert_refused("rpc_max_held = 5.0;",
                   "f:1: option 'rpc_max_held': must be an integer");
    assert_refused("cpu_allocation_ratio = \"x\";",
                   "f:1: option 'cpu_allocation_ratio': must be a number");
    assert_refused("images_paths = [ 1, 2 ];",
                   "f:1: option 'images_paths': must be a list of strings, as "
                   "in [ \"a\", \"b\" ]");
    assert_refused("images_paths = ( \"/a\", 1 );",
                   "f:1: option 'images_paths': must be a list of strings, as "
                   "in [ \"a\", \"b\" ]");
    assert_refused("state_path : { };",
                   "f:1: option 'state_path': must be a path in quotes");
}

static void
test_a_value_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_refused("max_concurrent_live_migrations = -1;",
                   "f:1: option 'max_concurrent_live_migrations': must be at "
                   "least 0, not -1");
    assert_refused("libvirt : { live_migration_downtime = 99; };",
                   "f:1: option 'libvirt.live_migration_downtime': must be "
                   "between 100 and 2000000, not 99");
    assert_refused("libvirt : { live_migration_downtime_steps = 2; };",
                   "f:1: option 'libvirt.live_migration_downtime_steps': must "
                   "be between 3 and 1000, not 2");
    assert_refused("rpc_max_body = 5000000000L;",
                   "f:1: option 'rpc_max_body': must be between 65536 and "
                   "1073741824, not 5000000000");
    assert_refused("rpc_max_held = 5000000000L;",
                   "f:1: option 'rpc_max_held': must be between 1 and "
                   "1000000, not 5000000000");
    assert_refused("cpu_allocation_ratio = -0.5;",
                   "f:1: option 'cpu_allocation_ratio': must be between 0 and "
                   "1e+06, not -0.5");
    assert_refused("cpu_allocation_ratio = 1.0e999;",
                   "f:1: option 'cpu_allocation_ratio': must be between 0 and "
                   "1e+06, not inf");
    assert_refused("libvirt : { virt_type = \"xen\"; };",
                   "f:1: option 'libvirt.virt_type': must be one of "
                   "kvm|qemu|lxc|parallels");
    assert_refused("control_plane = \"none|nova\";",
                   "f:1: option 'control_plane': must be one of none|nova");
}

/* libconfig reads the first as 705032704 and does not complain. */
static void
test_a_number_that_would_be_cut_off_is_refused(void **state)
{
    (void)state;
    assert_refused("libvirt : {\n live_migration_bandwidth = 5000000000;\n};",
                   "f:2: option 'libvirt.live_migration_bandwidth': the number "
                   "needs 64 bits: write '5000000000L'");
    assert_refused("rpc_max_held = 0x1FFFFFFFF;",
                   "f:1: option 'rpc_max_held': the number needs 64 bits: "
                   "write '0x1FFFFFFFFL'");
    assert_refused("rpc_max_held = -2147483649;",
                   "f:1: option 'rpc_max_held': the number needs 64 bits: "
                   "write '-2147483649L'");
    assert_refused("rpc_max_held = 99999999999999999999;",
                   "f:1: option 'rpc_max_held': the number is too large");
    assert_refused("rpc_max_held = 9223372036854775808L;",
                   "f:1: option 'rpc_max_held': the number is too large");
    assert_refused("rpc_max_held = 4294967297e = 5;",
                   "f:1: option 'rpc_max_held': the number needs 64 bits: "
                   "write '4294967297L'");
}

static void
test_digits_elsewhere_do_not_matter(void **state)
{
    AUTO_CONF conf = load("# 5000000000\n// 5000000000\n/* 5000000000\n */\n"
                          "availability_zone = \"5000000000 \\\" 6000000000\";"
                          "ram_allocation_ratio = 5000.000000000;"
                          "cpu_allocation_ratio = 1.5e-5000000000;"
                          "rpc_max_held = 1000000;");

    (void)state;
    assert_string_equal(conf->availability_zone, "5000000000 \" 6000000000");
    assert_true(conf->ram_allocation_ratio == 5000.0);
    assert_int_equal(conf->rpc_max_held, 1000000);
}

static void
test_what_is_set_twice_is_refused(void **state)
{
    (void)state;
    assert_refused("host = \"a\";\nhost = \"b\";",
                   "f:2: option 'host': is set twice");
    assert_refused("libvirt : { virt_type = \"kvm\";\n"
                   "images_type = \"raw\";\n virt_type = \"kvm\"; };",
                   "f:3: option 'libvirt.virt_type': is set twice");
    assert_refused("vnc : { };\n vnc : { };",
                   "f:2: option 'vnc': is set twice");
    assert_refused("oslo_messaging_rabbit : {\n"
                   "rabbit_quroum_max_memory_length = 1;\n"
                   "rabbit_quorum_max_memory_length = 1; };",
                   "f:3: option "
                   "'oslo_messaging_rabbit.rabbit_quorum_max_memory_length': "
                   "is set twice, under two spellings");
}

static void
test_broken_syntax_is_refused_with_the_line(void **state)
{
    (void)state;
    assert_refused("host = ;", "f:1: syntax error");
    assert_refused("a = 1;\nb = yes;\n", "f:2: syntax error");
    assert_refused("\nhost = \"a\n\n",
                   "f:2: option 'host': the string has no end");
    assert_refused("host = \"a\\", "f:1: option 'host': the string has no end");
    assert_refused("libvirt : {", "f:1: syntax error");
}

static void
test_other_files_are_not_included(void **state)
{
    AUTO_CONF conf = load("availability_zone = \"@include\";");

    (void)state;
    assert_string_equal(conf->availability_zone, "@include");
    assert_refused("\n@include \"/etc/passwd\"\n",
                   "f:2: '@include' is not supported");
}

static void
test_bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    assert_refused_sized("host = \"a\0\";", 12,
                         "f: the file holds a null byte");
    assert_refused("availability_zone = \"a\\n\";",
                   "f:1: option 'availability_zone': must not hold control "
                   "characters");
    assert_refused("availability_zone = \"\xc3\x28\";",
                   "f:1: option 'availability_zone': must be UTF-8");
    assert_refused("availability_zone = \"\xed\xa0\x80\";",
                   "f:1: option 'availability_zone': must be UTF-8");
    assert_refused("availability_zone = \"\xf0\x9f\x98\";",
                   "f:1: option 'availability_zone': must be UTF-8");
    AUTO_CONF conf = load("availability_zone = \"Z\xc3\xbcrich\";");
    assert_string_equal(conf->availability_zone, "Z\xc3\xbcrich");
}

static void
test_deep_nesting_is_refused(void **state)
{
    char text[20000] = "a = ";

    (void)state;
    memset(text + 4, '(', sizeof text - 5);
    assert_refused(text, "f:1: option 'a': brackets are nested too deep");
}

static void
test_a_huge_file_is_refused(void **state)
{
    size_t size = (1u << 20) + 1;
    AUTO_FREE text = xmalloc(size);

    (void)state;
    memset(text, '\n', size);
    assert_refused_sized(text, size, "f: the file is too large");
}

static void
test_a_host_name_that_would_be_a_pattern_is_refused(void **state)
{
    char text[300] = "host = \"";

    (void)state;
    assert_refused("host = \"cmp*\";",
                   "f:1: option 'host': 'cmp*' must consist of letters, "
                   "digits and _ . : -");
    assert_refused("host = \"#\";",
                   "f:1: option 'host': '#' must consist of letters, digits "
                   "and _ . : -");
    memset(text + 8, 'a', 248);
    memcpy(text + 256, "\";", 3);
    assert_refused(text, "f:1: option 'host': must not be longer than 247 "
                         "characters");
}

static void
test_paths_must_be_absolute_and_straight(void **state)
{
    (void)state;
    assert_refused("state_path = \"lib\";",
                   "f:1: option 'state_path': must be an absolute path");
    assert_refused("instances_path = \"/a/../b\";",
                   "f:1: option 'instances_path': must not contain '..'");
    assert_refused("images_paths = [ \"/a\", \"/b/..\" ];",
                   "f:1: option 'images_paths': '/b/..' must not contain "
                   "'..'");
    assert_refused("images_paths = [ \"a\" ];",
                   "f:1: option 'images_paths': 'a' must be an absolute path");
    AUTO_CONF conf = load("instances_path = \"/a..b/..c\";");
    assert_string_equal(conf->instances_path, "/a..b/..c");
}

/* A row: a text, and the reason that follows "f:1: option '...': ". */
static void
test_values_with_a_form_of_their_own_are_checked(void **state)
{
    static const char *const rows[][2] = {
        {"instance_name_template = \"vm\";", "must hold one of"},
        {"instance_name_template = \"vm%s\";", "must hold one of"},
        {"instance_name_template = \"vm%n\";", "must hold one of"},
        {"instance_name_template = \"%d%d\";", "must hold one of"},
        {"instance_name_template = \"a/%d\";", "must hold one of"},
        {"instance_name_template = \"%99x\";", "must hold one of"},
        {"log_level = \"verbose\";", "is not error, warn"},
        {"log_level = \"link:verbose\";", "is not error, warn"},
        {"log_level = \":debug\";", "names no module"},
        {"libvirt : { live_migration_uri = \"qemu+tcp://h/system\"; };",
         "must hold '%s' once"},
        {"libvirt : { live_migration_uri = \"qemu://%s/%s\"; };",
         "must hold '%s' once"},
        {"libvirt : { live_migration_uri = \"qemu://%d/\"; };",
         "must hold '%s' once"},
        {"libvirt : { live_migration_scheme = \"tcp://\"; };",
         "must be a scheme"},
        {"libvirt : { live_migration_inbound_addr = \"a/b\"; };",
         "must consist of"},
        {"libvirt : { live_migration_tunnelled = true;"
         "live_migration_with_native_tls = true; };",
         "does not go with"},
        {"libvirt : { live_migration_convergence = \"2\"; };",
         "must be 'nova', or N:ACTION"},
        {"libvirt : { live_migration_convergence = \"2:abort,1:downtime\"; };",
         "in their order"},
        {"libvirt : { live_migration_convergence = \"1:throttle\"; };",
         "needs live_migration_permit_auto_converge"},
        {"libvirt : { live_migration_convergence = \"1:postcopy\"; };",
         "needs live_migration_permit_post_copy"},
        {"libvirt : { live_migration_compression = \"zip\"; };", "xbzrle"},
        {"libvirt : { live_migration_compression = \"xbzrle\";"
         "live_migration_parallel_connections = 2; };",
         "does not work over several connections"},
        {"vnc : { server_listen = \"a b\"; };", "must consist of"},
        {"serial_console : { port_range = \"20000:10000\"; };",
         "must be two ports"},
        {"serial_console : { port_range = \"1:99999\"; };",
         "must be two ports"},
        {"serial_console : { port_range = \"1:2x\"; };", "must be two ports"},
        {"upgrade_levels : { compute = \"6 0\"; };", "must be a version"},
        {"cinder : { catalog_info = \"volumev3\"; };", "TYPE:NAME:INTERFACE"},
        {"cinder : { catalog_info = \"volumev3:c:\"; };",
         "TYPE:NAME:INTERFACE"},
        {"cinder : { catalog_info = \"::publicURL\"; };",
         "TYPE:NAME:INTERFACE"},
        {"cinder : { catalog_info = \"a:b:c:d\"; };", "TYPE:NAME:INTERFACE"},
        {"oslo_messaging_notifications : { driver = \"kafka\"; };",
         "'kafka' is not messagingv2"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct conf *conf = NULL;
        AUTO_ERROR error = conf_load_text(rows[i][0], strlen(rows[i][0]), "f",
                                          NULL, NULL, &conf);

        if (!strstr(error_message(error), rows[i][1]) ||
            strncmp(error_message(error), "f:1: option '", 13) != 0) {
            fail_msg("'%s': %s", rows[i][0], error_message(error));
        }
    }
}

static void
test_templates_of_nova_are_taken(void **state)
{
    static const char *const good[] = {"instance-%08x", "%d", "vm-%X-a",
                                       "i-%(uuid)s", "%3d"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        AUTO_FREE text = xasprintf("instance_name_template = \"%s\";", good[i]);
        AUTO_CONF conf = load(text);

        assert_string_equal(conf->instance_name_template, good[i]);
    }
}

static void
test_a_password_is_in_no_message(void **state)
{
    static const char *const bad[] = {
        "transport_url = \"amqp://u:hunter2@h/\";",
        "transport_url = \"rabbit://u:hunter2@h/\\n\";",
        "transport_url = [ \"rabbit://u:hunter2@h/\" ];",
        "transport_url = \"rabbit://u:hunter2@h/",
        "transport_url = \"rabbit://u:hunter2@h/\"; transport_url = 1;",
        "transport_url = rabbit://u:hunter2@h/;",
        "oslo_messaging_notifications : { transport_url = \"u:hunter2@h\"; };",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        struct conf *conf = NULL;
        AUTO_ERROR error =
            conf_load_text(bad[i], strlen(bad[i]), "f", NULL, NULL, &conf);

        assert_int_equal(error_code(error), ERR_CONFIG);
        assert_null(strstr(error_message(error), "hunter2"));
    }
}

static void
test_what_has_no_effect_is_warned_about_once(void **state)
{
    AUTO_CONF conf = load("libvirt : {\n live_migration_flag = \"A, B\";\n"
                          " live_migration_progress_timeout = 0;\n};\n"
                          "oslo_messaging_rabbit : {\n"
                          " rpc_conn_pool_size = 5;\n"
                          " rabbit_quroum_max_memory_bytes = 7; };");

    (void)state;
    assert_string_equal(
        warnings,
        "f:2: option 'libvirt.live_migration_flag': has no effect any more\n"
        "f:3: option 'libvirt.live_migration_progress_timeout': has no effect "
        "any more\n"
        "f:6: option 'oslo_messaging_rabbit.rpc_conn_pool_size': has no "
        "effect in drover\n");
    assert_int_equal(conf->oslo_messaging_rabbit.rabbit_quorum_max_memory_bytes,
                     7);
}

static void
test_what_has_no_effect_must_yet_be_right(void **state)
{
    (void)state;
    assert_refused("oslo_messaging_rabbit : { rpc_conn_pool_size = 0; };",
                   "f:1: option 'oslo_messaging_rabbit.rpc_conn_pool_size': "
                   "must be at least 1, not 0");
}

/* A file of its own with 'text' and 'mode'; the name is the caller's. */
static char *
make_file(const char *text, mode_t mode)
{
    char *path = xstrdup("/tmp/test_conf.XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void
load_file_of_mode(const char *text, mode_t mode)
{
    AUTO_FREE path = make_file(text, mode);
    AUTO_CONF conf = NULL;

    warnings[0] = '\0';
    AUTO_ERROR error = conf_load(path, note_warning, NULL, &conf);
    unlink(path);
    assert_null(error);
    assert_non_null(conf);
}

static void
test_a_password_that_all_can_read_is_warned_about(void **state)
{
    const char *secret = "transport_url = \"rabbit://a@h,u:hunter2@i/v\";";

    (void)state;
    load_file_of_mode(secret, 0644);
    assert_non_null(strstr(warnings, ":1: option 'transport_url': holds a "
                                     "password that everyone can read"));
    assert_null(strstr(warnings, "hunter2"));
    load_file_of_mode(secret, 0640);
    assert_string_equal(warnings, "");
    load_file_of_mode("transport_url = \"rabbit://u@h:5672/a:b@c\";", 0644);
    assert_string_equal(warnings, "");
    load_file_of_mode("oslo_messaging_notifications : {\n"
                      "transport_url = \"rabbit://u:hunter2@i\"; };",
                      0604);
    assert_non_null(strstr(warnings, ":2: option "
                                     "'oslo_messaging_notifications."
                                     "transport_url': holds a password"));
    load_file_of_mode("neutron : { password = \"hunter2\"; };", 0604);
    assert_non_null(strstr(warnings, ":1: option 'neutron.password': holds a "
                                     "password"));
    assert_null(strstr(warnings, "hunter2"));
    load_file_of_mode("glance : { application_credential_secret = \"h\"; };",
                      0604);
    assert_non_null(strstr(warnings, "holds a password"));
}

static void
test_a_file_that_cannot_be_read_is_named(void **state)
{
    struct conf *conf = NULL;
    AUTO_ERROR missing = conf_load("/nonexistent/a", NULL, NULL, &conf);
    AUTO_ERROR directory = conf_load("/", NULL, NULL, &conf);

    (void)state;
    assert_null(conf);
    assert_string_equal(error_message(missing),
                        "/nonexistent/a: cannot be opened: No such file or "
                        "directory");
    assert_string_equal(error_message(directory),
                        "/: cannot be read: Is a directory");
}

static void
test_an_option_can_be_set_from_text(void **state)
{
    AUTO_CONF conf = load("");
    const char *rabbit = "oslo_messaging_rabbit";
    static const char *const is_true[] = {"true", "1", "yes", "On"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(is_true); i++) {
        conf->oslo_messaging_rabbit.ssl = false;
        assert_null(conf_set(conf, rabbit, "ssl", is_true[i]));
        assert_true(conf->oslo_messaging_rabbit.ssl);
    }
    assert_null(conf_set(conf, rabbit, "ssl", "no"));
    assert_false(conf->oslo_messaging_rabbit.ssl);
    assert_null(conf_set(conf, rabbit, "heartbeat_timeout_threshold", "7"));
    assert_int_equal(conf->oslo_messaging_rabbit.heartbeat_timeout_threshold,
                     7);
    assert_null(conf_set(conf, rabbit, "kombu_reconnect_delay", "0.5"));
    assert_true(conf->oslo_messaging_rabbit.kombu_reconnect_delay == 0.5);
    assert_null(conf_set(conf, rabbit, "rabbit_quroum_max_memory_bytes", "9"));
    assert_int_equal(conf->oslo_messaging_rabbit.rabbit_quorum_max_memory_bytes,
                     9);
    assert_null(conf_set(conf, NULL, "compute_driver", "fake.FakeDriver"));
    assert_string_equal(conf->compute_driver, "fake");
    assert_null(conf_set(conf, NULL, "images_paths", "/a, /b"));
    assert_list(conf->images_paths, "/a;/b;");
}

static void
test_a_text_that_will_not_do_changes_nothing(void **state)
{
    AUTO_CONF conf = load("");
    static const char *const rows[][3] = {
        {"ssl", "1,0", "option 'ssl': must be true or false"},
        {"rabbit_interval_max", "0",
         "option 'rabbit_interval_max': must be between 1 and 3600, not 0"},
        {"rabbit_interval_max", "9 ",
         "option 'rabbit_interval_max': must be an integer"},
        {"rabbit_interval_max", "99999999999999999999",
         "option 'rabbit_interval_max': must be an integer"},
        {"kombu_reconnect_delay", "nan",
         "option 'kombu_reconnect_delay': must be between 0 and 4.5, not nan"},
        {"rabbit_login_method", "MAGIC",
         "option 'rabbit_login_method': must be one of "
         "AMQPLAIN|PLAIN|EXTERNAL|RABBIT-CR-DEMO"},
        {"colour", "red", "option 'colour': there is no such option"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_ERROR error =
            conf_set(conf, "oslo_messaging_rabbit", rows[i][0], rows[i][1]);

        assert_string_equal(error_message(error), rows[i][2]);
    }
    AUTO_ERROR no_group = conf_set(conf, "paint", "colour", "red");
    assert_string_equal(error_message(no_group),
                        "option 'colour': there is no such option");
    assert_false(conf->oslo_messaging_rabbit.ssl);
    AUTO_ERROR no_version = conf_set(conf, "upgrade_levels", "compute", "6 0");
    assert_non_null(strstr(error_message(no_version), "must be a version"));
    assert_null(conf->upgrade_levels.compute);
    assert_int_equal(conf->oslo_messaging_rabbit.rabbit_interval_max, 30);
    assert_string_equal(conf->oslo_messaging_rabbit.rabbit_login_method,
                        "AMQPLAIN");
}

/* Reads a file of the build directory, in which tests are run. */
static char *
read_built(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = xzalloc(1u << 18);

    if (!file) {
        fail_msg("%s is not there: run this in the build directory", path);
    }
    assert_true(fread(text, 1, (1u << 18) - 1, file) > 0);
    fclose(file);
    return text;
}

static bool
same_list(char **a, char **b)
{
    while (*a && *b && strcmp(*a, *b) == 0) {
        a++;
        b++;
    }
    return !*a && !*b;
}

static void
assert_same(struct conf *a, struct conf *b)
{
    size_t n_groups, n;
    const struct option_group *groups = option_groups(&n_groups);

    for (size_t g = 0; g < n_groups; g++) {
        const struct option *rows = groups[g].rows(&n);

        for (size_t i = 0; i < n; i++) {
            struct value in_a = {0}, in_b = {0};

            if (rows[i].type == OPTION_ALIAS || rows[i].type == OPTION_GONE) {
                continue;
            }
            value_swap(a, &groups[g], &rows[i], &in_a);
            value_swap(b, &groups[g], &rows[i], &in_b);
            bool is_same = str_eq(in_a.string, in_b.string) &&
                           in_a.number == in_b.number &&
                           in_a.fraction == in_b.fraction &&
                           (!in_a.list || same_list(in_a.list, in_b.list));
            value_swap(a, &groups[g], &rows[i], &in_a);
            value_swap(b, &groups[g], &rows[i], &in_b);
            if (!is_same) {
                fail_msg("%s differs", rows[i].name);
            }
        }
    }
}

/* Prose begins with "# ", an option with "#" alone. */
static void
uncomment_options(char *text)
{
    for (char *p = strchr(text, '#'); p; p = strchr(p + 1, '#')) {
        if (p[1] != ' ' && p[1] != '\n') {
            *p = ' ';
        }
    }
}

static void
test_the_example_file_holds_the_defaults(void **state)
{
    AUTO_FREE text = read_built("conf/droverd.conf");
    AUTO_CONF as_it_is = load(text);
    AUTO_CONF defaults = conf_defaults();

    (void)state;
    assert_string_equal(warnings, "");
    assert_same(as_it_is, defaults);

    uncomment_options(text);
    AUTO_CONF all = load(text);
    assert_non_null(strstr(warnings, "migration_inbound_addr"));
    assert_non_null(strstr(warnings, "conn_pool_ttl"));
    assert_same(all, defaults);
}

static void
test_the_examples_of_the_manual_are_right(void **state)
{
    static const char begin[] = ".Bd -literal -offset indent\n";
    AUTO_FREE text = read_built("conf/droverd.conf.5");
    char *p = strstr(text, ".Sh EXAMPLES");
    int n = 0;

    (void)state;
    assert_non_null(p);
    while ((p = strstr(p, begin))) {
        char *end = strstr(p, ".Ed");

        assert_non_null(end);
        *end = '\0';
        AUTO_CONF conf = load(p + strlen(begin));
        assert_string_equal(warnings, "");
        assert_string_not_equal(conf->transport_url, "rabbit://");
        p = end + 1;
        n++;
    }
    assert_int_equal(n, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_file_gives_the_defaults),
        cmocka_unit_test(test_my_ip_is_found_out),
        cmocka_unit_test(test_defaults_are_those_of_an_empty_file),
        cmocka_unit_test(test_values_of_all_types_arrive),
        cmocka_unit_test(test_an_empty_string_leaves_the_default),
        cmocka_unit_test(test_references_are_put_in),
        cmocka_unit_test(test_metrics_socket_is_beside_the_control_socket),
        cmocka_unit_test(test_address_to_listen_at_is_checked),
        cmocka_unit_test(test_novas_driver_names_are_taken),
        cmocka_unit_test(test_an_unknown_name_is_refused_with_the_nearest),
        cmocka_unit_test(test_a_wrong_type_is_refused),
        cmocka_unit_test(test_a_value_out_of_range_is_refused),
        cmocka_unit_test(test_a_number_that_would_be_cut_off_is_refused),
        cmocka_unit_test(test_digits_elsewhere_do_not_matter),
        cmocka_unit_test(test_what_is_set_twice_is_refused),
        cmocka_unit_test(test_broken_syntax_is_refused_with_the_line),
        cmocka_unit_test(test_other_files_are_not_included),
        cmocka_unit_test(test_bytes_that_are_no_text_are_refused),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_a_huge_file_is_refused),
        cmocka_unit_test(test_a_host_name_that_would_be_a_pattern_is_refused),
        cmocka_unit_test(test_paths_must_be_absolute_and_straight),
        cmocka_unit_test(test_values_with_a_form_of_their_own_are_checked),
        cmocka_unit_test(test_templates_of_nova_are_taken),
        cmocka_unit_test(test_a_password_is_in_no_message),
        cmocka_unit_test(test_what_has_no_effect_is_warned_about_once),
        cmocka_unit_test(test_what_has_no_effect_must_yet_be_right),
        cmocka_unit_test(test_a_password_that_all_can_read_is_warned_about),
        cmocka_unit_test(test_a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(test_an_option_can_be_set_from_text),
        cmocka_unit_test(test_a_text_that_will_not_do_changes_nothing),
        cmocka_unit_test(test_the_example_file_holds_the_defaults),
        cmocka_unit_test(test_the_examples_of_the_manual_are_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
