#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "rpc/envelope.h"
#include "rpc/failure.h"
#include "rpc/inflate.h"

#define MAX (1u << 20)

static void request(const char *body, size_t size);
static void reply(const char *body, size_t size);

/* A body is taken for a request, a reply, and a compressed one of either. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data;
    AUTO_FREE inflated = NULL;
    size_t inflated_size = 0;
    AUTO_ERROR error = inflate_body("application/x-gzip", body, size, MAX,
                                    &inflated, &inflated_size);

    if (inflated) {
        REQUIRE(!error && inflated_size <= MAX);
        body = inflated;
        size = inflated_size;
    }
    request(body, size);
    reply(body, size);
    return 0;
}

/* What can be answered can be answered with a failure. */
static void
request(const char *body, size_t size)
{
    CLEANUP(envelope_free_at) struct envelope *env = NULL;
    AUTO_ERROR error = envelope_parse(body, size, &env);

    REQUIRE(!error == !!env);
    if (!env) {
        return;
    }
    REQUIRE(env->args && env->context);
    REQUIRE(env->invalid || (env->method && env->version));
    REQUIRE(env->msg_id || !env->reply_q);
    if (env->invalid && env->msg_id) {
        AUTO_FREE failure = failure_format(env->invalid);
        size_t answer_size;
        AUTO_FREE answer = envelope_format_reply(env->msg_id, env->args,
                                                 failure, true, &answer_size);
        reply(answer, answer_size);
    }
}

static void
reply(const char *body, size_t size)
{
    CLEANUP(reply_free_at) struct reply *parsed = NULL;
    AUTO_ERROR error = envelope_parse_reply(body, size, &parsed);

    REQUIRE(!error == !!parsed);
    if (parsed && parsed->failure) {
        AUTO_FREE text = failure_format(parsed->failure);
        AUTO_ERROR again = failure_parse(text);
        REQUIRE(again);
    }
}
