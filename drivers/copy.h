#ifndef DROVER_DRIVERS_COPY_H
#define DROVER_DRIVERS_COPY_H

/* Copies files from one host to another with QEMU's means.
 *
 * At the destination qemu-nbd serves a file that was made, as so many bytes, to
 * one client that knows its name; at the source qemu-img writes to it what the
 * file there has, holes left out.  Both know nothing of what the bytes mean, so
 * that an image of any kind arrives as it was.  The socket is ours: it is bound
 * before there is a server, which finds it as under systemd, so that a port is
 * never lost to somebody else.
 *
 * Nothing outlives the agent (agent/base/process.h), and nothing begins anew by
 * itself: a copy that broke off is void.
 *
 * Threads: any; copy_run() blocks until the copy has ended. */

#include <stdatomic.h>

#include "drivers/driver.h"

struct copies;
struct copies *copies_create(void);
void copies_free(struct copies *copies); /* What is still served ends. */

/* As the entries of the same names of struct driver_ops; whether this host
 * serves such a file at all the caller has made sure of. */
struct error *copies_serve(struct copies *copies,
                           const struct copy_request *request,
                           char **ret_place) WARN_UNUSED;
void copies_stop(struct copies *copies, const char *uuid);
struct error *copies_run(struct copies *copies,
                         const struct copy_request *request) WARN_UNUSED;
void copies_abort(struct copies *copies, const char *uuid);
unsigned copies_progress(struct copies *copies, const char *uuid);

/* ---- Pure, for tests ----------------------------------------------------- */

/* "nbd://HOST:PORT/EXPORT", HOST in brackets if it has a colon; back, where
 * the text may be anything at all, ERR_VALUE. */
struct copy_place {
    char *host, *export;
    unsigned port;
};
char *copy_place_format(const struct copy_place *place);
struct error *copy_place_parse(const char *text,
                               struct copy_place *ret) WARN_UNUSED;
void copy_place_close(struct copy_place *place);

/* What qemu-img says with -p: "    (12.34/100%)\r", in pieces as they come. */
struct copy_ear {
    char word[32];
    size_t size;
    atomic_uint per_mille;
};
void copy_ear_hear(void *ear, const char *text, size_t size);

#endif
