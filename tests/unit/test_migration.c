#include <config.h>

#include "agent/migration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/two_agents.h"

static void
test_cast_moves_the_guest(void **state)
{
    struct two_agents *ta = ta_create(2);
    AUTO_OBJECT record = ta_conduct(ta);

    (void)state;
    ta_rest(ta);
    assert_string_equal(ta_status(ta), "completed");
    AUTO_FREE heard = ta_notifications(ta);
    print_message("%s\n", heard);
    assert_int_equal(ta_guest_active_at(ta), 1 << B);
    ta_free(ta);
}

#define TEST(NAME) cmocka_unit_test(NAME)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cast_moves_the_guest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
