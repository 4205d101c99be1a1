#include <config.h>

#include "rpc/object.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
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

#define HEAD "'nova_object.name':'Service','nova_object.namespace':'nova',"

static const char service[] =
    "{" HEAD "'nova_object.version':'1.22','nova_object.data':{'id':2,"
    "'host':'host1','disabled':false,'disabled_reason':null,'unknown':[1.50,"
    "12345678901234567890]},'nova_object.changes':['host']}";

static struct object *
parse(const char *text)
{
    AUTO_JSON tree = json(text);
    struct object *object = NULL;
    AUTO_ERROR error = object_parse(tree, NULL, &object);

    if (error) {
        fail_msg("%s: %s", text, error_message(error));
    }
    return object;
}

static void
assert_prints(const struct json *tree, const char *expected)
{
    AUTO_FREE text = json_print(tree, NULL);

    for (char *p = text; *p; p++) {
        if (*p == '"') {
            *p = '\'';
        }
    }
    assert_string_equal(text, expected);
}

static void
assert_refused(const struct json *tree, enum error_code code, const char *why)
{
    struct object *object = NULL;
    AUTO_ERROR error = object_parse(tree, NULL, &object);

    assert_null(object);
    if (error_code(error) != code || !strstr(error_message(error), why)) {
        AUTO_FREE text = json_print(tree, NULL);
        fail_msg("%s: '%s', wanted '%s'", text, error_message(error), why);
    }
}

static void
test_an_object_stays_as_it_came(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);

    assert_prints(object_json(object), service);
    assert_string_equal(object_name(object), "Service");
    assert_string_equal(object_version(object), "1.22");
    AUTO_OBJECT copy = object_copy(object);
    assert_true(json_equal(object_json(copy), object_json(object)));
    assert_null(object_copy(NULL));

    AUTO_JSON clean = object_json_clean(object);
    assert_false(json_has(clean, "nova_object.changes"));
    assert_true(object_is_changed(object, "host"));
}

static void
test_an_absent_field_is_not_null(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);

    assert_true(object_has(object, "disabled_reason"));
    assert_true(json_is_null(object_get(object, "disabled_reason")));
    assert_false(object_has(object, "created_at"));
    assert_null(object_get(object, "created_at"));
    assert_null(object_string(object, "disabled_reason"));
    assert_string_equal(object_string(object, "host"), "host1");
    assert_int_equal(object_int(object, "id"), 2);
    assert_false(object_bool(object, "disabled"));
}

static void
test_a_new_object_has_no_fields(void **state)
{
    (void)state;
    AUTO_OBJECT object = object_create("Migration", "1.7");

    assert_prints(object_json(object),
                  "{'nova_object.name':'Migration',"
                  "'nova_object.namespace':'nova','nova_object.version':'1.7',"
                  "'nova_object.data':{}}");
    assert_int_equal(object_n_changes(object), 0);

    object_set_string(object, "status", "running");
    object_set_int(object, "id", INT64_MAX);
    object_set_bool(object, "hidden", true);
    object_set_null(object, "uuid");
    assert_prints(object_json(object),
                  "{'nova_object.name':'Migration',"
                  "'nova_object.namespace':'nova','nova_object.version':'1.7',"
                  "'nova_object.data':{'status':'running',"
                  "'id':9223372036854775807,'hidden':true,'uuid':null},"
                  "'nova_object.changes':['status','id','hidden','uuid']}");
}

static void
test_only_a_new_value_is_a_change(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);

    object_clear_changes(object);
    assert_false(json_has(object_json(object), "nova_object.changes"));
    object_set_string(object, "host", "host1");
    object_set_int(object, "id", 2);
    object_set_null(object, "disabled_reason");
    object_set_bool(object, "disabled", false);
    assert_int_equal(object_n_changes(object), 0);
    assert_false(json_has(object_json(object), "nova_object.changes"));

    object_set_string(object, "host", "host2");
    object_set_string(object, "host", "host3");
    object_set_null(object, "created_at"); /* Absent before. */
    assert_int_equal(object_n_changes(object), 2);
    assert_true(object_is_changed(object, "host"));
    assert_true(object_is_changed(object, "created_at"));
    assert_false(object_is_changed(object, "Host"));
    assert_string_equal(object_string(object, "host"), "host3");
}

static void
test_changes_can_be_cleared_one_by_one(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);

    object_set_int(object, "id", 3);
    object_clear_change(object, "host");
    object_clear_change(object, "none");
    assert_false(object_is_changed(object, "host"));
    assert_int_equal(object_n_changes(object), 1);
    object_clear_change(object, "id");
    assert_false(json_has(object_json(object), "nova_object.changes"));
}

