#include <config.h>

#include "agent/migrate/rules.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UUID "78eed080-ab35-4812-8c5f-f2737c33d874"
#define GIB (INT64_C(1) << 30)

/* Flags. */

struct flag_row {
    struct migrate_rules_options options;
    bool block;
    size_t n_disks;
    const char *vm_state;
    unsigned flags;
};

static const struct flag_row flag_rows[] = {
    {{0}, false, 1, "active", 0},
    {{0}, true, 1, "active", MIGRATE_BLOCK},
    {{0}, true, 0, "active", 0}, /* Nothing to copy. */
    {{.tunnelled = true}, true, 2, "active", MIGRATE_BLOCK | MIGRATE_TUNNELLED},
    {{.native_tls = true}, false, 0, "active", MIGRATE_TLS},
    {{.permit_post_copy = true}, false, 0, "active", MIGRATE_POSTCOPY},
    {{.permit_post_copy = true}, false, 0, "paused", 0},
    {{.permit_auto_converge = true}, false, 0, "active", MIGRATE_AUTO_CONVERGE},
    /* With a policy only as it says. */
    {{.permit_auto_converge = true, .has_policy = true}, false, 0, "active", 0},
    {{.permit_auto_converge = true, .has_policy = true, .throttles = true},
     false,
     0,
     "active",
     MIGRATE_THROTTLE},
    {{.permit_auto_converge = true, .has_policy = true, .throttles = true},
     false,
     0,
     "paused",
     0},
    {{.has_policy = true, .throttles = true}, false, 0, "active", 0},
    {{.permit_post_copy = true,
      .permit_auto_converge = true,
      .has_policy = true,
      .throttles = true},
     false,
     0,
     "active",
     MIGRATE_POSTCOPY | MIGRATE_THROTTLE},
    {{.permit_auto_converge = true}, false, 0, "paused", MIGRATE_AUTO_CONVERGE},
    {{.permit_post_copy = true, .permit_auto_converge = true},
     false,
     0,
     "active",
     MIGRATE_POSTCOPY},
    {{.permit_post_copy = true, .permit_auto_converge = true},
     true,
     1,
     "paused",
     MIGRATE_BLOCK},
    {{.native_tls = true, .permit_post_copy = true},
     true,
     1,
     NULL,
     MIGRATE_BLOCK | MIGRATE_TLS | MIGRATE_POSTCOPY},
};

static void
test_flags_follow_options_and_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(flag_rows); i++) {
        const struct flag_row *row = &flag_rows[i];
        unsigned flags = migrate_rules_flags(&row->options, row->block,
                                             row->n_disks, row->vm_state);

        if (flags != row->flags) {
            fail_msg("row %zu: %#x, not %#x", i, flags, row->flags);
        }
    }
}

static void
test_several_connections_only_where_libvirt_has_them(void **state)
{
    (void)state;
    assert_int_equal(migrate_rules_n_parallel(1, 0), 0);
    assert_int_equal(migrate_rules_n_parallel(4, MIGRATE_BLOCK), 4);
    assert_int_equal(migrate_rules_n_parallel(4, MIGRATE_POSTCOPY), 0);
    assert_int_equal(migrate_rules_n_parallel(4, MIGRATE_TUNNELLED), 0);
}

/* Disks. */

/* A string that may be written to. */
#define TEXT(S) ((char[]){S})

