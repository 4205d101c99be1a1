#include <config.h>

#include "agent/nova/resource_provider.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/nova/inventory.h"
#include "agent/nova/traits.h"

LOG_MODULE(provider);

struct resource_provider {
    struct service *placement;
    const struct node_settings *settings;
    uint64_t refresh_ms;

    /* As Placement had it last; 'is_known' false: nothing of it holds. */
    bool is_known;
    uint64_t read_ms;
    int64_t generation;
    struct json *inventories;
    struct text_set traits;
    bool has_told; /* Which traits of an agent before us are gone. */

    /* The update under way. */
    struct resource_report report;
    unsigned n_tries;
    struct text_set wanted;
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static void look(struct resource_provider *p);
static void tree_known(void *aux, const struct placement_provider *providers,
                       size_t n, struct error *error);
static void created(void *aux, const struct placement_provider *providers,
                    size_t n, struct error *error);
static void inventories_known(void *aux, const struct placement_facts *facts,
                              struct error *error);
static void traits_known(void *aux, const struct placement_facts *facts,
                         struct error *error);
static void compare_inventories(struct resource_provider *p);
static void inventories_set(void *aux, const struct placement_facts *facts,
                            struct error *error);
static void compare_traits(struct resource_provider *p);
static void tell_lost_traits(struct resource_provider *p);
static void names_known(void *aux, const struct placement_facts *facts,
                        struct error *error);
static void set_traits(struct resource_provider *p);
static void traits_set(void *aux, const struct placement_facts *facts,
                       struct error *error);
static void end(struct resource_provider *p, struct error *error);
static struct json *list_of(const struct text_set *set);
static void read_list(const struct json *list, struct text_set *ret);

struct resource_provider *
resource_provider_create(struct service *placement,
                         const struct node_settings *settings,
                         unsigned refresh_s)
{
    struct resource_provider *p = xzalloc(sizeof *p);

    p->placement = placement;
    p->settings = settings;
    p->refresh_ms = (uint64_t)refresh_s * 1000;
    return p;
}

void
resource_provider_free(struct resource_provider *p)
{
    if (p) {
        json_free(p->inventories);
        text_set_close(&p->traits);
        text_set_close(&p->wanted);
        free(p);
    }
}

void
resource_provider_update(struct resource_provider *p,
                         const struct resource_report *report,
                         void (*done)(void *aux, struct error *error),
                         void *aux)
{
    p->report = *report;
    p->n_tries = 0;
    p->done = done;
    p->aux = aux;
    if (p->refresh_ms && clock_now_ms() - p->read_ms >= p->refresh_ms) {
        p->is_known = false;
    }
    look(p);
}

static void
look(struct resource_provider *p)
{
    p->n_tries++;
    if (p->is_known) {
        compare_inventories(p);
    } else {
        placement_tree(p->placement, p->report.context, p->report.uuid,
                       tree_known, p);
    }
}

static void
tree_known(void *aux, const struct placement_provider *providers, size_t n,
           struct error *error)
{
    struct resource_provider *p = aux;

    for (size_t i = 0; i < n; i++) {
        if (str_eq(providers[i].uuid, p->report.uuid)) {
            placement_inventories(p->placement, p->report.context,
                                  p->report.uuid, inventories_known, p);
            return;
        }
    }
    if (error) {
        end(p, error);
        return;
    }
    placement_provider_create(p->placement, p->report.context, p->report.uuid,
                              p->report.name, created, p);
}

static void
created(void *aux, const struct placement_provider *providers, size_t n,
        struct error *error)
{
    struct resource_provider *p = aux;

    if (error || n == 0) {
        end(p, error);
        return;
    }
    log_info(NULL, "resource provider '%s' of this host created",
             p->report.uuid);
    json_free(p->inventories);
    p->inventories = json_object();
    text_set_close(&p->traits);
    p->generation = providers[0].generation;
    p->read_ms = clock_now_ms();
    p->is_known = p->has_told = true;
    compare_inventories(p);
}

static void
inventories_known(void *aux, const struct placement_facts *facts,
                  struct error *error)
{
    struct resource_provider *p = aux;

    if (error) {
        end(p, error);
        return;
    }
    json_free(p->inventories);
    p->inventories = json_copy(facts->items);
    placement_traits(p->placement, p->report.context, p->report.uuid,
                     traits_known, p);
}

/* The generation is that of the last answer: were the inventories another's by
 * then, the next write would say so only if they are to be changed, and they
 * are read again in time. */
static void
traits_known(void *aux, const struct placement_facts *facts,
             struct error *error)
{
    struct resource_provider *p = aux;

