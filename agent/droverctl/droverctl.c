#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"

#define DEFAULT_CONFIG SYSCONFDIR "/drover/droverd.conf"
#define DEFAULT_TIMEOUT_S 10
#define MAX_TIMEOUT_S 86400

#define EXIT_USAGE 2

struct verb {
    const char *words, *args;
    int min_args, max_args;
    unsigned options;
    const char *help;
    struct error *(*run)(struct tool *tool);
};

static const struct verb verbs[] = {
/* clang-format off */
#define VERB(FUNCTION, WORDS, ARGS, MIN, MAX, OPTIONS, HELP)                   \
    {WORDS, ARGS, MIN, MAX, OPTIONS, HELP, verb_##FUNCTION},
    VERBS
#undef VERB
    /* clang-format on */
};

/* What getopt_long() returns: a letter of the general options, or VERB_OPTION
 * and an enum verb_option. */
#define VERB_OPTION (1 << VERB_OPTIONS_MAX)

static const struct option long_options[] = {
    {"config-file", required_argument, NULL, 'c'},
    {"url", required_argument, NULL, 'u'},
    {"host", required_argument, NULL, 'H'},
    {"socket", required_argument, NULL, 's'},
    {"timeout", required_argument, NULL, 't'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"to", required_argument, NULL, VERB_OPTION | OPTION_TO},
    {"plan", no_argument, NULL, VERB_OPTION | OPTION_PLAN},
    {"yes", no_argument, NULL, VERB_OPTION | OPTION_YES},
    {"hard", no_argument, NULL, VERB_OPTION | OPTION_HARD},
    {"stop", no_argument, NULL, VERB_OPTION | OPTION_STOP},
    {"resume", no_argument, NULL, VERB_OPTION | OPTION_RESUME},
    {"end", no_argument, NULL, VERB_OPTION | OPTION_END},
    {"repair", no_argument, NULL, VERB_OPTION | OPTION_REPAIR},
    {"block-migrate", no_argument, NULL, VERB_OPTION | OPTION_BLOCK_MIGRATE},
    {"shared", no_argument, NULL, VERB_OPTION | OPTION_SHARED},
    {"disk-over-commit", no_argument, NULL,
     VERB_OPTION | OPTION_DISK_OVER_COMMIT},
    {"cold", no_argument, NULL, VERB_OPTION | OPTION_COLD},
    {"static", no_argument, NULL, VERB_OPTION | OPTION_STATIC},
    {"check", no_argument, NULL, VERB_OPTION | OPTION_CHECK},
    {"watch", no_argument, NULL, VERB_OPTION | OPTION_WATCH},
    {"bandwidth", required_argument, NULL, VERB_OPTION | OPTION_BANDWIDTH},
    {"downtime", required_argument, NULL, VERB_OPTION | OPTION_DOWNTIME},
    {"completion-timeout", required_argument, NULL,
     VERB_OPTION | OPTION_COMPLETION_TIMEOUT},
    {"timeout-action", required_argument, NULL,
     VERB_OPTION | OPTION_TIMEOUT_ACTION},
    {"convergence", required_argument, NULL, VERB_OPTION | OPTION_CONVERGENCE},
    {"compression", required_argument, NULL, VERB_OPTION | OPTION_COMPRESSION},
    {NULL, 0, NULL, 0},
};

#define NUMBER_OPTIONS \
    (OPTION_BANDWIDTH | OPTION_DOWNTIME | OPTION_COMPLETION_TIMEOUT)

struct command_line {
    struct tool tool;
    const struct verb *verb; /* Null: none. */
    const char *first;       /* Word, if there is one. */
    bool wants_help, wants_version;
};

static bool parse(int argc, char **argv, struct command_line *ret);
static bool parse_option(int option, struct command_line *line);
static bool parse_verb_option(unsigned option, struct tool *tool);
static int option_index(unsigned option);
static bool parse_timeout(const char *text, struct command_line *line);
static bool find_verb(char *const *words, int n, struct command_line *line);
static bool check_verb(const struct command_line *line);
static bool check_pairs(unsigned options);
static int count_words(const char *words);
static bool begins_with(const char *words, char *const *given, int n);
static bool verb_takes(const struct verb *verb, unsigned option);
static void usage(FILE *out, const struct verb *verb, const char *first);
static bool is_first_word(const char *words, const char *word);
static void usage_verb(FILE *out, const struct verb *verb);
static int run(struct command_line *line);
static void complain(const struct error *error);

int
main(int argc, char **argv)
{
    struct command_line line = {
        .tool = {.timeout_ms = DEFAULT_TIMEOUT_S * 1000},
    };

    if (!setlocale(LC_CTYPE, "C.UTF-8")) {
        setlocale(LC_CTYPE, "");
    }
    signal(SIGPIPE, SIG_IGN);
    argv[0] = (char *)"droverctl"; /* For getopt_long() to complain as. */
    if (!parse(argc, argv, &line)) {
        return EXIT_USAGE;
    }
    if (line.wants_version) {
        puts("droverctl " PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    if (line.wants_help) {
        usage(stdout, line.verb, line.first);
        return EXIT_SUCCESS;
    }
    json_init();
    log_init();
    /* What the link meets is told by the question that fails. */
    log_set_level(LOG_LEVEL_ERROR);
    return run(&line);
}

struct error *
tool_conf(struct tool *tool, struct conf **ret)
{
    const char *path = tool->config_file ? tool->config_file : DEFAULT_CONFIG;
    bool is_needed = tool->config_file || !tool->url;

    if (!tool->conf && (is_needed || access(path, R_OK) == 0)) {
        struct error *error = conf_load(path, NULL, NULL, &tool->conf);
        if (error) {
            return tool->config_file
                       ? error
                       : error_wrap(error, "use --config-file, --url or "
                                           "--socket");
        }
    } else if (!tool->conf) {
        tool->conf = conf_defaults();
    }
    if (tool->url) {
        free(tool->conf->transport_url);
        tool->conf->transport_url = xstrdup(tool->url);
    }
    *ret = tool->conf;
    return NULL;
}

const char *
tool_value(const struct tool *tool, enum verb_option option)
{
    return tool->values[option_index(option)];
}

struct error *
tool_confirm(const struct tool *tool, const char *question)
{
    char answer[16];

    if (tool->options & OPTION_YES) {
        return NULL;
    }
    if (!isatty(STDIN_FILENO)) {
        return error_new(ERR_VALUE, "nobody is asked whether to: say --yes");
    }
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof answer, stdin) &&
        (answer[0] == 'y' || answer[0] == 'Y')) {
        return NULL;
    }
    return error_new(ERR_CANCELLED, "nothing was done");
}

static bool
parse(int argc, char **argv, struct command_line *line)
{
    int option;

    while ((option = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
        if (!parse_option(option, line)) {
            find_verb(argv + optind, argc - optind, line);
            usage(stderr, line->verb, NULL);
            return false;
        }
    }
    if (line->wants_version) {
        return true;
    }
    line->first = argv[optind];
    bool is_found = find_verb(argv + optind, argc - optind, line);
    if (line->wants_help) {
        return true;
    }
    if (!is_found) {
        if (optind < argc) {
            fprintf(stderr, "droverctl: no verb '%s%s%s'\n", argv[optind],
                    optind + 1 < argc ? " " : "",
                    optind + 1 < argc ? argv[optind + 1] : "");
        }
        usage(stderr, NULL, line->first);
        return false;
    }
    if (!check_verb(line)) {
        usage(stderr, line->verb, NULL);
        return false;
    }
    return true;
}

static bool
parse_option(int option, struct command_line *line)
{
    struct tool *tool = &line->tool;

    switch (option) {
    case 'c':
        tool->config_file = optarg;
        return true;
    case 'u':
        tool->url = optarg;
        return true;
    case 'H':
        tool->host = optarg;
        return true;
    case 's':
        tool->socket = optarg;
        return true;
    case 't':
        return parse_timeout(optarg, line);
    case 'j':
        tool->as_json = true;
        return true;
    case 'h':
        line->wants_help = true;
        return true;
    case 'V':
        line->wants_version = true;
        return true;
    case '?':
        return false; /* getopt_long() has said why. */
    default:
        return parse_verb_option((unsigned)option & ~(unsigned)VERB_OPTION,
                                 tool);
    }
}

static bool
parse_verb_option(unsigned option, struct tool *tool)
{
    if (option & NUMBER_OPTIONS &&
        (!*optarg || optarg[strspn(optarg, "0123456789")] ||
         strlen(optarg) > 9)) {
        fprintf(stderr, "droverctl: '%s' is no number from 0 to 999999999\n",
                optarg);
        return false;
    }
    tool->options |= option;
    tool->values[option_index(option)] = optarg;
    return true;
}

static bool
parse_timeout(const char *text, struct command_line *line)
{
    char *end;
    double s = strtod(text, &end);

    if (end == text || *end || !(s > 0 && s <= MAX_TIMEOUT_S)) {
        fprintf(stderr,
                "droverctl: --timeout '%s' is no number of seconds from 0.001 "
                "to %d\n",
                text, MAX_TIMEOUT_S);
        return false;
    }
    unsigned ms = (unsigned)(s * 1000);
    line->tool.timeout_ms = ms ? ms : 1;
    return true;
}

static int
option_index(unsigned option)
{
    return __builtin_ctz(option);
}

static bool
find_verb(char *const *words, int n, struct command_line *line)
{
    for (size_t i = 0; i < N_ELEMENTS(verbs); i++) {
        if (begins_with(verbs[i].words, words, n)) {
            int n_words = count_words(verbs[i].words);

            line->verb = &verbs[i];
            line->tool.args = words + n_words;
            line->tool.n_args = n - n_words;
            return true;
        }
    }
    return false;
}

static bool
check_verb(const struct command_line *line)
{
    const struct verb *verb = line->verb;
    const struct tool *tool = &line->tool;

    for (const struct option *o = long_options; o->name; o++) {
        if (o->val & VERB_OPTION &&
            tool->options & (unsigned)o->val & ~verb->options) {
            fprintf(stderr, "droverctl: '%s' takes no --%s\n", verb->words,
                    o->name);
            return false;
        }
    }
    if (tool->n_args < verb->min_args || tool->n_args > verb->max_args) {
        fprintf(stderr, "droverctl: '%s' takes %s arguments\n", verb->words,
                tool->n_args < verb->min_args ? "more" : "fewer");
        return false;
    }
    if (str_eq(verb->words, "migration set") && !tool->options) {
        fputs("droverctl: 'migration set' needs --bandwidth or --downtime\n",
              stderr);
        return false;
    }
    return check_pairs(tool->options);
}

static bool
check_pairs(unsigned options)
{
    static const struct {
        unsigned options;
        const char *names;
    } pairs[] = {
        {OPTION_BLOCK_MIGRATE | OPTION_SHARED, "--block-migrate and --shared"},
        {OPTION_CHECK | OPTION_WATCH, "--check and --watch"},
        {OPTION_COLD | OPTION_STATIC, "--cold and --static"},
    };

    for (size_t i = 0; i < N_ELEMENTS(pairs); i++) {
        if ((options & pairs[i].options) == pairs[i].options) {
            fprintf(stderr, "droverctl: %s exclude each other\n",
                    pairs[i].names);
            return false;
        }
    }
    return true;
}

static int
count_words(const char *words)
{
    return strchr(words, ' ') ? 2 : 1; /* No verb has more. */
}

static bool
begins_with(const char *words, char *const *given, int n)
{
    const char *blank = strchr(words, ' ');

    if (!blank) {
        return n >= 1 && str_eq(words, given[0]);
    }
    size_t size = (size_t)(blank - words);
    return n >= 2 && strlen(given[0]) == size &&
           strncmp(words, given[0], size) == 0 && str_eq(blank + 1, given[1]);
}

static bool
is_first_word(const char *words, const char *word)
{
    size_t size = strlen(word);

    return strncmp(words, word, size) == 0 && words[size] == ' ';
}

static bool
verb_takes(const struct verb *verb, unsigned option)
{
    return option & VERB_OPTION && verb->options & option;
}

/* Of 'verb', or else of those that begin with 'first', if any do. */
static void
usage(FILE *out, const struct verb *verb, const char *first)
{
    bool is_known = false;

    if (verb) {
        usage_verb(out, verb);
        return;
    }
    for (size_t i = 0; first && i < N_ELEMENTS(verbs); i++) {
        is_known |= is_first_word(verbs[i].words, first);
    }
    fputs("usage: droverctl [OPTIONS] VERB ...\n\n", out);
    for (size_t i = 0; i < N_ELEMENTS(verbs); i++) {
        AUTO_FREE synopsis = xasprintf("%s %s", verbs[i].words, verbs[i].args);

        if (!is_known || is_first_word(verbs[i].words, first)) {
            fprintf(out, "  %-35s %s\n", synopsis, verbs[i].help);
        }
    }
    fputs("\n"
          "  --config-file FILE  configuration of droverd (" DEFAULT_CONFIG
          ")\n"
          "  --url URL           the bus, instead of the configured one\n"
          "  --host HOST         ask this host only\n"
          "  --socket PATH       control socket of this host's agent\n"
          "  --timeout SECONDS   how long to wait for answers (10)\n"
          "  --json              print JSON\n"
          "  --help              print this, or the usage of the verb\n"
          "  --version           print the version\n",
          out);
}

static void
usage_verb(FILE *out, const struct verb *verb)
{
    fprintf(out, "usage: droverctl [OPTIONS] %s", verb->words);
    for (const struct option *o = long_options; o->name; o++) {
        if (verb_takes(verb, (unsigned)o->val)) {
            fprintf(out, " [--%s%s]", o->name, o->has_arg ? " VALUE" : "");
        }
    }
    fprintf(out, "%s%s\n%c%s.  See droverctl(8).\n", *verb->args ? " " : "",
            verb->args, verb->help[0] & ~0x20, verb->help + 1);
}

static int
run(struct command_line *line)
{
    struct tool *tool = &line->tool;
    AUTO_ERROR error = line->verb->run(tool);

    fflush(stdout);
    if (error) {
        complain(error);
    } else if (ferror(stdout)) {
        fputs("droverctl: the output could not be written\n", stderr);
    }
    bus_close(tool);
    conf_free(tool->conf);
    return error || ferror(stdout) ? EXIT_FAILURE : tool->exit_status;
}

static void
complain(const struct error *error)
{
    AUTO_FREE text = error_text(error);
    AUTO_FREE clean = text_clean(text);

    fprintf(stderr, "droverctl: %s\n", clean);
}
