#ifndef DROVER_CHECK_REPORT_H
#define DROVER_CHECK_REPORT_H

/* What the checks before a migration found, rule by rule.
 *
 * Whoever checks notes each rule's outcome here; the first failure is why the
 * guest can't move, the rest is for people.  A report travels between the two
 * hosts as JSON.  Pure.  (spec/live-migration 2)
 *
 * Threads: no shared state. */

#include "agent/base/error.h"
#include "rpc/json.h"

/* Every rule once, in the order in which people see them: its name, which
 * droverctl shows and which is never given to another, and what holds if it is
 * kept. */
#define CHECK_RULES                                                          \
    CHECK_RULE(OTHER_HOST, "other-host", "the destination is another host")  \
    CHECK_RULE(HOST_UP, "host-up",                                           \
               "the destination and its hypervisor "                         \
               "answer")                                                     \
    CHECK_RULE(NOT_DRAINED, "not-drained", "the destination is not drained") \
    CHECK_RULE(HYPERVISOR_TYPE, "hypervisor-type",                           \
               "both hosts have the same hypervisor")                        \
    CHECK_RULE(HYPERVISOR_VERSION, "hypervisor-version",                     \
               "the destination's hypervisor is not older")                  \
    CHECK_RULE(MEMORY, "memory", "the destination has enough free memory")   \
    CHECK_RULE(HUGEPAGES, "hugepages",                                       \
               "the destination has enough free huge pages")                 \
    CHECK_RULE(CPU_PINS, "cpu-pins",                                         \
               "the CPUs that the guest is pinned to exist there")           \
    CHECK_RULE(NUMA_NODES, "numa-nodes",                                     \
               "the NUMA nodes that it is bound to exist there")             \
    CHECK_RULE(FIRMWARE, "firmware", "its firmware is installed there")      \
    CHECK_RULE(NO_TWIN, "no-twin", "no guest of its UUID is there already")  \
    CHECK_RULE(NAME, "no-namesake", "no other guest there has its name")     \
    CHECK_RULE(CPU, "cpu", "the destination's CPU can do what ours can")     \
    CHECK_RULE(RUNNING, "running", "the guest runs, or is paused")           \
    CHECK_RULE(OFF, "off", "the guest is shut off")                          \
    CHECK_RULE(DEVICES, "devices",                                           \
               "it has no device that is tied to its "                       \
               "host")                                                       \
    CHECK_RULE(SNAPSHOTS, "snapshots", "it has no snapshots")                \
    CHECK_RULE(PROBE, "storage-probe",                                       \
               "the hosts know which storage they share")                    \
    CHECK_RULE(STORAGE, "storage",                                           \
               "what is to be copied is not shared, and the rest is")        \
    CHECK_RULE(DISK_SPACE, "disk-space",                                     \
               "the destination has room for what is copied")                \
    CHECK_RULE(MEDIA, "media",                                               \
               "files that are not copied, as CD-ROMs, are there already")   \
    CHECK_RULE(CONFIG_DRIVE, "config-drive",                                 \
               "its config drive is copied, "                                \
               "or there already")                                           \
    CHECK_RULE(SERIAL, "serial-console",                                     \
               "serial consoles can be served there as here")                \
    CHECK_RULE(NETWORKS, "networks",                                         \
               "the bridges of its interfaces are there")                    \
    CHECK_RULE(FILES, "files",                                               \
               "the destination may make its disks, and none "               \
               "exists yet")

enum check_rule {
#define CHECK_RULE(NAME, WORD, TEXT) CHECK_RULE_##NAME,
    CHECK_RULES
#undef CHECK_RULE
        CHECK_N_RULES
};

struct check_report;
struct check_report *check_report_create(void);
void check_report_free(struct check_report *report); /* Null is fine. */
CLEANUP_FUNC(struct check_report, check_report_free)

/* The rule is kept, or broken: 'error', which may be null, is taken.  A rule
 * that is noted twice stays broken. */
void check_report_note(struct check_report *report, enum check_rule rule,
                       struct error *error);

/* The rule says nothing of this guest or this pair of hosts, or can't be
 * checked, for this reason.  What was noted before stays. */
void check_report_skip(struct check_report *report, enum check_rule rule,
                       const char *fmt, ...) PRINTF_FORMAT(3, 4);

bool check_report_is_broken(const struct check_report *report,
                            enum check_rule rule);
/* The first rule that was broken; borrowed, null if none was. */
const struct error *check_report_error(const struct check_report *report);

/* [{rule, text, outcome: "passed", "failed" or "n/a", reason}], all rules: of
 * one that nobody came to the outcome is "n/a". */
struct json *check_report_rules(const struct check_report *report);

/* To a peer and back: what it noted is put over what this one has.  The input
 * may be anything at all; what is no outcome is left out. */
struct json *check_report_format(const struct check_report *report);
void check_report_merge(struct check_report *report, const struct json *json);

#endif
