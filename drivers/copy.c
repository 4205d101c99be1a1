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

#include "agent/base/log.h"

LOG_MODULE(copy);

#define EXPORT_BYTES 16
#define BACKLOG 4

/* What runs for a guest: a server at its destination, a copy at its source. */
struct copy {
    struct copy *next;
    char *uuid;
    bool is_server;
    struct process *process; /* Null: not yet. */
    unsigned per_mille;
};

struct copies {
    pthread_mutex_t mutex; /* Guards all of them. */
    struct copy *first;
};

/* A copy's ear, which also keeps what others may ask for. */
struct listener {
    struct copy_ear ear;
    struct copies *copies;
    struct copy *copy;
};

static struct copy *find(struct copies *copies, const char *uuid,
                         bool is_server);
static struct copy *take(struct copies *copies, const char *uuid,
                         bool is_server);
static void copy_free(struct copy *copy);
static struct error *listen_somewhere(const struct copy_request *request,
                                      int *ret_fd, unsigned *ret_port);
static struct error *listen_at(const struct addrinfo *address, unsigned port,
                               int *ret);
static void set_port(struct sockaddr *address, unsigned port);
static struct error *start_server(const struct copy_request *request,
                                  const char *export, int fd,
                                  struct process **ret);
static struct error *start_copy(const struct copy_request *request,
                                const struct copy_place *place,
                                struct process **ret);
static char *tls_object(const char *directory, const char *endpoint);
static char *escaped(const char *text);
static struct error *random_name(char **ret);
static void hear(void *listener, const char *text, size_t size);
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
    while (copies->first) {
        struct copy *copy = copies->first;
        copies->first = copy->next;
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
    struct process *process = NULL;

    copies_stop(copies, request->uuid);
    struct error *error = random_name(&export);
    if (!error) {
        error = listen_somewhere(request, &fd, &port);
    }
    if (!error) {
        error = start_server(request, export, fd, &process);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        return error_wrap(error, "serve '%s'", request->path);
    }
    struct copy *copy = xzalloc(sizeof *copy);
    copy->uuid = xstrdup(request->uuid);
    copy->is_server = true;
    copy->process = process;
    pthread_mutex_lock(&copies->mutex);
    copy->next = copies->first;
    copies->first = copy;
    pthread_mutex_unlock(&copies->mutex);
    struct copy_place place = {request->name, export, port};
    *ret_place = copy_place_format(&place);
    return NULL;
}

void
copies_stop(struct copies *copies, const char *uuid)
{
    pthread_mutex_lock(&copies->mutex);
    struct copy *copy = take(copies, uuid, true);
    pthread_mutex_unlock(&copies->mutex);
    copy_free(copy);
}

struct error *
copies_run(struct copies *copies, const struct copy_request *request)
{
    struct process_words words = {.size = 0};
    struct copy *copy = xzalloc(sizeof *copy);
    struct listener listener = {
        .ear = {.words = &words}, .copies = copies, .copy = copy};
    struct copy_place place;
    struct error *error = copy_place_parse(request->place, &place);

    if (error) {
        free(copy);
        return error;
    }
    copy->uuid = xstrdup(request->uuid);
    pthread_mutex_lock(&copies->mutex);
    copy->next = copies->first;
    copies->first = copy;
    error = start_copy(request, &place, &copy->process);
    pthread_mutex_unlock(&copies->mutex);
    if (!error) {
        error = process_wait(copy->process, 0, hear, &listener, &words);
    }
    pthread_mutex_lock(&copies->mutex);
    take(copies, request->uuid, false);
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
    if (copy && copy->process) {
        process_kill(copy->process);
    }
    pthread_mutex_unlock(&copies->mutex);
}

unsigned
copies_progress(struct copies *copies, const char *uuid)
{
    pthread_mutex_lock(&copies->mutex);
    struct copy *copy = find(copies, uuid, false);
    unsigned per_mille = copy ? copy->per_mille : 0;
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
        bool is_end = text[i] == '\r' || text[i] == '\n';

        if (!is_end && ear->size + 1 < sizeof ear->word) {
            ear->word[ear->size++] = text[i];
            continue;
        }
        hear_word(ear);
        if (!is_end) {
            ear->word[ear->size++] = text[i];
        } else if (ear->words->size) {
            process_words_add(ear->words, " ", 1);
        }
    }
}

static struct copy *
find(struct copies *copies, const char *uuid, bool is_server)
{
    struct copy *copy = copies->first;

    while (copy &&
           (copy->is_server != is_server || !str_eq(copy->uuid, uuid))) {
        copy = copy->next;
    }
    return copy;
}

/* Out of the list; null if there is none. */
static struct copy *
take(struct copies *copies, const char *uuid, bool is_server)
{
    struct copy *copy = find(copies, uuid, is_server);
    struct copy **link = &copies->first;

    while (copy && *link != copy) {
        link = &(*link)->next;
    }
    if (copy) {
        *link = copy->next;
    }
    return copy;
}

static void
copy_free(struct copy *copy)
{
    if (copy) {
        process_free(copy->process);
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
    struct process_options options = {argv, fd, true};
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
start_copy(const struct copy_request *request, const struct copy_place *place,
           struct process **ret)
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
    struct process_options options = {.argv = argv, .fd = -1};
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
    return process_start(&options, ret);
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
hear(void *listener_, const char *text, size_t size)
{
    struct listener *listener = listener_;

    copy_ear_hear(&listener->ear, text, size);
    pthread_mutex_lock(&listener->copies->mutex);
    listener->copy->per_mille = listener->ear.per_mille;
    pthread_mutex_unlock(&listener->copies->mutex);
}

static void
hear_word(struct copy_ear *ear)
{
    unsigned whole = 0, part = 0;
    int end = 0;

    ear->word[ear->size] = '\0';
    if (sscanf(ear->word, " (%u.%2u/100%%)%n", &whole, &part, &end) == 2 &&
        end && whole <= 100) {
        ear->per_mille = whole * 10 + part / 10;
    } else {
        process_words_add(ear->words, ear->word, ear->size);
    }
    ear->size = 0;
}
