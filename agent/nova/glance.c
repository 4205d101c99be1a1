#include <config.h>

#include "agent/nova/glance.h"

#include <stdlib.h>

const struct service_kind glance_kind = {
    .name = "glance",
    .version = "/v2",
    .unreachable = ERR_GLANCE_CONNECTION,
};

struct ask {
    struct service *service;
    char *image;
    glance_image_done *done; /* One of these. */
    glance_data_done *data_done;
    void *aux;
};

static struct ask *ask_create(struct service *glance, const char *image,
                              void *aux);
static void ask_send(struct ask *ask, const struct json *context,
                     const char *what, struct service_request request,
                     service_done *done);
static void ask_free(struct ask *ask);
static void answered(void *aux, const struct service_answer *answer,
                     struct error *error);
static void downloaded(void *aux, const struct service_answer *answer,
                       struct error *error);
static struct error *judge(const struct ask *ask,
                           const struct service_answer *answer,
                           struct error *error);
static struct error *refuse(const struct ask *ask,
                            const struct service_answer *answer);
static struct glance_image image_of(const struct json *json);

void
glance_image_get(struct service *glance, const struct json *context,
                 const char *image, glance_image_done *done, void *aux)
{
    struct ask *ask = ask_create(glance, image, aux);

    ask->done = done;
    ask_send(ask, context, "", (struct service_request){0}, answered);
}

void
glance_image_download(struct service *glance, const struct json *context,
                      const char *image, int fd, unsigned timeout_ms,
                      glance_data_done *done, void *aux)
{
    struct ask *ask = ask_create(glance, image, aux);

    ask->data_done = done;
    ask_send(ask, context, "/file",
             (struct service_request){.file = &fd, .timeout_ms = timeout_ms},
             downloaded);
}

/* 'what' of the image is asked for, as 'request' says. */
static void
ask_send(struct ask *ask, const struct json *context, const char *what,
         struct service_request request, service_done *done)
{
    AUTO_FREE quoted = service_quote(ask->image);
    AUTO_FREE path = xasprintf("/images/%s%s", quoted, what);

    request.method = "GET";
    request.path = path;
    request.context = context;
    request.is_as_user = true;
    service_send(ask->service, &request, done, ask);
}

static struct ask *
ask_create(struct service *glance, const char *image, void *aux)
{
    struct ask *ask = xzalloc(sizeof *ask);

    ask->service = glance;
    ask->image = xstrdup(image);
    ask->aux = aux;
    return ask;
}

static void
ask_free(struct ask *ask)
{
    free(ask->image);
    free(ask);
}

static void
answered(void *aux, const struct service_answer *answer, struct error *error)
{
    struct ask *ask = aux;
    struct glance_image image;

    error = judge(ask, answer, error);
    if (!error && (!json_string_of(answer->body, "id") ||
                   !json_string_of(answer->body, "status"))) {
        error = service_nonsense(ask->service, "image");
        error_set_arg(error, "server", service_address(ask->service));
    } else if (!error) {
        image = image_of(answer->body);
    }
    ask->done(ask->aux, error ? NULL : &image, error);
    ask_free(ask);
}

static void
downloaded(void *aux, const struct service_answer *answer, struct error *error)
{
    struct ask *ask = aux;

    ask->data_done(ask->aux, judge(ask, answer, error));
    ask_free(ask);
}

/* Takes 'error'; null: the answer is a 200. */
static struct error *
judge(const struct ask *ask, const struct service_answer *answer,
      struct error *error)
{
    if (error_code(error) == ERR_UNAUTHORIZED) {
        struct error *renamed =
            error_new(ERR_IMAGE_NOT_AUTHORIZED, "%s", error_message(error));
        error_free(error);
        error = error_set_arg(renamed, "image_id", ask->image);
    } else if (!error && answer->status != 200) {
        error = refuse(ask, answer);
    }
    if (error_code(error) == ERR_GLANCE_CONNECTION) {
        error_set_arg(error, "server", service_address(ask->service));
    }
    return error;
}

static struct error *
refuse(const struct ask *ask, const struct service_answer *answer)
{
    enum error_code code = ERR_GLANCE_CONNECTION;

    if (answer->status == 404 || answer->status == 204) { /* No data. */
        code = ERR_IMAGE_NOT_FOUND;
    }
    struct error *error = service_refusal(ask->service, code, "image", answer);
    if (error_code(error) == ERR_FORBIDDEN) {
        error_free(error);
        error = error_new(ERR_IMAGE_NOT_AUTHORIZED, "glance: 403");
    }
    return error_set_arg(error, "image_id", ask->image);
}

static struct glance_image
image_of(const struct json *json)
{
    return (struct glance_image){
        .id = json_string_of(json, "id"),
        .status = json_string_of(json, "status"),
        .name = json_string_of(json, "name"),
        .disk_format = json_string_of(json, "disk_format"),
        .container_format = json_string_of(json, "container_format"),
        .checksum = json_string_of(json, "checksum"),
        .size = json_int_of(json, "size"),
        .virtual_size = json_int_of(json, "virtual_size"),
        .min_disk_gb = json_int_of(json, "min_disk"),
        .min_ram_mb = json_int_of(json, "min_ram"),
        .json = json,
    };
}
