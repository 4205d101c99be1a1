#include <config.h>

#include "agent/serial_ports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct object *
instance(const char *image, const char *flavor)
{
    struct object *o = object_create("Instance", "2.7");
    struct json *metadata = json_object(), *specs = json_object();
    struct json *data = json_object(), *part = json_object();

    json_set_string(metadata, "image_hw_serial_port_count", image);
    object_set(o, "system_metadata", metadata);
    json_set_string(specs, "hw:serial_port_count", flavor);
    json_set(data, "extra_specs", specs);
    json_set(part, "nova_object.data", data);
    object_set(o, "flavor", part);
    return o;
}

static void
test_image_decides_over_the_flavor(void **state)
{
    static const struct {
        const char *image, *flavor;
        unsigned wanted;
    } rows[] = {
        {NULL, NULL, 7},  {NULL, "2", 2},  {"3", "4", 3},  {"0", "4", 0},
        {"x", "4", 4},    {"", NULL, 7},   {"17", "2", 2}, {"-1", NULL, 7},
        {"16", NULL, 16}, {NULL, "1 ", 7},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_OBJECT o = instance(rows[i].image, rows[i].flavor);

        assert_int_equal(serial_ports_wanted(o, 7), rows[i].wanted);
    }
}

static bool
is_odd(void *aux, int port)
{
    (void)aux;
    return port % 2;
}

static void
test_19_ports_that_are_taken_are_left_out(void **state)
{
    int ports[SERIAL_PORTS_MAX] = {0};

    (void)state;
    assert_null(serial_ports_choose("101:106", 3, is_odd, NULL, ports));
    assert_int_equal(ports[0], 102);
    assert_int_equal(ports[1], 104);
    assert_int_equal(ports[2], 106);
    AUTO_ERROR error = serial_ports_choose("101:106", 4, is_odd, NULL, ports);
    assert_int_equal(error_code(error), ERR_MIGRATION);
    assert_string_equal(error_message(error),
                        "no 4 ports are free for its serial ports (101:106)");
    assert_null(serial_ports_choose("101:101", 0, is_odd, NULL, ports));
}

static void
test_19_port_that_somebody_listens_on_is_in_use(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    int port = ntohs(name.sin_port);
    assert_true(serial_ports_in_use("127.0.0.1", port));
    assert_true(serial_ports_in_use("some.name", port));
    assert_false(serial_ports_in_use("127.0.0.2", port));
    close(fd);
    assert_false(serial_ports_in_use("127.0.0.1", port));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_decides_over_the_flavor),
        cmocka_unit_test(test_19_ports_that_are_taken_are_left_out),
        cmocka_unit_test(test_19_port_that_somebody_listens_on_is_in_use),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
