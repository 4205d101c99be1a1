#ifndef DROVER_DRIVERS_HOST_RESOURCES_H
#define DROVER_DRIVERS_HOST_RESOURCES_H

/* What a host has to give to guests, and what its hypervisor can do: the facts
 * behind a scheduler's record of the host.
 *
 * Plain records.  What is configured for guests (sets of CPUs, reserves) is
 * not applied here: these are the host's own numbers.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"
#include "agent/base/sets.h"

/* A NUMA node. */
struct host_cell {
    int id;
    int socket; /* -1: its CPUs are in several. */
    int64_t memory_kib;
    struct cpu_set cpus;
    struct cpu_set *siblings; /* Threads that share a core, a set each. */
    size_t n_siblings;
    struct host_pages {
        int64_t size_kib, total;
    } * pages;
    size_t n_pages;
};

/* What a guest may be. */
struct host_guest_kind {
    char *arch, *hypervisor, *mode; /* "x86_64", "kvm", "hvm" */
};

/* A guest's file that may grow, by so much.  Whether it is a volume, and so not
 * on this host's account, is for the caller to know. */
struct host_debt {
    char *uuid, *target; /* "vda" */
    int64_t bytes;       /* May be negative: it takes more than it shows. */
};

struct host_resources {
    char *hostname, *hypervisor_type;
    int64_t hypervisor_version, libvirt_version; /* As struct host_info. */
    char *arch;
    char *cpu_model, *cpu_vendor; /* Null: unknown. */
    int n_sockets, n_cores, n_threads;
    struct text_set cpu_features; /* All of the host's CPU. */
    /* Of the CPU that was asked for in struct host_resources_request. */
    struct text_set guest_cpu_features;

    struct cpu_set online;
    int64_t memory_mb, memory_used_mb;
    int64_t disk_total, disk_free, disk_used; /* Bytes, at instances_path. */
    int n_vcpus_used;                         /* Of guests that run. */
    struct text_set guests;                   /* All, by UUID. */
    struct host_debt *debts;
    size_t n_debts;

    struct host_cell *cells;
    size_t n_cells;
    struct host_guest_kind *kinds;
    size_t n_kinds;

    /* Of all machines together that a guest may have. */
    struct text_set guest_archs; /* Whose machines the hypervisor described. */
    struct text_set disk_buses, video_models;
    bool has_secure_boot; /* Of the host's own architecture. */
    bool has_sev;
};
void host_resources_free(struct host_resources *r); /* Null is fine. */
CLEANUP_FUNC(struct host_resources, host_resources_free)

/* What is to be found out.  All borrowed. */
struct host_resources_request {
    const char *virt_type; /* "kvm", "qemu" */
    /* "arch=machine": further machines to look at.  Ends with null, and may be
     * null; as the next. */
    const char *const *machines;
    /* CPU models of which guests have one; "*": that of guests of this
     * architecture which name none.  Null: the host's own. */
    const char *const *cpu_models;
};

#endif
