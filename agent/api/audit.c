#include <config.h>

#include "agent/api/methods.h"

#include "agent/audit/facts.h"
#include "agent/audit/run.h"

/* What an audit asks of each host, and the audit itself. */

static void
answer(void *aux, struct error *error, struct json *result)
{
    if (error) {
        api_fail(aux, error);
    } else {
        api_reply(aux, result);
    }
}

void
api_audit_facts(struct api_call *call)
{
    audit_facts(api_agent(call), api_context(call), answer, call);
}

void
api_audit(struct api_call *call)
{
    int repair = 0;
    struct error *error = api_tristate(call, "repair", &repair);

    if (error) {
        api_fail(call, error);
    } else {
        audit_run(api_agent(call), api_context(call), api_log(call),
                  repair == 1, answer, call);
    }
}
