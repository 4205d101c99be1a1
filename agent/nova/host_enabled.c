#include <config.h>

#include "agent/nova/host_enabled.h"

#include <stdlib.h>

#include "agent/nova/cloud.h"
#include "agent/nova/traits.h"

LOG_MODULE(nova);

struct change {
    struct nova *nova;
    struct json *context;
    char *provider;
    bool is_enabled;
    unsigned n_tries;
    attach_done *done;
    void *aux;
};

static void traits_known(void *aux, const struct placement_facts *facts,
                         struct error *error);

static void
read_traits(struct change *change)
{
    change->n_tries++;
    placement_traits(change->nova->cloud->placement, change->context,
                     change->provider, traits_known, change);
}

void
host_enabled_set(struct nova *nova, const struct json *context, bool is_enabled,
                 attach_done *done, void *aux)
{
    const char *provider =
        nova->resources ? update_resources_status(nova->resources).uuid : NULL;

    nova_guests_changed(nova);
    if (!provider || !cloud_has_placement(nova->agent->conf)) {
        done(aux, NULL);
        return;
    }
    struct change *change = xzalloc(sizeof *change);
    change->nova = nova;
    change->context = json_copy(context);
    change->provider = xstrdup(provider);
    change->is_enabled = is_enabled;
    change->done = done;
    change->aux = aux;
    read_traits(change);
}

static void
end(struct change *change, struct error *error)
{
    change->done(change->aux,
                 error_wrap(error, "tell Placement of '" TRAIT_DISABLED "'"));
    json_free(change->context);
    free(change->provider);
    free(change);
}

/* A round may have written between the two. */
static void
traits_set(void *aux, const struct placement_facts *facts UNUSED,
           struct error *error)
{
    struct change *change = aux;

    if (error_code(error) == ERR_PROVIDER_CONFLICT &&
        change->n_tries < PLACEMENT_N_TRIES) {
        error_free(error);
        read_traits(change);
    } else {
        end(change, error);
    }
}

static void
traits_known(void *aux, const struct placement_facts *facts,
             struct error *error)
{
    struct change *change = aux;
    AUTO_JSON wanted = json_array();
    bool has = false;

    if (error) {
        end(change, error);
        return;
    }
    json_for_each (name, facts->items) {
        if (str_eq(json_get_string(name), TRAIT_DISABLED)) {
            has = true;
        } else {
            json_append(wanted, json_copy(name));
        }
    }
    if (has != change->is_enabled) { /* It is so already. */
        end(change, NULL);
        return;
    }
    if (!change->is_enabled) {
        json_append(wanted, json_string(TRAIT_DISABLED));
    }
    placement_set_traits(change->nova->cloud->placement, change->context,
                         change->provider, facts->generation, wanted,
                         traits_set, change);
}
