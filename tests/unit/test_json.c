#include <config.h>

#include "rpc/json.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/utf8.h"

static struct json *
parse(const char *text)
{
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &json);

    if (error) {
        fail_msg("%s: %s", text, error_message(error));
    }
    assert_non_null(json);
    return json;
}

static void
assert_refused_n(const char *text, size_t size, const char *why)
{
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, size, &json);

    if (!error) {
        fail_msg("accepted: %.*s", (int)size, text);
    }
    assert_int_equal(error_code(error), ERR_BAD_MESSAGE);
    assert_null(json);
    if (!strstr(error_message(error), why)) {
        fail_msg("%s: '%s', wanted '%s'", text, error_message(error), why);
    }
}

static void
assert_refused(const char *text, const char *why)
{
    /* Exactly so large, so that reading on is seen by the sanitizer. */
    size_t size = strlen(text);
    AUTO_FREE exact = xmemdup(text, size);

    assert_refused_n(exact, size, why);
}

static void
assert_prints(const char *text, const char *expected)
{
    AUTO_JSON json = parse(text);
    size_t size = 0;
    AUTO_FREE printed = json_print(json, &size);

    assert_string_equal(printed, expected);
    assert_int_equal(size, strlen(expected));
}

static void
test_values_survive_parsing_and_printing(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "\"\"",
        "\"x\"",
        "[]",
        "{}",
        "[[]]",
        "[1,2,[3,{\"a\":null}]]",
        "{\"a\":1,\"b\":{\"c\":[true,false]}}",
        "{\"\":0}",
        "\"\xf0\x9f\x90\x91 \xe2\x82\xac \xc3\xa9\"",
        "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_prints(texts[i], texts[i]);
    }
    assert_prints(" \t\r\n{ \"a\" : [ 1 , 2 ] } \n", "{\"a\":[1,2]}");
}

static void
test_numbers_keep_their_text(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "-1",
        "2147483648",
        "-2147483649",
        "1000000000000000",
        "1234567890123460",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551615",
        "123456789012345678901234567890",
        "1.0",
        "1.5",
        "1e5",
        "1E+5",
        "0.1",
        "1e-400",
        "3.141592653589793238462643",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_prints(texts[i], texts[i]);
    }

    char digits[401];
    memset(digits, '7', 400);
    digits[400] = '\0';
    assert_prints(digits, digits);
}

static void
test_numbers_that_are_none_are_refused(void **state)
{
    static const char *const texts[] = {
        "01",  "-01",      "00",        "1.",    ".5",     "-.5", "-",
        "+1",  "1e",       "1e+",       "1.e1",  "0x10",   "NaN", "nan",
        "inf", "Infinity", "-Infinity", "1e400", "-1e400", "1 2", "1a",
        "--1", "0.e1",     "1,",        "0e",    "1.2.3",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_refused(texts[i], "bad JSON");
    }

    AUTO_FREE digits = xmalloc(100000);
    memset(digits, '1', 100000);
    assert_refused_n(digits, 100000, "too long");
}

static void
test_integers_are_exact_to_64_bits(void **state)
{
    static const int64_t values[] = {
        0,
        1,
        -1,
        INT32_MAX,
        INT32_MIN,
        999999999999999,
        1000000000000000,
        (INT64_C(1) << 53) - 1,
        INT64_C(1) << 53,
        (INT64_C(1) << 53) + 1,
        INT64_MAX,
        INT64_MIN,
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(values); i++) {
        AUTO_JSON made = json_int(values[i]);
        AUTO_FREE text = json_print(made, NULL);
        AUTO_JSON parsed = parse(text);

        assert_true(json_is_int(parsed));
        assert_true(json_get_int(parsed) == values[i]);
    }

    AUTO_JSON large = json_uint(UINT64_MAX);
    AUTO_FREE text = json_print(large, NULL);
    assert_string_equal(text, "18446744073709551615");
    assert_true(json_is_number(large));
    assert_false(json_is_int(large));
    assert_true(json_get_int(large) == 0);
}

