#include <config.h>

#include "rpc/delivery.h"

#include <stdlib.h>

#include "rpc/inflate.h"

/* A copy, where the transport has nothing to keep. */
struct copy {
    struct delivery_block block;
    struct delivery delivery;
    char *body, *content_type, *compression;
};

static void copy_release(struct delivery_block *block);

struct error *
delivery_open(const struct delivery *delivery, size_t max, char **ret_inflated,
              const char **ret_body, size_t *ret_size, enum refusal *ret_why)
{
    size_t inflated_size = 0;
    const char *type = delivery->content_type;
    enum refusal ignored, *why = ret_why ? ret_why : &ignored;

    *ret_inflated = NULL;
    if (!str_eq(type, "application/json")) {
        *why = REFUSAL_TYPE;
        return error_new(ERR_BAD_MESSAGE, "its content type is '%.80s'",
                         type ? type : "");
    }
    if (delivery->size > max) {
        *why = REFUSAL_SIZE;
        return error_new(ERR_BAD_MESSAGE, "it has %zu bytes", delivery->size);
    }
    struct error *error =
        inflate_body(delivery->compression, delivery->body, delivery->size, max,
                     ret_inflated, &inflated_size);
    if (error) {
        *why = inflated_size > max ? REFUSAL_SIZE : REFUSAL_COMPRESSION;
        return error;
    }
    *ret_body = *ret_inflated ? *ret_inflated : delivery->body;
    *ret_size = *ret_inflated ? inflated_size : delivery->size;
    return NULL;
}

const struct delivery *
delivery_keep(const struct delivery *delivery)
{
    if (delivery->block) {
        *delivery->block->is_kept = true;
        return delivery;
    }

    struct copy *copy = xzalloc(sizeof *copy);
    copy->block.release = copy_release;
    copy->delivery = *delivery;
    copy->delivery.block = &copy->block;
    copy->delivery.body = copy->body = xmemdup(delivery->body, delivery->size);
    copy->delivery.content_type = copy->content_type =
        xstrdup_null(delivery->content_type);
    copy->delivery.compression = copy->compression =
        xstrdup_null(delivery->compression);
    return &copy->delivery;
}

void
delivery_release(const struct delivery *kept)
{
    if (kept) {
        kept->block->release(kept->block);
    }
}

static void
copy_release(struct delivery_block *block)
{
    struct copy *copy = container_of(block, struct copy, block);

    free(copy->body);
    free(copy->content_type);
    free(copy->compression);
    free(copy);
}
