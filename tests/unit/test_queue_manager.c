#include <config.h>

#include "rpc/queue_manager.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define AUTO_MANAGER CLEANUP(queue_manager_free_at) struct queue_manager *

static char directory[64];

static int
set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/names.XXXXXX");
    return !mkdtemp(directory);
}

static int
tear_down(void **state)
{
    (void)state;
    return rmdir(directory); /* Nothing is left behind. */
}

static struct queue_manager *
take(const char *host, const char *process)
{
    struct queue_manager *qm = NULL;
    AUTO_ERROR error = queue_manager_create(directory, host, process, &qm);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    return qm;
}

static void
assert_next_is(const char *name)
{
    AUTO_MANAGER qm = take("h", "p");

    assert_string_equal(queue_manager_name(qm), name);
}

static void
write_file(const char *name, const char *text)
{
    AUTO_FREE path = xasprintf("%s/%s", directory, name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void
remove_file(const char *name)
{
    AUTO_FREE path = xasprintf("%s/%s", directory, name);

    assert_int_equal(unlink(path), 0);
}

/* Ours: when this process has started. */
static unsigned long long
start_ticks(void)
{
    FILE *file = fopen("/proc/self/stat", "r");
    unsigned long long ticks = 0;

    assert_non_null(file);
    /* Nothing in our name is a blank or a bracket. */
    assert_int_equal(
        fscanf(file,
               "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
               "%*d %*d %*d %*d %*d %*d %llu",
               &ticks),
        1);
    fclose(file);
    return ticks;
}

static void
test_each_has_the_lowest_number_that_is_free(void **state)
{
    (void)state;
    AUTO_MANAGER one = take("h", "p");
    AUTO_MANAGER two = take("h", "p");
    AUTO_MANAGER three = take("h", "p");
    AUTO_MANAGER other_host = take("i", "p");
    AUTO_MANAGER other_process = take("h", "q");

    assert_string_equal(queue_manager_name(one), "h:p:1");
    assert_string_equal(queue_manager_name(two), "h:p:2");
    assert_string_equal(queue_manager_name(three), "h:p:3");
    assert_string_equal(queue_manager_name(other_host), "i:p:1");
    assert_string_equal(queue_manager_name(other_process), "h:q:1");
    queue_manager_free(steal(&two));
    assert_next_is("h:p:2");
}

static void
test_a_crash_gives_the_name_back(void **state)
{
    int ends[2], status;
    char byte;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child) {
        struct queue_manager *qm = NULL;
        AUTO_ERROR error = queue_manager_create(directory, "h", "p", &qm);

        if (write(ends[1], error ? "-" : "+", 1) == 1) {
            pause();
        }
        _exit(0);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, '+');
    assert_next_is("h:p:2");
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_next_is("h:p:1");
    close(ends[0]);
    close(ends[1]);
}

static void
test_numbers_of_living_peers_are_left_to_them(void **state)
{
    char text[64];
    unsigned long long ticks = start_ticks();

    (void)state;
    snprintf(text, sizeof text, "%d:4:%llu", (int)getpid(), ticks);
    write_file("h_p_qmanager", text);
    assert_next_is("h:p:5");
    /* Another process has that number by now. */
    snprintf(text, sizeof text, "%d:4:%llu", (int)getpid(), ticks + 1);
    write_file("h_p_qmanager", text);
    assert_next_is("h:p:1");
    remove_file("h_p_qmanager");
}

static void
test_a_file_of_peers_that_makes_no_sense_is_no_obstacle(void **state)
{
    static const char *const texts[] = {"",
                                        "x",
                                        "1",
                                        "1:2",
                                        "1:2:",
                                        "::",
                                        "99999999999999999999:1:1",
                                        "1:99999999999999999999:1",
                                        "-1:4:0",
                                        "\n\n"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        write_file("h_p_qmanager", texts[i]);
        assert_next_is("h:p:1");
    }
    remove_file("h_p_qmanager");
    AUTO_FREE path = xasprintf("%s/h_p_qmanager", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_next_is("h:p:1");
    remove_file("h_p_qmanager");
}

static void
test_what_others_put_there_is_not_followed(void **state)
{
    struct queue_manager *qm = NULL;

    (void)state;
    AUTO_FREE link = xasprintf("%s/h_p_drover_1", directory);
    AUTO_FREE target = xasprintf("%s/target", directory);
    assert_int_equal(symlink(target, link), 0);
    AUTO_ERROR error = queue_manager_create(directory, "h", "p", &qm);
    assert_non_null(error);
    assert_null(qm);
    assert_int_equal(access(target, F_OK), -1);
    remove_file("h_p_drover_1");
}

static void
test_where_no_file_can_be_there_is_no_name(void **state)
{
    struct queue_manager *qm = NULL;

    (void)state;
    AUTO_ERROR missing = queue_manager_create("/nowhere/at/all", "h", "p", &qm);
    assert_int_equal(error_code(missing), ERR_INTERNAL);
    assert_non_null(strstr(error_message(missing), "/nowhere/at/all"));
    AUTO_ERROR slash = queue_manager_create(directory, "../h", "p", &qm);
    assert_int_equal(error_code(slash), ERR_CONFIG);
    assert_null(qm);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_has_the_lowest_number_that_is_free),
        cmocka_unit_test(test_a_crash_gives_the_name_back),
        cmocka_unit_test(test_numbers_of_living_peers_are_left_to_them),
        cmocka_unit_test(
            test_a_file_of_peers_that_makes_no_sense_is_no_obstacle),
        cmocka_unit_test(test_what_others_put_there_is_not_followed),
        cmocka_unit_test(test_where_no_file_can_be_there_is_no_name),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
