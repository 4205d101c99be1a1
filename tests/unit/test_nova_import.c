#include <config.h>

#include "conf/nova_import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was left out by the last import, one a line. */
static char left_out[4096];

static void
note(void *aux, const struct nova_setting *setting, const char *reason)
{
    size_t size = strlen(left_out);

    assert_null(aux);
    snprintf(left_out + size, sizeof left_out - size, "%s:%d %s.%s: %s\n",
             setting->file, setting->line, setting->group, setting->name,
             reason);
}

static struct error *
import(const char *text, char **ret)
{
    AUTO_NOVA_CONF nova = nova_conf_create();
    struct error *error = nova_conf_add(nova, text, strlen(text), "f");

    left_out[0] = '\0';
    return error ? error : nova_import(nova, note, NULL, ret);
}

/* 'text' becomes 'wanted', beside what any nova.conf becomes. */
static void
assert_becomes(const char *text, const char *wanted)
{
    AUTO_FREE result = NULL;
    AUTO_ERROR error = import(text, &result);

    if (error) {
        fail_msg("'%s': %s", text, error_message(error));
    }
    if (!strstr(result, wanted)) {
        fail_msg("'%s' becomes '%s'", text, result);
    }
}

static void
assert_refused(const char *text, const char *message)
{
    AUTO_FREE result = NULL;
    AUTO_ERROR error = import(text, &result);

    assert_null(result);
    assert_non_null(error);
    assert_string_equal(error_message(error), message);
    assert_int_equal(error_code(error), ERR_CONFIG);
}

static void
nothing_still_means_a_host_of_novas(void **state)
{
    (void)state;
    AUTO_FREE result = NULL;
    AUTO_ERROR error = import("", &result);

    assert_null(error);
    assert_string_equal(result,
                        "control_plane = \"nova\";\n"
                        "instances_path = \"/var/lib/nova/instances\";\n");
    assert_string_equal(left_out, "");
}

static void
every_type_is_written_as_droverd_reads_it(void **state)
{
    (void)state;
    assert_becomes("[DEFAULT]\nmy_ip = 10.0.0.1\n", "my_ip = \"10.0.0.1\";\n");
    assert_becomes("[DEFAULT]\nreserved_host_disk_mb: 7\n",
                   "reserved_host_disk_mb = 7;\n");
    assert_becomes("[libvirt]\nlive_migration_permit_post_copy = On\n",
                   "libvirt : {\n    live_migration_permit_post_copy = true;\n"
                   "};\n");
    assert_becomes("[oslo_messaging_rabbit]\nkombu_reconnect_delay = 0.25\n",
                   "kombu_reconnect_delay = 0.25;\n");
    assert_becomes("[DEFAULT]\nimages_paths = /a,\n   /b c\n",
                   "images_paths = [ \"/a\", \"/b c\" ];\n");
    assert_becomes("[DEFAULT]\navailability_zone = a\"b\\c\n",
                   "availability_zone = \"a\\\"b\\\\c\";\n");
    assert_becomes("[oslo_messaging_notifications]\ndriver = messagingv2\n"
                   "driver = log\n",
                   "driver = [ \"messagingv2\", \"log\" ];\n");
}

static void
lines_are_read_as_oslo_reads_them(void **state)
{
    (void)state;
    assert_becomes("[DEFAULT]\nmy-ip='10.0.0.1'\n", "my_ip = \"10.0.0.1\";\n");
    assert_becomes("[DEFAULT]\n\n# my_ip=a\n;my_ip=b\nmy_ip =  10.0.0.2 \r\n",
                   "my_ip = \"10.0.0.2\";\n");
    assert_becomes("[DEFAULT]\navailability_zone=a = b: # c\n",
                   "availability_zone = \"a = b: # c\";\n");
    assert_becomes("[LibVirt]\nvirt_type=qemu\n", "virt_type = \"qemu\";\n");
    assert_becomes("[DEFAULT]\nmy_ip=10.0.0.1\nmy_ip=10.0.0.2",
                   "my_ip = \"10.0.0.2\";\n");
    assert_string_equal(left_out, "");

    assert_refused(" a = b\n",
                   "f:1: the line begins with a blank, but there is no value "
                   "that it could continue");
    assert_refused("[DEFAULT]\na = b\n\n c\n",
                   "f:4: the line begins with a blank, but there is no value "
                   "that it could continue");
    assert_refused("[DEFAULT\n", "f:1: a group is a name in brackets");
    assert_refused("[]\n", "f:1: a group is a name in brackets");
    assert_refused("a = b\n", "f:1: a [group] must come first");
    assert_refused("[DEFAULT]\n\nsecret\n",
                   "f:3: the line is no \"name = value\"");
    assert_refused("[DEFAULT]\n= secret\n", "f:2: the value has no name");
}

