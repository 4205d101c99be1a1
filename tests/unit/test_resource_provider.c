#include <config.h>

#include "agent/nova/resource_provider.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/nova/traits.h"
#include "tests/unit/cloud_bench.h"

#define UUID "056f6f61-c210-4028-abbb-c686577ed955"
#define AT "/resource_providers/" UUID

/* A host with two CPUs, 1000 MiB and 10 GiB, of whose guests nothing is
 * known. */
#define CLASS(TOTAL, RATIO, RESERVED)                                          \
    "{'total': " #TOTAL ", 'min_unit': 1, 'max_unit': " #TOTAL                 \
    ", 'step_size': 1, 'allocation_ratio': " #RATIO ", 'reserved': " #RESERVED \
    "}"
#define INVENTORIES_OF(RATIO)                               \
    "{'VCPU': " CLASS(2, RATIO, 0) ", 'MEMORY_MB': " CLASS( \
        1000, 1.5, 512) ", 'DISK_GB': " CLASS(10, 1.0, 0) "}"
#define INVENTORIES INVENTORIES_OF(16.0)
#define NO_AUTO                                                            \
    "'COMPUTE_NODE', 'COMPUTE_IMAGE_TYPE_AKI', 'COMPUTE_IMAGE_TYPE_AMI', " \
    "'COMPUTE_IMAGE_TYPE_ARI', 'COMPUTE_IMAGE_TYPE_ISO', "                 \
    "'COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_VOLUME_MULTI_ATTACH', "            \
    "'COMPUTE_IMAGE_TYPE_QCOW2'"
#define TRAITS NO_AUTO ", 'COMPUTE_VIOMMU_MODEL_AUTO'"

#define OF(GENERATION, REST) \
    "{'resource_provider_generation': " #GENERATION ", " REST "}"
#define PROVIDER(GENERATION)                                           \
    "{'uuid': '" UUID "', 'name': 'hosta', 'generation': " #GENERATION \
    ", 'parent_provider_uuid': null, 'root_provider_uuid': '" UUID "'}"
#define TREE                                             \
    {                                                    \
        "GET", "/resource_providers?in_tree=" UUID, 200, \
            "{'resource_providers': [" PROVIDER(7) "]}"  \
    }
#define READ(MORE)                                                             \
    TREE,                                                                      \
        {"GET", AT "/inventories", 200, OF(7, "'inventories': " INVENTORIES)}, \
    {                                                                          \
        "GET", AT "/traits", 200, OF(7, "'traits': [" TRAITS MORE "]")         \
    }
#define CONFLICT                                                         \
    "{'errors': [{'status': 409, 'code': 'placement.concurrent_update'," \
    "'detail': 'generation conflict'}]}"

static const char *const none[] = {NULL};

struct fixture {
    struct cloud_bench *b;
    struct node_settings settings;
    struct host_resources *host;
    struct node_cpus cpus;
    struct resource_provider *provider;
    struct resource_report report;
};

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    f->b = cloud_bench_create(NULL);
    f->settings = (struct node_settings){.host = "hosta",
                                         .virt_type = "lxc",
                                         .cpu_models = none,
                                         .cpu_flags = none,
                                         .reserved_memory_mb = 512,
                                         .first_ratios = {16.0, 1.5, 1.0}};
    f->host = xzalloc(sizeof *f->host);
    f->host->memory_mb = 1000;
    f->host->disk_total = INT64_C(10) << 30;
    cpu_set_add(&f->cpus.shared, 0);
    cpu_set_add(&f->cpus.shared, 1);
    f->provider =
        resource_provider_create(f->b->cloud->placement, &f->settings, 0);
    f->report = (struct resource_report){.context = f->b->context,
                                         .uuid = UUID,
                                         .name = "hosta",
                                         .host = f->host,
                                         .cpus = &f->cpus};
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    cloud_bench_free(f->b);
    resource_provider_free(f->provider);
    host_resources_free(f->host);
    node_cpus_close(&f->cpus);
    free(f);
    return 0;
}

static void
update(struct fixture *f)
{
    unsigned n = f->b->n_done + 1;

    resource_provider_update(f->provider, &f->report, cloud_bench_ended, f->b);
    cloud_bench_run_until(f->b, n);
}

static void
update_well(struct fixture *f)
{
    update(f);
    if (f->b->error) {
        fail_msg("%s", error_message(f->b->error));
    }
}

static void
assert_put(struct fixture *f, size_t i, const char *body)
{
    const struct rest_server_request *request = cloud_bench_request(f->b, i);

    assert_string_equal(request->method, "PUT");
    bench_assert_body(request, body);
}

static void
test_new_host_is_made_known_once(void **state)
{
    struct fixture *f = *state;

    BENCH_REPLIES(
        f->b,
        {"GET", "/resource_providers?in_tree=" UUID, 200,
         "{'resource_providers': []}"},
        {"POST", "/resource_providers", 200, PROVIDER(0)},
        {"PUT", AT "/inventories", 200, OF(1, "'inventories': " INVENTORIES)},
        {"GET", NULL, 200, "{'traits': [" TRAITS "]}"},
        {"PUT", AT "/traits", 200, OF(2, "'traits': [" TRAITS "]")});
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 5);
    assert_put(f, 2, OF(0, "'inventories': " INVENTORIES));
    assert_put(f, 4, OF(1, "'traits': [" TRAITS "]"));
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 5);
}

