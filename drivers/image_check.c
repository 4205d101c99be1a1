#include <config.h>

#include "drivers/image_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/disk_image.h"
#include "drivers/qcow2.h"

#define HEAD_MAX 65536

/* Of a VMDK that is one file: numbers are little-endian, and its text is where
 * all who write such files put it, and QEMU looks for it. */
#define VMDK_CAPACITY_AT 12
#define VMDK_TEXT_AT_AT 28
#define VMDK_TEXT_AT 512
#define VMDK_TEXT_SIZE (20 * 512)

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define HOST_MAX 253

struct head {
    const char *data;
    size_t size;
};

static struct error *read_head(const struct image_request *r, char *head,
                               size_t *ret_head_size, int64_t *ret_size);
static const char *begins_like(const struct head *head);
static struct error *check_qcow2(const struct head *head, int64_t *ret_size);
static struct error *check_vmdk(const struct head *head);
static struct head find(const struct head *text, const char *word);
static bool begins(const struct head *text, const char *word);
static struct error *named(const struct image_request *r, struct error *error);

const char *
image_check_format(const char *format)
{
    static const struct {
        const char *name, *qemu;
    } formats[] = {
        {"raw", "raw"},     {"iso", "raw"},   {"ami", "raw"}, {"ari", "raw"},
        {"aki", "raw"},     {"vdi", "vdi"},   {"vhd", "vpc"}, {"vhdx", "vhdx"},
        {"qcow2", "qcow2"}, {"vmdk", "vmdk"},
    };

    for (size_t i = 0; i < N_ELEMENTS(formats); i++) {
        if (str_eq(format, formats[i].name)) {
            return formats[i].qemu;
        }
    }
    return NULL;
}

struct error *
image_check_request(const struct image_request *r)
{
    const char *format = image_check_format(r->format);

    if (!format) {
        return named(r, error_new(ERR_IMAGE_UNACCEPTABLE,
                                  "'%s' is no format that is known",
                                  r->format ? r->format : ""));
    }
    if (!r->is_made_raw && !str_eq(format, "raw") && !str_eq(format, "qcow2")) {
        return named(r, error_new(ERR_IMAGE_UNACCEPTABLE,
                                  "no disk can be based on format '%s', and "
                                  "it is not to be made raw",
                                  r->format));
    }
    return NULL;
}

struct error *
image_check_look(const struct image_request *r, const char **ret_format)
{
    AUTO_FREE data = xmalloc(HEAD_MAX);
    struct head head = {data, 0};
    int64_t size = 0;
    struct error *error = read_head(r, data, &head.size, &size);

    if (error) {
        return named(r, error);
    }
    *ret_format = begins_like(&head);
    return NULL;
}

struct error *
image_check_content(const struct image_request *r, int64_t *ret_size)
{
    const char *format = image_check_format(r->format);
    AUTO_FREE data = xmalloc(HEAD_MAX);
    struct head head = {data, 0};
    int64_t file_size = 0, size = 0;
    struct error *error = read_head(r, data, &head.size, &file_size);

    if (!error && str_eq(format, "raw")) {
        const char *like = begins_like(&head);

        size = file_size;
        if (!str_eq(like, "raw")) {
            error = error_new(ERR_IMAGE_UNACCEPTABLE,
                              "it is said to be '%s', and begins like '%s'",
                              r->format, like);
        }
    } else if (!error && str_eq(format, "qcow2")) {
        error = check_qcow2(&head, &size);
    } else if (!error && str_eq(format, "vmdk")) {
        error = check_vmdk(&head);
    }
    if (error) {
        return named(r, error);
    }
    if (size) {
        error = image_check_size(r, size);
    }
    if (!error) {
        *ret_size = size;
    }
    return error;
}

struct error *
image_check_base(const struct image_request *r, const char **ret_format)
{
    struct image_request as_it_is = *r;
    const char *like = NULL;
    int64_t size = 0;
    struct error *error = image_check_look(r, &like);

    as_it_is.is_made_raw = false;
    if (!error && !r->format) {
        as_it_is.format = (char *)like;
    }
    if (!error) {
        error = image_check_request(&as_it_is);
    }
    if (!error) {
        error = image_check_content(&as_it_is, &size);
    }
    if (!error) {
        *ret_format = like;
    }
    return error;
}

struct error *
image_check_size(const struct image_request *r, int64_t size)
{
    int64_t max = r->virtual_max ? r->virtual_max : DISK_IMAGE_MAX;

    if (size <= 0) {
        return named(r, error_new(ERR_IMAGE_UNACCEPTABLE, "it is empty"));
    }
    if (size > max) {
        return named(r, error_new(ERR_IMAGE_UNACCEPTABLE,
                                  "it is a disk of %" PRId64
                                  " bytes, where %" PRId64 " are allowed",
                                  size, max));
    }
    return NULL;
}

