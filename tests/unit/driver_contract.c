#include <config.h>

#include "tests/unit/driver_contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/driver_harness.h"

#define NOBODY "00000000-dead-4bee-8000-000000000000"

/* Slots of the harness. */
enum { HERE, THERE };

static const struct driver_contract *contract;

struct fixture {
    struct harness *h;
    struct driver *here, *there; /* 'there' may be null. */
    char uuid[40];
    char *directory; /* Below instances_path, not there yet. */
    char *disk_path;
    char *image; /* No other test's, nor run's. */
};

/* Requests. */

static struct prepare_request *
prepare_create(const char *uuid, const char *directory)
{
    struct prepare_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(uuid);
    request->directory = xstrdup_null(directory);
    return request;
}

static void
prepare_add(struct prepare_request *request, const char *path,
            const char *format, int64_t size)
{
    request->disks = xrealloc(request->disks,
                              (request->n_disks + 1) * sizeof *request->disks);
    request->disks[request->n_disks++] = (struct prepare_disk){
        .path = xstrdup(path),
        .format = xstrdup(format),
        .virtual_size = size,
    };
}

/* The disks of a guest that a destination has to make. */
static struct prepare_request *
prepare_for(const struct guest *guest)
{
    struct prepare_request *request = prepare_create(guest->uuid, NULL);

    for (size_t i = 0; i < guest->n_disks; i++) {
        const struct guest_disk *disk = &guest->disks[i];

        if (disk->path && !disk->readonly && !disk->shareable) {
            if (!request->directory && strstr(disk->path, guest->uuid)) {
                request->directory =
                    xstrndup(disk->path,
                             (size_t)(strrchr(disk->path, '/') - disk->path));
            }
            prepare_add(request, disk->path, disk->format, disk->virtual_size);
        }
    }
    return request;
}

static struct migrate_request *
migrate_create(const struct guest *guest, const char *uri)
{
    struct migrate_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(guest->uuid);
    request->dest_uri = xstrdup(uri);
    request->disks = xcalloc(guest->n_disks, sizeof *request->disks);
    for (size_t i = 0; contract->copies_disks && i < guest->n_disks; i++) {
        const struct guest_disk *disk = &guest->disks[i];

        if (disk->path && !disk->readonly && !disk->shareable) {
            request->flags |= MIGRATE_BLOCK;
            request->disks[request->n_disks++] = xstrdup(disk->target);
        }
    }
    return request;
}

static void
first_guest(struct fixture *f)
{
    struct result r = {0};

    if (contract->uuid) {
        strncpy(f->uuid, contract->uuid, sizeof f->uuid - 1);
        return;
    }
    AWAIT_OK(f->h, r, driver_guest_list(f->here, on_list, &r));
    for (size_t i = 0; i < r.list->n && !*f->uuid; i++) {
        if (r.list->guests[i]->presence == GUEST_ACTIVE) {
            strncpy(f->uuid, r.list->guests[i]->uuid, sizeof f->uuid - 1);
        }
    }
    result_clear(&r);
    if (!*f->uuid) {
        fail_msg("there is no guest to test with");
    }
}

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);
    AUTO_ERROR error = NULL;

    f->h = harness_create();
    error = harness_load(f->h, HERE, contract->directory, contract->name,
                         &contract->options);
    if (!error && contract->peer_options.host) {
        error = harness_load(f->h, THERE, contract->directory, contract->name,
                             &contract->peer_options);
    }
    if (error) {
        print_error("%s\n", error_message(error));
        return 1;
    }
    f->here = f->h->drivers[HERE];
    f->there = f->h->drivers[THERE];
    harness_wait_event(f->h, HERE, DRIVER_EVENT_CONNECTED, NULL, 1);
    if (f->there) {
        harness_wait_event(f->h, THERE, DRIVER_EVENT_CONNECTED, NULL, 1);
    }
    if (contract->has_guest) {
        first_guest(f);
    }
    f->directory = xasprintf("%s/contract-%ld",
                             contract->options.instances_path, (long)getpid());
    f->disk_path = xasprintf("%s/disk", f->directory);
    f->image = driver_contract_image();
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    harness_free(f->h);
    free(f->directory);
    free(f->disk_path);
    free(f->image);
    free(f);
    return 0;
}

/* The host. */

