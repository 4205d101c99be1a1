#ifndef DROVER_AGENT_LINK_CONF_H
#define DROVER_AGENT_LINK_CONF_H

/* From the configuration to the settings of a link: the same for the agent and
 * for droverctl, so that both meet on the same bus.
 *
 * Threads: no shared state; any. */

#include "conf/conf.h"
#include "rpc/link.h"

/* Parses 'conf->transport_url', sets what its query asks for in 'conf' (an
 * option that does not exist, or a bad value, is an error as at the peers;
 * spec/rpc-wire 6.8), and fills '*options'.
 *
 * 'topic' is null for a link that only asks; the server is then null, too.
 * '*options' borrows from 'conf', 'topic', 'name' and '*ret_url', which is the
 * caller's to free once the link is made.  ERR_CONFIG, with no password in the
 * message; then neither is to be used. */
struct error *link_conf_make(struct conf *conf, const char *topic,
                             const char *name, struct link_options *options,
                             struct transport_url **ret_url) WARN_UNUSED;

#endif