static void
test_whole_floats_are_integers_too(void **state)
{
    (void)state;
    AUTO_JSON list =
        parse("[1.0,1e5,-2.50e1,1.5,1e30,\"1\",9223372036854775808"
              ",-9223372036854775808.0,9.3e18,9223372036854775808.0]");
    static const struct {
        bool is_int;
        int64_t value;
    } expected[] = {{true, 1},  {true, 100000}, {true, -25}, {false, 0},
                    {false, 0}, {false, 0},     {false, 0},  {true, INT64_MIN},
                    {false, 0}, {false, 0}};

    for (size_t i = 0; i < N_ELEMENTS(expected); i++) {
        assert_int_equal(json_is_int(json_at(list, i)), expected[i].is_int);
        assert_true(json_get_int(json_at(list, i)) == expected[i].value);
    }
    assert_true(json_get_double(json_at(list, 3)) == 1.5);
    assert_true(json_get_double(json_at(list, 4)) == 1e30);
    assert_true(json_get_double(json_at(list, 5)) == 0);
}

static void
test_doubles_print_shortest_and_stay_floats(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1, "1.0"},
                 {-2.5, "-2.5"},
                 {1e22, "1e+22"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {NAN, "null"}};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON json = json_double(cases[i].value);
        AUTO_FREE text = json_print(json, NULL);
        assert_string_equal(text, cases[i].text);
    }

    /* Too large for a double, and no trap for whoever asks. */
    char digits[401];
    memset(digits, '9', 400);
    digits[400] = '\0';
    AUTO_JSON json = parse(digits);
    assert_true(json_get_double(json) == 0);
    assert_true(json_get_int(json) == 0);
}

static void
test_escapes_are_decoded(void **state)
{
    (void)state;
    AUTO_JSON json = parse("\"\\u0041\\u00e9\\u20AC\\ud83d\\udc11\\/\\\"\\\\"
                           "\\b\\f\\n\\r\\tz\"");
    assert_string_equal(
        json_get_string(json),
        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x91/\"\\\b\f\n\r\tz");

    assert_prints("\"\\uffff\\ue000\\ud7ff\\udbff\\udfff\"",
                  "\"\xef\xbf\xbf\xee\x80\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\"");
}

/* Texts are read in blocks: each escape at each place, among others. */
static void
test_escapes_are_decoded_wherever_they_stand(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *read;
    } specials[] = {
        {"\\\"", "\""},
        {"\\\\", "\\"},
        {"\\n", "\n"},
        {"\\\\\\\"", "\\\""},
        {"\\\\\\\\\\t", "\\\\\t"},
        {"\\u00e9", "\xc3\xa9"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\\ud83d\\udc11", "\xf0\x9f\x90\x91"},
    };
    static const char sent_after[] =
        "plain\\\"short\\\"\\\"long enough to be copied in two parts\\\\\\\"";
    static const char read_after[] =
        "plain\"short\"\"long enough to be copied in two parts\\\"";
    char before[200];

    memset(before, 'b', sizeof before);
    for (int n = 0; n < (int)sizeof before; n++) {
        for (size_t i = 0; i < N_ELEMENTS(specials); i++) {
            AUTO_FREE text =
                xasprintf("\"\\/%.*s%s%s%s\"", n, before, specials[i].sent,
                          sent_after, sent_after);
            AUTO_FREE expected =
                xasprintf("/%.*s%s%s%s", n, before, specials[i].read,
                          read_after, read_after);
            AUTO_JSON json = parse(text);

            assert_string_equal(json_get_string(json), expected);
            /* However it is cut, it has no end. */
            AUTO_FREE cut = xstrndup(text, strlen(text) - 1 - (size_t)n);
            assert_refused(cut, "");
        }
    }
}