static struct guest_disk disks[] = {
    {.target = TEXT("vda"),
     .device = TEXT("disk"),
     .path = TEXT("/i/disk"),
     .format = TEXT("qcow2"),
     .virtual_size = 10 * GIB,
     .allocated_size = 2 * GIB},
    {.target = TEXT("vdb"),
     .device = TEXT("disk"),
     .format = TEXT("raw"),
     .virtual_size = 99 * GIB,
     .allocated_size = 99 * GIB}, /* network */
    {.target = TEXT("sda"),
     .device = TEXT("cdrom"),
     .path = TEXT("/i/cd"),
     .format = TEXT("raw"),
     .virtual_size = GIB,
     .allocated_size = GIB},
    {.target = TEXT("vdc"),
     .device = TEXT("disk"),
     .path = TEXT("/i/ro"),
     .format = TEXT("raw"),
     .readonly = true,
     .virtual_size = GIB,
     .allocated_size = GIB},
    {.target = TEXT("vdd"),
     .device = TEXT("disk"),
     .path = TEXT("/i/both"),
     .format = TEXT("raw"),
     .shareable = true,
     .virtual_size = GIB,
     .allocated_size = GIB},
    {.target = TEXT("vde"),
     .device = TEXT("disk"),
     .path = TEXT("/dev/vg/lv"),
     .format = TEXT("raw"),
     .is_block_device = true,
     .virtual_size = 4 * GIB,
     .allocated_size = 4 * GIB},
};

static struct guest
guest_with_disks(void)
{
    static char uuid[] = UUID;

    return (struct guest){
        .uuid = uuid, .disks = disks, .n_disks = N_ELEMENTS(disks)};
}

static void
test_local_writable_disks_are_copied(void **state)
{
    (void)state;
    struct guest guest = guest_with_disks();
    size_t n = 99;
    char **targets = migrate_rules_disks(&guest, &n);

    assert_int_equal(n, 2);
    assert_string_equal(targets[0], "vda");
    assert_string_equal(targets[1], "vde");
    free(targets[0]);
    free(targets[1]);
    free(targets);
}

static void
test_a_guest_without_disks_has_none_to_copy(void **state)
{
    (void)state;
    struct guest guest = {.n_disks = 0};
    size_t n = 99;

    assert_null(migrate_rules_disks(&guest, &n));
    assert_int_equal(n, 0);
}

/* Storage. */

struct storage_row {
    const char *name;
    struct migrate_storage storage;
    bool is_shared_block_storage, block_migration;
    enum error_code code;
};

#define LOCAL .image_type = "qcow2", .dest_image_type = "qcow2", .n_disks = 1

static const struct storage_row storage_rows[] = {
    {"local, auto", {LOCAL}, false, true, ERR_NONE},
    {"local, yes", {LOCAL, .block = MIGRATE_BLOCK_YES}, false, true, ERR_NONE},
    {"local, no",
     {LOCAL, .block = MIGRATE_BLOCK_NO},
     .code = ERR_INVALID_SHARED_STORAGE},
    {"nfs, auto",
     {LOCAL, .is_shared_instance_path = true},
     true,
     false,
     ERR_NONE},
    {"nfs, no",
     {LOCAL, .is_shared_instance_path = true, .block = MIGRATE_BLOCK_NO},
     true,
     false,
     ERR_NONE},
    {"nfs, yes",
     {LOCAL, .is_shared_instance_path = true, .block = MIGRATE_BLOCK_YES},
     .code = ERR_INVALID_LOCAL_STORAGE},
    {"nfs, raw, auto",
     {.image_type = "raw",
      .dest_image_type = "raw",
      .is_shared_instance_path = true,
      .n_disks = 1},
     true,
     false,
     ERR_NONE},
    {"nfs, default, auto",
     {.image_type = "default",
      .dest_image_type = "default",
      .is_shared_instance_path = true,
      .n_disks = 1},
     true,
     false,
     ERR_NONE},
    {"nfs path, lvm images, auto",
     {.image_type = "lvm",
      .dest_image_type = "lvm",
      .is_shared_instance_path = true,
      .n_disks = 1},
     false,
     false,
     ERR_NONE},
    {"rbd, auto",
     {.image_type = "rbd", .dest_image_type = "rbd", .n_disks = 1},
     true,
     false,
     ERR_NONE},
    {"rbd, yes",
     {.image_type = "rbd",
      .dest_image_type = "rbd",
      .n_disks = 1,
      .block = MIGRATE_BLOCK_YES},
     .code = ERR_INVALID_LOCAL_STORAGE},
    {"rbd here only, auto",
     {.image_type = "rbd", .dest_image_type = "qcow2", .n_disks = 1},
     false,
     true,
     ERR_NONE},
    {"rbd, destination silent",
     {.image_type = "rbd", .n_disks = 1},
     false,
     true,
     ERR_NONE},
    {"volume only, auto",
     {.image_type = "qcow2",
      .dest_image_type = "qcow2",
      .is_volume_backed = true,
      .has_volumes = true},
     true,
     false,
     ERR_NONE},
    {"volume only, no",
     {.image_type = "qcow2",
      .dest_image_type = "qcow2",
      .is_volume_backed = true,
      .has_volumes = true,
      .block = MIGRATE_BLOCK_NO},
     true,
     false,
     ERR_NONE},
    {"volume with ephemeral, auto",
     {LOCAL, .is_volume_backed = true, .has_volumes = true},
     false,
     true,
     ERR_NONE},
    {"volume with ephemeral, no",
     {LOCAL, .is_volume_backed = true, .has_volumes = true,
      .block = MIGRATE_BLOCK_NO},
     .code = ERR_INVALID_SHARED_STORAGE},
    {"tunnelled, volumes",
     {LOCAL, .has_volumes = true, .tunnelled = true},
     .code = ERR_MIGRATION_PRE_CHECK},
    {"tunnelled, no volumes",
     {LOCAL, .tunnelled = true},
     false,
     true,
     ERR_NONE},
    {"tunnelled, volumes, shared",
     {LOCAL, .has_volumes = true, .tunnelled = true,
      .is_shared_instance_path = true},
     true,
     false,
     ERR_NONE},
};

