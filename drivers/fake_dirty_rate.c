#include <config.h>

#include "drivers/fake.h"

#include <stdio.h>
#include <stdlib.h>

/* What a guest writes is steered, so nothing has to be waited for; but who
 * asks finds it being measured once. */
struct fake_dirty_rate {
    struct fake_dirty_rate *next;
    char uuid[40];
    unsigned seconds;
    bool was_asked;
};

static struct fake_dirty_rate *find(struct fake *fake, const char *uuid);
static int64_t bytes_per_s(const struct fake *fake,
                           const struct fake_guest *guest, unsigned seconds);

struct error *
fake_dirty_rate_start(void *state, const char *uuid, unsigned seconds)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_dirty_rate_start);
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, uuid);
    if (error) {
        return error;
    }
    if (!guest) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no guest '%s' on this host", uuid),
                             "instance_id", uuid);
    }
    if (!fake_guest_is_active(guest)) {
        return error_new(ERR_INVALID, "guest '%s' does not run here", uuid);
    }
    struct fake_dirty_rate *rate = find(fake, uuid);
    if (!rate) {
        rate = xzalloc(sizeof *rate);
        snprintf(rate->uuid, sizeof rate->uuid, "%s", uuid);
        rate->next = fake->dirty_rates;
        fake->dirty_rates = rate;
    }
    rate->seconds = seconds;
    rate->was_asked = false;
    return NULL;
}

struct error *
fake_dirty_rate_get(void *state, const char *uuid, struct dirty_rate *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_dirty_rate_get);
    struct fake_dirty_rate *rate = find(fake, uuid);
    AUTO_GUEST guest = fake_guest_at(fake->store, fake->host, uuid);
    if (error) {
        return error;
    }
    *ret = (struct dirty_rate){.state = DIRTY_RATE_NONE};
    if (rate && guest) {
        ret->state =
            rate->was_asked ? DIRTY_RATE_MEASURED : DIRTY_RATE_MEASURING;
        ret->period_s = rate->seconds;
        ret->bytes_per_s = bytes_per_s(fake, guest, rate->seconds);
        rate->was_asked = true;
    }
    return NULL;
}

void
fake_dirty_rates_free(struct fake *fake)
{
    while (fake->dirty_rates) {
        struct fake_dirty_rate *rate = fake->dirty_rates;

        fake->dirty_rates = rate->next;
        free(rate);
    }
}

static struct fake_dirty_rate *
find(struct fake *fake, const char *uuid)
{
    struct fake_dirty_rate *rate = fake->dirty_rates;

    while (rate && !str_eq(rate->uuid, uuid)) {
        rate = rate->next;
    }
    return rate;
}

/* No page counts twice. */
static int64_t
bytes_per_s(const struct fake *fake, const struct fake_guest *guest,
            unsigned seconds)
{
    int64_t mib_s =
        guest->dirty_mib_s < 0 ? fake->dirty_mib_s : guest->dirty_mib_s;
    int64_t most = (int64_t)guest->memory_mb / (seconds ? seconds : 1);

    if (guest->power_state != POWER_RUNNING) {
        return 0;
    }
    return (mib_s < most ? mib_s : most) << 20;
}
