#include <config.h>

#include "agent/nova/console_tokens.h"

#include <stdlib.h>

#include "agent/nova/conductor_work.h"

struct revocation {
    attach_done *done;
    void *aux;
};

static void
revoked(void *aux, struct json **result UNUSED, struct object *object,
        struct error *error)
{
    struct revocation *r = aux;

    object_free(object);
    r->done(r->aux, error_wrap(error, "revoke the tokens of its consoles"));
    free(r);
}

void
console_tokens_revoke(struct nova *nova, const struct json *context,
                      const char *instance, attach_done *done, void *aux)
{
    const struct conf *conf = nova->agent->conf;

    if (!conf->vnc.enabled && !conf->spice.enabled &&
        !conf->serial_console.enabled) {
        done(aux, NULL);
        return;
    }
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "ConsoleAuthToken",
        .method = "clean_console_auths_for_instance",
        .args = json_append(json_array(), json_string(instance)),
        .patience_ms = (unsigned)conf->rpc_response_timeout * 1000,
    };
    struct revocation *r = xzalloc(sizeof *r);
    r->done = done;
    r->aux = aux;
    conductor_work_start(nova->works, &request, revoked, r);
}
