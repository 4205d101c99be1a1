#include <config.h>

/* Files that requests make us touch, and those that they must not. */

#include <errno.h>
#include <fcntl.h>
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

#include "drivers/disk.h"
#include "drivers/disk_image.h"
#include "drivers/disk_path.h"
#include "drivers/qcow2.h"

#define UUID "0b5e2b9a-5f0c-4a7e-9d0e-2f6a4c1d8e3f"
#define MIB ((int64_t)1 << 20)

struct fixture {
    char top[64]; /* Holds what follows. */
    char *instances, *images, *outside;
    char *directory, *disk;
    struct disk_store *store;
};

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    snprintf(f->top, sizeof f->top, "/tmp/drover-disk-XXXXXX");
    assert_non_null(mkdtemp(f->top));
    f->instances = xasprintf("%s/instances", f->top);
    f->images = xasprintf("%s/images", f->top);
    f->outside = xasprintf("%s/outside", f->top);
    f->directory = xasprintf("%s/" UUID, f->instances);
    f->disk = xasprintf("%s/disk", f->directory);
    assert_int_equal(mkdir(f->instances, 0755), 0);
    assert_int_equal(mkdir(f->images, 0755), 0);
    assert_int_equal(mkdir(f->outside, 0755), 0);
    const char *const images[] = {f->images, NULL};
    f->store = disk_store_create(f->instances, images);
    *state = f;
    return 0;
}

/* Through the module itself: the top directory is a root of another store. */
static int
teardown(void **state)
{
    struct fixture *f = *state;
    struct disk_store *store = disk_store_create("/tmp", NULL);
    struct prepare_request request = {.uuid = (char[]){""},
                                      .directory = f->top};
    AUTO_ERROR error = disk_unprepare(store, &request);

    assert_null(error);
    assert_int_not_equal(access(f->top, F_OK), 0);
    disk_store_free(store);
    disk_store_free(f->store);
    free(f->instances);
    free(f->images);
    free(f->outside);
    free(f->directory);
    free(f->disk);
    free(f);
    return 0;
}

static struct prepare_request *
request_create(const char *directory)
{
    struct prepare_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(UUID);
    request->directory = xstrdup_null(directory);
    request->disks = xcalloc(4, sizeof *request->disks);
    return request;
}

static struct prepare_disk *
add_disk(struct prepare_request *request, const char *path, const char *format,
         int64_t size)
{
    struct prepare_disk *disk = &request->disks[request->n_disks++];

    disk->path = xstrdup(path);
    disk->format = xstrdup(format);
    disk->virtual_size = size;
    return disk;
}

#define AUTO_REQUEST CLEANUP(prepare_request_free_at) struct prepare_request *

static void
write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static bool
exists(const char *path)
{
    struct stat st;

    return !lstat(path, &st);
}

static bool
is_empty(const char *directory)
{
    return !rmdir(directory) && !mkdir(directory, 0755);
}

static void
assert_refused(struct error *error, enum error_code code, const char *names)
{
    if (error_code(error) != code || !strstr(error_message(error), names)) {
        fail_msg("not refused, or for another reason: %s",
                 error_message(error));
    }
    error_free(error);
}

