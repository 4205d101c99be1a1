#include <config.h>

#include "drivers/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/command.h"

#define EXPORT_BYTES 16
#define BACKLOG 4

/* What runs for a guest. */
struct copy {
    struct copy *next;
    char *uuid;
    struct process *server; /* At its destination; null: at its source. */
    struct copy_ear ear;    /* With the program that copies, at its source. */
    atomic_bool is_to_end;
};

struct copies {
    pthread_mutex_t mutex; /* Guards the list. */
    struct copy *first;
};

static struct copy *find(struct copies *copies, const char *uuid,
                         bool is_server);
static void add(struct copies *copies, struct copy *copy, const char *uuid);
static void take(struct copies *copies, struct copy *copy);
static void copy_free(struct copy *copy);
static struct error *listen_somewhere(const struct copy_request *request,
                                      int *ret_fd, unsigned *ret_port);
static struct error *listen_at(const struct addrinfo *address, unsigned port,
                               int *ret);
static void set_port(struct sockaddr *address, unsigned port);
static struct error *start_server(const struct copy_request *request,
                                  const char *export, int fd,
                                  struct process **ret);
static struct error *run_copy(const struct copy_request *request,
                              const struct copy_place *place,
                              struct copy *copy);
static char *tls_object(const char *directory, const char *endpoint);
static char *escaped(const char *text);
static struct error *random_name(char **ret);
static void hear_word(struct copy_ear *ear);

struct copies *
copies_create(void)
{
    struct copies *copies = xzalloc(sizeof *copies);

    pthread_mutex_init(&copies->mutex, NULL);
    return copies;
}

void
copies_free(struct copies *copies)
{
    if (!copies) {
        return;
    }
    for (struct copy *copy = copies->first, *next; copy; copy = next) {
        next = copy->next;
        copy_free(copy);
    }
    pthread_mutex_destroy(&copies->mutex);
    free(copies);
}

struct error *
copies_serve(struct copies *copies, const struct copy_request *request,
             char **ret_place)
{
    AUTO_FREE export = NULL;
    unsigned port = 0;
    int fd = -1;
    struct copy *copy = xzalloc(sizeof *copy);

    copies_stop(copies, request->uuid);
    struct error *error = random_name(&export);
    if (!error) {
        error = listen_somewhere(request, &fd, &port);
    }
    if (!error) {
        error = start_server(request, export, fd, &copy->server);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        free(copy);
        return error_wrap(error, "serve '%s'", request->path);
    }
    add(copies, copy, request->uuid);
    struct copy_place place = {request->name, export, port};
    *ret_place = copy_place_format(&place);
    return NULL;
}

void
copies_stop(struct copies *copies, const char *uuid)
{
    pthread_mutex_lock(&copies->mutex);
    struct copy *copy = find(copies, uuid, true);
    take(copies, copy);
    pthread_mutex_unlock(&copies->mutex);
    copy_free(copy);
}

struct error *
copies_run(struct copies *copies, const struct copy_request *request)
{
    struct copy_place place;
    struct error *error = copy_place_parse(request->place, &place);

    if (error) {
        return error;
    }
    struct copy *copy = xzalloc(sizeof *copy);
    add(copies, copy, request->uuid);
    error = run_copy(request, &place, copy);
    pthread_mutex_lock(&copies->mutex);
    take(copies, copy);
    pthread_mutex_unlock(&copies->mutex);
    copy_free(copy);
    error = error_wrap(error, "copy '%s' to '%s'", request->path, place.host);
    copy_place_close(&place);
    return error;
}

void
copies_abort(struct copies *copies, const char *uuid)
{
    pthread_mutex_lock(&copies->mutex);
    struct copy *copy = find(copies, uuid, false);
    if (copy) {
        atomic_store(&copy->is_to_end, true);
    }
    pthread_mutex_unlock(&copies->mutex);
}

unsigned
copies_progress(struct copies *copies, const char *uuid)
{
    pthread_mutex_lock(&copies->mutex);
    struct copy *copy = find(copies, uuid, false);
    unsigned per_mille = copy ? atomic_load(&copy->ear.per_mille) : 0;
    pthread_mutex_unlock(&copies->mutex);
    return per_mille;
}