static void
test_controls_are_refused_wherever_they_stand(void **state)
{
    (void)state;
    char text[300];

    for (size_t n = 3; n < sizeof text - 1; n++) {
        memset(text, 'b', sizeof text);
        memcpy(text, "\"\\n", 3);
        text[n] = n % 2 ? '\x1f' : '\xff';
        text[sizeof text - 1] = '\0';
        AUTO_FREE where = xasprintf("at byte %zu: ", n);
        assert_refused(text, where);
    }
}

/* 'special' between so many plain characters, as a name; null: refused. */
static void
assert_name_is_read(const char *special, const char *expected, int before,
                    int after, int blanks)
{
    static const char plain[] = "!#abcdefghijklmnop~[] ";
    AUTO_FREE text = xasprintf("{\"%.*s%s%.*s\":1}%*s", before, plain, special,
                               after, plain, blanks, "");

    if (!expected) {
        assert_refused(text, "");
        return;
    }
    AUTO_FREE name =
        xasprintf("%.*s%s%.*s", before, plain, expected, after, plain);
    AUTO_JSON json = parse(text);
    assert_string_equal(json_name(json_first(json)), name);
}

/* Texts are read by words: each place in one, and what a word leaves over;
 * large texts in another way than small ones. */
static void
test_what_is_special_is_seen_at_every_place_of_a_word(void **state)
{
    static const struct {
        const char *in, *out;
    } specials[] = {
        {"\\\\", "\\"},
        {"\\n\\\"\\/", "\n\"/"},
        {"\\u00e9", "\xc3\xa9"},
        {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
        {"\xc3\xa9\\t\xc3\xa9", "\xc3\xa9\t\xc3\xa9"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\x7f", "\x7f"},
        {"\x1f", NULL},
        {"\\n\x1f", NULL},
        {"\xff", NULL},
        {"\\n\xff", NULL},
        {"\\x", NULL},
        {"\\u12\"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(specials); i++) {
        for (int before = 0; before <= 18; before++) {
            for (int after = 0; after <= 18; after++) {
                assert_name_is_read(specials[i].in, specials[i].out, before,
                                    after, 0);
            }
            assert_name_is_read(specials[i].in, specials[i].out, before, 3,
                                1 << 20);
        }
    }
}

static void
test_a_copy_has_texts_and_names_of_its_own(void **state)
{
    struct json *json = parse("{\"_c_x\":\"one\",\"_c_y\":[1,{\"z\":null}],"
                              "\"w\":true}");
    AUTO_JSON copy = json_copy(json);
    AUTO_JSON prefixed = json_detach_prefixed(json, "_c_");
    AUTO_JSON detached = json_detach(prefixed, "x");

    (void)state;
    json_set(prefixed, "name", json_copy(detached));
    json_set(prefixed, "y", json_detach(json, "w"));
    json_free(json);
    assert_null(json_name(detached));
    assert_string_equal(json_get_string(detached), "one");
    AUTO_FREE left = json_print(prefixed, NULL);
    assert_string_equal(left, "{\"y\":true,\"name\":\"one\"}");
    AUTO_FREE copied = json_print(copy, NULL);
    assert_string_equal(copied, "{\"_c_x\":\"one\",\"_c_y\":[1,{\"z\":null}],"
                                "\"w\":true}");
}

static void
test_bad_escapes_are_refused(void **state)
{
    static const char *const texts[] = {
        "\"\\x41\"",   "\"\\u12\"",   "\"\\u12G4\"", "\"\\\"",
        "\"\\u\"",     "\"\\",        "\"\\a\"",     "\"\\\xc3\xa9\"",
        "\"\\u 123\"", "\"\\U0041\"", "\"\\'\"",     "\"\\u00",
        "\"\\u0041",
    };
    static const char *const surrogates[] = {
        "\"\\ud800\"",        "\"\\udc00\"",        "\"\\ud800x\"",
        "\"\\ud800\\n\"",     "\"\\ud800\\ud800\"", "\"\\udc00\\ud800\"",
        "\"\\udbff\\u0041\"",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_refused(texts[i], "");
    }
    for (size_t i = 0; i < N_ELEMENTS(surrogates); i++) {
        assert_refused(surrogates[i], "surrogate");
    }
    assert_refused("\"\\ud800\\u12\"", "");
}

static void
test_escaped_nul_cuts_nothing(void **state)
{
    (void)state;
    assert_prints("\"\\u0000\"", "\"\\u0000\"");
    assert_prints("{\"a\\u0000b\":[\"\\u0000c\\u0000\\u0000\"]}",
                  "{\"a\\u0000b\":[\"\\u0000c\\u0000\\u0000\"]}");
    assert_prints("{\"a\":1,\"a\\u0000\":2}", "{\"a\":1,\"a\\u0000\":2}");

    AUTO_JSON json = parse("[\"a\\u0000b\",\"a\\u0000c\",\"a\"]");
    assert_string_equal(json_get_string(json_at(json, 0)), "a" UTF8_NUL "b");
    assert_true(utf8_has_nul(json_get_string(json_at(json, 0))));
    assert_false(utf8_has_nul(json_get_string(json_at(json, 2))));
    assert_false(json_equal(json_at(json, 0), json_at(json, 1)));
    assert_false(json_equal(json_at(json, 0), json_at(json, 2)));

    AUTO_JSON copy = json_string(json_get_string(json_at(json, 0)));
    assert_true(json_equal(copy, json_at(json, 0)));
}

static void
test_nul_as_it_is_kept_is_refused_from_outside(void **state)
{
    (void)state;
    assert_refused("\"a" UTF8_NUL "\"", "UTF-8");
    assert_refused("{\"" UTF8_NUL "\":1}", "UTF-8");
    assert_refused("\"\\u0000" UTF8_NUL "\"", "UTF-8");
    assert_refused("\"\xc0\x81\"", "UTF-8");
    assert_refused("\"\xc0\"", "UTF-8");
}

static void
test_nul_byte_is_refused_wherever_it_is(void **state)
{
    (void)state;
    assert_refused_n("\"a\0b\"", 5, "control character");
    assert_refused_n("[1]\0", 4, "after the value");
    assert_refused_n("[\0"
                     "1]",
                     4, "not a value");
    assert_refused_n("\0", 1, "not a value");
}

static void
test_control_characters_are_refused(void **state)
{
    (void)state;
    for (int c = 1; c < 0x20; c++) {
        char text[] = {'"', 'a', (char)c, '"', '\0'};
        assert_refused(text, "control character");
    }
    assert_refused("[1,\f2]", "not a value");
    assert_refused("\v1", "not a value");
    assert_refused("1\xc2\xa0", "after the value");
}

static void
test_what_is_not_utf8_is_refused(void **state)
{
    static const char *const bytes[] = {
        "\x80",             /* Continuation without a beginning. */
        "\xc3",             /* Cut short. */
        "\xe2\x82",         /* Likewise. */
        "\xf0\x9f\x90",     /* Likewise. */
        "\xc0\xaf",         /* Overlong. */
        "\xc1\xbf",         /* Likewise. */
        "\xe0\x9f\xbf",     /* Likewise. */
        "\xf0\x8f\xbf\xbf", /* Likewise. */
        "\xed\xa0\x80",     /* A surrogate. */
        "\xed\xbf\xbf",     /* Likewise. */
        "\xf4\x90\x80\x80", /* Above U+10FFFF. */
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xfe",
        "\xff",
        "\xe2\x28\xa1", /* Continuation missing. */
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(bytes); i++) {
        AUTO_FREE value = xasprintf("\"a%s\"", bytes[i]);
        AUTO_FREE name = xasprintf("{\"%s\":1}", bytes[i]);
        assert_refused(value, "not UTF-8");
        assert_refused(name, "not UTF-8");
        assert_refused(bytes[i], "not a value");
    }
    assert_refused("\xef\xbb\xbf{}", "not a value"); /* A BOM. */
    assert_refused_n("[\0]\0", 4, "not a value");    /* UTF-16. */
}

static void
test_structure_must_be_complete(void **state)
{
    static const char *const texts[] = {
        "",           " ",       "[",         "]",
        "{",          "}",       "[1",        "[1,",
        "[1,]",       "[,1]",    "[1 2]",     "[1}",
        "{\"a\"",     "{\"a\":", "{\"a\":1",  "{\"a\":1,",
        "{\"a\":1,}", "{,}",     "{1:2}",     "{\"a\" 1}",
        "{\"a\"::1}", "{a:1}",   "{'a':1}",   "{\"a\":1 \"b\":2}",
        "{\"a\":1]",  "[] []",   "{}x",       "\"a",
        "\"",         "'a'",     "tru",       "TRUE",
        "truex",      "nul",     "None",      "undefined",
        "[1]//c",     "/**/1",   "[\"a\":1]", "{\"a\":1,,\"b\":2}",
        "hello",      "{[]:1}",  "[1,,2]",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_refused(texts[i], "bad JSON at byte ");
    }
    assert_refused("[1, x]", "bad JSON at byte 4: not a value");
    assert_refused("{\"a\": tru}", "bad JSON at byte 6: not a value");
}

static char *
nested(int depth, char open, char close)
{
    char *text = xmalloc((size_t)depth * 2 + 1);

    memset(text, open, (size_t)depth);
    memset(text + depth, close, (size_t)depth);
    text[depth * 2] = '\0';
    return text;
}

static void *
parse_nested(void *arg)
{
    (void)arg;
    AUTO_FREE deep = nested(JSON_DEPTH_MAX, '[', ']');
    AUTO_JSON json = parse(deep);
    AUTO_JSON copy = json_copy(json);
    AUTO_FREE printed = json_print(copy, NULL);

    assert_true(json_equal(json, copy));
    assert_string_equal(printed, deep);

    AUTO_FREE deeper = nested(JSON_DEPTH_MAX + 1, '[', ']');
    assert_refused(deeper, "nested too deeply");
    deep[JSON_DEPTH_MAX - 1] = '{'; /* Objects count as arrays do. */
    deep[JSON_DEPTH_MAX] = '}';
    json_free(parse(deep));
    deeper[JSON_DEPTH_MAX] = '{';
    deeper[JSON_DEPTH_MAX + 1] = '}';
    assert_refused(deeper, "nested too deeply");

    AUTO_FREE open = xmalloc(1 << 20);
    memset(open, '[', 1 << 20);
    assert_refused_n(open, 1 << 20, "nested too deeply");
    for (int i = 0; i < 1 << 20; i++) {
        open[i] = "{\"a\":"[i % 5];
    }
    assert_refused_n(open, 1 << 20, "nested too deeply");
    return NULL;
}

static void
test_nesting_is_limited_to_what_a_small_stack_takes(void **state)
{
    pthread_attr_t attr;
    pthread_t thread;
#ifdef WITH_SANITIZERS
    size_t stack = 2 << 20;
#else
    size_t stack = 512 << 10;
#endif

    (void)state;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, stack), 0);
    assert_int_equal(pthread_create(&thread, &attr, parse_nested, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
}

static void
test_the_last_of_duplicate_names_wins(void **state)
{
    (void)state;
    assert_prints("{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}");
    assert_prints("{\"a\":1,\"a\":2,\"a\":[{\"x\":1,\"x\":2}]}",
                  "{\"a\":[{\"x\":2}]}");
    assert_prints("{\"a\":1,\"\\u0061\":2}", "{\"a\":2}");
    assert_prints("{\"A\":1,\"a\":2}", "{\"A\":1,\"a\":2}");
    /* Alike but for what is in the middle. */
    assert_prints("{\"name_of_a_thing\":1,\"name_of-a_thing\":2,"
                  "\"long_name_of_a_thing\":3,\"long_name-of_a_thing\":4}",
                  "{\"name_of_a_thing\":1,\"name_of-a_thing\":2,"
                  "\"long_name_of_a_thing\":3,\"long_name-of_a_thing\":4}");
}

static void
test_many_names_take_no_quadratic_time(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    fputc('{', out);
    for (int i = 0; i < 200000; i++) {
        fprintf(out, "\"k%d\":%d,", i % 100000, i);
    }
    fputs("\"last\":0}", out);
    fclose(out);

    AUTO_JSON json = parse(text);
    free(text);
    assert_int_equal(json_size(json), 100001);
    assert_int_equal(json_int_of(json, "k7"), 100007);
    assert_int_equal(json_int_of(json, "k99999"), 199999);
    AUTO_JSON copy = json_copy(json);
    assert_true(json_equal(json, copy));
}

static void
test_the_number_of_values_is_limited(void **state)
{
    size_t size = 6 << 20;
    AUTO_FREE text = xmalloc(size);

    (void)state;
    for (size_t i = 0; i < size; i++) {
        text[i] = i % 2 ? '1' : ',';
    }
    text[0] = '[';
    assert_refused_n(text, size, "too many values");

    size = 2000001;
    text[size - 1] = ']';
    AUTO_JSON json = NULL;
    AUTO_ERROR error = json_parse(text, size, &json);
    assert_null(error);
    assert_int_equal(json_size(json), 1000000);
}

static void
test_strings_are_made_valid(void **state)
{
    (void)state;
    AUTO_JSON bad = json_string("a\xff\xc3z\xe2\x82");
    assert_string_equal(json_get_string(bad),
                        "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd");
    AUTO_JSON nul = json_string_n("a\0b", 3);
    assert_string_equal(json_get_string(nul), "a\xef\xbf\xbd"
                                              "b");
    AUTO_JSON none = json_string(NULL);
    assert_true(json_is_null(none));
    AUTO_JSON part = json_string_n("hello", 2);
    assert_string_equal(json_get_string(part), "he");

    AUTO_JSON object = json_object();
    json_set_int(object, "n\xff", 1);
    AUTO_FREE text = json_print(object, NULL);
    assert_string_equal(text, "{\"n\xef\xbf\xbd\":1}");
}

static void
test_utf8_is_cut_between_characters(void **state)
{
    (void)state;
    assert_int_equal(utf8_cut("abc", 3), 3);
    assert_int_equal(utf8_cut("abc", 2), 2);
    assert_int_equal(utf8_cut("abc", 0), 0);
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 4), 4);
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 3), 1);
    assert_int_equal(utf8_cut("a\xe2\x82\xac", 2), 1);
    assert_int_equal(utf8_cut("\xf0\x9f\x90\x91", 3), 0);
}

