#include <config.h>

#include "drivers/fake.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_WORDS 8

static const char *const op_names[] = {
#define FAKE_OP(NAME) #NAME,
    FAKE_OPS
#undef FAKE_OP
};

struct words {
    char *texts[N_WORDS]; /* Null after the last. */
    int n;
};

static struct words split(char *text);
static struct error *parse_op(const char *name, enum fake_op *ret);
static struct error *parse_number(const char *text, int *ret);
static struct error *parse_code(const char *name, enum error_code *ret);

/* The verbs.  Each has at least the words that its row in the table asks
 * for. */

static struct error *
steer_fail(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    enum fake_op op;
    enum error_code code = ERR_INTERNAL;
    int n = 1;
    struct error *error = parse_op(w->texts[1], &op);

    if (!error && (op == FAKE_migrate || op == FAKE_transfer)) {
        code = ERR_MIGRATION;
    }
    if (!error && w->n > 2) {
        error = parse_code(w->texts[2], &code);
    }
    if (!error && w->n > 3) {
        error = parse_number(w->texts[3], &n);
    }
    if (!error) {
        fake->faults[op].code = code;
        fake->faults[op].n_failures = (unsigned)n;
    }
    return error;
}

static struct error *
steer_hang(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    enum fake_op op;
    struct error *error = parse_op(w->texts[1], &op);

    if (!error) {
        fake->faults[op].hangs = true;
    }
    return error;
}

static struct error *
steer_release(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    enum fake_op only = FAKE_N_OPS;
    struct error *error = w->n > 1 ? parse_op(w->texts[1], &only) : NULL;

    for (int op = 0; !error && op < FAKE_N_OPS; op++) {
        if (only == FAKE_N_OPS || (int)only == op) {
            fake->faults[op].hangs = false;
        }
    }
    return error;
}

static struct error *
steer_slow(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    enum fake_op op;
    int ms = 0;
    struct error *error = parse_op(w->texts[1], &op);

    if (!error) {
        error = parse_number(w->texts[2], &ms);
    }
    if (!error) {
        fake->faults[op].slow_ms = (unsigned)ms;
    }
    return error;
}

static struct error *
steer_outcome(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    if (str_eq(w->texts[1], "lose-answer")) {
        fake->loses_answer = true;
    } else if (str_eq(w->texts[1], "run-twice")) {
        fake->runs_twice = true;
    } else {
        return error_new(ERR_INVALID, "no outcome '%s'", w->texts[1]);
    }
    return NULL;
}

static struct error *
change_guest(struct fake *fake, const char *uuid, enum power_state power_state,
             enum driver_event_type event, int detail)
{
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, uuid);

    if (!guest) {
        return error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host",
                         uuid);
    }
    guest->power_state = power_state;
    guest->n_starts += event == DRIVER_EVENT_STARTED;
    struct error *error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_emit(fake->store, fake->host, event, detail, uuid);
    }
    return error;
}

static struct error *
steer_guest_start(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return change_guest(fake, w->texts[1], POWER_RUNNING, DRIVER_EVENT_STARTED,
                        0);
}

static struct error *
steer_guest_stop(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return change_guest(fake, w->texts[1], POWER_SHUTDOWN, DRIVER_EVENT_STOPPED,
                        STOP_SHUTDOWN);
}

static struct error *
steer_guest_crash(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return change_guest(fake, w->texts[1], POWER_CRASHED, DRIVER_EVENT_STOPPED,
                        STOP_CRASHED);
}

static struct error *
steer_guest_deaf(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, w->texts[1]);

    if (!guest) {
        return error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host",
                         w->texts[1]);
    }
    guest->is_deaf = str_eq(w->texts[2], "on");
    return fake_guest_put(fake->store, fake->host, guest);
}

static struct error *
steer_guest_pause(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return change_guest(fake, w->texts[1], POWER_PAUSED, DRIVER_EVENT_SUSPENDED,
                        0);
}

static struct error *
steer_guest_resume(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return change_guest(fake, w->texts[1], POWER_RUNNING, DRIVER_EVENT_RESUMED,
                        0);
}

static struct error *
steer_guest_remove(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, w->texts[1]);

    if (!guest) {
        return error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host",
                         w->texts[1]);
    }
    fake_guest_remove(fake->store, fake->host, guest->uuid);
    if (fake_guest_is_active(guest)) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STOPPED, STOP_DESTROYED,
                  guest->uuid);
    }
    fake_emit(fake->store, fake->host, DRIVER_EVENT_UNDEFINED, 0, guest->uuid);
    return NULL;
}

