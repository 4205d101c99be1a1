#ifndef DROVER_RPC_UTF8_H
#define DROVER_RPC_UTF8_H

/* What is UTF-8 and what is not.  A peer drops a message that is not, without
 * a word.
 *
 * U+0000 is a character of JSON's, and would end a C string.  Within the
 * program it is therefore the two bytes C0 80, which are no UTF-8 and so stand
 * for nothing else: rpc/json.h makes them of "\u0000" and prints them as that.
 *
 * Pure.  Threads: any. */

#include <stdbool.h>
#include <stddef.h>

#define UTF8_NUL "\xc0\x80"

/* Bytes of the character that begins at 'p', before 'end'; 0 if none does:
 * overlong forms but UTF8_NUL, surrogates and what is above U+10FFFF are no
 * characters. */
size_t utf8_sequence(const char *p, const char *end);

/* Is U+0000 in 's'?  Then it is no name of a file, a host or a guest. */
bool utf8_has_nul(const char *s);

/* The 'size' bytes at 's' as a string, the caller's, in which each byte that
 * is no part of a character, or is 0, has become U+FFFD. */
char *utf8_clean(const char *s, size_t size);

/* How many bytes of the valid string 's' to keep so that there are at most
 * 'max' and the last character is whole. */
size_t utf8_cut(const char *s, size_t max);

#endif
