#ifndef DROVER_NOVA_KEYSTONE_H
#define DROVER_NOVA_KEYSTONE_H

/* Tokens: who we are to the services of a cloud. (spec/drop-in 13)
 *
 * A login is what a section of the configuration says about user, project and
 * Keystone; sections that say the same share a session, and so a token.  It is
 * got when first wanted, by one request for all who wait, and got anew before
 * its end and when a service refused it.
 *
 * Threads: the loop. */

#include "agent/nova/rest.h"
#include "rpc/json.h"

/* A plain record; borrowed strings, that must last.  Null: not set. */
struct keystone_login {
    const char *auth_type; /* "password", "v3password",
                            * "v3applicationcredential"; null: no login. */
    const char *auth_url;
    const char *username, *user_id, *password;
    const char *user_domain_name, *user_domain_id;
    const char *project_name, *project_id;
    const char *project_domain_name, *project_domain_id;
    const char *default_domain_name, *default_domain_id;
    const char *system_scope; /* "all" */
    const char *application_credential_id, *application_credential_name;
    const char *application_credential_secret;
    struct rest_tls tls;
    unsigned timeout_ms; /* 0: REST_TIMEOUT_MS */
};

/* The body of the request for a token; the caller's.  ERR_CONFIG if the login
 * lacks something. */
struct error *keystone_login_format(const struct keystone_login *login,
                                    struct json **ret) WARN_UNUSED;

/* Where tokens are got: "/v3/auth/tokens" of 'auth_url', which may or may not
 * name a version.  The caller's. */
char *keystone_tokens_url(const char *auth_url);

struct keystone;

struct keystone *keystone_create(struct rest *rest);
void keystone_free(struct keystone *keystone); /* After rest_close(). */

struct keystone_session;

/* The session of 'login', which lives as long as 'keystone' does. */
struct keystone_session *keystone_session(struct keystone *keystone,
                                          const struct keystone_login *login);

struct keystone_token {
    const char *id;
    const struct json *catalog; /* Of the project; may be null. */
};

/* The token that is good now, for as long as the loop is not back in charge;
 * false if one has to be got. */
bool keystone_token(struct keystone_session *session,
                    struct keystone_token *ret);

/* Calls 'done', not before it has returned, when there is a token or none can
 * be had: ERR_UNAUTHORIZED (Keystone says no), ERR_KEYSTONE_CONNECTION,
 * ERR_CONFIG, ERR_CANCELLED; 'error' is taken. */
typedef void keystone_done(void *aux, struct error *error);
struct keystone_wait;
struct keystone_wait *keystone_wait(struct keystone_session *session,
                                    const struct log_context *log,
                                    keystone_done *done, void *aux);
void keystone_cancel(struct keystone_wait *wait); /* 'done' is not called. */

/* A service does not take the token 'id': it is not used again. */
void keystone_refused(struct keystone_session *session, const char *id);

#endif
