#include <config.h>

#include "drivers/fake_guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void parse_line(struct fake_guest *, const char *line, size_t size);
static void parse_power(const char *text, enum power_state *ret);
static const char *power_name(enum power_state state);
static int parse_number(const char *text);
static uint64_t hash(const char *host, const char *name, uint64_t basis);

/* Words of the text form; also in what `list` prints. */
static const struct {
    enum power_state state;
    const char *name;
} power_names[] = {
    {POWER_RUNNING, "running"},   {POWER_PAUSED, "paused"},
    {POWER_SHUTDOWN, "shutdown"}, {POWER_CRASHED, "crashed"},
    {POWER_NOSTATE, "none"},
};

void
fake_guest_free(struct fake_guest *guest)
{
    if (guest) {
        free(guest->name);
        free(guest->disk_path);
        free(guest);
    }
}

char *
fake_guest_format(const struct fake_guest *guest)
{
    return xasprintf("name %s\nmemory_mb %d\nvcpus %d\ndisk_mb %d\n"
                     "disk_path %s\npower %s\npersistent %d\n"
                     "dirty_mib_s %" PRId64 "\nsaved %s\nstarts %d\ndeaf %d\n",
                     guest->name, guest->memory_mb, guest->n_vcpus,
                     guest->disk_mb, guest->disk_path ? guest->disk_path : "",
                     power_name(guest->power_state), guest->persistent,
                     guest->dirty_mib_s, power_name(guest->saved_state),
                     guest->n_starts, guest->is_deaf);
}

struct fake_guest *
fake_guest_parse(const char *uuid, const char *text)
{
    struct fake_guest *guest = xzalloc(sizeof *guest);

    snprintf(guest->uuid, sizeof guest->uuid, "%s", uuid);
    guest->power_state = POWER_RUNNING;
    guest->dirty_mib_s = -1;
    while (*text) {
        size_t size = strcspn(text, "\n");

        parse_line(guest, text, size);
        text += size + (text[size] == '\n');
    }
    if (!guest->name) {
        guest->name = xstrdup(uuid);
    }
    if (!guest->disk_path) {
        guest->disk_mb = 0;
    }
    return guest;
}

bool
fake_guest_is_active(const struct fake_guest *guest)
{
    return guest->power_state == POWER_RUNNING ||
           guest->power_state == POWER_PAUSED;
}

struct guest *
fake_guest_present(const struct fake_guest *guest, enum guest_presence presence)
{
    struct guest *ret = xzalloc(sizeof *ret);

    ret->uuid = xstrdup(guest->uuid);
    ret->name = xstrdup(guest->name);
    ret->memory_mb = guest->memory_mb;
    ret->n_vcpus = guest->n_vcpus;
    ret->power_state = guest->power_state;
    ret->presence = presence;
    ret->persistent = guest->persistent;
    ret->is_saved = presence == GUEST_OFF && guest->saved_state;
    ret->last_cpu = ret->last_node = -1;
    if (guest->disk_mb) {
        struct guest_disk *disk = xzalloc(sizeof *disk);

        disk->target = xstrdup("vda");
        disk->device = xstrdup("disk");
        disk->path = xstrdup(guest->disk_path);
        disk->format = xstrdup("qcow2");
        disk->virtual_size = (int64_t)guest->disk_mb << 20;
        disk->allocated_size = disk->virtual_size;
        ret->disks = disk;
        ret->n_disks = 1;
    }
    return ret;
}

void
fake_uuid_derive(const char *host, const char *name, char ret[FAKE_UUID_SIZE])
{
    uint64_t high = hash(host, name, UINT64_C(0xcbf29ce484222325));
    uint64_t low = hash(host, name, UINT64_C(0x84222325cbf29ce4));

    /* Version 5 says: of a name; then the usual variant. */
    snprintf(ret, FAKE_UUID_SIZE,
             "%08" PRIx64 "-%04" PRIx64 "-5%03" PRIx64 "-%04" PRIx64
             "-%012" PRIx64,
             high >> 32, high >> 16 & 0xffff, high & 0xfff,
             (low >> 48 & 0x3fff) | 0x8000, low & UINT64_C(0xffffffffffff));
}

bool
fake_uuid_is_valid(const char *uuid)
{
    return strlen(uuid) == 36 && uuid[strspn(uuid, "0123456789abcdef-")] == 0;
}

static void
parse_line(struct fake_guest *guest, const char *line, size_t size)
{
    AUTO_FREE key = xstrndup(line, size);
    char *value = strchr(key, ' ');

    if (!value) {
        return;
    }
    *value++ = '\0';
    if (str_eq(key, "name")) {
        free(guest->name);
        guest->name = xstrdup(value);
    } else if (str_eq(key, "disk_path") && *value) {
        free(guest->disk_path);
        guest->disk_path = xstrdup(value);
    } else if (str_eq(key, "memory_mb")) {
        guest->memory_mb = parse_number(value);
    } else if (str_eq(key, "vcpus")) {
        guest->n_vcpus = parse_number(value);
    } else if (str_eq(key, "disk_mb")) {
        guest->disk_mb = parse_number(value);
    } else if (str_eq(key, "persistent")) {
        guest->persistent = parse_number(value) != 0;
    } else if (str_eq(key, "dirty_mib_s")) {
        guest->dirty_mib_s = parse_number(value);
    } else if (str_eq(key, "starts")) {
        guest->n_starts = parse_number(value);
    } else if (str_eq(key, "deaf")) {
        guest->is_deaf = parse_number(value) != 0;
    } else if (str_eq(key, "power")) {
        parse_power(value, &guest->power_state);
    } else if (str_eq(key, "saved")) {
        parse_power(value, &guest->saved_state);
    }
}

static void
parse_power(const char *text, enum power_state *ret)
{
    for (size_t i = 0; i < N_ELEMENTS(power_names); i++) {
        if (str_eq(power_names[i].name, text)) {
            *ret = power_names[i].state;
        }
    }
}

static const char *
power_name(enum power_state state)
{
    for (size_t i = 0; i < N_ELEMENTS(power_names); i++) {
        if (power_names[i].state == state) {
            return power_names[i].name;
        }
    }
    return "running";
}

static int
parse_number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

/* FNV-1a, stirred once more: names differ in their last character only. */
static uint64_t
hash(const char *host, const char *name, uint64_t basis)
{
    uint64_t h = basis;

    for (const char *c = host; *c; c++) {
        h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    h = (h ^ '/') * UINT64_C(0x100000001b3);
    for (const char *c = name; *c; c++) {
        h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 33;
}