static void
test_members_are_set_replaced_and_detached(void **state)
{
    (void)state;
    AUTO_JSON o = json_object();
    json_set_string(o, "s", "x");
    json_set_int(o, "i", 7);
    json_set_bool(o, "b", true);
    json_set_null(o, "n");
    json_set(o, "l", json_append(json_append(json_array(), NULL), json_int(1)));
    json_set_string(o, "S", "other");
    json_set_string(o, "s", "y");

    AUTO_FREE text = json_print(o, NULL);
    assert_string_equal(text, "{\"s\":\"y\",\"i\":7,\"b\":true,\"n\":null,"
                              "\"l\":[null,1],\"S\":\"other\"}");
    assert_string_equal(json_string_of(o, "S"), "other");
    assert_true(json_has(o, "n"));
    assert_false(json_has(o, "N"));

    struct json *detached = json_detach(o, "S");
    assert_false(json_has(o, "S"));
    json_set(o, "last", detached);
    assert_string_equal(json_string_of(o, "last"), "other");
    assert_null(json_detach(o, "none"));
    json_remove(o, "s");
    json_remove(o, "s");
    json_remove(o, "last");
    json_set_int(o, "new", 1);
    AUTO_FREE rest = json_print(o, NULL);
    assert_string_equal(
        rest, "{\"i\":7,\"b\":true,\"n\":null,\"l\":[null,1],\"new\":1}");
}