struct error *
image_check_copy(const struct image_request *r, const char *path, char **ret)
{
    const char *host = r->host;
    bool is_v6 = host && strchr(host, ':');

    if (r->format && !str_eq(r->format, "raw") && !str_eq(r->format, "qcow2")) {
        return error_new(ERR_INVALID, "no image of format '%s' is copied",
                         r->format);
    }
    if (!host || !*host || strlen(host) > HOST_MAX ||
        host[strspn(host,
                    is_v6 ? DIGITS ".:abcdefABCDEF" : LETTERS DIGITS "._-")] ||
        (!is_v6 && !strchr(LETTERS DIGITS, host[0]))) {
        return error_set_arg(error_new(ERR_INVALID_HOSTNAME,
                                       "'%s' is no name of a host",
                                       host ? host : ""),
                             "hostname", host ? host : "");
    }
    if (path[strspn(path, LETTERS DIGITS "/._-+=@%,:")]) {
        return error_new(ERR_INVALID,
                         "'%s' holds characters that scp may take for more "
                         "than a name",
                         path);
    }
    *ret =
        xasprintf("%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "", path);
    return NULL;
}

static struct error *
read_head(const struct image_request *r, char *head, size_t *ret_head_size,
          int64_t *ret_size)
{
    struct stat st;
    size_t size = 0;
    ssize_t n = 0;

    if (fstat(r->fd, &st)) {
        return error_new(ERR_STORAGE, "look at it: %s", strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return error_new(ERR_INVALID, "it is not a regular file");
    }
    if (st.st_size == 0) {
        return error_new(ERR_IMAGE_UNACCEPTABLE, "it is empty");
    }
    do {
        n = pread(r->fd, head + size, HEAD_MAX - size, (off_t)size);
        size += n > 0 ? (size_t)n : 0;
    } while (n > 0 && size < HEAD_MAX);
    if (n < 0) {
        return error_new(ERR_STORAGE, "read it: %s", strerror(errno));
    }
    *ret_head_size = size;
    *ret_size = st.st_size;
    return NULL;
}

static const char *
begins_like(const struct head *head)
{
    static const struct {
        size_t at, size;
        const char *bytes, *format;
    } magics[] = {
        {0, 4, "QFI\xfb", "qcow2"},
        {0, 4, "QED", "qed"}, /* And a zero. */
        {0, 4, "KDMV", "vmdk"},
        {0, 4, "COWD", "vmdk"},
        {0, 21, "# Disk DescriptorFile", "vmdk"},
        {0, 8, "conectix", "vhd"},
        {0, 8, "vhdxfile", "vhdx"},
        {64, 4, "\x7f\x10\xda\xbe", "vdi"},
    };

    for (size_t i = 0; i < N_ELEMENTS(magics); i++) {
        size_t at = magics[i].at, size = magics[i].size;

        if (head->size >= at + size &&
            !memcmp(head->data + at, magics[i].bytes, size)) {
            return magics[i].format;
        }
    }
    return "raw";
}

static struct error *
check_qcow2(const struct head *head, int64_t *ret_size)
{
    struct qcow2_facts facts;
    AUTO_ERROR no = qcow2_look(head->data, head->size, "image", &facts);

    if (no) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "it is said to be 'qcow2', and is not");
    }
    if (facts.has_backing) {
        return error_new(ERR_IMAGE_UNACCEPTABLE, "it is laid over a file");
    }
    if (facts.has_data_file) {
        return error_new(ERR_IMAGE_UNACCEPTABLE, "its data is in another file");
    }
    if (facts.is_encrypted) {
        return error_new(ERR_IMAGE_UNACCEPTABLE, "it is encrypted");
    }
    if (facts.virtual_size == 0 || facts.virtual_size > INT64_MAX) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "%" PRIu64 " bytes is no size of a disk",
                         facts.virtual_size);
    }
    *ret_size = (int64_t)facts.virtual_size;
    return NULL;
}

/* With a size of zero QEMU would open the files that the text names, and
 * always a parent. */
static struct error *
check_vmdk(const struct head *head)
{
    static const char text_at[8] = {VMDK_TEXT_AT / 512};
    static const char nothing[8];

    if (head->size <= VMDK_TEXT_AT || memcmp(head->data, "KDMV", 4) != 0 ||
        !memcmp(head->data + VMDK_CAPACITY_AT, nothing, sizeof nothing) ||
        memcmp(head->data + VMDK_TEXT_AT_AT, text_at, sizeof text_at) != 0) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "it is said to be 'vmdk', and is none that is one "
                         "file");
    }
    size_t rest = head->size - VMDK_TEXT_AT;
    struct head text = {head->data + VMDK_TEXT_AT,
                        rest < VMDK_TEXT_SIZE ? rest : VMDK_TEXT_SIZE};
    if (find(&text, "parentFileNameHint").data) {
        return error_new(ERR_IMAGE_UNACCEPTABLE, "it is laid over a file");
    }
    struct head type = find(&text, "createType=");
    if (!begins(&type, "createType=\"monolithicSparse\"") &&
        !begins(&type, "createType=\"streamOptimized\"")) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "it is a 'vmdk' of a type that is not allowed");
    }
    return NULL;
}

/* From 'word' on; null and nothing without it. */
static struct head
find(const struct head *text, const char *word)
{
    const char *at = memmem(text->data, text->size, word, strlen(word));

    return at ? (struct head){at, text->size - (size_t)(at - text->data)}
              : (struct head){NULL, 0};
}

static bool
begins(const struct head *text, const char *word)
{
    size_t size = strlen(word);

    return text->size >= size && !memcmp(text->data, word, size);
}

/* Nova's text has the id of the image; who knows that sets it. */
static struct error *
named(const struct image_request *r, struct error *error)
{
    return error_set_arg(error_wrap(error, "image '%s'", r->name), "image_id",
                         r->name);
}