/* The text of a qcow2 header's field of 8 bytes, or -1. */
static int64_t
qcow2_size(const char *path)
{
    unsigned char header[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t size = 0;

    assert_true(fd >= 0);
    assert_int_equal(read(fd, header, sizeof header), sizeof header);
    close(fd);
    if (memcmp(header, "QFI\xfb", 4)) {
        return -1;
    }
    for (int i = 24; i < 32; i++) {
        size = size << 8 | header[i];
    }
    return size;
}

static bool
holds(const char *path, const char *text)
{
    char buf[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, sizeof buf);
    close(fd);
    return n > 0 && memmem(buf, (size_t)n, text, strlen(text));
}

/* `make check` is to pass on a host without it. */
static bool
has_qemu_img(void)
{
    const char *path = getenv("PATH");
    AUTO_FREE copy = xstrdup(path ? path : "");
    char *rest = copy, *directory;

    while ((directory = strsep(&rest, ":"))) {
        AUTO_FREE program = xasprintf("%s/qemu-img", directory);

        if (!access(program, X_OK)) {
            return true;
        }
    }
    return false;
}

/* Making. */

static void
test_disks_are_made_as_asked(void **state)
{
    struct fixture *f = *state;
    AUTO_REQUEST request = request_create(f->directory);
    AUTO_FREE raw = xasprintf("%s/data.raw", f->images);
    AUTO_FREE info = xasprintf("%s/disk.info", f->directory);
    struct stat st;
    add_disk(request, f->disk, "qcow2", 100 * MIB);
    add_disk(request, raw, "raw", 7 * MIB);
    AUTO_ERROR error = disk_prepare(f->store, request);
    assert_null(error);
    assert_int_equal(qcow2_size(f->disk), 100 * MIB);
    assert_int_equal(stat(f->disk, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(stat(raw, &st), 0);
    assert_int_equal(st.st_size, 7 * MIB);
    assert_true(st.st_blocks < 100);
    AUTO_FREE expected =
        xasprintf("{\"%s\": \"qcow2\", \"%s\": \"raw\"}", f->disk, raw);
    assert_true(holds(info, expected));
}

static void
test_overlay_has_the_backing_file(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE cache = xasprintf("%s/_base", f->instances);
    AUTO_FREE image = xasprintf("%s/c0ffee", cache);
    AUTO_FREE absolute = xasprintf("%s/base.raw", f->images);
    AUTO_FREE second = xasprintf("%s/disk.swap", f->directory);
    AUTO_REQUEST request = request_create(f->directory);
    assert_int_equal(mkdir(cache, 0755), 0);
    write_file(image, "an image");
    write_file(absolute, "another");
    struct prepare_disk *disk = add_disk(request, f->disk, "qcow2", 10 * MIB);
    disk->backing_path = xstrdup("c0ffee");
    disk->backing_format = xstrdup("raw");
    disk = add_disk(request, second, "qcow2", 10 * MIB);
    disk->backing_path = xstrdup(absolute);
    disk->backing_format = xstrdup("raw");
    AUTO_ERROR error = disk_prepare(f->store, request);
    assert_null(error);
    assert_true(holds(f->disk, image));
    assert_true(holds(second, absolute));
}

static void
test_backing_file_must_be_here_and_allowed(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE secret = xasprintf("%s/secret", f->outside);
    AUTO_FREE link = xasprintf("%s/link", f->images);
    AUTO_FREE missing = xasprintf("%s/missing", f->images);
    const struct {
        const char *path;
        enum error_code code;
    } cases[] = {
        {"c0ffee", ERR_MIGRATION}, {missing, ERR_MIGRATION},
        {secret, ERR_INVALID},     {link, ERR_INVALID},
        {"..", ERR_INVALID},       {"/etc/passwd", ERR_INVALID},
        {"a/b", ERR_INVALID},      {f->images, ERR_INVALID},
    };

    write_file(secret, "secret");
    assert_int_equal(symlink(secret, link), 0);
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_REQUEST request = request_create(f->directory);
        struct prepare_disk *disk =
            add_disk(request, f->disk, "qcow2", 10 * MIB);

        disk->backing_path = xstrdup(cases[i].path);
        disk->backing_format = xstrdup("raw");
        assert_refused(disk_prepare(f->store, request), cases[i].code,
                       cases[i].path);
        assert_true(is_empty(f->instances));
    }
}

/* With these numbers in its header, and nothing else. */
static void
write_qcow2(const char *path, int64_t size, unsigned char backing_at,
            unsigned char incompatible)
{
    unsigned char header[512] = {'Q', 'F', 'I', 0xfb, [7] = 3};
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    header[15] = backing_at;
    header[23] = 16; /* Clusters of 64 KiB. */
    for (int i = 0; i < 8; i++) {
        header[24 + i] = (unsigned char)(size >> (56 - 8 * i));
    }
    header[79] = incompatible;
    header[103] = 104;
    assert_int_equal(fwrite(header, sizeof header, 1, file), 1);
    fclose(file);
}

/* Both may be names of the cache. */
static struct error *
check_overlay(struct fixture *f, const char *backing, const char *format)
{
    AUTO_REQUEST request = request_create(f->directory);
    struct prepare_disk *disk = add_disk(request, f->disk, "qcow2", 10 * MIB);

    request->only_check = true;
    disk->backing_path = xstrdup(backing);
    disk->backing_format = xstrdup_null(format);
    return disk_prepare(f->store, request);
}

static void
test_backing_file_must_be_of_the_format_that_is_told(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE cache = xasprintf("%s/_base", f->instances);
    AUTO_FREE cached_raw = xasprintf("%s/raw", cache);
    AUTO_FREE cached_qcow2 = xasprintf("%s/qcow2", cache);
    AUTO_FREE other_raw = xasprintf("%s/raw", f->images);
    AUTO_FREE other_qcow2 = xasprintf("%s/qcow2", f->images);
    const struct {
        const char *path, *format, *says;
    } rows[] = {
        {"raw", "raw", NULL},
        {"qcow2", "qcow2", NULL},
        {other_raw, "raw", NULL},
        {other_qcow2, "qcow2", NULL},
        {"raw", "qcow2", "it is said to be 'qcow2', and is not"},
        {"qcow2", "raw", "it is said to be 'raw', and begins like 'qcow2'"},
        {other_raw, "qcow2", "is said to be 'qcow2', and it begins like 'raw'"},
        {other_qcow2, "raw", "is said to be 'raw', and it begins like 'qcow2'"},
    };

    assert_int_equal(mkdir(cache, 0755), 0);
    write_file(cached_raw, "an image");
    write_file(other_raw, "an image");
    write_qcow2(cached_qcow2, 10 * MIB, 0, 0);
    write_qcow2(other_qcow2, 10 * MIB, 0, 0);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_ERROR error = check_overlay(f, rows[i].path, rows[i].format);

        if (!rows[i].says) {
            assert_null(error);
            continue;
        }
        assert_non_null(strstr(error_message(error), f->disk));
        assert_refused(steal(&error), ERR_MIGRATION, rows[i].says);
    }
}

/* As it is not when it comes from nova-compute. */
static void
test_format_that_is_not_told_is_seen_in_the_cache(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE cache = xasprintf("%s/_base", f->instances);
    AUTO_FREE image = xasprintf("%s/image", cache);
    AUTO_FREE other = xasprintf("%s/other", f->images);

    assert_int_equal(mkdir(cache, 0755), 0);
    write_file(image, "an image");
    assert_null(check_overlay(f, "image", NULL));
    write_qcow2(image, 10 * MIB, 0, 0);
    assert_null(check_overlay(f, "image", NULL));
    write_qcow2(image, 10 * MIB, 104, 0);
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "it is laid over a file");
    write_qcow2(image, 10 * MIB, 0, 1 << 2);
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "its data is in another file");
    write_qcow2(image, 11 * MIB, 0, 0);
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "it is a disk of 11534336 bytes, where 10485760 are");
    write_file(image, "QFI\xfb");
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "it is said to be 'qcow2', and is not");
    write_file(image, "KDMV");
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "no disk can be based on format 'vmdk'");
    write_file(image, "");
    assert_refused(check_overlay(f, "image", NULL), ERR_MIGRATION,
                   "it is empty");

    /* What is elsewhere may be a disk that a guest is writing to. */
    write_file(other, "an image");
    assert_null(check_overlay(f, other, NULL));
    write_qcow2(other, 10 * MIB, 0, 0);
    assert_refused(check_overlay(f, other, NULL), ERR_MIGRATION,
                   "can only be taken for 'raw', and it begins like 'qcow2'");
}

