#include <config.h>

#include "tests/unit/fake_clock.h"

#include "agent/base/clock.h"

#define START_MS 1000000
#define START_WALL_US 1772447467512000 /* 2026-03-02T10:31:07.512Z */

static uint64_t now_ms;

static uint64_t
fake_now_ms(void)
{
    return now_ms;
}

static int64_t
fake_wall_us(void)
{
    return START_WALL_US + (int64_t)(now_ms - START_MS) * 1000;
}

void
fake_clock_install(void)
{
    now_ms = START_MS;
    clock_set_fake(fake_now_ms, fake_wall_us);
}

void
fake_clock_remove(void)
{
    clock_set_fake(NULL, NULL);
}

static void
fire(uv_handle_t *handle, void *aux)
{
    uv_timer_t *timer = (uv_timer_t *)handle;

    (void)aux;
    if (handle->type == UV_TIMER && uv_is_active(handle)) {
        uv_timer_start(timer, timer->timer_cb, 0, uv_timer_get_repeat(timer));
    }
}

void
fake_clock_advance(uv_loop_t *loop, uint64_t ms)
{
    now_ms += ms;
    if (loop) {
        uv_walk(loop, fire, NULL);
        uv_run(loop, UV_RUN_NOWAIT);
    }
}
