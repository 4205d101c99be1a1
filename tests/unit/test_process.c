#include <config.h>

#include "drivers/process.h"

/* Programs that say something, fail, hang, or are left alone. */

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG "600"

static struct process *
start(const char *script, int fd, bool is_socket)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct process_options options = {argv, fd, is_socket};
    struct process *process = NULL;

    assert_null(process_start(&options, &process));
    return process;
}

static void
assert_error(struct error *error, enum error_code code, const char *text)
{
    AUTO_ERROR owned = error;

    assert_int_equal(error_code(owned), code);
    assert_string_equal(error_message(owned), text);
}

static void
program_that_is_not_there_can_not_be_started(void **state UNUSED)
{
    const char *argv[] = {"drover-no-such-program", NULL};
    struct process_options options = {.argv = argv, .fd = -1};
    struct process *process = NULL;

    assert_error(process_start(&options, &process), ERR_STORAGE,
                 "start 'drover-no-such-program': No such file or directory");
    assert_null(process);
}

static void
what_a_failure_says_is_the_error(void **state UNUSED)
{
    CLEANUP(process_free_at)
    struct process *process =
        start("echo first; echo ' second' >&2; exit 3", -1, false);
    struct process_words words = {.size = 0};

    assert_error(process_wait(process, 0, NULL, NULL, &words), ERR_STORAGE,
                 "sh failed: first second ");
}

static void
count(void *aux, const char *text UNUSED, size_t size)
{
    *(size_t *)aux += size;
}

static void
all_that_is_said_is_heard_and_words_are_bounded(void **state UNUSED)
{
    CLEANUP(process_free_at)
    struct process *process = start("head -c 1000000 /dev/zero", -1, false);
    CLEANUP(process_free_at)
    struct process *other = start("yes | head -c 100000", -1, false);
    struct process_words words = {.size = 0};
    size_t n = 0;

    assert_null(process_wait(process, 0, count, &n, &words));
    assert_int_equal(n, 1000000);
    assert_null(process_wait(other, 0, NULL, NULL, &words));
    assert_int_equal(strlen(words.text), sizeof words.text - 1);
}

static void
one_that_hangs_is_killed_in_time(void **state UNUSED)
{
    CLEANUP(process_free_at)
    struct process *process = start("exec sleep " LONG, -1, false);
    struct process_words words = {.size = 0};

    assert_false(process_is_over(process));
    assert_error(process_wait(process, 50, NULL, NULL, &words), ERR_STORAGE,
                 "sh did not end in 0 s");
    assert_true(process_is_over(process));
}

static void *
kill_it(void *process)
{
    process_kill(process);
    return NULL;
}

static void
one_that_is_killed_was_cancelled(void **state UNUSED)
{
    CLEANUP(process_free_at)
    struct process *process = start("exec sleep " LONG, -1, false);
    struct process_words words = {.size = 0};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, kill_it, process), 0);
    assert_error(process_wait(process, 0, NULL, NULL, &words), ERR_CANCELLED,
                 "sh was ended");
    pthread_join(thread, NULL);
    process_kill(process); /* Too late, and harmless. */
}

static void
one_that_somebody_else_killed_says_so(void **state UNUSED)
{
    CLEANUP(process_free_at)
    struct process *process = start("kill -TERM $$", -1, false);
    struct process_words words = {.size = 0};

    assert_error(process_wait(process, 0, NULL, NULL, &words), ERR_STORAGE,
                 "sh was killed by signal 15");
}

static void
it_has_its_descriptor(void **state UNUSED)
{
    int ends[2];
    char text[8] = "";
    struct process_words words = {.size = 0};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                     0);
    CLEANUP(process_free_at)
    struct process *process =
        start("test -z \"$LISTEN_FDS\" && echo hello >&3", ends[0], false);
    assert_null(process_wait(process, 0, NULL, NULL, &words));
    assert_int_equal(read(ends[1], text, sizeof text), 6);
    assert_string_equal(text, "hello\n");
    close(ends[0]);
    close(ends[1]);
}

static void
it_is_told_of_a_socket_as_systemd_does(void **state UNUSED)
{
    struct process_words words = {.size = 0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CLEANUP(process_free_at)
    struct process *process =
        start("test $LISTEN_FDS = 1 && test $LISTEN_PID -eq $$", fd, true);

    assert_null(process_wait(process, 0, NULL, NULL, &words));
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
        start("exec sleep " LONG, ends[1], false);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &c, 1), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
}

static void
one_that_is_forgotten_is_ended(void **state UNUSED)
{
    int ends[2];
    char c;

    assert_int_equal(pipe(ends), 0);
    struct process *process = start("exec sleep " LONG, ends[1], false);
    close(ends[1]);
    process_free(process);
    assert_int_equal(read(ends[0], &c, 1), 0);
    close(ends[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_that_is_not_there_can_not_be_started),
        cmocka_unit_test(what_a_failure_says_is_the_error),
        cmocka_unit_test(all_that_is_said_is_heard_and_words_are_bounded),
        cmocka_unit_test(one_that_hangs_is_killed_in_time),
        cmocka_unit_test(one_that_is_killed_was_cancelled),
        cmocka_unit_test(one_that_somebody_else_killed_says_so),
        cmocka_unit_test(it_has_its_descriptor),
        cmocka_unit_test(it_is_told_of_a_socket_as_systemd_does),
        cmocka_unit_test(it_does_not_outlive_us),
        cmocka_unit_test(one_that_is_forgotten_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
