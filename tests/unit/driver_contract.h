#ifndef DROVER_TESTS_DRIVER_CONTRACT_H
#define DROVER_TESTS_DRIVER_CONTRACT_H

/* What every driver must do, whichever hypervisor is behind it.
 *
 * One set of tests for drivers/driver.h, run against the fake in `make check`
 * and against libvirt in the functional tests.  What passes on one and fails
 * on the other is a bug in the fake.
 *
 * Threads: that of the test. */

#include "drivers/driver.h"

struct driver_contract {
    const char *name;      /* Of the driver. */
    const char *directory; /* Of its module. */
    struct driver_options options;

    /* A guest that runs there.  Null: the first that runs. */
    const char *uuid;
    bool has_guest;         /* Otherwise what needs a guest is skipped. */
    bool tells_no_machines; /* As libvirt's test driver. */

    /* Another host, and that host's driver if it can be opened from here, so
     * that the guest comes back.  Null: nothing is moved. */
    const char *peer_uri;
    const char *own_uri; /* As the peer knows this host. */
    struct driver_options peer_options;
    bool copies_disks; /* They are not on shared storage. */

    const char *dead_uri; /* Where no hypervisor answers.  Null: skipped. */
};

/* The number of tests that failed. */
int driver_contract_run(const struct driver_contract *contract);

/* The name of the image that they leave in the cache; the caller's. */
char *driver_contract_image(void);

#endif