static void
test_storage_decides_what_is_copied(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(storage_rows); i++) {
        const struct storage_row *row = &storage_rows[i];
        struct migrate_storage storage = row->storage;
        struct migrate_storage_answer answer = {false, false};

        storage.host = "cmp-03";
        storage.uuid = UUID;
        AUTO_ERROR error = migrate_rules_storage(&storage, &answer);
        if (error_code(error) != row->code ||
            answer.is_shared_block_storage != row->is_shared_block_storage ||
            answer.block_migration != row->block_migration) {
            fail_msg("%s: %s, %d, %d", row->name, error_message(error),
                     answer.is_shared_block_storage, answer.block_migration);
        }
    }
}

/* Whose volumes both hosts reach; there is nothing to copy. */
static void
test_03_volumes_are_not_copied(void **state)
{
    (void)state;
    struct migrate_storage storage = {.image_type = "qcow2",
                                      .dest_image_type = "qcow2",
                                      .is_volume_backed = true,
                                      .has_volumes = true};
    struct migrate_storage_answer answer = {false, true};

    assert_null(migrate_rules_storage(&storage, &answer));
    assert_false(answer.block_migration);
    assert_true(answer.is_shared_block_storage);
}

static void
assert_storage_error(const struct migrate_storage *storage, const char *reason,
                     const char *text)
{
    struct migrate_storage_answer answer;
    AUTO_ERROR error = migrate_rules_storage(storage, &answer);
    AUTO_FREE real = error_text(error);

    assert_string_equal(error_arg(error, "path"), storage->host);
    assert_string_equal(error_arg(error, "reason"), reason);
    assert_string_equal(real, text);
}

static void
test_storage_errors_have_novas_texts(void **state)
{
    (void)state;
    struct migrate_storage storage = {.host = "cmp-03",
                                      .uuid = UUID,
                                      .image_type = "qcow2",
                                      .dest_image_type = "qcow2",
                                      .n_disks = 1,
                                      .block = MIGRATE_BLOCK_NO};

    assert_storage_error(
        &storage,
        "Shared storage live-migration requires either shared storage or "
        "boot-from-volume with no local disks.",
        "cmp-03 is not on shared storage: Shared storage live-migration "
        "requires either shared storage or boot-from-volume with no local "
        "disks.");
    storage.block = MIGRATE_BLOCK_YES;
    storage.is_shared_instance_path = true;
    assert_storage_error(
        &storage, "Block migration can not be used with shared storage.",
        "cmp-03 is not on local storage: Block migration can not be used with "
        "shared storage.");
}

