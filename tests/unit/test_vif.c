#include <config.h>

#include "drivers/vif.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/host_recorder.h"

#define GUEST "78eed080-8b3c-4b1e-8d43-0a5d3ca4c0b1"
#define PORT "88dae9fa-0dc6-49e3-8c29-3abc41e99ac9"
#define MAC "00:0c:29:0d:11:74"

static int
set_up(void **state)
{
    struct host_recorder *recorder = xzalloc(sizeof *recorder);

    host_recorder_open(recorder);
    *state = recorder;
    return 0;
}

static int
tear_down(void **state)
{
    host_recorder_close(*state);
    free(*state);
    return 0;
}

static struct vif *
vif_of(const char *type)
{
    struct vif *vif = xzalloc(sizeof *vif);

    vif->type = xstrdup(type);
    vif->id = xstrdup(PORT);
    vif->instance = xstrdup(GUEST);
    vif->mac = xstrdup(MAC);
    vif->device = xstrdup("tap88dae9fa-0d");
    vif->bridge = xstrdup("br-int");
    vif->interface_id = xstrdup(PORT);
    vif->mtu = 1450;
    return vif;
}

#define AUTO_VIF CLEANUP(vif_free_at) struct vif

/* Links come and go as `ip` says. */
static int
links(struct host_recorder *recorder, const char *line, const char **ret_words)
{
    char name[32] = "", peer[32] = "";

    if (sscanf(line, "ip link add name %31s type veth peer name %31s", name,
               peer) >= 1 ||
        sscanf(line, "ip tuntap add dev %31s", name) == 1 ||
        sscanf(line, "ip link add link %*s name %31s", name) == 1) {
        for (const char *link = name; *link; link = link == name ? peer : "") {
            AUTO_FREE path = xasprintf("/sys/class/net/%s", link);
            host_recorder_put(recorder, path, "");
        }
        return 0;
    }
    if (sscanf(line, "ip link delete dev %31s", name) == 1) {
        AUTO_FREE path = xasprintf("/sys/class/net/%s", name);
        host_recorder_remove(recorder, path);
        return 0;
    }
    *ret_words = "";
    return 0;
}

static void
assert_backend(const struct vif *vif, const char *type, const char *name,
               const char *device)
{
    struct vif_backend backend;

    assert_null(vif_describe(vif, &backend));
    assert_string_equal(backend.type, type);
    assert_string_equal(backend.name, name);
    assert_true(str_eq(backend.device, device));
}

static void
test_failed_binding_has_novas_class(void **state)
{
    struct host_recorder *recorder = *state;
    static const char *const types[] = {"binding_failed", "unbound", "hw_veb",
                                        "vhostuser", "ib_hostdev"};

    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        AUTO_VIF *vif = vif_of(types[i]);
        AUTO_ERROR error = vif_plug(&recorder->host, vif);
        assert_int_equal(error_code(error), ERR_VIF_PLUG);
        assert_string_equal(error_class_name(error),
                            "VirtualInterfacePlugException");
        assert_null(vif_unplug(&recorder->host, vif)); /* It never was. */
    }
    assert_ran(recorder, "");
}

static void
test_what_could_not_be_plugged_need_not_be_unplugged(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("bridge");

    free(steal(&vif->bridge));
    AUTO_ERROR error = vif_plug(&recorder->host, vif);
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "");
}

static void
test_arguments_are_plain(void **state UNUSED)
{
    static const char *const names[] = {
        "", "-x", "a b", "a/b", "..", "0123456789abcdef", "a\nb", NULL};
    static const char *const macs[] = {
        "",   "00:0c:29:0d:11:7",  "x",
        NULL, "00:0C:29:0D:11:74", "00:0c:29:0d:11:74 "};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        AUTO_VIF *vif = vif_of("bridge");
        free(vif->bridge);
        vif->bridge = xstrdup_null(names[i]);
        AUTO_ERROR error = vif_check(vif);
        assert_int_equal(error_code(error), ERR_VALUE);
    }
    for (size_t i = 0; i < N_ELEMENTS(macs); i++) {
        AUTO_VIF *vif = vif_of("ovs");
        free(vif->mac);
        vif->mac = xstrdup_null(macs[i]);
        AUTO_ERROR error = vif_check(vif);
        assert_int_equal(error_code(error), ERR_VALUE);
    }
}

