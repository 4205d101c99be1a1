#include <config.h>

#include "agent/migrate/monitor.h"

#include <stdlib.h>

#include "agent/bandwidth.h"

LOG_MODULE(migrate);

/* What the transfers of this host may send, and how they are told.
 *
 * Each has its own limit, and all together those that go out of this host have
 * live_migration_host_bandwidth, which is divided again whenever one comes,
 * goes, or is given another limit.  What somebody sets past us, with virsh,
 * stays as it is and counts, but takes no more from the others than an equal
 * part for each; that somebody did is seen as the hypervisor says something
 * else than before, or than we told it: libvirt (9.0) has what a job begins
 * with only a little after its beginning. (spec/live-migration 11) */

static unsigned limit_of(const struct migration *m);
static bool has_budget(const struct agent *agent);
static void give(struct migration *m, unsigned mib_s);
static void ask(struct migrate_monitor *mm);
static void known(void *aux, struct error *error, unsigned mib_s);
static void set(struct migrate_monitor *mm);
static void set_done(void *aux, struct error *error);
static const struct log_context *log_of(const struct migrate_monitor *mm);

unsigned
migrate_bandwidth_join(struct migration *m)
{
    m->shares_bandwidth = true;
    migrate_bandwidth_divide(m->agent);
    return m->bandwidth_mib_s;
}

void
migrate_bandwidth_leave(struct migration *m)
{
    if (m->shares_bandwidth) {
        m->shares_bandwidth = false;
        migrate_bandwidth_divide(m->agent);
    }
}

void
migrate_bandwidth_change(struct migration *m)
{
    m->bandwidth_is_by_hand = false;
    m->bandwidth_is_due = m->bandwidth_is_asked_for = true;
    migrate_bandwidth_divide(m->agent);
}

static struct migration *
next_sharer(struct op **op)
{
    for (; *op; *op = op_next(*op)) {
        struct migration *m = migrate_source_of(*op);

        if (m && m->shares_bandwidth) {
            *op = op_next(*op);
            return m;
        }
    }
    return NULL;
}

void
migrate_bandwidth_divide(struct agent *agent)
{
    unsigned budget =
        (unsigned)agent->conf->libvirt.live_migration_host_bandwidth;
    struct op *op = op_first(agent->ops);
    struct migration **sharers = NULL;
    size_t n = 0, n_room = 0, n_by_hand = 0;
    uint64_t by_hand = 0;

    for (struct migration *m; (m = next_sharer(&op));) {
        if (budget && m->bandwidth_is_by_hand) {
            by_hand += m->bandwidth_mib_s;
            n_by_hand++;
            continue;
        }
        if (n == n_room) {
            sharers = xgrow(sharers, &n_room, sizeof *sharers);
        }
        sharers[n++] = m;
    }
    unsigned *limits = xcalloc(n, sizeof *limits);
    unsigned *shares = xcalloc(n, sizeof *shares);
    for (size_t i = 0; i < n; i++) {
        limits[i] = limit_of(sharers[i]);
    }
    bandwidth_divide(bandwidth_left(budget, by_hand, n_by_hand, n), limits, n,
                     shares);
    for (size_t i = 0; i < n; i++) {
        give(sharers[i], shares[i]);
    }
    free(limits);
    free(shares);
    free(sharers);
}

void
migrate_bandwidth_adjust(struct migrate_monitor *mm)
{
    struct migration *m = migrate_monitor_migration(mm);
    bool is_first_look =
        m && has_budget(m->agent) && m->known_bandwidth_mib_s < 0;

    if (!m || mm->is_setting_bandwidth ||
        (!m->bandwidth_is_due && !is_first_look) ||
        mm->input.stats.type != JOB_UNBOUNDED) {
        return;
    }
    mm->is_setting_bandwidth = true;
    if (m->bandwidth_is_asked_for || !has_budget(m->agent)) {
        set(mm);
    } else {
        ask(mm);
    }
}

static unsigned
limit_of(const struct migration *m)
{
    return migrate_settings_bandwidth(&m->settings, m->agent->conf);
}

static bool
has_budget(const struct agent *agent)
{
    return agent->conf->libvirt.live_migration_host_bandwidth > 0;
}

static void
give(struct migration *m, unsigned mib_s)
{
    if (m->bandwidth_mib_s != mib_s) {
        m->bandwidth_mib_s = mib_s;
        m->bandwidth_is_due = true;
    }
}

static void
ask(struct migrate_monitor *mm)
{
    mm->n_pending++;
    driver_migrate_get_bandwidth(mm->agent->driver, mm->uuid, known, mm);
}

static void
known(void *aux, struct error *error, unsigned mib_s)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);
    bool is_first_look = m && m->known_bandwidth_mib_s < 0;

    if (error || !m) {
        mm->is_setting_bandwidth = false;
        migrate_monitor_done(mm, error);
        return;
    }
    if (is_first_look) {
        m->known_bandwidth_mib_s = mib_s;
        op_save(op_ticket_op(mm->ticket), NULL, NULL);
    }
    if (mib_s == m->told_bandwidth_mib_s) {
        m->known_bandwidth_mib_s = mib_s;
    }
    if (mib_s != m->known_bandwidth_mib_s && !m->bandwidth_is_asked_for) {
        log_info(log_of(mm), "somebody set a bandwidth of %u MiB/s: it stays",
                 mib_s);
        m->bandwidth_is_by_hand = true;
        m->bandwidth_is_due = false;
        m->bandwidth_mib_s = mib_s;
        m->known_bandwidth_mib_s = mib_s;
        op_save(op_ticket_op(mm->ticket), NULL, NULL);
        migrate_bandwidth_divide(mm->agent);
    }
    if (m->bandwidth_is_due) {
        set(mm);
    } else {
        mm->is_setting_bandwidth = false;
    }
    migrate_monitor_done(mm, NULL);
}

static void
set(struct migrate_monitor *mm)
{
    struct migration *m = migrate_monitor_migration(mm);

    log_info(log_of(mm), "bandwidth is set to %u MiB/s", m->bandwidth_mib_s);
    m->bandwidth_is_due = m->bandwidth_is_asked_for = false;
    m->told_bandwidth_mib_s = m->bandwidth_mib_s;
    mm->n_pending++;
    driver_migrate_set_bandwidth(mm->agent->driver, mm->uuid,
                                 m->bandwidth_mib_s, set_done, mm);
}

/* A change that no job could be told, as the hypervisor was away, is told in
 * the next round that has one. */
static void
set_done(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);

    mm->is_setting_bandwidth = false;
    if (m && error_code(error) == ERR_HYPERVISOR_UNAVAILABLE) {
        m->bandwidth_is_due = true;
    } else if (m) {
        if (!error) {
            m->known_bandwidth_mib_s = m->told_bandwidth_mib_s;
        }
        op_save(op_ticket_op(mm->ticket), NULL, NULL);
    }
    migrate_monitor_done(mm, error);
}

static const struct log_context *
log_of(const struct migrate_monitor *mm)
{
    return op_log(mm->ticket ? op_ticket_op(mm->ticket) : NULL);
}