static void
assert_based_on(const char *disk, const char *backing, const char *format)
{
    char *header = xmalloc(QCOW2_HEADER_MAX);
    AUTO_FREE found = NULL;
    AUTO_FREE found_format = NULL;
    int fd = open(disk, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    ssize_t n = read(fd, header, QCOW2_HEADER_MAX);
    close(fd);
    assert_true(n > 0);
    AUTO_ERROR error =
        qcow2_backing(header, (size_t)n, disk, &found, &found_format);
    free(header);
    assert_null(error);
    assert_string_equal(found, backing);
    assert_string_equal(found_format, format);
}

static void
test_overlay_has_the_format_that_was_seen(void **state)
{
    static const char *const formats[] = {"qcow2", "raw"};
    struct fixture *f = *state;
    AUTO_FREE cache = xasprintf("%s/_base", f->instances);
    AUTO_FREE image = xasprintf("%s/image", cache);

    assert_int_equal(mkdir(cache, 0755), 0);
    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        AUTO_REQUEST request = request_create(f->directory);
        struct disk_image made = {formats[i], 10 * MIB, NULL, NULL};
        int fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        AUTO_ERROR error = disk_image_create(fd, &made);

        close(fd);
        assert_null(error);
        add_disk(request, f->disk, "qcow2", 10 * MIB)->backing_path =
            xstrdup("image");
        error = disk_prepare(f->store, request);
        assert_null(error);
        assert_based_on(f->disk, image, formats[i]);
        error = disk_unprepare(f->store, request);
        assert_null(error);
    }
}

