#include <config.h>

#include "drivers/image_cache.h"

/* Images that come into the cache, and those that must not.  QEMU's programs
 * make them, and scp copies them: from a server that is started in ssh's
 * place. */

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/command.h"
#include "drivers/image_check.h"

#define NAME "356a192b7913b04c54574d18c28d46e6395428ab"
#define SIZE (3 << 20)
#define SFTP_SERVER "/usr/lib/openssh/sftp-server"

struct fixture {
    char top[64];                   /* Holds what follows. */
    char *instances, *cache, *file; /* "_base", and NAME in it. */
    char *source;                   /* The other host's "instances". */
    char *programs;                 /* First in PATH. */
    char *raw;                      /* SIZE bytes of a disk. */
    char *path;                     /* As PATH was. */
    struct disk_store *store;
};

static void
run(const char *const *argv)
{
    struct command command = {.argv = argv, .timeout_ms = 60000};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    if (error) {
        fail_msg("%s", error_message(error));
    }
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void
write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static char *
read_bytes(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    char *bytes = xmalloc(64 << 20);
    *ret_size = fread(bytes, 1, 64 << 20, file);
    fclose(file);
    return bytes;
}

static void
assert_same(const char *one, const char *other)
{
    size_t sizes[2];
    AUTO_FREE a = read_bytes(one, &sizes[0]);
    AUTO_FREE b = read_bytes(other, &sizes[1]);

    assert_int_equal(sizes[0], sizes[1]);
    assert_true(memcmp(a, b, sizes[0]) == 0);
}

/* Something here and there, with holes between. */
static void
write_disk(const char *path)
{
    AUTO_FREE disk = xzalloc(SIZE);

    for (size_t at = 0; at < SIZE; at += 700001) {
        snprintf(disk + at, 64, "what stands at %zu", at);
    }
    write_bytes(path, disk, SIZE);
}

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    snprintf(f->top, sizeof f->top, "/tmp/drover-image-XXXXXX");
    assert_non_null(mkdtemp(f->top));
    f->instances = xasprintf("%s/instances", f->top);
    f->cache = xasprintf("%s/_base", f->instances);
    f->file = xasprintf("%s/" NAME, f->cache);
    f->source = xasprintf("%s/source", f->top);
    f->programs = xasprintf("%s/bin", f->top);
    f->raw = xasprintf("%s/raw", f->top);
    AUTO_FREE source_cache = xasprintf("%s/_base", f->source);
    assert_int_equal(mkdir(f->instances, 0755), 0);
    assert_int_equal(mkdir(f->source, 0755), 0);
    assert_int_equal(mkdir(source_cache, 0755), 0);
    assert_int_equal(mkdir(f->programs, 0755), 0);
    write_disk(f->raw);
    f->store = disk_store_create(f->instances, NULL);
    f->path = xstrdup(getenv("PATH"));
    AUTO_FREE path = xasprintf("%s:%s", f->programs, f->path);
    setenv("PATH", path, 1);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    setenv("PATH", f->path, 1);
    RUN("rm", "-r", f->top);
    disk_store_free(f->store);
    free(f->instances);
    free(f->cache);
    free(f->file);
    free(f->source);
    free(f->programs);
    free(f->raw);
    free(f->path);
    free(f);
    return 0;
}

/* A program of that name that is found before the real one. */
static void
put_program(struct fixture *f, const char *name, const char *script)
{
    AUTO_FREE path = xasprintf("%s/%s", f->programs, name);
    AUTO_FREE text = xasprintf("#!/bin/bash\n%s\n", script);

    write_bytes(path, text, strlen(text));
    assert_int_equal(chmod(path, 0755), 0);
}

static unsigned
count_files(const char *directory)
{
    DIR *dir = opendir(directory);
    unsigned n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n < 2 ? 0 : n - 2; /* Without "." and "..". */
}

