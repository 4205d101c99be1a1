#include <config.h>

#include "rpc/link_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error *take_frame(struct conn *, const amqp_frame_t *);
static struct error *take_method(struct conn *, const amqp_frame_t *);
static void take_deliver(struct conn *, const amqp_basic_deliver_t *);
static void take_return(struct conn *, const amqp_basic_return_t *);
static void take_confirm(const struct conn_events *, uint64_t tag,
                         bool multiple, bool ok);
static void take_blocked(const struct conn_events *,
                         const amqp_connection_blocked_t *);
static void take_cancel(struct conn *, const amqp_basic_cancel_t *);
static struct error *take_channel_close(struct conn *, const amqp_frame_t *);
static struct error *take_connection_close(struct conn *,
                                           const amqp_connection_close_t *);
static void take_header(struct conn *, const amqp_frame_t *);
static void take_body(struct conn *, amqp_bytes_t);
static void complete(struct conn *);
static struct inbound *inbound_create(const amqp_basic_properties_t *,
                                      const struct assembly *);
static void inbound_release(struct delivery_block *block);
static void note_offset(struct conn_owner *, const amqp_basic_properties_t *);
static const amqp_field_value_t *header_of(const amqp_basic_properties_t *,
                                           const char *name);
static amqp_bytes_t compression_of(const amqp_basic_properties_t *);
static unsigned expiration_of(const amqp_basic_properties_t *);
static char *put_text(char **room, amqp_bytes_t text);
static void copy_text(char *to, size_t room, amqp_bytes_t text);

struct error *
conn_drain(struct conn *conn)
{
    while (!conn->owner->inflow || !inflow_is_full(conn->owner->inflow)) {
        struct timeval no_wait = {0};
        amqp_frame_t frame;

        int status =
            amqp_simple_wait_frame_noblock(conn->amqp, &frame, &no_wait);
        if (status == AMQP_STATUS_TIMEOUT) {
            /* Refused while frames were queued: once more when none are. */
            amqp_maybe_release_buffers(conn->amqp);
            return NULL;
        }
        if (status != AMQP_STATUS_OK) {
            return conn_status(conn, status, "receive");
        }
        struct error *error = take_frame(conn, &frame);
        if (error) {
            return error;
        }
        if (conn->part.kind == ASSEMBLY_NONE || frame.channel == 0) {
            amqp_maybe_release_buffers_on_channel(conn->amqp, frame.channel);
        }
    }
    return NULL; /* Full: what is left waits with the broker. */
}

/* poll() knows nothing of frames that were read while something else was
 * waited for, nor of bytes that TLS has already decoded. */
bool
conn_has_more(const struct conn *conn)
{
    return amqp_frames_enqueued(conn->amqp) || amqp_data_in_buffer(conn->amqp);
}

void
assembly_reset(struct assembly *part)
{
    free(part->in);
    *part = (struct assembly){.kind = ASSEMBLY_NONE};
}

static struct error *
take_frame(struct conn *conn, const amqp_frame_t *frame)
{
    switch (frame->frame_type) {
    case AMQP_FRAME_METHOD:
        return take_method(conn, frame);
    case AMQP_FRAME_HEADER:
        take_header(conn, frame);
        return NULL;
    case AMQP_FRAME_BODY:
        take_body(conn, frame->payload.body_fragment);
        return NULL;
    default:
        return NULL;
    }
}

static struct error *
take_method(struct conn *conn, const amqp_frame_t *frame)
{
    const struct conn_events *events = &conn->events;
    void *decoded = frame->payload.method.decoded;

    switch (frame->payload.method.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        take_deliver(conn, decoded);
        return NULL;
    case AMQP_BASIC_RETURN_METHOD:
        take_return(conn, decoded);
        return NULL;
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *ack = decoded;
        take_confirm(events, ack->delivery_tag, ack->multiple, true);
        return NULL;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *nack = decoded;
        take_confirm(events, nack->delivery_tag, nack->multiple, false);
        return NULL;
    }
    case AMQP_BASIC_CANCEL_METHOD:
        take_cancel(conn, decoded);
        return NULL;
    case AMQP_CHANNEL_CLOSE_METHOD:
        return take_channel_close(conn, frame);
    case AMQP_CONNECTION_CLOSE_METHOD:
        return take_connection_close(conn, decoded);
    case AMQP_CONNECTION_BLOCKED_METHOD:
        take_blocked(events, decoded);
        return NULL;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        take_blocked(events, NULL);
        return NULL;
    default:
        return NULL;
    }
}

