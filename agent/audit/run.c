#include <config.h>

#include "agent/audit/run.h"

#include <stdlib.h>

#include "agent/audit/audit.h"
#include "agent/audit/facts.h"
#include "agent/audit/mend.h"
#include "agent/peer.h"

struct audit {
    struct agent *agent;
    struct json *context;
    struct log_context log;
    bool repair;
    struct json *facts;  /* Of this round. */
    struct json *silent; /* The same. */
    struct json *first;  /* What the first round found; null: it is it. */
    struct json *findings;
    size_t next; /* To be mended. */
    audit_done *done;
    void *aux;
};

static void start_round(struct audit *audit);
static void own_known(void *aux, struct error *error, struct json *facts);
static void host_answered(void *aux, const struct json *result,
                          const struct error *error);
static void all_answered(void *aux);
static void note_silent(struct audit *audit);
static bool has_answered(const struct audit *audit, const char *host);
static bool has_name(const struct json *names, const char *name);
static void mend_next(struct audit *audit);
static void mended(void *aux, struct error *error);
static void end(struct audit *audit, struct error *error);

void
audit_run(struct agent *agent, const struct json *context,
          const struct log_context *log, bool repair, audit_done *done,
          void *aux)
{
    struct audit *audit = xzalloc(sizeof *audit);

    audit->agent = agent;
    audit->context = json_copy(context);
    audit->log = *log;
    audit->repair = repair;
    audit->done = done;
    audit->aux = aux;
    start_round(audit);
}

static void
start_round(struct audit *audit)
{
    json_free(audit->facts);
    json_free(audit->silent);
    audit->facts = json_array();
    audit->silent = json_array();
    audit_facts(audit->agent, audit->context, own_known, audit);
}

static void
own_known(void *aux, struct error *error, struct json *facts)
{
    struct audit *audit = aux;

    if (error) {
        end(audit, error);
        return;
    }
    json_append(audit->facts, facts);
    peer_gather(audit->agent, "audit_facts", json_object(), audit->context,
                host_answered, all_answered, audit);
}

/* One that could not tell all is as silent as one that told nothing. */
static void
host_answered(void *aux, const struct json *result, const struct error *error)
{
    struct audit *audit = aux;
    const char *host = json_string_of(result, "host");

    if (!error && host && !has_answered(audit, host)) {
        json_append(audit->facts, json_copy(result));
    }
}

static void
all_answered(void *aux)
{
    struct audit *audit = aux;

    if (!audit->agent->ops) {
        end(audit, error_new(ERR_CANCELLED, "the agent is stopping"));
        return;
    }
    note_silent(audit);
    struct json *found = audit_judge(audit->facts, audit->silent);
    if (!audit->first) {
        audit->first = found;
        start_round(audit);
        return;
    }
    audit->findings = audit_confirmed(audit->first, found);
    json_free(found);
    mend_next(audit);
}

/* Hosts that this one, or one that answered, has ever migrated with. */
static void
note_silent(struct audit *audit)
{
    static const char *const sides[] = {"source", "dest"};

    json_for_each (host, audit->facts) {
        json_for_each (migration, json_get(host, "migrations")) {
            for (size_t i = 0; i < N_ELEMENTS(sides); i++) {
                const char *name = json_string_of(migration, sides[i]);

                if (name && !has_answered(audit, name) &&
                    !has_name(audit->silent, name)) {
                    json_append(audit->silent, json_string(name));
                }
            }
        }
    }
}

static bool
has_answered(const struct audit *audit, const char *host)
{
    json_for_each (facts, audit->facts) {
        if (str_eq(json_string_of(facts, "host"), host)) {
            return true;
        }
    }
    return false;
}

static bool
has_name(const struct json *names, const char *name)
{
    json_for_each (known, names) {
        if (str_eq(json_get_string(known), name)) {
            return true;
        }
    }
    return false;
}

static bool
is_to_be_mended(const struct audit *audit, const struct json *finding)
{
    return audit->repair && json_string_of(finding, "mend") &&
           str_eq(json_string_of(finding, "host"), audit->agent->conf->host);
}

/* One after the other: one may be the reason of the next. */
static void
mend_next(struct audit *audit)
{
    while (audit->next < json_size(audit->findings)) {
        struct json *finding = json_at(audit->findings, audit->next);

        if (is_to_be_mended(audit, finding)) {
            audit_mend_start(audit->agent, finding, audit->context, &audit->log,
                             mended, audit);
            return;
        }
        audit->next++;
    }
    end(audit, NULL);
}

static void
mended(void *aux, struct error *error)
{
    struct audit *audit = aux;
    struct json *finding = json_at(audit->findings, audit->next++);

    json_set_bool(finding, "mended", !error);
    json_set_string(finding, "error", error ? error_message(error) : NULL);
    error_free(error);
    if (audit->agent->ops) {
        mend_next(audit);
    } else {
        end(audit, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

static void
end(struct audit *audit, struct error *error)
{
    struct json *result = NULL;

    if (!error) {
        struct json *hosts = json_array();

        json_for_each (facts, audit->facts) {
            json_append(hosts, json_string(json_string_of(facts, "host")));
        }
        result = json_object();
        json_set_string(result, "host", audit->agent->conf->host);
        json_set(result, "hosts", hosts);
        json_set(result, "silent", steal(&audit->silent));
        json_set(result, "findings", steal(&audit->findings));
    }
    audit->done(audit->aux, error, result);
    json_free(audit->context);
    json_free(audit->facts);
    json_free(audit->silent);
    json_free(audit->first);
    json_free(audit->findings);
    free(audit);
}