static void
test_existing_files_are_never_touched(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE mine = xasprintf("%s/mine.raw", f->images);
    AUTO_FREE fresh = xasprintf("%s/fresh.raw", f->images);
    AUTO_REQUEST request = request_create(NULL);

    write_file(mine, "precious");
    add_disk(request, fresh, "raw", MIB);
    add_disk(request, mine, "raw", MIB);
    struct error *error = disk_prepare(f->store, request);
    assert_string_equal(error_arg(error, "path"), mine);
    assert_refused(error, ERR_DESTINATION_DISK_EXISTS, mine);
    assert_true(holds(mine, "precious"));
    assert_false(exists(fresh));
}

static void
test_existing_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE kept = xasprintf("%s/kept", f->directory);
    AUTO_REQUEST request = request_create(f->directory);

    assert_int_equal(mkdir(f->directory, 0755), 0);
    write_file(kept, "kept");
    add_disk(request, f->disk, "raw", MIB);
    assert_refused(disk_prepare(f->store, request), ERR_DESTINATION_DISK_EXISTS,
                   f->directory);
    assert_true(exists(kept));
    assert_false(exists(f->disk));
}

static void
test_same_disk_twice_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    AUTO_REQUEST request = request_create(f->directory);
    add_disk(request, f->disk, "qcow2", MIB);
    add_disk(request, f->disk, "qcow2", MIB);
    assert_refused(disk_prepare(f->store, request), ERR_DESTINATION_DISK_EXISTS,
                   f->disk);
    assert_true(is_empty(f->instances));
}

/* A program that fails after the directory is there. */
static void
test_failing_program_is_quoted_and_cleaned_up_after(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE base = xasprintf("%s/base", f->images);
    AUTO_REQUEST request = request_create(f->directory);
    struct prepare_disk *disk = add_disk(request, f->disk, "qcow2", 10 * MIB);
    write_qcow2(base, 10 * MIB, 0, 1 << 7); /* A feature that is none. */
    disk->backing_path = xstrdup(base);
    disk->backing_format = xstrdup("qcow2");
    struct error *error = disk_prepare(f->store, request);
    assert_non_null(strstr(error_message(error), f->disk));
    assert_refused(error, ERR_STORAGE,
                   "'qemu-img' failed with code 1: qemu-img:");
    assert_true(is_empty(f->instances));
}

