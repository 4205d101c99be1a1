#ifndef DROVER_AGENT_METRICS_H
#define DROVER_AGENT_METRICS_H

/* Numbers as Prometheus reads them: its text format, version 0.0.4.
 *
 * A metric is begun, and followed by its samples; labels are given before the
 * value that they belong to:
 *
 *   metrics_begin(m, METRIC_COUNTER, "drover_x_total", "What it counts.");
 *   metrics_label(m, "kind", "a");
 *   metrics_value(m, 3);
 *
 * Pure.  Threads: no shared state. */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics;

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics *metrics_create(void);
void metrics_free(struct metrics *metrics); /* Null is fine. */
CLEANUP_FUNC(struct metrics, metrics_free)

/* The text so far, the caller's; 'metrics' is gone with it. */
char *metrics_finish(struct metrics *metrics, size_t *ret_size);

/* A name is begun once; it, and those of labels, are the format's
 * ([a-z_:][a-z0-9_:]*).  What 'help' and values of labels hold is escaped;
 * they must be UTF-8. */
void metrics_begin(struct metrics *metrics, enum metric_type type,
                   const char *name, const char *help);
void metrics_label(struct metrics *metrics, const char *name,
                   const char *value);
void metrics_value(struct metrics *metrics, double value);
void metrics_count(struct metrics *metrics, uint64_t value);

/* A distribution; the bounds are what its creator says, in order. */
#define HISTOGRAM_N_BOUNDS 12
struct histogram {
    const double *bounds;
    size_t n_bounds;
    uint64_t n[HISTOGRAM_N_BOUNDS + 1]; /* In each range, not up to it. */
    double sum;
};
void histogram_note(struct histogram *histogram, double value);
void metrics_histogram(struct metrics *metrics,
                       const struct histogram *histogram);

#endif
