#include <config.h>

#include "rpc/envelope.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/failure.h"

#define AUTO_ENVELOPE CLEANUP(envelope_free_at) struct envelope *
#define AUTO_REPLY CLEANUP(reply_free_at) struct reply *

/* 'text' with " for '. */
static char *
quoted(const char *text)
{
    char *copy = xstrdup(text);

    for (char *p = copy; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    return copy;
}

/* A body with 'inner' (' for ") in an envelope. */
static char *
body_of(const char *inner)
{
    AUTO_FREE text = quoted(inner);
    AUTO_JSON outer = json_object();

    json_set_string(outer, "oslo.version", "2.0");
    json_set_string(outer, "oslo.message", text);
    return json_print(outer, NULL);
}

static struct envelope *
parse_body(const char *body)
{
    struct envelope *env = NULL;
    AUTO_ERROR error = envelope_parse(body, strlen(body), &env);

    if (error) {
        fail_msg("%s: %s", body, error_message(error));
    }
    assert_non_null(env);
    assert_non_null(env->args);
    assert_non_null(env->context);
    assert_true(env->invalid || (env->method && env->version));
    return env;
}

static struct envelope *
parse(const char *inner)
{
    AUTO_FREE body = body_of(inner);

    return parse_body(body);
}

static void
assert_rejected(const char *body, const char *why)
{
    struct envelope *env = NULL;
    AUTO_ERROR error = envelope_parse(body, strlen(body), &env);
    struct reply *reply = NULL;
    AUTO_ERROR reply_error = envelope_parse_reply(body, strlen(body), &reply);

    if (!error || !strstr(error_message(error), why)) {
        fail_msg("%s: '%s', wanted '%s'", body, error_message(error), why);
    }
    assert_int_equal(error_code(error), ERR_BAD_MESSAGE);
    assert_int_equal(error_code(reply_error), ERR_BAD_MESSAGE);
    assert_null(env);
    assert_null(reply);
}

static void
assert_invalid(const char *inner, enum error_code code, const char *message)
{
    AUTO_ENVELOPE env = parse(inner);

    if (error_code(env->invalid) != code) {
        fail_msg("%s: '%s'", inner, error_message(env->invalid));
    }
    assert_string_equal(error_message(env->invalid), message);
}

static void
assert_valid(const char *inner)
{
    AUTO_ENVELOPE env = parse(inner);

    if (env->invalid) {
        fail_msg("%s: '%s'", inner, error_message(env->invalid));
    }
}

static void
test_a_call_has_all_its_parts(void **state)
{
    (void)state;
    /* As a real peer sent it. */
    AUTO_ENVELOPE env = parse_body(
        "{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"method\\\": "
        "\\\"none\\\", \\\"args\\\": {\\\"a\\\": 1}, \\\"version\\\": "
        "\\\"5.0\\\", \\\"namespace\\\": \\\"baseapi\\\", \\\"_msg_id\\\": "
        "\\\"7e20a12f35294248a8f08f0cddcb75fc\\\", \\\"_reply_q\\\": "
        "\\\"reply_c347f4c51e5f492682a6e01d51f24e7f\\\", \\\"_timeout\\\": "
        "null, \\\"_unique_id\\\": \\\"73e9c0bf54944dc997b899f5637a599e\\\", "
        "\\\"_context_user\\\": \\\"u1\\\", \\\"_context_\\\": [1]}\"}");

    assert_null(env->invalid);
    assert_string_equal(env->method, "none");
    assert_string_equal(env->version, "5.0");
    assert_string_equal(env->name_space, "baseapi");
    assert_int_equal(json_int_of(env->args, "a"), 1);
    assert_string_equal(json_get_string(env->msg_id),
                        "7e20a12f35294248a8f08f0cddcb75fc");
    assert_string_equal(env->reply_q, "reply_c347f4c51e5f492682a6e01d51f24e7f");
    assert_string_equal(env->unique_id, "73e9c0bf54944dc997b899f5637a599e");
    assert_int_equal(env->keepalive_ms, 0);
    assert_string_equal(json_string_of(env->context, "user"), "u1");
    assert_true(json_is_array(json_get(env->context, "")));
    assert_int_equal(json_size(env->context), 2);
}

static void
test_a_cast_awaits_no_reply(void **state)
{
    (void)state;
    AUTO_ENVELOPE env = parse("{'method':'echo','args':{'a':3},"
                              "'version':'5.0','_unique_id':'47a3'}");
    AUTO_ENVELOPE null_id = parse("{'method':'m','_msg_id':null,"
                                  "'_reply_q':'r','_timeout':60}");

    assert_null(env->invalid);
    assert_null(env->msg_id);
    assert_null(env->reply_q);
    assert_null(env->name_space);
    assert_null(null_id->msg_id);
    assert_null(null_id->reply_q);
    assert_int_equal(null_id->keepalive_ms, 0);
}

static void
test_what_is_absent_has_a_default(void **state)
{
    (void)state;
    AUTO_ENVELOPE env = parse("{'method':'ping'}");
    AUTO_ENVELOPE nulls = parse("{'method':'ping','namespace':null,"
                                "'_unique_id':null}");
    AUTO_ENVELOPE empty = parse("{'method':'ping','namespace':''}");

    assert_null(env->invalid);
    assert_string_equal(env->version, "1.0");
    assert_null(env->name_space);
    assert_null(env->unique_id);
    assert_int_equal(json_size(env->args), 0);
    assert_null(nulls->invalid);
    assert_null(nulls->name_space);
    assert_string_equal(empty->name_space, "");
}

static void
test_envelopes_that_peers_accept_are_accepted(void **state)
{
    static const char *const bodies[] = {
        "{'oslo.version':'2.0','oslo.message':'{}'}",
        "{'oslo.version':'2.0.0','oslo.message':'{}'}",
        "{'extra':[1],'oslo.message':'{}','oslo.version':'2.0','x':null}",
        " { 'oslo.version' : '2.0' ,\n 'oslo.message' : ' {} ' } ",
        "{'oslo.version':'1.0','oslo.message':'{}','oslo.version':'2.0'}",
        "{'oslo.message':7,'oslo.version':'2.0','oslo.message':'{}'}",
    };
    static const char *const bare[] = {"{'method':'ping'}",
                                       "{'method':'ping','oslo.version':'7'}",
                                       "{'method':'ping','oslo.message':[1]}",
                                       "{'METHOD':'x','method':'ping'}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(bodies); i++) {
        AUTO_FREE body = quoted(bodies[i]);
        AUTO_ENVELOPE env = parse_body(body);
        assert_int_equal(error_code(env->invalid), ERR_NO_SUCH_METHOD);
    }
    for (size_t i = 0; i < N_ELEMENTS(bare); i++) {
        AUTO_FREE body = quoted(bare[i]);
        AUTO_ENVELOPE env = parse_body(body);
        assert_string_equal(env->method, "ping");
        assert_null(env->invalid);
    }

    AUTO_ENVELOPE raw = parse("{'method':'\xc3\xa9','args':{'a':'\\u00e9'}}");
    assert_string_equal(raw->method, "\xc3\xa9");
    assert_string_equal(json_string_of(raw->args, "a"), "\xc3\xa9");
}

static void
test_envelopes_that_peers_refuse_are_rejected(void **state)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"{'oslo.version':'2.5','oslo.message':'{}'}", "version '2.5'"},
        {"{'oslo.version':'2.0.1','oslo.message':'{}'}", "version '2.0.1'"},
        {"{'oslo.version':'1.0','oslo.message':'{}'}", "version '1.0'"},
        {"{'oslo.version':'3.0','oslo.message':'{}'}", "version '3.0'"},
        {"{'oslo.version':'2','oslo.message':'{}'}", "version '2'"},
        {"{'oslo.version':'abc','oslo.message':'{}'}", "version 'abc'"},
        {"{'oslo.version':'','oslo.message':'{}'}", "version ''"},
        {"{'oslo.version':2,'oslo.message':'{}'}", "version '2'"},
        {"{'oslo.version':null,'oslo.message':'{}'}", "version 'None'"},
        {"{'oslo.version':'2.0','oslo.message':{}}", "no string"},
        {"{'oslo.version':'2.0','oslo.message':null}", "no string"},
        {"{'oslo.version':'2.0','oslo.message':7}", "no string"},
        {"{'oslo.version':'2.0','oslo.message':'[]'}", "no object"},
        {"{'oslo.version':'2.0','oslo.message':'7'}", "no object"},
        {"{'oslo.version':'2.0','oslo.message':'null'}", "no object"},
        {"{'oslo.version':'2.0','oslo.message':''}", "message: bad JSON"},
        {"{'oslo.version':'2.0','oslo.message':'{'}", "message: bad JSON"},
        {"{'oslo.version':'2.0','oslo.message':'{}x'}", "message: bad JSON"},
        {"", "body: bad JSON"},
        {"hello", "body: bad JSON"},
        {"null", "body is no object"},
        {"[1]", "body is no object"},
        {"'x'", "body is no object"},
        {"7", "body is no object"},
        {"{'oslo.version':'2.0',", "body: bad JSON"},
        {"\xef\xbb\xbf{'method':'m'}", "body: bad JSON"},
        {"{'method':'\xff'}", "not UTF-8"},
        {"{'method':'\xc3'}", "not UTF-8"},
        {"{'oslo.version':'2.0','oslo.message':'{}\\u0000'}",
         "after the value"},
        {"{'oslo.version':'2.0','oslo.message':'{\\u0000}'}",
         "name is missing"},
        {"{'oslo.version':'2.0\\u0000','oslo.message':'{}'}", "has version"},
        {"{'method':'\\ud800'}", "surrogate"},
        {"{'method':NaN}", "not a value"},
        {"{'method':Infinity}", "not a value"},
        {"{'method':1e400}", "too large"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE body = quoted(cases[i].body);
        assert_rejected(body, cases[i].why);
    }

    char with_nul[] = "{\"method\":\"m\"}\0";
    AUTO_ENVELOPE env = NULL;
    AUTO_ERROR error = envelope_parse(with_nul, sizeof with_nul - 1, &env);
    assert_int_equal(error_code(error), ERR_BAD_MESSAGE);
}