static void
test_a_field_that_is_unset_is_absent_and_unchanged(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);

    object_unset(object, "host");
    object_unset(object, "none");
    assert_false(object_has(object, "host"));
    assert_int_equal(object_n_changes(object), 0);
}

static void
test_updates_replace_fields_and_the_changes(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);
    AUTO_JSON updates = json("{'host':'h9','created_at':'2026-11-22T05:24:46Z'"
                             ",'obj_what_changed':['id']}");
    AUTO_ERROR error = object_apply_updates(object, updates);

    assert_null(error);
    assert_string_equal(object_string(object, "host"), "h9");
    assert_string_equal(object_string(object, "created_at"),
                        "2026-11-22T05:24:46Z");
    assert_false(object_has(object, "obj_what_changed"));
    assert_false(object_is_changed(object, "host"));
    assert_true(object_is_changed(object, "id"));
    assert_int_equal(object_n_changes(object), 1);

    AUTO_JSON none = json("{'obj_what_changed':[]}");
    AUTO_ERROR again = object_apply_updates(object, none);
    assert_null(again);
    assert_int_equal(object_n_changes(object), 0);
    assert_false(json_has(object_json(object), "nova_object.changes"));

    object_set_int(object, "id", 77);
    AUTO_JSON silent = json("{}");
    AUTO_ERROR third = object_apply_updates(object, silent);
    assert_null(third);
    assert_int_equal(object_n_changes(object), 0);
}

static void
test_bad_updates_change_nothing(void **state)
{
    static const char *const texts[] = {
        "null",
        "[]",
        "7",
        "{'host':'h9','obj_what_changed':'id'}",
        "{'host':'h9','obj_what_changed':[1]}",
        "{'host':'h9','obj_what_changed':null}",
        "{'host':'h9','flavor':{'nova_object.name':'Flavor'}}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_OBJECT object = parse(service);
        AUTO_JSON updates = json(texts[i]);
        AUTO_ERROR error = object_apply_updates(object, updates);
        assert_int_equal(error_code(error), ERR_VALUE);
        assert_prints(object_json(object), service);
    }
}

static void
test_changes_can_be_merged(void **state)
{
    (void)state;
    AUTO_OBJECT to = parse(service);
    AUTO_OBJECT from = parse(service);

    object_clear_changes(to);
    object_set_string(from, "host", "h2");
    object_set(from, "extra", json("{'a':1}"));
    object_set_int(from, "gone", 1);
    json_remove(json_get(object_json(from), "nova_object.data"), "gone");
    object_merge_changes(to, from);

    assert_string_equal(object_string(to, "host"), "h2");
    assert_int_equal(json_int_of(object_get(to, "extra"), "a"), 1);
    assert_true(object_is_changed(to, "host"));
    assert_true(object_is_changed(to, "extra"));
    assert_int_equal(object_n_changes(to), 2);
    assert_false(object_has(to, "gone"));
}

static void
test_what_is_no_primitive_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum error_code code;
        const char *why;
    } cases[] = {
        {"null", ERR_VALUE, "not an object"},
        {"[]", ERR_VALUE, "not an object"},
        {"{}", ERR_VALUE, "not an object"},
        {"{'nova_object.name':7}", ERR_VALUE, "no name"},
        {"{'nova_object.name':''}", ERR_VALUE, "no name"},
        {"{'nova_object.name':'X'}", ERR_VALUE, "no namespace"},
        {"{'nova_object.name':'X','nova_object.namespace':'cinder'}",
         ERR_UNSUPPORTED_OBJECT, "namespace 'cinder'"},
        {"{" HEAD "'nova_object.data':{}}", ERR_VALUE, "no version"},
        {"{" HEAD "'nova_object.version':1.2,'nova_object.data':{}}", ERR_VALUE,
         "no version"},
        {"{" HEAD "'nova_object.version':'1.2.3.4','nova_object.data':{}}",
         ERR_VALUE, "no version"},
        {"{" HEAD "'nova_object.version':'1','nova_object.data':{}}", ERR_VALUE,
         "no version"},
        {"{" HEAD "'nova_object.version':'1.x','nova_object.data':{}}",
         ERR_VALUE, "no version"},
        {"{" HEAD "'nova_object.version':'1.2'}", ERR_VALUE, "no object"},
        {"{" HEAD "'nova_object.version':'1.2','nova_object.data':[]}",
         ERR_VALUE, "no object"},
        {"{" HEAD "'nova_object.version':'1.2','nova_object.data':{},"
         "'nova_object.changes':{}}",
         ERR_VALUE, "changes are no list"},
        {"{" HEAD "'nova_object.version':'1.2','nova_object.data':{},"
         "'nova_object.changes':['a',1]}",
         ERR_VALUE, "a change is no string"},
        {"{" HEAD "'nova_object.version':'1.2','nova_object.data':"
         "{'flavor':{'nova_object.name':'Flavor'}}}",
         ERR_VALUE, "'Flavor' has no namespace"},
        {"{" HEAD "'nova_object.version':'1.2','nova_object.data':"
         "{'objects':[[{'nova_object.name':'F'}]]}}",
         ERR_VALUE, "'F' has no namespace"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON tree = json(cases[i].text);
        assert_refused(tree, cases[i].code, cases[i].why);
    }
    assert_refused(NULL, ERR_VALUE, "not an object");
}

