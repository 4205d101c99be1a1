#include <config.h>

#include "agent/droverctl/table.h"

#include <locale.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct table_column columns[] = {
    {"NAME", false},
    {"SIZE", true},
    {"WHAT", false},
};

static char *
printed(const struct table *table, unsigned width)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    table_print(table, out, width);
    fclose(out);
    return text;
}

static void
test_columns_are_aligned(void **state)
{
    (void)state;
    AUTO_TABLE table = table_create(columns, 3);

    table_add(table, "a");
    table_add(table, "1000");
    table_add(table, "first");
    table_add(table, "a long one");
    table_add_format(table, "%d", 7);
    table_add(table, "second one");
    AUTO_FREE text = printed(table, 0);
    assert_string_equal(text, "NAME        SIZE  WHAT\n"
                              "a           1000  first\n"
                              "a long one     7  second one\n");
}

static void
test_what_is_missing_is_a_dash(void **state)
{
    (void)state;
    AUTO_TABLE table = table_create(columns, 3);
    AUTO_JSON object = json_object();

    json_set_null(object, "null");
    json_set_bool(object, "bool", true);
    json_set_int(object, "int", -5);
    json_set_string(object, "string", "text");
    table_add(table, NULL);
    table_add(table, "");
    table_add_member(table, object, "absent");
    table_add_member(table, object, "null");
    table_add_member(table, object, "int");
    table_add_member(table, object, "bool");
    table_add_member(table, object, "string");
    AUTO_FREE text = printed(table, 0);
    assert_string_equal(text, "NAME  SIZE  WHAT\n"
                              "-        -  -\n"
                              "-       -5  yes\n"
                              "text\n");
}

static void
test_width_is_what_is_seen(void **state)
{
    (void)state;
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("\xc3\xa4\xc3\xb6"), 2);         /* Umlauts. */
    assert_int_equal(text_width("\xe6\x97\xa5\xe6\x9c\xac"), 4); /* Wide. */
    assert_int_equal(text_width("e\xcc\x81"), 1); /* An accent that combines. */

    AUTO_TABLE table = table_create(columns, 3);
    table_add(table, "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f");
    table_add(table, "1");
    table_add(table, "x");
    table_add(table, "\xe6\x97\xa5\xe6\x9c\xac");
    table_add(table, "2");
    table_add(table, "y");
    AUTO_FREE text = printed(table, 0);
    assert_string_equal(text, "NAME  SIZE  WHAT\n"
                              "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f     1  x\n"
                              "\xe6\x97\xa5\xe6\x9c\xac     2  y\n");
}

static void
test_a_line_is_cut_to_the_width_between_characters(void **state)
{
    (void)state;
    AUTO_TABLE table = table_create(columns, 1);

    table_add(table, "0123456789");
    table_add(table, "012345678\xc3\xa4xx");
    table_add(table, "01234567\xe6\x97\xa5\xe6\x9c\xac");
    AUTO_FREE text = printed(table, 10);
    assert_string_equal(text, "NAME\n0123456789\n"
                              "012345678\xe2\x80\xa6\n"
                              "01234567\xe2\x80\xa6\n");
    AUTO_FREE whole = printed(table, 0);
    assert_null(strstr(whole, "\xe2\x80\xa6"));
}

static void
test_a_very_long_name_leaves_room_for_the_others(void **state)
{
    (void)state;
    AUTO_TABLE table = table_create(columns, 3);

    table_add(table, "0123456789012345678901234567890123456789");
    table_add(table, "12");
    table_add(table, "what it is about, at some length");
    table_add(table, "0123456789012345678901234567\xe6\x97\xa5x56789");
    table_add(table, "7");
    table_add(table, "short");
    AUTO_FREE text = printed(table, 50);
    assert_string_equal(
        text, "NAME                            SIZE  WHAT\n"
              "01234567890123456789012345678\xe2\x80\xa6    12  "
              "what it is \xe2\x80\xa6\n"
              "0123456789012345678901234567\xe2\x80\xa6      7  short\n");
    AUTO_FREE narrow = printed(table, 20);
    assert_non_null(strstr(narrow, "\n012345678901234\xe2\x80\xa6"));
}

static void
test_a_uuid_is_never_cut_for_others(void **state)
{
    static const char uuid[] = "2f1f4b3e-2b5c-4f0e-9a55-0a1c7f3b6d10";
    (void)state;
    AUTO_TABLE table = table_create(columns, 3);

    table_add(table, uuid);
    table_add(table, "12");
    table_add(table, "what it is about, at some length");
    AUTO_FREE text = printed(table, 44);
    assert_non_null(strstr(text, uuid));
}

static void
test_a_name_can_do_nothing_to_the_terminal(void **state)
{
    (void)state;
    AUTO_FREE escape = text_clean("a\033[31mb\r\n\tc\177d");
    AUTO_FREE c1 = text_clean("a\xc2\x9b"
                              "31m");
    AUTO_FREE broken = text_clean("a\xff"
                                  "b\xc3");
    AUTO_FREE turned = text_clean("a\xe2\x80\xae"
                                  "b");
    AUTO_FREE none = text_clean(NULL);

    assert_string_equal(escape, "a?[31mb???c?d");
    assert_string_equal(c1, "a?31m");
    assert_string_equal(broken, "a\xef\xbf\xbd"
                                "b\xef\xbf\xbd");
    assert_string_equal(turned, "a?b");
    assert_string_equal(none, "-");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_aligned),
        cmocka_unit_test(test_what_is_missing_is_a_dash),
        cmocka_unit_test(test_width_is_what_is_seen),
        cmocka_unit_test(test_a_line_is_cut_to_the_width_between_characters),
        cmocka_unit_test(test_a_very_long_name_leaves_room_for_the_others),
        cmocka_unit_test(test_a_uuid_is_never_cut_for_others),
        cmocka_unit_test(test_a_name_can_do_nothing_to_the_terminal),
    };

    json_init();
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
