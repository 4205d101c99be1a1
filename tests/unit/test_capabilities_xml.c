#include <config.h>

#include "drivers/capabilities_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>

/* The corpus is what libvirt 9.0 said of a host. */

static char *
corpus_read(const char *name)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE path =
        xasprintf("%s/tests/corpus/resources/%s", srcdir ? srcdir : ".", name);
    FILE *file = fopen(path, "re");
    AUTO_FREE text = xzalloc(256 << 10);

    assert_non_null(file);
    assert_true(fread(text, 1, (256 << 10) - 1, file) > 0);
    fclose(file);
    return steal(&text);
}

struct parsed {
    struct host_resources *r;
    struct machine_list machines;
    char *cpu_xml;
};

static void
parsed_close(struct parsed *p)
{
    host_resources_free(p->r);
    machine_list_close(&p->machines);
    free(p->cpu_xml);
}

static struct error *
parse(const char *xml, const char *virt_type, const char *const *machines,
      struct parsed *ret)
{
    *ret = (struct parsed){.r = xzalloc(sizeof *ret->r)};
    return capabilities_xml_parse(xml, strlen(xml), virt_type, machines, ret->r,
                                  &ret->machines, &ret->cpu_xml);
}

static bool
has_machine(const struct parsed *p, const char *arch, const char *name)
{
    for (size_t i = 0; i < p->machines.n; i++) {
        if (str_eq(p->machines.machines[i].arch, arch) &&
            str_eq(p->machines.machines[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void
test_host_is_read(UNUSED void **state)
{
    CLEANUP(parsed_close) struct parsed p;
    AUTO_FREE xml = corpus_read("capabilities.xml");
    AUTO_ERROR error = parse(xml, "qemu", NULL, &p);

    assert_null(error);
    assert_string_equal(p.r->arch, "x86_64");
    assert_string_equal(p.r->cpu_model, "kvm64");
    assert_string_equal(p.r->cpu_vendor, "AMD");
    assert_int_equal(p.r->n_sockets, 1);
    assert_int_equal(p.r->n_cores, 2);
    assert_int_equal(p.r->n_threads, 1);
    assert_true(text_set_has(&p.r->cpu_features, "avx512f"));
    assert_non_null(strstr(p.cpu_xml, "<model>kvm64</model>"));

    assert_int_equal(p.r->n_cells, 1);
    const struct host_cell *cell = &p.r->cells[0];
    assert_int_equal(cell->id, 0);
    assert_int_equal(cell->socket, 0);
    assert_int_equal(cell->cpus.n, 2);
    assert_int_equal(cell->n_siblings, 2);
    assert_int_equal(cell->n_pages, 3);
    assert_int_equal(cell->pages[0].size_kib, 4);
    assert_int_equal(cell->pages[0].total * 4, cell->memory_kib);
    assert_true(p.r->n_kinds > 25);
}

/* The newest machine of each kind, and the usual one of an architecture. */
static void
test_machines_to_look_at(UNUSED void **state)
{
    static const char *const more[] = {"x86_64=microvm", NULL};
    CLEANUP(parsed_close) struct parsed p = {0};
    CLEANUP(parsed_close) struct parsed other = {0};
    AUTO_FREE xml = corpus_read("capabilities.xml");
    AUTO_ERROR error = parse(xml, "qemu", NULL, &p);
    AUTO_ERROR again = parse(xml, "qemu", more, &other);

    assert_null(error);
    assert_null(again);
    assert_true(has_machine(&p, "x86_64", "pc"));
    assert_true(has_machine(&p, "x86_64", "q35"));
    assert_true(has_machine(&p, "aarch64", "virt"));
    assert_false(has_machine(&p, "x86_64", "microvm"));
    assert_false(has_machine(&p, "x86_64", "pc-i440fx-7.2"));
    assert_true(has_machine(&other, "x86_64", "microvm"));
    assert_string_equal(p.machines.machines[0].arch, "alpha");
    assert_non_null(strstr(p.machines.machines[0].emulator, "qemu-system"));
}

static void
test_machine_is_added(UNUSED void **state)
{
    CLEANUP(parsed_close) struct parsed p;
    AUTO_FREE xml = corpus_read("capabilities.xml");
    AUTO_FREE q35 = corpus_read("machine-x86_64-q35.xml");
    AUTO_FREE virt = corpus_read("machine-aarch64-virt.xml");
    AUTO_ERROR error = parse(xml, "qemu", NULL, &p);

    assert_null(error);
    error = capabilities_xml_add_machine(virt, strlen(virt), p.r);
    assert_null(error);
    assert_false(p.r->has_secure_boot); /* Of another architecture. */
    assert_true(text_set_has(&p.r->guest_archs, "aarch64"));
    error = capabilities_xml_add_machine(q35, strlen(q35), p.r);
    assert_null(error);
    assert_true(p.r->has_secure_boot);
    assert_false(p.r->has_sev);
    assert_true(text_set_has(&p.r->disk_buses, "sata"));
    assert_true(text_set_has(&p.r->disk_buses, "usb"));
    assert_true(text_set_has(&p.r->video_models, "qxl"));
    assert_false(text_set_has(&p.r->video_models, "xen"));
}

#define HOST(REST)                                                    \
    "<capabilities><host><cpu><arch>x86_64</arch></cpu>" REST         \
    "</host><guest><os_type>hvm</os_type><arch name='x86_64'>"        \
    "<emulator>/a</emulator><machine canonical='pc-9'>pc</machine>"   \
    "<domain type='qemu'/><domain type='kvm'><emulator>/b</emulator>" \
    "<machine canonical='q-9'>q</machine></domain></arch></guest>"    \
    "</capabilities>"

static void
test_machines_are_those_of_the_type(UNUSED void **state)
{
    CLEANUP(parsed_close) struct parsed qemu = {0};
    CLEANUP(parsed_close) struct parsed kvm = {0};
    AUTO_ERROR first = parse(HOST(""), "qemu", NULL, &qemu);
    AUTO_ERROR second = parse(HOST(""), "kvm", NULL, &kvm);

    assert_null(first);
    assert_null(second);
    assert_null(qemu.cpu_xml); /* No model, nothing to compare. */
    assert_int_equal(qemu.r->n_kinds, 2);
    assert_string_equal(qemu.machines.machines[0].emulator, "/a");
    assert_string_equal(kvm.machines.machines[0].emulator, "/b");
    assert_true(has_machine(&kvm, "x86_64", "q"));
    assert_false(has_machine(&qemu, "x86_64", "q"));
}

static void
test_cells_with_threads_and_sockets(UNUSED void **state)
{
    CLEANUP(parsed_close) struct parsed p;
    AUTO_ERROR error = parse(
        HOST("<topology><cells num='2'><cell id='0'>"
             "<memory unit='KiB'>4096</memory><cpus num='4'>"
             "<cpu id='0' socket_id='0' core_id='0' siblings='0,2'/>"
             "<cpu id='1' socket_id='1' core_id='1' siblings='1,3'/>"
             "<cpu id='2' socket_id='0' core_id='0' siblings='0,2'/>"
             "<cpu id='3' socket_id='1' core_id='1' siblings='1,3'/>"
             "<cpu id='x'/></cpus></cell><cell id='1'/></cells></topology>"),
        "qemu", NULL, &p);

    assert_null(error);
    assert_int_equal(p.r->n_cells, 2);
    assert_int_equal(p.r->cells[0].socket, -1);
    assert_int_equal(p.r->cells[0].cpus.n, 4);
    assert_int_equal(p.r->cells[0].n_siblings, 2);
    assert_int_equal(p.r->cells[0].siblings[1].cpus[1], 3);
    assert_int_equal(p.r->cells[1].memory_kib, 0);
}

static void
test_nonsense_is_refused(UNUSED void **state)
{
    static const char *const texts[] = {"", "<a/>", "<capabilities/>",
                                        "<capabilities><host/></capabilities>"};
    struct text_set features = {0};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        CLEANUP(parsed_close) struct parsed p;
        AUTO_ERROR error = parse(texts[i], "qemu", NULL, &p);
        AUTO_ERROR machine =
            capabilities_xml_add_machine(texts[i], strlen(texts[i]), p.r);
        AUTO_ERROR cpu = capabilities_xml_add_features(
            texts[i], strlen(texts[i]), &features);

        assert_int_equal(error_code(error), ERR_VALUE);
        assert_int_equal(error_code(machine), ERR_VALUE);
        assert_int_equal(error_code(cpu), ERR_VALUE);
    }
    assert_int_equal(features.n, 0);
}

static void
test_disabled_features_are_none(UNUSED void **state)
{
    static const char xml[] =
        "<cpu mode='custom'><model>m</model><feature name='a'/>"
        "<feature policy='require' name='b'/>"
        "<feature policy='disable' name='c'/><feature/></cpu>";
    CLEANUP(text_set_close) struct text_set features = {0};
    AUTO_ERROR error =
        capabilities_xml_add_features(xml, sizeof xml - 1, &features);

    assert_null(error);
    assert_int_equal(features.n, 2);
    assert_false(text_set_has(&features, "c"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_is_read),
        cmocka_unit_test(test_machines_to_look_at),
        cmocka_unit_test(test_machine_is_added),
        cmocka_unit_test(test_machines_are_those_of_the_type),
        cmocka_unit_test(test_cells_with_threads_and_sockets),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_disabled_features_are_none),
    };

    xmlInitParser();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
