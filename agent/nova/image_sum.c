#include <config.h>

#include "agent/nova/image_sum.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/base/log.h"

LOG_MODULE(nova_image);

#define PIECE_SIZE ((size_t)1 << 20)

static bool take(struct image_sum *sum, const char *algorithm,
                 const char *value);
static EVP_MD *find(const char *algorithm);
static struct error *add_file(EVP_MD_CTX *context, int fd, int64_t *ret_size,
                              const atomic_bool *stop);
static char *hexadecimal(const unsigned char *bytes, unsigned n);

void
image_sum_init(struct image_sum *sum, const struct json *image)
{
    const char *algorithm = json_string_of(image, "os_hash_algo");
    const char *value = json_string_of(image, "os_hash_value");
    const char *md5 = json_string_of(image, "checksum");

    *sum = (struct image_sum){.size = json_int_of(image, "size")};
    if (!take(sum, algorithm, value) && !take(sum, "md5", md5) &&
        ((algorithm && value) || md5)) {
        const char *id = json_string_of(image, "id");

        log_limited(LOG_LEVEL_WARN, NULL,
                    "no sum of image '%s' can be computed here: only its size "
                    "is checked",
                    id ? id : "");
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
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int64_t size = 0;
    EVP_MD *md = sum->algorithm ? find(sum->algorithm) : NULL;
    EVP_MD_CTX *context = md ? EVP_MD_CTX_new() : NULL;
    bool is_begun = context && EVP_DigestInit_ex(context, md, NULL);
    struct error *error = add_file(is_begun ? context : NULL, fd, &size, stop);
    bool is_computed = is_begun && EVP_DigestFinal_ex(context, bytes, &n);

    EVP_MD_CTX_free(context);
    EVP_MD_free(md);
    if (error) {
        return error;
    }
    if (sum->size && size != sum->size) {
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "it has %lld bytes instead of %lld", (long long)size,
                         (long long)sum->size);
    }
    if (!sum->algorithm) {
        return NULL;
    }
    if (!is_computed) { /* It was possible when the image was looked up. */
        return error_new(ERR_IMAGE_UNACCEPTABLE,
                         "its %s sum can't be computed here", sum->algorithm);
    }
    AUTO_FREE found = hexadecimal(bytes, n);
    if (strcasecmp(found, sum->value) != 0) {
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
    EVP_MD *md = algorithm && value ? find(algorithm) : NULL;

    if (!md) {
        return false;
    }
    EVP_MD_free(md);
    sum->algorithm = xstrdup(algorithm);
    sum->value = xstrdup(value);
    return true;
}

/* A name alone says little: of those that libcrypto knows some are offered by
 * no provider that is loaded.  What it has to say of that is not left to the
 * next user of its queue of errors. */
static EVP_MD *
find(const char *algorithm)
{
    ERR_set_mark();
    EVP_MD *md = EVP_MD_fetch(NULL, algorithm, NULL);
    ERR_pop_to_mark();
    return md;
}

/* A 'context' of null: only the size is of interest. */
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
            if (context) {
                EVP_DigestUpdate(context, piece, (size_t)n);
            }
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
