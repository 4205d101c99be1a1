#include <config.h>

#include "tests/unit/fake_conductor.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/failure.h"
#include "rpc/object_level.h"

static void requested(void *aux, const struct delivery *delivery);
static bool tell_version(struct fake_conductor *, const struct envelope *);
static void reply(struct fake_conductor *, const struct envelope *,
                  const struct json *result, const struct error *error);

struct json *
fake_conductor_json(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *ret = NULL;

    for (char *p = copy; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &ret);
    if (error) {
        abort(); /* A mistake of the test. */
    }
    return ret;
}

void
fake_conductor_attach(struct fake_conductor *fake, struct memory_bus *bus,
                      const char *versions)
{
    fake->bus = bus;
    fake->versions = fake_conductor_json(versions);
    fake->transport = memory_bus_attach(bus, "conductor", "controller");
    fake->transport->server =
        (struct transport_events){.request = requested, .aux = fake};
}

void
fake_conductor_detach(struct fake_conductor *fake)
{
    memory_bus_detach(fake->bus, fake->transport);
    for (unsigned i = 0; i < fake->n_requests; i++) {
        envelope_free(fake->requests[i]);
    }
    json_free(fake->versions);
}

void
fake_conductor_upgrade(struct fake_conductor *fake, const char *versions)
{
    json_free(fake->versions);
    fake->versions = fake_conductor_json(versions);
}

void
fake_conductor_answer(struct fake_conductor *fake, unsigned i,
                      const char *result, const struct error *error)
{
    AUTO_JSON json = result ? fake_conductor_json(result) : NULL;

    reply(fake, fake->requests[i], json, error);
    memory_bus_deliver_all(fake->bus);
}

const struct json *
fake_conductor_arg(const struct fake_conductor *fake, unsigned i,
                   const char *name)
{
    return json_get(fake->requests[i]->args, name);
}

static void
requested(void *aux, const struct delivery *delivery)
{
    struct fake_conductor *fake = aux;
    CLEANUP(envelope_free_at) struct envelope *env = NULL;
    AUTO_ERROR error = envelope_parse(delivery->body, delivery->size, &env);

    fake->transport->ops->settle(fake->transport->state, delivery->tag,
                                 TRANSPORT_ACK);
    if (error || env->invalid ||
        fake->n_requests == N_ELEMENTS(fake->requests)) {
        abort();
    }
    if (!tell_version(fake, env)) {
        fake->requests[fake->n_requests++] = steal(&env);
    }
}

/* Refuses a version that is newer than its own, or a method that it has not
 * got, as the real one does. */
static bool
tell_version(struct fake_conductor *fake, const struct envelope *env)
{
    const char *name = json_string_of(env->args, "objname");
    const char *asked =
        json_string_of(json_get(env->args, "object_versions"), name);
    struct object_version wanted, has;

    if (!str_eq(env->method, "object_class_action_versions") ||
        !object_version_parse(asked, &wanted, NULL)) {
        return false;
    }
    bool has_it =
        object_version_parse(json_string_of(fake->versions, name), &has, NULL);
    bool is_new =
        !has_it || wanted.major != has.major || wanted.minor > has.minor;
    bool is_question = str_eq(json_string_of(env->args, "objmethod"),
                              "drover_asks_for_the_version");
    if (!is_new && !is_question) {
        return false;
    }
    fake->n_learnt++;
    fake->n_refused += is_new;
    if (!fake->is_mute) {
        AUTO_ERROR error =
            fake->is_odd ? NULL
            : !has_it    ? error_new(ERR_UNSUPPORTED_OBJECT,
                                     "Unsupported object type %s", name)
            : is_new     ? object_incompatible(name, asked, has)
                         : error_new_remote("AttributeError", "builtins",
                                            "no such method");
        reply(fake, env, NULL, error);
    }
    return true;
}

static void
reply(struct fake_conductor *fake, const struct envelope *env,
      const struct json *result, const struct error *error)
{
    AUTO_FREE failure = error ? failure_format(error) : NULL;
    size_t size;
    char *body =
        envelope_format_reply(env->msg_id, result, failure, true, &size);

    fake->transport->ops->publish(
        fake->transport->state,
        message_create(MESSAGE_REPLY, "", env->reply_q, body, size));
}