char *
copy_place_format(const struct copy_place *place)
{
    bool is_v6 = strchr(place->host, ':');

    return xasprintf("nbd://%s%s%s:%u/%s", is_v6 ? "[" : "", place->host,
                     is_v6 ? "]" : "", place->port, place->export);
}

struct error *
copy_place_parse(const char *text, struct copy_place *ret)
{
    static const char scheme[] = "nbd://";
    size_t skip = sizeof scheme - 1;
    struct copy_place place = {NULL, NULL, 0};

    if (text && strncmp(text, scheme, skip) == 0) {
        const char *at = text + skip;
        bool is_v6 = *at == '[';
        size_t size = is_v6 ? strcspn(++at, "]") : strcspn(at, ":/");
        const char *end = at + size + (is_v6 && at[size] == ']');
        char *rest = NULL;
        unsigned long port = *end == ':' ? strtoul(end + 1, &rest, 10) : 0;

        if (size && rest && *rest == '/' && rest[1] &&
            !rest[1 + strspn(rest + 1, "0123456789abcdef")] && port > 0 &&
            port <= 65535) {
            place = (struct copy_place){xstrndup(at, size), xstrdup(rest + 1),
                                        (unsigned)port};
        }
    }
    if (!place.host) {
        return error_new(ERR_VALUE, "the destination serves no file");
    }
    *ret = place;
    return NULL;
}

void
copy_place_close(struct copy_place *place)
{
    free(place->host);
    free(place->export);
}

void
copy_ear_hear(void *ear_, const char *text, size_t size)
{
    struct copy_ear *ear = ear_;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' || text[i] == '\n') {
            hear_word(ear);
        } else if (ear->size + 1 < sizeof ear->word) {
            ear->word[ear->size++] = text[i];
        }
    }
}

static struct copy *
find(struct copies *copies, const char *uuid, bool is_server)
{
    struct copy *copy = copies->first;

    while (copy && (!copy->server == is_server || !str_eq(copy->uuid, uuid))) {
        copy = copy->next;
    }
    return copy;
}

static void
add(struct copies *copies, struct copy *copy, const char *uuid)
{
    copy->uuid = xstrdup(uuid);
    pthread_mutex_lock(&copies->mutex);
    copy->next = copies->first;
    copies->first = copy;
    pthread_mutex_unlock(&copies->mutex);
}

/* Out of the list; null is fine, here and there. */
static void
take(struct copies *copies, struct copy *copy)
{
    struct copy **link = &copies->first;

    while (copy && *link != copy) {
        link = &(*link)->next;
    }
    if (copy) {
        *link = copy->next;
    }
}

static void
copy_free(struct copy *copy)
{
    if (copy) {
        process_free(copy->server);
        free(copy->uuid);
        free(copy);
    }
}

/* The first port of the range that is free.  Without an address any will
 * do. */
static struct error *
listen_somewhere(const struct copy_request *request, int *ret_fd,
                 unsigned *ret_port)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *addresses = NULL;
    struct error *error = error_new(ERR_STORAGE, "there is none");
    int code = getaddrinfo(request->place, "0", &hints, &addresses);

    if (code) {
        error_free(error);
        return error_new(ERR_STORAGE, "look up '%s': %s",
                         request->place ? request->place : "",
                         gai_strerror(code));
    }
    for (unsigned port = request->port_min; port <= request->port_max; port++) {
        error_free(error);
        error = listen_at(addresses, port, ret_fd);
        if (!error) {
            *ret_port = port;
            break;
        }
    }
    freeaddrinfo(addresses);
    return error_wrap(error, "listen on a port from %u to %u",
                      request->port_min, request->port_max);
}

