#include <config.h>

/* libvirt_client URI: a client of libvirt that is connected and does nothing.
 *
 * Its memory is what the library costs, whoever uses it.  Prints "connected"
 * and stays until its standard input ends. */

#include <stdio.h>

#include <libvirt/libvirt.h>

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: libvirt_client URI\n", stderr);
        return 2;
    }
    /* As the agent's: events, for which the library wants a loop. */
    if (virEventRegisterDefaultImpl() < 0) {
        return 1;
    }
    virConnectPtr connection = virConnectOpen(argv[1]);
    if (!connection) {
        return 1; /* The library has said why. */
    }
    puts("connected");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    virConnectClose(connection);
    return 0;
}