/* Names. */

static void
test_paths_that_leave_are_refused_by_name(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE climbing = xasprintf("%s/../outside/x", f->instances);
    AUTO_FREE dotted = xasprintf("%s/./x", f->instances);
    AUTO_FREE doubled = xasprintf("%s//x", f->instances);
    AUTO_FREE ending = xasprintf("%s/x/", f->instances);
    AUTO_FREE beside = xasprintf("%s2/x", f->instances);
    AUTO_FREE outside = xasprintf("%s/x", f->outside);
    AUTO_FREE control = xasprintf("%s/x\ny", f->instances);
    const char *const paths[] = {climbing, dotted,  doubled,      ending,
                                 beside,   outside, control,      "x",
                                 "",       "/",     f->instances, "/etc/x"};

    for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
        AUTO_REQUEST as_disk = request_create(NULL);
        AUTO_REQUEST as_directory = request_create(paths[i]);

        add_disk(as_disk, paths[i], "raw", MIB);
        assert_refused(disk_prepare(f->store, as_disk), ERR_INVALID, paths[i]);
        assert_refused(disk_unprepare(f->store, as_disk), ERR_INVALID,
                       paths[i]);
        assert_refused(disk_prepare(f->store, as_directory), ERR_INVALID,
                       paths[i]);
        assert_refused(disk_unprepare(f->store, as_directory), ERR_INVALID,
                       paths[i]);
    }
    assert_true(is_empty(f->outside));
    assert_true(is_empty(f->instances));
}

static void
test_symbolic_links_are_refused_by_name(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE link = xasprintf("%s/link", f->instances);
    AUTO_FREE through = xasprintf("%s/x", link);
    AUTO_FREE file = xasprintf("%s/x", f->outside);
    AUTO_REQUEST request = request_create(NULL);
    AUTO_REQUEST whole = request_create(link);

    assert_int_equal(symlink(f->outside, link), 0);
    add_disk(request, through, "raw", MIB);
    assert_refused(disk_prepare(f->store, request), ERR_INVALID, through);
    assert_false(exists(file));
    write_file(file, "precious");
    assert_refused(disk_unprepare(f->store, request), ERR_INVALID, through);
    assert_refused(disk_unprepare(f->store, whole), ERR_INVALID, link);
    assert_refused(disk_prepare(f->store, whole), ERR_DESTINATION_DISK_EXISTS,
                   link);
    assert_true(exists(file));
    assert_int_equal(unlink(link), 0);
}

static void
test_dangling_link_is_not_written_through(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE link = xasprintf("%s/link.raw", f->images);
    AUTO_FREE target = xasprintf("%s/target", f->outside);
    AUTO_REQUEST request = request_create(NULL);

    assert_int_equal(symlink(target, link), 0);
    add_disk(request, link, "raw", MIB);
    assert_refused(disk_prepare(f->store, request), ERR_DESTINATION_DISK_EXISTS,
                   link);
    assert_false(exists(target));
}

static void
test_root_itself_may_be_a_link(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE root = xasprintf("%s/root", f->top);
    AUTO_FREE path = xasprintf("%s/x.raw", root);
    AUTO_FREE real = xasprintf("%s/x.raw", f->outside);
    AUTO_REQUEST request = request_create(NULL);

    assert_int_equal(symlink(f->outside, root), 0);
    CLEANUP(disk_store_free_at)
    struct disk_store *store = disk_store_create(root, NULL);
    add_disk(request, path, "raw", MIB);
    AUTO_ERROR error = disk_prepare(store, request);
    assert_null(error);
    assert_true(exists(real));
}