/* Space. */

static void
test_available_disk_is_what_may_be_promised(void **state)
{
    (void)state;
    const struct host_info host = {.disk_free_gb = 100,
                                   .disk_available_least_gb = -5};

    assert_int_equal(migrate_rules_disk_available_mb(&host, true, 512),
                     100 * 1024 - 512);
    assert_int_equal(migrate_rules_disk_available_mb(&host, false, 512),
                     -5 * 1024 - 512);
}

static void
test_over_commit_needs_what_is_allocated(void **state)
{
    (void)state;
    struct guest guest = guest_with_disks();

    assert_true(migrate_rules_disk_need(&guest, true) == 6 * GIB);
    assert_true(migrate_rules_disk_need(&guest, false) == 14 * GIB);
}

static void
test_sizes_do_not_overflow(void **state)
{
    (void)state;
    static char path[] = "/i/disk";
    struct guest_disk huge[] = {
        {.path = path, .virtual_size = INT64_MAX, .allocated_size = -1},
        {.path = path, .virtual_size = INT64_MAX, .allocated_size = -1}};
    struct guest guest = {.disks = huge, .n_disks = 2};

    assert_true(migrate_rules_disk_need(&guest, false) == INT64_MAX);
    assert_true(migrate_rules_disk_need(&guest, true) == 0);
    assert_null(migrate_rules_check_disk(UUID, INT64_MAX, INT64_MAX));
}

static void
test_a_disk_that_does_not_fit_is_refused_with_both_numbers(void **state)
{
    (void)state;
    assert_null(migrate_rules_check_disk(UUID, 1024, GIB));
    assert_null(migrate_rules_check_disk(UUID, -7, 0));

    AUTO_ERROR error = migrate_rules_check_disk(UUID, 1024, GIB + 1);
    AUTO_FREE text = error_text(error);
    assert_int_equal(error_code(error), ERR_MIGRATION_PRE_CHECK);
    assert_string_equal(
        text, "Migration pre-check error: Unable to migrate " UUID
              ": Disk of instance is too large(available on destination "
              "host:1073741824 < need:1073741825)");

    AUTO_ERROR none = migrate_rules_check_disk(UUID, -7, 1);
    assert_non_null(strstr(error_message(none), "host:0 < need:1)"));
}

/* Devices. */

static void
test_devices_of_the_host_stay(void **state)
{
    (void)state;
    static const char *const words[GUEST_N_TIES] = {
        "hostdev", "vDPA",      "vhostuser", "virtiofs",
        "shmem",   "nvdimm",    "the TPM",   "evdev",
        "a port",  "smartcard", "accel3d",   "launchSecurity",
    };
    static char uuid[] = UUID;
    struct guest guest = {.uuid = uuid, .has_nvram = true, .n_serial_tcp = 1};

    assert_null(migrate_rules_check_devices(&guest));
    for (unsigned i = 0; i < GUEST_N_TIES; i++) {
        guest.ties = 1u << i;
        AUTO_ERROR error = migrate_rules_check_devices(&guest);
        assert_int_equal(error_code(error), ERR_MIGRATION_PRE_CHECK);
        if (!strstr(error_message(error), words[i])) {
            fail_msg("%s: no word of %s", error_message(error), words[i]);
        }
    }
    guest.ties = GUEST_TIE_SHMEM | GUEST_TIE_TPM;
    AUTO_ERROR both = migrate_rules_check_devices(&guest);
    assert_string_equal(error_message(both),
                        "instance " UUID " has memory that it shares with "
                        "others there (shmem), and the TPM of its host (tpm, "
                        "passthrough), which can't move; detach it first");
}

