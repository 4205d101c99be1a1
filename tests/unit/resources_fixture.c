#include <config.h>

#include "tests/unit/resources_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/capabilities_xml.h"

#define TEXT_MAX (256u << 10)

static const char *const none[] = {NULL};

const struct node_settings resources_settings = {
    .host = "hosta",
    .my_ip = "10.77.0.1",
    .virt_type = "qemu",
    .cpu_models = none,
    .cpu_flags = none,
    .reserved_memory_mb = 512,
    .first_ratios = {16.0, 1.5, 1.0},
};

char *
resources_text(const char *name)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path =
        xasprintf("%s/tests/corpus/resources/%s", srcdir ? srcdir : ".", name);
    FILE *file = fopen(path, "re");
    AUTO_FREE text = xzalloc(TEXT_MAX);

    if (!file) {
        fail_msg("no %s", path);
    }
    assert_true(fread(text, 1, TEXT_MAX - 1, file) > 0);
    fclose(file);
    return steal(&text);
}

struct json *
resources_json(const char *name)
{
    AUTO_FREE text = resources_text(name);
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &json);

    assert_null(error);
    return json;
}

static void
add_machine(struct host_resources *r, const char *name)
{
    AUTO_FREE xml = resources_text(name);
    AUTO_ERROR error = capabilities_xml_add_machine(xml, strlen(xml), r);

    assert_null(error);
}

/* What is no text of libvirt's is taken from what Nova found. */
static void
add_numbers(struct host_resources *r)
{
    AUTO_JSON facts = resources_json("nova-facts.json");
    const struct json *node = json_get(facts, "node");
    const char *text = json_string_of(node, "cpu_info");
    AUTO_JSON info = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &info);

    assert_null(error);
    text_set_close(&r->cpu_features);
    json_for_each (feature, json_get(info, "features")) {
        text_set_add(&r->cpu_features, json_get_string(feature));
    }
    r->hostname = xstrdup(json_string_of(node, "hypervisor_hostname"));
    r->hypervisor_type = xstrdup(json_string_of(node, "hypervisor_type"));
    r->hypervisor_version = json_int_of(node, "hypervisor_version");
    r->libvirt_version = 9000000;
    r->memory_mb = json_int_of(node, "memory_mb");
    r->memory_used_mb = json_int_of(node, "memory_mb_used");
    r->disk_total = (json_int_of(node, "local_gb") << 30) + 5;
    r->disk_used = (json_int_of(node, "local_gb_used") << 30) + 5;
    r->disk_free = (json_int_of(node, "disk_available_least") << 30) + 5;
}

struct host_resources *
resources_host(void)
{
    struct host_resources *r = xzalloc(sizeof *r);
    CLEANUP(machine_list_close) struct machine_list machines = {0};
    AUTO_FREE xml = resources_text("capabilities.xml");
    AUTO_ERROR error = capabilities_xml_parse(xml, strlen(xml), "qemu", NULL, r,
                                              &machines, NULL);

    assert_null(error);
    add_machine(r, "machine-x86_64-pc.xml");
    add_machine(r, "machine-x86_64-q35.xml");
    add_machine(r, "machine-aarch64-virt.xml");
    add_numbers(r);
    cpu_set_add(&r->online, 0);
    cpu_set_add(&r->online, 1);
    return r;
}
