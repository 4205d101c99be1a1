#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

/* Operations of the journal, for the operator. */

static struct error *
find_op(const struct api_call *call, struct op **ret)
{
    const char *text = api_text(call, "op");

    return text ? op_search(api_agent(call)->ops, text, ret)
                : error_new(ERR_VALUE, "op is no text");
}

void
api_op_list(struct api_call *call)
{
    api_reply(call, op_engine_list(api_agent(call)->ops));
}

void
api_op_show(struct api_call *call)
{
    struct op *op = NULL;
    struct error *error = find_op(call, &op);

    if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, op_describe(op));
    }
}

void
api_op_retry(struct api_call *call)
{
    struct op *op = NULL;
    AUTO_JSON before = NULL;
    struct error *error = find_op(call, &op);

    if (!error) {
        before = op_describe(op);
        error = op_retry(op);
    }
    if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, steal(&before));
    }
}

struct forget_call {
    struct api_call *call;
    struct json *before;
};

static void
forgotten(void *aux, struct error *error)
{
    struct forget_call *forget = aux;

    if (error) {
        api_fail(forget->call, error);
        json_free(forget->before);
    } else {
        api_reply(forget->call, forget->before);
    }
    free(forget);
}

void
api_op_forget(struct api_call *call)
{
    struct op *op = NULL;
    struct error *error = find_op(call, &op);

    if (error) {
        api_fail(call, error);
        return;
    }
    struct forget_call *forget = xzalloc(sizeof *forget);
    forget->call = call;
    forget->before = op_describe(op);
    op_forget(op, forgotten, forget);
}
