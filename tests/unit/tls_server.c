#include <config.h>

#include "tests/unit/tls_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <uv.h>

#include "agent/base/mem.h"

struct tls_server {
    SSL_CTX *context;
    int fd;
    char *url;
    uv_thread_t thread;
};

void
tls_server_make_certificate(const char *path, const char *address)
{
    AUTO_FREE name = xasprintf("IP:%s", address);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    X509_NAME *subject = X509_get_subject_name(x509);

    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_set_version(x509, 2);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               (const unsigned char *)address, -1, -1, 0);
    X509_set_issuer_name(x509, subject);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, name);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(x509, key, EVP_sha256()));
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    PEM_write_X509(file, x509);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(x509);
    EVP_PKEY_free(key);
}

/* One client at a time, and one request of each. */
static void
serve(void *aux)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                                "Connection: close\r\n\r\n{}";
    struct tls_server *server = aux;
    int fd;

    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        SSL *ssl = SSL_new(server->context);
        char buffer[4096];

        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) > 0 && SSL_read(ssl, buffer, sizeof buffer) > 0) {
            SSL_write(ssl, reply, sizeof reply - 1);
            SSL_shutdown(ssl);
        }
        SSL_free(ssl);
        close(fd);
    }
}

struct tls_server *
tls_server_create(const char *path)
{
    struct tls_server *server = xzalloc(sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;

    server->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(
        SSL_CTX_use_certificate_file(server->context, path, SSL_FILETYPE_PEM),
        1);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(server->context, path, SSL_FILETYPE_PEM),
        1);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 16), 0);
    getsockname(server->fd, (struct sockaddr *)&address, &size);
    server->url =
        xasprintf("https://127.0.0.1:%d", (int)ntohs(address.sin_port));
    uv_thread_create(&server->thread, serve, server);
    return server;
}

void
tls_server_free(struct tls_server *server)
{
    shutdown(server->fd, SHUT_RDWR); /* Ends accept(). */
    uv_thread_join(&server->thread);
    close(server->fd);
    SSL_CTX_free(server->context);
    free(server->url);
    free(server);
}

const char *
tls_server_url(const struct tls_server *server)
{
    return server->url;
}