static void
test_guest_at_rest_has_no_state_elsewhere(void **state)
{
    (void)state;
    struct guest guest = {.uuid = (char[]){"u"}, .presence = GUEST_OFF};

    assert_null(migrate_rules_check_rest_devices(&guest));
    guest.has_tpm_state = true;
    AUTO_ERROR error = migrate_rules_check_rest_devices(&guest);
    assert_int_equal(error_code(error), ERR_MIGRATION_PRE_CHECK);
    assert_non_null(strstr(error_message(error), "emulated TPM"));
    assert_null(migrate_rules_check_devices(&guest));
    guest.ties = GUEST_TIE_HOSTDEV;
    AUTO_ERROR tied = migrate_rules_check_rest_devices(&guest);
    assert_non_null(strstr(error_message(tied), "hostdev"));
}

static void
test_cold_guest_is_off_and_not_saved(void **state)
{
    (void)state;
    struct guest guest = {.uuid = (char[]){"u"}, .presence = GUEST_OFF};

    assert_null(migrate_rules_check_off(&guest));
    guest.is_saved = true;
    AUTO_ERROR saved = migrate_rules_check_off(&guest);
    assert_non_null(strstr(error_message(saved), "memory saved"));
    guest.is_saved = false;
    guest.presence = GUEST_ACTIVE;
    AUTO_ERROR active = migrate_rules_check_off(&guest);
    assert_non_null(strstr(error_message(active), "not shut off"));
}

static void
test_snapshots_stay(void **state)
{
    (void)state;
    static char uuid[] = UUID;
    struct guest guest = {.uuid = uuid};

    assert_null(migrate_rules_check_snapshots(&guest));
    guest.n_snapshots = 2;
    AUTO_ERROR error = migrate_rules_check_snapshots(&guest);
    assert_int_equal(error_code(error), ERR_MIGRATION_PRE_CHECK);
    assert_non_null(strstr(error_message(error), "2 snapshots"));
}

static void
test_what_is_not_copied_has_to_be_there(void **state)
{
    (void)state;
    const struct guest_disk *cd = &disks[2];
    struct guest_disk config = disks[2];
    config.path = TEXT("/i/x/disk.config");

    assert_false(migrate_rules_is_medium(&disks[0])); /* Copied. */
    assert_false(migrate_rules_is_medium(&disks[1])); /* No file. */
    assert_true(migrate_rules_is_medium(cd));
    assert_true(migrate_rules_is_medium(&disks[3])); /* Read-only. */
    assert_true(migrate_rules_is_medium(&disks[4])); /* Shareable. */
    assert_true(migrate_rules_is_config_drive(&config));
    assert_false(migrate_rules_is_config_drive(cd));
    assert_false(migrate_rules_is_config_drive(&disks[1]));

    AUTO_ERROR cause = error_new(ERR_INVALID, "not in that place");
    assert_null(migrate_rules_check_medium(UUID, cd, "cmp-02", true, NULL));
    AUTO_ERROR missing =
        migrate_rules_check_medium(UUID, cd, "cmp-02", false, NULL);
    AUTO_ERROR no_config =
        migrate_rules_check_medium(UUID, &config, "cmp-02", false, NULL);
    AUTO_ERROR unseen =
        migrate_rules_check_medium(UUID, cd, "cmp-02", false, cause);
    assert_int_equal(error_code(missing), ERR_MIGRATION_PRE_CHECK);
    assert_string_equal(error_message(missing),
                        "instance " UUID " reads '/i/cd' (cdrom 'sda'), which "
                        "is not copied and not on host cmp-02; eject it, or "
                        "put it there");
    assert_int_equal(error_code(no_config), ERR_MIGRATION_PRE_CHECK);
    assert_non_null(strstr(error_message(no_config), "vfat"));
    assert_int_equal(error_code(unseen), ERR_MIGRATION_PRE_CHECK);
    assert_non_null(strstr(error_message(unseen), "not in that place"));
}

static void
test_serial_consoles_are_served_at_both_or_at_none(void **state)
{
    (void)state;
    assert_null(migrate_rules_check_serial(false, NULL));
    assert_null(migrate_rules_check_serial(false, "10.0.0.2"));
    assert_null(migrate_rules_check_serial(true, "10.0.0.2"));
    AUTO_ERROR error = migrate_rules_check_serial(true, NULL);
    assert_int_equal(error_code(error), ERR_MIGRATION_PRE_CHECK);
}

