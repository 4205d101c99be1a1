#ifndef DROVER_TESTS_FAKE_CONDUCTOR_H
#define DROVER_TESTS_FAKE_CONDUCTOR_H

/* A conductor on a bus in memory.  It tells its versions to whoever asks for
 * one that nobody has, as the real one does, and keeps all other requests for
 * the test to answer.
 *
 * Threads: the loop. */

#include "rpc/envelope.h"
#include "tests/unit/memory_bus.h"

struct fake_conductor {
    struct memory_bus *bus;
    struct transport *transport;
    struct json *versions; /* What it has: {"Service": "1.22"}. */
    bool is_mute;          /* Nobody learns anything. */
    bool is_odd;           /* It takes any version and has any method. */
    unsigned n_learnt;     /* Versions that it was asked for... */
    unsigned n_refused;    /* ...and had not, which the real one logs. */
    struct envelope *requests[64];
    unsigned n_requests;
};

/* 'text' with " for '. */
struct json *fake_conductor_json(const char *text);

void fake_conductor_attach(struct fake_conductor *fake, struct memory_bus *bus,
                           const char *versions);
void fake_conductor_detach(struct fake_conductor *fake);

/* Replaces its versions. */
void fake_conductor_upgrade(struct fake_conductor *fake, const char *versions);

/* Answers request 'i' with 'result' (as above; null: JSON's null) or 'error',
 * and delivers all. */
void fake_conductor_answer(struct fake_conductor *fake, unsigned i,
                           const char *result, const struct error *error);

/* An argument of request 'i', or null. */
const struct json *fake_conductor_arg(const struct fake_conductor *fake,
                                      unsigned i, const char *name);

#endif
