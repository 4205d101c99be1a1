#include <config.h>

#include "agent/stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/mem.h"

#define BOOT_PATH "/proc/sys/kernel/random/boot_id"

static const char *
this_boot(void)
{
    static char boot[STAMP_BOOT_SIZE];
    FILE *file = *boot ? NULL : fopen(BOOT_PATH, "re");

    if (file) {
        if (fgets(boot, sizeof boot, file)) {
            boot[strcspn(boot, "\n")] = '\0';
        }
        fclose(file);
    }
    return boot;
}

void
stamp_take(struct stamp *ret)
{
    *ret =
        (struct stamp){.wall_us = clock_wall_us(), .clock_ms = clock_now_ms()};
    memcpy(ret->boot, this_boot(), sizeof ret->boot);
}

uint64_t
stamp_age_ms(const struct stamp *stamp)
{
    uint64_t now_ms = clock_now_ms();
    int64_t age_us = clock_wall_us() - stamp->wall_us;

    if (!stamp->wall_us) {
        return 0;
    }
    if (*stamp->boot && str_eq(stamp->boot, this_boot())) {
        return now_ms > stamp->clock_ms ? now_ms - stamp->clock_ms : 0;
    }
    return age_us > 0 ? (uint64_t)age_us / 1000 : 0;
}

void
stamp_save(const struct stamp *stamp, struct json *object, const char *name)
{
    AUTO_FREE clock = xasprintf("%s_clock_ms", name);
    AUTO_FREE boot = xasprintf("%s_boot", name);

    json_set_int(object, name, stamp->wall_us);
    json_set_int(object, clock, (int64_t)stamp->clock_ms);
    json_set_string(object, boot, stamp->boot);
}

void
stamp_load(const struct json *object, const char *name, struct stamp *ret)
{
    AUTO_FREE clock = xasprintf("%s_clock_ms", name);
    AUTO_FREE boot_name = xasprintf("%s_boot", name);
    const char *boot = json_string_of(object, boot_name);
    int64_t clock_ms = json_int_of(object, clock);

    *ret = (struct stamp){.wall_us = json_int_of(object, name),
                          .clock_ms = clock_ms > 0 ? (uint64_t)clock_ms : 0};
    snprintf(ret->boot, sizeof ret->boot, "%s", boot ? boot : "");
}