static void
test_host_is_described(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    assert_true(driver_is_connected(f->here));
    AWAIT_OK(f->h, r, driver_host_get(f->here, on_host, &r));
    assert_true(r.host->hostname && *r.host->hostname);
    assert_true(r.host->hypervisor_type && *r.host->hypervisor_type);
    assert_true(r.host->arch && *r.host->arch);
    assert_true(r.host->n_cpus > 0);
    assert_true(r.host->memory_mb > 0);
    assert_true(r.host->memory_free_mb <= r.host->memory_mb);
    assert_true(r.host->disk_free_gb <= r.host->disk_total_gb);
    assert_true(r.host->libvirt_version >= 1000000);
    result_clear(&r);
}

static const struct host_resources_request of_qemu = {.virt_type = "qemu"};

static void
test_host_says_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct result r = {0}, host = {0};

    AWAIT_OK(f->h, host, driver_host_get(f->here, on_host, &host));
    AWAIT_OK(f->h, r,
             driver_host_resources(f->here, &of_qemu, on_resources, &r));
    const struct host_resources *has = r.resources;
    assert_string_equal(has->hostname, host.host->hostname);
    assert_string_equal(has->arch, host.host->arch);
    assert_int_equal(has->memory_mb, host.host->memory_mb);
    assert_int_equal(has->disk_total >> 30, host.host->disk_total_gb);
    assert_true(has->disk_free + has->disk_used <= has->disk_total);
    assert_true(has->online.n > 0);
    assert_true(has->n_kinds > 0);
    if (!contract->tells_no_machines) {
        assert_true(text_set_has(&has->guest_archs, has->arch));
        assert_true(text_set_has(&has->disk_buses, "virtio"));
        assert_true(text_set_has(&has->video_models, "virtio"));
    }
    for (size_t i = 0; i < has->n_cells; i++) {
        assert_true(has->cells[i].memory_kib > 0);
        assert_true(has->cells[i].cpus.n > 0);
        assert_true(has->cells[i].n_siblings > 0);
        assert_true(has->cells[i].n_pages > 0);
    }
    result_clear(&r);
    result_clear(&host);
}

/* What was learnt the first time is not forgotten, nor taken for the answer to
 * another question. */
static void
test_host_says_the_same_again(void **state)
{
    struct fixture *f = *state;
    struct result first = {0}, second = {0}, other = {0};
    const char *const models[] = {"qemu64", NULL};
    const struct host_resources_request with_model = {.virt_type = "qemu",
                                                      .cpu_models = models};

    AWAIT_OK(f->h, first,
             driver_host_resources(f->here, &of_qemu, on_resources, &first));
    AWAIT_OK(f->h, second,
             driver_host_resources(f->here, &of_qemu, on_resources, &second));
    AWAIT_OK(f->h, other,
             driver_host_resources(f->here, &with_model, on_resources, &other));
    const struct host_resources *a = first.resources, *b = second.resources;
    assert_int_equal(a->disk_buses.n, b->disk_buses.n);
    assert_int_equal(a->video_models.n, b->video_models.n);
    assert_int_equal(a->cpu_features.n, b->cpu_features.n);
    assert_int_equal(a->n_cells, b->n_cells);
    assert_int_equal(a->guest_cpu_features.n, 0);
    assert_true(text_set_has(&other.resources->guest_cpu_features, "sse2"));
    result_clear(&first);
    result_clear(&second);
    result_clear(&other);
}

static void
test_uptime_is_that_of_the_command(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_host_uptime(f->here, on_text, &r));
    assert_non_null(strstr(r.text, " up "));
    assert_non_null(strstr(r.text, "load average: "));
    assert_null(strchr(r.text, '\n'));
    result_clear(&r);
}

static void
test_own_cpu_is_compatible_and_nonsense_is_not(void **state)
{
    struct fixture *f = *state;
    struct result r = {0}, host = {0};

    AWAIT_OK(f->h, r, driver_compare_cpu(f->here, NULL, on_plain, &r));
    AWAIT_OK(f->h, host, driver_host_get(f->here, on_host, &host));
    if (host.host->cpu_xml) {
        AWAIT_OK(f->h, r,
                 driver_compare_cpu(f->here, host.host->cpu_xml, on_plain, &r));
        AWAIT(f->h, r,
              driver_compare_cpu(f->here,
                                 "<cpu><arch>nonsense</arch>"
                                 "<model>none</model></cpu>",
                                 on_plain, &r));
        assert_error(r.error, ERR_INVALID_CPU_INFO);
    }
    result_clear(&r);
    result_clear(&host);
}