/* An operator's own trait stays, and what is right is not written. */
static void
test_host_that_is_known_is_read_only(void **state)
{
    struct fixture *f = *state;

    BENCH_REPLIES(f->b, READ(", 'CUSTOM_RED'"));
    update_well(f);
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 3);
}

static void
test_what_changed_is_written(void **state)
{
    struct fixture *f = *state;

    BENCH_REPLIES(
        f->b, READ(", 'CUSTOM_RED', 'COMPUTE_VOLUME_EXTEND'"),
        {"PUT", AT "/traits", 200, OF(8, "'traits': [" TRAITS "]")},
        {"PUT", AT "/inventories", 200,
         OF(9, "'inventories': " INVENTORIES_OF(2.0))},
        {"GET", NULL, 200,
         "{'traits': [" TRAITS ", 'COMPUTE_STATUS_DISABLED']}"},
        {"PUT", AT "/traits", 200,
         OF(10, "'traits': [" TRAITS ", 'COMPUTE_STATUS_DISABLED']")});
    update_well(f);
    assert_put(f, 3, OF(7, "'traits': [" TRAITS ", 'CUSTOM_RED']"));
    f->settings.ratios[NODE_RATIO_CPU] = 2.0;
    f->report.is_disabled = true;
    update_well(f);
    assert_put(f, 4, OF(8, "'inventories': " INVENTORIES_OF(2.0)));
    assert_put(f, 6,
               OF(9, "'traits': [" TRAITS ", 'COMPUTE_STATUS_DISABLED']"));
}

static void
test_names_that_placement_lacks_are_left_out(void **state)
{
    struct fixture *f = *state;

    BENCH_REPLIES(
        f->b, TREE,
        {"GET", AT "/inventories", 200, OF(7, "'inventories': " INVENTORIES)},
        {"GET", AT "/traits", 200, OF(7, "'traits': []")},
        {"GET", NULL, 200, "{'traits': [" NO_AUTO "]}"},
        {"PUT", AT "/traits", 200, OF(8, "'traits': [" NO_AUTO "]")},
        {"GET", NULL, 200, "{'traits': [" NO_AUTO "]}"});
    update_well(f);
    assert_put(f, 4, OF(7, "'traits': [" NO_AUTO "]"));
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 6);
}

#define WRITTEN_ELSEWHERE                                            \
    TREE,                                                            \
        {"GET", AT "/inventories", 200,                              \
         OF(7, "'inventories': " INVENTORIES_OF(3.0))},              \
        {"GET", AT "/traits", 200, OF(7, "'traits': [" TRAITS "]")}, \
    {                                                                \
        "PUT", AT "/inventories", 409, CONFLICT                      \
    }

static void
test_conflicts_are_met_by_reading_again(void **state)
{
    struct fixture *f = *state;

    f->settings.ratios[NODE_RATIO_CPU] = 16.0;
    BENCH_REPLIES(f->b, WRITTEN_ELSEWHERE, WRITTEN_ELSEWHERE, WRITTEN_ELSEWHERE,
                  READ(""));
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 15);
}

static void
test_conflicts_have_an_end_and_the_next_time_comes(void **state)
{
    struct fixture *f = *state;

    f->settings.ratios[NODE_RATIO_CPU] = 16.0;
    BENCH_REPLIES(f->b, WRITTEN_ELSEWHERE, WRITTEN_ELSEWHERE, WRITTEN_ELSEWHERE,
                  WRITTEN_ELSEWHERE, READ(""));
    update(f);
    assert_int_equal(error_code(f->b->error), ERR_PROVIDER_CONFLICT);
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 19);
}

static void
test_inventory_in_use_stays(void **state)
{
    struct fixture *f = *state;

    f->settings.ratios[NODE_RATIO_CPU] = 16.0;
    BENCH_REPLIES(
        f->b, TREE,
        {"GET", AT "/inventories", 200,
         OF(7, "'inventories': " INVENTORIES_OF(3.0))},
        {"GET", AT "/traits", 200, OF(7, "'traits': [" TRAITS "]")},
        {"PUT", AT "/inventories", 409,
         "{'errors': [{'status': 409, 'code': 'placement.inventory.inuse',"
         "'detail': 'in use'}]}"});
    update_well(f);
    assert_int_equal(cloud_bench_n_requests(f->b), 4);
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_new_host_is_made_known_once),
        TEST(test_host_that_is_known_is_read_only),
        TEST(test_what_changed_is_written),
        TEST(test_names_that_placement_lacks_are_left_out),
        TEST(test_conflicts_are_met_by_reading_again),
        TEST(test_conflicts_have_an_end_and_the_next_time_comes),
        TEST(test_inventory_in_use_stays),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
