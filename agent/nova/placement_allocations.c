#include <config.h>

#include "agent/nova/placement_api.h"

/* Allocations.  Each write names the generation of its consumers that was read
 * just before; if another was quicker it is read and decided again. */

#include <stdlib.h>

LOG_MODULE(placement_allocations);

#define VERSION "1.28"

enum { FROM, TO, N_CONSUMERS };

/* What is known of a consumer. */
struct consumer {
    char *uuid;
    struct json *body; /* As Placement gave it; null: not read yet. */
};

/* Takes the allocations of FROM away, or gives them to TO if there is one. */
struct change {
    struct service *service;
    struct json *context;
    struct consumer consumers[N_CONSUMERS];
    unsigned n_tries;
    placement_ended *done;
    void *aux;
};

struct look {
    struct service *service;
    char *consumer;
    placement_allocations_done *done;
    void *aux;
};

static void get(struct service *service, const struct json *context,
                const char *consumer, service_done *done, void *aux);
static void looked(void *aux, const struct service_answer *answer,
                   struct error *error);
static struct error *get_fault(struct service *service, const char *consumer,
                               const struct service_answer *answer);
static void change_start(struct service *service, const struct json *context,
                         const char *from, const char *to,
                         placement_ended *done, void *aux);
static void change_read(struct change *change);
static void change_got(void *aux, const struct service_answer *answer,
                       struct error *error);
static void change_write(struct change *change);
static struct json *entry_of(const struct json *allocations,
                             const struct json *of,
                             const struct json *generation_of);
static void change_written(void *aux, const struct service_answer *answer,
                           struct error *error);
static void change_end(struct change *change, struct error *error);
static struct consumer *next_unread(struct change *change);

void
placement_allocations(struct service *placement, const struct json *context,
                      const char *consumer, placement_allocations_done *done,
                      void *aux)
{
    struct look *look = xzalloc(sizeof *look);

    look->service = placement;
    look->consumer = xstrdup(consumer);
    look->done = done;
    look->aux = aux;
    get(placement, context, consumer, looked, look);
}

void
placement_allocations_delete(struct service *placement,
                             const struct json *context, const char *consumer,
                             placement_ended *done, void *aux)
{
    change_start(placement, context, consumer, NULL, done, aux);
}

void
placement_allocations_move(struct service *placement,
                           const struct json *context, const char *from,
                           const char *to, placement_ended *done, void *aux)
{
    change_start(placement, context, from, to, done, aux);
}

static void
get(struct service *service, const struct json *context, const char *consumer,
    service_done *done, void *aux)
{
    AUTO_FREE path = xasprintf("/allocations/%s", consumer);
    const struct service_request request = {
        .method = "GET",
        .path = path,
        .microversion = VERSION,
        .context = context,
    };

    service_send(service, &request, done, aux);
}

static void
looked(void *aux, const struct service_answer *answer, struct error *error)
{
    struct look *look = aux;
    struct placement_allocations allocations;

    if (!error) {
        error = get_fault(look->service, look->consumer, answer);
    }
    if (!error) {
        const struct json *generation =
            json_get(answer->body, "consumer_generation");

        allocations = (struct placement_allocations){
            .items = json_get(answer->body, "allocations"),
            .project_id = json_string_of(answer->body, "project_id"),
            .user_id = json_string_of(answer->body, "user_id"),
            .generation =
                json_is_int(generation) ? json_get_int(generation) : -1,
        };
    }
    look->done(look->aux, error ? NULL : &allocations, error);
    free(look->consumer);
    free(look);
}

static struct error *
get_fault(struct service *service, const char *consumer,
          const struct service_answer *answer)
{
    if (answer->status != 200) {
        return error_set_arg(service_refusal(service, ERR_ALLOCATION_RETRIEVAL,
                                             "allocations", answer),
                             "consumer_uuid", consumer);
    }
    return json_is_object(json_get(answer->body, "allocations"))
               ? NULL
               : service_nonsense(service, "allocations");
}

