#include <config.h>

#include "drivers/fake.h"

#include <stdlib.h>
#include <string.h>

/* Guests at rest.  A file is a text here, and copying it takes as long as one
 * of its size would. */

#define LOOK_AGAIN_US 50000
#define MIB (INT64_C(1) << 20)
#define SCHEME "fake://"

/* Of a guest: a file that is served here, or one that is sent. */
struct fake_copy {
    struct fake_copy *next;
    char uuid[40];
    struct fake_hold *served; /* Null: it is sent. */
    bool is_aborted;
    unsigned per_mille;
};

static struct error *find_off(struct fake *fake, const char *uuid,
                              struct fake_guest **ret);
static struct fake_copy *find_copy(struct fake *fake, const char *uuid,
                                   bool is_served);
static struct fake_copy *add_copy(struct fake *fake, const char *uuid);
static void remove_copy(struct fake *fake, struct fake_copy *copy);
static struct error *send_file(struct fake *fake, struct fake_copy *copy,
                               const struct copy_request *request,
                               const char *host);
static char *state_path(const struct fake *fake, const struct fake_guest *g);
static struct error *add_file(struct fake *fake, struct guest_rest *rest,
                              const struct fake_guest *guest, char *path,
                              int mib);

struct error *
fake_save(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_save);
    enum guest_presence presence =
        fake_look(fake->store, fake->host, uuid, &guest);

    if (error || (presence == GUEST_OFF && guest->saved_state)) {
        return error;
    }
    if (presence != GUEST_ACTIVE) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_RUNNING,
                                       "guest '%s' does not run here", uuid),
                             "instance_id", uuid);
    }
    AUTO_FREE path = state_path(fake, guest);
    AUTO_FREE text = xasprintf("state of %s", guest->name);
    guest->saved_state = guest->power_state;
    guest->power_state = POWER_SHUTDOWN;
    error = fake_file_add(fake->store, fake->host, path, text);
    if (!error) {
        error = fake_guest_put(fake->store, fake->host, guest);
    }
    if (!error) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STOPPED, STOP_SAVED,
                  uuid);
    }
    return error;
}

struct error *
fake_rest_get(void *state, const char *uuid, struct guest_rest **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    CLEANUP(guest_rest_free_at) struct guest_rest *rest = xzalloc(sizeof *rest);
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_rest_get);

    if (error) {
        return error;
    }
    enum guest_presence presence =
        fake_look(fake->store, fake->host, uuid, &guest);
    if (!guest) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no guest '%s' on this host", uuid),
                             "instance_id", uuid);
    }
    rest->guest = fake_guest_present(guest, presence);
    rest->definition = fake_guest_format(guest);
    rest->files = xcalloc(2, sizeof *rest->files);
    if (guest->disk_mb) {
        error = add_file(fake, rest, guest, xstrdup(guest->disk_path),
                         guest->disk_mb);
    }
    if (!error && (presence == GUEST_ACTIVE || guest->saved_state)) {
        error = add_file(fake, rest, guest, state_path(fake, guest),
                         guest->memory_mb);
    }
    if (error) {
        return error;
    }
    *ret = steal(&rest);
    return NULL;
}

struct error *
fake_rest_seal(void *state, const struct at_rest_request *request)
{
    struct fake *fake = state;

    FAKE_LOCK;
    CLEANUP(fake_names_close) struct fake_names uuids;
    struct error *error = fake_enter(fake, FAKE_rest_seal);
    struct fake_copy *copy = find_copy(fake, request->uuid, true);

    if (copy) {
        remove_copy(fake, copy);
    }
    for (size_t i = 0; !error && i < request->n_files; i++) {
        AUTO_FREE text =
            fake_file_get(fake->store, fake->host, request->files[i].path);
        if (!text || str_eq(text, FAKE_EMPTY)) {
            error = error_new(ERR_MIGRATION, "'%s' is not complete here",
                              request->files[i].path);
        }
    }
    fake_guests_at(fake->store, fake->host, &uuids);
    for (size_t i = 0; !error && i < uuids.n; i++) {
        AUTO_GUEST guest =
            fake_guest_at(fake->store, fake->host, uuids.names[i]);

        if (guest && str_eq(guest->name, request->name)) {
            error = error_new(ERR_MIGRATION,
                              "the host has another guest of the name '%s'",
                              request->name);
        }
    }
    return error;
}

