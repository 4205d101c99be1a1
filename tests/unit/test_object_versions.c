#include <config.h>

#include "rpc/object_level.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* 'text' with " for '. */
static struct json *
json(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *ret = NULL;

    for (char *p = copy; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &ret);
    if (error) {
        fail_msg("%s: %s", text, error_message(error));
    }
    return ret;
}

static void
assert_prints(const struct json *tree, const char *expected)
{
    AUTO_JSON wanted = json(expected);

    if (!json_equal(tree, wanted)) {
        AUTO_FREE text = json_print(tree, NULL);
        fail_msg("%s, wanted %s", text, expected);
    }
}

#define OBJECT(NAME, VERSION, DATA)                           \
    "{'nova_object.name':'" NAME "','nova_object.namespace':" \
    "'nova','nova_object.version':'" VERSION "','nova_object.data':" DATA "}"
#define DIRTY(NAME, VERSION, DATA, CHANGES)                               \
    "{'nova_object.name':'" NAME "','nova_object.namespace':"             \
    "'nova','nova_object.version':'" VERSION "','nova_object.data':" DATA \
    ",'nova_object.changes':" CHANGES "}"

/* The versions of a map, {"Service": "1.20"}; else none. */
static bool
of_map(void *map, const char *name, struct object_version *ret)
{
    return object_version_parse(json_string_of(map, name), ret, NULL);
}

static void
test_versions_are_two_numbers_or_three(void **state)
{
    static const char *const bad[] = {
        "",    "1",    "1.",   ".1",    "1.2.",        "1.2.3.4",
        "a.b", "1.2a", "-1.2", "1.-2",  " 1.2",        "1.2 ",
        "1,2", "6.+1", "1..2", "0x1.2", "1234567890.0"};
    struct object_version v = {0, 0};
    char text[OBJECT_VERSION_SIZE];
    bool third = true;

    (void)state;
    assert_true(object_version_parse("1.22", &v, &third));
    assert_false(third);
    assert_string_equal(object_version_format(v, text), "1.22");
    assert_true(object_version_parse("2.7.15", &v, &third));
    assert_true(third);
    assert_string_equal(object_version_format(v, text), "2.7");
    assert_true(object_version_parse("999999999.999999999", &v, NULL));
    assert_string_equal(object_version_format(v, text), "999999999.999999999");
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        assert_false(object_version_parse(bad[i], &v, NULL));
    }
    assert_false(object_version_parse(NULL, &v, NULL));
}

static void
test_versions_compare_by_number(void **state)
{
    const struct object_version v1_9 = {1, 9}, v1_10 = {1, 10}, v2_0 = {2, 0};

    (void)state;
    assert_true(object_version_compare(v1_9, v1_10) < 0);
    assert_true(object_version_compare(v2_0, v1_10) > 0);
    assert_int_equal(object_version_compare(v1_9, v1_9), 0);
}

static void
test_the_table_is_sorted_and_complete(void **state)
{
    (void)state;
    assert_true(object_n_classes() > 90);
    for (size_t i = 0; i < object_n_classes(); i++) {
        const struct object_class *class = object_class_at(i);
        size_t n;
        const struct object_field *fields = object_fields(class, &n);
        AUTO_JSON manifest = object_manifest(class, object_version_own, NULL);

        assert_ptr_equal(object_class_find(class->name), class);
        assert_true(json_has(manifest, class->name));
        for (size_t j = 0; j < n; j++) {
            assert_ptr_equal(object_field_find(class, fields[j].name),
                             &fields[j]);
            assert_true(fields[j].since <= class->version.minor);
            assert_true(fields[j].since || fields[j].kind != OBJECT_ANY);
        }
    }
    assert_null(object_class_find("Novelty"));
    assert_null(object_class_find(NULL));
    assert_null(object_field_find(object_class_find("Service"), "novelty"));
}

static void
test_a_manifest_names_all_that_is_reached(void **state)
{
    (void)state;
    AUTO_JSON service =
        object_manifest(object_class_find("Service"), object_version_own, NULL);
    assert_prints(service, "{'Service':'1.22','ComputeNode':'1.19',"
                           "'HVSpec':'1.2','PciDevicePoolList':'1.1',"
                           "'PciDevicePool':'1.1'}");

    AUTO_JSON some = json("{'Service':'1.15','HVSpec':'1.0'}");
    AUTO_JSON known =
        object_manifest(object_class_find("Service"), of_map, some);
    assert_prints(known, "{'Service':'1.15','HVSpec':'1.0'}");
}

