#ifndef DROVER_AGENT_ATTACHMENTS_H
#define DROVER_AGENT_ATTACHMENTS_H

/* Volumes and ports of an instance, from what describes them to the records of
 * drivers/volume.h and drivers/vif.h.
 *
 * Between hosts they travel in the migrate data (bdms, vifs) as Nova has them.
 * A host without a control plane is told of them once by its operator and keeps
 * them in the record of the instance, with which they move:
 *
 *   {"volumes": [{"connection_info": {...}, "dev": "vdb", "bus": "virtio",
 * ...}], "vifs": [{"id": ..., "address": ..., "type": "ovs", ...}]}
 *
 * What is in them is Nova's connection_info and VIF.
 * (spec/live-migration 1.10, 3.2, 3.4)
 *
 * Pure.  Threads: no shared state. */

#include "conf/conf.h"
#include "drivers/driver.h"
#include "rpc/object.h"

/* Of each kind; more than any guest has. */
#define ATTACHMENTS_MAX 256

/* The field of an Instance, in local records only. */
#define ATTACHMENTS_FIELD "drover_attachments"

/* Of the migrate data, in a destination's journal only: what a control plane is
 * to be told if the volumes are let go of (agent/nova/volume_nova.h). */
#define ATTACHMENTS_MADE_FIELD "drover_volumes"

/* ERR_VALUE, ERR_VOLUME_DRIVER_NOT_FOUND, ERR_VIF_PLUG for what no driver will
 * take; '*ret' is what is to be kept, the caller's. */
struct error *attachments_parse(const struct json *json, const char *uuid,
                                struct json **ret) WARN_UNUSED;

/* What is kept; borrowed, null: nothing. */
const struct json *attachments_of(const struct object *instance);

/* The source tells of them what the migrate data do not say yet. */
void attachments_tell(const struct object *instance, struct object *data);

/* A destination names the ports that Nova knows of, for the conductor to bind
 * them to it: with none, too, it must say so. (spec/live-migration 2.5) */
void attachments_name_ports(const struct object *instance, struct object *data);

/* The destination keeps what it has made of it. */
void attachments_keep(struct object *instance, const struct object *data);

/* Marks the disks that are volumes, and so not its host's. */
void attachments_mark(const struct object *instance, struct guest *guest);

/* As this host is to reach them.  'conf' may have a user of Ceph. */
struct error *attachments_volumes(const struct conf *conf,
                                  const struct object *data, const char *uuid,
                                  struct volume_list *ret) WARN_UNUSED;
/* As the source of a migration had them; of its record. */
struct error *attachments_own_volumes(const struct conf *conf,
                                      const struct object *instance,
                                      struct volume_list *ret) WARN_UNUSED;

/* Puts where they are now into the connection_info of 'data'. */
void attachments_set_paths(struct object *data,
                           const struct volume_list *volumes);

/* attachments_parse.c: one of each; 'conf' may be null.  ERR_VALUE. */
struct error *attachments_parse_volume(const struct conf *conf,
                                       const struct json *info,
                                       const char *uuid,
                                       struct volume **ret) WARN_UNUSED;
struct error *attachments_parse_vif(const struct json *json, const char *uuid,
                                    struct vif **ret) WARN_UNUSED;

/* With the destination's binding, or else the source's own. */
struct error *attachments_vifs(const struct object *data, const char *uuid,
                               bool is_source,
                               struct vif_list *ret) WARN_UNUSED;

#endif
