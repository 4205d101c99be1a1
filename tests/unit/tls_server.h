#ifndef DROVER_UNIT_TLS_SERVER_H
#define DROVER_UNIT_TLS_SERVER_H

/* A server that speaks TLS, on a thread of its own, and answers whatever it is
 * asked with 200 and "{}"; and the certificates for it.
 *
 * Threads: the test's. */

struct tls_server;

/* Writes a certificate for 'address' ("127.0.0.1"), which is its own authority,
 * to 'path', and its key behind it. */
void tls_server_make_certificate(const char *path, const char *address);

/* Serves with the certificate at 'path'. */
struct tls_server *tls_server_create(const char *path);
void tls_server_free(struct tls_server *server);
const char *tls_server_url(const struct tls_server *server); /* "https://..." */

#endif