/* A guest that is not there. */

static void
test_unknown_guest_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT(f->h, r, driver_guest_get(f->here, NOBODY, on_guest, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT(f->h, r, driver_job_get(f->here, NOBODY, false, on_job, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    assert_false(r.has_job);
    AWAIT(f->h, r, driver_suspend(f->here, NOBODY, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT(f->h, r, driver_resume(f->here, NOBODY, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT(f->h, r, driver_persist(f->here, NOBODY, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    result_clear(&r);
}

static void
test_discarding_an_unknown_guest_succeeds(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_discard(f->here, NOBODY, on_plain, &r));
}

/* Probes. */

static void
test_probe_exists_until_it_is_removed(void **state)
{
    struct fixture *f = *state;
    struct result made = {0}, r = {0};

    AWAIT_OK(f->h, made, driver_probe_create(f->here, NULL, on_text, &made));
    assert_null(strchr(made.text, '/'));
    AWAIT_OK(f->h, r,
             driver_probe_exists(f->here, NULL, made.text, on_answer, &r));
    assert_true(r.answer);
    AWAIT_OK(f->h, r,
             driver_probe_remove(f->here, NULL, made.text, on_plain, &r));
    AWAIT_OK(f->h, r,
             driver_probe_exists(f->here, NULL, made.text, on_answer, &r));
    assert_false(r.answer);
    AWAIT_OK(f->h, r,
             driver_probe_remove(f->here, NULL, made.text, on_plain, &r));
    result_clear(&made);
    result_clear(&r);
}

static void
test_probes_have_names_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct result one = {0}, other = {0}, r = {0};

    AWAIT_OK(f->h, one, driver_probe_create(f->here, NULL, on_text, &one));
    AWAIT_OK(f->h, other, driver_probe_create(f->here, NULL, on_text, &other));
    assert_string_not_equal(one.text, other.text);
    AWAIT_OK(f->h, r,
             driver_probe_remove(f->here, NULL, one.text, on_plain, &r));
    AWAIT_OK(f->h, r,
             driver_probe_remove(f->here, NULL, other.text, on_plain, &r));
    result_clear(&one);
    result_clear(&other);
}

static void
test_probe_stays_where_it_is_allowed(void **state)
{
    static const char *const names[] = {"a/b", "../x", "..", ".", "", "/etc"};
    struct fixture *f = *state;
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        AWAIT(f->h, r,
              driver_probe_exists(f->here, NULL, names[i], on_answer, &r));
        assert_error(r.error, ERR_INVALID);
        AWAIT(f->h, r,
              driver_probe_remove(f->here, NULL, names[i], on_plain, &r));
        assert_error(r.error, ERR_INVALID);
    }
    AWAIT(f->h, r, driver_probe_create(f->here, "/etc", on_text, &r));
    assert_error(r.error, ERR_INVALID);
    assert_null(r.text);
    result_clear(&r);
}

/* Disks. */

static void
test_what_was_prepared_can_be_unprepared(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_create(NOBODY, f->directory);
    AUTO_FREE second = xasprintf("%s/disk.raw", f->directory);
    struct result r = {0};

    prepare_add(request, f->disk_path, "qcow2", 16 << 20);
    prepare_add(request, second, "raw", 1 << 20);
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_DESTINATION_DISK_EXISTS);
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
}

static void
test_checking_makes_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_create(NOBODY, f->directory);
    struct result r = {0};

    prepare_add(request, f->disk_path, "qcow2", 16 << 20);
    request->only_check = true;
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    request->only_check = false;
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    request->only_check = true;
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_DESTINATION_DISK_EXISTS);
    request->only_check = false;
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
}

static void
test_disks_stay_where_they_are_allowed(void **state)
{
    struct fixture *f = *state;
    const char *root = contract->options.instances_path;
    AUTO_FREE climbing = xasprintf("%s/x/../../y", root);
    AUTO_FREE doubled = xasprintf("%s//y", root);
    AUTO_FREE beside = xasprintf("%s-y", root);
    const char *const paths[] = {
        "/etc/drover-contract", "relative", "", climbing, doubled, beside, root,
    };
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
        CLEANUP(prepare_request_free_at)
        struct prepare_request *request = prepare_create(NOBODY, NULL);

        prepare_add(request, paths[i], "raw", 1 << 20);
        AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
        assert_error(r.error, ERR_INVALID);
        assert_non_null(strstr(error_message(r.error), paths[i]));
        AWAIT(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
        assert_error(r.error, ERR_INVALID);
    }
    result_clear(&r);
}

static void
test_failed_preparation_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *good = prepare_create(NOBODY, f->directory);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *bad = prepare_create(NOBODY, f->directory);
    struct result r = {0};

    prepare_add(good, f->disk_path, "qcow2", 16 << 20);
    prepare_add(bad, f->disk_path, "qcow2", 16 << 20);
    prepare_add(bad, "/etc/drover-contract", "raw", 1 << 20);
    AWAIT(f->h, r, driver_prepare(f->here, bad, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT_OK(f->h, r, driver_prepare(f->here, good, on_plain, &r));
    AWAIT_OK(f->h, r, driver_unprepare(f->here, good, on_plain, &r));
}

static void
test_absurd_disks_are_refused(void **state)
{
    static const struct {
        const char *format;
        int64_t size;
    } disks[] = {{"qcow2", -1},
                 {"qcow2", 0},
                 {"raw", INT64_MAX},
                 {"vmdk", 1 << 20},
                 {"", 1 << 20}};
    struct fixture *f = *state;
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(disks); i++) {
        CLEANUP(prepare_request_free_at)
        struct prepare_request *request = prepare_create(NOBODY, f->directory);

        prepare_add(request, f->disk_path, disks[i].format, disks[i].size);
        AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
        assert_error(r.error, ERR_INVALID);
    }
    result_clear(&r);
}

static void
test_missing_backing_file_is_named(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_create(NOBODY, f->directory);
    struct result r = {0};

    prepare_add(request, f->disk_path, "qcow2", 16 << 20);
    request->disks[0].backing_path = xstrdup("deadbeef");
    request->disks[0].backing_format = xstrdup("raw");
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_MIGRATION);
    assert_non_null(strstr(error_message(r.error), "'deadbeef'"));
    assert_non_null(strstr(error_message(r.error), f->disk_path));
    result_clear(&r);
}

/* Images. */

/* Not every file system can have a file before its name, and then it is said
 * so. */
static bool
has_nameless_files(struct fixture *f)
{
    struct result r = {0};
    bool has;

    AWAIT(f->h, r, driver_image_create(f->here, f->image, on_fd, &r));
    has = !r.error;
    if (!has) {
        assert_error(r.error, ERR_STORAGE);
        assert_non_null(strstr(error_message(r.error), "O_TMPFILE"));
    }
    result_clear(&r);
    return has;
}

static void
keep_image(struct fixture *f, const char *text, const char *format,
           struct result *r)
{
    struct image_request request = {.name = f->image, .format = (char *)format};
    struct result made = {0};

    AWAIT_OK(f->h, made, driver_image_create(f->here, f->image, on_fd, &made));
    assert_int_equal(write(made.fd, text, strlen(text)), strlen(text));
    request.fd = made.fd;
    AWAIT(f->h, *r, driver_image_keep(f->here, &request, on_plain, r));
    result_clear(&made);
}

static void
assert_image_exists(struct fixture *f, bool answer)
{
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_image_exists(f->here, f->image, on_answer, &r));
    assert_int_equal(r.answer, answer);
}

static void
test_image_that_is_not_sound_is_not_kept(void **state)
{
    static const char *const rows[][2] = {
        {"", "raw"},           {"QFI\xfb, which is qcow2", "raw"},
        {"no qcow2", "qcow2"}, {"an image", "no-format"},
        {"an image", "vmdk"}, /* It is not to be made raw. */
    };
    struct fixture *f = *state;
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(rows) && has_nameless_files(f); i++) {
        keep_image(f, rows[i][0], rows[i][1], &r);
        assert_error(r.error, ERR_IMAGE_UNACCEPTABLE);
        assert_string_equal(error_arg(r.error, "image_id"), f->image);
        assert_image_exists(f, false);
    }
    result_clear(&r);
}

