#include <config.h>

#include "rpc/failure.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/json.h"

static struct json *
formatted(const struct error *error)
{
    AUTO_FREE text = failure_format(error);
    struct json *json = NULL;
    AUTO_ERROR bad = json_parse(text, strlen(text), &json);

    assert_null(bad);
    return json;
}

/* 'text' with ' for ". */
static struct error *
parsed(const char *text)
{
    AUTO_FREE json = xstrdup(text);

    for (char *p = json; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    struct error *error = failure_parse(json);
    assert_non_null(error);
    return error;
}

static void
assert_text(const struct error *error, const char *expected)
{
    AUTO_FREE text = error_text(error);

    assert_string_equal(text, expected);
}

static void
test_a_failure_has_all_keys_of_a_peers(void **state)
{
    (void)state;
    AUTO_ERROR error =
        error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND, "no domain"),
                      "instance_id", "0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5");
    AUTO_FREE text = failure_format(error);

    assert_string_equal(
        text,
        "{\"class\":\"InstanceNotFound\",\"module\":\"nova.exception\","
        "\"message\":\"Instance 0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5 could "
        "not be found.\",\"tb\":[],"
        "\"args\":[\"Instance 0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5 could "
        "not be found.\"],"
        "\"kwargs\":{\"instance_id\":\"0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5\","
        "\"code\":404}}");
}

static void
test_the_reason_is_an_argument_of_its_own(void **state)
{
    (void)state;
    AUTO_ERROR error =
        error_wrap(error_new(ERR_MIGRATION, "no reply in 60 s"), "reserve");
    AUTO_JSON json = formatted(error);
    const struct json *kwargs = json_get(json, "kwargs");

    assert_string_equal(json_string_of(json, "message"),
                        "Migration error: reserve: no reply in 60 s");
    assert_string_equal(json_string_of(kwargs, "reason"),
                        "reserve: no reply in 60 s");
    assert_int_equal(json_int_of(kwargs, "code"), 500);
}

static void
test_built_in_classes_have_no_code(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new(ERR_TYPE, "missing argument 'x'");
    AUTO_FREE text = failure_format(error);

    assert_string_equal(text,
                        "{\"class\":\"TypeError\",\"module\":\"builtins\","
                        "\"message\":\"missing argument 'x'\",\"tb\":[],"
                        "\"args\":[\"missing argument 'x'\"],\"kwargs\":{}}");
}

static void
test_every_code_survives_the_way_there_and_back(void **state)
{
    (void)state;
    for (int code = ERR_NONE + 1; code < ERR_N_CODES; code++) {
        AUTO_ERROR error = error_new(code, "the reason of '%d'", code);
        error_set_arg(error, "instance_id", "i-1");
        error_set_arg(error, "instance_uuid", "u-1");
        error_set_arg(error, "path", "/p");
        error_set_arg(error, "host", "h");
        error_set_arg(error, "method", "m");
        AUTO_FREE wire = failure_format(error);
        AUTO_ERROR back = failure_parse(wire);
        AUTO_FREE text = error_text(error);

        assert_text(back, text);
        if (code != ERR_REMOTE) {
            assert_string_equal(error_class_name(back),
                                error_class_name(error));
            assert_string_equal(error_module(back), error_module(error));
        }

        /* Once more: nothing grows on the way. */
        AUTO_FREE again = failure_format(back);
        AUTO_ERROR twice = failure_parse(again);
        assert_text(twice, text);
        assert_int_equal(error_code(twice), error_code(back));
    }
}

static void
test_codes_that_share_a_class_become_the_plain_one(void **state)
{
    static const struct {
        enum error_code from, to;
    } cases[] = {{ERR_BAD_MESSAGE, ERR_VALUE},
                 {ERR_VALUE, ERR_VALUE},
                 {ERR_CANCELLED, ERR_MIGRATION},
                 {ERR_MIGRATION, ERR_MIGRATION},
                 {ERR_STORAGE, ERR_INTERNAL},
                 {ERR_INSTANCE_NOT_FOUND, ERR_INSTANCE_NOT_FOUND}};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_ERROR error = error_new(cases[i].from, "x");
        AUTO_FREE wire = failure_format(error);
        AUTO_ERROR back = failure_parse(wire);
        assert_int_equal(error_code(back), cases[i].to);
    }
}

static void
test_a_peers_failure_becomes_the_code_of_its_class(void **state)
{
    (void)state;
    AUTO_ERROR error = parsed(
        "{'class':'InstanceNotFound','module':'nova.exception',"
        "'message':'Instance i-7 could not be found.','tb':['Traceback\\n'],"
        "'args':['Instance i-7 could not be found.'],"
        "'kwargs':{'instance_id':'i-7','code':404}}");

    assert_int_equal(error_code(error), ERR_INSTANCE_NOT_FOUND);
    assert_string_equal(error_arg(error, "instance_id"), "i-7");
    assert_null(error_arg(error, "code"));
    assert_text(error, "Instance i-7 could not be found.");
}

