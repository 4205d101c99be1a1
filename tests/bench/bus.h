#ifndef DROVER_BENCH_BUS_H
#define DROVER_BENCH_BUS_H

/* As little of the bus as a measurement needs: one connection, one channel,
 * bodies in oslo's form made and read as text.  None of it is drover's, which
 * is what it is compared with.  Whatever goes wrong ends the program. */

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>
#endif

#define BUS_CHANNEL 1

/* Connects as guest and opens the channel. */
amqp_connection_state_t bus_connect(const char *address, const char *port);

/* Ends the program unless the last operation went well. */
void bus_check(amqp_connection_state_t bus, const char *what);

/* Publishes as oslo.messaging does, without waiting for a confirmation. */
void bus_publish(amqp_connection_state_t bus, const char *exchange,
                 const char *key, const char *body, size_t size);

/* Waits for the next message; to be given to amqp_destroy_envelope(). */
void bus_read(amqp_connection_state_t bus, amqp_envelope_t *ret);

/* Copies the text of member 'name' of the inner document, whose quotes are
 * escaped, to the 'room' bytes at 'ret'.  False if there is none or it is too
 * long. */
bool bus_field(amqp_bytes_t body, const char *name, char *ret, size_t room);

double bus_seconds(clockid_t clock);

_Noreturn void bus_die(const char *what, const char *why);

#endif