static void
test_bodies_are_nested_to_a_limit(void **state)
{
    (void)state;
    for (int depth = 500; depth <= 600; depth += 100) {
        AUTO_FREE nested = xmalloc((size_t)depth * 2 + 1);
        memset(nested, '[', (size_t)depth);
        memset(nested + depth, ']', (size_t)depth);
        nested[2 * depth] = '\0';

        static const char *const forms[] = {"{'method':'m','args':{'a':%s}}",
                                            "{'method':'m','_context_a':%s}",
                                            "{'method':'m','a':%s}"};
        for (size_t i = 0; i < N_ELEMENTS(forms); i++) {
            AUTO_FREE form = quoted(forms[i]);
            char *at = strstr(form, "%s");
            AUTO_FREE inner =
                xasprintf("%.*s%s%s", (int)(at - form), form, nested, at + 2);
            AUTO_FREE body = body_of(inner);
            if (depth == 500) {
                assert_valid(inner);
                AUTO_ENVELOPE bare = parse_body(inner);
                assert_null(bare->invalid);
            } else {
                assert_rejected(inner, "nested too deeply");
                assert_rejected(body, "nested too deeply");
            }
        }
    }
}

static void
test_a_method_that_is_none_does_not_exist(void **state)
{
    (void)state;
    assert_invalid("{}", ERR_NO_SUCH_METHOD,
                   "Endpoint does not support RPC method None");
    assert_invalid("{'method':null}", ERR_NO_SUCH_METHOD,
                   "Endpoint does not support RPC method None");
    assert_invalid("{'method':7}", ERR_NO_SUCH_METHOD,
                   "Endpoint does not support RPC method 7");
    assert_invalid("{'method':['a']}", ERR_NO_SUCH_METHOD,
                   "Endpoint does not support RPC method [\"a\"]");
    assert_valid("{'method':'%n%s'}");

    AUTO_FREE name = xmalloc(1 << 20);
    memset(name, 'm', (1 << 20) - 1);
    name[(1 << 20) - 1] = '\0';
    AUTO_FREE inner = xasprintf("{'method':'%s','version':'x'}", name);
    AUTO_ENVELOPE env = parse(inner);
    assert_int_equal(error_code(env->invalid), ERR_NO_SUCH_METHOD);
    assert_true(strlen(error_message(env->invalid)) < 300);
}

