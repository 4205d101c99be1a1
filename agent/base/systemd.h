#ifndef DROVER_BASE_SYSTEMD_H
#define DROVER_BASE_SYSTEMD_H

/* The two words that a service has for systemd: datagrams of text on sockets,
 * as sd_notify(3) and systemd.io/JOURNAL_NATIVE_PROTOCOL describe them.
 *
 * libsystemd is not used: with what it loads it takes a MiB of memory, an
 * eighth of the agent's, to send them.
 *
 * Threads: any. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

/* Tells the service manager "NAME=VALUE\n...", without waiting.  False: there
 * is none, it does not listen, or it has too much unread: tell it later. */
bool systemd_notify(const char *fmt, ...) PRINTF_FORMAT(1, 2);

/* Whether the manager wants to hear WATCHDOG=1, at the least every '*ret_us'
 * microseconds. */
bool systemd_watchdog(uint64_t *ret_us);

/* An entry for the journal; zeroed is empty. */
struct systemd_entry {
    char *text;
    size_t size, room;
};

/* Whatever is in 'value' stays within its field. */
void systemd_entry_add(struct systemd_entry *entry, const char *field,
                       const char *value);

/* Sends it to the socket at 'path', null: the journal's, without waiting, and
 * empties it.  False: it was not taken; '*ret_is_full': because the reader
 * has too much unread. */
bool systemd_entry_send(struct systemd_entry *entry, const char *path,
                        bool *ret_is_full);

#endif