static void
test_another_name_than_expected_is_refused(void **state)
{
    (void)state;
    AUTO_JSON tree = json(service);
    struct object *object = NULL;
    AUTO_ERROR error = object_parse(tree, "Instance", &object);
    AUTO_OBJECT right = NULL;
    AUTO_ERROR none = object_parse(tree, "Service", &right);

    assert_int_equal(error_code(error), ERR_UNSUPPORTED_OBJECT);
    assert_string_equal(error_message(error),
                        "'Instance' was expected, not 'Service'");
    assert_null(object);
    assert_null(none);
    assert_non_null(right);
}

static void
test_no_object_has_a_million_changes(void **state)
{
    (void)state;
    AUTO_JSON tree = json(service);
    struct json *changes = json_array();
    for (int i = 0; i < 1000000; i++) {
        json_append(changes, json_string("x"));
    }
    json_set(tree, "nova_object.changes", changes);
    assert_refused(tree, ERR_VALUE, "more than 4096 changes");
}

static void
test_long_lists_of_objects_are_taken(void **state)
{
    (void)state;
    AUTO_JSON tree = json(service);
    struct json *objects = json_array();
    for (int i = 0; i < 10000; i++) {
        json_append(objects, json(service));
    }
    json_set(json_get(tree, "nova_object.data"), "objects", objects);

    struct object *object = NULL;
    AUTO_ERROR error = object_parse(tree, NULL, &object);
    assert_null(error);
    assert_int_equal(json_size(object_get(object, "objects")), 10000);
    object_free(object);
}

static void
test_an_empty_list_of_changes_is_no_key(void **state)
{
    (void)state;
    AUTO_OBJECT object =
        parse("{" HEAD "'nova_object.version':'1.2.3','nova_object.data':{},"
              "'nova_object.changes':[]}");

    assert_false(json_has(object_json(object), "nova_object.changes"));
}

static void
test_every_form_of_a_point_in_time(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-02T03:04:05Z", 1767323045000000},
        {"2026-01-02T03:04:05", 1767323045000000},
        {"2026-01-02 03:04:05", 1767323045000000},
        {"2026-01-02t03:04:05z", 1767323045000000},
        {"2026-01-02T03:04:05.000000", 1767323045000000},
        {"2026-01-02T03:04:05.5Z", 1767323045500000},
        {"2026-01-02T03:04:05,123456789Z", 1767323045123456},
        {"2026-01-02T04:04:05+01:00", 1767323045000000},
        {"2026-01-02T04:04:05.25+0100", 1767323045250000},
        {"2026-01-02T04:04:05+01", 1767323045000000},
        {"2026-01-01T21:34:05-05:30", 1767323045000000},
        {"20260102T030405Z", 1767323045000000},
        {"2026-01-02T03:04Z", 1767323040000000},
        {"20260102T0304", 1767323040000000},
        {"2026-01-02", 1767312000000000},
        {"2026-1-2", 1767312000000000},
        {"2026-01-02T03", 1767322800000000},
        {"2026-01-02 04+01:00", 1767322800000000},
        {"2026-1-2T03:04:5Z", 1767323045000000},
        {"2026-01", 1767225600000000},
        {"2026-1", 1767225600000000},
        {"2026", 1767225600000000},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"2000-02-29T12:00:00Z", 951825600000000},
        {"1969-12-31T23:59:59.999999Z", -1},
        {"9999-12-31T23:59:59Z", 253402300799000000},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        int64_t us = 0;
        if (!object_parse_datetime(cases[i].text, &us) || us != cases[i].us) {
            fail_msg("%s: %lld", cases[i].text, (long long)us);
        }
    }
}