static void
test_args_must_be_an_object(void **state)
{
    (void)state;
    assert_invalid("{'method':'ping','args':[]}", ERR_TYPE,
                   "args of 'ping' is no object");
    assert_invalid("{'method':'ping','args':null}", ERR_TYPE,
                   "args of 'ping' is no object");
    assert_invalid("{'method':'ping','args':'x'}", ERR_TYPE,
                   "args of 'ping' is no object");
    assert_valid("{'method':'ping','args':{'self':1,'':2,'__proto__':3}}");
}

static void
test_versions_that_are_none_are_unsupported(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"null", "None"},
        {"5", "5"},
        {"5.0", "5.0"},
        {"'5'", "5"},
        {"'x.y'", "x.y"},
        {"' 5.0'", " 5.0"},
        {"'5.-1'", "5.-1"},
        {"''", ""},
        {"'.'", "."},
        {"'6.'", "6."},
        {"'-6.0'", "-6.0"},
        {"'99999999999999999999.0'", "99999999999999999999.0"},
        {"'6.0 '", "6.0 "},
        {"['6.0']", "[\"6.0\"]"},
        {"'6..0'", "6..0"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE inner =
            xasprintf("{'method':'none','version':%s}", cases[i].json);
        AUTO_FREE message = xasprintf("Endpoint does not support RPC version "
                                      "%s. Attempted method: none",
                                      cases[i].text);
        assert_invalid(inner, ERR_UNSUPPORTED_VERSION, message);
    }
    assert_valid("{'method':'m','version':'6.1.1.1'}");
    assert_valid("{'method':'m','version':'5.0.0.0'}");
}

