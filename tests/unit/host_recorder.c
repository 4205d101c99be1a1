#include <config.h>

#include "tests/unit/host_recorder.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct error *
record(void *aux, const char *const *argv, enum error_code code UNUSED,
       struct command_result *ret)
{
    struct host_recorder *recorder = aux;
    AUTO_FREE line = xstrdup(argv[0]);
    const char *words = "";

    for (size_t i = 1; argv[i]; i++) {
        char *longer = xasprintf("%s %s", line, argv[i]);
        free(line);
        line = longer;
    }
    char *lines = xasprintf("%s%s\n", recorder->lines, line);
    free(recorder->lines);
    recorder->lines = lines;
    int exit_code =
        recorder->react ? recorder->react(recorder, line, &words) : 0;
    *ret = (struct command_result){
        .exit_code = exit_code,
        .output = xstrdup(""),
        .errors = xstrdup(words),
    };
    return NULL;
}

static void
count_wait(void *aux, unsigned ms)
{
    struct host_recorder *recorder = aux;

    recorder->waited_s += ms / 1000;
}

void
host_recorder_open(struct host_recorder *recorder)
{
    *recorder = (struct host_recorder){.lines = xstrdup("")};
    snprintf(recorder->directory, sizeof recorder->directory,
             "/tmp/drover-host-XXXXXX");
    assert_non_null(mkdtemp(recorder->directory));
    recorder->claims = xasprintf("%s/claims", recorder->directory);
    recorder->mounts = xasprintf("%s/mnt", recorder->directory);
    recorder->host = (struct host){
        .run = record,
        .wait = count_wait,
        .aux = recorder,
        .root = recorder->directory,
        .claims_path = recorder->claims,
        .nfs_mount_point_base = recorder->mounts,
        .scan_tries = 3,
    };
}

static int
remove_entry(const char *path, const struct stat *st UNUSED, int type UNUSED,
             struct FTW *ftw UNUSED)
{
    return remove(path);
}

void
host_recorder_close(struct host_recorder *recorder)
{
    nftw(recorder->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(recorder->claims);
    free(recorder->mounts);
    free(recorder->lines);
}

static char *
below(struct host_recorder *recorder, const char *path)
{
    return xasprintf("%s%s", recorder->directory, path);
}

static void
make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

void
host_recorder_put(struct host_recorder *recorder, const char *path,
                  const char *text)
{
    AUTO_FREE real = below(recorder, path);

    make_parents(real);
    FILE *file = fopen(real, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

void
host_recorder_link(struct host_recorder *recorder, const char *path,
                   const char *target)
{
    AUTO_FREE real = below(recorder, path);
    AUTO_FREE real_target = below(recorder, target);

    make_parents(real);
    assert_return_code(symlink(real_target, real), 0);
}

void
host_recorder_remove(struct host_recorder *recorder, const char *path)
{
    AUTO_FREE real = below(recorder, path);

    assert_return_code(remove(real), 0);
}

char *
host_recorder_text(struct host_recorder *recorder, const char *path)
{
    AUTO_FREE real = below(recorder, path);
    char text[256] = "";
    int fd = open(real, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    return xstrdup(text);
}

void
assert_ran(struct host_recorder *recorder, const char *lines)
{
    assert_string_equal(recorder->lines, lines);
    recorder->lines[0] = '\0';
}
