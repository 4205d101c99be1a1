#ifndef DROVER_RPC_UUID_H
#define DROVER_RPC_UUID_H

/* Random identifiers.  Threads: any. */

#include <stdbool.h>

#define UUID_SIZE 37 /* With the NUL. */

/* "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909"; returns 'buf'. */
char *uuid_generate_text(char buf[UUID_SIZE]);

/* The same as 32 hex digits; 'buf' has at least 33 bytes. */
char *uuid_generate_hex(char *buf);

/* True for 8-4-4-4-12 hex digits of any case. */
bool uuid_is_valid(const char *text);

#endif