static void
test_versions_fit_as_at_the_peers(void **state)
{
    static const char *const good[] = {"5.0",   "5.0.7",   "5.3",
                                       "5.3.0", "5.3.0.9", "5.2.99"};
    static const char *const bad[] = {"5.3.1", "5.4",    "4.0",         "6.0",
                                      "1.0",   "5",      "5.",          "",
                                      "x",     "5.3.0x", "4294967301.3"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        assert_true(envelope_version_fits(good[i], 5, 3));
    }
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        assert_false(envelope_version_fits(bad[i], 5, 3));
    }
    assert_int_equal(envelope_version_major("6.1"), 6);
    assert_int_equal(envelope_version_major("6"), -1);
}

static void
test_a_namespace_of_another_type_is_unsupported(void **state)
{
    (void)state;
    assert_invalid("{'method':'m','version':'6.0','namespace':7}",
                   ERR_UNSUPPORTED_VERSION,
                   "Endpoint does not support RPC version 6.0. Attempted "
                   "method: m");
    assert_invalid("{'method':'m','namespace':['x']}", ERR_UNSUPPORTED_VERSION,
                   "Endpoint does not support RPC version 1.0. Attempted "
                   "method: m");
}

static void
test_context_that_peers_fail_on_is_invalid(void **state)
{
    static const char *const bad[] = {
        "'_context_timestamp':'2026-11-22T05:00:00'",
        "'_context_timestamp':'2026-11-22T05:00:00.'",
        "'_context_timestamp':'2026-11-22T05:00:00.1234567'",
        "'_context_timestamp':'2026-11-22T05:00:00.123456Z'",
        "'_context_timestamp':'2026-11-22 05:00:00.123456'",
        "'_context_timestamp':'2026-13-22T05:00:00.123456'",
        "'_context_timestamp':''",
        "'_context_read_deleted':'maybe'",
        "'_context_read_deleted':null",
        "'_context_read_deleted':{}",
        "'_context_service_catalog':{}",
        "'_context_service_catalog':'x'",
        "'_context_service_catalog':[{},1]",
    };
    static const char *const good[] = {
        "'_context_timestamp':'2026-11-22T05:00:00.123456'",
        "'_context_timestamp':'2026-11-22T05:00:00.1'",
        "'_context_timestamp':null",
        "'_context_timestamp':7",
        "'_context_read_deleted':'no'",
        "'_context_read_deleted':'yes'",
        "'_context_read_deleted':'only'",
        "'_context_service_catalog':null",
        "'_context_service_catalog':[]",
        "'_context_service_catalog':[{'type':'network'}]",
        "'_context_is_admin':null,'_context_roles':7,'_context_user':{}",
        "'_context_trace_info':{'hmac_key':'k'}",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        AUTO_FREE inner = xasprintf("{'method':'m',%s}", bad[i]);
        AUTO_ENVELOPE env = parse(inner);
        if (error_code(env->invalid) != ERR_VALUE) {
            fail_msg("%s", inner);
        }
    }
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        AUTO_FREE inner = xasprintf("{'method':'m',%s}", good[i]);
        assert_valid(inner);
    }
}

static void
test_invalid_requests_tell_where_to_answer(void **state)
{
    (void)state;
    AUTO_ENVELOPE env = parse("{'args':[],'_msg_id':'m','_reply_q':'r',"
                              "'_context_request_id':'req-1'}");

    assert_int_equal(error_code(env->invalid), ERR_NO_SUCH_METHOD);
    assert_string_equal(json_get_string(env->msg_id), "m");
    assert_string_equal(env->reply_q, "r");
    assert_string_equal(json_string_of(env->context, "request_id"), "req-1");
}

static void
test_message_ids_of_any_type_are_echoed(void **state)
{
    static const char *const ids[] = {"'x'",
                                      "7",
                                      "1.50",
                                      "true",
                                      "{'a':[1]}",
                                      "[]",
                                      "12345678901234567890123",
                                      "''"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(ids); i++) {
        AUTO_FREE id = quoted(ids[i]);
        AUTO_FREE inner =
            xasprintf("{'method':'m','_msg_id':%s,'_reply_q':'r'}", ids[i]);
        AUTO_ENVELOPE env = parse(inner);
        size_t size;
        AUTO_FREE body =
            envelope_format_reply(env->msg_id, NULL, NULL, true, &size);
        AUTO_JSON outer = NULL;
        AUTO_JSON reply = NULL;
        AUTO_ERROR error = json_parse(body, size, &outer);
        assert_null(error);
        const char *text = json_string_of(outer, "oslo.message");
        AUTO_ERROR inner_error = json_parse(text, strlen(text), &reply);
        assert_null(inner_error);
        AUTO_FREE echoed = json_print(json_get(reply, "_msg_id"), NULL);

        assert_string_equal(env->reply_q, "r");
        assert_string_equal(echoed, id);
    }

    AUTO_FREE large = xmalloc(1 << 20);
    memset(large, 'x', (1 << 20) - 1);
    large[(1 << 20) - 1] = '\0';
    AUTO_FREE inner =
        xasprintf("{'method':'m','_msg_id':'%s','_reply_q':'r'}", large);
    AUTO_ENVELOPE env = parse(inner);
    assert_null(env->invalid);
    assert_null(env->reply_q);
}

