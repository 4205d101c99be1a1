#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>

#define MIB INT64_C(1048576)
#define GIB (1024 * MIB)

static struct error *gather_hosts(struct tool *tool, struct json **ret);
static char *of_total(const struct json *host, const char *free_name,
                      const char *total_name, int64_t unit);
static char *version_text(int64_t version);
static void print_host(const struct json *host);

struct error *
verb_host_list(struct tool *tool)
{
    static const struct table_column columns[] = {
        {"HOST", false},    {"HYPERVISOR", false}, {"INSTANCES", true},
        {"CPUS", true},     {"MEMORY FREE", true}, {"DISK FREE", true},
        {"VERSION", false},
    };
    AUTO_JSON hosts = NULL;
    struct error *error = gather_hosts(tool, &hosts);

    if (error) {
        return error;
    }
    json_sort(&hosts, "host", NULL);
    if (tool->as_json) {
        print_json(hosts);
        return NULL;
    }
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));
    json_for_each (host, hosts) {
        bool is_up = json_bool_of(host, "hypervisor_up");
        AUTO_FREE memory = of_total(host, "memory_free_mb", "memory_mb", MIB);
        AUTO_FREE disk = of_total(host, "disk_free_gb", "disk_total_gb", GIB);

        table_add_member(table, host, "host");
        const char *drain = json_string_of(host, "drain");
        table_add_format(table, "%s%s%s%s%s", text_of(host, "driver"),
                         is_up ? "" : " (down)", drain ? " (" : "",
                         drain ? drain : "", drain ? ")" : "");
        table_add_member(table, host, "n_instances");
        table_add_member(table, host, "n_cpus");
        table_add(table, memory);
        table_add(table, disk);
        table_add_member(table, host, "version");
    }
    print_table(table);
    return NULL;
}

struct error *
verb_host_show(struct tool *tool)
{
    const char *name = tool->n_args ? tool->args[0] : NULL;
    AUTO_JSON host = NULL;
    struct error *error = agent_ask(tool, name, "host_show", NULL, &host);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(host);
    } else {
        print_host(host);
    }
    return NULL;
}

static struct error *
gather_hosts(struct tool *tool, struct json **ret)
{
    if (tool->host) {
        struct json *host;
        struct error *error = bus_ask(tool, tool->host, "host_show", NULL,
                                      tool->timeout_ms, &host);
        if (!error) {
            *ret = json_append(json_array(), host);
        }
        return error;
    }
    AUTO_ANSWERS answers;
    struct error *error = bus_gather(tool, "host_show", NULL, &answers);
    if (!error) {
        error = answers_judge(&answers);
    }
    if (!error) {
        *ret = steal(&answers.results);
    }
    return error;
}

/* "12.5 GiB of 15.6 GiB"; the caller's. */
static char *
of_total(const struct json *host, const char *free_name, const char *total_name,
         int64_t unit)
{
    int64_t n_free = number_of(host, free_name);
    int64_t total = number_of(host, total_name);

    if (total < 0) {
        return xstrdup("-");
    }
    AUTO_FREE free_text = size_text(n_free < 0 ? 0 : n_free * unit);
    AUTO_FREE total_text = size_text(total * unit);
    return xasprintf("%s of %s", free_text, total_text);
}

/* libvirt's way to write 9.0.0 as a number; the caller's. */
static char *
version_text(int64_t version)
{
    return version <= 0 ? xstrdup("-")
                        : xasprintf("%" PRId64 ".%" PRId64 ".%" PRId64,
                                    version / 1000000, version / 1000 % 1000,
                                    version % 1000);
}

static void
print_host(const struct json *host)
{
    AUTO_FREE memory = of_total(host, "memory_free_mb", "memory_mb", MIB);
    AUTO_FREE disk = of_total(host, "disk_free_gb", "disk_total_gb", GIB);
    AUTO_FREE hypervisor = version_text(number_of(host, "hypervisor_version"));
    AUTO_FREE libvirt = version_text(number_of(host, "libvirt_version"));
    int64_t uptime_s = number_of(host, "uptime_s");
    AUTO_FREE uptime = duration_text(uptime_s < 0 ? -1 : uptime_s * 1000);

    print_member("Host", host, "host");
    print_member("Node", host, "node");
    print_field("Agent", "drover %s, for %s", text_of(host, "version"), uptime);
    print_field("Driver", "%s, %s", text_of(host, "driver"),
                json_bool_of(host, "hypervisor_up") ? "connected"
                                                    : "not connected");
    if (json_bool_of(host, "hypervisor_up")) {
        print_field("Hypervisor", "%s %s, libvirt %s",
                    text_of(host, "hypervisor_type"), hypervisor, libvirt);
        print_field("CPUs", "%" PRId64 " %s, %s", number_of(host, "n_cpus"),
                    text_of(host, "arch"), text_of(host, "cpu_model"));
    }
    print_field("Memory free", "%s", memory);
    print_field("Disk free", "%s", disk);
    print_member("Instances", host, "n_instances");
    if (json_string_of(host, "drain")) {
        print_member("Takes none", host, "drain");
    }
}
