#ifndef DROVER_NOVA_SERVICE_H
#define DROVER_NOVA_SERVICE_H

/* A REST service of a cloud: a request gets an address and tokens, an answer is
 * JSON. (spec/drop-in 13)
 *
 * A token that is refused is got anew, once.  A request on behalf of a user
 * goes with his token, and with ours as a service if that is configured; if it
 * is refused, as when a migration outlived it, the request is made again as the
 * service's own user.
 *
 * Threads: the loop. */

#include "agent/nova/catalog.h"
#include "agent/nova/keystone.h"

/* What is known of a kind of service; static storage. */
struct service_kind {
    const char *name;    /* In texts: "neutron". */
    const char *api;     /* Of OpenStack-API-Version: "placement"; or null. */
    const char *version; /* Between endpoint and path: "/v2.0"; or "". */
    enum error_code unreachable;
};

/* A section of the configuration.  Borrowed strings, that must last. */
struct service_conf {
    const struct service_kind *kind;
    struct keystone_login login;
    struct catalog_query query;
    const char *endpoint; /* Instead of the catalogue's; or null.
                           * "%(project_id)s" stands for the project of a
                           * request. */
    struct rest_tls tls;
    unsigned timeout_ms; /* 0: REST_TIMEOUT_MS */
    /* Ours as a service, beside a user's; null: none is sent. */
    const struct keystone_login *service_login;
};

struct service;
struct service *service_create(struct rest *rest, struct keystone *keystone,
                               const struct service_conf *conf);
void service_free(struct service *service); /* After rest_close(). */

/* Borrowed for the call only. */
struct service_request {
    const char *method;
    const char *path;           /* "/ports?device_id=..." */
    const char *microversion;   /* "1.28"; or null. */
    const struct json *body;    /* Null: none. */
    const struct json *context; /* Of whom it is for; null: our own work. */
    bool is_as_user;            /* With the user's token. */
    bool is_repeatable;         /* As that of struct rest_request. */
    /* A file for the body of a 200, which is no JSON then; open until it is
     * done or cancelled.  Null: none. */
    const int *file;
    unsigned timeout_ms; /* 0: what is configured. */
};

/* Good for the call only. */
struct service_answer {
    int status;        /* 200 to 299, or one that says no. */
    struct json *body; /* Null: there is none, or it is no JSON. */
    const char *why;   /* What the service says of a no. */
};

/* Called once, after service_send() has returned.  Either is null; 'error' is
 * taken: the kind's 'unreachable', ERR_UNAUTHORIZED, ERR_CONFIG (no login, no
 * endpoint), ERR_KEYSTONE_CONNECTION, ERR_CANCELLED. */
typedef void service_done(void *aux, const struct service_answer *answer,
                          struct error *error);

struct service_call;
struct service_call *service_send(struct service *service,
                                  const struct service_request *request,
                                  service_done *done, void *aux);
void service_cancel(struct service_call *call); /* 'done' is not called. */

/* The endpoint that is configured, or else the type to look for; borrowed. */
const char *service_address(const struct service *service);

/* Calls 'done' without answer and error, as service_send() would: for what is
 * known already. */
struct service_call *service_soon(struct service *service, service_done *done,
                                  void *aux);

/* The error of an answer that says no: 'code', or ERR_FORBIDDEN of 403. */
struct error *service_refusal(const struct service *service,
                              enum error_code code, const char *what,
                              const struct service_answer *answer) WARN_UNUSED;

/* The error of an answer without what it should have had. */
struct error *service_nonsense(const struct service *service,
                               const char *what) WARN_UNUSED;

/* 'text' as a part of a URL; the caller's. */
char *service_quote(const char *text);

#endif
