#include <config.h>

#include "agent/nova/volume_records.h"

#include <stdlib.h>

struct listing {
    volume_records_done *done;
    void *aux;
};

struct saving {
    attach_done *done;
    void *aux;
};

static unsigned
patience_ms(const struct nova *nova)
{
    return (unsigned)nova->agent->conf->rpc_response_timeout * 1000;
}

static void
listed(void *aux, struct json **result, struct object *object,
       struct error *error)
{
    struct listing *listing = aux;

    object_free(object);
    listing->done(listing->aux, error ? NULL : steal(result), error);
    free(listing);
}

void
volume_records_list(struct nova *nova, const struct json *context,
                    const char *instance, volume_records_done *done, void *aux)
{
    struct listing *listing = xzalloc(sizeof *listing);
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "BlockDeviceMappingList",
        .method = "get_by_instance_uuid",
        .args = json_append(json_array(), json_string(instance)),
        .patience_ms = patience_ms(nova),
    };

    listing->done = done;
    listing->aux = aux;
    conductor_work_start(nova->works, &request, listed, listing);
}

static void
saved(void *aux, struct json **result UNUSED, struct object *object,
      struct error *error)
{
    struct saving *saving = aux;

    object_free(object);
    saving->done(saving->aux,
                 error_wrap(error, "save where a volume is attached"));
    free(saving);
}

void
volume_records_save(struct nova *nova, const struct json *context,
                    const struct json *device, const char *attachment,
                    const char *info, attach_done *done, void *aux)
{
    AUTO_OBJECT object = NULL;
    struct error *error = object_parse(device, "BlockDeviceMapping", &object);

    if (error) {
        done(aux, error);
        return;
    }
    /* Saved whatever the list said of them: it may be older. */
    object_clear_changes(object);
    object_set_string(object, "attachment_id", attachment);
    object_set_changed(object, "attachment_id");
    object_set(object, "connection_info", json_string(info));
    object_set_changed(object, "connection_info");
    struct saving *saving = xzalloc(sizeof *saving);
    saving->done = done;
    saving->aux = aux;
    const struct conductor_work_request request = {
        .context = context,
        .object = object,
        .method = "save",
        .patience_ms = patience_ms(nova),
    };
    conductor_work_start(nova->works, &request, saved, saving);
}