static void
take_deliver(struct conn *conn, const amqp_basic_deliver_t *deliver)
{
    struct assembly *part = &conn->part;

    assembly_reset(part);
    part->kind = ASSEMBLY_DELIVER;
    part->tag = deliver->delivery_tag;
    part->redelivered = deliver->redelivered;
    copy_text(part->consumer_tag, sizeof part->consumer_tag,
              deliver->consumer_tag);
}

static void
take_return(struct conn *conn, const amqp_basic_return_t *returned)
{
    struct assembly *part = &conn->part;

    assembly_reset(part);
    part->kind = ASSEMBLY_RETURN;
    copy_text(part->routing_key, sizeof part->routing_key,
              returned->routing_key);
}

static void
take_confirm(const struct conn_events *events, uint64_t tag, bool multiple,
             bool ok)
{
    if (events->confirmed) {
        events->confirmed(events->aux, tag, multiple, ok);
    }
}

static void
take_blocked(const struct conn_events *events,
             const amqp_connection_blocked_t *m)
{
    char reason[64] = "";

    if (m) {
        copy_text(reason, sizeof reason, m->reason);
    }
    if (events->blocked) {
        events->blocked(events->aux, m ? reason : NULL);
    }
}

static void
take_cancel(struct conn *conn, const amqp_basic_cancel_t *cancel)
{
    char tag[sizeof conn->part.consumer_tag];

    copy_text(tag, sizeof tag, cancel->consumer_tag);
    if (conn->events.cancelled) {
        conn->events.cancelled(conn->events.aux, tag);
    }
}

static struct error *
take_channel_close(struct conn *conn, const amqp_frame_t *frame)
{
    const amqp_channel_close_t *m = frame->payload.method.decoded;
    amqp_channel_close_ok_t ok = {0};

    if (frame->channel == CHANNEL_SIDE) {
        conn->side_open = false;
    } else {
        conn->main_closed = true;
        conn->code = m->reply_code;
        copy_text(conn->reason, sizeof conn->reason, m->reply_text);
        assembly_reset(&conn->part);
    }
    return conn_status(conn,
                       amqp_send_method(conn->amqp, frame->channel,
                                        AMQP_CHANNEL_CLOSE_OK_METHOD, &ok),
                       "close channel");
}

