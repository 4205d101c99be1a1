#ifndef DROVER_RPC_UTF8_H
#define DROVER_RPC_UTF8_H

/* What is UTF-8 and what is not.  A peer drops a message that is not, without
 * a word.  Pure.  Threads: any. */

#include <stddef.h>

/* Bytes of the character that begins at 'p', before 'end'; 0 if none does:
 * overlong forms, surrogates and what is above U+10FFFF are no characters. */
size_t utf8_sequence(const char *p, const char *end);

/* The 'size' bytes at 's' as a string, the caller's, in which each byte that
 * is no part of a character, or is NUL, has become U+FFFD. */
char *utf8_clean(const char *s, size_t size);

/* How many bytes of the valid string 's' to keep so that there are at most
 * 'max' and the last character is whole. */
size_t utf8_cut(const char *s, size_t max);

#endif