static struct error *
steer_guest_add(struct fake *fake, const struct words *w, char **ret)
{
    struct fake_guest guest = {
        .name = w->texts[1],
        .power_state = POWER_RUNNING,
        .persistent = true,
        .dirty_mib_s = -1,
    };
    AUTO_FREE disk_path = NULL;
    struct error *error = parse_number(w->texts[2], &guest.memory_mb);

    if (!error) {
        error = parse_number(w->texts[3], &guest.n_vcpus);
    }
    if (!error && w->n > 4) {
        error = parse_number(w->texts[4], &guest.disk_mb);
    }
    if (error) {
        return error;
    }
    fake_uuid_derive(fake->host, guest.name, guest.uuid);
    if (guest.disk_mb) {
        disk_path = xasprintf("%s/%s/disk", fake->roots.paths[0], guest.uuid);
        guest.disk_path = disk_path;
    }
    AUTO_FREE born_key = xasprintf(".born/%s", guest.uuid);
    if (fake_store_has(fake->store, born_key)) {
        return error_new(ERR_INVALID, "there was a guest '%s' already",
                         guest.name);
    }
    error = fake_guest_create(fake, &guest);
    if (!error) {
        *ret = xstrdup(guest.uuid);
        fake_emit(fake->store, fake->host, DRIVER_EVENT_DEFINED, 0, guest.uuid);
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STARTED, 0, guest.uuid);
    }
    return error;
}

static struct error *
steer_file_add(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return fake_file_add(fake->store, fake->host, w->texts[1], "file");
}

static struct error *
steer_dirty_rate(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    int rate;
    struct error *error = parse_number(w->texts[2], &rate);

    if (error) {
        return error;
    }
    if (str_eq(w->texts[1], "*")) {
        fake->dirty_mib_s = rate;
        return NULL;
    }
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, w->texts[1]);
    if (!guest) {
        return error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host",
                         w->texts[1]);
    }
    guest->dirty_mib_s = rate;
    return fake_guest_put(fake->store, fake->host, guest);
}

static struct error *
steer_bandwidth(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    int rate;
    struct error *error = parse_number(w->texts[1], &rate);

    if (!error && rate == 0) {
        error = error_new(ERR_INVALID, "a bandwidth of 0 moves nothing");
    }
    if (!error) {
        fake->link_mib_s = rate;
    }
    return error;
}

static struct error *
steer_break(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    return fake_postcopy_break(fake, w->texts[1])
               ? NULL
               : error_new(ERR_INVALID, "'%s' is not in post-copy",
                           w->texts[1]);
}

static struct error *
steer_connect(struct fake *fake, UNUSED const struct words *w,
              UNUSED char **ret)
{
    AUTO_FREE key = xasprintf(".down/%s", fake->host);

    fake_store_remove(fake->store, key);
    fake->is_connected = true;
    fake_emit(fake->store, fake->host, DRIVER_EVENT_CONNECTED, 0, NULL);
    return NULL;
}

static struct error *
steer_disconnect(struct fake *fake, UNUSED const struct words *w,
                 UNUSED char **ret)
{
    AUTO_FREE key = xasprintf(".down/%s", fake->host);
    struct error *error = fake_store_put(fake->store, key, "");

    fake->is_connected = false;
    fake_emit(fake->store, fake->host, DRIVER_EVENT_DISCONNECTED, 0, NULL);
    return error;
}

static struct error *
steer_full(struct fake *fake, UNUSED const struct words *w, UNUSED char **ret)
{
    fake->is_full = true;
    return NULL;
}

static struct error *
steer_shared(struct fake *fake, const struct words *w, UNUSED char **ret)
{
    if (str_eq(w->texts[1], "on")) {
        return fake_store_put(fake->store, ".shared", "");
    }
    if (!str_eq(w->texts[1], "off")) {
        return error_new(ERR_INVALID, "'%s' is neither on nor off",
                         w->texts[1]);
    }
    fake_store_remove(fake->store, ".shared");
    return NULL;
}

/* Lines for tests to compare, in a fixed order. */
static struct error *
steer_list(struct fake *fake, UNUSED const struct words *w, char **ret)
{
    static const char *const presences[] = {
        "absent",   "off",      "active",         "incoming",
        "migrated", "postcopy", "postcopy-failed"};
    CLEANUP(fake_names_close) struct fake_names uuids;
    AUTO_FREE files = fake_files_list(fake->store, fake->host);
    size_t size;
    FILE *out = open_memstream(ret, &size);

    fake_guests_at(fake->store, fake->host, &uuids);
    for (size_t i = 0; i < uuids.n; i++) {
        AUTO_GUEST guest = NULL;
        enum guest_presence presence =
            fake_look(fake->store, fake->host, uuids.names[i], &guest);

        if (guest) {
            fprintf(out, "guest %s %s %s %d\n", guest->uuid, guest->name,
                    presences[presence], guest->power_state);
        }
    }
    fputs(files, out);
    fclose(out);
    return NULL;
}

static struct error *steer_help(struct fake *, const struct words *,
                                char **ret);

