#include <config.h>

#include "agent/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/systemd.h"

/* A level for modules of one name, kept for those that are loaded later. */
struct wish {
    char *module;
    enum log_level level;
    struct wish *next;
};

static struct log_module *modules;
static struct wish *wishes; /* Newest first; never freed. */
static enum log_level general_level = LOG_LEVEL_INFO;
static bool to_journal;
static atomic_uint sequence;
static atomic_uint n_lost; /* Lines that were not taken, and not yet told. */
static pthread_mutex_t stream_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t limit_mutex = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
static const int syslog_priorities[] = {3, 4, 6, 7};

static bool level_parse(const char *text, enum log_level *ret);
static bool is_meant(const char *name, const struct log_module *module);
static bool is_module(const char *name);
static bool write_line(const struct log_module *, enum log_level,
                       const struct log_context *, const char *message);
static bool write_journal(const struct log_module *, enum log_level,
                          const struct log_context *, const char *message);
static bool write_stderr(const struct log_module *, enum log_level,
                         const struct log_context *, const char *message);
static bool write_stream(int fd, const char *text, size_t size);

void
log_module_register(struct log_module *module)
{
    module->next = modules;
    modules = module;
    for (const struct wish *w = wishes; w; w = w->next) {
        if (is_meant(w->module, module)) {
            module->level = (int)w->level;
            break;
        }
    }
}

