#ifndef DROVER_RPC_TRANSPORT_URL_H
#define DROVER_RPC_TRANSPORT_URL_H

/* rabbit://[user:pass@]host[:port][,...]/[vhost][?options]
 * (spec/rpc-wire 6.8).  Pure.  Threads: any. */

#include "agent/base/error.h"

struct transport_host {
    char *user, *password, *host;
    int port;
};

struct transport_url {
    struct transport_host *hosts;
    size_t n_hosts; /* At least 1. */
    char *vhost;
    struct transport_option {
        char *name, *value; /* Driver options of the query. */
    } * options;
    size_t n_options;
    bool some_lack_credentials; /* Worth a warning. */
};

/* ERR_CONFIG; the message never holds a password. */
struct error *transport_url_parse(const char *text,
                                  struct transport_url **ret) WARN_UNUSED;
void transport_url_free(struct transport_url *url);
CLEANUP_FUNC(struct transport_url, transport_url_free)

#endif