/* What is in 'path', as if it were just fetched. */
static int
create(struct fixture *f, const char *path)
{
    int fd = -1;
    size_t size;
    AUTO_FREE bytes = read_bytes(path, &size);
    AUTO_ERROR error = image_cache_create(f->store, NAME, &fd);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    assert_int_equal(write(fd, bytes, size), size);
    return fd;
}

static struct error *
keep(struct fixture *f, const char *path, struct image_request *r)
{
    char name[] = NAME;

    r->name = name;
    r->fd = create(f, path);
    struct error *error = image_cache_keep(f->store, r);
    close(r->fd);
    return error;
}

static void
assert_refused(struct fixture *f, struct error *error, enum error_code code,
               const char *says)
{
    if (error_code(error) != code || !strstr(error_message(error), says)) {
        fail_msg("not refused as '%s': %s", says, error_message(error));
    }
    if (code == ERR_IMAGE_UNACCEPTABLE) {
        assert_string_equal(error_arg(error, "image_id"), NAME);
    }
    error_free(error);
    assert_int_equal(count_files(f->cache), 0);
}

static bool
exists(struct fixture *f)
{
    bool ret = false;
    AUTO_ERROR error = image_cache_exists(f->store, NAME, &ret);

    assert_null(error);
    return ret;
}

/* ---- What is kept -------------------------------------------------------- */