static void
test_sizes_and_formats_must_be_possible(void **state)
{
    static const struct {
        const char *format;
        int64_t size;
    } cases[] = {{"raw", 0},
                 {"raw", -1},
                 {"qcow2", INT64_MAX},
                 {"qcow2", DISK_IMAGE_MAX + 1},
                 {"vmdk", MIB},
                 {"QCOW2", MIB},
                 {"", MIB}};
    struct fixture *f = *state;

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_REQUEST request = request_create(f->directory);

        add_disk(request, f->disk, cases[i].format, cases[i].size);
        assert_refused(disk_prepare(f->store, request), ERR_INVALID, f->disk);
        assert_true(is_empty(f->instances));
    }
}

static void
test_missing_parent_is_told(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE path = xasprintf("%s/none/x.raw", f->images);
    AUTO_REQUEST request = request_create(NULL);

    add_disk(request, path, "raw", MIB);
    assert_refused(disk_prepare(f->store, request), ERR_NOT_FOUND, "none");
}

/* Removing. */

static void
test_directory_goes_with_all_in_it(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE inner = xasprintf("%s/a", f->directory);
    AUTO_FREE deep = xasprintf("%s/b", inner);
    AUTO_FREE link = xasprintf("%s/link", inner);
    AUTO_FREE file = xasprintf("%s/console.log", f->directory);
    AUTO_FREE kept = xasprintf("%s/kept", f->outside);
    AUTO_FREE other = xasprintf("%s/other", f->instances);
    AUTO_REQUEST request = request_create(f->directory);

    add_disk(request, f->disk, "raw", MIB);
    AUTO_ERROR error = disk_prepare(f->store, request);
    assert_null(error);
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    assert_int_equal(symlink(f->outside, link), 0);
    write_file(file, "login:");
    write_file(kept, "kept");
    write_file(other, "other");
    for (int i = 0; i < 2; i++) {
        AUTO_ERROR again = disk_unprepare(f->store, request);

        assert_null(again);
        assert_false(exists(f->directory));
    }
    assert_true(exists(kept));
    assert_true(exists(other));
}

static void
test_only_listed_disks_go(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE one = xasprintf("%s/one.raw", f->images);
    AUTO_FREE other = xasprintf("%s/other.raw", f->images);
    AUTO_REQUEST request = request_create(NULL);

    write_file(one, "1");
    write_file(other, "2");
    add_disk(request, one, "raw", MIB);
    AUTO_ERROR error = disk_unprepare(f->store, request);
    assert_null(error);
    assert_false(exists(one));
    assert_true(exists(other));
}

static void
test_disk_that_is_a_directory_stays(void **state)
{
    struct fixture *f = *state;
    AUTO_REQUEST request = request_create(NULL);

    assert_int_equal(mkdir(f->directory, 0755), 0);
    add_disk(request, f->directory, "raw", MIB);
    assert_refused(disk_unprepare(f->store, request), ERR_INVALID,
                   f->directory);
    assert_true(exists(f->directory));
}

static void
test_first_failure_does_not_save_the_rest(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE good = xasprintf("%s/good.raw", f->images);
    AUTO_REQUEST request = request_create(NULL);

    write_file(good, "1");
    add_disk(request, "/etc/x", "raw", MIB);
    add_disk(request, good, "raw", MIB);
    assert_refused(disk_unprepare(f->store, request), ERR_INVALID, "/etc/x");
    assert_false(exists(good));
}

/* Probes. */

static void
test_probe_is_seen_where_it_was_made(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE name = NULL;
    bool seen = false;

    AUTO_ERROR error = disk_probe_create(f->store, f->images, &name);
    assert_null(error);
    error_free(disk_probe_exists(f->store, f->images, name, &seen));
    assert_true(seen);
    error_free(disk_probe_exists(f->store, NULL, name, &seen));
    assert_false(seen);
    for (int i = 0; i < 2; i++) {
        AUTO_ERROR removed = disk_probe_remove(f->store, f->images, name);

        assert_null(removed);
    }
    assert_true(is_empty(f->images));
}

