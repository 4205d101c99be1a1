#include <config.h>

#include "agent/base/systemd.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct listener {
    char directory[32], path[64];
    int fd;
};

/* Binds a socket as the manager does; "@..." is an abstract one. */
static void
bind_socket(struct listener *l, bool is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(l->directory, sizeof l->directory, "/tmp/drover-test.XXXXXX");
    assert_non_null(mkdtemp(l->directory));
    snprintf(l->path, sizeof l->path, "%s%s/s", is_abstract ? "@" : "",
             l->directory);
    size_t size = strlen(l->path);
    memcpy(address.sun_path, l->path, size);
    if (is_abstract) {
        address.sun_path[0] = '\0';
    }
    l->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_return_code(
        bind(l->fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
        0);
}

static void
close_socket(struct listener *l)
{
    close(l->fd);
    unlink(l->path);
    rmdir(l->directory);
}

static void
assert_heard(const struct listener *l, const char *expected)
{
    char text[256] = "";

    ssize_t n = recv(l->fd, text, sizeof text - 1, 0);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(text, expected);
}

static void
test_the_manager_is_told_on_its_socket(void **state)
{
    (void)state;
    for (int is_abstract = 0; is_abstract <= 1; is_abstract++) {
        struct listener l;

        bind_socket(&l, is_abstract);
        setenv("NOTIFY_SOCKET", l.path, 1);
        assert_true(systemd_notify("READY=1\nSTATUS=%s", "fine"));
        assert_heard(&l, "READY=1\nSTATUS=fine");
        close_socket(&l);
        assert_false(systemd_notify("READY=1"));
    }
    unsetenv("NOTIFY_SOCKET");
    assert_false(systemd_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "", 1);
    assert_false(systemd_notify("READY=1"));
    AUTO_FREE longest = xasprintf("/%0200d", 0);
    setenv("NOTIFY_SOCKET", longest, 1);
    assert_false(systemd_notify("READY=1"));
    unsetenv("NOTIFY_SOCKET");
}

static void
test_the_watchdog_is_ours_or_nobodys(void **state)
{
    AUTO_FREE own = xasprintf("%d", (int)getpid());
    uint64_t us = 0;

    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_false(systemd_watchdog(&us));
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_true(systemd_watchdog(&us));
    assert_int_equal(us, 30000000);
    setenv("WATCHDOG_PID", own, 1);
    assert_true(systemd_watchdog(&us));
    setenv("WATCHDOG_PID", "1", 1);
    assert_false(systemd_watchdog(&us));
    setenv("WATCHDOG_PID", own, 1);
    static const char *const bad[] = {"", "0", "x", "-1", "3x"};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        setenv("WATCHDOG_USEC", bad[i], 1);
        assert_false(systemd_watchdog(&us));
    }
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void
test_a_field_of_an_entry_cannot_make_another(void **state)
{
    struct systemd_entry entry = {0};
    struct listener l;
    bool is_full;

    (void)state;
    bind_socket(&l, false);
    systemd_entry_add(&entry, "MESSAGE", "one\nPRIORITY=0");
    systemd_entry_add(&entry, "PRIORITY", "6");
    assert_true(systemd_entry_send(&entry, l.path, &is_full));
    assert_false(is_full);
    assert_heard(&l, "MESSAGE=one PRIORITY=0\nPRIORITY=6\n");
    assert_null(entry.text);
    close_socket(&l);

    systemd_entry_add(&entry, "MESSAGE", "to nobody");
    assert_false(systemd_entry_send(&entry, l.path, &is_full));
    assert_false(is_full);
    assert_null(entry.text);
}

/* One that waited would be ended by the alarm. */
static void
test_a_reader_that_hangs_holds_nobody(void **state)
{
    struct systemd_entry entry = {0};
    struct listener l;
    bool is_full;

    (void)state;
    bind_socket(&l, false);
    setenv("NOTIFY_SOCKET", l.path, 1);
    alarm(60);
    while (systemd_notify("WATCHDOG=1")) {
    }
    systemd_entry_add(&entry, "MESSAGE", "one more");
    assert_false(systemd_entry_send(&entry, l.path, &is_full));
    assert_true(is_full);
    assert_null(entry.text);
    alarm(0);

    assert_heard(&l, "WATCHDOG=1");
    assert_true(systemd_notify("STATUS=again"));
    unsetenv("NOTIFY_SOCKET");
    close_socket(&l);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_manager_is_told_on_its_socket),
        cmocka_unit_test(test_the_watchdog_is_ours_or_nobodys),
        cmocka_unit_test(test_a_field_of_an_entry_cannot_make_another),
        cmocka_unit_test(test_a_reader_that_hangs_holds_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