static void
test_lookups_of_another_type_find_nothing(void **state)
{
    (void)state;
    AUTO_JSON o = parse("{\"s\":\"7\",\"i\":7,\"b\":true,\"n\":null}");

    assert_null(json_string_of(o, "i"));
    assert_null(json_string_of(o, "absent"));
    assert_int_equal(json_int_of(o, "s"), 0);
    assert_int_equal(json_int_of(o, "i"), 7);
    assert_true(json_bool_of(o, "b"));
    assert_false(json_bool_of(o, "i"));
    assert_null(json_get(NULL, "x"));
    assert_null(json_get(o, NULL));
    assert_null(json_get(json_get(o, "s"), "x"));
    assert_null(json_first(NULL));
    assert_null(json_at(NULL, 0));
    assert_int_equal(json_size(NULL), 0);
    assert_false(json_is_null(NULL));
    assert_false(json_is_object(NULL));
    assert_true(json_is_null(json_get(o, "n")));
}

static void
test_walking_goes_in_order(void **state)
{
    (void)state;
    AUTO_JSON o = parse("{\"a\":1,\"b\":2,\"c\":3}");
    AUTO_FREE names = xstrdup("");

    json_for_each (member, o) {
        char *longer = xasprintf("%s%s%lld", names, json_name(member),
                                 (long long)json_get_int(member));
        free(names);
        names = longer;
    }
    assert_string_equal(names, "a1b2c3");

    AUTO_JSON list = parse("[5,6]");
    assert_int_equal(json_size(list), 2);
    assert_int_equal(json_get_int(json_at(list, 1)), 6);
    assert_null(json_at(list, 2));
    assert_null(json_name(json_first(list)));
    json_append(list, json_detach(o, "b"));
    assert_null(json_name(json_at(list, 2)));
}

