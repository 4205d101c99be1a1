#ifndef DROVER_RPC_INFLATE_H
#define DROVER_RPC_INFLATE_H

/* Undoes the compression of a peer with kombu_compression=gzip, which is zlib's
 * format in truth.  (spec/rpc-wire 2.2)
 *
 * Pure.  Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"

/* 'compression' is the header of that name, or null.  Stores null in '*ret'
 * when the body is to be taken as it is: no header, one that is not ours, or
 * one that lies.  Else stores the inflated body, the caller's, and its size.
 * ERR_BAD_MESSAGE if it is damaged or would have more than 'max' bytes, which
 * '*ret_size' then has, too. */
struct error *inflate_body(const char *compression, const char *body,
                           size_t size, size_t max, char **ret,
                           size_t *ret_size) WARN_UNUSED;

#endif
