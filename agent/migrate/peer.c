#include <config.h>

#include "agent/migrate/migration.h"

#include <stdlib.h>

#include "agent/peer.h"

/* What the other host has of the guest: its hypervisor is asked, and where that
 * can't tell whether the guest arrived before it was shut down, its agent, who
 * may have seen it. */

struct peer_question {
    struct agent *agent;
    char *dest, *uuid;
    migration_peer_done *done;
    void *aux;
};

static void
question_end(struct peer_question *q, struct error *error,
             enum guest_presence presence, bool has_arrived)
{
    q->done(q->aux, error, presence, has_arrived);
    free(q->dest);
    free(q->uuid);
    free(q);
}

/* No answer, or that of a host without a drover: nobody knows. */
static void
agent_answered(void *aux, struct json **result, struct error *error)
{
    bool has_arrived = !error && json_bool_of(*result, "arrived");

    error_free(error);
    question_end(aux, NULL, GUEST_OFF, has_arrived);
}

static void
hypervisor_answered(void *aux, struct error *error,
                    enum guest_presence presence)
{
    struct peer_question *q = aux;

    if (error || presence != GUEST_OFF || q->agent->stopping) {
        question_end(q, error, presence, false);
        return;
    }
    struct json *args = json_object();
    json_set_string(args, "instance", q->uuid);
    peer_call_drover(q->agent, q->dest, "guest_has_arrived", args, NULL,
                     PEER_SHORT, agent_answered, q);
}

void
migration_ask_peer(struct agent *agent, const char *dest, const char *dest_uri,
                   const char *uuid, migration_peer_done *done, void *aux)
{
    struct peer_question *q = xzalloc(sizeof *q);

    q->agent = agent;
    q->dest = xstrdup(dest);
    q->uuid = xstrdup(uuid);
    q->done = done;
    q->aux = aux;
    driver_peer_presence(agent->driver, dest_uri, uuid, hypervisor_answered, q);
}
