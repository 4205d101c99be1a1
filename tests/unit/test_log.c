#include <config.h>

#include "agent/base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/clock.h"

LOG_MODULE(testing);

/* A second one, as another file would have it. */
static struct log_module other_module = {"other", -1, NULL};

static uint64_t fake_ms;

static uint64_t
fake_now_ms(void)
{
    return fake_ms;
}

static int64_t
fake_wall_us(void)
{
    return 1767323045512345; /* 2026-01-02T03:04:05.512345Z */
}

/* Standard error goes to a file until what it holds is taken. */
static FILE *captured;
static int real_stderr;

static int
set_up(void **state)
{
    (void)state;
    fake_ms = 1000;
    clock_set_fake(fake_now_ms, fake_wall_us);
    captured = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    return captured && dup2(fileno(captured), STDERR_FILENO) >= 0 ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    fclose(captured);
    clock_set_fake(NULL, NULL);
    log_set_level(LOG_LEVEL_INFO);
    log_this_module.level = other_module.level = -1;
    return 0;
}

static char *
take(void)
{
    char *text = xzalloc(65536);

    fflush(stderr);
    rewind(captured);
    size_t n = fread(text, 1, 65535, captured);
    text[n] = '\0';
    rewind(captured);
    if (ftruncate(fileno(captured), 0) != 0) {
        fail();
    }
    return text;
}

static int
n_lines(const char *text)
{
    int n = 0;

    for (; *text; text++) {
        n += *text == '\n';
    }
    return n;
}

static void
test_a_line_has_time_module_level_and_text(void **state)
{
    (void)state;
    log_info(NULL, "transfer started to '%s'", "hostb");
    AUTO_FREE line = take();

    assert_memory_equal(line, "2026-01-02T03:04:05.512Z|", 25);
    assert_int_equal(strspn(line + 25, "0123456789"), 5);
    assert_string_equal(line + 30,
                        "|testing|INFO||transfer started to 'hostb'\n");
}

static void
test_lines_are_numbered(void **state)
{
    (void)state;
    log_warn(NULL, "a");
    log_warn(NULL, "b");
    AUTO_FREE text = take();
    char *second = strchr(text, '\n') + 1;

    assert_int_equal(atoi(second + 25), atoi(text + 25) + 1);
}

static void
test_the_context_is_told(void **state)
{
    (void)state;
    struct log_context context = {"req-5f0c", "3b1c", 17};
    log_error(&context, "x");
    AUTO_FREE all = take();
    assert_non_null(
        strstr(all, "|testing|ERROR|req=req-5f0c inst=3b1c op=17|x"));

    struct log_context part = {.request = "req-1"};
    log_error(&part, "x");
    AUTO_FREE some = take();
    assert_non_null(strstr(some, "|ERROR|req=req-1|x\n"));
}

static void
test_a_peer_cannot_forge_a_line(void **state)
{
    (void)state;
    log_warn(NULL, "name '%s'", "x\n2026|00001|fake|ERROR||y\r\x1b[31m");
    AUTO_FREE text = take();

    assert_int_equal(n_lines(text), 1);
    assert_null(strchr(text, '\x1b'));
    assert_null(strchr(text, '\r'));
}

/* U+0000, as rpc/utf8.h has it. */
static void
test_a_nul_of_a_peer_is_escaped(void **state)
{
    (void)state;
    log_warn(NULL, "name '%s'",
             "a\xc0\x80"
             "b\xc0\x80");
    AUTO_FREE text = take();

    assert_non_null(strstr(text, "|name 'a\\0b\\0'\n"));
}

static void
test_levels_are_general_or_of_a_module(void **state)
{
    (void)state;
    log_debug(NULL, "hidden");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn(NULL, "hidden");
    assert_true(log_set_level_text("testing:debug"));
    log_debug(NULL, "shown");
    assert_false(log_is_enabled(&other_module, LOG_LEVEL_WARN));
    assert_true(log_set_level_text("DEBUG"));
    assert_true(log_is_enabled(&other_module, LOG_LEVEL_DEBUG));
    assert_true(log_set_level_text("other:error"));
    assert_false(log_is_enabled(&other_module, LOG_LEVEL_WARN));
    AUTO_FREE text = take();

    assert_int_equal(n_lines(text), 1);
    assert_non_null(strstr(text, "|DEBUG||shown\n"));
}

