#include <config.h>

#include "agent/base/command.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/worker.h"

/* As long as it takes on the slowest machine. */
#define LONG_MS 60000

static struct error *
run_script(const char *script, struct command_result *ret)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};

    return command_run(&command, ret);
}

static void
test_outputs_and_code_are_told(void **state UNUSED)
{
    struct command_result result;

    assert_null(run_script("echo said; echo wrong >&2; exit 3", &result));
    assert_int_equal(result.exit_code, 3);
    assert_string_equal(result.output, "said\n");
    assert_string_equal(result.errors, "wrong\n");
    assert_false(result.is_cut);
    command_result_close(&result);
}

static void
test_failure_is_told_in_its_words(void **state UNUSED)
{
    const char *argv[] = {
        "sh", "-c", "echo no; printf 'one\ntwo\tmore \n\n' >&2; exit 9", NULL};
    struct command command = {
        .argv = argv, .timeout_ms = LONG_MS, .code = ERR_STORAGE};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_string_equal(error_message(error),
                        "'sh' failed with code 9: one two more");
}

/* Whole lines of the end. */
static void
test_failure_says_no_more_than_fits(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "seq -f 'line %g' 1000; exit 1", NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};
    AUTO_ERROR error = command_run_checked(&command, NULL);
    const char *begin = "'sh' failed with code 1: line 9";
    const char *message = error_message(error);

    assert_memory_equal(message, begin, strlen(begin));
    assert_non_null(strstr(message, "line 999 line 1000"));
    assert_true(strlen(message) < 450);
}

static void
test_failure_without_a_word_has_its_code(void **state UNUSED)
{
    const char *argv[] = {"false", NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_string_equal(error_message(error), "'false' failed with code 1");
    assert_int_equal(error_code(error), ERR_INTERNAL);
}

static void
test_output_of_success_is_the_callers(void **state UNUSED)
{
    const char *argv[] = {"printf", "%s|", "a b", "$HOME", "*", NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};
    AUTO_FREE output = NULL;

    assert_null(command_run_checked(&command, &output));
    assert_string_equal(output, "a b|$HOME|*|"); /* No shell has read it. */
}

static void
test_missing_program_is_named(void **state UNUSED)
{
    const char *argv[] = {"drover-no-such-program", NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_string_equal(error_message(error),
                        "there is no program 'drover-no-such-program' here");
}

static void
test_tools_are_found_beyond_the_path(void **state UNUSED)
{
    AUTO_FREE path = xstrdup(getenv("PATH"));
    struct command_result result;

    setenv("PATH", "/nowhere", 1);
    struct error *error = run_script("exit 0", &result);
    setenv("PATH", path, 1);
    assert_null(error);
    command_result_close(&result);
}

/* Its children hold the outputs: only killing the group ends this test. */
static void
test_deadline_kills_the_whole_group(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "sleep 1000 & echo $!; wait", NULL};
    struct command command = {.argv = argv, .timeout_ms = 300};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_string_equal(error_message(error), "'sh' did not end in 300 ms");
}

static void
dawdle(void *aux UNUSED, const char *text UNUSED, size_t size UNUSED)
{
    poll(NULL, 0, 1);
}

/* Nobody listens as fast as it talks: there is always more to read. */
static void
test_deadline_ends_one_that_never_stops_talking(void **state UNUSED)
{
    const char *argv[] = {"yes", NULL};
    struct command command = {.argv = argv, .timeout_ms = 300, .hear = dawdle};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_string_equal(error_message(error), "'yes' did not end in 300 ms");
}

static void
test_deadline_ends_one_that_closed_its_channels(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "exec sleep 1000 >&- 2>&-", NULL};
    struct command command = {.argv = argv, .timeout_ms = 300};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_string_equal(error_message(error), "'sh' did not end in 300 ms");
}

static void
test_what_it_leaves_running_is_not_waited_for(void **state UNUSED)
{
    struct command_result result;

    assert_null(run_script("sleep 1000 & echo $!", &result));
    pid_t left = atoi(result.output);
    assert_true(left > 1);
    assert_return_code(kill(left, SIGKILL), 0); /* It was there still. */
    command_result_close(&result);
}

static void
test_output_is_bounded(void **state UNUSED)
{
    const char *argv[] = {"head", "-c", "1000000", "/dev/zero", NULL};
    struct command command = {
        .argv = argv, .timeout_ms = LONG_MS, .output_max = 1000};
    struct command_result result;

    assert_null(command_run(&command, &result));
    assert_int_equal(result.exit_code, 0); /* Its pipe was kept empty. */
    assert_true(result.is_cut);
    command_result_close(&result);
}

