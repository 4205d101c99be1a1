#ifndef DROVER_NOVA_CONSOLE_TOKENS_H
#define DROVER_NOVA_CONSOLE_TOKENS_H

/* Who was given the right to look at an instance's console, where it was, has
 * it no more: another guest may have that port next. (spec/live-migration 5.2)
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

/* Nothing is asked if no kind of console is enabled here.  May be done again;
 * 'done' is called once, perhaps before it returns. */
void console_tokens_revoke(struct nova *nova, const struct json *context,
                           const char *instance, attach_done *done, void *aux);

#endif
