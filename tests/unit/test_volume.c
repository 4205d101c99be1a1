#include <config.h>

#include "drivers/volume.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/host_recorder.h"

#define GUEST "78eed080-8b3c-4b1e-8d43-0a5d3ca4c0b1"
#define OTHER_GUEST "0b5e2b9a-5f0c-4a7e-9d0e-2f6a4c1d8e3f"
#define VOLUME "6ca404f3-d844-4169-bb96-bc792f37de98"
#define IQN "iqn.2010-10.org.openstack:volume-" VOLUME
#define PORTAL "192.0.2.1:3260"
#define LINK "/dev/disk/by-path/ip-" PORTAL "-iscsi-" IQN "-lun-1"
#define NODE "iscsiadm -m node -T " IQN " -p " PORTAL

static int
set_up(void **state)
{
    struct host_recorder *recorder = xzalloc(sizeof *recorder);

    host_recorder_open(recorder);
    *state = recorder;
    return 0;
}

static int
tear_down(void **state)
{
    host_recorder_close(*state);
    free(*state);
    return 0;
}

static struct volume *
volume_of(const char *type, const char *guest)
{
    struct volume *volume = xzalloc(sizeof *volume);

    volume->type = xstrdup(type);
    volume->id = xstrdup(VOLUME);
    volume->user = xstrdup(guest);
    volume->format = xstrdup("raw");
    volume->target = xstrdup("vdb");
    volume->bus = xstrdup("virtio");
    return volume;
}

static struct volume *
nfs_volume(const char *guest)
{
    struct volume *volume = volume_of("nfs", guest);

    volume->share = xstrdup("192.0.2.9:/export/cinder");
    volume->name = xstrdup("volume-" VOLUME);
    return volume;
}

static struct volume *
iscsi_volume(const char *guest)
{
    struct volume *volume = volume_of("iscsi", guest);

    volume->paths = xcalloc(1, sizeof *volume->paths);
    volume->n_paths = 1;
    volume->paths[0] = (struct volume_path){
        .portal = xstrdup(PORTAL), .iqn = xstrdup(IQN), .lun = 1};
    return volume;
}

static void
replace(char **text, const char *other)
{
    free(*text);
    *text = xstrdup_null(other);
}

#define AUTO_VOLUME CLEANUP(volume_free_at) struct volume

/* The table. */

static void
test_unknown_type_has_novas_class(void **state UNUSED)
{
    AUTO_VOLUME *volume = volume_of("fake", GUEST);
    AUTO_ERROR error = volume_check(volume);
    AUTO_FREE text = error_text(error);

    assert_string_equal(error_class_name(error), "VolumeDriverNotFound");
    assert_string_equal(text, "Could not find a handler for fake volume.");
}

static void
assert_refused(struct volume *volume)
{
    AUTO_ERROR error = volume_check(volume);

    assert_int_equal(error_code(error), ERR_VALUE);
}

/* None of it may become an option of a program, or another path. */
static void
test_arguments_are_plain(void **state UNUSED)
{
    static const char *const shares[] = {"-o:/x", "192.0.2.9",  "a b:/c",  "",
                                         NULL,    "host:/a\nb", "$(id):/a"};
    static const char *const names[] = {"../etc", "a/b", "", "-f", NULL, ".."};
    static const char *const options[] = {"vers=4", "-o a b", "-o ;", "-t x"};
    static const char *const iqns[] = {"--login", "a b", "", NULL, "iqn/x"};
    static const char *const ids[] = {"", NULL, "../x", "a/b", "-x"};

    for (size_t i = 0; i < N_ELEMENTS(shares); i++) {
        AUTO_VOLUME *volume = nfs_volume(GUEST);
        replace(&volume->share, shares[i]);
        assert_refused(volume);
    }
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        AUTO_VOLUME *volume = nfs_volume(GUEST);
        replace(&volume->name, names[i]);
        assert_refused(volume);
    }
    for (size_t i = 0; i < N_ELEMENTS(options); i++) {
        AUTO_VOLUME *volume = nfs_volume(GUEST);
        replace(&volume->options, options[i]);
        assert_refused(volume);
    }
    for (size_t i = 0; i < N_ELEMENTS(iqns); i++) {
        AUTO_VOLUME *volume = iscsi_volume(GUEST);
        replace(&volume->paths[0].iqn, iqns[i]);
        assert_refused(volume);
    }
    for (size_t i = 0; i < N_ELEMENTS(ids); i++) {
        AUTO_VOLUME *volume = nfs_volume(GUEST);
        replace(&volume->id, ids[i]);
        assert_refused(volume);
    }
}