static void
test_looking_for_a_probe_touches_the_directory(void **state)
{
    struct fixture *f = *state;
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    struct stat st;
    bool seen = true;

    assert_int_equal(utimensat(AT_FDCWD, f->instances, old, 0), 0);
    AUTO_ERROR error = disk_probe_exists(f->store, NULL, "tmpx", &seen);
    assert_null(error);
    assert_false(seen);
    assert_int_equal(stat(f->instances, &st), 0);
    assert_true(st.st_mtim.tv_sec > 1000);
}

static char *
add_aged(const struct fixture *f, const char *name, const char *content,
         time_t age_s)
{
    struct timespec then[2] = {{.tv_sec = time(NULL) - age_s},
                               {.tv_sec = time(NULL) - age_s}};
    char *path = xasprintf("%s/%s", f->instances, name);

    write_file(path, content);
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
    return path;
}

/* Row "DST killed in check" of the table in spec/live-migration 8.3. */
static void
test_probes_of_the_killed_are_swept(void **state)
{
    static const struct {
        const char *name, *content;
        time_t age_s;
        bool is_swept;
    } files[] = {
        {"tmpabcdefghij05", "", 3700, true},
        {"tmpabcdefghij15", "", 3500, false},
        {"tmpabcdefghij25", "x", 3700, false},
        {"tmpabcdefghij95", "", 3700, false}, /* None of our letters. */
        {"tmpabcdefgh", "", 3700, false},     /* Nova's. */
        {"tmpabcdefghijk05", "", 3700, false},
        {"txpabcdefghij05", "", 3700, false},
    };
    struct fixture *f = *state;
    char *paths[N_ELEMENTS(files)];
    AUTO_FREE link = xasprintf("%s/tmpabcdefghij35", f->instances);

    for (size_t i = 0; i < N_ELEMENTS(files); i++) {
        paths[i] = add_aged(f, files[i].name, files[i].content, files[i].age_s);
    }
    assert_int_equal(symlink("/etc/passwd", link), 0);
    disk_probes_sweep(f->store);
    for (size_t i = 0; i < N_ELEMENTS(files); i++) {
        assert_int_equal(exists(paths[i]), !files[i].is_swept);
        free(paths[i]);
    }
    assert_true(exists(link));
}

static void
test_probe_has_the_name_of_a_file(void **state)
{
    static const char *const names[] = {"", ".", "..", "a/b", "../x", "/x"};
    struct fixture *f = *state;
    bool seen;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        assert_refused(disk_probe_exists(f->store, NULL, names[i], &seen),
                       ERR_INVALID, names[i]);
        assert_refused(disk_probe_remove(f->store, NULL, names[i]), ERR_INVALID,
                       names[i]);
    }
    assert_refused(disk_probe_remove(f->store, f->outside, "x"), ERR_INVALID,
                   f->outside);
}

static struct prepare_request *
request_for_bytes(const struct fixture *f, int64_t size)
{
    struct prepare_request *request = request_create(f->directory);
    struct prepare_disk *disk =
        add_disk(request, f->disk, "qcow2", INT64_C(1) << 30);

    disk->file_size = size;
    disk->file_mode = 0640;
    return request;
}

/* Not what was written here, but its own header says what it is based on. */
static void
test_file_whose_bytes_come_may_be_based_on_any_format(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE other = xasprintf("%s/other", f->images);
    AUTO_REQUEST request = request_for_bytes(f, 1000);

    write_qcow2(other, 10 * MIB, 0, 0);
    request->disks[0].backing_path = xstrdup(other);
    assert_null(disk_prepare(f->store, request));
}

static void
test_file_whose_bytes_come_is_so_long(void **state)
{
    struct fixture *f = *state;
    AUTO_REQUEST request = request_for_bytes(f, 1000);
    struct stat st;

    AUTO_ERROR error = disk_prepare(f->store, request);
    assert_null(error);
    assert_int_equal(stat(f->disk, &st), 0);
    assert_int_equal(st.st_size, 1000);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_null(disk_check_file(f->store, f->disk));
}