static void
test_bridge_that_is_there_is_left_alone(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("bridge");

    host_recorder_put(recorder, "/sys/class/net/br-int", "");
    assert_null(vif_plug(&recorder->host, vif));
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "");
    assert_backend(vif, "bridge", "br-int", "tap88dae9fa-0d");
}

static void
test_bridge_is_made_if_it_may_be(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("bridge");

    recorder->react = links;
    vif->may_create_bridge = true;
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(recorder, "ip link add name br-int type bridge stp_state 0 "
                         "forward_delay 0\n"
                         "ip link set dev br-int mtu 1450\n"
                         "ip link set dev br-int up\n");
    assert_null(vif_plug(&recorder->host, vif));
    assert_null(vif_unplug(&recorder->host, vif)); /* Others may use it. */
    assert_ran(recorder, "");
}

static void
test_missing_bridge_may_come(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("bridge");
    AUTO_ERROR error = vif_plug(&recorder->host, vif);

    assert_int_equal(error_code(error), ERR_PROCESS);
    assert_non_null(strstr(error_message(error), "no bridge 'br-int'"));
}

static void
test_switch_of_the_hypervisor_needs_nothing(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("ovs");
    struct vif_backend backend;

    assert_null(vif_plug(&recorder->host, vif));
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "");
    assert_backend(vif, "bridge", "br-int", "tap88dae9fa-0d");
    assert_null(vif_describe(vif, &backend));
    assert_string_equal(backend.interface_id, PORT);
}

#define IDS                                                            \
    "external-ids:iface-id=" PORT " external-ids:iface-status=active " \
    "external-ids:attached-mac=" MAC " external-ids:vm-uuid=" GUEST    \
    " mtu_request=1450\n"

static void
test_delegated_port_is_added_and_deleted(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("ovs");
    struct vif_backend backend;

    vif->is_delegated = true;
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(recorder, "ovs-vsctl --timeout=120 -- --may-exist add-port "
                         "br-int tap88dae9fa-0d -- set Interface "
                         "tap88dae9fa-0d " IDS);
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "ovs-vsctl --timeout=120 -- --if-exists del-port "
                         "br-int tap88dae9fa-0d\n");
    assert_backend(vif, "ethernet", "", "tap88dae9fa-0d");
    assert_null(vif_describe(vif, &backend));
    assert_null(backend.interface_id);
}

static void
test_hybrid_chain_is_made_and_removed(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("ovs");

    recorder->react = links;
    vif->is_hybrid = true;
    host_recorder_put(
        recorder, "/proc/sys/net/ipv6/conf/qbr88dae9fa-0d/disable_ipv6", "0");
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(
        recorder,
        "ip link add name qbr88dae9fa-0d type bridge stp_state 0 "
        "forward_delay 0 ageing_time 0 mcast_snooping 0\n"
        "ip link set dev qbr88dae9fa-0d mtu 1450\n"
        "ip link set dev qbr88dae9fa-0d up\n"
        "ip link add name qvb88dae9fa-0d type veth peer name qvo88dae9fa-0d\n"
        "ip link set dev qvb88dae9fa-0d mtu 1450\n"
        "ip link set dev qvb88dae9fa-0d promisc on up\n"
        "ip link set dev qvo88dae9fa-0d mtu 1450\n"
        "ip link set dev qvo88dae9fa-0d promisc on up\n"
        "ip link set dev qvb88dae9fa-0d master qbr88dae9fa-0d\n"
        "ovs-vsctl --timeout=120 -- --may-exist add-port br-int "
        "qvo88dae9fa-0d -- set Interface qvo88dae9fa-0d " IDS);
    AUTO_FREE ipv6 = host_recorder_text(
        recorder, "/proc/sys/net/ipv6/conf/qbr88dae9fa-0d/disable_ipv6");
    assert_string_equal(ipv6, "1");
    assert_backend(vif, "bridge", "qbr88dae9fa-0d", "tap88dae9fa-0d");

    assert_null(vif_plug(&recorder->host, vif));
    assert_null(strstr(recorder->lines, " add name "));
    recorder->lines[0] = '\0';
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder,
               "ovs-vsctl --timeout=120 -- --if-exists del-port br-int "
               "qvo88dae9fa-0d\n"
               "ip link delete dev qvo88dae9fa-0d\n"
               "ip link delete dev qbr88dae9fa-0d\n");
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder,
               "ovs-vsctl --timeout=120 -- --if-exists del-port br-int "
               "qvo88dae9fa-0d\n");
}

