#include <config.h>

#include "agent/nova/placement_api.h"

#include <stdlib.h>
#include <string.h>

const struct service_kind placement_kind = {
    .name = "placement",
    .api = "placement",
    .version = "",
    .unreachable = ERR_PLACEMENT_CONNECTION,
};

/* What of an answer the items are, and what comes with them. */
struct reading {
    const char *what;  /* In texts. */
    const char *items; /* Name of the member. */
    enum error_code code;
};

static const struct reading inventories = {"inventories", "inventories",
                                           ERR_PROVIDER_RETRIEVAL};
static const struct reading aggregates = {"aggregates", "aggregates",
                                          ERR_PROVIDER_RETRIEVAL};
static const struct reading traits = {"traits", "traits",
                                      ERR_PROVIDER_RETRIEVAL};
static const struct reading usage = {"allocations", "allocations",
                                     ERR_PROVIDER_RETRIEVAL};
static const struct reading set_inventories = {"set inventories", "inventories",
                                               ERR_PROVIDER_UPDATE};
static const struct reading set_traits = {"set traits", "traits",
                                          ERR_PROVIDER_UPDATE};
static const struct reading set_aggregates = {"set aggregates", "aggregates",
                                              ERR_PROVIDER_UPDATE};

/* A request that was made, and who wants to know. */
struct ask {
    struct service *service;
    char *uuid, *name, *path;
    int64_t generation;
    const struct reading *reading;
    placement_providers_done *providers_done;
    placement_facts_done *facts_done;
    placement_ended *done;
    void *aux;
};

static struct ask *ask_create(struct service *service, const char *uuid,
                              char *path, void *aux);
static void ask_send(struct ask *ask, const char *method,
                     const char *microversion, const struct json *body,
                     const struct json *context, service_done *done);
static void ask_free(struct ask *ask);
CLEANUP_FUNC(struct ask, ask_free)
static void facts_get(struct service *service, const struct json *context,
                      const char *uuid, const struct reading *reading,
                      const char *microversion, placement_facts_done *done,
                      void *aux);
static void facts_set(struct service *service, const struct json *context,
                      const char *uuid, struct json *body,
                      const struct reading *reading, const char *microversion,
                      placement_facts_done *done, void *aux);
static void providers_answered(void *aux, const struct service_answer *answer,
                               struct error *error);
static void provider_answered(void *aux, const struct service_answer *answer,
                              struct error *error);
static void provider_deleted(void *aux, const struct service_answer *answer,
                             struct error *error);
static void facts_answered(void *aux, const struct service_answer *answer,
                           struct error *error);
static void trait_created(void *aux, const struct service_answer *answer,
                          struct error *error);
static struct error *facts_refusal(const struct ask *ask,
                                   const struct service_answer *answer);
static struct placement_provider provider_of(const struct json *json);
static char *join(const struct json *names);

void
placement_tree(struct service *placement, const struct json *context,
               const char *uuid, placement_providers_done *done, void *aux)
{
    struct ask *ask =
        ask_create(placement, uuid,
                   xasprintf("/resource_providers?in_tree=%s", uuid), aux);

    ask->providers_done = done;
    ask_send(ask, "GET", "1.14", NULL, context, providers_answered);
}

void
placement_sharing(struct service *placement, const struct json *context,
                  const struct json *of, placement_providers_done *done,
                  void *aux)
{
    AUTO_FREE uuids = join(of);
    struct ask *ask = ask_create(placement, uuids,
                                 xasprintf("/resource_providers?member_of=in:"
                                           "%s&required="
                                           "MISC_SHARES_VIA_AGGREGATE",
                                           uuids),
                                 aux);

    ask->providers_done = done;
    ask_send(ask, "GET", "1.18", NULL, context, providers_answered);
}

/* Done twice the second one says that it is there already. */
void
placement_provider_create(struct service *placement, const struct json *context,
                          const char *uuid, const char *name,
                          placement_providers_done *done, void *aux)
{
    AUTO_JSON body = json_object();
    struct ask *ask =
        ask_create(placement, uuid, xstrdup("/resource_providers"), aux);

    json_set_string(body, "uuid", uuid);
    json_set_string(body, "name", name);
    ask->name = xstrdup(name);
    ask->providers_done = done;
    ask_send(ask, "POST", "1.20", body, context, provider_answered);
}

void
placement_provider_delete(struct service *placement, const struct json *context,
                          const char *uuid, placement_ended *done, void *aux)
{
    struct ask *ask = ask_create(
        placement, uuid, xasprintf("/resource_providers/%s", uuid), aux);

    ask->done = done;
    ask_send(ask, "DELETE", NULL, NULL, context, provider_deleted);
}

