#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

#include "agent/attachments.h"

/* The volumes and ports of an instance, on a host without a control plane that
 * knows of them. */

/* Without passwords: it goes to a terminal. */
static struct json *
describe(const struct object *instance)
{
    const struct json *kept = attachments_of(instance);

    if (!kept) {
        struct json *none = json_object();
        json_set(none, "volumes", json_array());
        json_set(none, "vifs", json_array());
        return none;
    }
    struct json *copy = json_copy(kept);
    json_for_each (row, json_get(copy, "volumes")) {
        struct json *data = json_get(json_get(row, "connection_info"), "data");
        if (json_has(data, "auth_password")) {
            json_set_string(data, "auth_password", "***");
        }
    }
    return copy;
}

static void
saved(void *aux, struct error *error, struct object *stored)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, describe(stored));
    }
    object_free(stored);
}

void
api_attachments(struct api_call *call)
{
    static const char *const expected[] = {"", NULL};
    const struct object *instance;
    const struct json *given = json_get(api_args(call), "attachments");
    struct json *kept = NULL;
    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);

    if (!error && given && !json_is_null(given)) {
        error =
            attachments_parse(given, object_string(instance, "uuid"), &kept);
    }
    if (error) {
        api_fail(call, error);
        return;
    }
    if (!kept) {
        api_reply(call, describe(instance));
        return;
    }
    struct records *records = api_agent(call)->records;
    AUTO_OBJECT changed = object_copy(instance);
    object_clear_changes(changed);
    object_set(changed, ATTACHMENTS_FIELD, kept);
    object_set_changed(changed, ATTACHMENTS_FIELD);
    records->ops->instance_save(records->state, api_context(call), changed,
                                expected, saved, call);
}
