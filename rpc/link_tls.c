#include <config.h>

#include "rpc/link_internal.h"

#include <stdio.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/ssl_socket.h>
#else
#include <amqp_ssl_socket.h>
#endif

static const char *library_reason(void);
static struct error *set_versions(SSL_CTX *, int only);
static struct error *set_files(const struct link_options *, amqp_socket_t *);
static struct error *refused_file(const char *option, const char *path);
static void expect_name(SSL_CTX *, const char *host);
static int on_verify(int ok, X509_STORE_CTX *store);
static void on_progress(const SSL *, int where, int value);

struct error *
tls_socket_new(struct conn *conn, const struct transport_host *host,
               amqp_socket_t **ret)
{
    const struct link_options *o = &conn->settings->o;
    amqp_socket_t *s = amqp_ssl_socket_new(conn->amqp);

    if (!s) {
        return error_new(ERR_INTERNAL, "no TLS socket");
    }
    SSL_CTX *context = amqp_ssl_socket_get_context(s);

    ERR_clear_error();
    amqp_ssl_socket_set_verify_peer(s, true);
    amqp_ssl_socket_set_verify_hostname(s, false);
    SSL_CTX_set_app_data(context, conn);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verify);
    SSL_CTX_set_info_callback(context, on_progress);
    if (o->ssl_ca_file && o->ssl_verify_hostname) {
        expect_name(context, host->host);
    }
    struct error *error = set_versions(context, o->tls_version);
    if (!error) {
        error = set_files(o, s);
    }
    *ret = s; /* The connection owns it already. */
    return error;
}

const char *
tls_reason(const struct conn *conn)
{
    return *conn->tls_reason       ? conn->tls_reason
           : conn->settings->o.ssl ? library_reason()
                                   : NULL;
}

/* The first in OpenSSL's queue: those after it only pass it on. */
static const char *
library_reason(void)
{
    unsigned long code = ERR_peek_error();

#ifdef ERR_SYSTEM_ERROR
    if (ERR_SYSTEM_ERROR(code)) {
        return strerror(ERR_GET_REASON(code));
    }
#endif
    return code ? ERR_reason_error_string(code) : NULL;
}

static struct error *
set_versions(SSL_CTX *context, int only)
{
    int lowest = only == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    int highest = only == 12 ? TLS1_2_VERSION : 0;

    if (!SSL_CTX_set_min_proto_version(context, lowest) ||
        !SSL_CTX_set_max_proto_version(context, highest)) {
        return error_new(ERR_CONFIG, "this version of TLS is not to be had");
    }
    return NULL;
}

static struct error *
set_files(const struct link_options *o, amqp_socket_t *s)
{
    const char *key = o->ssl_key_file ? o->ssl_key_file : o->ssl_cert_file;

    if (!o->ssl_ca_file) {
        SSL_CTX_set_default_verify_paths(amqp_ssl_socket_get_context(s));
    } else if (amqp_ssl_socket_set_cacert(s, o->ssl_ca_file)) {
        return refused_file("ssl_ca_file", o->ssl_ca_file);
    }
    if (o->ssl_cert_file && amqp_ssl_socket_set_key(s, o->ssl_cert_file, key)) {
        return refused_file("ssl_cert_file, ssl_key_file", o->ssl_cert_file);
    }
    return NULL;
}

static struct error *
refused_file(const char *option, const char *path)
{
    const char *reason = library_reason();

    return error_new(ERR_CONFIG, "cannot use '%s' (%s): %s", path, option,
                     reason ? reason : "it is not in order");
}

/* OpenSSL compares names as part of verifying; the matcher of rabbitmq-c before
 * 0.14 knows neither addresses nor all forms of names. */
static void
expect_name(SSL_CTX *context, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);

    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!X509_VERIFY_PARAM_set1_ip_asc(param, host)) {
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    }
}

/* Nothing is decided here, only remembered: rabbitmq-c tells that it failed. */
static int
on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl =
        X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct conn *conn = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    char subject[80] = "", issuer[80] = "";

    if (ok || *conn->tls_reason) {
        return ok;
    }
    if (certificate) {
        X509_NAME_oneline(X509_get_subject_name(certificate), subject,
                          sizeof subject);
        X509_NAME_oneline(X509_get_issuer_name(certificate), issuer,
                          sizeof issuer);
    }
    snprintf(conn->tls_reason, sizeof conn->tls_reason,
             "%s (certificate of '%s', by authority '%s')",
             X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)),
             subject, issuer);
    return ok;
}

/* rabbitmq-c connects and shakes hands in one call, which is the first to know
 * the socket.  Later handshakes are nobody's to end. */
static void
on_progress(const SSL *ssl, int where, int value UNUSED)
{
    struct conn *conn = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (where & SSL_CB_HANDSHAKE_START && conn->is_opening) {
        interrupt_arm(&conn->owner->interrupt, SSL_get_fd(ssl));
    }
}