static void
test_copy_has_all_of_it(void **state UNUSED)
{
    AUTO_VOLUME *volume = iscsi_volume(GUEST);
    volume->hosts = xcalloc(1, sizeof *volume->hosts);
    volume->ports = xcalloc(1, sizeof *volume->ports);
    volume->hosts[0] = xstrdup("mon");
    volume->n_hosts = 1;
    AUTO_VOLUME *copy = volume_copy(volume);

    assert_string_equal(copy->paths[0].iqn, IQN);
    assert_string_equal(copy->hosts[0], "mon");
    assert_null(copy->ports[0]);
    assert_ptr_not_equal(copy->id, volume->id);
}

/* local */

static void
test_local_file_and_what_is_missing(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = volume_of("local", GUEST);
    struct volume_source source;

    host_recorder_put(recorder, "/srv/disk", "x");
    volume->device_path = xstrdup("/srv/disk");
    assert_null(volume_connect(&recorder->host, volume));
    assert_true(volume->is_file);
    assert_null(volume_describe(volume, &source));
    assert_string_equal(source.type, "file");
    assert_string_equal(source.path, "/srv/disk");

    assert_null(volume_disconnect(&recorder->host, volume));
    host_recorder_remove(recorder, "/srv/disk");
    AUTO_ERROR error = volume_connect(&recorder->host, volume);
    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_ran(recorder, "");
}

static void
test_local_path_that_leads_away_is_refused(void **state UNUSED)
{
    static const char *const paths[] = {
        "srv/disk", "/srv/../etc/shadow", "/srv/..", "", NULL, "/a\nb"};

    for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
        AUTO_VOLUME *volume = volume_of("local", GUEST);
        volume->device_path = xstrdup_null(paths[i]);
        assert_refused(volume);
    }
}

static void
test_local_device_is_a_block_device(void **state UNUSED)
{
    AUTO_VOLUME *volume = volume_of("local", GUEST);
    struct volume_source source;

    volume->device_path = xstrdup("/dev/vg/volume");
    assert_null(volume_describe(volume, &source));
    assert_string_equal(source.type, "block");
}

/* rbd */

static void
test_rbd_needs_no_connection(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = volume_of("rbd", GUEST);
    struct volume_source source;

    volume->name = xstrdup("volumes/volume-" VOLUME);
    assert_null(volume_connect(&recorder->host, volume));
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, "");
    assert_null(volume_describe(volume, &source));
    assert_string_equal(source.type, "network");
    assert_string_equal(source.protocol, "rbd");
    assert_string_equal(source.name, "volumes/volume-" VOLUME);
    assert_null(source.path);
}

/* nfs */

/* The kernel's list, as `mount` and `umount` change it; and the file. */
static int
mounting(struct host_recorder *recorder, const char *line,
         const char **ret_words UNUSED)
{
    const char *directory = strrchr(line, ' ') + 1;

    if (strncmp(line, "mount ", 6) == 0) {
        AUTO_FREE list =
            xasprintf("36 35 98:0 / %s rw,noatime - nfs x rw\n", directory);
        AUTO_FREE file = xasprintf("%s/volume-" VOLUME,
                                   directory + strlen(recorder->directory));
        host_recorder_put(recorder, "/proc/self/mountinfo", list);
        host_recorder_put(recorder, file, "");
    } else {
        AUTO_FREE file = xasprintf("%s/volume-" VOLUME,
                                   directory + strlen(recorder->directory));
        host_recorder_put(recorder, "/proc/self/mountinfo", "");
        host_recorder_remove(recorder, file);
    }
    return 0;
}

