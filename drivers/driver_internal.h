#ifndef DROVER_DRIVERS_DRIVER_INTERNAL_H
#define DROVER_DRIVERS_DRIVER_INTERNAL_H

/* What the parts of the front of the drivers share: driver.c (the module, its
 * life and its events), driver_call.c (a call's way to a thread and back) and
 * driver_entries.c (what can be called).  For nobody else. */

#include <uv.h>

#include "agent/base/worker.h"
#include "drivers/driver.h"

struct driver {
    char *name;
    void *module;
    const struct driver_ops *ops;
    void *state;
    struct completion_queue *q;
    struct worker_pool *pool;
    void (*on_event)(void *aux, const struct driver_event *event);
    void *on_event_aux;
    struct driver_call *calls; /* Under way. */
    bool is_cancelled;         /* Nothing is submitted any more. */

    uv_mutex_t mutex;   /* Guards what follows. */
    bool is_closed;     /* Nothing may be posted or delivered any more. */
    unsigned n_users;   /* Of the module: the owner, and each migration. */
    unsigned n_holders; /* Of this: the users, and each call and event. */
};

/* A call on its way to a worker and back.  The worker has it alone, then the
 * loop. */
struct driver_call {
    struct completion completion;    /* Of a migration only. */
    struct driver_call *prev, *next; /* Under way; the loop's. */
    bool is_submitted;
    bool is_told; /* It was cancelled, and is off the list. */
    struct driver *driver;
    void (*run)(struct driver_call *call);
    /* Gives the results to 'done'. */
    void (*deliver)(struct driver_call *call);
    union {
        driver_done *plain;
        driver_host_done *host;
        driver_resources_done *resources;
        driver_text_done *text;
        driver_guest_done *guest;
        driver_rest_done *rest;
        driver_list_done *list;
        driver_counters_done *counters;
        driver_fd_done *fd;
        driver_bool_done *answer;
        driver_presence_done *presence;
        driver_job_done *job;
        driver_number_done *number;
        driver_dirty_rate_done *dirty_rate;
    } done;
    void *aux;

    /* Arguments. */
    char *text, *more_text;
    struct prepare_request *prepare;
    struct migrate_request *migrate;
    struct at_rest_request *rest;
    struct copy_request *copy;
    struct image_request *image; /* Its descriptor is the call's, or -1. */
    struct host_resources_request resources;
    char **texts[2]; /* What that one borrows. */
    unsigned number;
    bool completed;

    /* Results. */
    struct error *error;
    struct host_info *ret_host;
    struct host_resources *ret_resources;
    char *ret_text;
    struct guest *ret_guest;
    struct guest_rest *ret_rest;
    struct guest_list *ret_list;
    struct guest_counters *ret_counters;
    int ret_fd; /* -1: none. */
    bool ret_answer;
    enum guest_presence ret_presence;
    struct job_stats ret_job;
    unsigned ret_number;
    struct dirty_rate ret_dirty_rate;
};

/* driver_call.c.  What is created is listed, and holds the driver; it ends with
 * 'deliver' on the loop, or with driver_cancel(). */
struct driver_call *driver_call_create(struct driver *driver,
                                       void (*run)(struct driver_call *),
                                       void (*deliver)(struct driver_call *),
                                       void *aux);
void driver_call_submit(struct driver_call *call);
void driver_call_submit_alone(struct driver_call *call);
void driver_call_unlist(struct driver_call *call);
void driver_call_free(struct driver_call *call);

/* driver.c; on any thread. */
void driver_drop_user(struct driver *driver);
void driver_drop_holder(struct driver *driver);

#endif
