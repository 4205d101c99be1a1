#include <config.h>

#include "drivers/fake.h"

#include <stdlib.h>
#include <string.h>

static char *guest_key(const char *host, const char *uuid);
static bool has_name(const struct fake_names *names, const char *name);
static void add_uuid(void *aux, const char *uuid);

enum guest_presence
fake_look(struct fake_store *store, const char *host, const char *uuid,
          struct fake_guest **ret)
{
    enum guest_presence presence = GUEST_ABSENT;
    AUTO_GUEST guest = fake_guest_at(store, host, uuid);

    if (guest) {
        presence = fake_guest_is_active(guest) ? GUEST_ACTIVE : GUEST_OFF;
        fake_is_postcopy(store, host, uuid, &presence, NULL);
    } else if (fake_uuid_is_valid(uuid)) {
        AUTO_FREE key = xasprintf(".incoming.%s/%s", host, uuid);
        AUTO_FREE text = fake_store_get_held(store, key);

        if (text) {
            guest = fake_guest_parse(uuid, text);
            guest->power_state = POWER_PAUSED;
            guest->persistent = false;
            presence = GUEST_INCOMING;
        } else {
            fake_is_postcopy(store, host, uuid, &presence, &guest);
        }
    }
    if (ret) {
        *ret = steal(&guest);
    }
    return presence;
}

struct fake_guest *
fake_guest_at(struct fake_store *store, const char *host, const char *uuid)
{
    if (!fake_uuid_is_valid(uuid)) {
        return NULL;
    }
    AUTO_FREE key = guest_key(host, uuid);
    AUTO_FREE text = fake_store_get(store, key);
    return text ? fake_guest_parse(uuid, text) : NULL;
}

struct error *
fake_guest_put(struct fake_store *store, const char *host,
               const struct fake_guest *guest)
{
    AUTO_FREE key = guest_key(host, guest->uuid);
    AUTO_FREE text = fake_guest_format(guest);

    return fake_store_put(store, key, text);
}

void
fake_guest_remove(struct fake_store *store, const char *host, const char *uuid)
{
    AUTO_FREE key = guest_key(host, uuid);

    fake_store_remove(store, key);
}

void
fake_guests_at(struct fake_store *store, const char *host,
               struct fake_names *ret)
{
    AUTO_FREE group = xasprintf(".incoming.%s", host);
    CLEANUP(fake_names_close) struct fake_names incoming;

    fake_store_list(store, host, ret);
    fake_store_list(store, group, &incoming);
    for (size_t i = 0; i < incoming.n; i++) {
        add_uuid(ret, incoming.names[i]);
    }
    fake_postcopy_visit(store, host, add_uuid, ret);
}

struct error *
fake_guest_create(struct fake *fake, const struct fake_guest *guest)
{
    AUTO_FREE born_key = xasprintf(".born/%s", guest->uuid);
    struct error *error = NULL;

    if (guest->disk_mb) {
        AUTO_FREE directory =
            xasprintf("%s/%s", fake->roots.paths[0], guest->uuid);

        error = fake_file_add(fake->store, fake->host, directory, "dir");
        if (!error) {
            error = fake_file_add(fake->store, fake->host, guest->disk_path,
                                  "disk qcow2");
        }
    }
    if (!error) {
        error = fake_store_put(fake->store, born_key, fake->host);
    }
    return error ? error : fake_guest_put(fake->store, fake->host, guest);
}

bool
fake_host_is_up(struct fake_store *store, const char *host)
{
    AUTO_FREE host_key = xasprintf(".hosts/%s", host);
    AUTO_FREE down_key = xasprintf(".down/%s", host);

    return fake_store_has(store, host_key) && !fake_store_has(store, down_key);
}

/* "qemu+tcp://user@host:port/system" */
char *
fake_host_of_uri(const char *uri)
{
    const char *start = strstr(uri, "://");

    if (!start) {
        return NULL;
    }
    start += 3;
    size_t size = strcspn(start, "/");
    const char *at = memchr(start, '@', size);
    if (at) {
        size -= (size_t)(at + 1 - start);
        start = at + 1;
    }
    const char *colon = memchr(start, ':', size);
    if (colon) {
        size = (size_t)(colon - start);
    }
    return size && start[0] != '.' ? xstrndup(start, size) : NULL;
}

static char *
guest_key(const char *host, const char *uuid)
{
    return xasprintf("%s/%s", host, uuid);
}

static bool
has_name(const struct fake_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (str_eq(names->names[i], name)) {
            return true;
        }
    }
    return false;
}

static void
add_uuid(void *aux, const char *uuid)
{
    struct fake_names *names = aux;

    if (!has_name(names, uuid)) {
        names->names =
            xrealloc(names->names, (names->n + 1) * sizeof *names->names);
        names->names[names->n++] = xstrdup(uuid);
    }
}