static void
test_the_reason_of_a_peer_becomes_the_message(void **state)
{
    (void)state;
    AUTO_ERROR with = parsed(
        "{'class':'MigrationPreCheckError','module':'nova.exception',"
        "'message':'Migration pre-check error: cpu','kwargs':{'reason':'cpu',"
        "'code':500}}");
    AUTO_ERROR without =
        parsed("{'class':'MigrationPreCheckError','module':'nova.exception',"
               "'message':'Migration pre-check error: cpu'}");
    AUTO_ERROR other =
        parsed("{'class':'MigrationPreCheckError','module':'nova.exception',"
               "'message':'something of its own','kwargs':{'reason':'cpu'}}");

    assert_string_equal(error_message(with), "cpu");
    assert_string_equal(error_message(without), "cpu");
    assert_text(without, "Migration pre-check error: cpu");
    assert_string_equal(error_message(other), "something of its own");
    assert_text(other, "Migration pre-check error: something of its own");
}

static void
test_arguments_are_read_from_the_text_if_need_be(void **state)
{
    (void)state;
    AUTO_ERROR error =
        parsed("{'class':'InvalidSharedStorage','module':'nova.exception',"
               "'message':'/a b is not on shared storage: it is not: really'}");
    AUTO_ERROR state_error = parsed(
        "{'class':'InstanceInvalidState','module':'nova.exception',"
        "'message':'Instance u in task_state migrating. Cannot live_migrate "
        "while the instance is in this state.'}");

    assert_string_equal(error_arg(error, "path"), "/a b");
    assert_string_equal(error_message(error), "it is not: really");
    assert_text(error, "/a b is not on shared storage: it is not: really");
    assert_string_equal(error_arg(state_error, "attr"), "task_state");
    assert_string_equal(error_arg(state_error, "state"), "migrating");
    assert_string_equal(error_arg(state_error, "method"), "live_migrate");
}

static void
test_arguments_of_other_types_are_text_as_in_python(void **state)
{
    (void)state;
    AUTO_ERROR error = parsed(
        "{'class':'InvalidMigrationState','module':'nova.exception',"
        "'message':'Migration 7 state of instance None is True. Cannot [1] "
        "while the migration is in this state.',"
        "'kwargs':{'migration_id':7,'instance_uuid':null,'state':true,"
        "'method':[1]}}");

    assert_string_equal(error_arg(error, "migration_id"), "7");
    assert_text(error, "Migration 7 state of instance None is True. Cannot "
                       "[1] while the migration is in this state.");
}

static void
test_unknown_classes_pass_on_as_they_came(void **state)
{
    (void)state;
    AUTO_ERROR error = parsed("{'class':'DBError_Remote',"
                              "'module':'oslo_db.exception_Remote',"
                              "'message':'(1054) no column','tb':[],"
                              "'args':['x'],'kwargs':{'code':503,'a':'b'}}");

    assert_int_equal(error_code(error), ERR_REMOTE);
    assert_string_equal(error_class_name(error), "DBError");
    assert_string_equal(error_module(error), "oslo_db.exception");
    assert_string_equal(error_message(error), "(1054) no column");

    AUTO_FREE text = failure_format(error);
    assert_string_equal(text,
                        "{\"class\":\"DBError\",\"module\":\"oslo_db.exception"
                        "\",\"message\":\"(1054) no column\",\"tb\":[],"
                        "\"args\":[\"(1054) no column\"],"
                        "\"kwargs\":{\"code\":503,\"a\":\"b\"}}");
}

static void
test_the_mark_of_relaying_is_stripped_from_known_classes(void **state)
{
    (void)state;
    AUTO_ERROR error = parsed("{'class':'InstanceNotFound_Remote',"
                              "'module':'nova.exception_Remote',"
                              "'message':'Instance i could not be found.'}");
    AUTO_ERROR twice = parsed("{'class':'InstanceNotFound_Remote_Remote',"
                              "'module':'nova.exception_Remote_Remote',"
                              "'message':'Instance i could not be found.'}");
    AUTO_ERROR old = parsed("{'class':'ValueError','module':'exceptions',"
                            "'message':'x'}");

    assert_int_equal(error_code(error), ERR_INSTANCE_NOT_FOUND);
    assert_int_equal(error_code(twice), ERR_INSTANCE_NOT_FOUND);
    assert_int_equal(error_code(old), ERR_VALUE);
}

static void
test_what_may_be_absent_may_be_absent(void **state)
{
    (void)state;
    AUTO_ERROR nothing = parsed("{}");
    AUTO_ERROR no_module = parsed("{'class':'ValueError','module':null,"
                                  "'message':'x'}");
    AUTO_ERROR from_args = parsed("{'class':'ValueError','module':'builtins',"
                                  "'args':['first','second']}");

    assert_int_equal(error_code(nothing), ERR_REMOTE);
    assert_null(error_class_name(nothing));
    assert_string_equal(error_message(nothing),
                        "a peer failed without a message");
    assert_int_equal(error_code(no_module), ERR_REMOTE);
    assert_string_equal(error_message(no_module), "x");
    assert_int_equal(error_code(from_args), ERR_VALUE);
    assert_string_equal(error_message(from_args), "first");

    /* It can be passed on, as a class that everyone has. */
    AUTO_JSON json = formatted(nothing);
    assert_string_equal(json_string_of(json, "class"), "NovaException");
    assert_string_equal(json_string_of(json, "module"), "nova.exception");
}