static struct error *
take_connection_close(struct conn *conn, const amqp_connection_close_t *m)
{
    amqp_connection_close_ok_t ok = {0};

    conn->code = m->reply_code;
    copy_text(conn->reason, sizeof conn->reason, m->reply_text);
    amqp_send_method(conn->amqp, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    conn->is_closed = true;
    conn->dead = true;
    return error_new(ERR_INTERNAL, "closed by the broker: %d %s", conn->code,
                     conn->reason);
}

/* The broker says how large the message is before it comes: what is too large
 * is read past, never held. */
static void
take_header(struct conn *conn, const amqp_frame_t *frame)
{
    struct assembly *part = &conn->part;

    if (part->kind == ASSEMBLY_NONE || part->in || part->skipped) {
        return;
    }
    part->size = frame->payload.properties.body_size;
    if (part->size > conn->settings->o.max_body) {
        part->skipped = true;
    } else {
        part->in = inbound_create(frame->payload.properties.decoded, part);
    }
    note_offset(conn->owner, frame->payload.properties.decoded);
    if (!part->size) {
        complete(conn);
    }
}

static void
take_body(struct conn *conn, amqp_bytes_t bytes)
{
    struct assembly *part = &conn->part;

    if ((!part->in && !part->skipped) ||
        bytes.len > part->size - part->n_read) {
        return;
    }
    if (part->in) {
        memcpy(part->in->fill, bytes.bytes, bytes.len);
        part->in->fill += bytes.len;
    }
    part->n_read += bytes.len;
    if (part->n_read == part->size) {
        complete(conn);
    }
}

static void
complete(struct conn *conn)
{
    struct assembly part = conn->part;
    const struct conn_events *events = &conn->events;

    conn->part = (struct assembly){.kind = ASSEMBLY_NONE};
    if (part.skipped) {
        if (part.kind == ASSEMBLY_DELIVER && events->oversized) {
            events->oversized(events->aux, part.tag);
        }
        return;
    }
    *part.in->fill = '\0';
    if (part.kind == ASSEMBLY_DELIVER && events->deliver) {
        /* Tags of consumers are ours: the reply queue's begins with an r, that
         * of what is listened to with an l. */
        part.in->is_reply = part.consumer_tag[0] == 'r';
        part.in->is_heard = part.consumer_tag[0] == 'l';
        events->deliver(events->aux, part.in);
        return;
    }
    if (part.kind == ASSEMBLY_RETURN && events->returned) {
        events->returned(events->aux, part.routing_key, part.in->delivery.body,
                         part.in->delivery.size);
    }
    free(part.in);
}

/* One block holds the record, its texts and the body: these come by the
 * thousand. */
static struct inbound *
inbound_create(const amqp_basic_properties_t *properties,
               const struct assembly *part)
{
    amqp_bytes_t type = {0};
    amqp_bytes_t compression = compression_of(properties);

    if (properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG) {
        type = properties->content_type;
    }
    struct inbound *in =
        xmalloc(sizeof *in + type.len + compression.len + part->size + 3);
    char *room = (char *)(in + 1);

    *in = (struct inbound){
        .delivery =
            {
                .size = part->size,
                .expiration_ms = expiration_of(properties),
                .redelivered = part->redelivered,
                .tag = part->tag,
            },
    };
    in->delivery.content_type = put_text(&room, type);
    in->delivery.compression = put_text(&room, compression);
    in->delivery.body = in->fill = room;
    in->delivery.block = &in->block;
    in->block.release = inbound_release;
    return in;
}

static void
inbound_release(struct delivery_block *block)
{
    struct inbound *in = container_of(block, struct inbound, block);

    if (in->inflow) {
        inflow_went(in->inflow, in->delivery.size);
    }
    free(in);
}

/* What comes from a stream tells its place in there. */
static void
note_offset(struct conn_owner *owner, const amqp_basic_properties_t *properties)
{
    const amqp_field_value_t *offset = header_of(properties, "x-stream-offset");

    if (offset && offset->kind == AMQP_FIELD_KIND_I64) {
        owner->stream_next = offset->value.i64 + 1;
    }
}

static amqp_bytes_t
compression_of(const amqp_basic_properties_t *properties)
{
    const amqp_field_value_t *compression =
        header_of(properties, "compression");

    return compression && compression->kind == AMQP_FIELD_KIND_UTF8
               ? compression->value.bytes
               : (amqp_bytes_t){0};
}

/* Null: there is no such header. */
static const amqp_field_value_t *
header_of(const amqp_basic_properties_t *properties, const char *name)
{
    const amqp_table_t *headers = &properties->headers;

    for (int i = 0; (properties->_flags & AMQP_BASIC_HEADERS_FLAG) &&
                    i < headers->num_entries;
         i++) {
        const amqp_table_entry_t *entry = &headers->entries[i];

        if (entry->key.len == strlen(name) &&
            !memcmp(entry->key.bytes, name, entry->key.len)) {
            return &entry->value;
        }
    }
    return NULL;
}

static unsigned
expiration_of(const amqp_basic_properties_t *properties)
{
    unsigned long long ms = 0;

    if (properties->_flags & AMQP_BASIC_EXPIRATION_FLAG) {
        const char *digit = properties->expiration.bytes;

        for (size_t i = 0; i < properties->expiration.len && ms < UINT32_MAX;
             i++, digit++) {
            if (*digit < '0' || *digit > '9') {
                return 0;
            }
            ms = ms * 10 + (unsigned)(*digit - '0');
        }
    }
    return ms < UINT32_MAX ? (unsigned)ms : UINT32_MAX;
}

/* An empty text is none. */
static char *
put_text(char **room, amqp_bytes_t text)
{
    char *start = *room;

    if (!text.len) {
        return NULL;
    }
    memcpy(start, text.bytes, text.len);
    start[text.len] = '\0';
    *room += text.len + 1;
    return start;
}

static void
copy_text(char *to, size_t room, amqp_bytes_t text)
{
    size_t size = text.len < room ? text.len : room - 1;

    memcpy(to, text.bytes, size);
    to[size] = '\0';
}
