#include <config.h>

#include "drivers/copy.h"

/* Files on their way, with qemu-nbd and qemu-img where there are these; what
 * they say; and what stands at the head of an image. */

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "drivers/qcow2.h"

#define UUID "11111111-2222-4333-8444-555555555555"
#define SIZE (4 << 20)
#define WRITTEN_AT (1 << 20)
#define WRITTEN (64 << 10)

static void
place_goes_there_and_back(void **state UNUSED)
{
    static const struct {
        const char *host, *text;
    } rows[] = {{"hostb", "nbd://hostb:49152/0a1b"},
                {"10.0.0.1", "nbd://10.0.0.1:49152/0a1b"},
                {"fd00::1", "nbd://[fd00::1]:49152/0a1b"}};

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        char host[32], export[] = "0a1b";
        struct copy_place place = {host, export, 49152}, back;

        snprintf(host, sizeof host, "%s", rows[i].host);
        AUTO_FREE text = copy_place_format(&place);
        assert_string_equal(text, rows[i].text);
        assert_null(copy_place_parse(text, &back));
        assert_string_equal(back.host, rows[i].host);
        assert_string_equal(back.export, "0a1b");
        assert_int_equal(back.port, 49152);
        copy_place_close(&back);
    }
}

static void
what_is_no_place_is_refused(void **state UNUSED)
{
    static const char *const texts[] = {
        NULL,
        "",
        "hostb",
        "http://hostb:1/a",
        "nbd://:1/a",
        "nbd://hostb/a",
        "nbd://hostb:0/a",
        "nbd://hostb:65536/a",
        "nbd://hostb:1",
        "nbd://hostb:1/",
        "nbd://hostb:1/a,file=/etc/passwd",
        "nbd://[fd00::1:1/a",
    };

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct copy_place place;
        AUTO_ERROR error = copy_place_parse(texts[i], &place);

        assert_int_equal(error_code(error), ERR_VALUE);
    }
}

static void
progress_is_heard_in_pieces(void **state UNUSED)
{
    static const char said[] = "    (0.00/100%)\r    (12.34/100%)\rand what is "
                               "none of it, at any length\n    (99.90/100%)\r";

    for (size_t piece = 1; piece < sizeof said; piece++) {
        struct copy_ear ear = {.size = 0};

        for (size_t at = 0; at < sizeof said - 1; at += piece) {
            size_t left = sizeof said - 1 - at;
            copy_ear_hear(&ear, said + at, left < piece ? left : piece);
        }
        assert_int_equal(ear.per_mille, 999);
    }
}

/* ---- With QEMU ----------------------------------------------------------- */

struct fixture {
    char directory[64];
    char *source, *dest;
    struct copies *here, *there;
};

static int
set_up(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);
    char block[WRITTEN];

    snprintf(f->directory, sizeof f->directory, "/tmp/drover-copy-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->source = xasprintf("%s/source", f->directory);
    f->dest = xasprintf("%s/dest", f->directory);
    memset(block, 'x', sizeof block);
    FILE *file = fopen(f->source, "w");
    assert_int_equal(fseek(file, WRITTEN_AT, SEEK_SET), 0);
    assert_int_equal(fwrite(block, 1, sizeof block, file), sizeof block);
    fclose(file);
    assert_int_equal(truncate(f->source, SIZE), 0);
    fclose(fopen(f->dest, "w"));
    assert_int_equal(truncate(f->dest, SIZE), 0);
    f->here = copies_create();
    f->there = copies_create();
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    copies_free(f->here);
    copies_free(f->there);
    unlink(f->source);
    unlink(f->dest);
    rmdir(f->directory);
    free(f->source);
    free(f->dest);
    free(f);
    return 0;
}

static char *
serve(struct fixture *f)
{
    char uuid[] = UUID, address[] = "127.0.0.1";
    struct copy_request request = {
        .uuid = uuid,
        .path = f->dest,
        .place = address,
        .name = address,
        .port_min = 40000,
        .port_max = 49000,
    };
    char *place = NULL;

    assert_null(copies_serve(f->there, &request, &place));
    return place;
}

static struct error *
copy(struct fixture *f, char *place, unsigned bandwidth)
{
    char uuid[] = UUID;
    struct copy_request request = {
        .uuid = uuid,
        .path = f->source,
        .place = place,
        .bandwidth_mib_s = bandwidth,
    };

    return copies_run(f->here, &request);
}

static void
bytes_arrive_and_holes_stay_holes(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE place = serve(f);
    struct stat st;

    assert_null(copy(f, place, 0));
    copies_stop(f->there, UUID);
    FILE *a = fopen(f->source, "r"), *b = fopen(f->dest, "r");
    for (int c; (c = getc(a)) != EOF;) {
        assert_int_equal(getc(b), c);
    }
    assert_int_equal(getc(b), EOF);
    fclose(a);
    fclose(b);
    assert_int_equal(stat(f->dest, &st), 0);
    assert_true(st.st_blocks * 512 <= 2 * WRITTEN);
}