static void
test_what_is_no_failure_is_an_error_that_tells(void **state)
{
    static const char *const texts[] = {"",  "boom",   "[1]", "null",
                                        "7", "'text'", "{",   "{'class':}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_ERROR error = parsed(texts[i]);
        assert_int_equal(error_code(error), ERR_BAD_MESSAGE);
        assert_non_null(strstr(error_message(error), "failure of a peer"));
    }
}

static void
test_hostile_content_is_data_and_cut(void **state)
{
    static const char *const texts[] = {
        "{'class':7,'module':[],'message':{},'tb':null,'args':null,'kwargs':1}",
        "{'class':'','module':'','message':'','args':{},'kwargs':[1]}",
        "{'class':'eval','module':'builtins','message':'%n%s%n',"
        "'kwargs':{'%n':'%s'}}",
        "{'class':'InstanceNotFound','module':'nova.exception',"
        "'message':'%(instance_id)s','kwargs':{'':''}}",
        "{'class':'InvalidMigrationState','module':'nova.exception',"
        "'message':'Migration ','kwargs':{'1':1,'2':2,'3':3,'4':4,'5':5,"
        "'6':6,'7':7,'8':8,'9':9,'10':10}}",
        "{'class':'InvalidMigrationState','module':'nova.exception',"
        "'message':'Migration 1 state of instance 2 is 3. Cannot 4 while the "
        "migration is in this state.','kwargs':{'1':1,'2':2,'3':3,'4':4,'5':5,"
        "'6':6,'7':7,'8':8,'9':9,'10':10}}",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_ERROR error = parsed(texts[i]);
        AUTO_FREE again = failure_format(error);
        AUTO_ERROR back = failure_parse(again);
        assert_int_not_equal(error_code(back), ERR_BAD_MESSAGE);
    }

    AUTO_FREE large = xmalloc(1 << 20);
    memset(large, 'x', 1 << 20);
    large[(1 << 20) - 1] = '\0';
    AUTO_FREE text = xasprintf("{'class':'%s','module':'%s','message':'%s',"
                               "'tb':['%s'],'kwargs':{'%s':'%s','a':'%s'}}",
                               large, large, large, large, large, large, large);
    AUTO_ERROR error = parsed(text);
    assert_int_equal(strlen(error_class_name(error)), 256);
    assert_int_equal(strlen(error_message(error)), FAILURE_MESSAGE_MAX);
    AUTO_FREE wire = failure_format(error);
    assert_true(strlen(wire) < 20000);
}

static void
test_a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    AUTO_FREE text = xmalloc(3 * 2000 + 1);
    for (int i = 0; i < 2000; i++) {
        memcpy(text + 3 * i, "\xe2\x82\xac", 3);
    }
    text[3 * 2000] = '\0';
    AUTO_ERROR error = error_new(ERR_INTERNAL, "%s", text);
    AUTO_JSON json = formatted(error);
    const char *message = json_string_of(json, "message");

    assert_int_equal(strlen(message), 4095);
    assert_null(strstr(message, "\xef\xbf\xbd"));
}

static void
test_bytes_that_are_no_utf8_do_not_reach_the_bus(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new(ERR_MIGRATION, "disk '\xff\xfe'");
    error_set_arg(error, "path", "\xc3");
    AUTO_JSON json = formatted(error); /* Parsing it checks that. */

    assert_string_equal(json_string_of(json_get(json, "kwargs"), "reason"),
                        "disk '\xef\xbf\xbd\xef\xbf\xbd'");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failure_has_all_keys_of_a_peers),
        cmocka_unit_test(test_the_reason_is_an_argument_of_its_own),
        cmocka_unit_test(test_built_in_classes_have_no_code),
        cmocka_unit_test(test_every_code_survives_the_way_there_and_back),
        cmocka_unit_test(test_codes_that_share_a_class_become_the_plain_one),
        cmocka_unit_test(test_a_peers_failure_becomes_the_code_of_its_class),
        cmocka_unit_test(test_the_reason_of_a_peer_becomes_the_message),
        cmocka_unit_test(test_arguments_are_read_from_the_text_if_need_be),
        cmocka_unit_test(test_arguments_of_other_types_are_text_as_in_python),
        cmocka_unit_test(test_unknown_classes_pass_on_as_they_came),
        cmocka_unit_test(
            test_the_mark_of_relaying_is_stripped_from_known_classes),
        cmocka_unit_test(test_what_may_be_absent_may_be_absent),
        cmocka_unit_test(test_what_is_no_failure_is_an_error_that_tells),
        cmocka_unit_test(test_hostile_content_is_data_and_cut),
        cmocka_unit_test(test_a_long_message_is_cut_between_characters),
        cmocka_unit_test(test_bytes_that_are_no_utf8_do_not_reach_the_bus),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