struct error *
fake_rest_give_up(void *state, const struct at_rest_request *request)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_rest_give_up);

    if (!error) {
        error = find_off(fake, request->uuid, &guest);
    }
    for (size_t i = 0; !error && i < request->n_files; i++) {
        if (request->files[i].mtime_ns != guest->n_starts) {
            error = error_new(ERR_MIGRATION, "'%s' has changed",
                              request->files[i].path);
        }
    }
    if (error) {
        return error;
    }
    AUTO_FREE path = state_path(fake, guest);
    if (guest->saved_state && !fake_store_has(fake->store, ".shared")) {
        fake_file_remove(fake, path);
    }
    fake_guest_remove(fake->store, fake->host, request->uuid);
    fake_emit(fake->store, fake->host, DRIVER_EVENT_UNDEFINED, 0,
              request->uuid);
    return NULL;
}

struct error *
fake_rest_take(void *state, const struct at_rest_request *request)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_rest_take);
    AUTO_GUEST there = fake_guest_at(fake->store, fake->host, request->uuid);

    if (error || there) {
        return error;
    }
    AUTO_GUEST guest = fake_guest_parse(request->uuid, request->definition);
    guest->power_state = POWER_SHUTDOWN;
    guest->persistent = true;
    error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_DEFINED, 0,
                  request->uuid);
    }
    return error;
}

struct error *
fake_rest_wake(void *state, const struct at_rest_request *request)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_rest_wake);

    if (error || fake_look(fake->store, fake->host, request->uuid, &guest) ==
                     GUEST_ACTIVE) {
        return error;
    }
    AUTO_FREE path = guest ? state_path(fake, guest) : NULL;
    AUTO_FREE text =
        guest ? fake_file_get(fake->store, fake->host, path) : NULL;
    if (!guest || !guest->saved_state || !text || str_eq(text, FAKE_EMPTY)) {
        return error_new(ERR_INVALID, "guest '%s' has no saved state here",
                         request->uuid);
    }
    guest->power_state = guest->saved_state;
    guest->saved_state = POWER_NOSTATE;
    guest->n_starts++;
    error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_file_remove(fake, path);
        fake_emit(fake->store, fake->host, DRIVER_EVENT_STARTED, 0,
                  request->uuid);
    }
    return error;
}

struct error *
fake_copy_serve(void *state, const struct copy_request *request,
                char **ret_place)
{
    struct fake *fake = state;
    const char *root, *rest;

    FAKE_LOCK;
    struct fake_copy *copy = find_copy(fake, request->uuid, true);
    struct error *error = fake_enter(fake, FAKE_copy_serve);

    if (copy) {
        remove_copy(fake, copy);
    }
    if (!error) {
        error =
            disk_path_resolve(&fake->roots, request->path, false, &root, &rest);
    }
    if (!error && !fake_file_exists(fake->store, fake->host, request->path)) {
        error = error_new(ERR_NOT_FOUND, "there is no '%s'", request->path);
    }
    if (error) {
        return error;
    }
    AUTO_FREE key = xasprintf(".served.%s/%s", fake->host, request->uuid);
    struct fake_hold *hold = NULL;
    error = fake_store_hold(fake->store, key, request->path, &hold);
    if (!error) {
        add_copy(fake, request->uuid)->served = hold;
        *ret_place = xasprintf(SCHEME "%s", fake->host);
    }
    return error;
}

struct error *
fake_copy_stop(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_copy_stop);
    struct fake_copy *copy = find_copy(fake, uuid, true);

    if (!error && copy) {
        remove_copy(fake, copy);
    }
    return error;
}

struct error *
fake_copy(void *state, const struct copy_request *request)
{
    struct fake *fake = state;
    size_t skip = sizeof SCHEME - 1;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_copy);

    if (!error && strncmp(request->place, SCHEME, skip)) {
        error = error_new(ERR_VALUE, "the destination serves no file");
    }
    if (error) {
        return error;
    }
    struct fake_copy *copy = add_copy(fake, request->uuid);
    error = send_file(fake, copy, request, request->place + skip);
    remove_copy(fake, copy);
    return error_wrap(error, "copy '%s'", request->path);
}