static void
raw_image_is_kept_as_it_is(void **state)
{
    struct fixture *f = *state;
    static const char *const formats[] = {"raw", "iso", "ami"};
    struct stat st;

    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        struct image_request r = {.format = (char *)formats[i],
                                  .is_made_raw = true,
                                  .virtual_max = SIZE};

        assert_false(exists(f));
        AUTO_ERROR error = keep(f, f->raw, &r);
        assert_null(error);
        assert_true(exists(f));
        assert_same(f->file, f->raw);
        assert_int_equal(stat(f->file, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0644);
        assert_int_equal(count_files(f->cache), 1);
        assert_int_equal(unlink(f->file), 0);
    }
    assert_int_equal(stat(f->cache, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
}

static void
what_is_not_kept_has_no_name(void **state)
{
    struct fixture *f = *state;
    int ends[2], fd;
    char c;

    close(create(f, f->raw));
    assert_int_equal(count_files(f->cache), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        fd = create(f, f->raw);
        _exit(write(ends[1], "x", 1) == 1 && pause() && fd);
    }
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_int_equal(count_files(f->cache), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(count_files(f->cache), 0);
    assert_false(exists(f));
    close(ends[0]);
    close(ends[1]);
}

static void
image_is_made_raw(void **state)
{
    static const struct {
        const char *format, *qemu, *options;
    } rows[] = {
        {"qcow2", "qcow2", "compat=0.10"},
        {"qcow2", "qcow2", "compat=1.1"},
        {"vmdk", "vmdk", "subformat=monolithicSparse"},
        {"vmdk", "vmdk", "subformat=streamOptimized"},
        {"vdi", "vdi", "static=off"},
        {"vhd", "vpc", "force_size=on"},
        {"vhd", "vpc", "force_size=on,subformat=fixed"},
        {"vhdx", "vhdx", "subformat=dynamic"},
    };
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct image_request r = {.format = (char *)rows[i].format,
                                  .is_made_raw = true,
                                  .virtual_max = SIZE};

        RUN("qemu-img", "convert", "-f", "raw", "-O", rows[i].qemu, "-o",
            rows[i].options, f->raw, image);
        AUTO_ERROR error = keep(f, image, &r);
        if (error) {
            fail_msg("%s: %s", rows[i].options, error_message(error));
        }
        assert_same(f->file, f->raw);
        assert_int_equal(count_files(f->cache), 1);
        assert_int_equal(unlink(f->file), 0);
    }
}

static void
qcow2_can_stay_what_it_is(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    struct image_request r = {.format = (char[]){"qcow2"}};

    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", f->raw, image);
    AUTO_ERROR error = keep(f, image, &r);
    assert_null(error);
    assert_same(f->file, image);
}

static void
what_was_there_first_stays(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE other = xasprintf("%s/other", f->top);
    struct image_request first = {.format = (char[]){"raw"}};
    struct image_request second = first;

    write_bytes(other, "something else", 14);
    AUTO_ERROR error = keep(f, f->raw, &first);
    assert_null(error);
    error = keep(f, other, &second);
    assert_null(error);
    assert_same(f->file, f->raw);
    assert_int_equal(count_files(f->cache), 1);
}

/* Somebody else is done while ours is being converted. */
static void
who_comes_second_succeeds(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    AUTO_FREE script = xasprintf("cp %s %s && PATH=%s exec qemu-img \"$@\"",
                                 f->raw, f->file, f->path);
    struct image_request r = {.format = (char[]){"qcow2"}, .is_made_raw = true};
    struct stat before, after;

    RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "1M");
    put_program(f, "qemu-img", script);
    AUTO_ERROR error = keep(f, image, &r);
    assert_null(error);
    assert_same(f->file, f->raw);
    assert_int_equal(stat(f->file, &before), 0);
    put_program(f, "qemu-img", "exit 1"); /* Nothing is made in vain. */
    error = keep(f, image, &r);
    assert_null(error);
    assert_int_equal(stat(f->file, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(count_files(f->cache), 1);
}

/* ---- What is refused ----------------------------------------------------- */

static void
refuse(struct fixture *f, const char *path, const char *format,
       int64_t virtual_max, const char *says)
{
    for (int is_made_raw = 0; is_made_raw < 2; is_made_raw++) {
        struct image_request r = {.format = (char *)format,
                                  .is_made_raw = is_made_raw,
                                  .virtual_max = virtual_max};

        if (is_made_raw || str_eq(image_check_format(format), "raw") ||
            str_eq(format, "qcow2")) {
            assert_refused(f, keep(f, path, &r), ERR_IMAGE_UNACCEPTABLE, says);
        }
    }
}

static void
image_that_needs_another_file_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    AUTO_FREE flat = xasprintf("%s/flat.vmdk", f->top);
    AUTO_FREE data = xasprintf("data_file=%s/data", f->top);

    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
        "/etc/passwd", image);
    refuse(f, image, "qcow2", 0, "image '" NAME "': it is laid over a file");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", data, image, "1M");
    refuse(f, image, "qcow2", 0, "its data is in another file");
    RUN("qemu-img", "create", "-q", "-f", "vmdk", "-o",
        "subformat=monolithicFlat", flat, "1M");
    refuse(f, flat, "vmdk", 0, "none that is one file");
    RUN("qemu-img", "create", "-q", "-f", "vmdk", flat, "1M");
    RUN("qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", flat,
        image);
    refuse(f, image, "vmdk", 0, "it is laid over a file");
}

/* A sound image, but for some bytes. */
static void
image_that_was_tampered_with_is_refused(void **state)
{
    static const struct {
        const char *format;
        long at;
        const char *bytes;
        size_t size;
        const char *says;
    } rows[] = {
        {"qcow2", 32, "\0\0\0\1", 4, "it is encrypted"},
        {"qcow2", 4, "\0\0\0\4", 4, "is not"},
        {"qcow2", 24, "\0\0\0\0\0\0\0\0", 8, "0 bytes is no size of a disk"},
        {"qcow2", 24, "\xff\xff\xff\xff\xff\xff\0\0", 8, "no size of a disk"},
        {"qcow2", 24, "\0\xff\0\0\0\0\0\0", 8, "it is a disk of 7177"},
        {"qcow2", 40, "\xff\xff\xff\xff\0\0\0\0", 8, "'qemu-img' failed with"},
        {"vmdk", 12, "\0\0\0\0\0\0\0\0", 8, "none that is one file"},
        {"vmdk", 28, "\x2\0\0\0\0\0\0\0", 8, "none that is one file"},
        {"vmdk", 4, "\xff", 1, "'qemu-img' failed with code 1: "},
    };
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct image_request r = {.format = (char *)rows[i].format,
                                  .is_made_raw = true};

        RUN("qemu-img", "create", "-q", "-f", r.format, image, "1M");
        FILE *file = fopen(image, "r+e");
        assert_int_equal(fseek(file, rows[i].at, SEEK_SET), 0);
        assert_int_equal(fwrite(rows[i].bytes, 1, rows[i].size, file),
                         rows[i].size);
        fclose(file);
        assert_refused(f, keep(f, image, &r), ERR_IMAGE_UNACCEPTABLE,
                       rows[i].says);
    }
}

