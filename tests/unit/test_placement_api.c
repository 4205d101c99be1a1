#include <config.h>

#include "agent/nova/placement_api.h"

/* The calls to Placement, beside those of a real nova-compute. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cloud_bench.h"

#define PROVIDER "056f6f61-c210-4028-abbb-c686577ed955"
#define OTHER "cb6ff4d3-37a3-4ae9-af43-fa42be14b800"
#define INSTANCE "6366182a-6451-4f45-bd48-1486ecc5705b"
#define MIGRATION "dbad97ef-9aba-49aa-93b7-6d3bcafd8a6c"
#define PROJECT "642e18c5e1c24d53b1677557fd4d21d2"
#define USER "2a5b8f3a0d944aad81d11d24922ab4d4"
#define RESOURCES "{'" OTHER "': {'generation': 5, 'resources': {'VCPU': 1}}}"
#define HELD(GENERATION)                                     \
    "{'allocations': " RESOURCES ", 'project_id': '" PROJECT \
    "', 'user_id': '" USER "', 'consumer_generation': " GENERATION "}"
#define NOTHING "{'allocations': {}}"
#define CONFLICT                                                         \
    "{'errors': [{'status': 409, 'code': 'placement.concurrent_update'," \
    "'detail': 'consumer generation conflict'}]}"

#define CALL(FUNC, ...) FUNC(b->cloud->placement, b->context, __VA_ARGS__, b)

static void
providers_known(void *aux, const struct placement_provider *providers, size_t n,
                struct error *error)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        struct json *provider = json_object();

        json_set_string(provider, "uuid", providers[i].uuid);
        json_set_string(provider, "name", providers[i].name);
        json_set_string(provider, "parent", providers[i].parent_uuid);
        json_set_int(provider, "generation", providers[i].generation);
        json_append(list, provider);
    }
    cloud_bench_done(aux, list, error);
}

static void
facts_known(void *aux, const struct placement_facts *facts, struct error *error)
{
    struct json *json = json_object();

    assert_true(!facts != !error);
    if (facts) {
        json_set_int(json, "generation", facts->generation);
        json_set(json, "items", json_copy(facts->items));
    }
    cloud_bench_done(aux, json, error);
}

static void
allocations_known(void *aux, const struct placement_allocations *allocations,
                  struct error *error)
{
    struct json *json = json_object();

    assert_true(!allocations != !error);
    if (allocations) {
        json_set(json, "items", json_copy(allocations->items));
        json_set_string(json, "project_id", allocations->project_id);
        json_set_string(json, "user_id", allocations->user_id);
        json_set_int(json, "generation", allocations->generation);
    }
    cloud_bench_done(aux, json, error);
}

static void
test_tree(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = "{'resource_providers': []}"},
                  {.status = 200,
                   .body = "{'resource_providers': [{'uuid': 'u', 'name': 'n',"
                           "'generation': 7, 'parent_provider_uuid': 'p'}]}"},
                  {.status = 500, .body = "oops"}, {.status = 403});
    CALL(placement_tree, PROVIDER, providers_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "tree");
    cloud_bench_assert_result(b, "[]");
    CALL(placement_tree, PROVIDER, providers_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "[{'uuid': 'u', 'name': 'n', 'parent': 'p',"
                                 "'generation': 7}]");
    CALL(placement_tree, PROVIDER, providers_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_PROVIDER_RETRIEVAL,
        "Failed to get resource provider with UUID " PROVIDER);
    assert_string_equal(error_message(b->error),
                        "placement: providers: 500, oops");
    CALL(placement_tree, PROVIDER, providers_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_FORBIDDEN);
    cloud_bench_free(b);
}

static void
test_sharing(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON aggregates = bench_json("['a1', 'a2']");

    BENCH_REPLIES(b, {"GET",
                      "/resource_providers?member_of=in:a1,a2&required="
                      "MISC_SHARES_VIA_AGGREGATE",
                      200, "{'resource_providers': []}", ANSWER});
    CALL(placement_sharing, aggregates, providers_known);
    cloud_bench_run(b);
    assert_string_equal(
        rest_server_header(cloud_bench_request(b, 0), "openstack-api-version"),
        "placement 1.18");
    cloud_bench_free(b);
}

static void
test_provider_create_and_delete(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b,
        {.status = 200,
         .body = "{'uuid': '" PROVIDER "', 'name': 'hostB', 'generation': 0}"},
        {.status = 409, .body = CONFLICT},
        {"DELETE", "/resource_providers/" PROVIDER, 204, NULL, ANSWER},
        {.status = 404}, {.status = 409});
    CALL(placement_provider_create, PROVIDER, "hostB", providers_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "provider_create");
    cloud_bench_assert_result(b, "[{'uuid': '" PROVIDER
                                 "', 'name': 'hostB', 'parent':"
                                 "null, 'generation': 0}]");
    CALL(placement_provider_create, PROVIDER, "hostB", providers_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_PROVIDER_CREATION,
                             "Failed to create resource provider hostB");
    for (int i = 0; i < 2; i++) {
        CALL(placement_provider_delete, PROVIDER, cloud_bench_ended);
        cloud_bench_run(b);
        assert_null(b->error);
    }
    CALL(placement_provider_delete, PROVIDER, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_PROVIDER_DELETION,
                             "Failed to delete resource provider " PROVIDER);
    cloud_bench_free(b);
}

static void
test_what_a_provider_has(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b,
        {.status = 200,
         .body = "{'resource_provider_generation': 3, 'inventories':"
                 "{'VCPU': {'total': 2}}}"},
        {.status = 200,
         .body = "{'resource_provider_generation': 3, 'aggregates': ['a']}"},
        {.status = 200,
         .body = "{'resource_provider_generation': 3, 'traits': ['T']}"},
        {.status = 200,
         .body = "{'resource_provider_generation': 3, 'allocations': {}}"},
        {.status = 200, .body = "{'resource_provider_generation': 3}"});
    CALL(placement_inventories, OTHER, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(
        b, "{'generation': 3, 'items': {'VCPU': {'total': 2}}}");
    CALL(placement_aggregates, OTHER, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "{'generation': 3, 'items': ['a']}");
    CALL(placement_traits, OTHER, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "{'generation': 3, 'items': ['T']}");
    CALL(placement_usage, PROVIDER, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "{'generation': 3, 'items': {}}");
    cloud_bench_assert_as_recorded(b, 0, "inventories");
    cloud_bench_assert_as_recorded(b, 1, "aggregates");
    cloud_bench_assert_as_recorded(b, 2, "traits");
    cloud_bench_assert_as_recorded(b, 3, "usage");
    CALL(placement_usage, PROVIDER, facts_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PLACEMENT_CONNECTION);
    cloud_bench_free(b);
}

static const struct json *
recorded_items(struct cloud_bench *b, const char *name, const char *items)
{
    return json_get(json_get(cloud_bench_recorded(b, name), "body"), items);
}

static void
test_what_a_provider_is_given(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    const struct json *inventories =
        recorded_items(b, "set_inventories", "inventories");
    const struct json *traits = recorded_items(b, "set_traits", "traits");

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body = "{'resource_provider_generation': 1,"
                           "'inventories': {}}"},
                  {.status = 200,
                   .body = "{'resource_provider_generation': 2,"
                           "'traits': ['T']}"},
                  {"PUT", "/resource_providers/" PROVIDER "/aggregates", 200,
                   "{'resource_provider_generation': 3, 'aggregates': []}",
                   ANSWER});
    CALL(placement_set_inventories, PROVIDER, 0, inventories, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "set_inventories");
    cloud_bench_assert_result(b, "{'generation': 1, 'items': {}}");
    CALL(placement_set_traits, PROVIDER, 1, traits, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 1, "set_traits");
    cloud_bench_assert_result(b, "{'generation': 2, 'items': ['T']}");
    AUTO_JSON none = json_array();
    CALL(placement_set_aggregates, PROVIDER, 2, none, facts_known);
    cloud_bench_run(b);
    bench_assert_body(cloud_bench_request(b, 2),
                      "{'resource_provider_generation': 2, 'aggregates': []}");
    cloud_bench_free(b);
}

static void
test_another_was_quicker_with_a_provider(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON nothing = json_object();

    BENCH_REPLIES(b, {.status = 409, .body = CONFLICT},
                  {.status = 409,
                   .body = "{'errors': [{'code': 'placement.inventory.inuse',"
                           "'detail': 'VCPU'}]}"},
                  {.status = 404}, {.status = 400, .body = "{'errors': []}"});
    CALL(placement_set_inventories, PROVIDER, 8, nothing, facts_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PROVIDER_CONFLICT);
    assert_string_equal(error_arg(b->error, "generation"), "8");
    CALL(placement_set_inventories, PROVIDER, 8, nothing, facts_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_INVENTORY_IN_USE);
    CALL(placement_set_traits, PROVIDER, 8, nothing, facts_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PROVIDER_CONFLICT);
    CALL(placement_set_traits, PROVIDER, 8, nothing, facts_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PROVIDER_UPDATE);
    cloud_bench_free(b);
}

static void
test_traits_that_are_known(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    const struct json *traits = recorded_items(b, "set_traits", "traits");

    BENCH_REPLIES(b, {.status = 200, .body = "{'traits': ['A']}"},
                  {"PUT", "/traits/CUSTOM_X", 201, NULL, ANSWER},
                  {.status = 204}, {.status = 400});
    CALL(placement_known_traits, traits, facts_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "known_traits");
    cloud_bench_assert_result(b, "{'generation': 0, 'items': ['A']}");
    for (int i = 0; i < 2; i++) {
        CALL(placement_trait_create, "CUSTOM_X", cloud_bench_ended);
        cloud_bench_run(b);
        assert_null(b->error);
    }
    CALL(placement_trait_create, "X", cloud_bench_ended);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PROVIDER_UPDATE);
    cloud_bench_free(b);
}

static void
test_allocations(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = HELD("1")},
                  {.status = 200, .body = NOTHING}, {.status = 500});
    CALL(placement_allocations, INSTANCE, allocations_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "allocations");
    cloud_bench_assert_result(b,
                              "{'items': " RESOURCES ", 'project_id': '" PROJECT
                              "', 'user_id': '" USER "', 'generation': 1}");
    CALL(placement_allocations, INSTANCE, allocations_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(
        b, "{'items': {}, 'project_id': null, 'user_id': null,"
           "'generation': -1}");
    CALL(placement_allocations, INSTANCE, allocations_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_ALLOCATION_RETRIEVAL,
        "Failed to retrieve allocations for consumer " INSTANCE
        ": placement: allocations: 500");
    cloud_bench_free(b);
}

static void
test_allocations_delete(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = HELD("1")}, {.status = 204},
                  {.status = 200, .body = NOTHING});
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 1, "allocations_delete");
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error); /* And nothing was written. */
    cloud_bench_free(b);
}