static struct error *
listen_at(const struct addrinfo *address, unsigned port, int *ret)
{
    int on = 1, off = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    set_port(address->ai_addr, port);
    if (fd >= 0 && address->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) &&
        !bind(fd, address->ai_addr, address->ai_addrlen) &&
        !listen(fd, BACKLOG)) {
        *ret = fd;
        return NULL;
    }
    struct error *error = error_new(ERR_STORAGE, "%s", strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static void
set_port(struct sockaddr *address, unsigned port)
{
    if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port =
            htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)(void *)address)->sin_port =
            htons((uint16_t)port);
    }
}

static struct error *
start_server(const struct copy_request *request, const char *export, int fd,
             struct process **ret)
{
    AUTO_FREE object = tls_object(request->tls_directory, "server");
    const char *argv[20] = {"qemu-nbd",        "--persistent",
                            "--shared=1",      "--format=raw",
                            "--discard=unmap", "--detect-zeroes=unmap",
                            "--export-name",   export};
    struct process_options options = {.argv = argv,
                                      .code = ERR_STORAGE,
                                      .fds = &fd,
                                      .n_fds = 1,
                                      .is_socket = true};
    size_t n = 8;

    if (object) {
        argv[n++] = "--object";
        argv[n++] = object;
        argv[n++] = "--tls-creds=tls";
    }
    argv[n++] = request->path;
    return process_start(&options, ret);
}

/* The target was made of nothing but zeroes, so none are written; what was
 * written is on the disk when the program ends well. */
static struct error *
run_copy(const struct copy_request *request, const struct copy_place *place,
         struct copy *copy)
{
    AUTO_FREE object = tls_object(request->tls_directory, "client");
    AUTO_FREE host = escaped(place->host);
    AUTO_FREE target = xasprintf(
        "driver=nbd,server.type=inet,server.host=%s,server.port=%u,"
        "export=%s%s",
        host, place->port, place->export, object ? ",tls-creds=tls" : "");
    AUTO_FREE rate = xasprintf("%uM", request->bandwidth_mib_s);
    const char *argv[24] = {"qemu-img",
                            "convert",
                            "-n",
                            "-p",
                            "-t",
                            "writeback",
                            "-f",
                            "raw",
                            "--target-image-opts",
                            "--target-is-zero"};
    struct command command = {
        .argv = argv,
        .code = ERR_STORAGE,
        .stop = &copy->is_to_end,
        .hear = copy_ear_hear,
        .aux = &copy->ear,
    };
    size_t n = 10;

    if (object) {
        argv[n++] = "--object";
        argv[n++] = object;
    }
    if (request->bandwidth_mib_s) {
        argv[n++] = "-r";
        argv[n++] = rate;
    }
    argv[n++] = request->path;
    argv[n++] = target;
    return command_run_checked(&command, NULL);
}

/* Null without certificates. */
static char *
tls_object(const char *directory, const char *endpoint)
{
    AUTO_FREE dir = directory ? escaped(directory) : NULL;

    return dir ? xasprintf("tls-creds-x509,id=tls,endpoint=%s,"
                           "verify-peer=on,dir=%s",
                           endpoint, dir)
               : NULL;
}

/* QEMU doubles a comma that ends no option. */
static char *
escaped(const char *text)
{
    char *copy = xmalloc(strlen(text) * 2 + 1), *to = copy;

    for (; *text; text++) {
        *to++ = *text;
        if (*text == ',') {
            *to++ = ',';
        }
    }
    *to = '\0';
    return copy;
}

static struct error *
random_name(char **ret)
{
    unsigned char bytes[EXPORT_BYTES];

    if (getentropy(bytes, sizeof bytes)) {
        return error_new(ERR_STORAGE, "get a random number: %s",
                         strerror(errno));
    }
    char *name = xmalloc(sizeof bytes * 2 + 1);
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(name + i * 2, 3, "%02x", bytes[i]);
    }
    *ret = name;
    return NULL;
}

static void
hear_word(struct copy_ear *ear)
{
    unsigned whole = 0, part = 0;
    int end = 0;

    ear->word[ear->size] = '\0';
    if (sscanf(ear->word, " (%u.%2u/100%%)%n", &whole, &part, &end) == 2 &&
        end && whole <= 100) {
        atomic_store(&ear->per_mille, whole * 10 + part / 10);
    }
    ear->size = 0;
}