static void
change_start(struct service *service, const struct json *context,
             const char *from, const char *to, placement_ended *done, void *aux)
{
    struct change *change = xzalloc(sizeof *change);

    change->service = service;
    change->context = json_copy(context);
    change->consumers[FROM].uuid = xstrdup(from);
    change->consumers[TO].uuid = xstrdup_null(to);
    change->done = done;
    change->aux = aux;
    change_read(change);
}

static struct consumer *
next_unread(struct change *change)
{
    for (size_t i = 0; i < N_CONSUMERS; i++) {
        struct consumer *consumer = &change->consumers[i];

        if (consumer->uuid && !consumer->body) {
            return consumer;
        }
    }
    return NULL;
}

static void
change_read(struct change *change)
{
    struct consumer *consumer = next_unread(change);

    if (consumer) {
        get(change->service, change->context, consumer->uuid, change_got,
            change);
    } else {
        change_write(change);
    }
}

static void
change_got(void *aux, const struct service_answer *answer, struct error *error)
{
    struct change *change = aux;
    struct consumer *consumer = next_unread(change);

    if (!error) {
        error = get_fault(change->service, consumer->uuid, answer);
    }
    if (error) {
        change_end(change, error);
        return;
    }
    consumer->body = json_copy(answer->body);
    if (consumer == &change->consumers[FROM] &&
        json_size(json_get(consumer->body, "allocations")) == 0) {
        change_end(change, NULL); /* It was done before. */
        return;
    }
    change_read(change);
}

/* Of what TO has nothing stays, as when Nova takes a migration back. */
static void
change_write(struct change *change)
{
    const struct consumer *from = &change->consumers[FROM];
    const struct consumer *to = &change->consumers[TO];
    AUTO_JSON nothing = json_object();
    AUTO_JSON body = entry_of(nothing, from->body, from->body);
    AUTO_FREE path = xasprintf("/allocations/%s", from->uuid);

    if (to->uuid) {
        struct json *both = json_object();

        json_set(both, from->uuid, steal(&body));
        json_set(both, to->uuid,
                 entry_of(json_get(from->body, "allocations"), from->body,
                          to->body));
        body = both;
    }
    const struct service_request request = {
        .method = to->uuid ? "POST" : "PUT",
        .path = to->uuid ? "/allocations" : path,
        .microversion = VERSION,
        .body = body,
        .context = change->context,
        .is_repeatable = true, /* It names the generations. */
    };
    change->n_tries++;
    service_send(change->service, &request, change_written, change);
}

static struct json *
entry_of(const struct json *allocations, const struct json *of,
         const struct json *generation_of)
{
    struct json *entry = json_object();

    json_set(entry, "allocations", json_copy(allocations));
    json_set(entry, "project_id", json_copy(json_get(of, "project_id")));
    json_set(entry, "user_id", json_copy(json_get(of, "user_id")));
    return json_set(entry, "consumer_generation",
                    json_copy(json_get(generation_of, "consumer_generation")));
}

static void
change_written(void *aux, const struct service_answer *answer,
               struct error *error)
{
    struct change *change = aux;

    if (!error && answer->status == 409 &&
        change->n_tries < PLACEMENT_N_TRIES) {
        log_debug(NULL, "another changed the allocations of '%s'",
                  change->consumers[FROM].uuid);
        for (size_t i = 0; i < N_CONSUMERS; i++) {
            json_free(steal(&change->consumers[i].body));
        }
        change_read(change);
        return;
    }
    if (!error && answer->status != 204) {
        error = error_set_arg(service_refusal(change->service,
                                              ERR_ALLOCATION_UPDATE,
                                              "write allocations", answer),
                              "consumer_uuid", change->consumers[FROM].uuid);
    }
    change_end(change, error);
}

static void
change_end(struct change *change, struct error *error)
{
    placement_ended *done = change->done;
    void *aux = change->aux;

    for (size_t i = 0; i < N_CONSUMERS; i++) {
        free(change->consumers[i].uuid);
        json_free(change->consumers[i].body);
    }
    json_free(change->context);
    free(change);
    done(aux, error);
}
