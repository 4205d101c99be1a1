#include <config.h>

#include "agent/nova/image_sum.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ABC_MD5 "900150983cd24fb0d6963f7d28e17f72"
#define ABC_SHA256                     \
    "ba7816bf8f01cfea414140de5dae2223" \
    "b00361a396177a9cb410ff61f20015ad"

static int
file_of(const char *text)
{
    char name[] = "/tmp/test_image_sum.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static void
sum_of(const char *image, struct image_sum *ret)
{
    AUTO_JSON json = NULL;

    assert_null(json_parse(image, strlen(image), &json));
    image_sum_init(ret, json);
    assert_int_equal(ERR_peek_error(), 0);
}

/* Of a file "abc" of which Glance says 'image'; the caller's, or null. */
static struct error *
check(const char *image, const atomic_bool *stop)
{
    struct image_sum sum;
    int fd = file_of("abc");

    sum_of(image, &sum);
    struct error *error = image_sum_check(&sum, fd, stop);
    image_sum_close(&sum);
    close(fd);
    return error;
}

static void
assert_refused(const char *image, const char *part)
{
    AUTO_ERROR error = check(image, NULL);

    assert_int_equal(error_code(error), ERR_IMAGE_UNACCEPTABLE);
    assert_non_null(strstr(error_message(error), part));
}

static void
test_what_glance_says_is_what_it_is(void **state UNUSED)
{
    assert_null(check("{\"size\": 3, \"checksum\": \"" ABC_MD5 "\"}", NULL));
    assert_null(check("{\"os_hash_algo\": \"sha256\", \"os_hash_value\": "
                      "\"" ABC_SHA256 "\", \"checksum\": \"0\"}",
                      NULL));
    assert_null(check("{\"os_hash_algo\": \"sha999\", \"os_hash_value\": "
                      "\"0\", \"checksum\": \"" ABC_MD5 "\"}",
                      NULL));
    assert_null(check("{\"size\": null, \"checksum\": null}", NULL));
}

static void
test_what_is_something_else_is_refused(void **state UNUSED)
{
    assert_refused("{\"size\": 4}", "3 bytes instead of 4");
    assert_refused("{\"size\": 3, \"checksum\": \"0\"}", "md5 sum");
    assert_refused("{\"os_hash_algo\": \"sha256\", \"os_hash_value\": \"00\", "
                   "\"checksum\": \"" ABC_MD5 "\"}",
                   "sha256 sum");
}

/* Which libcrypto knows by its name, and no provider offers. */
static void
test_sum_of_another_kind_is_taken_instead(void **state UNUSED)
{
    EVP_MD *md = EVP_MD_fetch(NULL, "md4", NULL);

    ERR_clear_error();
    if (md) {
        EVP_MD_free(md);
        skip();
    }
    assert_null(check("{\"os_hash_algo\": \"md4\", \"os_hash_value\": \"0\", "
                      "\"checksum\": \"" ABC_MD5 "\"}",
                      NULL));
    assert_refused("{\"os_hash_algo\": \"md4\", \"os_hash_value\": \"0\", "
                   "\"checksum\": \"0\"}",
                   "md5 sum");
    assert_null(check("{\"os_hash_algo\": \"md4\", \"os_hash_value\": \"0\", "
                      "\"size\": 3}",
                      NULL));
    assert_refused("{\"os_hash_algo\": \"md4\", \"os_hash_value\": \"0\", "
                   "\"size\": 4}",
                   "3 bytes instead of 4");
}

/* Nothing that libcrypto has here is as is asked for then. */
static void
allow(bool all)
{
    assert_true(EVP_set_default_properties(NULL, all ? "" : "drover=none"));
}

static void
test_no_sum_can_be_computed(void **state UNUSED)
{
    struct image_sum sum;
    int fd = file_of("abc");

    sum_of("{\"checksum\": \"" ABC_MD5 "\"}", &sum);
    allow(false);
    AUTO_ERROR error = image_sum_check(&sum, fd, NULL);
    assert_int_equal(error_code(error), ERR_IMAGE_UNACCEPTABLE);
    assert_non_null(strstr(error_message(error), "md5 sum can't be computed"));
    image_sum_close(&sum);
    close(fd);
    assert_null(check("{\"size\": 3, \"checksum\": \"0\"}", NULL));
    assert_refused("{\"size\": 4, \"checksum\": \"0\"}", "instead of 4");
    allow(true);
    assert_refused("{\"size\": 3, \"checksum\": \"0\"}", "md5 sum");
}

static void
test_it_stops(void **state UNUSED)
{
    atomic_bool stop = true;
    AUTO_ERROR error = check("{\"size\": 3}", &stop);

    assert_int_equal(error_code(error), ERR_CANCELLED);
}

/* As nova.virt.imagecache names it. */
static void
test_name_in_the_cache(void **state UNUSED)
{
    AUTO_FREE name =
        image_sum_cache_name("155d900f-4e14-4e4c-a73d-069cbf4541e6");

    assert_string_equal(name, "f2d1a8250ed3d4b744a8250dab8f6840179d502a");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_glance_says_is_what_it_is),
        cmocka_unit_test(test_what_is_something_else_is_refused),
        cmocka_unit_test(test_sum_of_another_kind_is_taken_instead),
        cmocka_unit_test(test_no_sum_can_be_computed),
        cmocka_unit_test(test_it_stops),
        cmocka_unit_test(test_name_in_the_cache),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
