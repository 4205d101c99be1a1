#include <config.h>

#include "agent/nova/image_sum.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PIECE_SIZE ((size_t)1 << 20)

static bool take(struct image_sum *sum, const char *algorithm,
                 const char *value);
static struct error *add_file(EVP_MD_CTX *context, int fd, int64_t *ret_size,
                              const atomic_bool *stop);
static char *hexadecimal(const unsigned char *bytes, unsigned n);

void
image_sum_init(struct image_sum *sum, const struct json *image)
{
    *sum = (struct image_sum){.size = json_int_of(image, "size")};
    if (!take(sum, json_string_of(image, "os_hash_algo"),
              json_string_of(image, "os_hash_value"))) {
        take(sum, "md5", json_string_of(image, "checksum"));
    }
}

void
image_sum_close(struct image_sum *sum)
{
    free(sum->algorithm);
    free(sum->value);
    *sum = (struct image_sum){0};
}

struct error *
image_sum_check(const struct image_sum *sum, int fd, const atomic_bool *stop)
{
    const EVP_MD *md =
        EVP_get_digestbyname(sum->algorithm ? sum->algorithm : "sha256");
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int64_t size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (!context || !EVP_DigestInit_ex(context, md, NULL)) {
        abort(); /* Memory ran out. */
    }
    struct error *error = add_file(context, fd, &size, stop);
    EVP_DigestFinal_ex(context, bytes, &n);
    EVP_MD_CTX_free(context);
    if (error) {
        return error;
    }
    if (sum->size && size != sum->size) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "it has %lld bytes instead of %lld", (long long)size,
                         (long long)sum->size);
    }
    AUTO_FREE found = hexadecimal(bytes, n);
    if (sum->algorithm && strcasecmp(found, sum->value) != 0) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "its %s sum is %s instead of %s", sum->algorithm,
                         found, sum->value);
    }
    return NULL;
}

char *
image_sum_cache_name(const char *image_id)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_Digest(image_id, strlen(image_id), bytes, &n, EVP_sha1(), NULL)) {
        abort(); /* There is no libcrypto without it. */
    }
    return hexadecimal(bytes, n);
}

static bool
take(struct image_sum *sum, const char *algorithm, const char *value)
{
    if (!algorithm || !value || !EVP_get_digestbyname(algorithm)) {
        return false;
    }
    sum->algorithm = xstrdup(algorithm);
    sum->value = xstrdup(value);
    return true;
}

static struct error *
add_file(EVP_MD_CTX *context, int fd, int64_t *ret_size,
         const atomic_bool *stop)
{
    AUTO_FREE piece = xmalloc(PIECE_SIZE);
    ssize_t n;

    while ((n = pread(fd, piece, PIECE_SIZE, *ret_size)) != 0) {
        if (stop && atomic_load(stop)) {
            return error_new(ERR_CANCELLED, "the agent stops");
        }
        if (n < 0 && errno != EINTR) {
            return error_new(ERR_STORAGE, "read it: %s", strerror(errno));
        }
        if (n > 0) {
            EVP_DigestUpdate(context, piece, (size_t)n);
            *ret_size += n;
        }
    }
    return NULL;
}

static char *
hexadecimal(const unsigned char *bytes, unsigned n)
{
    char *text = xmalloc((size_t)2 * n + 1);

    for (unsigned i = 0; i < n; i++) {
        snprintf(text + (size_t)2 * i, 3, "%02x", bytes[i]);
    }
    text[2 * n] = '\0';
    return text;
}