/* Destinations. */

static const struct migrate_demand demand = {
    .uuid = UUID,
    .source = "cmp-01",
    .memory_mb = 2048,
    .hypervisor_type = "QEMU",
    .hypervisor_version = 7002000,
};

static struct migrate_candidate
candidate(const char *host, int64_t memory_free_mb)
{
    return (struct migrate_candidate){
        .host = host,
        .up = true,
        .memory_free_mb = memory_free_mb,
        .hypervisor_type = "QEMU",
        .hypervisor_version = 7002000,
    };
}

static enum error_code
check(struct migrate_candidate c, const struct migrate_demand *d)
{
    AUTO_ERROR error = migrate_rules_check_candidate(&c, d);

    return error_code(error);
}

static void
test_a_destination_must_be_able_to(void **state)
{
    (void)state;
    struct migrate_candidate c = candidate("cmp-02", 4096);
    struct migrate_demand skip = demand;

    skip.skip_version_check = true;
    assert_int_equal(check(c, &demand), ERR_NONE);

    c.memory_free_mb = 2049;
    assert_int_equal(check(c, &demand), ERR_NONE);
    c.memory_free_mb = 2048;
    assert_int_equal(check(c, &demand), ERR_MIGRATION_PRE_CHECK);

    c = candidate("cmp-02", 4096);
    c.hypervisor_version = 8000000;
    assert_int_equal(check(c, &demand), ERR_NONE);
    c.hypervisor_version = 7001999;
    assert_int_equal(check(c, &demand), ERR_DESTINATION_HYPERVISOR_TOO_OLD);
    assert_int_equal(check(c, &skip), ERR_NONE);

    c = candidate("cmp-02", 4096);
    c.hypervisor_type = "LXC";
    assert_int_equal(check(c, &skip), ERR_MIGRATION_PRE_CHECK);
    c.hypervisor_type = NULL;
    assert_int_equal(check(c, &skip), ERR_MIGRATION_PRE_CHECK);

    c = candidate("cmp-02", 4096);
    c.up = false;
    assert_int_equal(check(c, &demand), ERR_MIGRATION_PRE_CHECK);

    assert_int_equal(check(candidate("cmp-01", 4096), &demand),
                     ERR_UNABLE_TO_MIGRATE_TO_SELF);
}

/* What some guests need, one row a rule. */

struct need_row {
    enum check_rule rule;
    struct migrate_demand needs;
    struct migrate_candidate has;
    const char *reason; /* A part of it; null: passed. */
};

static const struct host_hugepages some_pages[] = {{2048, 1024}, {1048576, 1}};
static const char *const firmware[] = {"/a.fd", "/b.fd"};
#define PAGES .hugepages = some_pages, .n_hugepages = 2
#define FIRMWARE .loaders = firmware, .n_loaders = 2

