#include <config.h>

/* load [--announce] ADDRESS PORT KEY IN_FLIGHT CALLS REQUEST...: so many calls,
 * so many at a time, to the server behind the routing key; prints how long
 * they took, as JSON.
 *
 * Each REQUEST is a file of two lines: what the answer has to hold, and the
 * body, in which 32 times '@' stand for the call's id and 30 times '#' for the
 * reply queue.  Of several each has its turn.
 *
 * Before the calls that count, a tenth as many warm the server up.  With
 * --announce there is no warming up, and "sent" is printed once the broker has
 * the first requests, for a server that is to be started then. */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tests/bench/bus.h"

#define EXCHANGE "nova"

/* A call's id: the run's number, then the call's, in hexadecimal. */
#define RUN_DIGITS 24
#define CALL_DIGITS 8
#define ID_SIZE (RUN_DIGITS + CALL_DIGITS)
#define ID_SLOT "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"

#define REPLY_QUEUE_SIZE (6 + RUN_DIGITS)
#define REPLY_QUEUE_SLOT "##############################"

#define REQUESTS_MAX 4
#define SLOTS_MAX 4

struct request {
    char *answer; /* What the answer has to hold. */
    char *body;   /* The slots are filled anew for each call. */
    size_t size;
    char *ids[SLOTS_MAX];
    size_t n_ids;
};

struct load {
    amqp_connection_state_t bus;
    const char *key;
    char run[RUN_DIGITS + 1];
    char reply_queue[REPLY_QUEUE_SIZE + 1];
    bool announces;
    struct request requests[REQUESTS_MAX];
    unsigned n_requests;

    unsigned n_calls, n_in_flight;
    unsigned n_sent, n_answered;
    double *sent_at; /* Of each call. */
    double *took;    /* In the order of the answers. */
};

static void make_reply_queue(struct load *load);
static void read_request(const struct load *load, const char *path,
                         struct request *request);
static void run(struct load *load, unsigned n_calls);
static void send_call(struct load *load);
static void announce(const struct load *load);
static void read_answer(struct load *load);
static void print_result(struct load *load, double seconds);

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"announce", no_argument, NULL, 'a'},
        {NULL, 0, NULL, 0},
    };
    struct load load = {0};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'a') {
            return 2;
        }
        load.announces = true;
    }
    int n_requests = argc - optind - 5;
    if (n_requests < 1 || n_requests > REQUESTS_MAX ||
        atoi(argv[optind + 3]) < 1 || atoi(argv[optind + 4]) < 1) {
        fputs("usage: load [--announce] ADDRESS PORT KEY IN_FLIGHT CALLS "
              "REQUEST...\n",
              stderr);
        return 2;
    }
    argv += optind;
    load.bus = bus_connect(argv[0], argv[1]);
    load.key = argv[2];
    load.n_in_flight = (unsigned)atoi(argv[3]);
    unsigned n_calls = (unsigned)atoi(argv[4]);

    make_reply_queue(&load);
    for (; load.n_requests < (unsigned)n_requests; load.n_requests++) {
        read_request(&load, argv[5 + load.n_requests],
                     &load.requests[load.n_requests]);
    }
    if (!load.announces) {
        run(&load, n_calls / 10 + 1);
    }
    double start = bus_seconds(CLOCK_MONOTONIC);
    run(&load, n_calls);
    print_result(&load, bus_seconds(CLOCK_MONOTONIC) - start);
    return 0;
}

/* Each process has a number of its own, as servers drop duplicates. */
static void
make_reply_queue(struct load *load)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        bus_die("getrandom", "no random number");
    }
    snprintf(load->run, sizeof load->run, "%0*" PRIx64, RUN_DIGITS, number);
    snprintf(load->reply_queue, sizeof load->reply_queue, "reply_%s",
             load->run);

    amqp_bytes_t name = amqp_cstring_bytes(load->reply_queue);
    amqp_queue_declare(load->bus, BUS_CHANNEL, name, false, false, true, true,
                       amqp_empty_table);
    bus_check(load->bus, "declare the reply queue");
    amqp_basic_consume(load->bus, BUS_CHANNEL, name, amqp_empty_bytes, false,
                       true, false, amqp_empty_table);
    bus_check(load->bus, "consume");
}

