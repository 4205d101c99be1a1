#include <config.h>

#include "agent/op/internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"

/* One row an operation, JSON:
 *
 *   {"type", "key", "request", "instance", "started", "status": "open",
 *    "step", "direction": "run", "committed", "error", "residue": [...],
 *    "data"}
 *
 * or, at the end, "status": "finished" with "finished_at"; the data go then,
 * unless something was left behind.  Times are microseconds. */

static void remember(struct op_engine *, int64_t id, const char *key,
                     const struct json *row);
static const char *direction(bool is_undo);
static struct json *residue_to_json(const struct op *);
static struct json *error_to_json(const struct error *error);
static struct error *error_from_json(const struct json *json);
static enum error_code code_of_name(const char *name);
static struct error *parse_row(struct op_engine *, const struct json *row,
                               struct op *);
static struct error *parse_residue(struct op *, const struct json *row);
static const struct op_type *find_type(struct op_engine *, const char *name);
static struct error *find_step(const struct op *, const char *name,
                               size_t *ret_pos);
static void copy_text(char *to, size_t size, const char *from);

char *
op_journal_format(const struct op *op)
{
    AUTO_JSON row = json_object();

    json_set_string(row, "type", op->type->name);
    json_set_string(row, "key", op->key);
    json_set_string(row, "request", op->log.request);
    json_set_string(row, "instance", op->log.instance);
    stamp_save(&op->started, row, "started");
    json_set_string(row, "status", op->finished ? "finished" : "open");
    if (op->finished) {
        json_set_int(row, "finished_at", op->finished_us);
    } else {
        json_set_string(row, "step", op_step(op)->name);
    }
    json_set_string(row, "direction", direction(op->going_back));
    json_set_bool(row, "committed", op->committed);
    json_set(row, "error", error_to_json(op->error));
    json_set(row, "residue", residue_to_json(op));
    if ((!op->finished || op->residue) && op->type->save) {
        json_set(row, "data", op->type->save(op->data));
    }
    return json_print(row, NULL);
}

struct error *
op_journal_parse(struct op_engine *engine, int64_t id, const char *key,
                 const char *body)
{
    AUTO_JSON row = NULL;
    struct error *error = json_parse(body, strlen(body), &row);

    if (!error && str_eq(json_string_of(row, "status"), "finished") &&
        json_size(json_get(row, "residue")) == 0) {
        remember(engine, id, key, row);
        return NULL;
    }
    if (!error) {
        struct op *op = xzalloc(sizeof *op);

        op->id = id;
        op->key = xstrdup(key);
        op->restarted = true;
        op->is_accepted = true;
        op_engine_add(engine, op);
        error = parse_row(engine, row, op);
    }
    return error_wrap(error, "operation %lld in the journal", (long long)id);
}

static void
remember(struct op_engine *engine, int64_t id, const char *key,
         const struct json *row)
{
    AUTO_FREE own_key = xstrdup(key);
    struct known known = {
        .id = id,
        .finished_us = json_int_of(row, "finished_at"),
        .key = own_key,
        .type = find_type(engine, json_string_of(row, "type")),
        .went_back = str_eq(json_string_of(row, "direction"), direction(true)),
    };

    copy_text(known.instance, sizeof known.instance,
              json_string_of(row, "instance"));
    op_engine_add_known(engine, &known);
}

void
residue_free(struct residue *residue)
{
    error_free(residue->error);
    free(residue);
}

static const char *
direction(bool is_undo)
{
    return is_undo ? "undo" : "run";
}

static struct json *
residue_to_json(const struct op *op)
{
    struct json *list = json_array();

    for (const struct residue *r = op->residue; r; r = r->next) {
        struct json *item = json_object();

        json_set_string(item, "step", op->type->steps[r->pos].name);
        json_set_string(item, "direction", direction(r->is_undo));
        json_set(item, "error", error_to_json(r->error));
        json_append(list, item);
    }
    return list;
}

