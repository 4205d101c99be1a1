#include <config.h>

#include "rpc/uuid.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define N_BYTES 16

static void generate(unsigned char bytes[N_BYTES]);

char *
uuid_generate_text(char buf[UUID_SIZE])
{
    char hex[2 * N_BYTES + 1];

    uuid_generate_hex(hex);
    snprintf(buf, UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
             hex + 12, hex + 16, hex + 20);
    return buf;
}

char *
uuid_generate_hex(char *buf)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[N_BYTES];

    generate(bytes);
    for (int i = 0; i < N_BYTES; i++) {
        buf[2 * i] = digits[bytes[i] >> 4];
        buf[2 * i + 1] = digits[bytes[i] & 15];
    }
    buf[2 * N_BYTES] = '\0';
    return buf;
}

bool
uuid_is_valid(const char *text)
{
    for (size_t i = 0; i < UUID_SIZE - 1; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (is_dash ? text[i] != '-' : !isxdigit((unsigned char)text[i])) {
            return false;
        }
    }
    return text[UUID_SIZE - 1] == '\0';
}

/* Version 4, of the usual variant. */
static void
generate(unsigned char bytes[N_BYTES])
{
    /* Every message needs some: a system call serves several.  So few bytes
     * come whole and without an interruption, or not at all. */
    static __thread unsigned char pool[16 * N_BYTES];
    static __thread size_t n_left;

    if (!n_left) {
        n_left = sizeof pool;
        if (getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool) {
            abort();
        }
    }
    n_left -= N_BYTES;
    memcpy(bytes, pool + n_left, N_BYTES);
    bytes[6] = (unsigned char)(0x40 | (bytes[6] & 0x0f));
    bytes[8] = (unsigned char)(0x80 | (bytes[8] & 0x3f));
}
