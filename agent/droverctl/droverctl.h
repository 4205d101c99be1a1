#ifndef DROVER_DROVERCTL_DROVERCTL_H
#define DROVER_DROVERCTL_DROVERCTL_H

/* What the parts of droverctl share, and nobody else includes.
 *
 *   droverctl.c           options, the table of verbs, main()
 *   bus.c                 questions over the bus, signals, waiting
 *   socket.c              questions at the control socket
 *   print.c               how things are shown
 *   table.c               tables
 *   agent.c               status, fake, fault
 *   op.c                  op
 *   audit.c               audit
 *   import.c              import-nova-conf
 *   host.c                host list, host show
 *   drain.c               host drain, host restore
 *   drain_watch.c         how a drain goes
 *   instance.c            instance; which host has one
 *   migration.c           migration; which host moves one
 *   migrate.c             migrate
 *   watch.c               migrate --watch
 *   events.c              events
 *
 * droverctl decides nothing: it asks the agents and shows what they say, and
 * if it is killed nothing happens to a migration.  Its functions wait for the
 * answer (the loop runs meanwhile), so that a verb reads from top to bottom.
 *
 * Threads: one, and those of the link. */

#include "agent/droverctl/table.h"
#include "conf/conf.h"
#include "rpc/json.h"

struct bus;

/* Bits of enum verb_option. */
#define VERB_OPTIONS_MAX 24

struct tool {
    const char *config_file, *url, *host, *socket; /* Or null. */
    bool as_json;
    unsigned timeout_ms;                  /* Of a question. */
    unsigned options;                     /* Of the verb: enum verb_option. */
    const char *values[VERB_OPTIONS_MAX]; /* Of them: tool_value(). */
    char *const *args;                    /* What follows the verb. */
    int n_args;
    int exit_status;   /* When there is no error. */
    struct conf *conf; /* Null until it is needed. */
    struct bus *bus;   /* The same. */
};

enum verb_option {
    OPTION_TO = 1 << 16,
    OPTION_PLAN = 1 << 17,
    OPTION_YES = 1 << 18,
    OPTION_STOP = 1 << 19,
    OPTION_RESUME = 1 << 20,
    OPTION_END = 1 << 21,
    OPTION_REPAIR = 1 << 22,
    OPTION_HARD = 1 << 23,
    OPTION_BLOCK_MIGRATE = 1 << 0,
    OPTION_SHARED = 1 << 1,
    OPTION_DISK_OVER_COMMIT = 1 << 2,
    OPTION_CHECK = 1 << 3,
    OPTION_WATCH = 1 << 4,
    OPTION_BANDWIDTH = 1 << 5,
    OPTION_DOWNTIME = 1 << 6,
    OPTION_COMPLETION_TIMEOUT = 1 << 7,
    OPTION_TIMEOUT_ACTION = 1 << 8,
    OPTION_CONVERGENCE = 1 << 9,
    OPTION_COMPRESSION = 1 << 10,
    OPTION_COLD = 1 << 11,
    OPTION_STATIC = 1 << 12,
};
#define SET_OPTIONS (OPTION_BANDWIDTH | OPTION_DOWNTIME)
#define MIGRATE_OPTIONS                                                      \
    (OPTION_BLOCK_MIGRATE | OPTION_SHARED | OPTION_DISK_OVER_COMMIT |        \
     OPTION_CHECK | OPTION_WATCH | SET_OPTIONS | OPTION_COMPLETION_TIMEOUT | \
     OPTION_TIMEOUT_ACTION | OPTION_CONVERGENCE | OPTION_COMPRESSION |       \
     OPTION_COLD | OPTION_STATIC)

#define DRAIN_OPTIONS                                                     \
    (OPTION_TO | OPTION_PLAN | OPTION_YES | OPTION_STOP | OPTION_RESUME | \
     OPTION_END | OPTION_WATCH)

#define ANY_NUMBER 1000

/* It is done, but not all of it. */
#define EXIT_PARTLY 3

/* Every verb once: function, words, arguments as they are shown, how many
 * there may be, options of its own, what it is for.  Each is in droverctl(8),
 * which tests/style/check-commands makes sure of. */