static void
test_allocations_move(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {"GET", "/allocations/" MIGRATION, 200, HELD("1"), ANSWER},
                  {"GET", "/allocations/" INSTANCE, 200, NOTHING, ANSWER},
                  {.status = 204},
                  {"GET", "/allocations/" MIGRATION, 200, NOTHING, ANSWER});
    CALL(placement_allocations_move, MIGRATION, INSTANCE, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 2, "allocations_move");
    bench_assert_body(
        cloud_bench_request(b, 2),
        "{'" MIGRATION "': {'allocations': {}, 'project_id': '" PROJECT
        "', 'user_id': '" USER "', 'consumer_generation': 1}, '" INSTANCE
        "': {'allocations': " RESOURCES ", 'project_id': '" PROJECT
        "', 'user_id': '" USER "', 'consumer_generation': null}}");
    CALL(placement_allocations_move, MIGRATION, INSTANCE, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error); /* And nothing was written. */
    cloud_bench_free(b);
}

/* Read, and decided, anew each time. */
static void
test_another_was_quicker_with_allocations(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b, {.status = 200, .body = HELD("1")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("2")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("3")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("4")},
        {.status = 204});
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    bench_assert_body(cloud_bench_request(b, 7),
                      "{'allocations': {}, 'project_id': '" PROJECT
                      "', 'user_id': '" USER "', 'consumer_generation': 4}");
    cloud_bench_free(b);
}

