#include <config.h>

#include "agent/diagnostics.h"

/* What was counted of a guest, in Nova's words. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct guest_counters *
some_counters(void)
{
    struct guest_counters *counters = xzalloc(sizeof *counters);

    counters->memory_max_kib = 131072;
    counters->memory_kib = 65536;
    *guest_counters_add_cpu(counters) =
        (struct cpu_counters){.id = 2, .time_ns = 17};
    *guest_counters_add_disk(counters) =
        (struct disk_counters){.target = xstrdup("vda"),
                               .n_reads = 1,
                               .read_bytes = 2,
                               .n_writes = 3,
                               .written_bytes = 4,
                               .n_errors = -1};
    *guest_counters_add_nic(counters) =
        (struct nic_counters){.mac = xstrdup("fa:16:3e:00:00:01"),
                              .device = xstrdup("tap0"),
                              .rx_bytes = 1,
                              .rx_packets = 2,
                              .rx_errors = 3,
                              .rx_drops = 4,
                              .tx_bytes = 5,
                              .tx_packets = 6,
                              .tx_errors = 7,
                              .tx_drops = 8};
    guest_counters_add_nic(counters)->mac = xstrdup("fa:16:3e:00:00:02");
    guest_counters_add_memory(counters, "rss", 9);
    return counters;
}

static void
assert_json(const struct json *json, const char *wanted)
{
    AUTO_JSON parsed = NULL;
    AUTO_FREE text = xstrdup(wanted);

    for (char *c = text; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    assert_null(json_parse(text, strlen(text), &parsed));
    AUTO_FREE is = json_print(json, NULL);
    AUTO_FREE should_be = json_print(parsed, NULL);
    assert_string_equal(is, should_be);
}

static void
test_legacy_has_a_name_for_each(void **state UNUSED)
{
    CLEANUP(guest_counters_free_at)
    struct guest_counters *counters = some_counters();
    AUTO_JSON json = diagnostics_legacy(counters);

    /* A port that is nowhere on the host has no counters. */
    assert_json(json, "{'cpu2_time': 17, 'vda_read_req': 1, 'vda_read': 2,"
                      "'vda_write_req': 3, 'vda_write': 4, 'vda_errors': -1,"
                      "'tap0_rx': 1, 'tap0_rx_packets': 2, 'tap0_rx_errors': 3,"
                      "'tap0_rx_drop': 4, 'tap0_tx': 5, 'tap0_tx_packets': 6,"
                      "'tap0_tx_errors': 7, 'tap0_tx_drop': 8,"
                      "'memory': 131072, 'memory-rss': 9}");
}

static void
test_object_has_all_fields(void **state UNUSED)
{
    CLEANUP(guest_counters_free_at)
    struct guest_counters *counters = some_counters();
    AUTO_OBJECT instance = object_create("Instance", "2.7");
    struct json *metadata = json_object();

    object_set_string(instance, "launched_at", "2026-11-22T05:38:10Z");
    json_set_string(metadata, "image_img_config_drive", "mandatory");
    object_set(instance, "system_metadata", metadata);
    AUTO_JSON json = diagnostics_object(counters, instance, "kvm",
                                        INT64_C(1795325920) * 1000000);
    const struct json *data = json_get(json, "nova_object.data");

    assert_string_equal(json_string_of(json, "nova_object.name"),
                        "Diagnostics");
    assert_string_equal(json_string_of(data, "hypervisor"), "kvm");
    assert_int_equal(json_int_of(data, "uptime"), 30);
    assert_true(json_bool_of(data, "config_drive"));
    assert_int_equal(json_int_of(data, "num_cpus"), 1);
    assert_int_equal(json_int_of(data, "num_disks"), 1);
    assert_int_equal(json_int_of(data, "num_nics"), 2);
    assert_json(json_get(json_get(data, "memory_details"), "nova_object.data"),
                "{'maximum': 128, 'used': 64}");
    assert_json(
        json_get(json_at(json_get(data, "nic_details"), 1), "nova_object.data"),
        "{'mac_address': 'fa:16:3e:00:00:02', 'rx_octets': null,"
        "'rx_errors': null, 'rx_drop': null, 'rx_packets': null,"
        "'rx_rate': null, 'tx_octets': null, 'tx_errors': null,"
        "'tx_drop': null, 'tx_packets': null, 'tx_rate': null}");
}

static void
test_drive_that_is_recorded_counts(void **state UNUSED)
{
    static const struct {
        const char *recorded;
        bool has;
    } rows[] = {{"", false}, {"False", false}, {"True", true}, {NULL, false}};

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct guest_counters counters = {0};
        AUTO_OBJECT instance = object_create("Instance", "2.7");
        if (rows[i].recorded) {
            object_set_string(instance, "config_drive", rows[i].recorded);
        }
        AUTO_JSON json = diagnostics_object(&counters, instance, "qemu", 0);
        const struct json *data = json_get(json, "nova_object.data");
        assert_int_equal(json_bool_of(data, "config_drive"), rows[i].has);
        assert_true(json_is_null(json_get(data, "uptime")));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy_has_a_name_for_each),
        cmocka_unit_test(test_object_has_all_fields),
        cmocka_unit_test(test_drive_that_is_recorded_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