static void
test_unusable_reply_queues_get_nothing(void **state)
{
    static const char *const queues[] = {"null",
                                         "7",
                                         "''",
                                         "['r']",
                                         "{}",
                                         "'a\\u0000b'",
                                         "'amq.rabbitmq.reply-to.x.y'"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(queues); i++) {
        AUTO_FREE inner =
            xasprintf("{'method':'m','_msg_id':'1','_reply_q':%s}", queues[i]);
        AUTO_ENVELOPE env = parse(inner);
        assert_null(env->invalid);
        assert_non_null(env->msg_id);
        assert_null(env->reply_q);
    }
    AUTO_ENVELOPE absent = parse("{'method':'m','_msg_id':'1'}");
    assert_null(absent->reply_q);

    for (int size = 255; size <= 256; size++) {
        AUTO_FREE inner = xasprintf(
            "{'method':'m','_msg_id':'1','_reply_q':'%0*d'}", size, 0);
        AUTO_ENVELOPE env = parse(inner);
        assert_int_equal(env->reply_q != NULL, size == 255);
    }
}

static void
test_keepalives_come_at_half_the_timeout(void **state)
{
    static const struct {
        const char *timeout;
        unsigned ms;
    } cases[] = {
        {"null", 0},      {"0", 0},
        {"1", 0},         {"1.99", 0},
        {"-4", 0},        {"2", 1000},
        {"3", 1500},      {"3.7", 1500},
        {"4", 2000},      {"'4'", 2000},
        {"' 4 '", 2000},  {"60", 30000},
        {"120", 60000},   {"121", 60000},
        {"1e308", 60000}, {"99999999999999999999", 60000},
        {"'x'", 0},       {"'3.7'", 0},
        {"''", 0},        {"'99999999999999999999999'", 0},
        {"{}", 0},        {"[]", 0},
        {"true", 0},      {"-1e308", 0},
        {"'-4'", 0},      {"'4x'", 0},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE inner = xasprintf(
            "{'method':'m','_msg_id':'1','_reply_q':'r','_timeout':%s}",
            cases[i].timeout);
        AUTO_ENVELOPE env = parse(inner);
        if (env->keepalive_ms != cases[i].ms) {
            fail_msg("%s: %u", cases[i].timeout, env->keepalive_ms);
        }
        assert_null(env->invalid);
    }
}

static void
test_unique_ids_that_are_none_are_never_duplicates(void **state)
{
    static const char *const ids[] = {"null", "''", "7", "{}", "['x']"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(ids); i++) {
        AUTO_FREE inner = xasprintf("{'method':'m','_unique_id':%s}", ids[i]);
        AUTO_ENVELOPE env = parse(inner);
        assert_null(env->unique_id);
        assert_null(env->invalid);
    }
    AUTO_FREE large = xasprintf("{'method':'m','_unique_id':'%0300d'}", 0);
    AUTO_ENVELOPE env = parse(large);
    assert_null(env->unique_id);
}

static void
test_many_context_keys_take_no_quadratic_time(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    fputs("{\"method\":\"m\"", out);
    for (int i = 0; i < 200000; i++) {
        fprintf(out, ",\"_context_k%d\":%d", i, i);
    }
    fputs("}", out);
    fclose(out);

    AUTO_ENVELOPE env = parse_body(text);
    free(text);
    assert_int_equal(json_size(env->context), 200000);

    const struct envelope_request request = {
        .method = "m", .unique_id = "u", .context = env->context};
    AUTO_FREE body = envelope_format_request(&request, &size);
    AUTO_ENVELOPE again = parse_body(body);
    assert_int_equal(json_size(again->context), 200000);
}

