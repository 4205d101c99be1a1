#include <config.h>

#include "agent/op/op.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/op/internal.h"

/* What an operator sees of operations, and wants of them. */

#define PREFIX_MIN 4

static struct json *describe_residue(const struct op *, uint64_t now_ms);
static struct json *describe_todo(const struct op *);
static void add_todo(struct json *, const struct step *, const char *direction);
static int64_t seconds_until(uint64_t due_ms, uint64_t now_ms);
static bool is_named(const struct op *, const char *text, bool by_prefix);

struct json *
op_describe(const struct op *op)
{
    const struct error *error = op->last_error ? op->last_error : op->error;
    const char *instance = op->log.instance, *request = op->log.request;
    uint64_t now_ms = clock_now_ms();
    char started[CLOCK_TEXT_SIZE];
    struct json *json = json_object();

    json_set_int(json, "op", op->id);
    json_set_string(json, "type", op->type->name);
    json_set_string(json, "key", op->key);
    json_set_string(json, "request", *request ? request : NULL);
    json_set_string(json, "instance", *instance ? instance : NULL);
    json_set_string(json, "started",
                    clock_format_iso(op->started.wall_us, started));
    json_set_string(json, "step", op_step_name(op));
    json_set_string(json, "direction", op->going_back ? "undo" : "run");
    json_set_bool(json, "committed", op->committed);
    json_set_int(json, "tries", op->tries);
    json_set_int(json, "waiting_s", seconds_until(op->due_ms, now_ms));
    json_set_string(json, "error", error ? error_message(error) : NULL);
    json_set(json, "residue", describe_residue(op, now_ms));
    json_set(json, "todo", describe_todo(op));
    return json;
}

struct json *
op_engine_list(struct op_engine *engine)
{
    struct json *list = json_array();

    for (const struct op *op = engine->first; op; op = op->next) {
        json_append(list, op_describe(op));
    }
    return list;
}

struct error *
op_search(struct op_engine *engine, const char *text, struct op **ret)
{
    struct op *found = NULL;
    unsigned n = 0;

    for (int by_prefix = 0; by_prefix <= 1 && n == 0; by_prefix++) {
        for (struct op *op = engine->first; op; op = op->next) {
            if (is_named(op, text, by_prefix)) {
                found = op;
                n++;
            }
        }
    }
    if (n != 1) {
        return n ? error_new(ERR_INVALID, "'%s' names %u operations", text, n)
                 : error_new(ERR_INVALID, "no operation '%s' is open", text);
    }
    *ret = found;
    return NULL;
}

struct error *
op_retry(struct op *op)
{
    if (!op->due_ms) {
        return error_new(ERR_INVALID,
                         "operation %" PRId64 " is at work in step '%s': "
                         "nothing of it waits",
                         op->id, op_step_name(op));
    }
    op_machine_hurry(op);
    return NULL;
}

void
op_forget(struct op *op, void (*done)(void *aux, struct error *error),
          void *aux)
{
    bool is_leaving = op->forgotten;
    bool is_idle = op->ticket && op->ticket->purpose == OP_RUN &&
                   !op->ticket->residue && op_step(op)->only_waits;

    if (is_leaving || (!op->due_ms && !is_idle)) {
        done(aux, error_new(ERR_INVALID,
                            "operation %" PRId64 " is at work in step '%s': "
                            "let that come to an end first",
                            op->id, op_step_name(op)));
        return;
    }
    op->forgotten = done;
    op->forgotten_aux = aux;
    op_machine_forget(op);
}

static struct json *
describe_residue(const struct op *op, uint64_t now_ms)
{
    struct json *list = json_array();

    for (const struct residue *r = op->residue; r; r = r->next) {
        struct json *json = json_object();

        json_set_string(json, "step", op->type->steps[r->pos].name);
        json_set_string(json, "direction", r->is_undo ? "undo" : "run");
        json_set_string(json, "error",
                        r->error ? error_message(r->error) : NULL);
        json_set_int(json, "tries", r->tries);
        json_set_int(json, "next_s", seconds_until(r->due_ms, now_ms));
        json_append(list, json);
    }
    return list;
}

/* As machine.c would go on: back from the step it is at, or on from it;
 * where nobody knows if it was the commit, that comes first. */
static struct json *
describe_todo(const struct op *op)
{
    struct json *list = json_array();
    const struct step *steps = op->type->steps;

    if (op->finished) {
        /* All but the residue. */
    } else if (op->committed) {
        for (size_t i = op->pos; steps[i].name; i++) {
            add_todo(list, &steps[i], "run");
        }
    } else {
        if (steps[op->pos].probe && !op->going_back) {
            add_todo(list, &steps[op->pos], "run");
        }
        for (size_t i = op->pos + 1; i-- > 0;) {
            if (steps[i].undo) {
                add_todo(list, &steps[i], "undo");
            }
        }
    }
    for (const struct residue *r = op->residue; r; r = r->next) {
        add_todo(list, &steps[r->pos], r->is_undo ? "undo" : "run");
    }
    return list;
}

static void
add_todo(struct json *list, const struct step *step, const char *direction)
{
    struct json *json = json_object();

    json_set_string(json, "step", step->name);
    json_set_string(json, "direction", direction);
    json_append(list, json);
}

static int64_t
seconds_until(uint64_t due_ms, uint64_t now_ms)
{
    return due_ms > now_ms ? (int64_t)((due_ms - now_ms + 999) / 1000) : 0;
}

static bool
is_named(const struct op *op, const char *text, bool by_prefix)
{
    char number[24];
    size_t size = strlen(text);

    if (by_prefix) {
        return size >= PREFIX_MIN && strncmp(op->key, text, size) == 0;
    }
    snprintf(number, sizeof number, "%" PRId64, op->id);
    return str_eq(number, text) || str_eq(op->key, text);
}