static const struct need_row need_rows[] = {
    {CHECK_RULE_HUGEPAGES, {.hugepage_kib = 0}, {PAGES}, "uses no huge pages"},
    {CHECK_RULE_HUGEPAGES, {.hugepage_kib = 2048}, {PAGES}, NULL},
    {CHECK_RULE_HUGEPAGES, {.hugepage_kib = -1}, {PAGES}, NULL},
    {CHECK_RULE_HUGEPAGES,
     {.hugepage_kib = 1048576},
     {PAGES},
     "has 1 free huge pages of 1048576 KiB, and instance " UUID " needs 2"},
    {CHECK_RULE_HUGEPAGES,
     {.hugepage_kib = 64},
     {PAGES},
     "has no huge pages of 64 KiB"},
    {CHECK_RULE_HUGEPAGES,
     {.hugepage_kib = -1},
     {.n_hugepages = 0},
     "has no huge pages"},
    {CHECK_RULE_MEMORY, {.hugepage_kib = 2048}, {PAGES}, "made of huge pages"},
    {CHECK_RULE_CPU_PINS, {.n_pinned_cpus = 0}, {.n_cpus = 2}, "pinned to no"},
    {CHECK_RULE_CPU_PINS, {.n_pinned_cpus = 8}, {.n_cpus = 8}, NULL},
    {CHECK_RULE_CPU_PINS, {.n_pinned_cpus = 8}, {.n_cpus = 0}, "is not known"},
    {CHECK_RULE_CPU_PINS,
     {.n_pinned_cpus = 9},
     {.n_cpus = 8},
     "is pinned to CPU 8, and host cmp-02 has 8"},
    {CHECK_RULE_NUMA_NODES,
     {.n_bound_nodes = 0},
     {.n_nodes = 1},
     "bound to no"},
    {CHECK_RULE_NUMA_NODES, {.n_bound_nodes = 1}, {.n_nodes = 1}, NULL},
    {CHECK_RULE_NUMA_NODES, {.n_bound_nodes = 1}, {.n_nodes = 0}, "not known"},
    {CHECK_RULE_NUMA_NODES,
     {.n_bound_nodes = 2},
     {.n_nodes = 1},
     "is bound to NUMA node 1, and host cmp-02 has 1"},
    {CHECK_RULE_FIRMWARE, {.loader = NULL}, {FIRMWARE}, "comes with"},
    {CHECK_RULE_FIRMWARE, {.loader = "/b.fd"}, {FIRMWARE}, NULL},
    {CHECK_RULE_FIRMWARE, {.loader = "/b.fd"}, {.n_loaders = 0}, "not known"},
    {CHECK_RULE_FIRMWARE,
     {.loader = "/c.fd"},
     {FIRMWARE},
     "'/c.fd' of instance " UUID " is not installed on host cmp-02"},
};

/* The outcome of one rule in a report; the reason is borrowed from 'json'. */
static const char *
outcome_of(const struct json *json, enum check_rule rule,
           const char **ret_reason)
{
    const struct json *line = json_at(json, rule);

    *ret_reason = json_string_of(line, "reason");
    return json_string_of(line, "outcome");
}

static void
test_special_needs_are_met_or_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(need_rows); i++) {
        const struct need_row *row = &need_rows[i];
        struct migrate_demand needs = row->needs;
        struct migrate_candidate has = row->has;
        CLEANUP(check_report_free_at)
        struct check_report *report = check_report_create();
        const char *reason;

        needs.uuid = UUID;
        needs.source = "cmp-01";
        needs.memory_mb = 2048;
        needs.hypervisor_type = has.hypervisor_type = "QEMU";
        has.host = "cmp-02";
        has.up = true;
        has.memory_free_mb = 4096;
        migrate_rules_check_host(&has, &needs, report);
        AUTO_JSON json = check_report_rules(report);
        const char *outcome = outcome_of(json, row->rule, &reason);
        if (row->reason ? !reason || !strstr(reason, row->reason)
                        : !str_eq(outcome, "passed")) {
            fail_msg("row %zu: %s, %s", i, outcome, reason ? reason : "-");
        }
    }
}

static void
test_all_that_is_wrong_with_a_host_is_said(void **state)
{
    (void)state;
    struct migrate_candidate c = candidate("cmp-02", 100);
    CLEANUP(check_report_free_at)
    struct check_report *report = check_report_create();

    c.hypervisor_version = 1;
    migrate_rules_check_host(&c, &demand, report);
    assert_true(check_report_is_broken(report, CHECK_RULE_HYPERVISOR_VERSION));
    assert_true(check_report_is_broken(report, CHECK_RULE_MEMORY));
    assert_false(check_report_is_broken(report, CHECK_RULE_HYPERVISOR_TYPE));
    assert_int_equal(error_code(check_report_error(report)),
                     ERR_DESTINATION_HYPERVISOR_TOO_OLD);
}

static void
test_lack_of_memory_names_both_numbers(void **state)
{
    (void)state;
    struct migrate_candidate c = candidate("cmp-02", 100);
    AUTO_ERROR error = migrate_rules_check_candidate(&c, &demand);

    assert_string_equal(error_message(error),
                        "Unable to migrate " UUID " to cmp-02: Lack of "
                        "memory(host:100 <= instance:2048)");
}

