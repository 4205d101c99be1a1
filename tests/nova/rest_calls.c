#include <config.h>

/* rest_calls CONFIGURATION CALL [ARGUMENT]...
 *
 * Makes one of the calls of agent/nova/placement_api.h to a cloud, and prints
 * {"result": ..., "error": null} or what went wrong: {"result": null, "error":
 * {"class": ..., "text": ..., "message": ...}}.
 *
 * Exit status: 0 an answer, 2 wrong usage. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/nova/cloud.h"

struct run {
    uv_loop_t loop;
    struct cloud *cloud;
    char **args;
    struct json *json; /* Of the last argument, if it is a document. */
    bool is_done;
};

static void
done(void *aux, struct json *result, struct error *error)
{
    struct run *run = aux;
    AUTO_JSON out = json_object();

    json_set(out, "result", result);
    json_set_null(out, "error");
    if (error) {
        struct json *told = json_object();
        AUTO_FREE text = error_text(error);

        json_set_string(told, "class", error_class_name(error));
        json_set_string(told, "text", text);
        json_set_string(told, "message", error_message(error));
        json_set(out, "error", told);
    }
    AUTO_FREE text = json_print(out, NULL);
    puts(text);
    error_free(error);
    run->is_done = true;
    uv_stop(&run->loop);
}

static void
ended(void *aux, struct error *error)
{
    done(aux, NULL, error);
}

static void
providers_known(void *aux, const struct placement_provider *providers, size_t n,
                struct error *error)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        struct json *json = json_object();

        json_set_string(json, "uuid", providers[i].uuid);
        json_set_string(json, "name", providers[i].name);
        json_set_int(json, "generation", providers[i].generation);
        json_append(list, json);
    }
    done(aux, list, error);
}

static void
facts_known(void *aux, const struct placement_facts *facts, struct error *error)
{
    struct json *json = json_object();

    if (facts) {
        json_set_int(json, "generation", facts->generation);
        json_set(json, "items", json_copy(facts->items));
    }
    done(aux, json, error);
}

static void
allocations_known(void *aux, const struct placement_allocations *allocations,
                  struct error *error)
{
    done(aux, allocations ? json_copy(allocations->items) : NULL, error);
}

#define PLACEMENT(NAME, FUNC, ...)                           \
    static void NAME(struct run *run)                        \
    {                                                        \
        FUNC(run->cloud->placement, NULL, __VA_ARGS__, run); \
    }
#define ARG(I) run->args[I]
#define GENERATION atoll(run->args[1])

PLACEMENT(tree, placement_tree, ARG(0), providers_known)
PLACEMENT(provider_create, placement_provider_create, ARG(0), ARG(1),
          providers_known)
PLACEMENT(provider_delete, placement_provider_delete, ARG(0), ended)
PLACEMENT(inventories, placement_inventories, ARG(0), facts_known)
PLACEMENT(aggregates, placement_aggregates, ARG(0), facts_known)
PLACEMENT(traits, placement_traits, ARG(0), facts_known)
PLACEMENT(usage, placement_usage, ARG(0), facts_known)
PLACEMENT(set_inventories, placement_set_inventories, ARG(0), GENERATION,
          run->json, facts_known)
PLACEMENT(set_traits, placement_set_traits, ARG(0), GENERATION, run->json,
          facts_known)
PLACEMENT(known_traits, placement_known_traits, run->json, facts_known)
PLACEMENT(trait_create, placement_trait_create, ARG(0), ended)
PLACEMENT(allocations, placement_allocations, ARG(0), allocations_known)
PLACEMENT(allocations_move, placement_allocations_move, ARG(0), ARG(1), ended)
PLACEMENT(allocations_delete, placement_allocations_delete, ARG(0), ended)

static const struct call {
    const char *name;
    int n_args;
    bool has_document; /* The last argument is JSON. */
    void (*make)(struct run *run);
} calls[] = {
    {"tree", 1, false, tree},
    {"provider_create", 2, false, provider_create},
    {"provider_delete", 1, false, provider_delete},
    {"inventories", 1, false, inventories},
    {"aggregates", 1, false, aggregates},
    {"traits", 1, false, traits},
    {"usage", 1, false, usage},
    {"set_inventories", 3, true, set_inventories},
    {"set_traits", 3, true, set_traits},
    {"known_traits", 1, true, known_traits},
    {"trait_create", 1, false, trait_create},
    {"allocations", 1, false, allocations},
    {"allocations_move", 2, false, allocations_move},
    {"allocations_delete", 1, false, allocations_delete},
};

static const struct call *
find_call(int argc, char **argv)
{
    for (size_t i = 0; argc > 2 && i < N_ELEMENTS(calls); i++) {
        if (str_eq(calls[i].name, argv[2]) && calls[i].n_args == argc - 3) {
            return &calls[i];
        }
    }
    return NULL;
}

static int
run_call(const struct call *call, const struct conf *conf, char **args,
         struct json *json)
{
    struct run run = {.args = args, .json = json};

    uv_loop_init(&run.loop);
    struct completion_queue *q = completion_queue_create(&run.loop);
    struct worker_pool *workers = worker_pool_create(q, "workers", 1);
    run.cloud = cloud_create(&run.loop, workers, conf);
    call->make(&run);
    uv_run(&run.loop, UV_RUN_DEFAULT);
    cloud_close(run.cloud);
    worker_pool_free(workers);
    completion_queue_close(q);
    uv_run(&run.loop, UV_RUN_DEFAULT);
    uv_loop_close(&run.loop);
    return run.is_done ? 0 : 1;
}

int
main(int argc, char **argv)
{
    const struct call *call = find_call(argc, argv);
    AUTO_CONF conf = NULL;
    AUTO_JSON json = NULL;
    AUTO_ERROR error = NULL;

    json_init();
    signal(SIGPIPE, SIG_IGN);
    if (!call) {
        fprintf(stderr, "usage: rest_calls CONFIGURATION CALL ARGUMENT...\n");
        return 2;
    }
    error = conf_load(argv[1], NULL, NULL, &conf);
    if (!error && call->has_document) {
        error = json_parse(argv[argc - 1], strlen(argv[argc - 1]), &json);
    }
    if (error) {
        fprintf(stderr, "%s\n", error_message(error));
        return 2;
    }
    return run_call(call, conf, argv + 3, json);
}
