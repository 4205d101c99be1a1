#include <config.h>

#include "conf/nova_import.h"

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
ignore(void *aux, const struct nova_setting *setting, const char *reason)
{
    (void)aux;
    (void)setting;
    (void)reason;
}

/* Any bytes at all either become a configuration that droverd takes or are
 * refused. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_NOVA_CONF nova = nova_conf_create();
    AUTO_FREE text = NULL;
    AUTO_ERROR error = nova_conf_add(nova, (const char *)data, size, "fuzz");

    if (!error) {
        error = nova_import(nova, ignore, NULL, &text);
    }
    if (!error == !text) {
        __builtin_trap(); /* One of the two, never both. */
    }
    return 0;
}
