#include <config.h>

#include "agent/nova/numa_fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/sets.h"
#include "agent/migrate/data.h"
#include "agent/nova/numa_info.h"
#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"

#define TEXT_MAX (2u << 20)

/* Single quotes for double ones. */
static struct json *
json_of(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *json = NULL;

    for (char *at = copy; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &json);
    assert_null(error);
    return json;
}

static struct json *
read_cases(void)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path =
        xasprintf("%s/tests/corpus/numa/cases.json", srcdir ? srcdir : ".");
    FILE *file = fopen(path, "re");
    AUTO_FREE text = xzalloc(TEXT_MAX);
    struct json *json = NULL;

    if (!file) {
        fail_msg("no %s", path);
    }
    size_t size = fread(text, 1, TEXT_MAX - 1, file);
    fclose(file);
    AUTO_ERROR error = json_parse(text, size, &json);
    assert_null(error);
    return json;
}

static const struct json *
find_node(const struct json *host, int64_t id)
{
    json_for_each (node, primitive_get(host, "cells")) {
        if (primitive_int(node, "id") == id) {
            return node;
        }
    }
    fail_msg("no node %lld", (long long)id);
    return NULL;
}

static bool
has_number(const struct json *array, int64_t number)
{
    json_for_each (other, array) {
        if (json_get_int(other) == number) {
            return true;
        }
    }
    return false;
}

/* Takes it from the host; it was nobody's. */
static void
assert_free(const struct json *node, const struct json *cpu,
            struct cpu_set *taken)
{
    int number = (int)json_get_int(cpu);

    assert_true(has_number(primitive_get(node, "pcpuset"), number));
    assert_false(has_number(primitive_get(node, "pinned_cpus"), number));
    assert_false(cpu_set_has(taken, number));
    cpu_set_add(taken, number);
}

/* Whatever was chosen has to be right by itself. */
static void
assert_possible(const struct json *host, const struct json *fitted)
{
    CLEANUP(cpu_set_close) struct cpu_set taken = {0}, nodes = {0};

    json_for_each (cell, primitive_get(fitted, "cells")) {
        const struct json *node = find_node(host, primitive_int(cell, "id"));
        const struct json *pins = primitive_get(cell, "cpu_pinning_raw");

        assert_false(cpu_set_has(&nodes, (int)primitive_int(cell, "id")));
        cpu_set_add(&nodes, (int)primitive_int(cell, "id"));
        assert_int_equal(json_size(pins),
                         json_size(primitive_get(cell, "pcpuset")));
        json_for_each (cpu, pins) {
            assert_free(node, cpu, &taken);
        }
        json_for_each (cpu, primitive_get(cell, "cpuset_reserved")) {
            assert_free(node, cpu, &taken);
        }
    }
}

/* As Nova, on the same nodes and CPUs. */
static bool
is_same(const struct json *fitted, const struct json *novas)
{
    const struct json *theirs = json_first(novas);

    json_for_each (cell, primitive_get(fitted, "cells")) {
        static const char *const fields[] = {"id", "cpu_pinning_raw",
                                             "cpuset_reserved"};
        for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
            if (!json_equal(primitive_get(cell, fields[i]),
                            json_get(theirs, fields[i]))) {
                return false;
            }
        }
        theirs = json_next(theirs);
    }
    return true;
}

static void
test_guests_fit_as_nova_has_them(void **state UNUSED)
{
    AUTO_JSON cases = read_cases();
    int n = 0, n_same = 0, n_fit = 0;

    json_for_each (each, cases) {
        const struct numa_fit_rules rules = {
            .limits = json_get(each, "limits"),
            .is_packed = json_bool_of(each, "is_packed"),
        };
        const struct json *host = json_get(each, "host");
        const struct json *novas = json_get(each, "fitted");
        AUTO_JSON fitted = NULL;
        AUTO_ERROR error =
            numa_fit(host, json_get(each, "instance"), &rules, &fitted);

        n++;
        if (json_is_null(novas) != (error != NULL)) {
            AUTO_FREE text = json_print(each, NULL);
            fail_msg("case %d: %s\n%s", n, error_message(error), text);
        }
        if (error) {
            assert_int_equal(error_code(error),
                             ERR_COMPUTE_RESOURCES_UNAVAILABLE);
            continue;
        }
        assert_possible(host, fitted);
        n_fit++;
        n_same += is_same(fitted, novas);
    }
    print_message("%d cases, %d fit, %d as Nova has it\n", n, n_fit, n_same);
    assert_int_equal(n_same, n_fit);
}

#define CELL(ID, MORE)                                                     \
    "{'nova_object.data': {'id': " ID ", 'cpuset': [], 'memory': 64, "     \
    "'pagesize': null, 'cpu_policy': 'dedicated', 'cpu_thread_policy': "   \
    "null, 'cpuset_reserved': null, 'cpu_pinning_raw': {'0': 9}, 'more': " \
    "'kept', " MORE "}}"
