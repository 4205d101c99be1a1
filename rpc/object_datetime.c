#include <config.h>

#include "rpc/object.h"

#include <ctype.h>

/* Points in time as objects have them: "2026-01-02T03:04:05Z" is what is sent,
 * and any form of ISO 8601 that names a day is taken. */

struct datetime {
    int year, month, day, hour, minute, second, us;
    int offset_min; /* East of Greenwich. */
};

static bool parse_date(const char **text, struct datetime *);
static bool parse_time(const char **text, struct datetime *);
static bool parse_fraction(const char **text, struct datetime *);
static bool parse_zone(const char **text, struct datetime *);
static bool is_valid(const struct datetime *);
static int64_t days_since_epoch(int year, int month, int day);
static bool parse_digits(const char **text, int n, int *ret);
static bool parse_short(const char **text, int *ret);
static bool skip(const char **text, char c);

bool
object_parse_datetime(const char *text, int64_t *ret_us)
{
    struct datetime t = {.month = 1, .day = 1};

    if (!text || !parse_date(&text, &t)) {
        return false;
    }
    if (*text == 'T' || *text == 't' || *text == ' ') {
        text++;
        if (!parse_time(&text, &t) || !parse_zone(&text, &t)) {
            return false;
        }
    }
    if (*text || !is_valid(&t)) {
        return false;
    }

    int64_t minutes =
        (days_since_epoch(t.year, t.month, t.day) * 24 + t.hour) * 60 +
        t.minute - t.offset_min;
    *ret_us = (minutes * 60 + t.second) * 1000000 + t.us;
    return true;
}

/* 2026-01-02 or 20260102, and without what is the first anyway: 2026-01 or
 * 2026; with dashes, a zero in front may be missing. */
static bool
parse_date(const char **text, struct datetime *t)
{
    if (!parse_digits(text, 4, &t->year)) {
        return false;
    }
    if (!skip(text, '-')) {
        return **text == '\0' || (parse_digits(text, 2, &t->month) &&
                                  parse_digits(text, 2, &t->day));
    }
    return parse_short(text, &t->month) &&
           (**text == '\0' || (skip(text, '-') && parse_short(text, &t->day)));
}

/* 03:04:05, 030405, and without seconds or minutes; seconds may have a
 * fraction. */
static bool
parse_time(const char **text, struct datetime *t)
{
    if (!parse_digits(text, 2, &t->hour)) {
        return false;
    }
    if (!skip(text, ':') && !isdigit((unsigned char)**text)) {
        return true;
    }
    if (!parse_digits(text, 2, &t->minute)) {
        return false;
    }
    if (skip(text, ':') || isdigit((unsigned char)**text)) {
        return parse_short(text, &t->second) && parse_fraction(text, t);
    }
    return true;
}

/* Microseconds; what is finer is cut off. */
static bool
parse_fraction(const char **text, struct datetime *t)
{
    if (!skip(text, '.') && !skip(text, ',')) {
        return true;
    }
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    for (int unit = 100000; isdigit((unsigned char)**text); unit /= 10) {
        t->us += (*(*text)++ - '0') * unit;
    }
    return true;
}

/* Z, +01:00, +0100, +01; none is UTC. */
static bool
parse_zone(const char **text, struct datetime *t)
{
    int hours, minutes = 0;
    bool is_west = **text == '-';

    if (skip(text, 'Z') || skip(text, 'z') || **text == '\0') {
        return true;
    }
    if ((!skip(text, '+') && !skip(text, '-')) ||
        !parse_digits(text, 2, &hours)) {
        return false;
    }
    if (skip(text, ':') || **text) {
        if (!parse_digits(text, 2, &minutes)) {
            return false;
        }
    }
    t->offset_min = (hours * 60 + minutes) * (is_west ? -1 : 1);
    return hours < 24 && minutes < 60;
}

static bool
is_valid(const struct datetime *t)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30,
                                  31, 31, 30, 31, 30, 31};
    bool is_leap =
        t->year % 4 == 0 && (t->year % 100 != 0 || t->year % 400 == 0);

    return t->year >= 1 && t->month >= 1 && t->month <= 12 && t->day >= 1 &&
           t->day <= lengths[t->month - 1] + (t->month == 2 && is_leap) &&
           t->hour < 24 && t->minute < 60 && t->second < 60;
}

/* With years that begin in March, leap days come last. */
static int64_t
days_since_epoch(int year, int month, int day)
{
    int y = month > 2 ? year : year - 1;
    int m = month > 2 ? month - 3 : month + 9;

    return (int64_t)365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 +
           day - 1 - 719468;
}

static bool
parse_digits(const char **text, int n, int *ret)
{
    int value = 0;

    for (; n > 0; n--, (*text)++) {
        if (!isdigit((unsigned char)**text)) {
            return false;
        }
        value = value * 10 + (**text - '0');
    }
    *ret = value;
    return true;
}

/* One digit or two. */
static bool
parse_short(const char **text, int *ret)
{
    return isdigit((unsigned char)**text) &&
           parse_digits(text, isdigit((unsigned char)(*text)[1]) ? 2 : 1, ret);
}

static bool
skip(const char **text, char c)
{
    if (**text != c) {
        return false;
    }
    (*text)++;
    return true;
}
