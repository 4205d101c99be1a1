#include <config.h>

#include "agent/base/sets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/base/mem.h"

static char *
cpus_of(const char *text)
{
    CLEANUP(cpu_set_close) struct cpu_set set;
    AUTO_FREE all = xstrdup("");

    if (!cpu_set_parse(text, 1023, &set)) {
        assert_int_equal(set.n, 0);
        return NULL;
    }
    for (size_t i = 0; i < set.n; i++) {
        char *more = xasprintf("%s%s%d", all, i ? " " : "", set.cpus[i]);
        free(all);
        all = more;
    }
    return steal(&all);
}

static void
assert_cpus(const char *text, const char *expected)
{
    AUTO_FREE cpus = cpus_of(text);

    assert_non_null(cpus);
    assert_string_equal(cpus, expected);
}

static void
test_cpus_are_read_as_nova_reads_them(UNUSED void **state)
{
    assert_cpus("", "");
    assert_cpus("3", "3");
    assert_cpus("0-3", "0 1 2 3");
    assert_cpus("5,0-2", "0 1 2 5");
    assert_cpus("^1,0-3", "0 2 3");
    assert_cpus(" 1 - 2 , ^ 2 ,, 7 ", "1 7");
    assert_cpus("2,2,2", "2");
    assert_cpus("1023", "1023");
}

static void
test_nonsense_is_no_set(UNUSED void **state)
{
    static const char *const texts[] = {"x",   "1-",      "-1",   "3-1",
                                        "1 2", "^",       "^1-2", "1024",
                                        "1.5", "0-99999", "1,x",  "0x3"};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_FREE cpus = cpus_of(texts[i]);
        if (cpus) {
            fail_msg("'%s' gave '%s'", texts[i], cpus);
        }
    }
}

static void
test_cpus_are_found(UNUSED void **state)
{
    CLEANUP(cpu_set_close) struct cpu_set set = {0};

    assert_false(cpu_set_has(&set, 0));
    cpu_set_add(&set, 4);
    cpu_set_add(&set, 2);
    cpu_set_add(&set, 4);
    assert_int_equal(set.n, 2);
    assert_true(cpu_set_has(&set, 2));
    assert_true(cpu_set_has(&set, 4));
    assert_false(cpu_set_has(&set, 3));
    assert_false(cpu_set_has(&set, 5));
}

static void
test_texts_are_there_once_and_in_order(UNUSED void **state)
{
    CLEANUP(text_set_close) struct text_set set = {0};

    text_set_add(&set, "b");
    text_set_add(&set, "a");
    text_set_add(&set, "b");
    text_set_add(&set, NULL);
    assert_int_equal(set.n, 2);
    assert_string_equal(set.texts[0], "b");
    assert_true(text_set_has(&set, "a"));
    assert_false(text_set_has(&set, "c"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpus_are_read_as_nova_reads_them),
        cmocka_unit_test(test_nonsense_is_no_set),
        cmocka_unit_test(test_cpus_are_found),
        cmocka_unit_test(test_texts_are_there_once_and_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