static void
test_levels_that_are_none_are_refused(void **state)
{
    static const char *const texts[] = {
        "",         "loud", "testing:",     ":info",
        "test:inf", ":",    "testing:loud", "testing:info:debug"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        assert_false(log_set_level_text(texts[i]));
    }
}

/* As those of a driver are, after the configuration was read. */
static void
test_module_that_is_loaded_later_has_the_level_set_for_it(void **state)
{
    static struct log_module later_module = {"later", -1, NULL};
    static struct log_module part = {"later_part", -1, NULL};
    static struct log_module lateral = {"lateral", -1, NULL};

    (void)state;
    assert_null(log_unknown_module());
    assert_true(log_set_level_text("later:error"));
    assert_true(log_set_level_text("later:debug"));
    assert_string_equal(log_unknown_module(), "later");
    log_module_register(&later_module);
    assert_null(log_unknown_module());
    log_module_register(&part);
    log_module_register(&lateral);
    assert_true(log_is_enabled(&later_module, LOG_LEVEL_DEBUG));
    assert_true(log_is_enabled(&part, LOG_LEVEL_DEBUG));
    assert_false(log_is_enabled(&lateral, LOG_LEVEL_DEBUG));
}

static void
test_what_peers_provoke_is_limited(void **state)
{
    struct log_limit limit = {0};
    unsigned dropped = 0;

    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_true(log_limit_allows(&limit, 10, &dropped));
        assert_int_equal(dropped, 0);
    }
    for (int i = 0; i < 25; i++) {
        assert_false(log_limit_allows(&limit, 10, &dropped));
        assert_int_equal(dropped, 0);
    }
    fake_ms += 59999;
    assert_false(log_limit_allows(&limit, 10, &dropped));
    fake_ms += 1;
    assert_true(log_limit_allows(&limit, 10, &dropped));
    assert_int_equal(dropped, 26);
    assert_true(log_limit_allows(&limit, 10, &dropped));
    assert_int_equal(dropped, 0);
}

static void
provoke(int n)
{
    for (int i = 0; i < n; i++) {
        log_limited(LOG_LEVEL_WARN, NULL, "refused %d", i);
    }
}

static void
test_a_limited_call_site_says_how_many_it_dropped(void **state)
{
    (void)state;
    provoke(1000);
    AUTO_FREE burst = take();
    assert_int_equal(n_lines(burst), 10);

    fake_ms += 60000;
    provoke(1);
    AUTO_FREE later = take();
    assert_int_equal(n_lines(later), 2);
    assert_non_null(strstr(later, "990 more like this were not logged"));
}

static void
empty(int fd)
{
    char text[4096];

    while (read(fd, text, sizeof text) == sizeof text) {
    }
}

/* One that waited would be ended by the alarm. */
static void
test_a_reader_that_hangs_holds_nobody_and_hears_what_it_missed(void **state)
{
    int ends[2];
    char text[256] = "";

    (void)state;
    assert_return_code(pipe(ends), 0);
    assert_return_code(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    alarm(60);
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (poll(&room, 1, 0) == 1) {
        log_info(NULL, "%01000d", 0);
    }
    empty(ends[0]);
    log_info(NULL, "taken");
    empty(ends[0]);

    while (poll(&room, 1, 0) == 1) {
        assert_int_equal(write(STDERR_FILENO, text, 1), 1);
    }
    log_info(NULL, "lost");
    log_info(NULL, "lost too");
    empty(ends[0]);
    log_info(NULL, "heard");
    alarm(0);
    assert_in_range(read(ends[0], text, sizeof text - 1), 1, sizeof text);
    assert_non_null(strstr(text, "|WARN||2 lines were lost: "));
    assert_non_null(strstr(text, "|INFO||heard\n"));
    close(ends[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_line_has_time_module_level_and_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines_are_numbered, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_context_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_peer_cannot_forge_a_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_nul_of_a_peer_is_escaped, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_levels_are_general_or_of_a_module,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_module_that_is_loaded_later_has_the_level_set_for_it, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_levels_that_are_none_are_refused,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_peers_provoke_is_limited,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_limited_call_site_says_how_many_it_dropped, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_reader_that_hangs_holds_nobody_and_hears_what_it_missed,
            set_up, tear_down),
    };

    log_module_register(&other_module);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
