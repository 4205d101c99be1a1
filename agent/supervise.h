#ifndef DROVER_AGENT_SUPERVISE_H
#define DROVER_AGENT_SUPERVISE_H

/* The agent's word to systemd: ready, alive, stopping.
 *
 * READY=1 is said once requests are consumed; WATCHDOG=1 from the loop, and
 * only while the bus's threads and the loop turn, and the agent hears itself or
 * has a reason not to: a thread that just pings proves nothing.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct supervise;

struct supervise *supervise_start(struct agent *agent);

/* STOPPING=1; the timer closes, memory goes when it has. */
void supervise_stop(struct supervise *supervise);

#endif
