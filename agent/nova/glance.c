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
    glance_image_done *done;
    void *aux;
};

static void answered(void *aux, const struct service_answer *answer,
                     struct error *error);
static struct error *refuse(const struct ask *ask,
                            const struct service_answer *answer);
static struct glance_image image_of(const struct json *json);

void
glance_image_get(struct service *glance, const struct json *context,
                 const char *image, glance_image_done *done, void *aux)
{
    AUTO_FREE path = xasprintf("/images/%s", image);
    struct ask *ask = xzalloc(sizeof *ask);
    const struct service_request request = {
        .method = "GET",
        .path = path,
        .context = context,
        .is_as_user = true,
    };

    ask->service = glance;
    ask->image = xstrdup(image);
    ask->done = done;
    ask->aux = aux;
    service_send(glance, &request, answered, ask);
}

static void
answered(void *aux, const struct service_answer *answer, struct error *error)
{
    struct ask *ask = aux;
    struct glance_image image;

    if (error_code(error) == ERR_UNAUTHORIZED) {
        struct error *renamed =
            error_new(ERR_IMAGE_NOT_AUTHORIZED, "%s", error_message(error));
        error_free(error);
        error = error_set_arg(renamed, "image_id", ask->image);
    } else if (!error && answer->status != 200) {
        error = refuse(ask, answer);
    } else if (!error && (!json_string_of(answer->body, "id") ||
                          !json_string_of(answer->body, "status"))) {
        error = service_nonsense(ask->service, "image");
    } else if (!error) {
        image = image_of(answer->body);
    }
    if (error_code(error) == ERR_GLANCE_CONNECTION) {
        error_set_arg(error, "server", service_address(ask->service));
    }
    ask->done(ask->aux, error ? NULL : &image, error);
    free(ask->image);
    free(ask);
}

static struct error *
refuse(const struct ask *ask, const struct service_answer *answer)
{
    enum error_code code = ERR_GLANCE_CONNECTION;

    if (answer->status == 404) {
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