/* clang-format off */
#define VERBS                                                                  \
    VERB(host_list, "host list", "", 0, 0, 0,                                  \
         "list the hosts")                                                     \
    VERB(host_show, "host show", "[HOST]", 0, 1, 0,                            \
         "show a host")                                                        \
    VERB(host_drain, "host drain", "HOST", 1, 1, DRAIN_OPTIONS,                \
         "move all guests of a host elsewhere")                                \
    VERB(host_restore, "host restore", "HOST", 1, 1, OPTION_YES,               \
         "bring back the guests that a drain moved")                           \
    VERB(instance_list, "instance list", "", 0, 0, 0,                          \
         "list the instances of all hosts")                                    \
    VERB(instance_show, "instance show", "INSTANCE", 1, 1, 0,                  \
         "show an instance and its disks")                                     \
    VERB(instance_attachments, "instance attachments", "INSTANCE [FILE]",      \
         1, 2, 0, "show or set volumes and ports of an instance")              \
    VERB(instance_start, "instance start", "INSTANCE", 1, 1, 0,                \
         "start an instance that is off")                                      \
    VERB(instance_stop, "instance stop", "INSTANCE", 1, 1, OPTION_HARD,        \
         "shut an instance down")                                              \
    VERB(instance_reboot, "instance reboot", "INSTANCE", 1, 1, OPTION_HARD,    \
         "shut an instance down and start it again")                           \
    VERB(instance_pause, "instance pause", "INSTANCE", 1, 1, 0,                \
         "have an instance stand still, in memory")                            \
    VERB(instance_unpause, "instance unpause", "INSTANCE", 1, 1, 0,            \
         "let an instance that is paused go on")                               \
    VERB(instance_suspend, "instance suspend", "INSTANCE", 1, 1, 0,            \
         "save an instance's memory to disk, and end it")                      \
    VERB(instance_resume, "instance resume", "INSTANCE", 1, 1, 0,              \
         "let an instance that is suspended go on")                            \
    VERB(instance_console, "instance console", "INSTANCE [LINES]", 1, 2, 0,    \
         "show what an instance wrote to its console")                         \
    VERB(migrate, "migrate", "INSTANCE [DEST]", 1, 2, MIGRATE_OPTIONS,         \
         "move an instance to another host")                            \
    VERB(migration_list, "migration list", "[INSTANCE]", 0, 1, 0,              \
         "list migrations, past ones too")                                     \
    VERB(migration_show, "migration show", "MIGRATION", 1, 1, 0,               \
         "show a migration")                                                   \
    VERB(migration_set, "migration set", "MIGRATION", 1, 1, SET_OPTIONS,       \
         "change a migration that waits or runs")                              \
    VERB(migration_abort, "migration abort", "MIGRATION", 1, 1, 0,             \
         "stop a migration; the instance stays")                               \
    VERB(migration_force_complete, "migration force-complete", "MIGRATION",    \
         1, 1, 0, "end a migration at the cost of a longer pause")             \
    VERB(events, "events", "", 0, 0, 0,                                        \
         "show notifications as they are published")                           \
    VERB(status, "status", "[HOST]", 0, 1, 0,                                  \
         "show how an agent is doing")                                         \
    VERB(op_list, "op list", "", 0, 0, 0,                                      \
         "list an agent's operations")                                         \
    VERB(op_show, "op show", "OP", 1, 1, 0,                                    \
         "show an operation and what is left to do")                           \
    VERB(op_retry, "op retry", "OP", 1, 1, 0,                                  \
         "try now what an operation waits to try again")                       \
    VERB(op_forget, "op forget", "OP", 1, 1, OPTION_YES,                       \
         "give an operation up where it stands")                               \
    VERB(audit, "audit", "", 0, 0, OPTION_REPAIR,                              \
         "look for contradictions among hosts")                                \
    VERB(import_nova_conf, "import-nova-conf", "FILE...", 1, ANY_NUMBER, 0,    \
         "make a droverd.conf of nova.conf")                                   \
    VERB(fake, "fake", "COMMAND...", 1, ANY_NUMBER, 0,                         \
         "steer the fake hypervisor")                                          \
    VERB(fault_set, "fault set", "NAME ACTION", 2, 2, 0,                       \
         "set what happens at a fault point")                                  \
    VERB(fault_list, "fault list", "", 0, 0, 0,                                \
         "list fault points")
/* clang-format on */

#define VERB(FUNCTION, ...) struct error *verb_##FUNCTION(struct tool *tool);
VERBS
#undef VERB

/* droverctl.c: the configuration, loaded at the first call. */
struct error *tool_conf(struct tool *tool, struct conf **ret) WARN_UNUSED;

/* Asks at the terminal, unless --yes was given.  ERR_CANCELLED, ERR_VALUE if
 * there is nobody to ask. */
struct error *tool_confirm(const struct tool *tool,
                           const char *question) WARN_UNUSED;

/* What was given with an option; null: it was not. */
const char *tool_value(const struct tool *tool, enum verb_option option);

/* ---- Asking -------------------------------------------------------------- */

/* The agent of 'host' over the bus; 'args' may be null, '*ret' is the
 * caller's.  ERR_CANCELLED when a signal came first. */