static void
names_in_values_are_resolved(void **state)
{
    (void)state;
    assert_becomes("[DEFAULT]\nstate_path = /srv\n",
                   "instances_path = \"/srv/instances\";\n");
    assert_becomes("[DEFAULT]\ninstances_path = ${state_path}/i\n",
                   "instances_path = \"/var/lib/nova/i\";\n");
    assert_becomes("[DEFAULT]\nmy_ip = 10.0.0.1\n[libvirt]\n"
                   "live_migration_inbound_addr = $my_ip\n",
                   "live_migration_inbound_addr = \"10.0.0.1\";\n");
    assert_becomes("[libvirt]\nlive_migration_inbound_addr = $my_ip\n",
                   "live_migration_inbound_addr = \"$my_ip\";\n");
    assert_becomes("[libvirt]\nvirt_type = qemu\n[DEFAULT]\n"
                   "availability_zone = $libvirt.virt_type-$1\n",
                   "availability_zone = \"qemu-$1\";\n");
    assert_becomes("[DEFAULT]\ntransport_url = rabbit://u:a$$b\\$c@h/\n",
                   "transport_url = \"rabbit://u:a$b$c@h/\";\n");
    assert_refused("[DEFAULT]\navailability_zone = $nowhere\n",
                   "f:2: option 'availability_zone' of [DEFAULT]: uses "
                   "$nowhere, which is not set");
    assert_refused("[DEFAULT]\navailability_zone = $a\na = $b\nb = ${a}\n",
                   "f:2: option 'availability_zone' of [DEFAULT]: names itself "
                   "in the end");
    assert_refused("[DEFAULT]\navailability_zone = $a$a$a$a$a$a$a$a\n"
                   "a = $b$b$b$b$b$b$b$b\nb = $c$c$c$c$c$c$c$c\n"
                   "c = $d$d$d$d$d$d$d$d\nd = 0123456789abcdef0123456789\n",
                   "f:2: option 'availability_zone' of [DEFAULT]: becomes too "
                   "long");
}

static void
what_has_no_effect_is_named(void **state)
{
    (void)state;
    assert_becomes("[DEFAULT]\nosapi_compute_workers = 2\nstate_path = /s\n"
                   "debug = false\n[api]\nauth_strategy = keystone\n[libvirt]\n"
                   "live_migration_flag = X\n",
                   "control_plane");
    assert_string_equal(
        left_out, "f:2 DEFAULT.osapi_compute_workers: not known to drover\n"
                  "f:3 DEFAULT.state_path: drover keeps a state of its own; "
                  "instances_path follows it\n"
                  "f:6 api.auth_strategy: not known to drover\n"
                  "f:8 libvirt.live_migration_flag: has no effect in drover\n");
}

static void
old_names_are_known_and_give_way(void **state)
{
    (void)state;
    assert_becomes("[DEFAULT]\nnotification_driver = log\n",
                   "driver = [ \"log\" ];\n");
    assert_string_equal(left_out, "");
    assert_becomes("[oslo_messaging_rabbit]\nrabbit_use_ssl = 1\n",
                   "    ssl = true;\n");
    assert_becomes("[DEFAULT]\nnotification_driver = log\n"
                   "[oslo_messaging_notifications]\ndriver = noop\n",
                   "driver = [ \"noop\" ];\n");
    assert_string_equal(left_out, "f:2 DEFAULT.notification_driver: its new "
                                  "name is set, too\n");
    assert_becomes("[DEFAULT]\ndebug = true\n", "log_level = [ \"debug\" ];\n");
}

static void
what_droverd_would_refuse_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused("[DEFAULT]\ncompute_driver = ironic.IronicDriver\n",
                   "f:2: option 'compute_driver' of [DEFAULT]: must be one of "
                   "libvirt|libvirt.LibvirtDriver|fake|fake.FakeDriver");
    assert_refused("[libvirt]\n\nlive_migration_downtime = 5\n",
                   "f:3: option 'live_migration_downtime' of [libvirt]: must "
                   "be between 100 and 2000000, not 5");
    assert_refused("[DEFAULT]\ndebug = perhaps\n",
                   "f:2: option 'debug': must be true or false");
    assert_refused("[DEFAULT]\nrpc_response_timeout = soon\n",
                   "f:2: option 'rpc_response_timeout' of [DEFAULT]: must be "
                   "an integer");
    /* Each alone would do. */
    assert_refused("[libvirt]\nlive_migration_tunnelled = true\n"
                   "live_migration_with_native_tls = true\n",
                   "the configuration for droverd:5: option "
                   "'libvirt.live_migration_tunnelled': does not go with "
                   "'live_migration_with_native_tls'");
}

static void
later_files_count_more(void **state)
{
    (void)state;
    static const char first[] = "[DEFAULT]\nmy_ip = 10.0.0.1\n";
    static const char second[] = "[DEFAULT]\nmy_ip = 10.0.0.2\n";
    AUTO_NOVA_CONF nova = nova_conf_create();
    AUTO_FREE result = NULL;
    AUTO_ERROR error = nova_conf_add(nova, first, sizeof first - 1, "a");

    assert_null(error);
    error = nova_conf_add(nova, second, sizeof second - 1, "b");
    assert_null(error);
    error = nova_import(nova, note, NULL, &result);
    assert_null(error);
    assert_non_null(strstr(result, "my_ip = \"10.0.0.2\";\n"));

    error = nova_conf_add(nova, "\0", 1, "c");
    assert_string_equal(error_message(error), "c: the file holds a null byte");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_still_means_a_host_of_novas),
        cmocka_unit_test(every_type_is_written_as_droverd_reads_it),
        cmocka_unit_test(lines_are_read_as_oslo_reads_them),
        cmocka_unit_test(names_in_values_are_resolved),
        cmocka_unit_test(what_has_no_effect_is_named),
        cmocka_unit_test(old_names_are_known_and_give_way),
        cmocka_unit_test(what_droverd_would_refuse_is_refused_with_its_place),
        cmocka_unit_test(later_files_count_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