static char *
mount_point(struct host_recorder *recorder)
{
    char hash[33];

    host_hash("192.0.2.9:/export/cinder", hash);
    return xasprintf("%s/%s", recorder->mounts, hash);
}

static void
test_hash_is_md5(void **state UNUSED)
{
    char hash[33];

    host_hash("", hash);
    assert_string_equal(hash, "d41d8cd98f00b204e9800998ecf8427e");
}

static void
test_nfs_is_mounted_once_and_unmounted_once(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = nfs_volume(GUEST);
    AUTO_FREE directory = mount_point(recorder);
    AUTO_FREE path = xasprintf("%s/volume-" VOLUME, directory);
    AUTO_FREE mounted =
        xasprintf("mount -t nfs 192.0.2.9:/export/cinder %s\n", directory);
    AUTO_FREE unmounted = xasprintf("umount %s\n", directory);
    struct volume_source source;
    struct stat st;

    recorder->react = mounting;
    assert_null(volume_connect(&recorder->host, volume));
    assert_ran(recorder, mounted);
    assert_string_equal(volume->device_path, path);
    assert_null(volume_connect(&recorder->host, volume));
    assert_ran(recorder, "");
    assert_null(volume_describe(volume, &source));
    assert_string_equal(source.type, "file");
    assert_string_equal(source.path, path);

    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, unmounted);
    assert_int_equal(stat(directory, &st), -1);
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, "");
}

static void
test_nfs_stays_for_another_guest(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = nfs_volume(GUEST);
    AUTO_VOLUME *others = nfs_volume(OTHER_GUEST);

    recorder->react = mounting;
    assert_null(volume_connect(&recorder->host, volume));
    assert_null(volume_connect(&recorder->host, others));
    recorder->lines[0] = '\0';
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, ""); /* Twice by one is once. */
    assert_null(volume_disconnect(&recorder->host, others));
    assert_memory_equal(recorder->lines, "umount ", 7);
}

static void
test_nfs_options_of_host_and_volume(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = nfs_volume(GUEST);
    AUTO_FREE directory = mount_point(recorder);
    AUTO_FREE mounted = xasprintf("mount -t nfs -o lookupcache=pos,vers=4.1,ro "
                                  "192.0.2.9:/export/cinder %s\n",
                                  directory);

    recorder->react = mounting;
    recorder->host.nfs_mount_options = "lookupcache=pos";
    volume->options = xstrdup("-o vers=4.1,ro");
    assert_null(volume_connect(&recorder->host, volume));
    assert_ran(recorder, mounted);
}

static int
failing_mount(struct host_recorder *recorder UNUSED, const char *line UNUSED,
              const char **ret_words)
{
    *ret_words = "mount.nfs: access denied by server\n";
    return 32;
}

static void
test_nfs_that_can_not_be_mounted_leaves_nothing(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = nfs_volume(GUEST);
    AUTO_VOLUME *others = nfs_volume(OTHER_GUEST);
    AUTO_FREE directory = mount_point(recorder);
    struct stat st;

    recorder->react = failing_mount;
    AUTO_ERROR error = volume_connect(&recorder->host, volume);
    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error), "'mount' failed with code 32: "
                                                 "mount.nfs: access denied"));
    assert_int_equal(stat(directory, &st), -1);

    /* No claim either: the next one is the only one. */
    recorder->react = mounting;
    assert_null(volume_connect(&recorder->host, others));
    recorder->lines[0] = '\0';
    assert_null(volume_disconnect(&recorder->host, others));
    assert_memory_equal(recorder->lines, "umount ", 7);
}

static int
busy(struct host_recorder *recorder, const char *line, const char **ret_words)
{
    if (strncmp(line, "umount ", 7) == 0) {
        *ret_words = "umount: /x: target is busy.\n";
        return 32;
    }
    return mounting(recorder, line, ret_words);
}