static void
test_equality_is_of_values(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"1", "1.0", true},
        {"100", "1e2", true},
        {"0", "-0", true},
        {"1", "2", false},
        {"9007199254740993", "9007199254740992", false},
        {"18446744073709551616", "18446744073709551617", false},
        {"18446744073709551616", "18446744073709551616", true},
        {"0.1", "1e-1", true},
        {"1", "true", false},
        {"\"1\"", "1", false},
        {"true", "true", true},
        {"true", "false", false},
        {"null", "null", true},
        {"[1,2]", "[2,1]", false},
        {"[1,2]", "[1,2]", true},
        {"[1]", "[1,2]", false},
        {"[]", "{}", false},
        {"{\"a\":1,\"b\":[2]}", "{\"b\":[2],\"a\":1}", true},
        {"{\"a\":1}", "{\"A\":1}", false},
        {"{\"a\":1}", "{}", false},
        {"{\"a\":1}", "{\"a\":2}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"\"a\"", "\"a\"", true},
        {"\"a\"", "\"A\"", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_JSON a = parse(cases[i].a);
        AUTO_JSON b = parse(cases[i].b);
        if (json_equal(a, b) != cases[i].equal ||
            json_equal(b, a) != cases[i].equal) {
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        }
    }
    AUTO_JSON some = json_null();
    assert_true(json_equal(NULL, NULL));
    assert_false(json_equal(some, NULL));
}

