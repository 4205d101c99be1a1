#include <config.h>

#include "agent/nova/alloc_auditor.h"

#include <stdlib.h>

#include "agent/nova/placement_api.h"

LOG_MODULE(allocations);

struct alloc_auditor {
    struct conductor *conductor;
    struct service *placement;
    struct text_set told; /* In the last run, ... */

    /* While one is under way. */
    struct text_set telling; /* ...and in this one. */
    const struct node_records *records;
    const struct node_usage *usage;
    const char *provider;
    struct json *context; /* Deleted ones, too. */
    struct json *allocations;
    const struct json *at; /* The consumer that is looked at. */
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static void usage_got(void *aux, const struct placement_facts *facts,
                      struct error *error);
static void look_at(struct alloc_auditor *auditor, const struct json *consumer);
static void next(struct alloc_auditor *auditor);
static void instance_got(void *aux, struct json **result, struct error *error);
static void migration_got(void *aux, struct json **result, struct error *error);
static void act(struct alloc_auditor *auditor, struct alloc_finding finding);
static void removed(void *aux, struct error *error);
static void finish(struct alloc_auditor *auditor, struct error *error);

struct alloc_auditor *
alloc_auditor_create(struct conductor *conductor, struct service *placement)
{
    struct alloc_auditor *auditor = xzalloc(sizeof *auditor);

    auditor->conductor = conductor;
    auditor->placement = placement;
    return auditor;
}

void
alloc_auditor_free(struct alloc_auditor *auditor)
{
    if (auditor) {
        text_set_close(&auditor->told);
        free(auditor);
    }
}

void
alloc_auditor_run(struct alloc_auditor *auditor, const struct json *context,
                  const char *provider, const struct node_records *records,
                  const struct node_usage *usage,
                  void (*done)(void *aux, struct error *error), void *aux)
{
    auditor->records = records;
    auditor->usage = usage;
    auditor->provider = provider;
    auditor->context = json_copy(context);
    json_set_string(auditor->context, "read_deleted", "yes");
    auditor->done = done;
    auditor->aux = aux;
    placement_usage(auditor->placement, context, provider, usage_got, auditor);
}

static void
usage_got(void *aux, const struct placement_facts *facts, struct error *error)
{
    struct alloc_auditor *auditor = aux;

    if (error) {
        finish(auditor, error);
        return;
    }
    auditor->allocations = json_copy(facts->items);
    look_at(auditor, json_first(auditor->allocations));
}

static struct alloc_audit
audit_of(const struct alloc_auditor *auditor)
{
    return (struct alloc_audit){
        .records = auditor->records,
        .usage = auditor->usage,
        .allocations = auditor->allocations,
    };
}

static void
ask(struct alloc_auditor *auditor, const char *class_name, conductor_done *done)
{
    AUTO_JSON args =
        json_append(json_array(), json_string(json_name(auditor->at)));
    AUTO_JSON kwargs = json_object();

    if (str_eq(class_name, "Instance")) {
        json_set(kwargs, "expected_attrs", json_array());
    }
    conductor_class_action(auditor->conductor, auditor->context, class_name,
                           "get_by_uuid", args, kwargs, done, auditor);
}

/* On to the first that is not known, from 'consumer' on. */
static void
look_at(struct alloc_auditor *auditor, const struct json *consumer)
{
    struct alloc_audit audit = audit_of(auditor);

    while (consumer &&
           alloc_audit_look(&audit, json_name(consumer)) == ALLOC_FINE) {
        consumer = json_next(consumer);
    }
    auditor->at = consumer;
    if (consumer) {
        ask(auditor, "Instance", instance_got);
    } else {
        finish(auditor, NULL);
    }
}

static void
next(struct alloc_auditor *auditor)
{
    look_at(auditor, json_next(auditor->at));
}

static void
instance_got(void *aux, struct json **result, struct error *error)
{
    struct alloc_auditor *auditor = aux;
    struct alloc_audit audit = audit_of(auditor);
    bool is_none = error_code(error) == ERR_INSTANCE_NOT_FOUND;

    if (error && !is_none) {
        finish(auditor, error);
        return;
    }
    error_free(error);
    struct alloc_finding finding = alloc_audit_instance(
        &audit, json_name(auditor->at), is_none ? NULL : *result);
    if (finding.verdict == ALLOC_ASK) {
        alloc_finding_close(&finding);
        ask(auditor, "Migration", migration_got);
    } else {
        act(auditor, finding);
    }
}

static void
migration_got(void *aux, struct json **result, struct error *error)
{
    struct alloc_auditor *auditor = aux;
    struct alloc_audit audit = audit_of(auditor);
    bool is_none = error_code(error) == ERR_MIGRATION_NOT_FOUND;

    if (error && !is_none) {
        finish(auditor, error);
        return;
    }
    error_free(error);
    act(auditor, alloc_audit_migration(&audit, json_name(auditor->at),
                                       is_none ? NULL : *result));
}

static void
act(struct alloc_auditor *auditor, struct alloc_finding finding)
{
    bool is_news = finding.text && !text_set_has(&auditor->told, finding.text);

    if (is_news) {
        log_at(finding.level, NULL, "%s", finding.text);
    }
    if (finding.text) {
        text_set_add(&auditor->telling, finding.text);
    }
    if (finding.verdict == ALLOC_REMOVE) {
        placement_allocations_delete(auditor->placement, auditor->context,
                                     json_name(auditor->at), removed, auditor);
    } else {
        next(auditor);
    }
    alloc_finding_close(&finding);
}

/* One that can't be removed is tried again in the next run. */
static void
removed(void *aux, struct error *error)
{
    struct alloc_auditor *auditor = aux;

    if (error) {
        finish(auditor, error);
    } else {
        next(auditor);
    }
}

static void
finish(struct alloc_auditor *auditor, struct error *error)
{
    text_set_close(&auditor->told);
    auditor->told = auditor->telling;
    auditor->telling = (struct text_set){0};
    json_free(steal(&auditor->context));
    json_free(steal(&auditor->allocations));
    auditor->at = NULL;
    auditor->done(auditor->aux, error);
}