static void
test_nfs_in_use_without_a_claim_stays(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = nfs_volume(GUEST);
    AUTO_FREE directory = mount_point(recorder);
    struct stat st;

    recorder->react = busy;
    assert_null(volume_connect(&recorder->host, volume));
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_return_code(stat(directory, &st), 0);
}

/* iscsi */

/* A target whose unit appears with the login. */
static int
target(struct host_recorder *recorder, const char *line, const char **ret_words)
{
    if (str_eq(line, NODE)) {
        *ret_words = "iscsiadm: No records found\n";
        return 21;
    }
    if (str_eq(line, NODE " --login")) {
        host_recorder_put(recorder, "/sys/block/sdx/device/delete", "");
        host_recorder_put(recorder, "/dev/sdx", "");
        host_recorder_link(recorder, LINK, "/dev/sdx");
    }
    return 0;
}

#define LOGGED_IN                                                           \
    NODE "\n" NODE " --interface default --op new\n" NODE " --login\n" NODE \
         " --op update -n node.startup -v automatic\n"
#define LOGGED_OUT                                                          \
    NODE " --op update -n node.startup -v manual\n" NODE " --logout\n" NODE \
         " --op delete\n"

static void
test_iscsi_logs_in_and_out(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);
    AUTO_FREE flushed = xasprintf(
        "blockdev --flushbufs %s/dev/sdx\n" LOGGED_OUT, recorder->directory);
    struct volume_source source;

    recorder->react = target;
    assert_null(volume_connect(&recorder->host, volume));
    assert_ran(recorder, LOGGED_IN);
    assert_string_equal(volume->device_path, LINK);
    assert_null(volume_describe(volume, &source));
    assert_string_equal(source.type, "block");
    assert_string_equal(source.path, LINK);

    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, flushed);
    AUTO_FREE deleted =
        host_recorder_text(recorder, "/sys/block/sdx/device/delete");
    assert_string_equal(deleted, "1");
}

static void
test_iscsi_password_is_set_before_the_login(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);

    recorder->react = target;
    recorder->host.iscsi_iface = "cxgb4i.0";
    volume->auth_method = xstrdup("CHAP");
    volume->auth_username = xstrdup("user");
    volume->auth_password = xstrdup("secret");
    assert_null(volume_connect(&recorder->host, volume));
    assert_ran(recorder, NODE
               "\n" NODE " --interface cxgb4i.0 --op new\n" NODE
               " --op update -n node.session.auth.authmethod -v CHAP\n" NODE
               " --op update -n node.session.auth.username -v user\n" NODE
               " --op update -n node.session.auth.password -v secret\n" NODE
               " --login\n" NODE " --op update -n node.startup -v automatic\n");
}

static int
late_target(struct host_recorder *recorder, const char *line,
            const char **ret_words)
{
    unsigned *n_rescans = recorder->aux;

    if (str_eq(line, NODE " --login")) {
        *ret_words = "iscsiadm: default: 1 session requested, but 1 already "
                     "present.\n";
        return 15;
    }
    if (str_eq(line, NODE " --rescan") && ++*n_rescans == 2) {
        host_recorder_put(recorder, "/dev/sdx", "");
        host_recorder_link(recorder, LINK, "/dev/sdx");
    }
    return 0;
}

static void
test_iscsi_unit_of_an_old_session_is_looked_for(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);
    unsigned n_rescans = 0;

    recorder->react = late_target;
    recorder->aux = &n_rescans;
    assert_null(volume_connect(&recorder->host, volume));
    assert_int_equal(n_rescans, 2);
    assert_int_equal(recorder->waited_s, 1);
}

static void
test_iscsi_unit_that_never_appears_leaves_nothing(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);
    AUTO_ERROR error = volume_connect(&recorder->host, volume);

    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error), "did not appear"));
    assert_int_equal(recorder->waited_s, 1 + 4 + 9);
    assert_null(volume->device_path);
    assert_non_null(strstr(recorder->lines, LOGGED_OUT));
}