void
placement_inventories(struct service *placement, const struct json *context,
                      const char *uuid, placement_facts_done *done, void *aux)
{
    facts_get(placement, context, uuid, &inventories, NULL, done, aux);
}

void
placement_aggregates(struct service *placement, const struct json *context,
                     const char *uuid, placement_facts_done *done, void *aux)
{
    facts_get(placement, context, uuid, &aggregates, "1.19", done, aux);
}

void
placement_traits(struct service *placement, const struct json *context,
                 const char *uuid, placement_facts_done *done, void *aux)
{
    facts_get(placement, context, uuid, &traits, "1.6", done, aux);
}

void
placement_usage(struct service *placement, const struct json *context,
                const char *uuid, placement_facts_done *done, void *aux)
{
    facts_get(placement, context, uuid, &usage, NULL, done, aux);
}

static struct json *
body_of(int64_t generation, const char *name, const struct json *items)
{
    struct json *body = json_object();

    json_set_int(body, "resource_provider_generation", generation);
    return json_set(body, name, json_copy(items));
}

void
placement_set_inventories(struct service *placement, const struct json *context,
                          const char *uuid, int64_t generation,
                          const struct json *items, placement_facts_done *done,
                          void *aux)
{
    facts_set(placement, context, uuid,
              body_of(generation, "inventories", items), &set_inventories,
              "1.26", done, aux);
}

void
placement_set_traits(struct service *placement, const struct json *context,
                     const char *uuid, int64_t generation,
                     const struct json *items, placement_facts_done *done,
                     void *aux)
{
    facts_set(placement, context, uuid, body_of(generation, "traits", items),
              &set_traits, "1.6", done, aux);
}

void
placement_set_aggregates(struct service *placement, const struct json *context,
                         const char *uuid, int64_t generation,
                         const struct json *items, placement_facts_done *done,
                         void *aux)
{
    facts_set(placement, context, uuid,
              body_of(generation, "aggregates", items), &set_aggregates, "1.19",
              done, aux);
}

void
placement_known_traits(struct service *placement, const struct json *context,
                       const struct json *names, placement_facts_done *done,
                       void *aux)
{
    AUTO_FREE joined = join(names);
    struct ask *ask =
        ask_create(placement, "", xasprintf("/traits?name=in:%s", joined), aux);

    ask->facts_done = done;
    ask->reading = &traits;
    ask_send(ask, "GET", "1.6", NULL, context, facts_answered);
}

void
placement_trait_create(struct service *placement, const struct json *context,
                       const char *name, placement_ended *done, void *aux)
{
    AUTO_FREE quoted = service_quote(name);
    struct ask *ask =
        ask_create(placement, "", xasprintf("/traits/%s", quoted), aux);

    ask->done = done;
    ask->name = xstrdup(name);
    ask_send(ask, "PUT", "1.6", NULL, context, trait_created);
}

/* Takes 'path'. */
static struct ask *
ask_create(struct service *service, const char *uuid, char *path, void *aux)
{
    struct ask *ask = xzalloc(sizeof *ask);

    ask->service = service;
    ask->uuid = xstrdup(uuid);
    ask->path = path;
    ask->aux = aux;
    return ask;
}

/* Nothing here does harm when it is done twice: what is written names the
 * generation that it is based on, or itself. */
static void
ask_send(struct ask *ask, const char *method, const char *microversion,
         const struct json *body, const struct json *context,
         service_done *done)
{
    const struct service_request request = {
        .method = method,
        .path = ask->path,
        .microversion = microversion,
        .body = body,
        .context = context,
        .is_repeatable = true,
    };

    service_send(ask->service, &request, done, ask);
}

static void
ask_free(struct ask *ask)
{
    free(ask->uuid);
    free(ask->name);
    free(ask->path);
    free(ask);
}

static void
facts_get(struct service *service, const struct json *context, const char *uuid,
          const struct reading *reading, const char *microversion,
          placement_facts_done *done, void *aux)
{
    struct ask *ask = ask_create(
        service, uuid,
        xasprintf("/resource_providers/%s/%s", uuid, reading->items), aux);

    ask->reading = reading;
    ask->facts_done = done;
    ask_send(ask, "GET", microversion, NULL, context, facts_answered);
}

/* Takes 'body'. */
static void
facts_set(struct service *service, const struct json *context, const char *uuid,
          struct json *body, const struct reading *reading,
          const char *microversion, placement_facts_done *done, void *aux)
{
    AUTO_JSON owned = body;
    struct ask *ask = ask_create(
        service, uuid,
        xasprintf("/resource_providers/%s/%s", uuid, reading->items), aux);

    ask->generation = json_int_of(body, "resource_provider_generation");
    ask->reading = reading;
    ask->facts_done = done;
    ask_send(ask, "PUT", microversion, owned, context, facts_answered);
}

