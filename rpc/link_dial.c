#include <config.h>

#include "rpc/link_internal.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/clock.h"

/* A look-up of a name, which cannot be called off: it has a thread and, if
 * nobody waits any more, ends by itself. */
struct lookup {
    atomic_int n_users;
    char *host, port[8];
    int ends[2]; /* The thread closes the second when it is done. */
    struct addrinfo *found;
    atomic_int outcome; /* Of getaddrinfo(); set after 'found'. */
};

static struct error *look_up(struct interrupt *, const struct transport_host *,
                             uint64_t until_ms, struct addrinfo **ret);
static struct lookup *lookup_start(const struct transport_host *);
static void *lookup_thread(void *aux);
static void lookup_release(struct lookup *);
static unsigned count(const struct addrinfo *);
static int connect_one(struct interrupt *, const struct addrinfo *,
                       uint64_t until_ms);
static int wait_for(struct interrupt *, int fd, short events,
                    uint64_t until_ms);

void
interrupt_init(struct interrupt *interrupt)
{
    *interrupt = (struct interrupt){.fd = -1};
    uv_mutex_init(&interrupt->mutex);
}

void
interrupt_close(struct interrupt *interrupt)
{
    uv_mutex_destroy(&interrupt->mutex);
}

void
interrupt_raise(struct interrupt *interrupt)
{
    uv_mutex_lock(&interrupt->mutex);
    interrupt->n_raised++;
    if (interrupt->fd >= 0) {
        shutdown(interrupt->fd, SHUT_RDWR);
    }
    uv_mutex_unlock(&interrupt->mutex);
}

void
interrupt_lower(struct interrupt *interrupt)
{
    uv_mutex_lock(&interrupt->mutex);
    interrupt->n_raised--;
    uv_mutex_unlock(&interrupt->mutex);
}

bool
interrupt_is_raised(struct interrupt *interrupt)
{
    uv_mutex_lock(&interrupt->mutex);
    bool raised = interrupt->n_raised > 0;
    uv_mutex_unlock(&interrupt->mutex);
    return raised;
}

/* A duplicate: the library may close its own, and the number be another's. */
void
interrupt_arm(struct interrupt *interrupt, int fd)
{
    interrupt_disarm(interrupt);
    uv_mutex_lock(&interrupt->mutex);
    interrupt->fd = dup(fd);
    if (interrupt->n_raised) {
        shutdown(fd, SHUT_RDWR);
    }
    uv_mutex_unlock(&interrupt->mutex);
}

void
interrupt_disarm(struct interrupt *interrupt)
{
    uv_mutex_lock(&interrupt->mutex);
    if (interrupt->fd >= 0) {
        close(interrupt->fd);
    }
    interrupt->fd = -1;
    uv_mutex_unlock(&interrupt->mutex);
}

struct error *
dial(struct interrupt *interrupt, const struct transport_host *host,
     unsigned timeout_s, int *ret)
{
    uint64_t now_ms = clock_now_ms(), until_ms = now_ms + timeout_s * 1000ull;
    struct addrinfo *found = NULL;
    int number = 0;

    struct error *error = look_up(interrupt, host, until_ms, &found);
    if (error) {
        return error;
    }
    /* An address that says nothing leaves time for those after it. */
    for (struct addrinfo *each = found; each; each = each->ai_next) {
        now_ms = clock_now_ms();
        uint64_t left_ms = now_ms < until_ms ? until_ms - now_ms : 0;
        int fd = connect_one(interrupt, each, now_ms + left_ms / count(each));

        if (fd >= 0) {
            freeaddrinfo(found);
            *ret = fd;
            return NULL;
        }
        number = errno;
    }
    freeaddrinfo(found);
    return error_new(
        number == ECONNREFUSED ? ERR_NOT_FOUND : ERR_INTERNAL, "%s",
        interrupt_is_raised(interrupt) ? "given up" : strerror(number));
}

static struct error *
look_up(struct interrupt *interrupt, const struct transport_host *host,
        uint64_t until_ms, struct addrinfo **ret)
{
    struct error *error = NULL;
    struct lookup *lookup = lookup_start(host);

    if (!lookup) {
        return error_new(ERR_INTERNAL, "look up the name: %s", strerror(errno));
    }
    int number = wait_for(interrupt, lookup->ends[0], POLLIN, until_ms);
    close(lookup->ends[0]);
    if (interrupt_is_raised(interrupt)) {
        error = error_new(ERR_INTERNAL, "look up the name: given up");
    } else if (number) {
        error =
            error_new(ERR_INTERNAL, "look up the name: %s", strerror(number));
    } else if (lookup->outcome) {
        error = error_new(ERR_INTERNAL, "look up the name: %s",
                          gai_strerror(lookup->outcome));
    } else {
        *ret = steal(&lookup->found);
    }
    lookup_release(lookup);
    return error;
}

static struct lookup *
lookup_start(const struct transport_host *host)
{
    struct lookup *lookup = xzalloc(sizeof *lookup);
    pthread_t thread;

    lookup->n_users = 2;
    lookup->host = xstrdup(host->host);
    snprintf(lookup->port, sizeof lookup->port, "%d", host->port);
    lookup->outcome = EAI_AGAIN;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lookup->ends)) {
        lookup->n_users = 1;
        lookup_release(lookup);
        return NULL;
    }
    int number = pthread_create(&thread, NULL, lookup_thread, lookup);
    if (number) {
        close(lookup->ends[1]);
        lookup_release(lookup);
        close(lookup->ends[0]);
        lookup_release(lookup);
        errno = number;
        return NULL;
    }
    pthread_detach(thread);
    return lookup;
}

static void *
lookup_thread(void *aux)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup *lookup = aux;

    lookup->outcome =
        getaddrinfo(lookup->host, lookup->port, &hints, &lookup->found);
    close(lookup->ends[1]);
    lookup_release(lookup);
    return NULL;
}

static void
lookup_release(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->n_users, 1) == 1) {
        if (lookup->found) {
            freeaddrinfo(lookup->found);
        }
        free(lookup->host);
        free(lookup);
    }
}

static unsigned
count(const struct addrinfo *list)
{
    unsigned n = 0;

    for (; list; list = list->ai_next) {
        n++;
    }
    return n;
}

/* Returns a connected socket, or -1 with errno. */
static int
connect_one(struct interrupt *interrupt, const struct addrinfo *to,
            uint64_t until_ms)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    to->ai_protocol);
    int number = 0;

    if (fd < 0) {
        return -1;
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen)) {
        number = errno;
        if (number == EINPROGRESS) {
            socklen_t size = sizeof number;

            number = wait_for(interrupt, fd, POLLOUT, until_ms);
            if (!number) {
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size);
            }
        }
    }
    if (!number && interrupt_is_raised(interrupt)) {
        number = ECANCELED;
    }
    if (number) {
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

/* Returns an errno, 0 when something happened. */
static int
wait_for(struct interrupt *interrupt, int fd, short events, uint64_t until_ms)
{
    struct pollfd wait = {.fd = fd, .events = events};
    int n;

    interrupt_arm(interrupt, fd);
    do {
        uint64_t now_ms = clock_now_ms();

        n = poll(&wait, 1, now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
    } while (n < 0 && errno == EINTR);
    int number = n > 0 ? 0 : n ? errno : ETIMEDOUT;
    interrupt_disarm(interrupt);
    return number;
}