static void
test_fit_is_that_of_the_worst(void **state)
{
    static const struct {
        const char *text;
        enum object_fit fit;
    } cases[] = {
        {"[1,{'a':null}]", OBJECT_FITS},
        {OBJECT("Service", "1.22", "{}"), OBJECT_FITS},
        {OBJECT("Service", "1.15", "{}"), OBJECT_FITS},
        {OBJECT("Service", "1.22.9", "{}"), OBJECT_FITS},
        {OBJECT("Novelty", "7.9", "{}"), OBJECT_FITS},
        {OBJECT("Service", "x", "{}"), OBJECT_FITS},
        {"{'nova_object.name':5}", OBJECT_FITS},
        {OBJECT("Service", "1.23", "{}"), OBJECT_NEWER},
        {OBJECT("Service", "2.0", "{}"), OBJECT_OTHER_MAJOR},
        {OBJECT("Service", "0.9", "{}"), OBJECT_OTHER_MAJOR},
        {"{'a':[" OBJECT("Service", "1.23", "{}") "]}", OBJECT_NEWER},
        {OBJECT("Instance", "2.7", "{'f':" OBJECT("Flavor", "1.3", "{}") "}"),
         OBJECT_NEWER},
        {"[" OBJECT("Service", "1.23", "{}") "," OBJECT(
             "Flavor", "2.0", "{}") "," OBJECT("Service", "1.23", "{}") "]",
         OBJECT_OTHER_MAJOR},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON tree = json(cases[i].text);
        if (object_fit(tree, object_version_own, NULL) != cases[i].fit) {
            fail_msg("%s", cases[i].text);
        }
    }
}

static void
test_a_third_part_goes_where_it_is_in_the_way(void **state)
{
    (void)state;
    AUTO_JSON tree = json("[" OBJECT("Service", "1.22.5", "{}") "," OBJECT(
        "Service", "1.15.3",
        "{}") "," OBJECT("Service", "1.23.1",
                         "{}") "," OBJECT("Instance", "2.7.1",
                                          "{'f':" OBJECT("Flavor", "1.2.2",
                                                         "{}") "}") "]");
    object_drop_fixes(tree, object_version_own, NULL);
    assert_prints(
        tree,
        "[" OBJECT("Service", "1.22", "{}") "," OBJECT(
            "Service", "1.15.3",
            "{}") "," OBJECT("Service", "1.23.1",
                             "{}") "," OBJECT("Instance", "2.7",
                                              "{'f':" OBJECT("Flavor", "1.2",
                                                             "{}") "}") "]");
}

static void
test_levelling_drops_what_is_newer(void **state)
{
    (void)state;
    AUTO_JSON versions = json("{'Instance':'2.5','Flavor':'1.1'}");
    AUTO_JSON tree =
        json(DIRTY("Instance", "2.7",
                   "{'id':1,'host':null,'hidden':true,'resources':" OBJECT(
                       "ResourceList", "1.0",
                       "{}") ",'flavor':" DIRTY("Flavor", "1.2",
                                                "{'id':1,'description':'x'}",
                                                "['description']") ",'odd':1}",
                   "['hidden','host','resources']"));

    AUTO_ERROR error = object_level(tree, of_map, versions);
    assert_null(error);
    assert_prints(tree, DIRTY("Instance", "2.5",
                              "{'id':1,'host':null,'flavor':" OBJECT(
                                  "Flavor", "1.1", "{'id':1}") ",'odd':1}",
                              "['host']"));
}

static void
test_levelling_leaves_what_is_older(void **state)
{
    (void)state;
    AUTO_JSON versions = json("{'Service':'1.22'}");
    AUTO_JSON tree =
        json(DIRTY("Service", "1.15.7", "{'id':1}", "['unheard_of']"));

    AUTO_ERROR error = object_level(tree, of_map, versions);
    assert_null(error);
    assert_prints(tree, DIRTY("Service", "1.15", "{'id':1}", "['unheard_of']"));
}

static void
test_levelling_marks_holders_of_what_is_changed(void **state)
{
#define TAG(CHANGED) DIRTY("Tag", "1.1", "{'tag':'a'}", CHANGED)
    (void)state;
    AUTO_JSON tree =
        json(OBJECT("Instance", "2.7",
                    "{'tags':" OBJECT("TagList", "1.1",
                                      "{'objects':[" TAG("['tag']") "]}") "}"));

    AUTO_ERROR error = object_level(tree, object_version_own, NULL);
    assert_null(error);
    assert_prints(tree,
                  DIRTY("Instance", "2.7",
                        "{'tags':" DIRTY("TagList", "1.1",
                                         "{'objects':[" TAG("['tag']") "]}",
                                         "['objects']") "}",
                        "['tags']"));
}

