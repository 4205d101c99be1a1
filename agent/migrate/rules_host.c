#include <config.h>

#include "agent/migrate/rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The rules about hosts. */

/* How many hosts an error explains. */
#define EXPLAINED_MAX 16

/* Of the rules below, those that a silent host can be held to. */
#define N_WITHOUT_ANSWER 2

typedef struct error *host_check(const struct migrate_candidate *candidate,
                                 const struct migrate_demand *demand);

static host_check check_other_host, check_up, check_type, check_version;
static host_check check_memory, check_hugepages, check_pins, check_nodes;
static host_check check_firmware;
static const char *no_version(const struct migrate_candidate *,
                              const struct migrate_demand *);
static const char *no_memory(const struct migrate_candidate *,
                             const struct migrate_demand *);
static const char *no_hugepages(const struct migrate_candidate *,
                                const struct migrate_demand *);
static const char *no_pins(const struct migrate_candidate *,
                           const struct migrate_demand *);
static const char *no_nodes(const struct migrate_candidate *,
                            const struct migrate_demand *);
static const char *no_firmware(const struct migrate_candidate *,
                               const struct migrate_demand *);
static bool is_better(const struct migrate_candidate *a,
                      const struct migrate_candidate *b);

static const struct {
    enum check_rule rule;
    host_check *check;
    /* Why the rule does not apply; null: it does.  May be null. */
    const char *(*exempt)(const struct migrate_candidate *,
                          const struct migrate_demand *);
} host_rules[] = {
    {CHECK_RULE_OTHER_HOST, check_other_host, NULL},
    {CHECK_RULE_HOST_UP, check_up, NULL},
    {CHECK_RULE_HYPERVISOR_TYPE, check_type, NULL},
    {CHECK_RULE_HYPERVISOR_VERSION, check_version, no_version},
    {CHECK_RULE_MEMORY, check_memory, no_memory},
    {CHECK_RULE_HUGEPAGES, check_hugepages, no_hugepages},
    {CHECK_RULE_CPU_PINS, check_pins, no_pins},
    {CHECK_RULE_NUMA_NODES, check_nodes, no_nodes},
    {CHECK_RULE_FIRMWARE, check_firmware, no_firmware},
};

void
migrate_rules_check_host(const struct migrate_candidate *candidate,
                         const struct migrate_demand *demand,
                         struct check_report *report)
{
    for (size_t i = 0; i < N_ELEMENTS(host_rules); i++) {
        bool is_known = candidate->up || i < N_WITHOUT_ANSWER;
        const char *reason = !is_known ? "the host does not answer"
                             : host_rules[i].exempt
                                 ? host_rules[i].exempt(candidate, demand)
                                 : NULL;
        if (reason) {
            check_report_skip(report, host_rules[i].rule, "%s", reason);
        } else {
            check_report_note(report, host_rules[i].rule,
                              host_rules[i].check(candidate, demand));
        }
    }
}

struct error *
migrate_rules_check_candidate(const struct migrate_candidate *candidate,
                              const struct migrate_demand *demand)
{
    CLEANUP(check_report_free_at)
    struct check_report *report = check_report_create();

    migrate_rules_check_host(candidate, demand, report);
    return error_copy(check_report_error(report));
}

struct error *
migrate_rules_choose_destination(const struct migrate_candidate *candidates,
                                 size_t n, const struct migrate_demand *demand,
                                 size_t *ret_index)
{
    AUTO_FREE reasons = xstrdup("");
    const struct migrate_candidate *best = NULL;
    size_t n_refused = 0;

    for (size_t i = 0; i < n; i++) {
        const struct migrate_candidate *candidate = &candidates[i];
        AUTO_ERROR error = migrate_rules_check_candidate(candidate, demand);

        if (!error) {
            best = !best || is_better(candidate, best) ? candidate : best;
        } else if (error_code(error) != ERR_UNABLE_TO_MIGRATE_TO_SELF &&
                   n_refused++ < EXPLAINED_MAX) {
            char *longer = xasprintf("%s%s%s", reasons, *reasons ? "; " : "",
                                     error_message(error));
            free(reasons);
            reasons = longer;
        }
    }
    if (!best) {
        return error_new(ERR_NO_VALID_HOST, "%s",
                         *reasons ? reasons : "no other host is known");
    }
    *ret_index = (size_t)(best - candidates);
    return NULL;
}

static struct error *
check_other_host(const struct migrate_candidate *candidate,
                 const struct migrate_demand *demand)
{
    if (!str_eq(candidate->host, demand->source)) {
        return NULL;
    }
    struct error *error =
        error_new(ERR_UNABLE_TO_MIGRATE_TO_SELF, "it is the source itself");
    error_set_arg(error, "instance_id", demand->uuid);
    return error_set_arg(error, "host", candidate->host);
}

static struct error *
check_up(const struct migrate_candidate *candidate,
         const struct migrate_demand *demand UNUSED)
{
    return candidate->up
               ? NULL
               : error_new(ERR_MIGRATION_PRE_CHECK, "host %s does not answer",
                           candidate->host);
}

static struct error *
check_type(const struct migrate_candidate *candidate,
           const struct migrate_demand *demand)
{
    const char *is = candidate->hypervisor_type;
    const char *wanted = demand->hypervisor_type;

    return str_eq(is, wanted)
               ? NULL
               : error_new(ERR_MIGRATION_PRE_CHECK,
                           "hypervisor of host %s is '%s', not '%s'",
                           candidate->host, is ? is : "unknown",
                           wanted ? wanted : "unknown");
}