static void
test_image_stays_where_it_is_allowed(void **state)
{
    static const char *const names[] = {"a/b", "../x", "..", ".", "", "/etc"};
    struct fixture *f = *state;
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        struct image_request request = {.name = (char *)names[i],
                                        .format = (char[]){"raw"},
                                        .host = (char[]){"hostb"}};

        AWAIT(f->h, r, driver_image_exists(f->here, names[i], on_answer, &r));
        assert_error(r.error, ERR_INVALID);
        AWAIT(f->h, r, driver_image_create(f->here, names[i], on_fd, &r));
        assert_error(r.error, ERR_INVALID);
        assert_int_equal(r.fd, -1);
        AWAIT(f->h, r, driver_image_keep(f->here, &request, on_plain, &r));
        assert_error(r.error, ERR_INVALID);
        AWAIT(f->h, r, driver_image_copy(f->here, &request, on_plain, &r));
        assert_error(r.error, ERR_INVALID);
    }
    result_clear(&r);
}

static void
test_image_is_copied_from_a_host_only(void **state)
{
    static const char *const hosts[] = {"", "-oProxyCommand=x", "user@host"};
    struct fixture *f = *state;
    struct image_request request = {.name = f->image,
                                    .format = (char[]){"raw"}};
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        request.host = (char *)hosts[i];
        AWAIT(f->h, r, driver_image_copy(f->here, &request, on_plain, &r));
        assert_error(r.error, ERR_INVALID_HOSTNAME);
        assert_string_equal(error_arg(r.error, "hostname"), hosts[i]);
    }
    request.host = (char[]){"hostb"};
    request.format = (char[]){"vmdk"};
    AWAIT(f->h, r, driver_image_copy(f->here, &request, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    assert_image_exists(f, false);
    result_clear(&r);
}

static void
assert_can_be_based(struct fixture *f, struct prepare_request *request,
                    const char *format, enum error_code code)
{
    struct result r = {0};

    free(request->disks[0].backing_format);
    request->disks[0].backing_format = xstrdup_null(format);
    request->only_check = true;
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_int_equal(error_code(r.error), code);
    request->only_check = false;
    result_clear(&r);
}

static void
test_disk_can_be_based_on_an_image_once_it_is_kept(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_create(NOBODY, f->directory);
    struct result r = {0};

    prepare_add(request, f->disk_path, "qcow2", 16 << 20);
    request->disks[0].backing_path = xstrdup(f->image);
    request->disks[0].backing_format = xstrdup("raw");
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_MIGRATION);
    assert_image_exists(f, false);
    if (!has_nameless_files(f)) {
        result_clear(&r);
        return;
    }
    keep_image(f, "an image", "raw", &r);
    assert_null(r.error);
    assert_image_exists(f, true);
    keep_image(f, "the same, from somebody else", "raw", &r);
    assert_null(r.error);
    assert_can_be_based(f, request, "qcow2", ERR_MIGRATION);
    assert_can_be_based(f, request, NULL, ERR_NONE);
    assert_can_be_based(f, request, "raw", ERR_NONE);
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
    assert_image_exists(f, true);
}

