#include <config.h>

#include "drivers/disk_path.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* As Nova calls it. */
#define IMAGE_CACHE "_base"

static char *without_end_slash(const char *path);
static bool is_below(const char *path, const char *root, const char **ret_rest);
static struct error *check_components(const char *path);

void
disk_roots_init(struct disk_roots *roots, const char *instances_path,
                const char *const *images_paths)
{
    size_t n_images = 0;

    while (images_paths && images_paths[n_images]) {
        n_images++;
    }
    roots->n = 1 + n_images;
    roots->paths = xcalloc(roots->n, sizeof *roots->paths);
    roots->paths[0] = without_end_slash(instances_path);
    for (size_t i = 0; i < n_images; i++) {
        roots->paths[1 + i] = without_end_slash(images_paths[i]);
    }
}

void
disk_roots_add(struct disk_roots *roots, const char *path)
{
    if (path && *path) {
        roots->paths =
            xrealloc(roots->paths, (roots->n + 1) * sizeof *roots->paths);
        roots->paths[roots->n++] = without_end_slash(path);
    }
}

void
disk_roots_close(struct disk_roots *roots)
{
    for (size_t i = 0; i < roots->n; i++) {
        free(roots->paths[i]);
    }
    free(roots->paths);
    *roots = (struct disk_roots){0};
}

struct error *
disk_path_resolve(const struct disk_roots *roots, const char *path,
                  bool or_root, const char **ret_root, const char **ret_rest)
{
    const char *root = NULL, *rest = NULL;
    struct error *error = check_components(path);

    if (error) {
        return error;
    }
    for (size_t i = 0; i < roots->n; i++) {
        if (is_below(path, roots->paths[i], &rest) && (*rest || or_root)) {
            root = roots->paths[i];
            break;
        }
    }
    if (!root) {
        return error_new(ERR_INVALID,
                         "path '%s' is not below instances_path or a "
                         "directory of images_paths",
                         path);
    }
    *ret_root = root;
    *ret_rest = rest;
    return NULL;
}

char *
disk_path_of_image(const struct disk_roots *roots, const char *name)
{
    return xasprintf("%s/" IMAGE_CACHE "%s%s", roots->paths[0], name ? "/" : "",
                     name ? name : "");
}

struct error *
disk_name_check(const char *name)
{
    if (!name || !*name || strchr(name, '/') || str_eq(name, ".") ||
        str_eq(name, "..") || strlen(name) > NAME_MAX) {
        return error_new(ERR_INVALID, "'%s' is not the name of a file",
                         name ? name : "");
    }
    return NULL;
}

static char *
without_end_slash(const char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/') {
        size--;
    }
    return xstrndup(path, size);
}

/* '*ret_rest' may be changed even if the answer is no. */
static bool
is_below(const char *path, const char *root, const char **ret_rest)
{
    size_t size = strlen(root);

    if (root[0] != '/' || !root[1] || strncmp(path, root, size) ||
        (path[size] && path[size] != '/')) {
        return false;
    }
    *ret_rest = path + size + (path[size] == '/');
    return true;
}

static struct error *
check_components(const char *path)
{
    if (path[0] != '/') {
        return error_new(ERR_INVALID, "path '%s' is not absolute", path);
    }
    if (strlen(path) >= PATH_MAX) {
        return error_new(ERR_INVALID, "path '%.64s...' is too long", path);
    }
    for (const char *c = path; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == '\x7f') {
            return error_new(ERR_INVALID, "path '%s' holds a control character",
                             path);
        }
    }
    for (const char *c = path + 1;; c++) {
        size_t size = strcspn(c, "/");

        if (size == 0 || (size == 1 && c[0] == '.') ||
            (size == 2 && c[0] == '.' && c[1] == '.')) {
            return error_new(ERR_INVALID,
                             "path '%s' has an empty, '.' or '..' component",
                             path);
        }
        c += size;
        if (!*c) {
            return NULL;
        }
    }
}