static void
test_iscsi_unit_of_another_guest_stays(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);
    AUTO_VOLUME *others = iscsi_volume(OTHER_GUEST);

    recorder->react = target;
    assert_null(volume_connect(&recorder->host, volume));
    recorder->react = NULL; /* The session is there. */
    assert_null(volume_connect(&recorder->host, others));
    recorder->lines[0] = '\0';
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, "");
    assert_null(volume_disconnect(&recorder->host, others));
    assert_non_null(strstr(recorder->lines, " --logout\n"));
}

/* One that was there before the agent, which nobody claims. */
static void
test_iscsi_session_with_another_unit_stays(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);

    recorder->react = target;
    assert_null(volume_connect(&recorder->host, volume));
    host_recorder_put(recorder, LINK "0", ""); /* Unit 10. */
    recorder->lines[0] = '\0';
    assert_null(volume_disconnect(&recorder->host, volume));
    assert_null(strstr(recorder->lines, "logout"));
    assert_memory_equal(recorder->lines, "blockdev --flushbufs", 20);
}

static void
test_iscsi_that_is_not_connected_is_disconnected(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);

    assert_null(volume_disconnect(&recorder->host, volume));
    assert_ran(recorder, LOGGED_OUT);
}

static int
second_portal_only(struct host_recorder *recorder, const char *line,
                   const char **ret_words)
{
    if (strstr(line, PORTAL " --login")) {
        *ret_words = "iscsiadm: Could not login\n";
        return 8;
    }
    if (strstr(line, "192.0.2.2:3260 --login")) {
        host_recorder_put(
            recorder, "/dev/disk/by-path/ip-192.0.2.2:3260-iscsi-" IQN "-lun-1",
            "");
    }
    return 0;
}

static void
test_iscsi_takes_the_path_that_works(void **state)
{
    struct host_recorder *recorder = *state;
    AUTO_VOLUME *volume = iscsi_volume(GUEST);

    recorder->react = second_portal_only;
    volume->paths = xrealloc(volume->paths, 2 * sizeof *volume->paths);
    volume->paths[1] = (struct volume_path){
        .portal = xstrdup("192.0.2.2:3260"), .iqn = xstrdup(IQN), .lun = 1};
    volume->n_paths = 2;
    assert_null(volume_connect(&recorder->host, volume));
    assert_non_null(strstr(volume->device_path, "192.0.2.2:3260"));

    AUTO_VOLUME *single = iscsi_volume(GUEST);
    AUTO_ERROR error = volume_connect(&recorder->host, single);
    assert_non_null(strstr(error_message(error), "with code 8: iscsiadm: Could "
                                                 "not login"));
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_type_has_novas_class),
        TEST(test_arguments_are_plain),
        TEST(test_copy_has_all_of_it),
        TEST(test_local_file_and_what_is_missing),
        TEST(test_local_path_that_leads_away_is_refused),
        TEST(test_local_device_is_a_block_device),
        TEST(test_rbd_needs_no_connection),
        TEST(test_hash_is_md5),
        TEST(test_nfs_is_mounted_once_and_unmounted_once),
        TEST(test_nfs_stays_for_another_guest),
        TEST(test_nfs_options_of_host_and_volume),
        TEST(test_nfs_that_can_not_be_mounted_leaves_nothing),
        TEST(test_nfs_in_use_without_a_claim_stays),
        TEST(test_iscsi_logs_in_and_out),
        TEST(test_iscsi_password_is_set_before_the_login),
        TEST(test_iscsi_unit_of_an_old_session_is_looked_for),
        TEST(test_iscsi_unit_that_never_appears_leaves_nothing),
        TEST(test_iscsi_unit_of_another_guest_stays),
        TEST(test_iscsi_session_with_another_unit_stays),
        TEST(test_iscsi_that_is_not_connected_is_disconnected),
        TEST(test_iscsi_takes_the_path_that_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