static void
test_a_request_survives_the_way_there_and_back(void **state)
{
    (void)state;
    AUTO_JSON args = json_object();
    json_set_string(args, "name", "a\"\\\n\xf0\x9f\x90\x91");
    json_set_int(args, "big", INT64_MAX);
    AUTO_JSON context = json_object();
    json_set_string(context, "request_id", "req-1");
    json_set_null(context, "unknown");

    const struct envelope_request request = {
        .method = "object_action",
        .name_space = "baseapi",
        .version = "3.0",
        .args = args,
        .context = context,
        .unique_id = "u1",
        .msg_id = "m1",
        .reply_q = "reply_1",
        .monitor_s = 60,
    };
    size_t size;
    AUTO_FREE body = envelope_format_request(&request, &size);
    assert_int_equal(size, strlen(body));
    AUTO_ENVELOPE env = parse_body(body);

    assert_null(env->invalid);
    assert_string_equal(env->method, "object_action");
    assert_string_equal(env->name_space, "baseapi");
    assert_string_equal(env->version, "3.0");
    assert_true(json_equal(env->args, args));
    assert_true(json_equal(env->context, context));
    assert_string_equal(env->unique_id, "u1");
    assert_string_equal(json_get_string(env->msg_id), "m1");
    assert_string_equal(env->reply_q, "reply_1");
    assert_int_equal(env->keepalive_ms, 30000);
}

static void
test_requests_look_as_those_of_peers(void **state)
{
    (void)state;
    const struct envelope_request call = {.method = "ping",
                                          .version = "1.0",
                                          .unique_id = "u",
                                          .msg_id = "m",
                                          .reply_q = "r"};
    const struct envelope_request cast = {.method = "ping", .unique_id = "u"};
    size_t size;
    AUTO_FREE call_body = envelope_format_request(&call, &size);
    AUTO_FREE cast_body = envelope_format_request(&cast, &size);
    AUTO_FREE call_text =
        body_of("{'method':'ping','args':{},'version':'1.0','_msg_id':'m',"
                "'_reply_q':'r','_timeout':null,'_unique_id':'u'}");
    AUTO_FREE cast_text =
        body_of("{'method':'ping','args':{},'_unique_id':'u'}");

    assert_string_equal(call_body, call_text);
    assert_string_equal(cast_body, cast_text);
}

static struct reply *
parse_reply(const char *inner)
{
    AUTO_FREE body = body_of(inner);
    struct reply *reply = NULL;
    AUTO_ERROR error = envelope_parse_reply(body, strlen(body), &reply);

    if (error) {
        fail_msg("%s: %s", inner, error_message(error));
    }
    return reply;
}

static void
test_replies_have_five_keys_and_survive(void **state)
{
    static const char *const results[] = {"null",
                                          "false",
                                          "0",
                                          "\"\"",
                                          "[]",
                                          "42",
                                          "{\"a\":9223372036854775807}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(results); i++) {
        AUTO_JSON result = NULL;
        AUTO_ERROR error = json_parse(results[i], strlen(results[i]), &result);
        AUTO_JSON id = json_string("m1");
        size_t size;
        AUTO_FREE body = envelope_format_reply(id, result, NULL, true, &size);
        AUTO_REPLY reply = NULL;
        AUTO_ERROR bad = envelope_parse_reply(body, size, &reply);

        assert_null(error);
        assert_null(bad);
        assert_string_equal(reply->msg_id, "m1");
        assert_true(reply->ending);
        assert_null(reply->failure);
        assert_true(json_is_null(result) ? !reply->result
                                         : json_equal(reply->result, result));
        assert_false(reply_is_keepalive(reply));

        AUTO_JSON outer = NULL;
        AUTO_JSON inner = NULL;
        AUTO_ERROR outer_error = json_parse(body, size, &outer);
        const char *text = json_string_of(outer, "oslo.message");
        AUTO_ERROR inner_error = json_parse(text, strlen(text), &inner);
        assert_null(outer_error);
        assert_null(inner_error);
        assert_int_equal(json_size(inner), 5);
        assert_true(json_is_null(json_get(inner, "failure")));
        assert_int_equal(strlen(json_string_of(inner, "_unique_id")), 32);
    }
}

static void
test_every_reply_has_a_unique_id_of_its_own(void **state)
{
    (void)state;
    AUTO_JSON id = json_string("m");
    size_t size;
    AUTO_FREE one = envelope_format_reply(id, NULL, NULL, true, &size);
    AUTO_FREE two = envelope_format_reply(id, NULL, NULL, true, &size);

    assert_string_not_equal(one, two);
}

static void
test_a_failure_travels_in_a_reply(void **state)
{
    (void)state;
    AUTO_ERROR error = error_new(ERR_MIGRATION, "no route");
    AUTO_FREE failure = failure_format(error);
    AUTO_JSON id = json_string("m");
    size_t size;
    AUTO_FREE body = envelope_format_reply(id, NULL, failure, true, &size);
    AUTO_REPLY reply = NULL;
    AUTO_ERROR bad = envelope_parse_reply(body, size, &reply);

    assert_null(bad);
    assert_int_equal(error_code(reply->failure), ERR_MIGRATION);
    assert_string_equal(error_message(reply->failure), "no route");
}

