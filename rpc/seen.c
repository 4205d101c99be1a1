#include <config.h>

#include "rpc/seen.h"

#include <stdlib.h>

#include "agent/base/mem.h"

/* An id's hash; wide enough that two ids do not meet by chance. */
struct key {
    uint64_t high, low;
};

struct entry {
    struct key key;
    uint32_t time_s;
    uint32_t next; /* In its bucket: index + 1; 0 ends. */
};

/* A ring of entries, oldest first, and a table of chains into it. */
struct seen {
    struct entry *ring;
    uint32_t *buckets;
    uint32_t room; /* A power of 2: of both. */
    uint32_t first, n;
};

static struct key key_of(const char *id);
static uint64_t hash(const char *id, uint64_t seed);
static bool has_key(const struct seen *seen, struct key key);
static void drop_oldest(struct seen *seen);
static void grow(struct seen *seen);
static void link_entry(struct seen *seen, uint32_t i);

struct seen *
seen_create(void)
{
    struct seen *seen = xzalloc(sizeof *seen);

    seen->room = 256;
    seen->ring = xcalloc(seen->room, sizeof *seen->ring);
    seen->buckets = xcalloc(seen->room, sizeof *seen->buckets);
    return seen;
}

void
seen_free(struct seen *seen)
{
    if (seen) {
        free(seen->ring);
        free(seen->buckets);
        free(seen);
    }
}

bool
seen_has(const struct seen *seen, const char *id)
{
    return has_key(seen, key_of(id));
}

bool
seen_add(struct seen *seen, const char *id, uint64_t now_ms)
{
    struct key key = key_of(id);
    uint32_t now_s = (uint32_t)(now_ms / 1000);

    if (has_key(seen, key)) {
        return false;
    }
    while (seen->n >= SEEN_MIN &&
           now_s - seen->ring[seen->first].time_s > SEEN_AGE_MS / 1000) {
        drop_oldest(seen);
    }
    if (seen->n == seen->room) {
        if (seen->room < SEEN_MAX) {
            grow(seen);
        } else {
            drop_oldest(seen);
        }
    }
    uint32_t i = (seen->first + seen->n++) & (seen->room - 1);
    seen->ring[i] = (struct entry){.key = key, .time_s = now_s};
    link_entry(seen, i);
    return true;
}

static struct key
key_of(const char *id)
{
    return (struct key){hash(id, 0xcbf29ce484222325u),
                        hash(id, 0x9ae16a3b2f90404fu)};
}

/* FNV-1a. */
static uint64_t
hash(const char *id, uint64_t seed)
{
    for (; *id; id++) {
        seed = (seed ^ (unsigned char)*id) * 0x100000001b3u;
    }
    return seed ^ seed >> 32;
}

static bool
has_key(const struct seen *seen, struct key key)
{
    uint32_t i = seen->buckets[key.low & (seen->room - 1)];

    for (; i; i = seen->ring[i - 1].next) {
        const struct key *each = &seen->ring[i - 1].key;

        if (each->low == key.low && each->high == key.high) {
            return true;
        }
    }
    return false;
}

static void
drop_oldest(struct seen *seen)
{
    const struct entry *oldest = &seen->ring[seen->first];
    uint32_t *at = &seen->buckets[oldest->key.low & (seen->room - 1)];

    while (*at != seen->first + 1) {
        at = &seen->ring[*at - 1].next;
    }
    *at = oldest->next;
    seen->first = (seen->first + 1) & (seen->room - 1);
    seen->n--;
}

static void
grow(struct seen *seen)
{
    struct entry *ring = xcalloc(seen->room * 2ul, sizeof *ring);

    for (uint32_t i = 0; i < seen->n; i++) {
        ring[i] = seen->ring[(seen->first + i) & (seen->room - 1)];
    }
    free(seen->ring);
    free(seen->buckets);
    seen->ring = ring;
    seen->first = 0;
    seen->room *= 2;
    seen->buckets = xcalloc(seen->room, sizeof *seen->buckets);
    for (uint32_t i = 0; i < seen->n; i++) {
        link_entry(seen, i);
    }
}

static void
link_entry(struct seen *seen, uint32_t i)
{
    uint32_t *bucket = &seen->buckets[seen->ring[i].key.low & (seen->room - 1)];

    seen->ring[i].next = *bucket;
    *bucket = i + 1;
}