static void
test_what_is_no_point_in_time(void **state)
{
    static const char *const texts[] = {
        "",
        "now",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-01-32",
        "2026-04-31",
        "2026-02-29",
        "1900-02-29",
        "0000-01-01",
        "2026-0102",
        "202601-02",
        "202601",
        "2026-",
        "2026-01-",
        "2026-001-02",
        "2026-01-02T3",
        "2026-01-02T03:",
        "2026-01-02T",
        "2026-01-02T24:00:00",
        "2026-01-02T03:60:00",
        "2026-01-02T03:04:60",
        "2026-01-02T03:04:",
        "2026-01-02T03:04:05.",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+",
        "2026-01-02T03:04:05+1",
        "2026-01-02Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+01:60",
        "2026-01-02T03:04:05+01:",
        "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05Z ",
        " 2026-01-02",
        "2026-01-02T03:04:05+01:00x",
        "2026-01-02X03:04:05",
        "2026-01-02T-3:04:05",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        int64_t us = 7;
        AUTO_FREE text = xstrdup(texts[i]);
        if (object_parse_datetime(text, &us)) {
            fail_msg("accepted: '%s'", texts[i]);
        }
        assert_int_equal(us, 7);
    }
    int64_t us;
    assert_false(object_parse_datetime(NULL, &us));
}

