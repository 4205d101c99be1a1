#include <config.h>

#include "agent/adopt.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/drain/drain.h"
#include "agent/incoming/incoming.h"
#include "agent/migrate/migration.h"
#include "agent/power/op.h"

LOG_MODULE(adopt);

struct listing {
    struct agent *agent;
    struct host_info *host; /* Null: not known. */
    void (*done)(void *aux, struct error *error);
    void *aux;
};

struct refresh {
    struct agent *agent;
    char uuid[40];
    bool is_ours; /* When it was asked for. */
};

static void host_known(void *aux, struct error *error, struct host_info *host);
static void guests_known(void *aux, struct error *error,
                         struct guest_list *list);
static void ask_for_unlisted(struct agent *agent,
                             const struct guest_list *list);
static void guest_known(void *aux, struct error *error, struct guest *guest);
static void adopt_guest(struct agent *agent, const struct guest *guest);
static void forget(struct agent *agent, const char *uuid);
static bool is_ours(struct agent *agent, const char *uuid);

void
adopt_all(struct agent *agent, void (*done)(void *aux, struct error *error),
          void *aux)
{
    struct listing *listing = xzalloc(sizeof *listing);

    listing->agent = agent;
    listing->done = done;
    listing->aux = aux;
    agent->n_listings++;
    driver_host_get(agent->driver, host_known, listing);
}

void
adopt_again(struct agent *agent, const char *uuid)
{
    if (!agent->local || !agent->ops) {
        return; /* Kept elsewhere; or the agent is going. */
    }
    struct refresh *refresh = xzalloc(sizeof *refresh);
    refresh->agent = agent;
    snprintf(refresh->uuid, sizeof refresh->uuid, "%s", uuid);
    refresh->is_ours = is_ours(agent, uuid);
    driver_guest_get(agent->driver, refresh->uuid, guest_known, refresh);
}

void
adopt_event(struct agent *agent, const struct driver_event *event)
{
    if (event->type == DRIVER_EVENT_CONNECTED) {
        log_info(NULL, "hypervisor is connected");
        migrate_source_event(agent, event);
        /* At the start the first list is what it is connected for. */
        agent->list_again = agent->n_listings > 0;
        if (!agent->list_again) {
            adopt_all(agent, NULL, NULL);
        }
        return;
    }
    if (event->type == DRIVER_EVENT_DISCONNECTED) {
        log_warn(NULL, "hypervisor is not connected: guests are unknown");
        agent->guests_listed = false;
        return;
    }
    migrate_source_event(agent, event);
    power_event(agent, event);
    if (event->type != DRIVER_EVENT_JOB_COMPLETED) {
        adopt_again(agent, event->uuid);
    }
}

static void
sync_due(uv_timer_t *timer)
{
    adopt_all(timer->data, NULL, NULL);
}

/* As Nova has it, 0 is "as often as the default says". */
void
adopt_regularly(struct agent *agent)
{
    int interval_s = agent->conf->sync_power_state_interval;
    uint64_t ms = (uint64_t)(interval_s ? interval_s : 600) * 1000;

    if (interval_s < 0 || agent->sync) {
        return;
    }
    agent->sync = xzalloc(sizeof *agent->sync);
    uv_timer_init(agent->loop, agent->sync);
    agent->sync->data = agent;
    uv_timer_start(agent->sync, sync_due, ms, ms);
}

static void
sync_closed(uv_handle_t *handle)
{
    free(handle);
}

void
adopt_regularly_stop(struct agent *agent)
{
    if (agent->sync) {
        uv_close((uv_handle_t *)steal(&agent->sync), sync_closed);
    }
}

static void
listing_end(struct listing *listing, struct error *error)
{
    struct agent *agent = listing->agent;
    bool is_due = error && agent->list_again && agent->ops;

    agent->n_listings--;
    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL, "guests can't be listed: %s",
                    error_message(error));
    } else {
        agent->guests_listed = true;
        agent->list_again = false;
    }
    if (is_due && agent->n_listings == 0) {
        agent->list_again = false;
        adopt_all(agent, NULL, NULL);
    }
    if (listing->done) {
        listing->done(listing->aux, error);
    } else {
        error_free(error);
    }
    /* Records of many guests were made or read: gives back what that took. */
    malloc_trim(0);
    host_info_free(listing->host);
    free(listing);
}

static void
host_known(void *aux, struct error *error, struct host_info *host)
{
    struct listing *listing = aux;
    struct agent *agent = listing->agent;

    if (error) {
        listing_end(listing, error);
        return;
    }
    listing->host = host;
    free(agent->node);
    agent->node = xstrdup(host->hostname);
    if (agent->local) {
        driver_guest_list(agent->driver, guests_known, listing);
    } else {
        listing_end(listing, NULL);
    }
}

static void
guests_known(void *aux, struct error *error, struct guest_list *list)
{
    struct listing *listing = aux;
    struct agent *agent = listing->agent;

    if (error) {
        listing_end(listing, error);
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        adopt_guest(agent, list->guests[i]);
    }
    ask_for_unlisted(agent, list);
    guest_list_free(list);
    listing_end(listing, NULL);
}

/* A list may lack what could not be read: a guest is not gone before it was
 * asked for by name. */
static void
ask_for_unlisted(struct agent *agent, const struct guest_list *list)
{
    size_t n;
    char **uuids = records_local_uuids(agent->local, &n);

    for (size_t i = 0; i < n; i++) {
        if (!guest_list_has(list, uuids[i])) {
            adopt_again(agent, uuids[i]);
        }
        free(uuids[i]);
    }
    free(uuids);
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct refresh *refresh = aux;

    /* An answer may be overtaken by the end of an operation; what it says is
     * from its middle then, and the operation asks again. */
    if (!refresh->is_ours) {
        log_debug(NULL, "guest %s was on its way", refresh->uuid);
    } else if (!error) {
        adopt_guest(refresh->agent, guest);
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        forget(refresh->agent, refresh->uuid);
    }
    error_free(error);
    guest_free(guest);
    free(refresh);
}

static void
adopt_guest(struct agent *agent, const struct guest *guest)
{
    if (guest->presence == GUEST_ACTIVE &&
        guest->power_state == POWER_RUNNING) {
        op_residue_drop(agent->ops, guest->uuid); /* However it came back. */
    }
    if (guest->presence == GUEST_INCOMING || !is_ours(agent, guest->uuid)) {
        return;
    }
    if (guest->presence == GUEST_MIGRATED) {
        /* Somebody else moved it.  What is left here may go without another
         * event, or stay, and is no guest of this host. */
        forget(agent, guest->uuid);
        return;
    }
    if (records_local_adopt(agent->local, guest, agent->node)) {
        log_info(NULL, "guest '%s' (%s) is adopted", guest->name, guest->uuid);
        drain_guests_changed(agent);
    }
}

static void
forget(struct agent *agent, const char *uuid)
{
    if (is_ours(agent, uuid) && records_local_forget(agent->local, uuid)) {
        log_info(NULL, "guest %s is gone, and its record with it", uuid);
        drain_guests_changed(agent);
    }
}

/* While it is on its way, its operation alone decides about its record. */
static bool
is_ours(struct agent *agent, const char *uuid)
{
    return !incoming_is_expected(agent, uuid) &&
           !migrate_source_find(agent, uuid);
}