#define NODE(ID, CPUS, MORE)                                                   \
    "{'nova_object.data': {'id': " ID ", 'cpuset': " CPUS ", 'pcpuset': " CPUS \
    ", 'memory': 128, 'cpu_usage': 0, 'memory_usage': 0, "                     \
    "'pinned_cpus': [], 'siblings': [], 'mempages': []" MORE "}}"
#define CELLS(TEXT)                               \
    "{'nova_object.data': {'cells': [" TEXT "], " \
    "'emulator_threads_policy': null}, 'nova_object.changes': ['cells']}"

static struct error *
fit_texts(const char *host_text, const char *instance_text, struct json **ret)
{
    AUTO_JSON host = json_of(host_text);
    AUTO_JSON instance = json_of(instance_text);
    const struct numa_fit_rules rules = {.limits = NULL};

    return numa_fit(host, instance, &rules, ret);
}

static void
test_what_a_newer_peer_says_is_kept(void **state UNUSED)
{
    AUTO_JSON fitted = NULL;
    AUTO_ERROR error =
        fit_texts(CELLS(NODE("3", "[4, 5]", "")),
                  CELLS(CELL("0", "'pcpuset': [0, 1]")), &fitted);

    assert_null(error);
    const struct json *cell = json_at(primitive_get(fitted, "cells"), 0);
    assert_string_equal(primitive_string(cell, "more"), "kept");
    assert_int_equal(primitive_int(cell, "id"), 3);
    assert_int_equal(json_int_of(primitive_get(cell, "cpu_pinning_raw"), "1"),
                     5);
    assert_false(json_has(fitted, "nova_object.changes"));
}

/* The first one moves on when it sits where the second has to. */
static void
test_all_have_nodes_if_they_can(void **state UNUSED)
{
    AUTO_JSON fitted = NULL;
    AUTO_ERROR error = fit_texts(
        CELLS(NODE("0", "[0, 1, 2]", "") ", " NODE("1", "[4]", "")),
        CELLS(CELL("0", "'pcpuset': [0]") ", " CELL("1", "'pcpuset': [1, 2]")),
        &fitted);

    assert_null(error);
    const struct json *cells = primitive_get(fitted, "cells");
    assert_int_equal(primitive_int(json_at(cells, 0), "id"), 1);
    assert_int_equal(primitive_int(json_at(cells, 1), "id"), 0);
}

static void
test_nodes_that_are_for_one_only(void **state UNUSED)
{
    AUTO_JSON fitted = NULL;
    AUTO_ERROR error =
        fit_texts(CELLS(NODE("0", "[0, 1, 2]", "") ", " NODE("1", "[4]", "")),
                  CELLS(CELL("0", "'pcpuset': [0, 3]") ", " CELL(
                      "1", "'pcpuset': [1, 2]")),
                  &fitted);

    assert_int_equal(error_code(error), ERR_COMPUTE_RESOURCES_UNAVAILABLE);
    assert_non_null(strstr(error_message(error), "room on fewer only"));
    assert_null(fitted);
}

static void
test_what_is_no_topology(void **state UNUSED)
{
    static const char *const texts[] = {
        "{}",
        "null",
        CELLS(""),
        CELLS("17"),
        CELLS("{}"),
        CELLS(CELL("0", "'pcpuset': ['x']")),
        CELLS(CELL("0", "'pcpuset': [-1]")),
        CELLS(CELL("0", "'pcpuset': [99999999999]")),
        CELLS("{'nova_object.data': {'memory': -1}}"),
        CELLS("{'nova_object.data': {'memory': 9223372036854775807}}"),
        CELLS("{'nova_object.data': {'memory': 1, 'pagesize': -2}}"),
    };

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_JSON fitted = NULL;
        AUTO_ERROR error =
            fit_texts(CELLS(NODE("0", "[0, 1]", "")), texts[i], &fitted);

        if (!error) {
            AUTO_FREE text = json_print(fitted, NULL);
            fail_msg("%s fits: %s", texts[i], text);
        }
        assert_int_equal(error_code(error), ERR_VALUE);
    }
}

static void
test_host_without_nodes(void **state UNUSED)
{
    AUTO_JSON instance = json_of(CELLS(CELL("0", "'pcpuset': [0]")));
    const struct numa_fit_rules rules = {.limits = NULL};
    AUTO_JSON fitted = NULL;
    AUTO_ERROR error = numa_fit(NULL, instance, &rules, &fitted);

    assert_int_equal(error_code(error), ERR_COMPUTE_RESOURCES_UNAVAILABLE);
    assert_string_equal(error_message(error),
                        "Requested instance NUMA topology cannot fit the given "
                        "host NUMA topology: 1 NUMA nodes are wanted, and 0 "
                        "are there");
}

/* What the source is told. */

#define INSTANCE(SPECS, IMAGE)                                               \
    "{'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', "     \
    "'nova_object.version': '2.7', 'nova_object.data': {'system_metadata': " \
    "{" IMAGE                                                                \
    "}, 'flavor': {'nova_object.data': {'vcpus': 3, 'extra_specs': {" SPECS  \
    "}}}}}"