static void
test_others_are_always_quicker(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b, {.status = 200, .body = HELD("1")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("2")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("3")},
        {.status = 409, .body = CONFLICT}, {.status = 200, .body = HELD("4")},
        {.status = 409, .body = CONFLICT});
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_ALLOCATION_UPDATE,
        "Failed to update allocations for consumer " MIGRATION
        ". Error: placement: write allocations: 409, consumer "
        "generation conflict");
    assert_int_equal(cloud_bench_n_requests(b), 2 * PLACEMENT_N_TRIES);
    cloud_bench_free(b);
}

/* The write arrived, its answer did not: what is read then says so. */
static void
test_lost_answer_to_a_write(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = HELD("1")}, {.manner = HANG_UP},
                  {.status = 409, .body = CONFLICT},
                  {.status = 200, .body = NOTHING});
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_free(b);
}

static void
test_nobody_there(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = HELD("1")});
    CALL(placement_allocations, INSTANCE, allocations_known);
    cloud_bench_run(b);
    rest_server_vanish(b->server);
    CALL(placement_allocations_delete, MIGRATION, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_PLACEMENT_CONNECTION,
                             "Unable to communicate with the Placement API.");
    cloud_bench_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_provider_create_and_delete),
        cmocka_unit_test(test_what_a_provider_has),
        cmocka_unit_test(test_what_a_provider_is_given),
        cmocka_unit_test(test_another_was_quicker_with_a_provider),
        cmocka_unit_test(test_traits_that_are_known),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_allocations_delete),
        cmocka_unit_test(test_allocations_move),
        cmocka_unit_test(test_another_was_quicker_with_allocations),
        cmocka_unit_test(test_others_are_always_quicker),
        cmocka_unit_test(test_lost_answer_to_a_write),
        cmocka_unit_test(test_nobody_there),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