/* Of nova's field kinds, those that a receiver has to know of. */
static void
test_integers_may_come_as_strings(void **state)
{
    static const char *const cases[][2] = {
        {"'5'", "5"},       {"' 42\\n'", "42"},
        {"'-7'", "-7"},     {"'+7'", "7"},
        {"'007'", "7"},     {"'-0'", "-0"},
        {"3.9", "3"},       {"-3.9", "-3"},
        {"1e3", "1e3"},     {"true", "1"},
        {"null", "null"},   {"9223372036854775807", "9223372036854775807"},
        {"1e300", "1e300"}, {"'12345678901234567890'", "12345678901234567890"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE text = xasprintf("{" HEAD "'nova_object.version':'1.22',"
                                   "'nova_object.data':{'host':'5','id':%s}}",
                                   cases[i][0]);
        AUTO_OBJECT object = parse(text);

        assert_string_equal(object_string(object, "host"), "5");
        assert_prints(object_get(object, "id"), cases[i][1]);
    }
}

static void
test_values_that_no_field_of_nova_takes_are_refused(void **state)
{
    static const char *const cases[] = {
        "'id':'abc'",        "'id':''",         "'id':' '",
        "'id':'1.5'",        "'id':'1 2'",      "'id':'--1'",
        "'id':[]",           "'id':{}",         "'created_at':'now'",
        "'created_at':5",    "'created_at':''", "'created_at':[]",
        "'updated_at':true", "'version':'six'",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE text = xasprintf("{" HEAD "'nova_object.version':'1.22',"
                                   "'nova_object.data':{%s}}",
                                   cases[i]);
        AUTO_JSON tree = json(text);
        assert_refused(tree, ERR_VALUE, "of 'Service' is no");

        AUTO_FREE in_list = xasprintf("{'nova_object.name':'ServiceList',"
                                      "'nova_object.namespace':'nova',"
                                      "'nova_object.version':'1.19',"
                                      "'nova_object.data':{'objects':[%s]}}",
                                      text);
        AUTO_JSON nested = json(in_list);
        assert_refused(nested, ERR_VALUE, "of 'Service' is no");
    }
}

static void
test_fields_of_unknown_classes_stay_as_they_came(void **state)
{
    (void)state;
    AUTO_OBJECT object =
        parse("{'nova_object.name':'Novelty','nova_object.namespace':'nova',"
              "'nova_object.version':'1.0','nova_object.data':{'id':'abc',"
              "'created_at':'now'}}");

    assert_string_equal(object_string(object, "id"), "abc");
    assert_string_equal(object_string(object, "created_at"), "now");
}

static void
test_updates_are_coerced_too_or_leave_the_object_alone(void **state)
{
    (void)state;
    AUTO_OBJECT object = parse(service);
    AUTO_JSON before = json_copy(object_json(object));
    AUTO_JSON bad = json("{'id':'x','obj_what_changed':[]}");
    AUTO_JSON good = json("{'id':'12','obj_what_changed':[]}");

    AUTO_ERROR error = object_apply_updates(object, bad);
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_true(json_equal(object_json(object), before));

    AUTO_ERROR none = object_apply_updates(object, good);
    assert_null(none);
    assert_int_equal(object_int(object, "id"), 12);
    assert_int_equal(object_n_changes(object), 0);
}

/* Nested in fields, lists and maps, all survive: what is absent, what is null
 * and what is marked as changed. */
static void
test_nested_objects_survive_round_trips(void **state)
{
    static const char text[] =
        "{'nova_object.name':'Instance','nova_object.namespace':'nova',"
        "'nova_object.version':'2.7','nova_object.data':{'id':1,"
        "'task_state':null,'flavor':{'nova_object.name':'Flavor',"
        "'nova_object.namespace':'nova','nova_object.version':'1.2',"
        "'nova_object.data':{'id':1,'disabled':null},"
        "'nova_object.changes':['id','odd']},'tags':{'nova_object.name':"
        "'TagList','nova_object.namespace':'nova','nova_object.version':'1.1',"
        "'nova_object.data':{'objects':[{'nova_object.name':'Tag',"
        "'nova_object.namespace':'nova','nova_object.version':'1.1',"
        "'nova_object.data':{'tag':null},'nova_object.changes':['tag']}]}},"
        "'by_name':{'a':{'nova_object.name':'Tag','nova_object.namespace':"
        "'nova','nova_object.version':'1.1','nova_object.data':{}}}},"
        "'nova_object.changes':['flavor','tags','unheard_of']}";

    (void)state;
    AUTO_OBJECT object = parse(text);
    AUTO_FREE sent = json_print(object_json(object), NULL);
    AUTO_OBJECT again = parse(sent);

    assert_prints(object_json(again), text);
    assert_true(object_has(again, "task_state"));
    assert_false(object_has(again, "host"));
}

static struct json *
json_of_file(const char *path)
{
    FILE *in = fopen(path, "rb");
    AUTO_FREE data = xmalloc(65536);
    struct json *ret = NULL;

    assert_non_null(in);
    size_t size = fread(data, 1, 65536, in);
    fclose(in);
    AUTO_ERROR error = json_parse(data, size, &ret);
    assert_null(error);
    return ret;
}

static void
test_recorded_objects_stay_as_they_came(void **state)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path = xasprintf("%s/tests/corpus/object", srcdir ? srcdir : ".");
    DIR *dir = opendir(path);
    int n_files = 0;

    (void)state;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' ||
            strncmp(entry->d_name, "made-", 5) == 0) {
            continue;
        }
        AUTO_FREE file = xasprintf("%s/%s", path, entry->d_name);
        AUTO_JSON tree = json_of_file(file);
        AUTO_FREE name = xstrndup(entry->d_name, strcspn(entry->d_name, "."));
        AUTO_OBJECT object = NULL;
        AUTO_ERROR error = object_parse(tree, name, &object);

        assert_null(error);
        assert_true(json_equal(object_json(object), tree));
        n_files++;
    }
    closedir(dir);
    assert_true(n_files >= 40);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_object_stays_as_it_came),
        cmocka_unit_test(test_an_absent_field_is_not_null),
        cmocka_unit_test(test_a_new_object_has_no_fields),
        cmocka_unit_test(test_only_a_new_value_is_a_change),
        cmocka_unit_test(test_changes_can_be_cleared_one_by_one),
        cmocka_unit_test(test_a_field_that_is_unset_is_absent_and_unchanged),
        cmocka_unit_test(test_updates_replace_fields_and_the_changes),
        cmocka_unit_test(test_bad_updates_change_nothing),
        cmocka_unit_test(test_changes_can_be_merged),
        cmocka_unit_test(test_what_is_no_primitive_is_refused),
        cmocka_unit_test(test_another_name_than_expected_is_refused),
        cmocka_unit_test(test_no_object_has_a_million_changes),
        cmocka_unit_test(test_long_lists_of_objects_are_taken),
        cmocka_unit_test(test_an_empty_list_of_changes_is_no_key),
        cmocka_unit_test(test_every_form_of_a_point_in_time),
        cmocka_unit_test(test_integers_may_come_as_strings),
        cmocka_unit_test(test_values_that_no_field_of_nova_takes_are_refused),
        cmocka_unit_test(test_fields_of_unknown_classes_stay_as_they_came),
        cmocka_unit_test(
            test_updates_are_coerced_too_or_leave_the_object_alone),
        cmocka_unit_test(test_nested_objects_survive_round_trips),
        cmocka_unit_test(test_what_is_no_point_in_time),
        cmocka_unit_test(test_recorded_objects_stay_as_they_came),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
