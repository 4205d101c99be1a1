#include <config.h>

#include "agent/nova/cinder.h"

#include <stdlib.h>

#define VERSION "3.44"

const struct service_kind cinder_kind = {
    .name = "cinder",
    .api = "volume",
    .version = "",
    .unreachable = ERR_CINDER_CONNECTION,
};

/* A request that was made, and who wants to know. */
struct ask {
    struct service *service;
    char *id;
    enum error_code not_found;
    bool is_deletion;
    cinder_attachment_done *attachment_done;
    cinder_ended *done;
    void *aux;
};

static struct ask *ask_create(struct service *service, const char *id,
                              void *aux);
static void ask_send(struct ask *ask, const char *method, const char *path,
                     const struct json *body, const struct json *context,
                     bool is_repeatable, service_done *done);
static void ask_free(struct ask *ask);
CLEANUP_FUNC(struct ask, ask_free)
static struct json *connector_of(const struct json *connector,
                                 const char *mountpoint);
static void attachment_answered(void *aux, const struct service_answer *answer,
                                struct error *error);
static void answered(void *aux, const struct service_answer *answer,
                     struct error *error);
static struct error *refuse(const struct ask *ask, const char *what,
                            const struct service_answer *answer);
static struct json *connection_info_of(const struct json *attachment);

void
cinder_attachment_create(struct service *cinder, const struct json *context,
                         const char *volume, const char *instance,
                         const struct json *connector, const char *mountpoint,
                         cinder_attachment_done *done, void *aux)
{
    struct ask *ask = ask_create(cinder, volume, aux);
    AUTO_JSON body = json_object();
    struct json *attachment = json_object();

    json_set(body, "attachment", attachment);
    json_set_string(attachment, "volume_uuid", volume);
    json_set(attachment, "connector", connector_of(connector, mountpoint));
    json_set_string(attachment, "instance_uuid", instance);
    ask->not_found = ERR_VOLUME_NOT_FOUND;
    ask->attachment_done = done;
    ask_send(ask, "POST", "/attachments", body, context, false,
             attachment_answered);
}

void
cinder_attachment_get(struct service *cinder, const struct json *context,
                      const char *attachment, cinder_attachment_done *done,
                      void *aux)
{
    struct ask *ask = ask_create(cinder, attachment, aux);
    AUTO_FREE path = xasprintf("/attachments/%s", attachment);

    ask->attachment_done = done;
    ask_send(ask, "GET", path, NULL, context, true, attachment_answered);
}

void
cinder_attachment_update(struct service *cinder, const struct json *context,
                         const char *attachment, const struct json *connector,
                         const char *mountpoint, cinder_attachment_done *done,
                         void *aux)
{
    struct ask *ask = ask_create(cinder, attachment, aux);
    AUTO_FREE path = xasprintf("/attachments/%s", attachment);
    AUTO_JSON body = json_object();

    json_set(body, "attachment",
             json_set(json_object(), "connector",
                      connector_of(connector, mountpoint)));
    ask->attachment_done = done;
    ask_send(ask, "PUT", path, body, context, true, attachment_answered);
}

void
cinder_attachment_complete(struct service *cinder, const struct json *context,
                           const char *attachment, cinder_ended *done,
                           void *aux)
{
    struct ask *ask = ask_create(cinder, attachment, aux);
    AUTO_FREE path = xasprintf("/attachments/%s/action", attachment);
    AUTO_JSON body = json_object();

    json_set_null(body, "os-complete");
    ask->done = done;
    ask_send(ask, "POST", path, body, context, true, answered);
}

void
cinder_attachment_delete(struct service *cinder, const struct json *context,
                         const char *attachment, cinder_ended *done, void *aux)
{
    struct ask *ask = ask_create(cinder, attachment, aux);
    AUTO_FREE path = xasprintf("/attachments/%s", attachment);

    ask->is_deletion = true;
    ask->done = done;
    ask_send(ask, "DELETE", path, NULL, context, true, answered);
}

void
cinder_volume_delete(struct service *cinder, const struct json *context,
                     const char *volume, cinder_ended *done, void *aux)
{
    struct ask *ask = ask_create(cinder, volume, aux);
    AUTO_FREE path = xasprintf("/volumes/%s", volume);

    ask->not_found = ERR_VOLUME_NOT_FOUND;
    ask->is_deletion = true;
    ask->done = done;
    ask_send(ask, "DELETE", path, NULL, context, true, answered);
}