static void
read_request(const struct load *load, const char *path, struct request *request)
{
    FILE *file = fopen(path, "re");
    size_t room = 0;
    char *slot;

    if (!file || getline(&request->answer, &room, file) < 2) {
        bus_die("read", path);
    }
    request->answer[strlen(request->answer) - 1] = '\0';
    room = 0;
    if (getline(&request->body, &room, file) < 2) {
        bus_die("read", path);
    }
    fclose(file);
    request->size = strcspn(request->body, "\n");
    request->body[request->size] = '\0';
    while ((slot = strstr(request->body, REPLY_QUEUE_SLOT))) {
        memcpy(slot, load->reply_queue, REPLY_QUEUE_SIZE);
    }
    for (slot = request->body; (slot = strstr(slot, ID_SLOT));
         slot += ID_SIZE) {
        if (request->n_ids == SLOTS_MAX) {
            bus_die("too many ids in", path);
        }
        request->ids[request->n_ids++] = slot;
    }
}

/* May be called again: the calls go on being numbered. */
static void
run(struct load *load, unsigned n_calls)
{
    unsigned first = load->n_sent;

    load->n_calls = first + n_calls;
    load->sent_at =
        reallocarray(load->sent_at, load->n_calls, sizeof *load->sent_at);
    load->took = reallocarray(load->took, load->n_calls, sizeof *load->took);
    if (!load->sent_at || !load->took) {
        bus_die("run", "out of memory");
    }
    while (load->n_answered < load->n_calls) {
        while (load->n_sent < load->n_calls &&
               load->n_sent - load->n_answered < load->n_in_flight) {
            send_call(load);
        }
        if (load->announces && load->n_answered == first) {
            announce(load);
        }
        read_answer(load);
    }
    /* Only the last run is told of. */
    memmove(load->took, load->took + first, n_calls * sizeof *load->took);
    load->n_calls = n_calls;
}

static void
send_call(struct load *load)
{
    unsigned call = load->n_sent++;
    struct request *request = &load->requests[call % load->n_requests];
    char id[ID_SIZE + 1];

    snprintf(id, sizeof id, "%s%0*x", load->run, CALL_DIGITS, call);
    for (size_t i = 0; i < request->n_ids; i++) {
        memcpy(request->ids[i], id, ID_SIZE);
    }
    load->sent_at[call] = bus_seconds(CLOCK_MONOTONIC);
    bus_publish(load->bus, EXCHANGE, load->key, request->body, request->size);
}

/* The broker takes what comes on a channel in order: when it answers a
 * question, it has routed the requests before it. */
static void
announce(const struct load *load)
{
    amqp_exchange_declare(load->bus, BUS_CHANNEL, amqp_cstring_bytes(EXCHANGE),
                          amqp_cstring_bytes("topic"), true, false, false,
                          false, amqp_empty_table);
    bus_check(load->bus, "ask for the exchange");
    puts("sent");
    fflush(stdout);
}

static void
read_answer(struct load *load)
{
    amqp_envelope_t answer;
    char msg_id[ID_SIZE + 1];

    bus_read(load->bus, &answer);
    double now = bus_seconds(CLOCK_MONOTONIC);
    amqp_bytes_t body = answer.message.body;
    if (!bus_field(body, "_msg_id", msg_id, sizeof msg_id) ||
        strncmp(msg_id, load->run, RUN_DIGITS) != 0) {
        bus_die("answer", "to none of the calls");
    }
    unsigned long call = strtoul(msg_id + RUN_DIGITS, NULL, 16);
    if (call >= load->n_sent || load->n_answered == load->n_sent) {
        bus_die("answer", "more than there are calls");
    }
    const char *expected = load->requests[call % load->n_requests].answer;
    if (!memmem(body.bytes, body.len, expected, strlen(expected))) {
        fprintf(stderr, "%.*s\n", (int)body.len, (char *)body.bytes);
        bus_die("answer holds no", expected);
    }
    load->took[load->n_answered++] = now - load->sent_at[call];
    amqp_destroy_envelope(&answer);
}

static int
compare(const void *a_, const void *b_)
{
    double a = *(const double *)a_, b = *(const double *)b_;

    return (a > b) - (a < b);
}

static void
print_result(struct load *load, double seconds)
{
    unsigned n = load->n_calls;

    qsort(load->took, n, sizeof *load->took, compare);
    printf("{\"calls\": %u, \"in_flight\": %u, \"per_s\": %.1f, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"ended_at\": %.6f}\n",
           n, load->n_in_flight, n / seconds, load->took[n / 2] * 1e3,
           load->took[(unsigned)(n * 0.99)] * 1e3, bus_seconds(CLOCK_REALTIME));
}