void
log_init(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long device, inode;
    struct stat st;

    to_journal = stream && sscanf(stream, "%lu:%lu", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
                 st.st_ino == inode;
}

void
log_set_level(enum log_level level)
{
    general_level = level;
}

bool
log_set_level_text(const char *text)
{
    const char *colon = strchr(text, ':');
    enum log_level level;

    if (!level_parse(colon ? colon + 1 : text, &level)) {
        return false;
    }
    if (!colon) {
        log_set_level(level);
        return true;
    }

    if (colon == text) {
        return false;
    }

    struct wish *wish = xzalloc(sizeof *wish);
    wish->module = xstrndup(text, (size_t)(colon - text));
    wish->level = level;
    wish->next = wishes;
    wishes = wish;
    for (struct log_module *m = modules; m; m = m->next) {
        if (is_meant(wish->module, m)) {
            m->level = (int)level;
        }
    }
    return true;
}

const char *
log_unknown_module(void)
{
    for (const struct wish *w = wishes; w; w = w->next) {
        if (!is_module(w->module)) {
            return w->module;
        }
    }
    return NULL;
}

bool
log_is_enabled(const struct log_module *module, enum log_level level)
{
    int limit = module->level >= 0 ? module->level : (int)general_level;

    return (int)level <= limit;
}

void
log_write(const struct log_module *module, enum log_level level,
          const struct log_context *context, const char *fmt, ...)
{
    static const struct log_context none;
    va_list args;

    va_start(args, fmt);
    AUTO_FREE message = xvasprintf(fmt, args);
    va_end(args);

    /* A line is a line, whatever a peer put into a name. */
    for (char *p = message; *p; p++) {
        if ((unsigned char)*p < ' ' && *p != '\t') {
            *p = ' ';
        } else if (strncmp(p, "\xc0\x80", 2) == 0) {
            memcpy(p, "\\0", 2); /* U+0000, as rpc/utf8.h has it. */
        }
    }

    unsigned lost = atomic_exchange(&n_lost, 0);
    if (lost) {
        AUTO_FREE text =
            xasprintf("%u lines were lost: the log did not take them", lost);
        if (!write_line(module, LOG_LEVEL_WARN, &none, text)) {
            atomic_fetch_add(&n_lost, lost + 1);
            return;
        }
    }
    if (!write_line(module, level, context ? context : &none, message)) {
        atomic_fetch_add(&n_lost, 1);
    }
}

bool
log_limit_allows(struct log_limit *limit, unsigned burst, unsigned *ret_dropped)
{
    uint64_t now = clock_now_ms();
    bool allowed = true;

    pthread_mutex_lock(&limit_mutex);
    *ret_dropped = 0;
    if (now - limit->window_start_ms >= 60000 || limit->window_start_ms == 0) {
        limit->window_start_ms = now;
        limit->n_in_window = 0;
        *ret_dropped = limit->n_dropped;
        limit->n_dropped = 0;
    }
    if (limit->n_in_window >= burst) {
        limit->n_dropped++;
        allowed = false;
    } else {
        limit->n_in_window++;
    }
    pthread_mutex_unlock(&limit_mutex);
    return allowed;
}

/* "link" is link_consumer and link_publisher, too. */
static bool
is_meant(const char *name, const struct log_module *module)
{
    size_t size = strlen(name);

    return strncmp(module->name, name, size) == 0 &&
           (module->name[size] == '\0' || module->name[size] == '_');
}

static bool
is_module(const char *name)
{
    for (const struct log_module *m = modules; m; m = m->next) {
        if (is_meant(name, m)) {
            return true;
        }
    }
    return false;
}

static bool
level_parse(const char *text, enum log_level *ret)
{
    for (size_t i = 0; i < N_ELEMENTS(level_names); i++) {
        if (strcasecmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* False: whoever reads the log hangs, and the line is lost.  The one who had
 * something to say does not hang with him. */
static bool
write_line(const struct log_module *module, enum log_level level,
           const struct log_context *context, const char *message)
{
    return to_journal ? write_journal(module, level, context, message)
                      : write_stderr(module, level, context, message);
}

static bool
write_journal(const struct log_module *module, enum log_level level,
              const struct log_context *context, const char *message)
{
    struct systemd_entry entry = {0};
    char number[32];
    bool is_full;
    AUTO_FREE text = xasprintf("%s: %s", module->name, message);

    systemd_entry_add(&entry, "MESSAGE", text);
    snprintf(number, sizeof number, "%d", syslog_priorities[level]);
    systemd_entry_add(&entry, "PRIORITY", number);
    systemd_entry_add(&entry, "SYSLOG_IDENTIFIER",
                      program_invocation_short_name);
    systemd_entry_add(&entry, "DROVER_MODULE", module->name);
    systemd_entry_add(&entry, "REQUEST_ID", context->request);
    systemd_entry_add(&entry, "INSTANCE_UUID", context->instance);
    snprintf(number, sizeof number, "%lld", (long long)context->op);
    systemd_entry_add(&entry, "DROVER_OP", number);
    if (systemd_entry_send(&entry, NULL, &is_full)) {
        return true;
    }
    return !is_full && /* Its stream may still be there. */
           write_stderr(module, level, context, message);
}

static bool
write_stderr(const struct log_module *module, enum log_level level,
             const struct log_context *context, const char *message)
{
    char when[CLOCK_TEXT_SIZE], op[32] = "";

    clock_format_micro(clock_wall_us(), 'T', when);
    when[23] = '\0'; /* Milliseconds will do. */
    if (context->op) {
        snprintf(op, sizeof op, " op=%lld", (long long)context->op);
    }
    AUTO_FREE line = xasprintf(
        "%sZ|%05u|%s|%s|%s%s%s%s%s|%s\n", when,
        atomic_fetch_add(&sequence, 1) + 1, module->name, level_names[level],
        context->request[0] ? "req=" : "", context->request,
        context->instance[0] ? " inst=" : "", context->instance, op, message);
    pthread_mutex_lock(&stream_mutex); /* Lines do not mix. */
    bool written = write_stream(STDERR_FILENO, line, strlen(line));
    pthread_mutex_unlock(&stream_mutex);
    return written;
}

/* A pipe that is ready for writing takes PIPE_BUF bytes at once.  O_NONBLOCK
 * would also be set for those whom the stream is shared with. */
static bool
write_stream(int fd, const char *text, size_t size)
{
    while (size > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)) {
            return false;
        }
        ssize_t n = write(fd, text, size < PIPE_BUF ? size : PIPE_BUF);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return true;
}