static struct ask *
ask_create(struct service *service, const char *id, void *aux)
{
    struct ask *ask = xzalloc(sizeof *ask);

    ask->service = service;
    ask->id = xstrdup(id);
    ask->not_found = ERR_VOLUME_ATTACHMENT_NOT_FOUND;
    ask->aux = aux;
    return ask;
}

static void
ask_send(struct ask *ask, const char *method, const char *path,
         const struct json *body, const struct json *context,
         bool is_repeatable, service_done *done)
{
    const struct service_request request = {
        .method = method,
        .path = path,
        .microversion = VERSION,
        .body = body,
        .context = context,
        .is_as_user = true,
        .is_repeatable = is_repeatable,
    };

    service_send(ask->service, &request, done, ask);
}

static void
ask_free(struct ask *ask)
{
    free(ask->id);
    free(ask);
}

/* There is no other place for it. */
static struct json *
connector_of(const struct json *connector, const char *mountpoint)
{
    struct json *copy = json_copy(connector);

    if (mountpoint && json_is_object(copy) && !json_has(copy, "mountpoint")) {
        json_set_string(copy, "mountpoint", mountpoint);
    }
    return copy;
}

static void
attachment_answered(void *aux, const struct service_answer *answer,
                    struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    const struct json *json =
        answer ? json_get(answer->body, "attachment") : NULL;

    if (!error && (answer->status < 200 || answer->status > 299)) {
        error = refuse(ask, "attachment", answer);
    } else if (!error && !json_string_of(json, "id")) {
        error = service_nonsense(ask->service, "attachment");
    }
    if (error) {
        ask->attachment_done(ask->aux, NULL, error);
        return;
    }
    AUTO_JSON connection_info = connection_info_of(json);
    const struct cinder_attachment attachment = {
        .id = json_string_of(json, "id"),
        .volume_id = json_string_of(json, "volume_id"),
        .status = json_string_of(json, "status"),
        .connection_info = connection_info,
    };
    ask->attachment_done(ask->aux, &attachment, NULL);
}

static void
answered(void *aux, const struct service_answer *answer, struct error *error)
{
    CLEANUP(ask_free_at) struct ask *ask = aux;
    bool is_gone = answer && ask->is_deletion && answer->status == 404;

    if (!error && !is_gone && (answer->status < 200 || answer->status > 299)) {
        error = refuse(ask, ask->is_deletion ? "deletion" : "complete", answer);
    }
    ask->done(ask->aux, error);
}

static struct error *
refuse(const struct ask *ask, const char *what,
       const struct service_answer *answer)
{
    enum error_code code = ERR_CINDER_CONNECTION;

    if (answer->status == 404) {
        code = ask->not_found;
    } else if (answer->status == 400) {
        code = ERR_INVALID_INPUT;
    }
    struct error *error = service_refusal(ask->service, code, what, answer);
    return error_set_arg(
        error,
        ask->not_found == ERR_VOLUME_NOT_FOUND ? "volume_id" : "attachment_id",
        ask->id);
}

/* The form of the time before attachments, which Nova keeps: what the
 * connection needs is its "data", all else stands beside it. */
static struct json *
connection_info_of(const struct json *attachment)
{
    static const char *const firsts[] = {"status", "instance", "attached_at",
                                         "detached_at"};
    struct json *info = json_object();
    const struct json *given = json_get(attachment, "connection_info");

    if (!json_is_object(given) || json_size(given) == 0) {
        return info;
    }
    struct json *data = json_copy(given);
    json_remove(data, "attachment_id");
    json_set(info, "driver_volume_type",
             json_detach(data, "driver_volume_type"));
    json_set(info, "data", data);
    for (size_t i = 0; i < N_ELEMENTS(firsts); i++) {
        json_set(info, firsts[i], json_copy(json_get(attachment, firsts[i])));
    }
    json_for_each (member, attachment) {
        const char *name = json_name(member);

        if (!str_eq(name, "id") && !str_eq(name, "attach_mode") &&
            !str_eq(name, "connection_info")) {
            json_set(info, name, json_copy(member));
        }
    }
    return info;
}