static void
type_of_vmdk_must_be_allowed(void **state)
{
    static const char *const types[] = {"monolithicFlat", "custom", "",
                                        "monolithicSparser"};
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);

    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        size_t size;

        RUN("qemu-img", "create", "-q", "-f", "vmdk", image, "1M");
        AUTO_FREE bytes = read_bytes(image, &size);
        char *type = memmem(bytes, size, "createType=\"", 12);
        assert_non_null(type);
        snprintf(type + 12, 24, "%s\"\ncreateType=\"", types[i]);
        write_bytes(image, bytes, size);
        refuse(f, image, "vmdk", 0, "of a type that is not allowed");
    }
}

static void
image_that_is_something_else_is_refused(void **state)
{
    static const char *const made[][3] = {
        {"qcow2", "qcow2", "1M"}, {"vmdk", "vmdk", "1M"}, {"vdi", "vdi", "1M"},
        {"vpc", "vhd", "1M"},     {"vhdx", "vhdx", "1M"}, {"qed", "qed", "1M"},
    };
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    AUTO_FREE empty = xasprintf("%s/empty", f->top);

    for (size_t i = 0; i < N_ELEMENTS(made); i++) {
        AUTO_FREE says = xasprintf("begins like '%s'", made[i][1]);

        RUN("qemu-img", "create", "-q", "-f", made[i][0], image, made[i][2]);
        refuse(f, image, "raw", 0, says);
        refuse(f, image, "iso", 0, "it is said to be 'iso'");
    }
    refuse(f, f->raw, "qcow2", 0, "it is said to be 'qcow2', and is not");
    refuse(f, f->raw, "vmdk", 0, "it is said to be 'vmdk'");
    refuse(f, f->raw, "vdi", 0, "'qemu-img' failed");
    refuse(f, f->raw, "vhd", 0, "'qemu-img' failed");
    refuse(f, f->raw, "vhdx", 0, "'qemu-img' failed");
    RUN("qemu-img", "create", "-q", "-f", "vdi", image, "0");
    refuse(f, image, "vdi", 0, "it is empty");
    write_bytes(empty, "", 0);
    refuse(f, empty, "raw", 0, "it is empty");
    refuse(f, empty, "qcow2", 0, "it is empty");
}

static void
full_disk_is_not_the_fault_of_the_image(void **state)
{
    static const char *const reasons[] = {"No space left on device",
                                          "Disk quota exceeded"};
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    struct image_request r = {.format = (char[]){"qcow2"}, .is_made_raw = true};

    RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "1M");
    for (size_t i = 0; i < N_ELEMENTS(reasons); i++) {
        AUTO_FREE script = xasprintf("echo 'error while writing at byte 0: %s' "
                                     ">&2; exit 1",
                                     reasons[i]);

        put_program(f, "qemu-img", script);
        assert_refused(f, keep(f, image, &r), ERR_STORAGE, reasons[i]);
    }
}

/* Whoever looked at what it was made of would take it for that again. */
static void
image_in_an_image_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE inner = xasprintf("%s/inner", f->top);
    AUTO_FREE image = xasprintf("%s/image", f->top);
    struct image_request r = {.format = (char[]){"qcow2"}, .is_made_raw = true};

    RUN("qemu-img", "create", "-q", "-f", "qcow2", inner, "1M");
    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", inner, image);
    assert_refused(f, keep(f, image, &r), ERR_IMAGE_UNACCEPTABLE,
                   "made raw: image '" NAME "': it is said to be 'raw', and "
                   "begins like 'qcow2'");
}

