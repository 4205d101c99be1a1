#include <config.h>

#include "agent/base/process.h"

/* Programs that are not there, have a descriptor, or are left alone; how their
 * ends are waited for, test_command.c shows. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Says so on its descriptor when it runs. */
#define HANG "echo runs >&3; sleep 600 & wait"
#define RUNS 5

static struct process *
start(const char *script, int fd, bool is_socket)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct process_options options = {.argv = argv,
                                      .code = ERR_STORAGE,
                                      .fds = &fd,
                                      .n_fds = 1,
                                      .is_socket = is_socket};
    struct process *process = NULL;

    assert_null(process_start(&options, &process));
    return process;
}

static void
assert_ends_well(struct process *process)
{
    assert_int_equal(process_wait(process), 0);
    process_free(process);
}

static void
program_that_is_not_there_can_not_be_started(void **state UNUSED)
{
    const char *const names[][2] = {
        {"drover-no-such-program",
         "there is no program 'drover-no-such-program' here"},
        {"/", "start '/': Permission denied"},
    };

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        const char *argv[] = {names[i][0], NULL};
        struct process_options options = {.argv = argv, .code = ERR_STORAGE};
        struct process *process = NULL;
        AUTO_ERROR error = process_start(&options, &process);

        assert_int_equal(error_code(error), ERR_STORAGE);
        assert_string_equal(error_message(error), names[i][1]);
        assert_null(process);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD); /* Nothing of it is left. */
    }
}

static void
it_has_its_descriptor(void **state UNUSED)
{
    int ends[2];
    char text[8] = "";

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                     0);
    setenv("LISTEN_FDS", "1", 1); /* Of our own sockets. */
    assert_ends_well(
        start("test -z \"$LISTEN_FDS\" && echo hello >&3", ends[0], false));
    unsetenv("LISTEN_FDS");
    assert_int_equal(read(ends[1], text, sizeof text), 6);
    assert_string_equal(text, "hello\n");
    close(ends[0]);
    close(ends[1]);
}

/* Whatever their numbers are here. */
static void
it_has_both_its_descriptors(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "echo one >&3; echo two >&4", NULL};
    char texts[2][8] = {"", ""};
    int pipes[2][2];

    for (int order = 0; order < 2; order++) {
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
        }
        int fds[] = {pipes[order][1], pipes[!order][1]};
        struct process_options options = {.argv = argv,
                                          .code = ERR_STORAGE,
                                          .fds = fds,
                                          .n_fds = N_ELEMENTS(fds)};
        struct process *process = NULL;
        assert_null(process_start(&options, &process));
        assert_ends_well(process);
        assert_int_equal(read(pipes[order][0], texts[0], 8), 4);
        assert_int_equal(read(pipes[!order][0], texts[1], 8), 4);
        assert_string_equal(texts[0], "one\n");
        assert_string_equal(texts[1], "two\n");
        for (int i = 0; i < 4; i++) {
            close(pipes[i / 2][i % 2]);
        }
    }
}

/* With the numbers that they are to have, exchanged. */
static void
descriptors_do_not_take_each_others_place(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "echo one >&3; echo two >&4", NULL};
    char text[8] = "";

    pid_t pid = fork();
    if (pid == 0) {
        int one[2], two[2], fds[] = {PROCESS_FD + 1, PROCESS_FD};
        struct process_options options = {.argv = argv,
                                          .code = ERR_STORAGE,
                                          .fds = fds,
                                          .n_fds = N_ELEMENTS(fds)};
        struct process *process = NULL;

        if (pipe2(one, O_CLOEXEC) || pipe2(two, O_CLOEXEC)) {
            _exit(1);
        }
        int from_one = fcntl(one[0], F_DUPFD_CLOEXEC, 20);
        int from_two = fcntl(two[0], F_DUPFD_CLOEXEC, 20);
        int to_one = fcntl(one[1], F_DUPFD_CLOEXEC, 20);
        int to_two = fcntl(two[1], F_DUPFD_CLOEXEC, 20);
        if (dup3(to_one, fds[0], O_CLOEXEC) < 0 ||
            dup3(to_two, fds[1], O_CLOEXEC) < 0 ||
            process_start(&options, &process) || process_wait(process)) {
            _exit(2);
        }
        bool is_right =
            read(from_one, text, sizeof text) == 4 && text[0] == 'o' &&
            read(from_two, text, sizeof text) == 4 && text[0] == 't';
        _exit(is_right ? 0 : 3);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
it_is_held_to_its_limits(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c",
                          "test $(ulimit -v) = 4194304 && "
                          "test $(ulimit -t) = 7 && "
                          "test $(ulimit -f) = 2 && "
                          "! head -c 2000 /dev/zero >&3",
                          NULL};
    FILE *file = tmpfile();
    int fd = fileno(file);
    struct process_options options = {
        .argv = argv,
        .code = ERR_STORAGE,
        .fds = &fd,
        .n_fds = 1,
        .limits = {INT64_C(4) << 30, 1024, 7},
    };
    struct process *process = NULL;

    assert_null(process_start(&options, &process));
    assert_ends_well(process);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_int_equal(ftell(file), 1024);
    fclose(file);
}

static void
it_is_told_of_a_socket_as_systemd_does(void **state UNUSED)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_ends_well(
        start("test $LISTEN_FDS = 1 && test $LISTEN_PID -eq $$", fd, true));
    close(fd);
}

/* The one that is left alone holds the pipe open: its end is the pipe's. */
static void
it_does_not_outlive_us(void **state UNUSED)
{
    int ends[2];
    char c;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        start("exec sleep 600", ends[1], false);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
}

/* With what it started, which holds the pipe, too. */
static void
one_that_is_forgotten_is_ended(void **state UNUSED)
{
    int ends[2];
    char text[8];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct process *process = start(HANG, ends[1], false);
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text), RUNS);
    process_free(process);
    assert_int_equal(read(ends[0], text, sizeof text), 0);
    close(ends[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_that_is_not_there_can_not_be_started),
        cmocka_unit_test(it_has_its_descriptor),
        cmocka_unit_test(it_has_both_its_descriptors),
        cmocka_unit_test(descriptors_do_not_take_each_others_place),
        cmocka_unit_test(it_is_held_to_its_limits),
        cmocka_unit_test(it_is_told_of_a_socket_as_systemd_does),
        cmocka_unit_test(it_does_not_outlive_us),
        cmocka_unit_test(one_that_is_forgotten_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