static void
test_keepalives_are_told_from_results(void **state)
{
    (void)state;
    AUTO_JSON id = json_string("m");
    size_t size;
    AUTO_FREE body = envelope_format_reply(id, NULL, NULL, false, &size);
    AUTO_REPLY reply = NULL;
    AUTO_ERROR bad = envelope_parse_reply(body, size, &reply);
    AUTO_REPLY missing = parse_reply("{'failure':null,'_msg_id':'m'}");
    AUTO_REPLY early = parse_reply(
        "{'failure':null,'result':42,'ending':false,'_msg_id':'m'}");
    AUTO_REPLY failing = parse_reply("{'failure':'{}','ending':false,"
                                     "'_msg_id':'m'}");

    assert_null(bad);
    assert_true(reply_is_keepalive(reply));
    assert_true(reply_is_keepalive(missing));
    assert_false(reply_is_keepalive(early));
    assert_false(early->ending);
    assert_int_equal(json_get_int(early->result), 42);
    assert_false(reply_is_keepalive(failing));
    assert_false(failing->ending);
    assert_non_null(failing->failure);
}

static void
test_replies_that_peers_choke_on_end_the_call(void **state)
{
    static const struct {
        const char *inner, *why;
    } cases[] = {
        {"{'result':1,'_msg_id':'m','ending':false}", "has no 'failure'"},
        {"{'result':1,'_msg_id':'m','failure':{'class':'x'}}", "no string"},
        {"{'result':1,'_msg_id':'m','failure':7}", "no string"},
        {"{'result':1,'_msg_id':'m','failure':'boom'}", "bad JSON"},
        {"{'result':1,'_msg_id':'m','failure':'[1]'}", "no object"},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_REPLY reply = parse_reply(cases[i].inner);
        assert_true(reply->ending);
        assert_string_equal(reply->msg_id, "m");
        assert_int_equal(error_code(reply->failure), ERR_BAD_MESSAGE);
        assert_non_null(strstr(error_message(reply->failure), cases[i].why));
    }
}

static void
test_a_failure_wins_over_a_result(void **state)
{
    (void)state;
    AUTO_REPLY reply =
        parse_reply("{'result':1,'_msg_id':'m','ending':true,"
                    "'failure':'{\\'class\\':\\'X\\',\\'module\\':\\'y\\',"
                    "\\'message\\':\\'z\\'}'}");

    assert_int_equal(error_code(reply->failure), ERR_REMOTE);
    assert_string_equal(error_class_name(reply->failure), "X");
    assert_true(reply->ending);
}

static void
test_ids_that_are_none_are_nobodys(void **state)
{
    static const char *const ids[] = {"7", "null", "{}", "['m']"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(ids); i++) {
        AUTO_FREE inner = xasprintf(
            "{'result':1,'failure':null,'ending':true,'_msg_id':%s}", ids[i]);
        AUTO_REPLY reply = parse_reply(inner);
        assert_null(reply->msg_id);
    }
    AUTO_REPLY absent = parse_reply("{'failure':null,'ending':true}");
    assert_null(absent->msg_id);
    assert_null(absent->result);
    assert_null(absent->failure);

    const char bare[] = "{\"result\":1,\"failure\":\"\",\"ending\":true,"
                        "\"_msg_id\":\"m\"}";
    AUTO_REPLY reply = NULL;
    AUTO_ERROR error = envelope_parse_reply(bare, sizeof bare - 1, &reply);
    assert_null(error);
    assert_null(reply->failure);
    assert_int_equal(json_get_int(reply->result), 1);
}

static void
test_notifications_look_as_those_of_peers(void **state)
{
    (void)state;
    AUTO_JSON payload = json_object();
    json_set_string(payload, "host", "h1");
    AUTO_JSON context = json_object();
    json_set_string(context, "user", "u");
    const struct envelope_notification n = {
        .message_id = "568ff260-74fc-4590-bea9-ab3072309957",
        .publisher_id = "nova-compute:h1",
        .priority = "INFO",
        .event_type = "service.create",
        .timestamp = "2026-11-22 05:24:07.470123",
        .payload = payload,
        .context = context,
    };
    size_t size;
    AUTO_FREE bare = envelope_format_notification(&n, false, &size);
    assert_int_equal(size, strlen(bare));
    AUTO_JSON json = NULL;
    AUTO_ERROR error = json_parse(bare, size, &json);
    assert_null(error);
    assert_int_equal(strlen(json_string_of(json, "_unique_id")), 32);
    json_remove(json, "_unique_id");

    AUTO_FREE printed = json_print(json, NULL);
    AUTO_FREE expected =
        quoted("{'message_id':'568ff260-74fc-4590-bea9-ab3072309957',"
               "'publisher_id':'nova-compute:h1','event_type':'service.create',"
               "'priority':'INFO','payload':{'host':'h1'},"
               "'timestamp':'2026-11-22 05:24:07.470123','_context_user':'u'}");
    assert_string_equal(printed, expected);

    AUTO_FREE wrapped = envelope_format_notification(&n, true, &size);
    AUTO_JSON outer = NULL;
    AUTO_ERROR outer_error = json_parse(wrapped, size, &outer);
    assert_null(outer_error);
    assert_string_equal(json_string_of(outer, "oslo.version"), "2.0");
    const char *text = json_string_of(outer, "oslo.message");
    assert_non_null(strstr(text, "\"event_type\":\"service.create\""));
    assert_string_not_equal(text, bare); /* Another _unique_id. */
}

