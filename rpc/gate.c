#include <config.h>

#include "rpc/gate.h"

#include <stdlib.h>

#include "rpc/adoption.h"

struct entry {
    struct entry *next, *prev;
    struct gate *gate;
    struct request *request;
    bool is_ready;
    struct error *error;
};

/* Entries in the order of their requests. */
struct gate {
    struct rpc_server *server;
    struct conductor *conductor;
    unsigned timeout_ms;
    struct entry *head, *tail;
    unsigned n, n_refs;
};

static void enter(void *aux, struct request *);
static struct entry *entry_create(struct gate *, struct request *);
static void adopted(void *aux, struct error *error);
static void let_through(struct entry *);
static struct entry *same_before(const struct entry *);
static bool is_about(const struct entry *, const char *instance);
static void remove_entry(struct entry *);
static void gate_drop(struct gate *);

struct gate *
gate_create(struct rpc_server *server, struct conductor *conductor,
            unsigned timeout_ms)
{
    struct gate *gate = xzalloc(sizeof *gate);

    gate->server = server;
    gate->conductor = conductor;
    gate->timeout_ms = timeout_ms;
    gate->n_refs = 1;
    rpc_server_set_gate(server, enter, gate);
    return gate;
}

void
gate_close(struct gate *gate)
{
    rpc_server_set_gate(gate->server, NULL, NULL);
    gate_drop(gate);
}

unsigned
gate_n_waiting(const struct gate *gate)
{
    return gate->n;
}

static void
enter(void *aux, struct request *request)
{
    struct gate *gate = aux;
    struct json *args = request_edit_args(request);
    bool fits = conductor_fit(gate->conductor, args) == OBJECT_FITS;
    const char *instance = request_log(request)->instance;
    const struct entry *last = gate->tail;

    while (last && !is_about(last, instance)) {
        last = last->prev;
    }
    if (fits && !last) {
        request_enter(request, NULL);
        return;
    }
    struct entry *entry = entry_create(gate, request);
    if (fits) {
        entry->is_ready = true;
    } else {
        adoption_start(gate->conductor, request_context(request), args,
                       gate->timeout_ms, adopted, entry);
    }
}

static struct entry *
entry_create(struct gate *gate, struct request *request)
{
    struct entry *entry = xzalloc(sizeof *entry);

    entry->gate = gate;
    entry->request = request;
    entry->prev = gate->tail;
    *(gate->tail ? &gate->tail->next : &gate->head) = entry;
    gate->tail = entry;
    gate->n++;
    gate->n_refs++;
    return entry;
}

static void
adopted(void *aux, struct error *error)
{
    struct entry *entry = aux;

    entry->is_ready = true;
    entry->error = error;
    if (!same_before(entry)) {
        let_through(entry);
    }
}

/* And those behind it, up to one that still waits for itself.  A method may
 * do anything, so what is behind is looked for again. */
static void
let_through(struct entry *entry)
{
    struct gate *gate = entry->gate;
    struct log_context log = *request_log(entry->request);

    gate->n_refs++;
    while (entry && entry->is_ready) {
        struct request *request = entry->request;
        struct error *error = steal(&entry->error);

        remove_entry(entry);
        request_enter(request, error);
        entry = gate->head;
        while (entry && !is_about(entry, log.instance)) {
            entry = entry->next;
        }
    }
    gate_drop(gate);
}

static struct entry *
same_before(const struct entry *entry)
{
    const char *instance = request_log(entry->request)->instance;
    struct entry *other = entry->prev;

    while (other && !is_about(other, instance)) {
        other = other->prev;
    }
    return other;
}

/* A request that is about none, or more than one, has no order to keep. */
static bool
is_about(const struct entry *entry, const char *instance)
{
    return *instance && str_eq(request_log(entry->request)->instance, instance);
}

static void
remove_entry(struct entry *entry)
{
    struct gate *gate = entry->gate;

    *(entry->prev ? &entry->prev->next : &gate->head) = entry->next;
    *(entry->next ? &entry->next->prev : &gate->tail) = entry->prev;
    gate->n--;
    free(entry);
    gate_drop(gate);
}

static void
gate_drop(struct gate *gate)
{
    if (--gate->n_refs == 0) {
        free(gate);
    }
}