static void
test_a_borrowed_value_outlives_its_borrower(void **state)
{
    static const char *const texts[] = {"{\"a\":[1]}", "[1,2]", "\"s\"", "5",
                                        "null",        "true",  "{}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AUTO_JSON value = parse(texts[i]);
        AUTO_JSON o = json_object();
        json_set_borrowed(o, "v", value);
        json_set_borrowed(o, "none", NULL);

        AUTO_FREE printed = json_print(o, NULL);
        AUTO_FREE expected = xasprintf("{\"v\":%s,\"none\":null}", texts[i]);
        assert_string_equal(printed, expected);
        json_free(steal(&o));

        AUTO_FREE after = json_print(value, NULL);
        assert_string_equal(after, texts[i]);
    }
}

static char *
read_file(const char *path, size_t *ret_size)
{
    FILE *in = fopen(path, "rb");
    AUTO_FREE data = xmalloc(1 << 20);

    assert_non_null(in);
    *ret_size = fread(data, 1, 1 << 20, in);
    fclose(in);
    return xmemdup(data, *ret_size);
}

/* DROVER_JSON_SUITE names a directory with the parsing cases of JSONTestSuite:
 * y_* must be accepted, n_* refused, i_* only be survived.  Our own corpus has
 * cases of each of their classes, named alike; what only the fuzzer found has
 * other names. */