    if (error) {
        end(p, error);
        return;
    }
    text_set_close(&p->traits);
    read_list(facts->items, &p->traits);
    p->generation = facts->generation;
    p->read_ms = clock_now_ms();
    p->is_known = true;
    compare_inventories(p);
}

static void
compare_inventories(struct resource_provider *p)
{
    AUTO_JSON wanted = inventory_wanted(p->settings, p->report.host,
                                        p->report.cpus, p->inventories);

    if (inventory_same(wanted, p->inventories)) {
        compare_traits(p);
    } else {
        placement_set_inventories(p->placement, p->report.context,
                                  p->report.uuid, p->generation, wanted,
                                  inventories_set, p);
    }
}

/* What is in use of a class can't be taken away: the old ones stay. */
static void
inventories_set(void *aux, const struct placement_facts *facts,
                struct error *error)
{
    struct resource_provider *p = aux;

    if (error_code(error) == ERR_INVENTORY_IN_USE) {
        log_limited(LOG_LEVEL_WARN, NULL, "inventories stay as they are: %s",
                    error_message(error));
        error_free(error);
        compare_traits(p);
        return;
    }
    if (error) {
        end(p, error);
        return;
    }
    json_free(p->inventories);
    p->inventories = json_copy(facts->items);
    p->generation = facts->generation;
    compare_traits(p);
}

static void
compare_traits(struct resource_provider *p)
{
    CLEANUP(text_set_close) struct text_set more = {0};

    text_set_close(&p->wanted);
    traits_wanted(p->settings, p->report.host, p->report.is_disabled,
                  &p->traits, &p->wanted);
    traits_missing(&p->wanted, &p->traits, &more);
    tell_lost_traits(p);
    if (more.n == 0) {
        set_traits(p);
        return;
    }
    AUTO_JSON list = list_of(&p->wanted);
    placement_known_traits(p->placement, p->report.context, list, names_known,
                           p);
}

/* At the first start in another agent's place: instances whose flavors need
 * what is lost are not scheduled here any more. */
static void
tell_lost_traits(struct resource_provider *p)
{
    CLEANUP(text_set_close) struct text_set lost = {0};

    traits_missing(&p->traits, &p->wanted, &lost);
    if (lost.n && !p->has_told) {
        AUTO_FREE text = traits_format(&lost);
        log_warn(NULL,
                 "%zu traits of this host are taken away, as this agent does "
                 "not offer what they say: %s",
                 lost.n, text);
    }
    p->has_told = true;
}

/* Names that this Placement does not have can't be set. */
static void
names_known(void *aux, const struct placement_facts *facts, struct error *error)
{
    struct resource_provider *p = aux;
    CLEANUP(text_set_close) struct text_set names = {0};
    CLEANUP(text_set_close) struct text_set all = p->wanted;

    p->wanted = (struct text_set){0};
    if (error) {
        end(p, error);
        return;
    }
    read_list(facts->items, &names);
    for (size_t i = 0; i < all.n; i++) {
        if (text_set_has(&names, all.texts[i])) {
            text_set_add(&p->wanted, all.texts[i]);
        }
    }
    set_traits(p);
}

static void
set_traits(struct resource_provider *p)
{
    AUTO_JSON list = list_of(&p->wanted);

    if (traits_same(&p->wanted, &p->traits)) {
        end(p, NULL);
    } else {
        placement_set_traits(p->placement, p->report.context, p->report.uuid,
                             p->generation, list, traits_set, p);
    }
}

static void
traits_set(void *aux, const struct placement_facts *facts, struct error *error)
{
    struct resource_provider *p = aux;

    if (!error) {
        text_set_close(&p->traits);
        read_list(facts->items, &p->traits);
        p->generation = facts->generation;
    }
    end(p, error);
}

/* Whatever went wrong, what was read does not count any more. */
static void
end(struct resource_provider *p, struct error *error)
{
    p->is_known &= !error;
    if (error_code(error) == ERR_PROVIDER_CONFLICT &&
        p->n_tries < PLACEMENT_N_TRIES) {
        log_debug(NULL, "read again: %s", error_message(error));
        error_free(error);
        look(p);
        return;
    }
    p->done(p->aux, error);
}

static struct json *
list_of(const struct text_set *set)
{
    struct json *list = json_array();

    for (size_t i = 0; i < set->n; i++) {
        json_append(list, json_string(set->texts[i]));
    }
    return list;
}

static void
read_list(const struct json *list, struct text_set *ret)
{
    json_for_each (name, list) {
        text_set_add(ret, json_get_string(name));
    }
}