struct error *
fake_copy_abort(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_copy_abort);
    struct fake_copy *copy = find_copy(fake, uuid, false);

    if (!error && copy) {
        copy->is_aborted = true;
        fake_changed();
    }
    return error;
}

struct error *
fake_copy_progress(void *state, const char *uuid, unsigned *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_copy_progress);
    struct fake_copy *copy = find_copy(fake, uuid, false);

    *ret = copy ? copy->per_mille : 0;
    return error;
}

void
fake_copies_free(struct fake *fake)
{
    while (fake->copies) {
        remove_copy(fake, fake->copies);
    }
}

static struct error *
find_off(struct fake *fake, const char *uuid, struct fake_guest **ret)
{
    switch (fake_look(fake->store, fake->host, uuid, ret)) {
    case GUEST_OFF:
        return NULL;
    case GUEST_ABSENT:
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no guest '%s' on this host", uuid),
                             "instance_id", uuid);
    default:
        return error_new(ERR_MIGRATION, "guest '%s' was started", uuid);
    }
}

static struct fake_copy *
find_copy(struct fake *fake, const char *uuid, bool is_served)
{
    struct fake_copy *copy = fake->copies;

    while (copy && (is_served != !!copy->served || !str_eq(copy->uuid, uuid))) {
        copy = copy->next;
    }
    return copy;
}

static struct fake_copy *
add_copy(struct fake *fake, const char *uuid)
{
    struct fake_copy *copy = xzalloc(sizeof *copy);

    memcpy(copy->uuid, uuid,
           strnlen(uuid, sizeof copy->uuid - 1)); /* The rest is 0. */
    copy->next = fake->copies;
    fake->copies = copy;
    return copy;
}

static void
remove_copy(struct fake *fake, struct fake_copy *copy)
{
    struct fake_copy **link = &fake->copies;

    while (*link != copy) {
        link = &(*link)->next;
    }
    *link = copy->next;
    fake_hold_free(copy->served);
    free(copy);
}

/* Of the two ends that which is slower sets the pace. */
static struct error *
send_file(struct fake *fake, struct fake_copy *copy,
          const struct copy_request *request, const char *host)
{
    AUTO_FREE key = xasprintf(".served.%s/%s", host, request->uuid);
    AUTO_FREE text = fake_file_get(fake->store, fake->host, request->path);
    int64_t rate = fake->link_mib_s;
    uint64_t start_us = uv_hrtime() / 1000;

    if (!text) {
        return error_new(ERR_STORAGE, "there is no such file");
    }
    if (request->bandwidth_mib_s && request->bandwidth_mib_s < rate) {
        rate = request->bandwidth_mib_s;
    }
    int64_t need_us = request->size / rate * 1000000 / MIB;
    for (;;) {
        AUTO_FREE served = fake_store_get_held(fake->store, key);
        int64_t passed_us = (int64_t)(uv_hrtime() / 1000 - start_us);

        if (copy->is_aborted) {
            return error_new(ERR_CANCELLED, "it was ended");
        }
        if (!str_eq(served, request->path)) {
            return error_new(ERR_STORAGE, "host '%s' no longer listens", host);
        }
        if (passed_us >= need_us) {
            return fake_file_add(fake->store, host, request->path, text);
        }
        int64_t left_us = need_us - passed_us;
        copy->per_mille = (unsigned)(passed_us * 1000 / need_us);
        fake_wait(left_us < LOOK_AGAIN_US ? (uint64_t)left_us : LOOK_AGAIN_US);
    }
}

static char *
state_path(const struct fake *fake, const struct fake_guest *guest)
{
    return xasprintf("%s/%s.save", fake->roots.paths[0], guest->name);
}

/* Takes 'path'. */
static struct error *
add_file(struct fake *fake, struct guest_rest *rest,
         const struct fake_guest *guest, char *path, int mib)
{
    rest->files[rest->n_files++] = (struct guest_file){
        .path = path,
        .size = mib * MIB,
        .mtime_ns = guest->n_starts,
        .mode = 0600,
    };
    if (fake_guest_is_active(guest) ||
        fake_file_exists(fake->store, fake->host, path)) {
        return NULL;
    }
    return error_new(ERR_MIGRATION, "there is no '%s'", path);
}
