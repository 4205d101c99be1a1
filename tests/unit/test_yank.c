#include <config.h>

#include "drivers/yank.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/mem.h"

static void
assert_command(const char *answer, const char *expected)
{
    AUTO_FREE command = yank_command(answer, false);

    if (!expected) {
        assert_null(command);
    } else {
        assert_string_equal(command, expected);
    }
}

static void
test_all_that_migrates_is_broken(void **state UNUSED)
{
    assert_command(
        "{\"return\":[{\"node-name\":\"migration-virtio-disk0-storage\","
        "\"type\":\"block-node\"},{\"type\": \"block-node\", \"node-name\": "
        "\"migration-virtio-disk1-storage\"},{\"type\":\"migration\"}],"
        "\"id\":\"libvirt-7\"}",
        "{\"execute\": \"yank\", \"arguments\": {\"instances\": ["
        "{\"type\": \"block-node\", \"node-name\": "
        "\"migration-virtio-disk0-storage\"}, "
        "{\"type\": \"block-node\", \"node-name\": "
        "\"migration-virtio-disk1-storage\"}, "
        "{\"type\": \"migration\"}]}}");
}

static void
test_memory_alone_is_broken(void **state UNUSED)
{
    assert_command("{\"return\":[{\"type\":\"migration\"}]}",
                   "{\"execute\": \"yank\", \"arguments\": {\"instances\": ["
                   "{\"type\": \"migration\"}]}}");
}

static void
test_disks_alone_are_broken(void **state UNUSED)
{
    AUTO_FREE command =
        yank_command("{\"return\":[{\"type\":\"migration\"},{\"node-name\":"
                     "\"migration-x-storage\",\"type\":\"block-node\"}]}",
                     true);

    assert_string_equal(
        command, "{\"execute\": \"yank\", \"arguments\": {\"instances\": ["
                 "{\"type\": \"block-node\", \"node-name\": "
                 "\"migration-x-storage\"}]}}");
    assert_null(yank_command("{\"return\":[{\"type\":\"migration\"}]}", true));
}

static void
test_what_the_guest_has_itself_is_left_alone(void **state UNUSED)
{
    assert_command("{\"return\":[{\"type\":\"block-node\",\"node-name\":"
                   "\"libvirt-1-storage\"},{\"type\":\"chardev\",\"id\":"
                   "\"charserial0\"}]}",
                   NULL);
    assert_command("{\"return\":[]}", NULL);
    assert_command("{\"error\":{\"class\":\"CommandNotFound\"}}", NULL);
    assert_command("{\"return\":[{\"node-name\":\"migration-cut", NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_migrates_is_broken),
        cmocka_unit_test(test_memory_alone_is_broken),
        cmocka_unit_test(test_disks_alone_are_broken),
        cmocka_unit_test(test_what_the_guest_has_itself_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
