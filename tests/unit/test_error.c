#include <config.h>

#include "agent/base/error.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
assert_text(const struct error *error, const char *expected)
{
    AUTO_FREE text = error_text(error);

    assert_string_equal(text, expected);
}

static void
test_context_gathers_outermost_first(void **state)
{
    (void)state;
    struct error *error = error_new(ERR_MIGRATION, "no reply in %d s", 60);
    error = error_wrap(error, "call '%s'", "pre_live_migration");
    AUTO_ERROR outer = error_wrap(error, "step reserve");

    assert_int_equal(error_code(outer), ERR_MIGRATION);
    assert_string_equal(
        error_message(outer),
        "step reserve: call 'pre_live_migration': no reply in 60 s");
}

static void
test_no_error_can_be_asked_and_wrapped(void **state)
{
    (void)state;
    assert_null(error_wrap(NULL, "nothing"));
    assert_null(error_copy(NULL));
    assert_int_equal(error_code(NULL), ERR_NONE);
    assert_string_equal(error_message(NULL), "success");
    error_free(NULL);
}

static void
test_formats_of_peers_are_not_interpreted(void **state)
{
    (void)state;
    AUTO_ERROR error = error_wrap(error_new(ERR_VALUE, "%s", "%n%s"), "a");

    assert_string_equal(error_message(error), "a: %n%s");
}

static void
test_arguments_are_set_and_replaced(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new(ERR_INSTANCE_NOT_FOUND, "no domain");
    assert_ptr_equal(error_set_arg(error, "instance_id", "a"), error);
    error_set_arg(error, "host", "h");
    error_set_arg(error, "instance_id", "b");

    assert_int_equal(error_n_args(error), 2);
    assert_string_equal(error_arg(error, "instance_id"), "b");
    assert_string_equal(error_arg(error, "host"), "h");
    assert_null(error_arg(error, "none"));
    assert_string_equal(error_arg_at(error, 1).name, "host");
    assert_string_equal(error_arg_at(error, 1).value, "h");
}

static void
test_the_text_is_novas_with_the_arguments(void **state)
{
    (void)state;
    AUTO_ERROR found = error_set_arg(
        error_new(ERR_INSTANCE_NOT_FOUND, "no domain"), "instance_id", "i-1");
    AUTO_ERROR unset = error_new(ERR_INSTANCE_NOT_FOUND, "no domain");
    AUTO_ERROR reason =
        error_wrap(error_new(ERR_MIGRATION, "100%% of (x)s"), "at the end");
    AUTO_ERROR plain = error_new(ERR_INTERNAL, "%%(reason)s");
    AUTO_ERROR two =
        error_set_arg(error_new(ERR_INVALID_SHARED_STORAGE, "differs"), "path",
                      "/%(reason)s");

    assert_text(found, "Instance i-1 could not be found.");
    assert_text(unset, "Instance no domain could not be found.");
    assert_text(reason, "Migration error: at the end: 100% of (x)s");
    assert_text(plain, "%(reason)s");
    assert_text(two, "/%(reason)s is not on shared storage: differs");
}

static void
test_a_copy_is_equal_and_independent(void **state)
{
    (void)state;
    AUTO_ERROR error = error_set_arg(
        error_new_remote("DBError", "oslo_db.exception", "boom"), "a", "1");
    AUTO_ERROR copy = error_copy(error);
    error_set_arg(error, "a", "2");

    assert_int_equal(error_code(copy), ERR_REMOTE);
    assert_string_equal(error_class_name(copy), "DBError");
    assert_string_equal(error_module(copy), "oslo_db.exception");
    assert_string_equal(error_message(copy), "boom");
    assert_string_equal(error_arg(copy, "a"), "1");
}

static void
test_a_remote_error_may_lack_class_and_module(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new_remote(NULL, NULL, "100% %s");

    assert_int_equal(error_code(error), ERR_REMOTE);
    assert_null(error_class_name(error));
    assert_null(error_module(error));
    assert_text(error, "100% %s");
}

static void
test_every_code_has_a_class_that_leads_back(void **state)
{
    (void)state;
    for (int code = ERR_NONE + 1; code < ERR_N_CODES; code++) {
        const struct error_class *class = error_class(code);

        assert_non_null(class->name);
        if (code == ERR_REMOTE) {
            assert_null(class->class_name);
            continue;
        }

        /* Several codes may share a class; the first of them is meant. */
        enum error_code back =
            error_code_of_class(class->class_name, class->module);
        assert_true((int)back <= code);
        assert_string_equal(error_class(back)->class_name, class->class_name);
        assert_string_equal(error_class(back)->module, class->module);

        AUTO_ERROR error = error_new(code, "x");
        assert_string_equal(error_class_name(error), class->class_name);
        assert_string_equal(error_module(error), class->module);
        AUTO_FREE text = error_text(error);
        assert_null(strstr(text, "%("));
    }
    assert_int_equal(error_code_of_class("Nope", "nova.exception"), ERR_REMOTE);
    assert_int_equal(error_code_of_class("InstanceNotFound", "builtins"),
                     ERR_REMOTE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_gathers_outermost_first),
        cmocka_unit_test(test_no_error_can_be_asked_and_wrapped),
        cmocka_unit_test(test_formats_of_peers_are_not_interpreted),
        cmocka_unit_test(test_arguments_are_set_and_replaced),
        cmocka_unit_test(test_the_text_is_novas_with_the_arguments),
        cmocka_unit_test(test_a_copy_is_equal_and_independent),
        cmocka_unit_test(test_a_remote_error_may_lack_class_and_module),
        cmocka_unit_test(test_every_code_has_a_class_that_leads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
