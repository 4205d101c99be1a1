#include <config.h>

#include "rpc/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/mem.h"

static void
test_text_is_a_random_uuid_of_version_4(void **state)
{
    char one[UUID_SIZE], two[UUID_SIZE];

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(uuid_generate_text(one), one);
        uuid_generate_text(two);
        assert_true(uuid_is_valid(one));
        assert_int_equal(strlen(one), 36);
        assert_int_equal(one[14], '4');
        assert_non_null(strchr("89ab", one[19]));
        assert_string_not_equal(one, two);
    }
}

static void
test_hex_has_32_lower_case_digits(void **state)
{
    char one[33], two[33];

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(uuid_generate_hex(one), one);
        uuid_generate_hex(two);
        assert_int_equal(strspn(one, "0123456789abcdef"), 32);
        assert_int_equal(one[32], '\0');
        assert_string_not_equal(one, two);
    }
}

static void
test_only_the_usual_form_is_valid(void **state)
{
    static const char *const bad[] = {
        "",
        "-",
        "8dc4f765",
        "8dc4f765-e09e-4516-8d4c-b0ec1d9c090",
        "8dc4f765-e09e-4516-8d4c-b0ec1d9c09099",
        "8dc4f765e09e45168d4cb0ec1d9c0909",
        "8dc4f765-e09e-4516-8d4c-b0ec1d9c090g",
        "8dc4f765-e09e-4516-8d4cb-0ec1d9c0909",
        "8dc4f765-e09e-4516-8d4c_b0ec1d9c0909",
        " 8dc4f765-e09e-4516-8d4c-b0ec1d9c090",
        "../../../../../../../../../etc/passwd",
    };

    (void)state;
    assert_true(uuid_is_valid("8dc4f765-e09e-4516-8d4c-b0ec1d9c0909"));
    assert_true(uuid_is_valid("8DC4F765-E09E-4516-8D4C-B0EC1D9C0909"));
    assert_true(uuid_is_valid("00000000-0000-0000-0000-000000000000"));
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        /* Exactly so large, so that reading on is seen by the sanitizer. */
        AUTO_FREE text = xstrdup(bad[i]);
        assert_false(uuid_is_valid(text));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_a_random_uuid_of_version_4),
        cmocka_unit_test(test_hex_has_32_lower_case_digits),
        cmocka_unit_test(test_only_the_usual_form_is_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
