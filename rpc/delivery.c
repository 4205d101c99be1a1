#include <config.h>

#include "rpc/delivery.h"

#include "rpc/inflate.h"

struct error *
delivery_open(const struct delivery *delivery, size_t max, char **ret_inflated,
              const char **ret_body, size_t *ret_size)
{
    size_t inflated_size = 0;
    const char *type = delivery->content_type;

    *ret_inflated = NULL;
    if (!str_eq(type, "application/json")) {
        return error_new(ERR_BAD_MESSAGE, "its content type is '%.80s'",
                         type ? type : "");
    }
    if (delivery->size > max) {
        return error_new(ERR_BAD_MESSAGE, "it has %zu bytes", delivery->size);
    }
    struct error *error =
        inflate_body(delivery->compression, delivery->body, delivery->size, max,
                     ret_inflated, &inflated_size);
    if (error) {
        return error;
    }
    *ret_body = *ret_inflated ? *ret_inflated : delivery->body;
    *ret_size = *ret_inflated ? inflated_size : delivery->size;
    return NULL;
}
