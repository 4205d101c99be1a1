#include <config.h>

#include "drivers/fake_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A text is a few lines. */
#define TEXT_MAX 16384

struct entry {
    char *key, *text;
};

struct fake_store {
    struct fake_store *next;
    unsigned n_users;
    char *directory; /* Null: in memory. */
    struct entry *entries;
    size_t n_entries, n_room;
};

struct fake_hold {
    struct fake_store *store;
    char *key;
    int fd; /* Carries the lock; -1 in memory. */
};

static struct fake_store *stores;

static struct entry *find(struct fake_store *, const char *key);
static void set(struct fake_store *, const char *key, const char *text);
static void drop(struct fake_store *, struct entry *entry);
static char *path_of(const struct fake_store *, const char *key);
static char *draft_of(const struct fake_store *);
static struct error *make_group(const struct fake_store *, const char *key);
static char *read_text(int fd);
static struct error *write_text(int fd, const char *path, const char *text);
static void list_memory(struct fake_store *, const char *group,
                        struct fake_names *);
static void list_directory(struct fake_store *, const char *group,
                           struct fake_names *);
static void add_name(struct fake_names *, size_t *n_room, const char *name);
static int compare_names(const void *a, const void *b);
static struct error *failed(const char *what, const char *path);

struct error *
fake_store_acquire(const char *directory, struct fake_store **ret)
{
    if (directory && !*directory) {
        directory = NULL;
    }
    for (struct fake_store *store = stores; store; store = store->next) {
        if (str_eq(store->directory, directory)) {
            store->n_users++;
            *ret = store;
            return NULL;
        }
    }
    if (directory && mkdir(directory, 0755) && errno != EEXIST) {
        return error_new(ERR_CONFIG, "make world '%s': %s", directory,
                         strerror(errno));
    }
    struct fake_store *store = xzalloc(sizeof *store);
    store->directory = xstrdup_null(directory);
    store->n_users = 1;
    store->next = stores;
    stores = store;
    *ret = store;
    return NULL;
}

bool
fake_store_release(struct fake_store *store)
{
    struct fake_store **at = &stores;

    if (--store->n_users) {
        return false;
    }
    while (*at != store) {
        at = &(*at)->next;
    }
    *at = store->next;
    while (store->n_entries) {
        drop(store, &store->entries[store->n_entries - 1]);
    }
    free(store->entries);
    free(store->directory);
    free(store);
    return true;
}

char *
fake_store_get(struct fake_store *store, const char *key)
{
    if (!store->directory) {
        struct entry *entry = find(store, key);

        return entry ? xstrdup(entry->text) : NULL;
    }
    AUTO_FREE path = path_of(store, key);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    char *text = read_text(fd);
    close(fd);
    return text;
}

bool
fake_store_has(struct fake_store *store, const char *key)
{
    AUTO_FREE text = fake_store_get(store, key);

    return text != NULL;
}

/* Through a file of another name, so that none is ever seen half written. */
struct error *
fake_store_put(struct fake_store *store, const char *key, const char *text)
{
    if (!store->directory) {
        set(store, key, text);
        return NULL;
    }
    struct error *error = make_group(store, key);
    if (error) {
        return error;
    }
    AUTO_FREE path = path_of(store, key);
    AUTO_FREE draft = draft_of(store);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return failed("create", draft);
    }
    error = write_text(fd, path, text);
    close(fd);
    if (!error && rename(draft, path)) {
        error = failed("write", path);
    }
    return error;
}

struct error *
fake_store_move(struct fake_store *store, const char *from, const char *to)
{
    if (!store->directory) {
        struct entry *entry = find(store, from);

        if (!entry) {
            errno = ENOENT;
            return failed("move", from);
        }
        AUTO_FREE text = xstrdup(entry->text);
        drop(store, entry);
        set(store, to, text);
        return NULL;
    }
    struct error *error = make_group(store, to);
    if (error) {
        return error;
    }
    AUTO_FREE old_path = path_of(store, from);
    AUTO_FREE new_path = path_of(store, to);
    return rename(old_path, new_path) ? failed("move", old_path) : NULL;
}

void
fake_store_remove(struct fake_store *store, const char *key)
{
    if (store->directory) {
        AUTO_FREE path = path_of(store, key);

        unlink(path);
        return;
    }
    struct entry *entry = find(store, key);
    if (entry) {
        drop(store, entry);
    }
}

void
fake_store_list(struct fake_store *store, const char *group,
                struct fake_names *ret)
{
    *ret = (struct fake_names){NULL, 0};
    if (store->directory) {
        list_directory(store, group, ret);
    } else {
        list_memory(store, group, ret);
    }
    if (ret->n) {
        qsort(ret->names, ret->n, sizeof *ret->names, compare_names);
    }
}

void
fake_names_close(struct fake_names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        free(names->names[i]);
    }
    free(names->names);
}

