#include <config.h>

#include "rpc/link_internal.h"

#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* The resolver, with two more names: "slow" answers when it is told to, "two"
 * has a dead address before the living one. */
static sem_t asked, may_answer, answers;
static struct sockaddr_in first, second;
static struct addrinfo infos[2];

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **ret);
int __real_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *found);
void __real_freeaddrinfo(struct addrinfo *found);

int
__wrap_getaddrinfo(const char *host, const char *port,
                   const struct addrinfo *hints, struct addrinfo **ret)
{
    if (str_eq(host, "two")) {
        *ret = infos;
        return 0;
    }
    if (str_eq(host, "slow")) {
        sem_post(&asked);
        sem_wait(&may_answer);
        sem_post(&answers);
        host = "127.0.0.1";
    }
    return __real_getaddrinfo(host, port, hints, ret);
}

void
__wrap_freeaddrinfo(struct addrinfo *found)
{
    if (found != infos) {
        __real_freeaddrinfo(found);
    }
}

/* To the one that waits, and to none that comes later. */
static void
let_answer(void)
{
    sem_post(&may_answer);
    sem_wait(&answers);
}

static int
listen_somewhere(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

struct attempt {
    struct interrupt interrupt;
    struct transport_host host;
    unsigned timeout_s;
    int fd;
    struct error *error;
};

static void
attempt_run(void *aux)
{
    struct attempt *a = aux;

    a->fd = -1;
    a->error = dial(&a->interrupt, &a->host, a->timeout_s, &a->fd);
}

static struct attempt
attempt_to(const char *host, int port)
{
    struct attempt a = {.host = {.host = (char *)host, .port = port},
                        .timeout_s = 30};

    interrupt_init(&a.interrupt);
    return a;
}

static void
attempt_close(struct attempt *a)
{
    if (a->fd >= 0) {
        close(a->fd);
    }
    error_free(a->error);
    interrupt_close(&a->interrupt);
}

static void
test_whoever_listens_is_reached(void **state)
{
    int port, listener = listen_somewhere(&port);
    struct attempt a = attempt_to("127.0.0.1", port);

    (void)state;
    attempt_run(&a);
    assert_null(a.error);
    assert_true(a.fd >= 0);
    attempt_close(&a);
    close(listener);
}

static void
test_nobody_there_is_told_apart(void **state)
{
    int port, listener = listen_somewhere(&port);

    (void)state;
    close(listener);
    struct attempt a = attempt_to("127.0.0.1", port);
    attempt_run(&a);
    assert_int_equal(error_code(a.error), ERR_NOT_FOUND);
    assert_string_equal(error_message(a.error), "Connection refused");
    attempt_close(&a);
}

static void
test_second_address_is_tried_after_the_first(void **state)
{
    int port, listener = listen_somewhere(&port);
    struct attempt a = attempt_to("two", port);

    (void)state;
    first = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_addr = {htonl(INADDR_LOOPBACK)},
                                 .sin_port = htons(1)};
    second = first;
    second.sin_port = htons((uint16_t)port);
    infos[0] = (struct addrinfo){.ai_family = AF_INET,
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_addr = (struct sockaddr *)&first,
                                 .ai_addrlen = sizeof first,
                                 .ai_next = &infos[1]};
    infos[1] = infos[0];
    infos[1].ai_addr = (struct sockaddr *)&second;
    infos[1].ai_next = NULL;
    attempt_run(&a);
    assert_null(a.error);
    attempt_close(&a);
    close(listener);
}

static void
test_a_look_up_is_left_alone_when_it_is_not_wanted_any_more(void **state)
{
    struct attempt a = attempt_to("slow", 1);
    uv_thread_t thread;

    (void)state;
    assert_int_equal(uv_thread_create(&thread, attempt_run, &a), 0);
    sem_wait(&asked);
    interrupt_raise(&a.interrupt);
    uv_thread_join(&thread); /* Though nobody has answered. */
    assert_string_equal(error_message(a.error), "look up the name: given up");
    attempt_close(&a);
    let_answer();
}

static void
test_a_look_up_takes_no_longer_than_it_may(void **state)
{
    struct attempt a = attempt_to("slow", 1);

    (void)state;
    a.timeout_s = 0;
    attempt_run(&a);
    sem_wait(&asked);
    assert_string_equal(error_message(a.error),
                        "look up the name: Connection timed out");
    attempt_close(&a);
    let_answer();
}

static void
test_once_raised_nothing_is_begun_until_it_is_lowered(void **state)
{
    int port, listener = listen_somewhere(&port);
    struct attempt a = attempt_to("127.0.0.1", port);

    (void)state;
    interrupt_raise(&a.interrupt);
    interrupt_raise(&a.interrupt);
    interrupt_lower(&a.interrupt);
    assert_true(interrupt_is_raised(&a.interrupt));
    attempt_run(&a);
    assert_non_null(a.error);
    error_free(a.error);
    interrupt_lower(&a.interrupt);
    attempt_run(&a);
    assert_null(a.error);
    attempt_close(&a);
    close(listener);
}

static void
test_a_wait_of_the_library_ends_with_its_socket(void **state)
{
    struct interrupt interrupt;
    int ends[2];
    char byte;

    (void)state;
    interrupt_init(&interrupt);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    interrupt_arm(&interrupt, ends[0]);
    interrupt_raise(&interrupt);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    interrupt_disarm(&interrupt);
    interrupt_close(&interrupt);
    close(ends[0]);
    close(ends[1]);
}

static int
set_up(void **state)
{
    (void)state;
    return sem_init(&asked, 0, 0) || sem_init(&may_answer, 0, 0) ||
           sem_init(&answers, 0, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whoever_listens_is_reached),
        cmocka_unit_test(test_nobody_there_is_told_apart),
        cmocka_unit_test(test_second_address_is_tried_after_the_first),
        cmocka_unit_test(
            test_a_look_up_is_left_alone_when_it_is_not_wanted_any_more),
        cmocka_unit_test(test_a_look_up_takes_no_longer_than_it_may),
        cmocka_unit_test(test_once_raised_nothing_is_begun_until_it_is_lowered),
        cmocka_unit_test(test_a_wait_of_the_library_ends_with_its_socket),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