static void
image_that_is_too_large_is_refused(void **state)
{
    static const char *const formats[][2] = {
        {"raw", "raw"}, {"qcow2", "qcow2"}, {"vmdk", "vmdk"},
        {"vdi", "vdi"}, {"vpc", "vhd"},     {"vhdx", "vhdx"},
    };
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);

    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        bool is_known_before = i < 2;

        RUN("qemu-img", "create", "-q", "-f", formats[i][0], image, "9M");
        refuse(f, image, formats[i][1], 8 << 20,
               is_known_before
                   ? "it is a disk of 9437184 bytes, where 8388608 are allowed"
                   : "File too large");
    }
}

static void
format_must_be_one_that_disks_are_based_on(void **state)
{
    static const char *const formats[] = {"", "docker", "qed", "ploop", "RAW"};
    static const char *const others[] = {"vmdk", "vdi", "vhd", "vhdx"};
    struct fixture *f = *state;
    struct image_request r = {.format = NULL};

    assert_refused(f, keep(f, f->raw, &r), ERR_IMAGE_UNACCEPTABLE,
                   "'' is no format that is known");
    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        r.format = (char *)formats[i];
        assert_refused(f, keep(f, f->raw, &r), ERR_IMAGE_UNACCEPTABLE,
                       "is no format that is known");
    }
    for (size_t i = 0; i < N_ELEMENTS(others); i++) {
        r.format = (char *)others[i];
        assert_refused(f, keep(f, f->raw, &r), ERR_IMAGE_UNACCEPTABLE,
                       "and it is not to be made raw");
    }
}

static void
name_must_be_one_of_a_file(void **state)
{
    static const char *const names[] = {"",     ".",       "..",        "a/b",
                                        "/etc", "../../x", "two\nlines"};
    struct fixture *f = *state;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        struct image_request r = {.name = (char *)names[i],
                                  .fd = open(f->raw, O_RDONLY | O_CLOEXEC),
                                  .format = (char[]){"raw"},
                                  .host = (char[]){"hosta"}};
        bool answer;
        int fd;

        assert_refused(f, image_cache_exists(f->store, names[i], &answer),
                       ERR_INVALID, names[i]);
        assert_refused(f, image_cache_create(f->store, names[i], &fd),
                       ERR_INVALID, names[i]);
        assert_refused(f, image_cache_keep(f->store, &r), ERR_INVALID,
                       names[i]);
        assert_refused(f, image_cache_copy(f->store, &r), ERR_INVALID,
                       names[i]);
        close(r.fd);
    }
    assert_int_equal(count_files(f->instances), 0);
}

static void
links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE outside = xasprintf("%s/outside", f->top);
    struct image_request r = {.format = (char[]){"raw"}};
    bool answer;
    int fd = -1;

    assert_int_equal(mkdir(outside, 0755), 0);
    assert_int_equal(symlink(outside, f->cache), 0);
    assert_refused(f, image_cache_exists(f->store, NAME, &answer), ERR_INVALID,
                   "symbolic link");
    assert_refused(f, image_cache_create(f->store, NAME, &fd), ERR_INVALID,
                   "symbolic link");
    assert_int_equal(fd, -1);
    assert_int_equal(count_files(outside), 0);

    assert_int_equal(unlink(f->cache), 0);
    int image = create(f, f->raw);
    assert_int_equal(symlink(outside, f->file), 0);
    r = (struct image_request){
        .name = (char[]){NAME}, .fd = image, .format = (char[]){"raw"}};
    AUTO_ERROR error = image_cache_keep(f->store, &r);
    assert_int_equal(error_code(error), ERR_INVALID);
    assert_non_null(strstr(error_message(error), "not a regular file"));
    close(image);
}

