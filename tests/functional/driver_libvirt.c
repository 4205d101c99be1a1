#include <config.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/driver.h"
#include "tests/unit/driver_contract.h"

/* The libvirt driver alone, for the functional tests.
 *
 *   driver_libvirt contract OWN-URI PEER-URI DEAD-URI INSTANCES UUID
 *   driver_libvirt watch URI INSTANCES
 *
 * The first holds the driver to the contract with a real guest, on storage
 * that both hosts share.  The second prints "event NAME UUID" for each event,
 * and one line for each line of standard input:
 *
 *   presence UUID       ->  presence NAME, or error CODE
 *   peer URI UUID       ->  the same
 *   discard UUID        ->  discard, or error CODE
 *
 * It ends with its input.  The module is looked for in DROVER_DRIVER_PATH. */

static const char *const events[] = {
    [DRIVER_EVENT_STARTED] = "started",
    [DRIVER_EVENT_STOPPED] = "stopped",
    [DRIVER_EVENT_SUSPENDED] = "suspended",
    [DRIVER_EVENT_RESUMED] = "resumed",
    [DRIVER_EVENT_POSTCOPY] = "postcopy",
    [DRIVER_EVENT_POSTCOPY_FAILED] = "postcopy-failed",
    [DRIVER_EVENT_DEFINED] = "defined",
    [DRIVER_EVENT_UNDEFINED] = "undefined",
    [DRIVER_EVENT_JOB_COMPLETED] = "job-completed",
    [DRIVER_EVENT_CONNECTED] = "connected",
    [DRIVER_EVENT_DISCONNECTED] = "disconnected",
};

static const char *const presences[] = {
    [GUEST_ABSENT] = "absent",
    [GUEST_OFF] = "off",
    [GUEST_ACTIVE] = "active",
    [GUEST_INCOMING] = "incoming",
    [GUEST_MIGRATED] = "migrated",
    [GUEST_POSTCOPY] = "postcopy",
    [GUEST_POSTCOPY_FAILED] = "postcopy-failed",
};

static int
run_contract(char **args)
{
    const char *directory = getenv("DROVER_DRIVER_PATH");
    struct driver_options here = {
        .host = "here",
        .connection_uri = args[0],
        .virt_type = "qemu",
        .instances_path = args[3],
    };
    struct driver_options there = here;
    there.host = "there";
    there.connection_uri = args[1];

    struct driver_contract contract = {
        .name = "libvirt",
        .directory = directory,
        .options = here,
        .uuid = args[4],
        .has_guest = true,
        .peer_uri = args[1],
        .own_uri = args[0],
        .peer_options = there,
        .dead_uri = args[2],
    };
    return driver_contract_run(&contract) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* On a thread of the driver's; stdio keeps lines apart. */
static void
print_event(void *aux UNUSED, const struct driver_event *event)
{
    printf("event %s %s\n", events[event->type], event->uuid);
    fflush(stdout);
}

static const struct driver_ops *
load(void)
{
    const char *directory = getenv("DROVER_DRIVER_PATH");
    AUTO_FREE path =
        xasprintf("%s/drover-libvirt.so", directory ? directory : ".");
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const struct driver_ops *ops = module ? dlsym(module, DRIVER_SYMBOL) : NULL;

    if (!ops) {
        fprintf(stderr, "%s\n", dlerror());
        exit(EXIT_FAILURE);
    }
    return ops;
}

static void
answer(struct error *error, const char *word, const char *value)
{
    if (error) {
        printf("error %s\n", error_class(error_code(error))->name);
        fprintf(stderr, "%s\n", error_message(error));
    } else {
        printf("%s%s%s\n", word, *value ? " " : "", value);
    }
    fflush(stdout);
    error_free(error);
}

static void
obey(const struct driver_ops *ops, void *state, char *line)
{
    char verb[16] = "", first[256] = "", second[64] = "";
    enum guest_presence presence = GUEST_ABSENT;
    struct error *error = NULL;
    int n = sscanf(line, "%15s %255s %63s", verb, first, second);

    if (n == 2 && strcmp(verb, "presence") == 0) {
        CLEANUP(guest_free_at) struct guest *guest = NULL;
        error = ops->guest_get(state, first, &guest);
        answer(error, verb, guest ? presences[guest->presence] : "");
    } else if (n == 3 && strcmp(verb, "peer") == 0) {
        error = ops->peer_presence(state, first, second, &presence);
        answer(error, "presence", presences[presence]);
    } else if (n == 2 && strcmp(verb, "discard") == 0) {
        answer(ops->discard(state, first), verb, "");
    } else {
        answer(error_new(ERR_VALUE, "not understood: %s", line), "", "");
    }
}

static int
watch(char **args)
{
    const struct driver_ops *ops = load();
    const struct driver_options options = {
        .host = "here",
        .connection_uri = args[0],
        .virt_type = "qemu",
        .instances_path = args[1],
        .event = print_event,
    };
    char line[512];
    void *state;

    struct error *error = ops->open(&options, &state);
    if (error) {
        answer(error, "", "");
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof line, stdin)) {
        obey(ops, state, line);
    }
    ops->close(state);
    return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
    log_init();
    if (argc == 7 && strcmp(argv[1], "contract") == 0) {
        return run_contract(argv + 2);
    }
    if (argc == 4 && strcmp(argv[1], "watch") == 0) {
        return watch(argv + 2);
    }
    fputs("usage: driver_libvirt contract|watch ...\n", stderr);
    return 2;
}
