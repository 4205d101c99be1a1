#ifndef DROVER_DRIVERS_IMAGE_CHECK_H
#define DROVER_DRIVERS_IMAGE_CHECK_H

/* Whether bytes that anybody may have made become a file of the image cache.
 *
 * An image can name other files of the host that opens it, say that it is
 * larger than any disk, or be something else than is said of it.  All that is
 * read from its first bytes here, before a program of QEMU's sees it; that is
 * then told the format, and never guesses.
 *
 * Bytes that are said to be raw and begin like an image of another format are
 * refused: where the guest was made they may have been taken for that, and its
 * disk is right with the very same image only.
 *
 * Threads: any.  No I/O but reading the file. */

#include "agent/base/error.h"
#include "drivers/driver.h"

/* How QEMU calls what Glance calls 'format'; null: it is none that is known.
 * Static storage. */
const char *image_check_format(const char *format);

/* Without I/O: ERR_IMAGE_UNACCEPTABLE if what image_keep() is to make of it
 * can't be what disks are based on. */
struct error *image_check_request(const struct image_request *r) WARN_UNUSED;

/* What 'fd' begins like: "raw" if like no other format that is known.  Static
 * storage.  ERR_IMAGE_UNACCEPTABLE: it is empty; ERR_STORAGE: it can't be
 * read. */
struct error *image_check_look(const struct image_request *r,
                               const char **ret_format) WARN_UNUSED;

/* Looks into 'fd'.  '*ret_size' is how many bytes a guest would see; 0: only
 * QEMU knows.  ERR_IMAGE_UNACCEPTABLE says why not; ERR_STORAGE: it can't be
 * read. */
struct error *image_check_content(const struct image_request *r,
                                  int64_t *ret_size) WARN_UNUSED;

/* Looks into 'fd', which disks are to be based on as it is: '*ret_format' is
 * "raw" or "qcow2", whichever it begins like.  'format' says which it must be;
 * null: it may be either.  Else as image_check_content(). */
struct error *image_check_base(const struct image_request *r,
                               const char **ret_format) WARN_UNUSED;

/* ERR_IMAGE_UNACCEPTABLE if a guest would see more than 'virtual_max', or
 * nothing. */
struct error *image_check_size(const struct image_request *r,
                               int64_t size) WARN_UNUSED;

/* Without I/O, for image_copy(): "HOST:PATH" as scp(1) takes it; the caller's.
 * ERR_INVALID_HOSTNAME: that is no name or address; ERR_INVALID: a shell, or a
 * pattern, may read more into the path than a name, or no image of this format
 * is copied; null is fine. */
struct error *image_check_copy(const struct image_request *r, const char *path,
                               char **ret) WARN_UNUSED;

#endif