static void
test_points_in_time_are_written_as_they_are_sent(void **state)
{
    static const char *const cases[][2] = {
        {"'2026-01-02T03:04:05Z'", "'2026-01-02T03:04:05Z'"},
        {"'2026-01-02 05:04:05.999+02:00'", "'2026-01-02T03:04:05Z'"},
        {"'2026-01-02T03:04:05'", "'2026-01-02T03:04:05Z'"},
        {"'20260102'", "'2026-01-02T00:00:00Z'"},
        {"'1969-12-31T23:59:59.5Z'", "'1969-12-31T23:59:59Z'"},
        {"'9999-12-31T23:59:59-01:00'", "'9999-12-31T23:59:59-01:00'"},
        {"null", "null"},
        {"'nonsense'", "'nonsense'"},
    };
    static const char form[] =
        OBJECT("ServiceList", "1.19",
               "{'objects':[" OBJECT(
                   "Service", "1.22",
                   "{'host':'20260102','created_at':%s,'id':1}") "]}");

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE text = xasprintf(form, cases[i][0]);
        AUTO_FREE wanted = xasprintf(form, cases[i][1]);
        AUTO_JSON tree = json(text);
        AUTO_ERROR error = object_level(tree, object_version_own, NULL);

        assert_null(error);
        assert_prints(tree, wanted);
    }
}

static void
test_what_cannot_be_levelled_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum error_code code;
        const char *message;
    } cases[] = {
        {OBJECT("Service", "2.0", "{}"), ERR_INCOMPATIBLE_OBJECT,
         "Version 2.0 of Service is not supported, supported version is 1.22"},
        {OBJECT("Service", "0.9", "{}"), ERR_INCOMPATIBLE_OBJECT,
         "Version 0.9"},
        {OBJECT("Service", "1.2.3.4", "{}"), ERR_INCOMPATIBLE_OBJECT,
         "Version 1.2.3.4"},
        {"{'nova_object.name':'Service'}", ERR_INCOMPATIBLE_OBJECT,
         "Version none"},
        {OBJECT("Novelty", "1.0", "{}"), ERR_UNSUPPORTED_OBJECT,
         "Unsupported object type Novelty"},
        {"[{'nova_object.name':null}]", ERR_UNSUPPORTED_OBJECT, "Unsupported"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON tree = json(cases[i].text);
        AUTO_ERROR error = object_level(tree, object_version_own, NULL);
        AUTO_ERROR other = object_check_fit(tree, object_version_own, NULL);

        assert_int_equal(error_code(error), cases[i].code);
        assert_non_null(strstr(error_message(error), cases[i].message));
        assert_int_equal(error_code(other), cases[i].code);
    }
}

static void
test_a_newer_one_is_no_fit_and_says_so(void **state)
{
    (void)state;
    AUTO_JSON tree = json("[" OBJECT("Service", "1.23", "{}") "]");
    AUTO_ERROR error = object_check_fit(tree, object_version_own, NULL);

    assert_int_equal(error_code(error), ERR_INCOMPATIBLE_OBJECT);
    assert_string_equal(error_arg(error, "objname"), "Service");
    assert_string_equal(error_arg(error, "objver"), "1.23");
    assert_string_equal(error_arg(error, "supported"), "1.22");
}

static void
test_overwriting_leaves_nothing_of_the_old(void **state)
{
    (void)state;
    AUTO_JSON tree =
        json("[" DIRTY("Service", "1.23", "{'new':1}", "['new']") "]");
    AUTO_JSON other = json(OBJECT("Service", "1.22", "{'id':1}"));

    object_overwrite(json_at(tree, 0), other);
    assert_prints(tree, "[" OBJECT("Service", "1.22", "{'id':1}") "]");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_are_two_numbers_or_three),
        cmocka_unit_test(test_versions_compare_by_number),
        cmocka_unit_test(test_the_table_is_sorted_and_complete),
        cmocka_unit_test(test_a_manifest_names_all_that_is_reached),
        cmocka_unit_test(test_fit_is_that_of_the_worst),
        cmocka_unit_test(test_a_third_part_goes_where_it_is_in_the_way),
        cmocka_unit_test(test_levelling_drops_what_is_newer),
        cmocka_unit_test(test_levelling_leaves_what_is_older),
        cmocka_unit_test(test_levelling_marks_holders_of_what_is_changed),
        cmocka_unit_test(test_points_in_time_are_written_as_they_are_sent),
        cmocka_unit_test(test_what_cannot_be_levelled_is_refused),
        cmocka_unit_test(test_a_newer_one_is_no_fit_and_says_so),
        cmocka_unit_test(test_overwriting_leaves_nothing_of_the_old),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