static void
file_that_is_no_image_cache_file_is_no_danger(void **state)
{
    struct fixture *f = *state;
    struct image_request r = {
        .name = (char[]){NAME}, .fd = -1, .format = (char[]){"raw"}};

    assert_refused(f, image_cache_keep(f->store, &r), ERR_STORAGE,
                   "Bad file descriptor");
    r.fd = open(f->top, O_RDONLY | O_CLOEXEC);
    assert_refused(f, image_cache_keep(f->store, &r), ERR_INVALID,
                   "not a regular file");
    close(r.fd);
}

/* ---- From another host --------------------------------------------------- */

/* It has our paths; here it is beside us. */
static void
put_scp(struct fixture *f, const char *server)
{
    AUTO_FREE script =
        xasprintf("printf '%%s\\n' \"$@\" > %s/arguments\n"
                  "arguments=(\"${@//\\/instances\\//\\/source\\/}\")\n"
                  "exec /usr/bin/scp -S %s/ssh \"${arguments[@]}\"",
                  f->top, f->programs);

    put_program(f, "ssh", server);
    put_program(f, "scp", script);
}

static struct error *
copy(struct fixture *f, const char *host, const char *format)
{
    struct image_request r = {.name = (char[]){NAME},
                              .fd = -1,
                              .format = (char *)format,
                              .host = (char *)host};

    return image_cache_copy(f->store, &r);
}

static void
assert_has_scp(void)
{
    if (access("/usr/bin/scp", X_OK) || access(SFTP_SERVER, X_OK)) {
        print_message("there is no scp, or none of its servers\n");
        skip();
    }
}

static void
image_is_copied(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE there = xasprintf("%s/_base/" NAME, f->source);
    AUTO_FREE arguments_path = xasprintf("%s/arguments", f->top);
    AUTO_FREE expected =
        xasprintf("--\n[fd00::1]:%s\n/proc/self/fd/3\n", f->file);
    struct stat st;
    size_t size;

    assert_has_scp();
    put_scp(f, "exec " SFTP_SERVER);
    write_disk(there);
    assert_int_equal(chmod(there, 0600), 0);
    AUTO_ERROR error = copy(f, "hosta.example-1.org", "raw");
    if (error) {
        fail_msg("%s", error_message(error));
    }
    assert_same(f->file, f->raw);
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    assert_int_equal(unlink(f->file), 0);

    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", f->raw, there);
    error = copy(f, "fd00::1", "qcow2");
    assert_null(error);
    assert_same(f->file, there);
    AUTO_FREE arguments = read_bytes(arguments_path, &size);
    arguments[size] = '\0';
    assert_non_null(strstr(arguments, expected));

    put_program(f, "scp", "exit 1"); /* It is here: nobody is asked. */
    error = copy(f, "hosta", "qcow2");
    assert_null(error);
    assert_int_equal(count_files(f->cache), 1);
}

static void
copy_that_fails_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE there = xasprintf("%s/_base/" NAME, f->source);

    put_program(f, "scp", "echo half >&3; echo 'lost it' >&2; exit 1");
    assert_refused(f, copy(f, "hosta", "raw"), ERR_STORAGE,
                   "copy image '" NAME "' from 'hosta': 'scp' failed with "
                   "code 1: lost it");
    put_program(f, "scp", "exit 0");
    assert_refused(f, copy(f, "hosta", "raw"), ERR_IMAGE_UNACCEPTABLE,
                   "it is empty");
    assert_has_scp();
    put_scp(f, "exec " SFTP_SERVER);
    assert_refused(f, copy(f, "hosta", "raw"), ERR_STORAGE,
                   "No such file or directory");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
        "/etc/passwd", there);
    assert_refused(f, copy(f, "hosta", "qcow2"), ERR_IMAGE_UNACCEPTABLE,
                   "it is laid over a file");
    write_disk(there);
    assert_refused(f, copy(f, "hosta", "qcow2"), ERR_IMAGE_UNACCEPTABLE,
                   "it is said to be 'qcow2', and is not");
}

