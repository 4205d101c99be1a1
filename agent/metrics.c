#include <config.h>

#include "agent/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct metrics {
    FILE *out;
    char *text;
    size_t size;
    const char *name; /* Of what was begun. */
    enum metric_type type;
    char *labels; /* a="1",b="2" of the next value; null: none. */
};

static const char *const type_names[] = {"counter", "gauge", "histogram"};

static void put_escaped(FILE *out, const char *text, bool is_label);
static void put_sample(struct metrics *metrics, const char *suffix,
                       const char *bound);
static void put_number(FILE *out, double value);
static void drop_labels(struct metrics *metrics);

struct metrics *
metrics_create(void)
{
    struct metrics *metrics = xzalloc(sizeof *metrics);

    metrics->out = open_memstream(&metrics->text, &metrics->size);
    if (!metrics->out) {
        abort(); /* No memory. */
    }
    return metrics;
}

void
metrics_free(struct metrics *metrics)
{
    size_t size;

    if (metrics) {
        free(metrics_finish(metrics, &size));
    }
}

char *
metrics_finish(struct metrics *metrics, size_t *ret_size)
{
    fclose(metrics->out);
    char *text = steal(&metrics->text);
    *ret_size = metrics->size;
    free(metrics->labels);
    free(metrics);
    return text;
}

void
metrics_begin(struct metrics *metrics, enum metric_type type, const char *name,
              const char *help)
{
    assert(!metrics->labels);
    metrics->name = name;
    metrics->type = type;
    fprintf(metrics->out, "# HELP %s ", name);
    put_escaped(metrics->out, help, false);
    fprintf(metrics->out, "\n# TYPE %s %s\n", name, type_names[type]);
}

void
metrics_label(struct metrics *metrics, const char *name, const char *value)
{
    AUTO_FREE before = steal(&metrics->labels);
    size_t size;
    FILE *out = open_memstream(&metrics->labels, &size);

    if (!out) {
        abort(); /* No memory. */
    }
    fprintf(out, "%s%s%s=\"", before ? before : "", before ? "," : "", name);
    put_escaped(out, value, true);
    fputc('"', out);
    fclose(out);
}

void
metrics_value(struct metrics *metrics, double value)
{
    assert(metrics->type != METRIC_HISTOGRAM);
    put_sample(metrics, "", NULL);
    put_number(metrics->out, value);
    drop_labels(metrics);
}

/* Exactly, also beyond what a double can tell apart. */
void
metrics_count(struct metrics *metrics, uint64_t value)
{
    assert(metrics->type != METRIC_HISTOGRAM);
    put_sample(metrics, "", NULL);
    fprintf(metrics->out, "%" PRIu64 "\n", value);
    drop_labels(metrics);
}

void
histogram_note(struct histogram *histogram, double value)
{
    size_t i = 0;

    assert(histogram->n_bounds <= HISTOGRAM_N_BOUNDS);
    while (i < histogram->n_bounds && value > histogram->bounds[i]) {
        i++;
    }
    histogram->n[i]++;
    histogram->sum += value;
}

void
metrics_histogram(struct metrics *metrics, const struct histogram *histogram)
{
    uint64_t n = 0;

    assert(metrics->type == METRIC_HISTOGRAM);
    for (size_t i = 0; i <= histogram->n_bounds; i++) {
        bool is_last = i == histogram->n_bounds;
        AUTO_FREE bound =
            is_last ? xstrdup("+Inf") : xasprintf("%g", histogram->bounds[i]);

        n += histogram->n[i];
        put_sample(metrics, "_bucket", bound);
        fprintf(metrics->out, "%" PRIu64 "\n", n);
    }
    put_sample(metrics, "_sum", NULL);
    put_number(metrics->out, histogram->sum);
    put_sample(metrics, "_count", NULL);
    fprintf(metrics->out, "%" PRIu64 "\n", n);
    drop_labels(metrics);
}

/* A quotation mark is one in a help text. */
static void
put_escaped(FILE *out, const char *text, bool is_label)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\n') {
            fputs("\\n", out);
        } else if (*p == '\\' || (is_label && *p == '"')) {
            fprintf(out, "\\%c", *p);
        } else {
            fputc(*p, out);
        }
    }
}

/* All but the value; 'bound' (may be null) is that of a bucket. */
static void
put_sample(struct metrics *metrics, const char *suffix, const char *bound)
{
    const char *labels = metrics->labels;

    fprintf(metrics->out, "%s%s", metrics->name, suffix);
    if (labels || bound) {
        fprintf(metrics->out, "{%s", labels ? labels : "");
        if (bound) {
            fprintf(metrics->out, "%sle=\"%s\"", labels ? "," : "", bound);
        }
        fputc('}', metrics->out);
    }
    fputc(' ', metrics->out);
}

static void
put_number(FILE *out, double value)
{
    if (isnan(value)) {
        fputs("NaN\n", out);
    } else if (isinf(value)) {
        fputs(value > 0 ? "+Inf\n" : "-Inf\n", out);
    } else {
        fprintf(out, "%.15g\n", value);
    }
}

static void
drop_labels(struct metrics *metrics)
{
    free(steal(&metrics->labels));
}