static const struct verb {
    const char *name;
    int n_words; /* At least, with the verb. */
    const char *usage;
    struct error *(*run)(struct fake *, const struct words *, char **ret);
} verbs[] = {
    {"bandwidth", 2, "MIB_S", steer_bandwidth},
    {"break-postcopy", 2, "UUID", steer_break},
    {"connect", 1, "", steer_connect},
    {"dirty-rate", 3, "UUID|* MIB_S", steer_dirty_rate},
    {"disconnect", 1, "", steer_disconnect},
    {"fail", 2, "OP [CODE] [N]", steer_fail},
    {"file-add", 2, "PATH", steer_file_add},
    {"full", 1, "", steer_full},
    {"guest-add", 4, "NAME MEMORY_MB VCPUS [DISK_MB]", steer_guest_add},
    {"guest-crash", 2, "UUID", steer_guest_crash},
    {"guest-deaf", 3, "UUID on|off", steer_guest_deaf},
    {"guest-pause", 2, "UUID", steer_guest_pause},
    {"guest-remove", 2, "UUID", steer_guest_remove},
    {"guest-resume", 2, "UUID", steer_guest_resume},
    {"guest-start", 2, "UUID", steer_guest_start},
    {"guest-stop", 2, "UUID", steer_guest_stop},
    {"hang", 2, "OP", steer_hang},
    {"help", 1, "", steer_help},
    {"list", 1, "", steer_list},
    {"outcome", 2, "lose-answer|run-twice", steer_outcome},
    {"release", 1, "[OP]", steer_release},
    {"shared", 2, "on|off", steer_shared},
    {"slow", 3, "OP MS", steer_slow},
};

static struct error *
steer_help(UNUSED struct fake *fake, UNUSED const struct words *w, char **ret)
{
    size_t size;
    FILE *out = open_memstream(ret, &size);

    for (size_t i = 0; i < N_ELEMENTS(verbs); i++) {
        fprintf(out, "%s%s%s\n", verbs[i].name, *verbs[i].usage ? " " : "",
                verbs[i].usage);
    }
    fputs("OP is one of:", out);
    for (size_t i = 0; i < N_ELEMENTS(op_names); i++) {
        fprintf(out, " %s", op_names[i]);
    }
    fputs("\n", out);
    fclose(out);
    return NULL;
}

struct error *
fake_steer(void *state, const char *text, char **ret)
{
    struct fake *fake = state;
    AUTO_FREE copy = xstrdup(text);
    AUTO_FREE answer = NULL;
    struct words words = split(copy);
    const struct verb *verb = NULL;

    for (size_t i = 0; words.n && i < N_ELEMENTS(verbs); i++) {
        if (str_eq(verbs[i].name, words.texts[0])) {
            verb = &verbs[i];
        }
    }
    if (!verb) {
        return error_new(ERR_INVALID, "no verb '%s' (see 'help')",
                         words.n ? words.texts[0] : "");
    }
    if (words.n < verb->n_words) {
        return error_new(ERR_INVALID, "usage: %s %s", verb->name, verb->usage);
    }
    FAKE_LOCK;
    struct error *error = verb->run(fake, &words, &answer);
    fake_changed();
    if (!error) {
        *ret = answer ? steal(&answer) : xstrdup("");
    }
    return error;
}

/* In place; what follows the last place is one word with it. */
static struct words
split(char *text)
{
    struct words words = {.n = 0};

    while (*(text += strspn(text, " \t\n")) && words.n < N_WORDS - 1) {
        words.texts[words.n++] = text;
        text += strcspn(text, " \t\n");
        if (*text) {
            *text++ = '\0';
        }
    }
    return words;
}

/* "guest_get", or "guest-get". */
static struct error *
parse_op(const char *name, enum fake_op *ret)
{
    AUTO_FREE plain = xstrdup(name);

    for (char *c = plain; *c; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    for (size_t i = 0; i < N_ELEMENTS(op_names); i++) {
        if (str_eq(op_names[i], plain)) {
            *ret = (enum fake_op)i;
            return NULL;
        }
    }
    return error_new(ERR_INVALID, "no operation '%s' (see 'help')", name);
}

static struct error *
parse_number(const char *text, int *ret)
{
    char *end;

    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 0 || n > INT_MAX) {
        return error_new(ERR_INVALID, "'%s' is not a number", text);
    }
    *ret = (int)n;
    return NULL;
}

static struct error *
parse_code(const char *name, enum error_code *ret)
{
    for (int code = ERR_NONE + 1; code < ERR_N_CODES; code++) {
        if (str_eq(error_class((enum error_code)code)->name, name)) {
            *ret = (enum error_code)code;
            return NULL;
        }
    }
    return error_new(ERR_INVALID, "no error code '%s'", name);
}