/* However much the other side has to give. */
static void
copy_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct image_request r = {.name = (char[]){NAME},
                              .fd = -1,
                              .virtual_max = SIZE,
                              .host = (char[]){"hosta"}};

    put_program(f, "scp", "head -c 64M /dev/zero >&3");
    assert_refused(f, image_cache_copy(f->store, &r), ERR_STORAGE,
                   "File too large");
}

/* Clusters as large as they can be, and some of them are tables. */
static void
small_disk_in_a_large_file_is_copied(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE there = xasprintf("%s/_base/" NAME, f->source);
    AUTO_FREE script = xasprintf("cat %s >&3", there);
    struct stat st;
    struct image_request r = {.name = (char[]){NAME},
                              .fd = -1,
                              .virtual_max = SIZE,
                              .host = (char[]){"hosta"}};

    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
        "cluster_size=2M", f->raw, there);
    assert_int_equal(stat(there, &st), 0);
    assert_true(st.st_size > 3 * SIZE);
    put_program(f, "scp", script);
    AUTO_ERROR error = image_cache_copy(f->store, &r);
    assert_null(error);
}

/* In place of scp: that file. */
static void
put_copied(struct fixture *f, const char *path)
{
    AUTO_FREE script = xasprintf("cat %s >&3", path);

    put_program(f, "scp", script);
}

static void
copy_must_be_of_the_format_that_is_told(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);

    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", f->raw, image);
    put_copied(f, image);
    assert_refused(f, copy(f, "hosta", "raw"), ERR_IMAGE_UNACCEPTABLE,
                   "it is said to be 'raw', and begins like 'qcow2'");
    put_copied(f, f->raw);
    assert_refused(f, copy(f, "hosta", "qcow2"), ERR_IMAGE_UNACCEPTABLE,
                   "it is said to be 'qcow2', and is not");
}

/* As it is not by nova-compute. */
static void
copy_whose_format_is_not_told_must_be_one_that_is_used(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    struct image_request small = {.name = (char[]){NAME},
                                  .fd = -1,
                                  .virtual_max = SIZE,
                                  .host = (char[]){"hosta"}};

    put_copied(f, image);
    RUN("qemu-img", "create", "-q", "-f", "vmdk", image, "1M");
    assert_refused(f, copy(f, "hosta", NULL), ERR_IMAGE_UNACCEPTABLE,
                   "no disk can be based on format 'vmdk'");
    RUN("qemu-img", "create", "-q", "-f", "qed", image, "1M");
    assert_refused(f, copy(f, "hosta", NULL), ERR_IMAGE_UNACCEPTABLE,
                   "'qed' is no format that is known");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
        "/etc/passwd", image);
    assert_refused(f, copy(f, "hosta", NULL), ERR_IMAGE_UNACCEPTABLE,
                   "it is laid over a file");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "4M");
    assert_refused(f, image_cache_copy(f->store, &small),
                   ERR_IMAGE_UNACCEPTABLE, "it is a disk of 4194304 bytes");
    RUN("qemu-img", "create", "-q", "-f", "raw", image, "4M");
    assert_refused(f, image_cache_copy(f->store, &small),
                   ERR_IMAGE_UNACCEPTABLE, "it is a disk of 4194304 bytes");
}

/* Whatever the source's cache has it as: what its overlay reads there. */
static void
overlay_reads_the_image(void **state)
{
    static const char *const formats[] = {"raw", "qcow2"};
    struct fixture *f = *state;
    AUTO_FREE image = xasprintf("%s/image", f->top);
    AUTO_FREE path = xasprintf("%s/guest/disk", f->instances);
    AUTO_FREE directory = xasprintf("%s/guest", f->instances);

    put_copied(f, image);
    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        struct prepare_disk disk = {.path = path,
                                    .format = (char[]){"qcow2"},
                                    .virtual_size = SIZE,
                                    .backing_path = (char[]){NAME}};
        struct prepare_request request = {.uuid = (char[]){"guest"},
                                          .directory = directory,
                                          .disks = &disk,
                                          .n_disks = 1};

        RUN("qemu-img", "convert", "-f", "raw", "-O", formats[i], f->raw,
            image);
        AUTO_ERROR error = copy(f, "hosta", NULL);
        assert_null(error);
        error = disk_prepare(f->store, &request);
        assert_null(error);
        RUN("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", path,
            f->raw);
        error = disk_unprepare(f->store, &request);
        assert_null(error);
        assert_int_equal(unlink(f->file), 0);
    }
}

