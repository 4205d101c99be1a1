#include <config.h>

/* A world of fakes in a directory, shared by processes.  The program is also
 * its own victim: with an argument it is an agent that is killed in the middle
 * of a migration. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/driver_contract.h"
#include "tests/unit/fake_fixture.h"

extern char **environ;

static void
remove_world(const char *world)
{
    AUTO_FREE command = xstrdup(world);
    char rm[] = "rm", rf[] = "-rf";
    char *argv[] = {rm, rf, command, NULL};
    pid_t pid;
    int status;

    assert_int_equal(posix_spawnp(&pid, "rm", NULL, NULL, argv, environ), 0);
    waitpid(pid, &status, 0);
}

static int
count_files(const char *world, const char *uuid)
{
    static const char *const hosts[] = {"hosta", "hostb"};
    int n = 0;

    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        AUTO_FREE path = xasprintf("%s/%s/%s", world, hosts[i], uuid);

        n += !access(path, F_OK);
    }
    return n;
}

static void
test_guest_of_a_directory_outlives_its_agent(UNUSED void **state)
{
    char world[] = "/tmp/drover-world-XXXXXX";
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result r = {0};

    assert_non_null(mkdtemp(world));
    for (int round = 0; round < 2; round++) {
        f->h = harness_create();
        fake_load(f->h, A, "hosta", world, 1);
        fake_load(f->h, B, "hostb", world, 0);
        f->a = f->h->drivers[A];
        f->b = f->h->drivers[B];
        AWAIT_OK(f->h, r, driver_guest_list(round ? f->b : f->a, on_list, &r));
        assert_int_equal(r.list->n, 1);
        snprintf(f->uuid, sizeof f->uuid, "%s", r.list->guests[0]->uuid);
        if (round == 0) {
            prepare_at_b(f);
            AWAIT_OK(f->h, r,
                     driver_migrate(f->a, request_for(f, MIGRATE_BLOCK),
                                    on_plain, &r));
        }
        assert_int_equal(count_files(world, f->uuid), 1);
        assert_moved(f);
        result_clear(&r);
        harness_free(f->h);
    }
    remove_world(world);
}

/* An agent of hosta with a migration that never ends. */
static int
be_victim(const char *world)
{
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result moved = {0}, r = {0};

    f->h = harness_create();
    fake_load(f->h, A, "hosta", world, 1);
    f->a = f->h->drivers[A];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    snprintf(f->uuid, sizeof f->uuid, "%s", r.list->guests[0]->uuid);
    STEER(f->a, "bandwidth 1");
    driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved);
    harness_wait(f->h, &moved.is_done);
    return 1;
}

static void
test_killed_agent_leaves_the_guest_at_the_source(UNUSED void **state)
{
    char world[] = "/tmp/drover-world-XXXXXX";
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result r = {0};
    pid_t pid;
    int status;

    assert_non_null(mkdtemp(world));
    char *argv[] = {program_invocation_name, world, NULL};
    f->h = harness_create();
    fake_load(f->h, A, "hosta", world, 1);
    fake_load(f->h, B, "hostb", world, 0);
    f->a = f->h->drivers[A];
    f->b = f->h->drivers[B];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    snprintf(f->uuid, sizeof f->uuid, "%s", r.list->guests[0]->uuid);
    prepare_at_b(f);

    assert_int_equal(posix_spawn(&pid, *argv, NULL, NULL, argv, environ), 0);
    AWAIT_UNTIL(f->h, r,
                driver_peer_presence(f->a, URI_B, f->uuid, on_presence, &r),
                r.presence == GUEST_INCOMING);
    AWAIT(f->h, r, driver_guest_list(f->b, on_list, &r));
    assert_int_equal(r.list->n, 1);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_stayed(f);
    assert_int_equal(count_files(world, f->uuid), 1);

    /* What is left of it is in nobody's way. */
    AWAIT_OK(f->h, r,
             driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &r));
    assert_moved(f);
    assert_int_equal(count_files(world, f->uuid), 1);
    result_clear(&r);
    harness_free(f->h);
    remove_world(world);
}

static int
run_contract(const char *world)
{
    struct driver_contract contract = {
        .name = "fake",
        .directory = fake_modules(),
        .options = fake_options("hosta", world, 1),
        .has_guest = true,
        .peer_uri = URI_B,
        .own_uri = URI_A,
        .peer_options = fake_options("hostb", world, 0),
        .copies_disks = true,
        .dead_uri = "qemu+tcp://nohost/system",
    };

    return driver_contract_run(&contract);
}

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_of_a_directory_outlives_its_agent),
        cmocka_unit_test(test_killed_agent_leaves_the_guest_at_the_source),
    };
    char world[] = "/tmp/drover-world-XXXXXX";

    if (argc > 1) {
        return be_victim(argv[1]);
    }
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    n_failed += !mkdtemp(world) || run_contract(world);
    remove_world(world);
    return n_failed;
}