static const char *
no_version(const struct migrate_candidate *candidate UNUSED,
           const struct migrate_demand *demand)
{
    return demand->skip_version_check
               ? "skip_hypervisor_version_check_on_lm is set"
               : NULL;
}

static struct error *
check_version(const struct migrate_candidate *candidate,
              const struct migrate_demand *demand)
{
    return candidate->hypervisor_version >= demand->hypervisor_version
               ? NULL
               : error_new(ERR_DESTINATION_HYPERVISOR_TOO_OLD,
                           "hypervisor of host %s has version %" PRId64
                           ", older than %" PRId64,
                           candidate->host, candidate->hypervisor_version,
                           demand->hypervisor_version);
}

/* The kernel keeps huge pages apart from what it calls free. */
static const char *
no_memory(const struct migrate_candidate *candidate UNUSED,
          const struct migrate_demand *demand)
{
    return demand->is_off         ? "it does not run"
           : demand->hugepage_kib ? "its memory is made of huge pages"
                                  : NULL;
}

/* As in Nova the guest must leave something over. */
static struct error *
check_memory(const struct migrate_candidate *candidate,
             const struct migrate_demand *demand)
{
    if (candidate->memory_free_mb > demand->memory_mb) {
        return NULL;
    }
    return error_new(ERR_MIGRATION_PRE_CHECK,
                     "Unable to migrate %s to %s: Lack of memory(host:%" PRId64
                     " <= instance:%d)",
                     demand->uuid, candidate->host, candidate->memory_free_mb,
                     demand->memory_mb);
}

static const char *
no_hugepages(const struct migrate_candidate *candidate UNUSED,
             const struct migrate_demand *demand)
{
    return demand->is_off         ? "it does not run"
           : demand->hugepage_kib ? NULL
                                  : "it uses no huge pages";
}

static struct error *
check_hugepages(const struct migrate_candidate *candidate,
                const struct migrate_demand *demand)
{
    const struct host_hugepages *found = NULL;

    for (size_t i = 0; !found && i < candidate->n_hugepages; i++) {
        if (demand->hugepage_kib < 0 ||
            candidate->hugepages[i].size_kib == demand->hugepage_kib) {
            found = &candidate->hugepages[i];
        }
    }
    if (!found) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "host %s has no huge pages of %" PRId64
                         " KiB, which instance %s uses",
                         candidate->host,
                         demand->hugepage_kib > 0 ? demand->hugepage_kib : 0,
                         demand->uuid);
    }
    int64_t need_kib = (int64_t)demand->memory_mb * 1024;
    int64_t n = (need_kib + found->size_kib - 1) / found->size_kib;
    return n <= found->n_free
               ? NULL
               : error_new(ERR_MIGRATION_PRE_CHECK,
                           "host %s has %" PRId64 " free huge pages of %" PRId64
                           " KiB, and instance %s needs %" PRId64,
                           candidate->host, found->n_free, found->size_kib,
                           demand->uuid, n);
}

static const char *
no_pins(const struct migrate_candidate *candidate,
        const struct migrate_demand *demand)
{
    return !demand->n_pinned_cpus ? "it is pinned to no CPUs"
           : !candidate->n_cpus   ? "how many CPUs are there is not known"
                                  : NULL;
}

static struct error *
check_pins(const struct migrate_candidate *candidate,
           const struct migrate_demand *demand)
{
    return demand->n_pinned_cpus <= candidate->n_cpus
               ? NULL
               : error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s is pinned to CPU %d, and host %s has "
                           "%d",
                           demand->uuid, demand->n_pinned_cpus - 1,
                           candidate->host, candidate->n_cpus);
}

static const char *
no_nodes(const struct migrate_candidate *candidate,
         const struct migrate_demand *demand)
{
    return !demand->n_bound_nodes ? "it is bound to no NUMA nodes"
           : !candidate->n_nodes  ? "how many nodes are there is not known"
                                  : NULL;
}

static struct error *
check_nodes(const struct migrate_candidate *candidate,
            const struct migrate_demand *demand)
{
    return demand->n_bound_nodes <= candidate->n_nodes
               ? NULL
               : error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s is bound to NUMA node %d, and host %s "
                           "has %d",
                           demand->uuid, demand->n_bound_nodes - 1,
                           candidate->host, candidate->n_nodes);
}

static const char *
no_firmware(const struct migrate_candidate *candidate,
            const struct migrate_demand *demand)
{
    return !demand->loader         ? "its firmware comes with the hypervisor, "
                                     "or is not known to libvirt here"
           : !candidate->n_loaders ? "which firmware is there is not known"
                                   : NULL;
}

/* The content of its variables (nvram) goes along: the destination's libvirt
 * makes the file, and QEMU fills it. */
static struct error *
check_firmware(const struct migrate_candidate *candidate,
               const struct migrate_demand *demand)
{
    for (size_t i = 0; i < candidate->n_loaders; i++) {
        if (str_eq(candidate->loaders[i], demand->loader)) {
            return NULL;
        }
    }
    return error_new(ERR_MIGRATION_PRE_CHECK,
                     "firmware '%s' of instance %s is not installed on host %s",
                     demand->loader, demand->uuid, candidate->host);
}

static bool
is_better(const struct migrate_candidate *a, const struct migrate_candidate *b)
{
    if (a->memory_free_mb != b->memory_free_mb) {
        return a->memory_free_mb > b->memory_free_mb;
    }
    return strcmp(a->host, b->host) < 0;
}