static char *
read_file(const char *path)
{
    FILE *in = fopen(path, "rb");
    char *data = xzalloc(65536);

    assert_non_null(in);
    size_t size = fread(data, 1, 65535, in);
    fclose(in);
    data[size] = '\0';
    return data;
}

static bool
has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static void
check_recorded(const char *name, const char *body)
{
    size_t size = strlen(body);

    if (has_prefix(name, "call-") || has_prefix(name, "cast-")) {
        AUTO_ENVELOPE env = parse_body(body);
        bool is_call = has_prefix(name, "call-");

        assert_null(env->invalid);
        assert_int_equal(is_call, env->msg_id != NULL);
        assert_int_equal(is_call, env->reply_q != NULL);
        assert_non_null(env->unique_id);
        assert_non_null(json_string_of(env->context, "request_id"));
    } else {
        AUTO_REPLY reply = NULL;
        AUTO_ERROR error = envelope_parse_reply(body, size, &reply);

        assert_null(error);
        assert_non_null(reply->msg_id);
        assert_int_equal(has_prefix(name, "failure-"), reply->failure != NULL);
        assert_int_equal(has_prefix(name, "reply-heartbeat-"),
                         reply_is_keepalive(reply));
        if (reply->failure) {
            assert_int_not_equal(error_code(reply->failure), ERR_BAD_MESSAGE);
        }
    }
}

static void
test_recorded_messages_are_understood(void **state)
{
    static const char *const kinds[] = {"call-", "cast-", "reply-", "failure-"};
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path =
        xasprintf("%s/tests/corpus/envelope", srcdir ? srcdir : ".");
    DIR *dir = opendir(path);
    int n_seen[N_ELEMENTS(kinds)] = {0};

    (void)state;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
            if (has_prefix(entry->d_name, kinds[i])) {
                AUTO_FREE file = xasprintf("%s/%s", path, entry->d_name);
                AUTO_FREE body = read_file(file);
                check_recorded(entry->d_name, body);
                n_seen[i]++;
            }
        }
    }
    closedir(dir);
    for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
        assert_true(n_seen[i] >= 5);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_has_all_its_parts),
        cmocka_unit_test(test_a_cast_awaits_no_reply),
        cmocka_unit_test(test_what_is_absent_has_a_default),
        cmocka_unit_test(test_envelopes_that_peers_accept_are_accepted),
        cmocka_unit_test(test_envelopes_that_peers_refuse_are_rejected),
        cmocka_unit_test(test_bodies_are_nested_to_a_limit),
        cmocka_unit_test(test_a_method_that_is_none_does_not_exist),
        cmocka_unit_test(test_args_must_be_an_object),
        cmocka_unit_test(test_versions_that_are_none_are_unsupported),
        cmocka_unit_test(test_versions_fit_as_at_the_peers),
        cmocka_unit_test(test_a_namespace_of_another_type_is_unsupported),
        cmocka_unit_test(test_context_that_peers_fail_on_is_invalid),
        cmocka_unit_test(test_invalid_requests_tell_where_to_answer),
        cmocka_unit_test(test_message_ids_of_any_type_are_echoed),
        cmocka_unit_test(test_unusable_reply_queues_get_nothing),
        cmocka_unit_test(test_keepalives_come_at_half_the_timeout),
        cmocka_unit_test(test_unique_ids_that_are_none_are_never_duplicates),
        cmocka_unit_test(test_many_context_keys_take_no_quadratic_time),
        cmocka_unit_test(test_a_request_survives_the_way_there_and_back),
        cmocka_unit_test(test_requests_look_as_those_of_peers),
        cmocka_unit_test(test_replies_have_five_keys_and_survive),
        cmocka_unit_test(test_every_reply_has_a_unique_id_of_its_own),
        cmocka_unit_test(test_a_failure_travels_in_a_reply),
        cmocka_unit_test(test_keepalives_are_told_from_results),
        cmocka_unit_test(test_replies_that_peers_choke_on_end_the_call),
        cmocka_unit_test(test_a_failure_wins_over_a_result),
        cmocka_unit_test(test_ids_that_are_none_are_nobodys),
        cmocka_unit_test(test_notifications_look_as_those_of_peers),
        cmocka_unit_test(test_recorded_messages_are_understood),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