/* A guest. */

static void
test_guest_is_listed_as_it_is_described(void **state)
{
    struct fixture *f = *state;
    struct result list = {0}, one = {0};
    const struct guest *found = NULL;

    AWAIT_OK(f->h, list, driver_guest_list(f->here, on_list, &list));
    AWAIT_OK(f->h, one, driver_guest_get(f->here, f->uuid, on_guest, &one));
    for (size_t i = 0; i < list.list->n; i++) {
        if (str_eq(list.list->guests[i]->uuid, f->uuid)) {
            assert_null(found);
            found = list.list->guests[i];
        }
    }
    assert_non_null(found);
    assert_string_equal(one.guest->uuid, f->uuid);
    assert_string_equal(found->name, one.guest->name);
    assert_int_equal(found->memory_mb, one.guest->memory_mb);
    assert_int_equal(found->n_vcpus, one.guest->n_vcpus);
    assert_int_equal(found->n_disks, one.guest->n_disks);
    assert_true(one.guest->memory_mb > 0);
    assert_true(one.guest->n_vcpus > 0);
    assert_int_equal(one.guest->presence, GUEST_ACTIVE);
    assert_int_equal(one.guest->power_state, POWER_RUNNING);
    for (size_t i = 0; i < one.guest->n_disks; i++) {
        assert_non_null(one.guest->disks[i].target);
        assert_non_null(one.guest->disks[i].device);
        assert_non_null(one.guest->disks[i].format);
    }
    result_clear(&list);
    result_clear(&one);
}