/* The lock goes with the process, the file may stay.  Locked before it has its
 * name: a reader tries the lock, and must not have it first. */
struct error *
fake_store_hold(struct fake_store *store, const char *key, const char *text,
                struct fake_hold **ret)
{
    int fd = -1;

    if (!store->directory) {
        set(store, key, text);
    } else {
        AUTO_FREE path = path_of(store, key);
        AUTO_FREE draft = draft_of(store);
        struct error *error = make_group(store, key);

        if (error) {
            return error;
        }
        fd = open(draft, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB)) {
            error = failed("hold", path);
        } else {
            error = write_text(fd, path, text);
        }
        if (!error && rename(draft, path)) {
            error = failed("hold", path);
        }
        if (error) {
            if (fd >= 0) {
                close(fd);
            }
            return error;
        }
    }
    struct fake_hold *hold = xzalloc(sizeof *hold);
    hold->store = store;
    hold->key = xstrdup(key);
    hold->fd = fd;
    *ret = hold;
    return NULL;
}

bool
fake_hold_exists(const struct fake_hold *hold)
{
    return fake_store_has(hold->store, hold->key);
}

void
fake_hold_free(struct fake_hold *hold)
{
    if (!hold) {
        return;
    }
    fake_store_remove(hold->store, hold->key);
    if (hold->fd >= 0) {
        close(hold->fd);
    }
    free(hold->key);
    free(hold);
}

char *
fake_store_get_held(struct fake_store *store, const char *key)
{
    if (!store->directory) {
        return fake_store_get(store, key);
    }
    AUTO_FREE path = path_of(store, key);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    bool is_held = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
    char *text = is_held ? read_text(fd) : NULL;
    close(fd);
    return text;
}

static struct entry *
find(struct fake_store *store, const char *key)
{
    for (size_t i = 0; i < store->n_entries; i++) {
        if (str_eq(store->entries[i].key, key)) {
            return &store->entries[i];
        }
    }
    return NULL;
}

static void
set(struct fake_store *store, const char *key, const char *text)
{
    struct entry *entry = find(store, key);

    if (!entry) {
        if (store->n_entries == store->n_room) {
            store->entries =
                xgrow(store->entries, &store->n_room, sizeof *store->entries);
        }
        entry = &store->entries[store->n_entries++];
        *entry = (struct entry){.key = xstrdup(key)};
    }
    free(entry->text);
    entry->text = xstrdup(text);
}

static void
drop(struct fake_store *store, struct entry *entry)
{
    free(entry->key);
    free(entry->text);
    *entry = store->entries[--store->n_entries];
}

static char *
path_of(const struct fake_store *store, const char *key)
{
    return xasprintf("%s/%s", store->directory, key);
}

/* Where a file is written before it has its name. */
static char *
draft_of(const struct fake_store *store)
{
    return xasprintf("%s/.draft.%ld", store->directory, (long)getpid());
}

static struct error *
make_group(const struct fake_store *store, const char *key)
{
    const char *slash = strchr(key, '/');

    if (!slash) {
        return NULL;
    }
    AUTO_FREE path =
        xasprintf("%s/%.*s", store->directory, (int)(slash - key), key);
    return mkdir(path, 0755) && errno != EEXIST ? failed("make", path) : NULL;
}

static char *
read_text(int fd)
{
    char buf[TEXT_MAX];
    ssize_t n = read(fd, buf, sizeof buf);

    return n < 0 ? NULL : xstrndup(buf, (size_t)n);
}

static struct error *
write_text(int fd, const char *path, const char *text)
{
    size_t size = strlen(text);

    return write(fd, text, size) == (ssize_t)size ? NULL
                                                  : failed("write", path);
}

static void
list_memory(struct fake_store *store, const char *group, struct fake_names *ret)
{
    size_t size = strlen(group), n_room = 0;

    for (size_t i = 0; i < store->n_entries; i++) {
        const char *key = store->entries[i].key;

        if (!strncmp(key, group, size) && key[size] == '/') {
            add_name(ret, &n_room, key + size + 1);
        }
    }
}

static void
list_directory(struct fake_store *store, const char *group,
               struct fake_names *ret)
{
    AUTO_FREE path = path_of(store, group);
    DIR *dir = opendir(path);
    struct dirent *entry;
    size_t n_room = 0;

    if (!dir) {
        return;
    }
    while ((entry = readdir(dir))) {
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, "..")) {
            add_name(ret, &n_room, entry->d_name);
        }
    }
    closedir(dir);
}

static void
add_name(struct fake_names *names, size_t *n_room, const char *name)
{
    if (names->n == *n_room) {
        names->names = xgrow(names->names, n_room, sizeof *names->names);
    }
    names->names[names->n++] = xstrdup(name);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct error *
failed(const char *what, const char *path)
{
    return error_new(ERR_STORAGE, "%s '%s': %s", what, path, strerror(errno));
}