static void
providers_answered(void *aux, const struct service_answer *answer,
                   struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    const struct json *list =
        answer ? json_get(answer->body, "resource_providers") : NULL;
    size_t n = json_size(list), i = 0;

    if (!error && answer->status != 200) {
        error =
            error_set_arg(service_refusal(ask->service, ERR_PROVIDER_RETRIEVAL,
                                          "providers", answer),
                          "uuid", ask->uuid);
    } else if (!error && !json_is_array(list)) {
        error = service_nonsense(ask->service, "providers");
    }
    if (error) {
        ask->providers_done(ask->aux, NULL, 0, error);
        return;
    }
    struct placement_provider *providers = xcalloc(n + 1, sizeof *providers);
    json_for_each (provider, list) {
        providers[i++] = provider_of(provider);
    }
    ask->providers_done(ask->aux, providers, n, NULL);
    free(providers);
}

static void
provider_answered(void *aux, const struct service_answer *answer,
                  struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status != 200 && answer->status != 201) {
        error =
            error_set_arg(service_refusal(ask->service, ERR_PROVIDER_CREATION,
                                          "create a provider", answer),
                          "name", ask->name);
    } else if (!error && !json_is_int(json_get(answer->body, "generation"))) {
        error = service_nonsense(ask->service, "create a provider");
    }
    if (error) {
        ask->providers_done(ask->aux, NULL, 0, error);
        return;
    }
    struct placement_provider provider = provider_of(answer->body);
    ask->providers_done(ask->aux, &provider, 1, NULL);
}

static void
provider_deleted(void *aux, const struct service_answer *answer,
                 struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status != 204 && answer->status != 404) {
        error =
            error_set_arg(service_refusal(ask->service, ERR_PROVIDER_DELETION,
                                          "delete a provider", answer),
                          "uuid", ask->uuid);
    }
    ask->done(ask->aux, error);
}

static void
trait_created(void *aux, const struct service_answer *answer,
              struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;

    if (!error && answer->status != 201 && answer->status != 204) {
        error = service_refusal(ask->service, ERR_PROVIDER_UPDATE, ask->name,
                                answer);
        error_set_arg(error, "url", ask->path);
    }
    ask->done(ask->aux, error);
}

static void
facts_answered(void *aux, const struct service_answer *answer,
               struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    struct placement_facts facts = {0};

    if (!error && answer->status != 200) {
        error = facts_refusal(ask, answer);
    }
    if (!error) {
        facts.items = json_get(answer->body, ask->reading->items);
        facts.generation =
            json_int_of(answer->body, "resource_provider_generation");
    }
    if (!error && !facts.items) {
        error = service_nonsense(ask->service, ask->reading->what);
    }
    ask->facts_done(ask->aux, error ? NULL : &facts, error);
}

/* Who does not find his provider any more has to read anew, too. */
static struct error *
facts_refusal(const struct ask *ask, const struct service_answer *answer)
{
    const char *code =
        json_string_of(json_first(json_get(answer->body, "errors")), "code");
    bool is_write = ask->reading->code == ERR_PROVIDER_UPDATE;
    enum error_code of = ask->reading->code;
    AUTO_FREE generation = xasprintf("%lld", (long long)ask->generation);

    if (is_write && str_eq(code, "placement.inventory.inuse")) {
        of = ERR_INVENTORY_IN_USE;
    } else if (is_write && (answer->status == 409 || answer->status == 404)) {
        of = ERR_PROVIDER_CONFLICT;
    }
    struct error *error =
        service_refusal(ask->service, of, ask->reading->what, answer);
    error_set_arg(error, "uuid", ask->uuid);
    error_set_arg(error, "url", ask->path);
    if (of == ERR_PROVIDER_CONFLICT) {
        error_set_arg(error, "generation", generation);
    }
    if (of == ERR_INVENTORY_IN_USE) {
        error_set_arg(error, "resource_provider", ask->uuid);
    }
    return error;
}

static struct placement_provider
provider_of(const struct json *json)
{
    const char *uuid = json_string_of(json, "uuid");
    const char *name = json_string_of(json, "name");

    return (struct placement_provider){
        .uuid = uuid ? uuid : "",
        .name = name ? name : "",
        .parent_uuid = json_string_of(json, "parent_provider_uuid"),
        .generation = json_int_of(json, "generation"),
    };
}

/* Names of traits and UUIDs need no quotes; what would, is none of them. */
static char *
join(const struct json *names)
{
    char *joined = xstrdup("");

    json_for_each (name, names) {
        AUTO_FREE before = joined;
        const char *text = json_get_string(name);
        AUTO_FREE quoted = service_quote(text ? text : "");

        joined = xasprintf("%s%s%s", before, *before ? "," : "", quoted);
    }
    return joined;
}
