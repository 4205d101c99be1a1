#include <config.h>

#include "rpc/inflate.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#define GZIP "application/x-gzip"
#define MAX (1u << 20)

static const char text[] = "{\"oslo.version\": \"2.0\"}";

/* 'size' bytes as zlib, the caller's; 'window' above 15 makes real gzip. */
static char *
deflated(const char *data, size_t size, int window, size_t *ret_size)
{
    z_stream stream = {0};
    size_t room = compressBound(size) + 64;
    char *out = xmalloc(room);

    assert_int_equal(
        deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY),
        Z_OK);
    stream.next_in = (unsigned char *)(void *)data;
    stream.avail_in = (unsigned)size;
    stream.next_out = (unsigned char *)out;
    stream.avail_out = (unsigned)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *ret_size = room - stream.avail_out;
    deflateEnd(&stream);
    return out;
}

static void
assert_taken_as_it_is(const char *compression, const char *body, size_t size)
{
    char *out = (char *)1;
    size_t out_size = 7;
    AUTO_ERROR error =
        inflate_body(compression, body, size, MAX, &out, &out_size);

    assert_null(error);
    assert_null(out);
    assert_int_equal(out_size, 0);
}

static void
assert_refused(const char *body, size_t size, size_t max, const char *why)
{
    AUTO_FREE out = NULL;
    size_t out_size = 7;
    AUTO_ERROR error = inflate_body(GZIP, body, size, max, &out, &out_size);

    assert_int_equal(error_code(error), ERR_BAD_MESSAGE);
    assert_non_null(strstr(error_message(error), why));
    assert_null(out);
    assert_int_equal(out_size > max, strstr(why, "more than") != NULL);
}

static void
test_zlib_is_inflated(void **state)
{
    size_t size, out_size;
    AUTO_FREE body = deflated(text, sizeof text, 15, &size);
    AUTO_FREE out = NULL;

    (void)state;
    AUTO_ERROR error = inflate_body(GZIP, body, size, MAX, &out, &out_size);
    assert_null(error);
    assert_int_equal(out_size, sizeof text);
    assert_string_equal(out, text);
}

static void
test_large_bodies_are_inflated_whole(void **state)
{
    size_t size, out_size, n = 700000;
    AUTO_FREE data = xmalloc(n);
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)(i * i >> 7);
    }
    AUTO_FREE body = deflated(data, n, 15, &size);
    AUTO_FREE out = NULL;

    (void)state;
    AUTO_ERROR error = inflate_body(GZIP, body, size, n, &out, &out_size);
    assert_null(error);
    assert_int_equal(out_size, n);
    assert_memory_equal(out, data, n);
}

static void
test_other_headers_are_ignored(void **state)
{
    size_t size;
    AUTO_FREE body = deflated(text, sizeof text, 15, &size);

    (void)state;
    assert_taken_as_it_is(NULL, body, size);
    assert_taken_as_it_is("", body, size);
    assert_taken_as_it_is("application/x-bz2", body, size);
    assert_taken_as_it_is("gzip", body, size);
}

static void
test_a_header_that_lies_is_ignored(void **state)
{
    size_t size;
    AUTO_FREE gzip = deflated(text, sizeof text, 31, &size);

    (void)state;
    assert_taken_as_it_is(GZIP, text, sizeof text - 1);
    assert_taken_as_it_is(GZIP, "", 0);
    assert_taken_as_it_is(GZIP, "x", 1);
    assert_taken_as_it_is(GZIP, "xx", 2);
    /* Real gzip: the parser refuses it, as peers do. */
    assert_taken_as_it_is(GZIP, gzip, size);
}

static void
test_damaged_bodies_are_refused(void **state)
{
    size_t size;
    AUTO_FREE body = deflated(text, sizeof text, 15, &size);

    (void)state;
    for (size_t cut = 2; cut < size; cut++) {
        AUTO_FREE part = xmemdup(body, cut);
        assert_refused(part, cut, MAX, "damaged");
    }

    AUTO_FREE longer = xmalloc(size + 1);
    memcpy(longer, body, size);
    longer[size] = 'x';
    assert_refused(longer, size + 1, MAX, "damaged");
    body[size - 1] ^= 1; /* The checksum. */
    assert_refused(body, size, MAX, "damaged");
}

static void
test_bombs_end_at_the_limit(void **state)
{
    size_t size, n = 64 << 20;
    AUTO_FREE zeros = xcalloc(1, n);
    AUTO_FREE bomb = deflated(zeros, n, 15, &size);
    AUTO_FREE out = NULL;
    size_t out_size;

    (void)state;
    assert_true(size < 100000);
    assert_refused(bomb, size, MAX, "more than 1048576 bytes");
    assert_refused(bomb, size, n - 1, "more than 67108863 bytes");
    AUTO_ERROR error = inflate_body(GZIP, bomb, size, n, &out, &out_size);
    assert_null(error);
    assert_int_equal(out_size, n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zlib_is_inflated),
        cmocka_unit_test(test_large_bodies_are_inflated_whole),
        cmocka_unit_test(test_other_headers_are_ignored),
        cmocka_unit_test(test_a_header_that_lies_is_ignored),
        cmocka_unit_test(test_damaged_bodies_are_refused),
        cmocka_unit_test(test_bombs_end_at_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
