#include <config.h>

#include "agent/attach.h"

#include <stdlib.h>

#include "agent/agent.h"

struct answer {
    struct completion completion; /* First: it is posted. */
    attach_done *done;
    void *aux;
};

static void
answer_deliver(struct completion *c)
{
    struct answer *answer = container_of(c, struct answer, completion);

    answer->done(answer->aux, NULL);
    free(answer);
}

/* There is nothing to do, which is done at once, but not before returning. */
static void
nothing(struct agent *agent, const struct json *context UNUSED,
        const struct object *instance UNUSED, const struct object *data UNUSED,
        attach_done *done, void *aux)
{
    struct answer *answer = xzalloc(sizeof *answer);

    answer->completion.deliver = answer_deliver;
    answer->done = done;
    answer->aux = aux;
    completion_post(agent->q, &answer->completion);
}

const struct volume_ops volume_none = {
    .connect_dest = nothing,
    .disconnect_dest = nothing,
    .restore_source = nothing,
    .disconnect_source = nothing,
};

const struct vif_ops vif_none = {
    .plug_dest = nothing,
    .unplug_dest = nothing,
    .activate_dest = nothing,
    .unplug_source = nothing,
    .settle_dest = nothing,
};