#define FITTED(POLICY)                                                        \
    "{'nova_object.data': {'emulator_threads_policy': " POLICY ", 'cells': [" \
    "{'nova_object.data': {'id': 2, 'cpuset': [2], 'pcpuset': [0, 1], "       \
    "'cpu_pinning_raw': {'0': 8, '1': 9}, 'cpuset_reserved': [11]}}]}}"

static struct error *
tell(const char *policy, const char *specs, const char *image,
     const struct cpu_set *shared, struct json **ret)
{
    AUTO_JSON host = json_of(CELLS(NODE("2", "[8, 9, 10, 11]", "")));
    AUTO_FREE fitted_text = xasprintf(FITTED("%s"), policy);
    AUTO_FREE instance_text = xasprintf(INSTANCE("%s", "%s"), image, specs);
    AUTO_JSON fitted = json_of(fitted_text);
    AUTO_JSON instance_json = json_of(instance_text);
    AUTO_OBJECT instance = NULL;
    AUTO_OBJECT data = migrate_data_create();
    AUTO_ERROR wrong = object_parse(instance_json, "Instance", &instance);
    const struct numa_info info = {
        .host = host,
        .fitted = fitted,
        .instance = instance,
        .shared = shared,
        .realtime_priority = 7,
    };

    assert_null(wrong);
    struct error *error = numa_info_set(&info, data);
    if (!error) {
        *ret = json_copy(primitive_data(object_get(data, "dst_numa_info")));
    }
    return error;
}

static void
assert_told(const char *policy, const char *specs, const char *image,
            const struct cpu_set *shared, const char *expected)
{
    AUTO_JSON told = NULL;
    AUTO_JSON wanted = json_of(expected);
    AUTO_ERROR error = tell(policy, specs, image, shared, &told);
    AUTO_FREE text = told ? json_print(told, NULL) : NULL;

    assert_null(error);
    if (!json_equal(told, wanted)) {
        fail_msg("%s", text);
    }
}

#define PINS                                                  \
    "'cpu_pins': {'0': [8], '1': [9], '2': [8, 9, 10, 11]}, " \
    "'cell_pins': {'0': [2]}, "

static void
test_source_is_told(void **state UNUSED)
{
    int cpus[] = {1, 2};
    const struct cpu_set shared = {.cpus = cpus, .n = 2};

    assert_told("null", "", "", NULL,
                "{" PINS "'emulator_pins': [8, 9, 10, 11]}");
    assert_told("'isolate'", "", "", &shared,
                "{" PINS "'emulator_pins': [11]}");
    assert_told("'share'", "", "", &shared,
                "{" PINS "'emulator_pins': [1, 2]}");
    assert_told("'share'", "", "", NULL,
                "{" PINS "'emulator_pins': [8, 9, 10, 11]}");
}

static void
test_real_time_is_out_of_the_emulators_way(void **state UNUSED)
{
    assert_told("null",
                "'hw:cpu_realtime': 'Yes', 'hw:cpu_realtime_mask': '^0'", "",
                NULL,
                "{" PINS "'emulator_pins': [8], 'sched_vcpus': [1, 2], "
                "'sched_priority': 7}");
    assert_told("null",
                "'hw:cpu_realtime': 'true', 'hw:cpu_realtime_mask': '^0'",
                "'image_hw_cpu_realtime_mask': ' 0'", NULL,
                "{" PINS "'emulator_pins': [8, 9, 10, 11], 'sched_vcpus': "
                "[0], 'sched_priority': 7}");
    assert_told("'isolate'", "'hw:cpu_realtime': '1'", "", NULL,
                "{" PINS "'emulator_pins': [11], 'sched_vcpus': [0, 1, 2], "
                "'sched_priority': 7}");
    assert_told("'isolate'", "'hw:cpu_realtime': 'no'", "", NULL,
                "{" PINS "'emulator_pins': [11]}");
}

static void
test_real_time_of_cpus_that_it_has_not(void **state UNUSED)
{
    static const char *const masks[] = {"3", "x", "^0-2", "0-"};

    for (size_t i = 0; i < N_ELEMENTS(masks); i++) {
        AUTO_JSON told = NULL;
        AUTO_FREE specs = xasprintf(
            "'hw:cpu_realtime': 'yes', 'hw:cpu_realtime_mask': '%s'", masks[i]);
        AUTO_ERROR error = tell("null", specs, "", NULL, &told);

        assert_int_equal(error_code(error), ERR_INVALID);
        assert_null(told);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guests_fit_as_nova_has_them),
        cmocka_unit_test(test_what_a_newer_peer_says_is_kept),
        cmocka_unit_test(test_all_have_nodes_if_they_can),
        cmocka_unit_test(test_nodes_that_are_for_one_only),
        cmocka_unit_test(test_what_is_no_topology),
        cmocka_unit_test(test_host_without_nodes),
        cmocka_unit_test(test_source_is_told),
        cmocka_unit_test(test_real_time_is_out_of_the_emulators_way),
        cmocka_unit_test(test_real_time_of_cpus_that_it_has_not),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
