#ifndef DROVER_DRIVERS_FAKE_GUEST_H
#define DROVER_DRIVERS_FAKE_GUEST_H

/* A guest of the fake driver, and its text: what stands in the world.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>
#include <stdint.h>

#include "drivers/driver.h"

struct fake_guest {
    char uuid[40];
    char *name;
    int memory_mb, n_vcpus, disk_mb; /* No disk if 0. */
    char *disk_path;                 /* Null if and only if 'disk_mb' is 0. */
    enum power_state power_state;
    bool persistent;
    enum power_state saved_state; /* POWER_NOSTATE: it is not saved. */
    int n_starts;
    int64_t dirty_mib_s; /* -1: as the host has it. */
    bool is_deaf;        /* It does not listen when told to shut down. */
};

void fake_guest_free(struct fake_guest *guest);
CLEANUP_FUNC(struct fake_guest, fake_guest_free)
#define AUTO_GUEST CLEANUP(fake_guest_free_at) struct fake_guest *

char *fake_guest_format(const struct fake_guest *guest);

/* Unknown lines are passed over; what is missing has a default. */
struct fake_guest *fake_guest_parse(const char *uuid, const char *text);

bool fake_guest_is_active(const struct fake_guest *guest);

/* As the driver's callers see it. */
struct guest *fake_guest_present(const struct fake_guest *guest,
                                 enum guest_presence presence);

/* The same UUID for the same name on the same host, always. */
#define FAKE_UUID_SIZE 40
void fake_uuid_derive(const char *host, const char *name,
                      char ret[FAKE_UUID_SIZE]);

bool fake_uuid_is_valid(const char *uuid);

#endif