static void
test_file_is_sealed_at_its_length_only(void **state)
{
    static const struct {
        int64_t has;
        bool is_good;
    } rows[] = {{1000, true},  {1024, true},  {999, false},
                {1001, false}, {1536, false}, {0, false}};
    struct fixture *f = *state;
    AUTO_REQUEST request = request_for_bytes(f, 1000);

    AUTO_ERROR error = disk_prepare(f->store, request);
    assert_null(error);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct stat st;

        assert_int_equal(truncate(f->disk, rows[i].has), 0);
        AUTO_ERROR refused = disk_seal(f->store, f->disk, 1000);
        assert_int_equal(error_code(refused),
                         rows[i].is_good ? ERR_NONE : ERR_MIGRATION);
        assert_int_equal(stat(f->disk, &st), 0);
        assert_int_equal(st.st_size, rows[i].is_good ? 1000 : rows[i].has);
    }
}

static void
test_only_files_of_ours_are_served(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE outside = xasprintf("%s/x", f->outside);
    AUTO_FREE link = xasprintf("%s/link", f->instances);

    write_file(outside, "x");
    assert_int_equal(symlink(outside, link), 0);
    assert_refused(disk_check_file(f->store, outside), ERR_INVALID, outside);
    assert_refused(disk_check_file(f->store, link), ERR_STORAGE, link);
    assert_refused(disk_check_file(f->store, f->images), ERR_INVALID,
                   f->images);
    disk_store_allow(f->store, f->outside);
    assert_null(disk_check_file(f->store, outside));
    unlink(link);
    unlink(outside);
}

static void
test_space_is_that_of_the_file_system(void **state)
{
    struct fixture *f = *state;
    int64_t total_gb = -1, free_gb = -1;

    AUTO_ERROR error = disk_space(f->store, &total_gb, &free_gb);
    assert_null(error);
    assert_true(total_gb >= free_gb);
    assert_true(free_gb >= 0);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(void)
{
    static const struct CMUnitTest with_program[] = {
        TEST(test_disks_are_made_as_asked),
        TEST(test_overlay_has_the_backing_file),
        TEST(test_overlay_has_the_format_that_was_seen),
        TEST(test_same_disk_twice_leaves_nothing),
        TEST(test_failing_program_is_quoted_and_cleaned_up_after),
    };
    static const struct CMUnitTest tests[] = {
        TEST(test_backing_file_must_be_here_and_allowed),
        TEST(test_backing_file_must_be_of_the_format_that_is_told),
        TEST(test_format_that_is_not_told_is_seen_in_the_cache),
        TEST(test_existing_files_are_never_touched),
        TEST(test_existing_directory_is_refused),
        TEST(test_paths_that_leave_are_refused_by_name),
        TEST(test_symbolic_links_are_refused_by_name),
        TEST(test_dangling_link_is_not_written_through),
        TEST(test_root_itself_may_be_a_link),
        TEST(test_sizes_and_formats_must_be_possible),
        TEST(test_missing_parent_is_told),
        TEST(test_directory_goes_with_all_in_it),
        TEST(test_only_listed_disks_go),
        TEST(test_disk_that_is_a_directory_stays),
        TEST(test_first_failure_does_not_save_the_rest),
        TEST(test_probe_is_seen_where_it_was_made),
        TEST(test_looking_for_a_probe_touches_the_directory),
        TEST(test_probes_of_the_killed_are_swept),
        TEST(test_probe_has_the_name_of_a_file),
        TEST(test_file_whose_bytes_come_may_be_based_on_any_format),
        TEST(test_file_whose_bytes_come_is_so_long),
        TEST(test_file_is_sealed_at_its_length_only),
        TEST(test_only_files_of_ours_are_served),
        TEST(test_space_is_that_of_the_file_system),
    };

    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!has_qemu_img()) {
        print_message("there is no qemu-img: the tests with it are left out\n");
        return n_failed;
    }
    return n_failed + cmocka_run_group_tests(with_program, NULL, NULL);
}