static void
test_macvtap_is_on_its_vlan(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("macvtap");
    struct vif_backend backend;

    recorder->react = links;
    vif->source = xstrdup("eth1.7");
    vif->parent = xstrdup("eth1");
    vif->mode = xstrdup("bridge");
    vif->vlan = 7;
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(recorder, "ip link add link eth1 name eth1.7 type vlan id 7\n"
                         "ip link set dev eth1.7 up\n");
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(recorder, "ip link set dev eth1.7 up\n");
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "");
    assert_backend(vif, "direct", "eth1.7", NULL);
    assert_null(vif_describe(vif, &backend));
    assert_string_equal(backend.mode, "bridge");
}

static void
test_tap_is_made_and_removed(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("tap");

    recorder->react = links;
    assert_null(vif_plug(&recorder->host, vif));
    assert_ran(recorder, "ip tuntap add dev tap88dae9fa-0d mode tap\n"
                         "ip link set dev tap88dae9fa-0d address " MAC "\n"
                         "ip link set dev tap88dae9fa-0d mtu 1450\n"
                         "ip link set dev tap88dae9fa-0d up\n");
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "ip link delete dev tap88dae9fa-0d\n");
    assert_null(vif_unplug(&recorder->host, vif));
    assert_ran(recorder, "");
    assert_backend(vif, "ethernet", "", "tap88dae9fa-0d");
}

static int
no_permission(struct host_recorder *recorder UNUSED, const char *line UNUSED,
              const char **ret_words)
{
    *ret_words = "RTNETLINK answers: Operation not permitted\n";
    return 2;
}

static void
test_failure_is_in_the_programs_words(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VIF *vif = vif_of("tap");

    recorder->react = no_permission;
    AUTO_ERROR error = vif_plug(&recorder->host, vif);
    assert_int_equal(error_code(error), ERR_PROCESS);
    assert_string_equal(error_message(error),
                        "plug port '" PORT "': 'ip' failed with code 2: "
                        "RTNETLINK answers: Operation not permitted");
}

static void
test_links_of_guests_are_not_listed(void **state)
{
    struct host_recorder *recorder = *state;

    host_recorder_put(recorder, "/sys/class/net/br0", "");
    host_recorder_put(recorder, "/sys/class/net/tap0", "");
    host_recorder_put(recorder, "/sys/class/net/vnet3", "");
    host_recorder_put(recorder, "/sys/class/net/lo", "");
    char **names = host_links(&recorder->host);
    assert_string_equal(names[0], "br0");
    assert_null(names[1]);
    free(names[0]);
    free(names);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_failed_binding_has_novas_class),
        TEST(test_what_could_not_be_plugged_need_not_be_unplugged),
        TEST(test_arguments_are_plain),
        TEST(test_bridge_that_is_there_is_left_alone),
        TEST(test_bridge_is_made_if_it_may_be),
        TEST(test_missing_bridge_may_come),
        TEST(test_switch_of_the_hypervisor_needs_nothing),
        TEST(test_delegated_port_is_added_and_deleted),
        TEST(test_hybrid_chain_is_made_and_removed),
        TEST(test_macvtap_is_on_its_vlan),
        TEST(test_tap_is_made_and_removed),
        TEST(test_failure_is_in_the_programs_words),
        TEST(test_links_of_guests_are_not_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
