#include <config.h>

#include "agent/health.h"

static const char *const names[] = {"ok", "degraded", "failed"};

struct verdict {
    enum health health; /* The worst. */
    struct json *reasons;
};

static void note(struct verdict *verdict, enum health health, const char *what,
                 const char *reason);
static void judge_bus(struct verdict *verdict,
                      const struct health_facts *facts);
static void judge_self_test(struct verdict *verdict,
                            const struct health_facts *facts);

enum health
health_judge(const struct health_facts *facts, struct json *json)
{
    struct verdict verdict = {.reasons = json_array()};

    if (facts->is_stopping) {
        note(&verdict, HEALTH_FAILED, "agent", "it is stopping");
    }
    judge_bus(&verdict, facts);
    if (!facts->hypervisor_is_up) {
        note(&verdict, HEALTH_FAILED, "hypervisor", "it does not answer");
    }
    judge_self_test(&verdict, facts);
    if (facts->unsaved_reason) {
        note(&verdict, HEALTH_FAILED, "storage", facts->unsaved_reason);
    }
    if (facts->n_residue) {
        AUTO_FREE reason =
            xasprintf("%u steps could not be done, and are tried again",
                      facts->n_residue);
        note(&verdict, HEALTH_DEGRADED, "journal", reason);
    }
    json_set_string(json, "status", names[verdict.health]);
    json_set(json, "reasons", verdict.reasons);
    return verdict.health;
}

static void
judge_bus(struct verdict *verdict, const struct health_facts *facts)
{
    if (facts->has_bus && !facts->bus_is_up) {
        note(verdict, HEALTH_FAILED, "bus", "it is not connected");
    } else if (facts->has_bus && facts->bus_is_blocked) {
        note(verdict, HEALTH_DEGRADED, "bus",
             "the broker takes no messages for the time being");
    }
}

/* That it waits is no fault: of what it waits for, the bus tells itself. */
static void
judge_self_test(struct verdict *verdict, const struct health_facts *facts)
{
    const char *reason = facts->self_test_reason;

    if (!facts->has_self_test) {
        return;
    }
    if (facts->self_test == SELF_TEST_FAILED) {
        note(verdict, HEALTH_FAILED, "self-test",
             reason ? reason : "the agent does not hear itself");
    } else if (facts->self_test == SELF_TEST_BUSY) {
        note(verdict, HEALTH_DEGRADED, "self-test",
             reason ? reason : "the agent is busy");
    }
}

static void
note(struct verdict *verdict, enum health health, const char *what,
     const char *reason)
{
    struct json *json = json_object();

    json_set_string(json, "what", what);
    json_set_string(json, "status", names[health]);
    json_set_string(json, "reason", reason);
    json_append(verdict->reasons, json);
    if (health > verdict->health) {
        verdict->health = health;
    }
}