static void
what_is_served_no_longer_can_not_be_written(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE place = serve(f);

    copies_stop(f->there, UUID);
    AUTO_ERROR error = copy(f, place, 0);
    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error),
                           "'qemu-img' failed with code 1: qemu-img: "));
}

static void
another_name_is_not_served(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE place = serve(f);

    char *last = place + strlen(place) - 1;
    *last = *last == '0' ? '1' : '0';
    AUTO_ERROR error = copy(f, place, 0);
    assert_int_equal(error_code(error), ERR_STORAGE);
}

static void *
abort_it(void *f_)
{
    struct fixture *f = f_;

    while (!copies_progress(f->here, UUID)) {
        sched_yield();
    }
    copies_abort(f->here, UUID);
    return NULL;
}

/* At 1 MiB/s the 4 MiB would take long enough. */
static void
a_copy_can_be_ended(void **state)
{
    struct fixture *f = *state;
    char *bytes = xzalloc(SIZE);
    pthread_t thread;

    memset(bytes, 'y', SIZE);
    FILE *file = fopen(f->source, "w");
    assert_int_equal(fwrite(bytes, 1, SIZE, file), SIZE);
    fclose(file);
    free(bytes);
    AUTO_FREE place = serve(f);
    assert_int_equal(pthread_create(&thread, NULL, abort_it, f), 0);
    AUTO_ERROR error = copy(f, place, 1);
    pthread_join(thread, NULL);
    assert_int_equal(error_code(error), ERR_CANCELLED);
    assert_int_equal(copies_progress(f->here, UUID), 0);
}

/* ---- Heads of images ----------------------------------------------------- */

struct image {
    uint8_t data[512];
};

static void
put(struct image *image, size_t at, uint32_t number)
{
    for (int i = 3; i >= 0; i--, number >>= 8) {
        image->data[at + (size_t)i] = (uint8_t)number;
    }
}

static struct image
image_over(const char *backing, bool tells_format)
{
    struct image image = {{0}};

    put(&image, 0, 0x514649fb);
    put(&image, 4, 3);
    put(&image, 100, 104);
    if (tells_format) {
        put(&image, 104, 0xe2792aca);
        put(&image, 108, 3);
        memcpy(image.data + 112, "raw", 3);
    }
    if (backing) {
        put(&image, 12, 256);
        put(&image, 16, (uint32_t)strlen(backing));
        memcpy(image.data + 256, backing, strlen(backing));
    }
    return image;
}

static void
backing_file_is_read(void **state UNUSED)
{
    static const struct {
        const char *name, *path;
    } rows[] = {{NULL, NULL},
                {"/images/_base/1", "/images/_base/1"},
                {"base", "/images/base"},
                {"a/b:c", "/images/a/b:c"}};

    for (size_t i = 0; i < N_ELEMENTS(rows) * 2; i++) {
        struct image image = image_over(rows[i / 2].name, i % 2);
        AUTO_FREE backing = NULL;
        AUTO_FREE format = NULL;

        assert_null(qcow2_backing(&image, sizeof image, "/images/disk",
                                  &backing, &format));
        assert_true(str_eq(backing, rows[i / 2].path));
        assert_true(str_eq(format, backing && i % 2 ? "raw" : NULL));
    }
}

static void
what_can_not_be_backing_is_refused(void **state UNUSED)
{
    static const char *const names[] = {"json:{}", "nbd:unix:/a", "http://a/b"};
    AUTO_FREE backing = NULL;
    AUTO_FREE format = NULL;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        struct image image = image_over(names[i], false);
        AUTO_ERROR error =
            qcow2_backing(&image, sizeof image, "/d", &backing, &format);

        assert_int_equal(error_code(error), ERR_VALUE);
    }
    for (size_t size = 0; size < 264; size++) { /* Cut off anywhere. */
        struct image image = image_over("/a/backing", false);
        AUTO_ERROR error = qcow2_backing(&image, size, "/d", &backing, &format);

        assert_int_equal(error_code(error), ERR_VALUE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(place_goes_there_and_back),
        cmocka_unit_test(what_is_no_place_is_refused),
        cmocka_unit_test(progress_is_heard_in_pieces),
        cmocka_unit_test(backing_file_is_read),
        cmocka_unit_test(what_can_not_be_backing_is_refused),
    };
    const struct CMUnitTest with_qemu[] = {
        cmocka_unit_test_setup_teardown(bytes_arrive_and_holes_stay_holes,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_is_served_no_longer_can_not_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_name_is_not_served, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_copy_can_be_ended, set_up, tear_down),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (access("/usr/bin/qemu-img", X_OK) ||
        access("/usr/bin/qemu-nbd", X_OK)) {
        print_message("there is no QEMU: the tests with it are left out\n");
        return n_failed;
    }
    return n_failed + cmocka_run_group_tests(with_qemu, NULL, NULL);
}