static int
try_suite(const char *dir)
{
    DIR *d = opendir(dir);
    int n_files = 0, n_wrong = 0;

    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        if (!strstr(entry->d_name, ".json")) {
            continue;
        }
        AUTO_FREE path = xasprintf("%s/%s", dir, entry->d_name);
        size_t size;
        AUTO_FREE data = read_file(path, &size);
        AUTO_JSON json = NULL;
        AUTO_ERROR error = json_parse(data, size, &json);

        n_files++;
        if (strncmp(entry->d_name, error ? "y_" : "n_", 2) == 0) {
            print_error("%s: %s\n", entry->d_name, error_message(error));
            n_wrong++;
        }
    }
    closedir(d);
    assert_int_equal(n_wrong, 0);
    return n_files;
}

static void
test_corpus_of_our_own(void **state)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE dir = xasprintf("%s/tests/corpus/json", srcdir ? srcdir : ".");

    (void)state;
    assert_true(try_suite(dir) > 100);
}

static void
test_suite_of_others(void **state)
{
    const char *dir = getenv("DROVER_JSON_SUITE");

    (void)state;
    if (dir) {
        assert_true(try_suite(dir) > 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_survive_parsing_and_printing),
        cmocka_unit_test(test_numbers_keep_their_text),
        cmocka_unit_test(test_numbers_that_are_none_are_refused),
        cmocka_unit_test(test_integers_are_exact_to_64_bits),
        cmocka_unit_test(test_whole_floats_are_integers_too),
        cmocka_unit_test(test_doubles_print_shortest_and_stay_floats),
        cmocka_unit_test(test_escapes_are_decoded),
        cmocka_unit_test(test_escapes_are_decoded_wherever_they_stand),
        cmocka_unit_test(test_controls_are_refused_wherever_they_stand),
        cmocka_unit_test(test_what_is_special_is_seen_at_every_place_of_a_word),
        cmocka_unit_test(test_a_copy_has_texts_and_names_of_its_own),
        cmocka_unit_test(test_bad_escapes_are_refused),
        cmocka_unit_test(test_escaped_nul_cuts_nothing),
        cmocka_unit_test(test_nul_as_it_is_kept_is_refused_from_outside),
        cmocka_unit_test(test_nul_byte_is_refused_wherever_it_is),
        cmocka_unit_test(test_control_characters_are_refused),
        cmocka_unit_test(test_what_is_not_utf8_is_refused),
        cmocka_unit_test(test_structure_must_be_complete),
        cmocka_unit_test(test_nesting_is_limited_to_what_a_small_stack_takes),
        cmocka_unit_test(test_the_last_of_duplicate_names_wins),
        cmocka_unit_test(test_many_names_take_no_quadratic_time),
        cmocka_unit_test(test_the_number_of_values_is_limited),
        cmocka_unit_test(test_strings_are_made_valid),
        cmocka_unit_test(test_utf8_is_cut_between_characters),
        cmocka_unit_test(test_members_are_set_replaced_and_detached),
        cmocka_unit_test(test_lookups_of_another_type_find_nothing),
        cmocka_unit_test(test_walking_goes_in_order),
        cmocka_unit_test(test_equality_is_of_values),
        cmocka_unit_test(test_a_borrowed_value_outlives_its_borrower),
        cmocka_unit_test(test_corpus_of_our_own),
        cmocka_unit_test(test_suite_of_others),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
