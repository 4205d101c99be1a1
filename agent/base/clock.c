#include <config.h>

#include "agent/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t (*fake_now_ms)(void);
static int64_t (*fake_wall_us)(void);

uint64_t
clock_now_ms(void)
{
    struct timespec ts;

    if (fake_now_ms) {
        return fake_now_ms();
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t
clock_wall_us(void)
{
    struct timespec ts;

    if (fake_wall_us) {
        return fake_wall_us();
    }
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
split(int64_t wall_us, struct tm *ret_tm, int *ret_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);

    *ret_us = (int)(wall_us % 1000000);
    gmtime_r(&seconds, ret_tm);
}

char *
clock_format_iso(int64_t wall_us, char *buf)
{
    struct tm tm;
    int us;

    split(wall_us, &tm, &us);
    strftime(buf, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}

char *
clock_format_micro(int64_t wall_us, char separator, char *buf)
{
    char date[16], time_of_day[16];
    struct tm tm;
    int us;

    split(wall_us, &tm, &us);
    strftime(date, sizeof date, "%Y-%m-%d", &tm);
    strftime(time_of_day, sizeof time_of_day, "%H:%M:%S", &tm);
    snprintf(buf, CLOCK_TEXT_SIZE, "%s%c%s.%06d", date, separator, time_of_day,
             us);
    return buf;
}

void
clock_set_fake(uint64_t (*now_ms)(void), int64_t (*wall_us)(void))
{
    fake_now_ms = now_ms;
    fake_wall_us = wall_us;
}
