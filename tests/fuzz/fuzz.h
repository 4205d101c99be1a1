#ifndef DROVER_TESTS_FUZZ_H
#define DROVER_TESTS_FUZZ_H

/* What a fuzz target defines, and what libFuzzer or tests/fuzz/replay.c calls
 * with one input after the other. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), and never compiled out. */
#define REQUIRE(CONDITION)    \
    do {                      \
        if (!(CONDITION)) {   \
            __builtin_trap(); \
        }                     \
    } while (0)

#endif
