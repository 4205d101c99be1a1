#include <config.h>

#include "conf/conf.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 loses a string when the text goes wrong behind it. */
const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static void
ignore_warning(void *aux, const char *text)
{
    (void)aux;
    (void)text;
}

/* Any bytes at all either are a configuration or are refused. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_CONF conf = NULL;
    AUTO_ERROR error = conf_load_text((const char *)data, size, "fuzz",
                                      ignore_warning, NULL, &conf);

    if (!error == !conf) {
        __builtin_trap(); /* One of the two, never both. */
    }
    return 0;
}