struct error *bus_ask(struct tool *tool, const char *host, const char *method,
                      const struct json *args, unsigned timeout_ms,
                      struct json **ret) WARN_UNUSED;

/* All agents at once. */
struct answers {
    struct json *results; /* An array; never null. */
    unsigned n_hosts;     /* That answered, be it with an error. */
    struct error *error;  /* The first one that is not about not having it. */
    bool is_incomplete;   /* Not all answered in time. */
};
void answers_close(struct answers *answers);

/* The error if there is no result; otherwise what is wrong, such as a missing
 * answer, is said on standard error. */
struct error *answers_judge(struct answers *answers) WARN_UNUSED;

/* Nobody has it: 'code' with argument 'arg_name', or which hosts did not
 * answer, as far as those that did know of them; or else the error that a host
 * answered. */
struct error *answers_nothing(struct tool *tool, struct answers *answers,
                              enum error_code code, const char *arg_name,
                              const char *name);
#define AUTO_ANSWERS CLEANUP(answers_close) struct answers

/* Fails if there is no bus, or nobody answers.  '*ret' is to be closed, also
 * after a failure. */
struct error *bus_gather(struct tool *tool, const char *method,
                         const struct json *args,
                         struct answers *ret) WARN_UNUSED;

/* Calls 'heard' for all that is published with 'keys', which end with null,
 * until a signal comes. */
typedef void bus_heard(void *aux, const char *text, size_t size);
struct error *bus_listen(struct tool *tool, const char *const *keys,
                         bus_heard *heard, void *aux) WARN_UNUSED;
void bus_stop_listening(struct tool *tool);

/* From now on SIGINT and SIGTERM end what waits here, not the program. */
struct error *bus_catch_signals(struct tool *tool) WARN_UNUSED;
bool bus_is_interrupted(const struct tool *tool);
void bus_wait(struct tool *tool, unsigned ms);
void bus_close(struct tool *tool); /* Null bus is fine. */

/* The agent of this host, at its control socket. */
struct error *socket_ask(struct tool *tool, const char *method,
                         const struct json *args,
                         struct json **ret) WARN_UNUSED;

/* The agent of 'host', else that of --host, else that of this host. */
struct error *agent_ask(struct tool *tool, const char *host, const char *method,
                        const struct json *args, struct json **ret) WARN_UNUSED;

/* ---- Finding ------------------------------------------------------------- */

/* The instance by name, UUID or the beginning of one, as instance_show has it;
 * on --host, or on whichever host knows it. */
struct error *instance_find(struct tool *tool, const char *name,
                            struct json **ret) WARN_UNUSED;

/* The migration by UUID, the beginning of one, or its instance (the newest
 * one), as migration_show has it. */
struct error *migration_find(struct tool *tool, const char *name,
                             struct json **ret) WARN_UNUSED;

/* migrate.c: the settings of a migration that the options make, as
 * agent/api/api.h has them; null: none. */
struct json *migrate_settings_of(const struct tool *tool);

/* ---- Watching ------------------------------------------------------------ */

/* Shows how 'migration' of 'instance' goes until it is over.  An error if it
 * does not end well. */
struct error *watch_migration(struct tool *tool, const struct json *instance,
                              const struct json *migration) WARN_UNUSED;

/* Shows how the drain of 'host' goes until there is nothing more to wait for,
 * and sets the exit status by how it ended. */
struct error *watch_drain(struct tool *tool, const char *host) WARN_UNUSED;

/* ---- Showing ------------------------------------------------------------- */

/* An object with one member; the caller's.  Null 'value' is JSON's null. */
struct json *args_of(const char *name, const char *value);

void print_json(const struct json *json); /* And a line end. */

/* Width of the terminal that stdout is; 0: it is none. */
unsigned print_width(void);
void print_table(const struct table *table);

/* "name   value", for a member of 'json', or a text; null is shown as "-". */
void print_member(const char *title, const struct json *json, const char *name);
void print_field(const char *title, const char *fmt, ...) PRINTF_FORMAT(2, 3);

/* "512 MiB", "1.5 GiB"; a negative number of bytes is "-".  The caller's. */
char *size_text(int64_t bytes);

/* "45 ms", "12.3 s", "3 min 5 s"; negative is "-".  The caller's. */
char *duration_text(int64_t ms);

/* A member that is a text; "-" if it is none. */
const char *text_of(const struct json *json, const char *name);

/* A whole number; -1 if it is not known. */
int64_t number_of(const struct json *json, const char *name);

/* op.c: how many operations there are, which, and what of them was
 * left behind, with its reason. */
void print_operations(const struct json *list);

/* Sorts the array by two members: the first is a text, the second a text or a
 * whole number, or null. */
void json_sort(struct json **array, const char *first, const char *second);

#endif