static struct json *
error_to_json(const struct error *error)
{
    if (!error) {
        return NULL;
    }

    struct json *json = json_object();
    struct json *args = json_object();
    enum error_code code = error_code(error);

    json_set_string(json, "code", error_class(code)->name);
    if (code == ERR_REMOTE) {
        json_set_string(json, "class", error_class_name(error));
        json_set_string(json, "module", error_module(error));
    }
    json_set_string(json, "message", error_message(error));
    for (size_t i = 0; i < error_n_args(error); i++) {
        struct error_arg arg = error_arg_at(error, i);
        json_set_string(args, arg.name, arg.value);
    }
    json_set(json, "args", args);
    return json;
}

static struct error *
error_from_json(const struct json *json)
{
    const char *message = json_string_of(json, "message");

    if (!message) {
        return NULL;
    }

    enum error_code code = code_of_name(json_string_of(json, "code"));
    struct error *error =
        code == ERR_REMOTE
            ? error_new_remote(json_string_of(json, "class"),
                               json_string_of(json, "module"), message)
            : error_new(code, "%s", message);
    json_for_each (arg, json_get(json, "args")) {
        if (json_is_string(arg)) {
            error_set_arg(error, json_name(arg), json_get_string(arg));
        }
    }
    return error;
}

/* An older or newer drover's code says at least that there was an error. */
static enum error_code
code_of_name(const char *name)
{
    for (int code = ERR_NONE + 1; code < ERR_N_CODES; code++) {
        if (str_eq(error_class(code)->name, name)) {
            return code;
        }
    }
    return ERR_INTERNAL;
}

static struct error *
parse_row(struct op_engine *engine, const struct json *row, struct op *op)
{
    const char *name = json_string_of(row, "type");
    struct error *error = NULL;

    op->type = find_type(engine, name);
    if (!op->type) {
        return error_new(ERR_STORAGE, "type '%s' is unknown", name ? name : "");
    }
    copy_text(op->log.request, sizeof op->log.request,
              json_string_of(row, "request"));
    copy_text(op->log.instance, sizeof op->log.instance,
              json_string_of(row, "instance"));
    op->log.op = op->id;
    stamp_load(row, "started", &op->started);
    op->finished = str_eq(json_string_of(row, "status"), "finished");
    op->is_told = op->finished;
    op->finished_us = json_int_of(row, "finished_at");
    op->going_back = str_eq(json_string_of(row, "direction"), direction(true));
    op->committed = json_bool_of(row, "committed");
    op->error = error_from_json(json_get(row, "error"));
    op->cancelled = op->error && !op->going_back && !op->committed;
    if (!op->finished) {
        error = find_step(op, json_string_of(row, "step"), &op->pos);
    }
    if (!error) {
        error = parse_residue(op, row);
    }
    if (!error && op->type->load) {
        error =
            op->type->load(engine->type_aux, json_get(row, "data"), &op->data);
    }
    return error;
}

static struct error *
parse_residue(struct op *op, const struct json *row)
{
    struct residue **tail = &op->residue;

    json_for_each (item, json_get(row, "residue")) {
        struct residue *residue = xzalloc(sizeof *residue);

        *tail = residue;
        tail = &residue->next;
        residue->is_undo =
            str_eq(json_string_of(item, "direction"), direction(true));
        residue->error = error_from_json(json_get(item, "error"));
        struct error *error =
            find_step(op, json_string_of(item, "step"), &residue->pos);
        if (error) {
            return error;
        }
    }
    return NULL;
}

static const struct op_type *
find_type(struct op_engine *engine, const char *name)
{
    for (size_t i = 0; engine->types[i]; i++) {
        if (str_eq(engine->types[i]->name, name)) {
            return engine->types[i];
        }
    }
    return NULL;
}

static struct error *
find_step(const struct op *op, const char *name, size_t *ret_pos)
{
    for (size_t i = 0; op->type->steps[i].name; i++) {
        if (str_eq(op->type->steps[i].name, name)) {
            *ret_pos = i;
            return NULL;
        }
    }
    return error_new(ERR_STORAGE, "type '%s' has no step '%s'", op->type->name,
                     name ? name : "");
}

static void
copy_text(char *to, size_t size, const char *from)
{
    size_t length = from ? strlen(from) : 0;

    if (length && length < size) {
        memcpy(to, from, length);
    }
}
