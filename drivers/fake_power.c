#include <config.h>

#include "drivers/fake.h"

static struct error *not_found(const char *uuid);
static struct error *on_its_way(const char *uuid);
static struct error *turn_off(struct fake *fake, struct fake_guest *guest,
                              enum stop_detail detail);

static struct error *
start(struct fake *fake, struct fake_guest *guest)
{
    guest->power_state = POWER_RUNNING;
    guest->n_starts++;
    struct error *error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STARTED, 0,
                  guest->uuid);
    }
    return error;
}

struct error *
fake_power_on(void *state, const char *uuid)
{
    struct fake *fake = state;
    struct at_rest_request saved = {.uuid = (char *)uuid};

    {
        FAKE_LOCK;
        AUTO_GUEST guest = NULL;
        struct error *error = fake_enter(fake, FAKE_power_on);
        enum guest_presence presence =
            fake_look(fake->store, fake->host, uuid, &guest);

        if (error || presence == GUEST_ACTIVE) {
            return error;
        }
        if (presence == GUEST_ABSENT) {
            return not_found(uuid);
        }
        if (presence != GUEST_OFF) {
            return on_its_way(uuid);
        }
        if (!guest->saved_state) {
            return start(fake, guest);
        }
    }
    return fake_rest_wake(fake, &saved);
}

struct error *
fake_shut_down(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_shut_down);
    enum guest_presence presence =
        fake_look(fake->store, fake->host, uuid, &guest);

    if (error || presence == GUEST_OFF) {
        return error;
    }
    if (presence == GUEST_ABSENT) {
        return not_found(uuid);
    }
    if (presence != GUEST_ACTIVE) {
        return on_its_way(uuid);
    }
    /* One that is paused can't listen either. */
    return guest->is_deaf || guest->power_state == POWER_PAUSED
               ? NULL
               : turn_off(fake, guest, STOP_SHUTDOWN);
}

struct error *
fake_power_off(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_power_off);
    enum guest_presence presence =
        fake_look(fake->store, fake->host, uuid, &guest);

    if (error || presence == GUEST_OFF) {
        return error;
    }
    if (presence == GUEST_ABSENT) {
        return not_found(uuid);
    }
    return presence == GUEST_ACTIVE ? turn_off(fake, guest, STOP_DESTROYED)
                                    : on_its_way(uuid);
}

struct error *
fake_console_read(void *state, const char *uuid, char **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_console_read);
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, uuid);

    if (error) {
        return error;
    }
    if (!guest) {
        return not_found(uuid);
    }
    *ret =
        xasprintf("guest %s\nstart %d\nlogin: ", guest->name, guest->n_starts);
    return NULL;
}

/* A guest that has just begun, with one disk and one port. */
struct error *
fake_guest_counters(void *state, const char *uuid, struct guest_counters **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_guest_counters);
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, uuid);

    if (error) {
        return error;
    }
    if (!guest) {
        return not_found(uuid);
    }
    struct guest_counters *counters = xzalloc(sizeof *counters);
    counters->memory_kib = counters->memory_max_kib = (int64_t)guest->memory_mb
                                                      << 10;
    for (int i = 0; i < guest->n_vcpus; i++) {
        *guest_counters_add_cpu(counters) =
            (struct cpu_counters){.id = i, .time_ns = 1000000};
    }
    if (guest->disk_path) {
        *guest_counters_add_disk(counters) = (struct disk_counters){
            .target = xstrdup("vda"), .n_reads = 1, .read_bytes = 512};
    }
    *guest_counters_add_nic(counters) =
        (struct nic_counters){.mac = xstrdup("fa:16:3e:00:00:01"),
                              .device = xstrdup("tap0"),
                              .rx_bytes = 64,
                              .rx_packets = 1};
    guest_counters_add_memory(counters, "rss", counters->memory_kib);
    *ret = counters;
    return NULL;
}

static struct error *
not_found(const char *uuid)
{
    return error_set_arg(
        error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host", uuid),
        "instance_id", uuid);
}

static struct error *
on_its_way(const char *uuid)
{
    return error_new(ERR_INVALID, "guest '%s' is on its way between hosts",
                     uuid);
}

static struct error *
turn_off(struct fake *fake, struct fake_guest *guest, enum stop_detail detail)
{
    guest->power_state = POWER_SHUTDOWN;
    guest->persistent = true;
    struct error *error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STOPPED, detail,
                  guest->uuid);
    }
    return error;
}
