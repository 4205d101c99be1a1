#ifndef DROVER_RPC_FAILURE_H
#define DROVER_RPC_FAILURE_H

/* An error as it travels in a reply: the one place that knows its wire form.
 * (spec/rpc-wire 3.2)
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"

/* Texts are cut here: a peer gets an explanation, not its input back. */
#define FAILURE_MESSAGE_MAX 4096

/* How much of a peer's text may be quoted in a message ("%.*s"). */
#define FAILURE_QUOTE_MAX 256

/* The JSON text that is put, as a string, into a reply's "failure"; the
 * caller's.  The finished text of the error is both "message" and args[0]; its
 * arguments, and the HTTP code of its class, are the kwargs. */
char *failure_format(const struct error *error);

/* The error that a reply's "failure" tells of; never null.  A class of ours
 * becomes its code, with the kwargs as arguments and a message of which
 * error_text() makes the peer's text again; any other ERR_REMOTE, its class
 * and module kept but for a "_Remote" at their end.  What is no failure at all
 * becomes ERR_BAD_MESSAGE.  Everything is cut to a sane size. */
struct error *failure_parse(const char *text) WARN_UNUSED;

#endif