static void
count(void *size, const char *text UNUSED, size_t more)
{
    *(size_t *)size += more;
}

static void
test_all_of_the_output_is_heard(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c",
                          "head -c 1000000 /dev/zero; echo error >&2", NULL};
    size_t size = 0;
    struct command command = {.argv = argv, .hear = count, .aux = &size};

    assert_null(command_run_checked(&command, NULL));
    assert_int_equal(size, 1000000);
}

static void
test_death_by_signal_is_an_error(void **state UNUSED)
{
    struct command_result result;
    AUTO_ERROR error = run_script("kill -KILL $$", &result);

    assert_string_equal(error_message(error), "'sh' was killed by signal 9");
}

static void
want_to_stop(void *stop, const char *text UNUSED, size_t size UNUSED)
{
    atomic_store((atomic_bool *)stop, true);
}

/* In the midst of it, when it has said that it runs. */
static void
test_wish_to_stop_ends_it(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "sleep 1000 & echo runs; wait", NULL};
    atomic_bool stop = false;
    struct command command = {
        .argv = argv, .stop = &stop, .hear = want_to_stop, .aux = &stop};
    AUTO_ERROR error = command_run_checked(&command, NULL);

    assert_int_equal(error_code(error), ERR_CANCELLED);
    assert_string_equal(error_message(error), "'sh' was stopped");
}

static void
test_descriptor_is_lent(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "echo written >&3", NULL};
    int ends[2];
    char text[32] = "";

    assert_return_code(pipe2(ends, O_CLOEXEC), 0);
    struct command command = {
        .argv = argv, .timeout_ms = LONG_MS, .fds = &ends[1], .n_fds = 1};
    assert_null(command_run_checked(&command, NULL));
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 8);
    assert_string_equal(text, "written\n");
    close(ends[0]);
}

static void
run_on_worker(void *aux)
{
    const char *argv[] = {"sh", "-c", "cat; echo $LC_ALL; kill -TERM $$", NULL};
    struct command command = {.argv = argv, .timeout_ms = LONG_MS};

    *(struct error **)aux = command_run_checked(&command, NULL);
}

/* A worker blocks signals; were that inherited, TERM would not end it. */
static void
test_signals_are_as_usual(void **state UNUSED)
{
    struct error *result = NULL;
    uv_thread_t thread;

    worker_thread_start(&thread, "command", run_on_worker, &result);
    uv_thread_join(&thread);
    AUTO_ERROR error = result;
    assert_string_equal(error_message(error), "'sh' was killed by signal 15");
}

static void
test_words_are_english_and_input_is_empty(void **state UNUSED)
{
    struct command_result result;

    setenv("LC_ALL", "de_DE.UTF-8", 1);
    struct error *error = run_script("cat; echo $LC_ALL", &result);
    unsetenv("LC_ALL");
    assert_null(error);
    assert_string_equal(result.output, "C\n");
    command_result_close(&result);
}

/* The one that is left alone holds the pipe open: its end is the pipe's. */
static void
test_it_does_not_outlive_us(void **state UNUSED)
{
    const char *argv[] = {"sh", "-c", "echo runs >&3; exec sleep 1000", NULL};
    int ends[2];
    char text[8];

    assert_return_code(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct command command = {.argv = argv, .fds = &ends[1], .n_fds = 1};
        _exit(command_run_checked(&command, NULL) != NULL);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text), 5);
    assert_return_code(kill(pid, SIGKILL), 0);
    assert_int_equal(read(ends[0], text, sizeof text), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outputs_and_code_are_told),
        cmocka_unit_test(test_failure_is_told_in_its_words),
        cmocka_unit_test(test_failure_says_no_more_than_fits),
        cmocka_unit_test(test_failure_without_a_word_has_its_code),
        cmocka_unit_test(test_output_of_success_is_the_callers),
        cmocka_unit_test(test_missing_program_is_named),
        cmocka_unit_test(test_tools_are_found_beyond_the_path),
        cmocka_unit_test(test_deadline_kills_the_whole_group),
        cmocka_unit_test(test_deadline_ends_one_that_never_stops_talking),
        cmocka_unit_test(test_deadline_ends_one_that_closed_its_channels),
        cmocka_unit_test(test_what_it_leaves_running_is_not_waited_for),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_all_of_the_output_is_heard),
        cmocka_unit_test(test_death_by_signal_is_an_error),
        cmocka_unit_test(test_wish_to_stop_ends_it),
        cmocka_unit_test(test_descriptor_is_lent),
        cmocka_unit_test(test_signals_are_as_usual),
        cmocka_unit_test(test_it_does_not_outlive_us),
        cmocka_unit_test(test_words_are_english_and_input_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