static void
test_the_source_is_named_when_it_is_asked_for(void **state)
{
    (void)state;
    struct migrate_candidate c = candidate("cmp-01", 4096);
    AUTO_ERROR error = migrate_rules_check_candidate(&c, &demand);
    AUTO_FREE text = error_text(error);

    assert_string_equal(text, "Unable to migrate instance (" UUID
                              ") to current host (cmp-01).");
}

static void
test_the_roomiest_host_is_chosen(void **state)
{
    (void)state;
    struct migrate_candidate hosts[] = {
        candidate("cmp-01", 99999), /* The source. */
        candidate("cmp-05", 8192), candidate("cmp-04", 8192),
        candidate("cmp-02", 4096), candidate("cmp-03", 65536)};
    size_t chosen = 99;

    hosts[4].up = false;
    AUTO_ERROR error = migrate_rules_choose_destination(
        hosts, N_ELEMENTS(hosts), &demand, &chosen);
    assert_null(error);
    assert_string_equal(hosts[chosen].host, "cmp-04");
}

static void
test_no_host_is_explained(void **state)
{
    (void)state;
    struct migrate_candidate hosts[] = {candidate("cmp-01", 99999),
                                        candidate("cmp-02", 1),
                                        candidate("cmp-03", 65536)};
    size_t chosen = 99;

    hosts[2].up = false;
    AUTO_ERROR error = migrate_rules_choose_destination(
        hosts, N_ELEMENTS(hosts), &demand, &chosen);
    AUTO_FREE text = error_text(error);
    assert_int_equal(error_code(error), ERR_NO_VALID_HOST);
    assert_string_equal(text, "No valid host was found. Unable to migrate " UUID
                              " to cmp-02: Lack of memory(host:1 <= "
                              "instance:2048); host cmp-03 does not answer");
    assert_int_equal(chosen, 99);

    AUTO_ERROR alone =
        migrate_rules_choose_destination(hosts, 1, &demand, &chosen);
    assert_string_equal(error_message(alone), "no other host is known");
    AUTO_ERROR nobody =
        migrate_rules_choose_destination(NULL, 0, &demand, &chosen);
    assert_int_equal(error_code(nobody), ERR_NO_VALID_HOST);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_follow_options_and_state),
        cmocka_unit_test(test_several_connections_only_where_libvirt_has_them),
        cmocka_unit_test(test_local_writable_disks_are_copied),
        cmocka_unit_test(test_a_guest_without_disks_has_none_to_copy),
        cmocka_unit_test(test_storage_decides_what_is_copied),
        cmocka_unit_test(test_03_volumes_are_not_copied),
        cmocka_unit_test(test_storage_errors_have_novas_texts),
        cmocka_unit_test(test_available_disk_is_what_may_be_promised),
        cmocka_unit_test(test_over_commit_needs_what_is_allocated),
        cmocka_unit_test(test_sizes_do_not_overflow),
        cmocka_unit_test(
            test_a_disk_that_does_not_fit_is_refused_with_both_numbers),
        cmocka_unit_test(test_devices_of_the_host_stay),
        cmocka_unit_test(test_guest_at_rest_has_no_state_elsewhere),
        cmocka_unit_test(test_cold_guest_is_off_and_not_saved),
        cmocka_unit_test(test_snapshots_stay),
        cmocka_unit_test(test_what_is_not_copied_has_to_be_there),
        cmocka_unit_test(test_serial_consoles_are_served_at_both_or_at_none),
        cmocka_unit_test(test_special_needs_are_met_or_not),
        cmocka_unit_test(test_all_that_is_wrong_with_a_host_is_said),
        cmocka_unit_test(test_a_destination_must_be_able_to),
        cmocka_unit_test(test_lack_of_memory_names_both_numbers),
        cmocka_unit_test(test_the_source_is_named_when_it_is_asked_for),
        cmocka_unit_test(test_the_roomiest_host_is_chosen),
        cmocka_unit_test(test_no_host_is_explained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