static void
reason_of_ssh_is_told(void **state)
{
    struct fixture *f = *state;

    assert_has_scp();
    put_scp(f, "[[ \" $* \" == *\" -q \"* ]] || echo 'no route to it' >&2\n"
               "exit 255");
    /* scp's code depends on whether it had said something to ssh before. */
    assert_refused(f, copy(f, "hosta", "raw"), ERR_STORAGE, ": no route to it");
}

static void
host_must_be_one(void **state)
{
    static const char *const hosts[] = {
        "",
        "-oProxyCommand=x",
        "a b",
        "a;b",
        "user@host",
        "a/b",
        "$(a)",
        "a\nb",
        ".hidden",
        "a`b`",
        "fe80::1%eth0",
        "[::1]",
        "host:/etc/passwd",
        "\xc3\xa4",
    };
    struct fixture *f = *state;

    put_program(f, "scp", "echo image >&3");
    assert_refused(f, copy(f, NULL, "raw"), ERR_INVALID_HOSTNAME,
                   "'' is no name of a host");
    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        assert_refused(f, copy(f, hosts[i], "raw"), ERR_INVALID_HOSTNAME,
                       "is no name of a host");
    }
    assert_refused(f, copy(f, "hosta", "vmdk"), ERR_INVALID,
                   "no image of format 'vmdk' is copied");
}

static void
path_that_says_more_than_a_name_is_not_copied(void **state)
{
    static const char *const names[] = {"a*", "a b", "$(a)", "a;b", "[ab]"};
    struct fixture *f = *state;

    put_program(f, "scp", "echo image >&3");
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        struct image_request r = {.name = (char *)names[i],
                                  .format = (char[]){"raw"},
                                  .host = (char[]){"hosta"}};

        assert_refused(f, image_cache_copy(f->store, &r), ERR_INVALID,
                       "more than a name");
    }
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(raw_image_is_kept_as_it_is),
        TEST(what_is_not_kept_has_no_name),
        TEST(what_was_there_first_stays),
        TEST(format_must_be_one_that_disks_are_based_on),
        TEST(name_must_be_one_of_a_file),
        TEST(links_are_not_followed),
        TEST(file_that_is_no_image_cache_file_is_no_danger),
        TEST(host_must_be_one),
        TEST(path_that_says_more_than_a_name_is_not_copied),
    };
    const struct CMUnitTest with_qemu[] = {
        TEST(image_is_made_raw),
        TEST(qcow2_can_stay_what_it_is),
        TEST(who_comes_second_succeeds),
        TEST(image_that_needs_another_file_is_refused),
        TEST(image_that_was_tampered_with_is_refused),
        TEST(type_of_vmdk_must_be_allowed),
        TEST(image_that_is_something_else_is_refused),
        TEST(image_in_an_image_is_refused),
        TEST(full_disk_is_not_the_fault_of_the_image),
        TEST(image_that_is_too_large_is_refused),
        TEST(image_is_copied),
        TEST(reason_of_ssh_is_told),
        TEST(copy_that_fails_leaves_nothing),
        TEST(copy_has_a_limit),
        TEST(small_disk_in_a_large_file_is_copied),
        TEST(copy_must_be_of_the_format_that_is_told),
        TEST(copy_whose_format_is_not_told_must_be_one_that_is_used),
        TEST(overlay_reads_the_image),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (access("/usr/bin/qemu-img", X_OK)) {
        print_message("there is no qemu-img: the tests with it are left out\n");
        return n_failed;
    }
    return n_failed + cmocka_run_group_tests(with_qemu, NULL, NULL);
}
