#ifndef DROVER_TESTS_FAKE_FIXTURE_H
#define DROVER_TESTS_FAKE_FIXTURE_H

/* Two hosts with the fake driver, and a guest on the first.
 *
 * Threads: that of the test. */

#include "tests/unit/driver_harness.h"

#define URI_A "qemu+tcp://hosta/system"
#define URI_B "qemu+tcp://hostb/system"

/* Slots of the harness. */
enum { A, B };

struct fixture {
    struct harness *h;
    struct driver *a, *b;
    char uuid[40]; /* Runs at A: 64 MiB, and a disk of 16. */
};

/* Where the modules are. */
const char *fake_modules(void);

/* 'world' is a directory, or empty: memory. */
struct driver_options fake_options(const char *host, const char *world,
                                   unsigned n_guests);
void fake_load(struct harness *h, int slot, const char *host, const char *world,
               unsigned n_guests);

/* Opens both, and finds the guest. */
void fake_fixture_open(struct fixture *f, const char *world);

/* For cmocka: in memory. */
int fake_setup(void **state);
int fake_teardown(void **state);
#define FAKE_TEST(NAME) \
    cmocka_unit_test_setup_teardown(NAME, fake_setup, fake_teardown)

/* The answer is the caller's. */
char *steer(struct fixture *f, struct driver *driver, const char *fmt, ...)
    PRINTF_FORMAT(3, 4);
#define STEER(...) free(steer(f, __VA_ARGS__))

/* To B; the caller's. */
struct migrate_request *request_for(struct fixture *f, unsigned flags);
struct prepare_request *disks_of(struct fixture *f);
void prepare_at_b(struct fixture *f);

enum guest_presence presence_at(struct fixture *f, const char *uri);
enum power_state power_at(struct fixture *f, struct driver *driver);

/* Prepares, and starts a block migration that is seen to be under way. */
void start(struct fixture *f, unsigned flags, struct result *moved);

void assert_moved(struct fixture *f);
void assert_stayed(struct fixture *f);

#endif