static void
assert_power(struct fixture *f, enum power_state power_state)
{
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_guest_get(f->here, f->uuid, on_guest, &r));
    assert_int_equal(r.guest->power_state, power_state);
    assert_int_equal(r.guest->presence, GUEST_ACTIVE);
    result_clear(&r);
}

static void
test_suspended_guest_is_paused_until_resumed(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};
    unsigned n_suspended =
        harness_count(f->h, HERE, DRIVER_EVENT_SUSPENDED, f->uuid);
    unsigned n_resumed =
        harness_count(f->h, HERE, DRIVER_EVENT_RESUMED, f->uuid);

    AWAIT_OK(f->h, r, driver_suspend(f->here, f->uuid, on_plain, &r));
    assert_power(f, POWER_PAUSED);
    harness_wait_event(f->h, HERE, DRIVER_EVENT_SUSPENDED, f->uuid,
                       n_suspended + 1);
    AWAIT_OK(f->h, r, driver_suspend(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_resume(f->here, f->uuid, on_plain, &r));
    assert_power(f, POWER_RUNNING);
    harness_wait_event(f->h, HERE, DRIVER_EVENT_RESUMED, f->uuid,
                       n_resumed + 1);
}

static void
test_guest_is_powered_off_and_on(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_power_on(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_power_off(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_guest_get(f->here, f->uuid, on_guest, &r));
    assert_int_equal(r.guest->presence, GUEST_OFF);
    assert_true(r.guest->persistent);
    AWAIT_OK(f->h, r, driver_power_off(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_shut_down(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_power_on(f->here, f->uuid, on_plain, &r));
    assert_power(f, POWER_RUNNING);
    AWAIT(f->h, r, driver_power_on(f->here, NOBODY, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT(f->h, r, driver_power_off(f->here, NOBODY, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT(f->h, r, driver_console_read(f->here, NOBODY, on_text, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    AWAIT_OK(f->h, r, driver_guest_counters(f->here, f->uuid, on_counters, &r));
    AWAIT(f->h, r, driver_guest_counters(f->here, NOBODY, on_counters, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    result_clear(&r);
}

static void
test_running_guest_is_not_discarded(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT(f->h, r, driver_discard(f->here, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    assert_power(f, POWER_RUNNING);
    result_clear(&r);
}

static void
test_files_of_an_active_guest_are_kept(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_create(f->uuid, f->directory);
    struct result r = {0};

    prepare_add(request, f->disk_path, "raw", 1 << 20);
    AWAIT_OK(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    AWAIT(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT(f->h, r, driver_prepare(f->here, request, on_plain, &r));
    assert_error(r.error, ERR_DESTINATION_DISK_EXISTS);

    free(request->uuid);
    request->uuid = xstrdup(NOBODY);
    AWAIT_OK(f->h, r, driver_unprepare(f->here, request, on_plain, &r));
}

static void
test_persistent_guest_stays_so(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_persist(f->here, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_guest_get(f->here, f->uuid, on_guest, &r));
    assert_true(r.guest->persistent);
    AWAIT_OK(f->h, r, driver_persist(f->here, f->uuid, on_plain, &r));
}

static void
test_guest_without_job_has_none(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_job_get(f->here, f->uuid, false, on_job, &r));
    assert_true(r.has_job);
    assert_int_equal(r.job.type, JOB_NONE);
    AWAIT(f->h, r, driver_migrate_abort(f->here, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT(f->h, r, driver_migrate_postcopy(f->here, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    result_clear(&r);
}

static void
test_what_a_guest_writes_is_measured(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    AWAIT_OK(f->h, r,
             driver_dirty_rate_start(f->here, f->uuid, 1, on_plain, &r));
    AWAIT_UNTIL(f->h, r,
                driver_dirty_rate_get(f->here, f->uuid, on_dirty_rate, &r),
                !r.error && r.dirty_rate.state == DIRTY_RATE_MEASURED);
    assert_int_equal(r.dirty_rate.period_s, 1);
    assert_true(r.dirty_rate.bytes_per_s >= 0);
    AWAIT(f->h, r, driver_dirty_rate_start(f->here, NOBODY, 1, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    result_clear(&r);
}

/* Moving it. */

static void
test_failed_start_leaves_the_guest_running(void **state)
{
    struct fixture *f = *state;
    struct result r = {0}, guest = {0};

    if (!contract->dead_uri) {
        skip();
    }
    AWAIT_OK(f->h, guest, driver_guest_get(f->here, f->uuid, on_guest, &guest));
    AWAIT(f->h, r,
          driver_migrate(f->here,
                         migrate_create(guest.guest, contract->dead_uri),
                         on_plain, &r));
    assert_non_null(r.error);
    assert_power(f, POWER_RUNNING);
    AWAIT(f->h, r,
          driver_peer_presence(f->here, contract->dead_uri, f->uuid,
                               on_presence, &r));
    assert_non_null(r.error);
    result_clear(&r);
    result_clear(&guest);
}

static void
prepare_at(struct fixture *f, struct driver *dest, const struct guest *guest)
{
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_for(guest);
    struct result r = {0};

    if (contract->copies_disks) {
        AWAIT_OK(f->h, r, driver_prepare(dest, request, on_plain, &r));
    }
}

static void
unprepare_at(struct fixture *f, struct driver *host, const struct guest *guest)
{
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = prepare_for(guest);
    struct result r = {0};

    if (contract->copies_disks) {
        AWAIT_OK(f->h, r, driver_unprepare(host, request, on_plain, &r));
    }
}

/* From the host of slot 'from' to the other, and looks at both. */
static void
move(struct fixture *f, int from)
{
    struct driver *source = f->h->drivers[from];
    struct driver *dest = f->h->drivers[!from];
    const char *uri = from == HERE ? contract->peer_uri : contract->own_uri;
    struct result guest = {0}, r = {0};
    unsigned n_stopped =
        harness_count(f->h, from, DRIVER_EVENT_STOPPED, f->uuid);

    AWAIT_OK(f->h, guest, driver_guest_get(source, f->uuid, on_guest, &guest));
    prepare_at(f, dest, guest.guest);
    AWAIT_OK(
        f->h, r,
        driver_migrate(source, migrate_create(guest.guest, uri), on_plain, &r));
    AWAIT_OK(f->h, r,
             driver_peer_presence(source, uri, f->uuid, on_presence, &r));
    assert_int_equal(r.presence, GUEST_ACTIVE);
    AWAIT(f->h, r, driver_guest_get(source, f->uuid, on_guest, &r));
    if (!r.error) {
        assert_int_not_equal(r.guest->presence, GUEST_ACTIVE);
    } else {
        assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    }
    harness_wait_event(f->h, from, DRIVER_EVENT_STOPPED, f->uuid,
                       n_stopped + 1);
    for (unsigned i = 0; i < f->h->events[from].n; i++) {
        const struct driver_event *event = &f->h->events[from].events[i];

        if (event->type == DRIVER_EVENT_STOPPED) {
            assert_int_equal(event->detail, STOP_MIGRATED);
        }
    }
    AWAIT_OK(f->h, r, driver_guest_get(dest, f->uuid, on_guest, &r));
    assert_int_equal(r.guest->presence, GUEST_ACTIVE);
    assert_int_equal(r.guest->power_state, POWER_RUNNING);
    assert_string_equal(r.guest->name, guest.guest->name);
    AWAIT_OK(f->h, r, driver_persist(dest, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_job_get(source, f->uuid, true, on_job, &r));
    assert_int_equal(r.job.type, JOB_COMPLETED);
    assert_true(r.job.memory_total > 0);
    AWAIT_OK(f->h, r, driver_discard(source, f->uuid, on_plain, &r));
    unprepare_at(f, source, guest.guest);
    result_clear(&r);
    result_clear(&guest);
}

static void
test_guest_moves_there_and_back(void **state)
{
    struct fixture *f = *state;

    if (!f->there) {
        skip();
    }
    move(f, HERE);
    move(f, THERE);
    assert_power(f, POWER_RUNNING);
}

static void
test_aborted_migration_leaves_the_guest_running(void **state)
{
    struct fixture *f = *state;
    struct result guest = {0}, moved = {0}, r = {0};

    if (!f->there) {
        skip();
    }
    AWAIT_OK(f->h, guest, driver_guest_get(f->here, f->uuid, on_guest, &guest));
    prepare_at(f, f->there, guest.guest);
    struct migrate_request *request =
        migrate_create(guest.guest, contract->peer_uri);
    request->bandwidth_mib_s = 1;
    request->flags |= MIGRATE_THROTTLE;
    driver_migrate(f->here, request, on_plain, &moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->here, f->uuid, false, on_job, &r),
                !r.error && r.job.type == JOB_UNBOUNDED);
    AWAIT_UNTIL(f->h, r,
                driver_peer_presence(f->here, contract->peer_uri, f->uuid,
                                     on_presence, &r),
                !r.error && r.presence == GUEST_INCOMING);
    AWAIT_OK(f->h, r,
             driver_migrate_set_bandwidth(f->here, f->uuid, 2, on_plain, &r));
    AWAIT_OK(f->h, r,
             driver_migrate_set_downtime(f->here, f->uuid, 100, on_plain, &r));
    AWAIT_OK(f->h, r,
             driver_migrate_get_downtime(f->here, f->uuid, on_number, &r));
    assert_int_equal(r.number, 100);
    AWAIT_OK(f->h, r, driver_migrate_throttle(f->here, f->uuid, on_plain, &r));
    assert_false(moved.is_done);
    AWAIT_OK(f->h, r, driver_migrate_abort(f->here, f->uuid, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_error(moved.error, ERR_CANCELLED);
    assert_power(f, POWER_RUNNING);
    AWAIT_UNTIL(f->h, r,
                driver_peer_presence(f->here, contract->peer_uri, f->uuid,
                                     on_presence, &r),
                !r.error && r.presence == GUEST_ABSENT);
    unprepare_at(f, f->there, guest.guest);
    result_clear(&moved);
    result_clear(&guest);
    result_clear(&r);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

char *
driver_contract_image(void)
{
    return xasprintf("contract-%ld", (long)getpid());
}

int
driver_contract_run(const struct driver_contract *c)
{
    static const struct CMUnitTest plain[] = {
        TEST(test_host_is_described),
        TEST(test_host_says_what_it_has),
        TEST(test_host_says_the_same_again),
        TEST(test_uptime_is_that_of_the_command),
        TEST(test_own_cpu_is_compatible_and_nonsense_is_not),
        TEST(test_unknown_guest_is_not_found),
        TEST(test_discarding_an_unknown_guest_succeeds),
        TEST(test_probe_exists_until_it_is_removed),
        TEST(test_probes_have_names_of_their_own),
        TEST(test_probe_stays_where_it_is_allowed),
        TEST(test_what_was_prepared_can_be_unprepared),
        TEST(test_checking_makes_nothing),
        TEST(test_disks_stay_where_they_are_allowed),
        TEST(test_failed_preparation_leaves_nothing),
        TEST(test_absurd_disks_are_refused),
        TEST(test_missing_backing_file_is_named),
        TEST(test_image_that_is_not_sound_is_not_kept),
        TEST(test_image_stays_where_it_is_allowed),
        TEST(test_image_is_copied_from_a_host_only),
        TEST(test_disk_can_be_based_on_an_image_once_it_is_kept),
    };
    static const struct CMUnitTest with_guest[] = {
        TEST(test_guest_is_listed_as_it_is_described),
        TEST(test_suspended_guest_is_paused_until_resumed),
        TEST(test_guest_is_powered_off_and_on),
        TEST(test_running_guest_is_not_discarded),
        TEST(test_files_of_an_active_guest_are_kept),
        TEST(test_persistent_guest_stays_so),
        TEST(test_guest_without_job_has_none),
        TEST(test_what_a_guest_writes_is_measured),
        TEST(test_failed_start_leaves_the_guest_running),
        TEST(test_guest_moves_there_and_back),
        TEST(test_aborted_migration_leaves_the_guest_running),
    };

    contract = c;
    int n_failed = cmocka_run_group_tests_name("driver", plain, NULL, NULL);
    if (c->has_guest) {
        n_failed += cmocka_run_group_tests_name("driver with a guest",
                                                with_guest, NULL, NULL);
    }
    return n_failed;
}
