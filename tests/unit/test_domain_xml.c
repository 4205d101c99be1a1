#include <config.h>

#include "drivers/domain_xml.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>

#include "drivers/domain_edit.h"
#include "drivers/driver.h"
#include "drivers/xml.h"

/* The corpus holds definitions as libvirt 9.0 printed them, and some that no
 * libvirt would print. */

#define UUID "3c9d1a52-7a1e-4b43-9d62-5a8a6f4f8b01"
#define MINIMAL(REST)                             \
    "<domain><name>a</name><uuid>" UUID "</uuid>" \
    "<memory>1048576</memory><vcpu>1</vcpu>" REST "</domain>"

static char *
corpus_path(const char *name)
{
    const char *srcdir = getenv("srcdir");

    return xasprintf("%s/tests/corpus/domain_xml/%s", srcdir ? srcdir : ".",
                     name);
}

/* Null: there is no such file. */
static char *
corpus_read(const char *name)
{
    AUTO_FREE path = corpus_path(name);
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (!file) {
        return NULL;
    }
    if (getdelim(&text, &size, '\0', file) < 0) {
        fail_msg("%s is empty", path);
    }
    fclose(file);
    return text;
}

static struct guest *
parse(const char *xml)
{
    struct guest *guest = NULL;
    AUTO_ERROR error = domain_xml_parse(xml, strlen(xml), &guest);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    assert_non_null(guest);
    return guest;
}

static struct guest *
parse_corpus(const char *name)
{
    AUTO_FREE xml = corpus_read(name);

    assert_non_null(xml);
    return parse(xml);
}

static void
assert_refused(const char *xml, size_t size, const char *why)
{
    /* Exactly so large, so that reading on is seen by the sanitizer. */
    char *exact = xmemdup(xml, size);
    struct guest *guest = NULL;
    AUTO_ERROR error = domain_xml_parse(exact, size, &guest);

    free(exact);
    assert_int_equal(error_code(error), ERR_VALUE);
    assert_null(guest);
    if (!strstr(error_message(error), why)) {
        fail_msg("'%s', wanted '%s'", error_message(error), why);
    }
}

static void
assert_corpus_refused(const char *name, const char *why)
{
    AUTO_FREE xml = corpus_read(name);

    assert_non_null(xml);
    assert_refused(xml, strlen(xml), why);
}

static char *
edit(const char *xml, const struct migrate_request *request)
{
    char *edited = NULL;
    AUTO_ERROR error =
        domain_edit_for_destination(xml, strlen(xml), request, &edited);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    return edited;
}

static void
assert_edits_to(const char *xml, const struct migrate_request *request,
                const char *expected)
{
    AUTO_FREE edited = edit(xml, request);

    assert_string_equal(edited, expected);
}

/* Reading. */

static void
test_plain_guest(void **state UNUSED)
{
    CLEANUP(guest_free_at) struct guest *guest = parse_corpus("plain.xml");

    assert_string_equal(guest->uuid, UUID);
    assert_string_equal(guest->name, "instance-00000001");
    assert_string_equal(guest->title, "web1");
    assert_int_equal(guest->memory_mb, 192);
    assert_int_equal(guest->n_vcpus, 1);
    assert_false(guest->has_nvram);
    assert_int_equal(guest->ties, 0);
    assert_null(guest->loader);
    assert_int_equal(guest->last_cpu, -1);
    assert_int_equal(guest->last_node, -1);
    assert_int_equal(guest->hugepage_kib, 0);
    assert_int_equal(guest->n_serial_tcp, 0);
    assert_int_equal(guest->n_disks, 1);

    const struct guest_disk *disk = &guest->disks[0];
    assert_string_equal(disk->target, "vda");
    assert_string_equal(disk->device, "disk");
    assert_string_equal(disk->format, "qcow2");
    assert_string_equal(disk->path, "/var/lib/nova/instances/" UUID "/disk");
    assert_null(disk->backing_path);
    assert_null(disk->backing_format);
    assert_null(disk->serial);
    assert_false(disk->is_block_device);
    assert_false(disk->readonly);
    assert_false(disk->shareable);
}

static void
test_guest_of_nova(void **state UNUSED)
{
    CLEANUP(guest_free_at) struct guest *guest = parse_corpus("nova-live.xml");

    assert_string_equal(guest->title, "db-1 & <spare>");
    assert_int_equal(guest->memory_mb, 256);
    assert_int_equal(guest->n_vcpus, 2); /* Of 4 that it could have. */
    assert_int_equal(guest->n_serial_tcp, 2);
    assert_int_equal(guest->n_disks, 3);
    assert_string_equal(guest->disks[0].backing_path,
                        "/var/lib/nova/instances/_base/0a5f2c");
    assert_string_equal(guest->disks[0].backing_format, "raw");
    assert_null(guest->disks[1].backing_path);
    assert_string_equal(guest->disks[2].device, "cdrom");
    assert_string_equal(guest->disks[2].format, "raw");
    assert_true(guest->disks[2].readonly);
}

static void
test_guest_with_everything(void **state UNUSED)
{
    CLEANUP(guest_free_at) struct guest *guest = parse_corpus("rich.xml");

    assert_string_equal(guest->title, "The rich one");
    assert_int_equal(guest->memory_mb, 2048);
    assert_true(guest->has_nvram);
    assert_int_equal(guest->ties, GUEST_TIE_HOSTDEV | GUEST_TIE_SHARED_FS);
    assert_string_equal(guest->loader, "/usr/share/OVMF/OVMF_CODE.fd");
    assert_int_equal(guest->hugepage_kib, -1);
    assert_int_equal(guest->n_serial_tcp, 0);
    assert_int_equal(guest->n_disks, 3);

    const struct guest_disk *network = &guest->disks[0];
    assert_null(network->path);
    assert_false(network->is_block_device);
    assert_string_equal(network->serial,
                        "6f1d2c3b-0000-4444-8888-0123456789ab");

    const struct guest_disk *block = &guest->disks[1];
    assert_true(block->is_block_device);
    assert_true(block->shareable);
    assert_non_null(strstr(block->path, "/dev/disk/by-path/"));

    const struct guest_disk *empty = &guest->disks[2];
    assert_string_equal(empty->device, "cdrom");
    assert_null(empty->path);
}

static void
test_what_the_definition_leaves_out_has_defaults(void **state UNUSED)
{
    CLEANUP(guest_free_at)
    struct guest *guest = parse(MINIMAL("<devices><disk type='file'>"
                                        "<source file='/d'/></disk>"
                                        "</devices>"));

    assert_null(guest->title);
    assert_int_equal(guest->memory_mb, 1024);
    assert_string_equal(guest->disks[0].target, "");
    assert_string_equal(guest->disks[0].device, "disk");
    assert_string_equal(guest->disks[0].format, "raw");
    assert_string_equal(guest->disks[0].path, "/d");
}

static void
test_source_counts_only_for_its_type(void **state UNUSED)
{
    CLEANUP(guest_free_at)
    struct guest *guest =
        parse(MINIMAL("<devices>"
                      "<disk type='network'><source file='/n'/></disk>"
                      "<disk type='file'><source dev='/f'/></disk>"
                      "<disk type='block'><source file='/b'/></disk>"
                      "</devices>"));

    assert_int_equal(guest->n_disks, 3);
    for (size_t i = 0; i < guest->n_disks; i++) {
        assert_null(guest->disks[i].path);
    }
}

static void
test_each_tie_to_the_host_is_seen(void **state UNUSED)
{
    static const struct {
        const char *device;
        unsigned ties;
    } cases[] = {
        {"<hostdev mode='subsystem' type='usb'/>", GUEST_TIE_HOSTDEV},
        {"<hostdev mode='subsystem' type='mdev'/>", GUEST_TIE_HOSTDEV},
        {"<interface type='hostdev'/>", GUEST_TIE_HOSTDEV},
        {"<interface type='bridge'/>", 0},
        {"<disk type='nvme'/>", GUEST_TIE_HOSTDEV},
        {"<interface type='vdpa'/>", GUEST_TIE_VDPA},
        {"<disk type='vhostvdpa'/>", GUEST_TIE_VDPA},
        {"<disk type='vhostuser'/>", GUEST_TIE_VHOST_USER_DISK},
        {"<filesystem type='mount'><driver type='virtiofs'/></filesystem>",
         GUEST_TIE_SHARED_FS},
        {"<filesystem/>", GUEST_TIE_SHARED_FS},
        {"<filesystem type='block'/>", 0},
        {"<shmem name='x'/>", GUEST_TIE_SHMEM},
        {"<memory model='nvdimm'/>", GUEST_TIE_PMEM},
        {"<memory model='virtio-pmem'/>", GUEST_TIE_PMEM},
        {"<memory model='dimm'/>", 0},
        {"<tpm><backend type='passthrough'/></tpm>", GUEST_TIE_TPM},
        {"<tpm><backend type='emulator'/></tpm>", 0},
        {"<input type='passthrough'/>", GUEST_TIE_INPUT},
        {"<input type='evdev'/>", GUEST_TIE_INPUT},
        {"<input type='tablet'/>", 0},
        {"<serial type='dev'/>", GUEST_TIE_CHARDEV},
        {"<parallel type='dev'/>", GUEST_TIE_CHARDEV},
        {"<console type='dev'/>", GUEST_TIE_CHARDEV},
        {"<channel type='dev'/>", GUEST_TIE_CHARDEV},
        {"<serial type='pty'/>", 0},
        {"<smartcard mode='host'/>", GUEST_TIE_SMARTCARD},
        {"<smartcard mode='host-certificates'/>", GUEST_TIE_SMARTCARD},
        {"<smartcard mode='passthrough'/>", 0},
        {"<video><model><acceleration accel3d='yes'/></model></video>",
         GUEST_TIE_GL},
        {"<video><model><acceleration accel3d='no'/></model></video>", 0},
        {"<video><model/></video>", 0},
        {"<shmem/><shmem/><interface type='vdpa'/>",
         GUEST_TIE_SHMEM | GUEST_TIE_VDPA},
    };

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE xml =
            xasprintf(MINIMAL("<devices>%s</devices>"), cases[i].device);
        CLEANUP(guest_free_at) struct guest *guest = parse(xml);
        if (guest->ties != cases[i].ties) {
            fail_msg("%s: %#x", cases[i].device, guest->ties);
        }
    }
    CLEANUP(guest_free_at)
    struct guest *encrypted = parse(MINIMAL("<launchSecurity type='sev'/>"));
    assert_int_equal(encrypted->ties, GUEST_TIE_ENCRYPTED);
}

static void
test_cpus_and_nodes_that_it_is_held_to_are_counted(void **state UNUSED)
{
    CLEANUP(guest_free_at)
    struct guest *guest =
        parse(MINIMAL("<cputune><vcpupin vcpu='0' cpuset='2'/>"
                      "<vcpupin vcpu='1' cpuset='0-5,^4'/>"
                      "<emulatorpin cpuset='1,7'/></cputune>"
                      "<numatune><memory mode='strict' nodeset='0'/>"
                      "<memnode cellid='0' nodeset='1-3'/></numatune>"
                      "<memoryBacking><hugepages>"
                      "<page size='1' unit='G'/><page size='2048'/>"
                      "</hugepages></memoryBacking>"));

    assert_int_equal(guest->last_cpu, 7);
    assert_int_equal(guest->last_node, 3);
    assert_int_equal(guest->hugepage_kib, 1 << 20);
}

static void
test_only_a_named_cpu_is_the_guests(void **state UNUSED)
{
    CLEANUP(guest_free_at)
    struct guest *named =
        parse(MINIMAL("<cpu mode='custom' match='exact'><model>EPYC</model>"
                      "</cpu>"));
    CLEANUP(guest_free_at)
    struct guest *passed = parse(MINIMAL("<cpu mode='host-passthrough'/>"));

    assert_non_null(strstr(named->cpu_xml, "EPYC"));
    assert_null(passed->cpu_xml);
}

static void
test_memory_has_units(void **state UNUSED)
{
    static const struct {
        const char *memory;
        int mb;
    } cases[] = {
        {"<memory unit='b'>2097152</memory>", 2},
        {"<memory unit='KiB'>2048</memory>", 2},
        {"<memory unit='MB'>1048576</memory>", 1000000},
        {"<memory unit='MiB'>2</memory>", 2},
        {"<memory unit='GiB'>2</memory>", 2048},
        {"<memory unit='TiB'>1</memory>", 1048576},
        {"<memory>0</memory>", 0},
    };

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        AUTO_FREE xml = xasprintf("<domain><name>a</name><uuid>" UUID "</uuid>"
                                  "%s<vcpu>1</vcpu></domain>",
                                  cases[i].memory);
        CLEANUP(guest_free_at) struct guest *guest = parse(xml);
        assert_int_equal(guest->memory_mb, cases[i].mb);
    }
}

static void
test_title_is_not_taken_from_a_stranger(void **state UNUSED)
{
    CLEANUP(guest_free_at)
    struct guest *guest = parse(
        MINIMAL("<metadata><x:instance xmlns:x='http://example.org/'><x:name>b"
                "</x:name></x:instance></metadata>"));

    assert_null(guest->title);
}

static void
test_hostile_definitions_are_refused(void **state UNUSED)
{
    assert_corpus_refused("hostile-doctype.xml", "document type");
    assert_corpus_refused("hostile-entity-file.xml", "document type");
    assert_corpus_refused("hostile-laughs.xml", "xml ");
    assert_corpus_refused("hostile-truncated.xml", "not well-formed");
    assert_corpus_refused("hostile-no-uuid.xml", "no uuid");
    assert_corpus_refused("hostile-uuid-path.xml", "no uuid");
    assert_corpus_refused("hostile-no-name.xml", "no name");
    assert_corpus_refused("hostile-unit.xml", "no size");
    assert_corpus_refused("hostile-memory.xml", "no size");
    assert_corpus_refused("hostile-vcpu.xml", "no size");
    assert_corpus_refused("hostile-network.xml", "no 'domain'");
    assert_refused("", 0, "not well-formed");
    assert_refused("<domain\0/>", 10, "not well-formed");
}

static void
test_too_large_is_refused_unread(void **state UNUSED)
{
    size_t size = XML_SIZE_MAX + 1;
    AUTO_FREE xml = xmalloc(size);

    memset(xml, ' ', size);
    assert_refused(xml, size, "xml has 4194305 bytes");
}

static void
test_too_deep_is_refused(void **state UNUSED)
{
    size_t n = 100000, size = n * strlen("<a>");
    AUTO_FREE xml = xmalloc(size);

    for (size_t i = 0; i < n; i++) {
        memcpy(xml + i * 3, "<a>", 3);
    }
    assert_refused(xml, size, "not well-formed");
}

static void
test_host_is_read_from_capabilities(void **state UNUSED)
{
    AUTO_FREE xml = corpus_read("capabilities.xml");
    CLEANUP(host_info_free_at)
    struct host_info *info = xzalloc(sizeof *info);
    AUTO_ERROR error = domain_xml_parse_host(xml, strlen(xml), info);

    assert_null(error);
    assert_string_equal(info->arch, "x86_64");
    assert_string_equal(info->cpu_model, "kvm64");
    assert_string_equal(info->cpu_vendor, "AMD");
    assert_int_equal(info->n_sockets, 1);
    assert_int_equal(info->n_cores, 2);
    assert_int_equal(info->n_threads, 1);
    assert_memory_equal(info->cpu_xml, "<cpu>", 5);
    assert_non_null(strstr(info->cpu_xml, "<feature name=\"avx2\"/>"));
    assert_non_null(strstr(info->cpu_xml, "</cpu>"));
}

static void
test_host_without_cpu_model_has_none_to_compare(void **state UNUSED)
{
    const char *xml = "<capabilities><host><cpu><arch>aarch64</arch></cpu>"
                      "</host></capabilities>";
    CLEANUP(host_info_free_at)
    struct host_info *info = xzalloc(sizeof *info);
    AUTO_ERROR error = domain_xml_parse_host(xml, strlen(xml), info);

    assert_null(error);
    assert_string_equal(info->arch, "aarch64");
    assert_null(info->cpu_model);
    assert_null(info->cpu_xml);
    assert_int_equal(info->n_cores, 1);
}

static void
test_nodes_and_huge_pages_are_read_from_capabilities(void **state UNUSED)
{
    const char *xml = "<capabilities><host><cpu><arch>x86_64</arch></cpu>"
                      "<topology><cells num='2'>"
                      "<cell id='0'><pages unit='KiB' size='4'>9</pages>"
                      "<pages unit='KiB' size='2048'>9</pages></cell>"
                      "<cell id='1'><pages unit='KiB' size='4'>9</pages>"
                      "<pages unit='KiB' size='2048'>9</pages>"
                      "<pages unit='KiB' size='1048576'>9</pages></cell>"
                      "</cells></topology></host></capabilities>";
    CLEANUP(host_info_free_at) struct host_info *info = xzalloc(sizeof *info);
    AUTO_ERROR error = domain_xml_parse_host(xml, strlen(xml), info);

    assert_null(error);
    assert_int_equal(info->n_nodes, 2);
    assert_int_equal(info->n_hugepages, 2);
    assert_int_equal(info->hugepages[0].size_kib, 2048);
    assert_int_equal(info->hugepages[0].n_free, 0);
    assert_int_equal(info->hugepages[1].size_kib, 1048576);
}

static void
test_firmware_is_listed_once(void **state UNUSED)
{
    const char *xml = "<domainCapabilities><os supported='yes'>"
                      "<loader supported='yes'><value>/a.fd</value>"
                      "<value>/b.fd</value><enum name='type'>"
                      "<value>rom</value></enum></loader></os>"
                      "</domainCapabilities>";
    CLEANUP(host_info_free_at) struct host_info *info = xzalloc(sizeof *info);

    for (int i = 0; i < 2; i++) {
        AUTO_ERROR error = domain_xml_parse_loaders(xml, strlen(xml), info);
        assert_null(error);
    }
    assert_int_equal(info->n_loaders, 2);
    assert_string_equal(info->loaders[1], "/b.fd");
}

static void
test_broken_capabilities_are_refused(void **state UNUSED)
{
    static const char *const cases[] = {
        "<capabilities/>",
        "<capabilities><host/></capabilities>",
        "<capabilities><host><cpu/></host></capabilities>",
        "<domain/>",
    };

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        CLEANUP(host_info_free_at)
        struct host_info *info = xzalloc(sizeof *info);
        AUTO_ERROR error =
            domain_xml_parse_host(cases[i], strlen(cases[i]), info);
        assert_int_equal(error_code(error), ERR_VALUE);
    }
}

/* Editing. */

static void
test_nothing_to_edit_leaves_the_definition(void **state UNUSED)
{
    const struct migrate_request nothing = {NULL};
    const char *xml =
        "<domain type=\"kvm\">\n  <name>a &amp; b</name>\n"
        "  <cputune>\n    <shares>1024</shares>\n  </cputune>\n"
        "  <devices>\n"
        "    <graphics type=\"vnc\" listen=\"0.0.0.0\" passwd=\"&quot;\">\n"
        "      <listen type=\"address\" address=\"0.0.0.0\"/>\n"
        "    </graphics>\n  </devices>\n</domain>";

    assert_edits_to(xml, &nothing, xml);
}

static void
test_graphics_listen_where_they_did(void **state UNUSED)
{
    const struct migrate_request request = {
        .vnc_listen = (char *)"10.0.0.2",
        .spice_listen = (char *)"fd00::\"2",
    };

    assert_edits_to("<domain><devices><graphics type=\"vnc\" listen=\"::\">"
                    "<listen type=\"address\" address=\"::\"/></graphics>"
                    "</devices></domain>",
                    &request,
                    "<domain><devices><graphics type=\"vnc\" "
                    "listen=\"10.0.0.2\"><listen type=\"address\" "
                    "address=\"10.0.0.2\"/></graphics></devices></domain>");
    /* Neither a place nor another type of listening is made up. */
    assert_edits_to("<domain><devices><graphics type=\"vnc\"><listen "
                    "type=\"socket\"/></graphics><graphics type=\"sdl\" "
                    "listen=\"::\"/></devices></domain>",
                    &request,
                    "<domain><devices><graphics type=\"vnc\"><listen "
                    "type=\"socket\"/></graphics><graphics type=\"sdl\" "
                    "listen=\"::\"/></devices></domain>");
    assert_edits_to("<domain><devices><graphics type=\"spice\" listen=\"::\"/>"
                    "</devices></domain>",
                    &request,
                    "<domain><devices><graphics type=\"spice\" "
                    "listen=\"fd00::&quot;2\"/></devices></domain>");
}

static void
test_tcp_consoles_get_host_and_port(void **state UNUSED)
{
    int ports[] = {10005, 10006};
    const struct migrate_request request = {
        .serial_listen = (char *)"10.0.0.2",
        .serial_ports = ports,
        .n_serial_ports = 2,
    };

    assert_edits_to(
        "<domain><devices>"
        "<serial type=\"tcp\"><source host=\"::\" service=\"1\"/>"
        "<target port=\"1\"/></serial>"
        "<serial type=\"tcp\"><source service=\"2\"/>"
        "<target port=\"2\"/></serial>"
        "<serial type=\"pty\"><source host=\"::\" service=\"3\"/>"
        "<target port=\"0\"/></serial>"
        "<console type=\"tcp\"><source host=\"::\" service=\"4\"/>"
        "<target port=\"0\"/></console>"
        "</devices></domain>",
        &request,
        "<domain><devices>"
        "<serial type=\"tcp\"><source host=\"10.0.0.2\" service=\"10006\"/>"
        "<target port=\"1\"/></serial>"
        /* Fewer ports than consoles: its own is kept. */
        "<serial type=\"tcp\"><source service=\"2\"/>"
        "<target port=\"2\"/></serial>"
        "<serial type=\"pty\"><source host=\"::\" service=\"3\"/>"
        "<target port=\"0\"/></serial>"
        "<console type=\"tcp\"><source host=\"10.0.0.2\" service=\"10005\"/>"
        "<target port=\"0\"/></console>"
        "</devices></domain>");
}

static void
test_performance_events_go(void **state UNUSED)
{
    const struct migrate_request request = {NULL};

    assert_edits_to("<domain><perf><event name=\"cmt\" enabled=\"yes\"/>"
                    "</perf><vcpu>1</vcpu></domain>",
                    &request, "<domain><vcpu>1</vcpu></domain>");
}

static void
test_memory_backing_is_the_destinations(void **state UNUSED)
{
    const struct migrate_request plain = {NULL};
    const struct migrate_request file_backed = {.file_backed_memory = true};
    const char *old = "<domain><memoryBacking><hugepages/><source "
                      "type=\"memfd\"/><access mode=\"private\"/><allocation "
                      "mode=\"ondemand\"/><discard/></memoryBacking></domain>";

    assert_edits_to(old, &plain,
                    "<domain><memoryBacking><hugepages/></memoryBacking>"
                    "</domain>");
    assert_edits_to(old, &file_backed,
                    "<domain><memoryBacking><hugepages/><source "
                    "type=\"file\"/><access mode=\"shared\"/><allocation "
                    "mode=\"immediate\"/><discard/></memoryBacking></domain>");
    assert_edits_to("<domain/>", &file_backed,
                    "<domain><memoryBacking><source type=\"file\"/><access "
                    "mode=\"shared\"/><allocation mode=\"immediate\"/><discard"
                    "/></memoryBacking></domain>");
    assert_edits_to("<domain/>", &plain, "<domain/>");
}

static void
test_cpu_shares_go_and_an_empty_cputune_too(void **state UNUSED)
{
    const struct migrate_request request = {.remove_cpu_shares = true};

    assert_edits_to("<domain><cputune> <shares>1024</shares> </cputune>"
                    "</domain>",
                    &request, "<domain/>");
    assert_edits_to("<domain><cputune><shares>1024</shares><quota>1</quota>"
                    "</cputune></domain>",
                    &request,
                    "<domain><cputune><quota>1</quota></cputune></domain>");
}

static void
test_24_pins_are_those_of_the_destination(void **state UNUSED)
{
    struct guest_pin cpus[] = {
        {(char *)"0", (char *)"4,5"},
        {(char *)"2", (char *)"7"}, /* The guest has no such pin. */
    };
    struct guest_pin cells[] = {{(char *)"0", (char *)"1"}};
    struct migrate_request request = {
        .pins = {.cpus = {cpus, 2},
                 .cells = {cells, 1},
                 .all_cells = (char *)"1,3",
                 .emulator = (char *)"6",
                 .realtime = (char *)"0",
                 .priority = 3},
    };
    static const char held[] =
        "<domain><cputune><vcpupin vcpu=\"0\" cpuset=\"%s\"/><vcpupin "
        "vcpu=\"1\" cpuset=\"1\"/><emulatorpin cpuset=\"%s\"/>%s</cputune>"
        "<numatune><memory mode=\"strict\" nodeset=\"%s\"/><memnode "
        "cellid=\"0\" nodeset=\"%s\"/></numatune></domain>";
    static const char old[] = "<vcpusched vcpus=\"0-1\" "
                              "scheduler=\"rr\" priority=\"1\"/>";
    static const char new[] = "<vcpusched vcpus=\"0\" "
                              "scheduler=\"fifo\" priority=\"3\"/>";

    AUTO_FREE before = xasprintf(held, "0", "0-1", old, "0", "0");
    AUTO_FREE half = xasprintf(held, "4,5", "6", old, "1,3", "1");
    AUTO_FREE after = xasprintf(held, "4,5", "6", new, "1,3", "1");
    assert_edits_to(before, &request, half);
    request.pins.has_priority = true;
    assert_edits_to(before, &request, after);
    assert_edits_to("<domain/>", &request, "<domain/>");
    assert_edits_to("<domain><cputune><quota>1</quota></cputune></domain>",
                    &(struct migrate_request){.remove_cpu_shares = false},
                    "<domain><cputune><quota>1</quota></cputune></domain>");
}

/* Volumes and ports of the destination. (4.3) */

#define VOLUME_ID "9b7a6c5d-0000-4444-8888-0123456789ab"
#define MAC "fa:16:3e:aa:bb:cc"

/* In a <domain>, with what stands around it. */
static char *
edit_device(const char *device, const struct volume *volume,
            const struct vif *vif)
{
    struct volume *volumes[] = {(struct volume *)volume};
    struct vif *vifs[] = {(struct vif *)vif};
    const struct migrate_request request = {
        .volumes = {volumes, volume != NULL},
        .vifs = {vifs, vif != NULL},
    };
    AUTO_FREE xml = xasprintf("<domain><devices>%s</devices></domain>", device);
    AUTO_FREE edited = edit(xml, &request);
    AUTO_FREE again = edit(edited, &request);

    assert_string_equal(again, edited);
    return xstrndup(edited + strlen("<domain><devices>"),
                    strlen(edited) - strlen("<domain><devices>"
                                            "</devices></domain>"));
}

static struct volume
volume_of(const char *type)
{
    return (struct volume){
        .type = (char *)type,
        .id = (char *)VOLUME_ID,
        .user = (char *)"78eed080",
        .format = (char *)"raw",
    };
}

static void
test_24_volume_is_read_where_the_destination_has_it(void **state UNUSED)
{
    struct volume volume = volume_of("local");
    volume.device_path = (char *)"/dev/vg/new";
    AUTO_FREE edited = edit_device(
        "<disk type=\"file\" device=\"disk\"><driver name=\"qemu\" "
        "type=\"qcow2\" cache=\"writeback\" iothread=\"1\"/><source "
        "file=\"/mnt/old\" index=\"3\"><seclabel/></source><backingStore/>"
        "<target dev=\"vdb\" bus=\"virtio\"/><serial>" VOLUME_ID
        "</serial><boot order=\"1\"/><address type=\"pci\" bus=\"0x05\"/>"
        "</disk>",
        &volume, NULL);

    assert_string_equal(
        edited,
        "<disk type=\"block\" device=\"disk\"><driver name=\"qemu\" "
        "type=\"raw\" cache=\"writeback\" iothread=\"1\"/><source "
        "dev=\"/dev/vg/new\"/>"
        "<target dev=\"vdb\" bus=\"virtio\"/><serial>" VOLUME_ID
        "</serial><boot order=\"1\"/><address type=\"pci\" bus=\"0x05\"/>"
        "</disk>");
}

static void
test_24_ceph_volume_has_its_monitors_and_secret(void **state UNUSED)
{
    char *hosts[] = {(char *)"192.0.2.1", (char *)"[2001:db8::1]"};
    char *ports[] = {(char *)"6789", NULL};
    struct volume volume = volume_of("rbd");
    volume.name = (char *)"volumes/volume-1";
    volume.hosts = hosts;
    volume.ports = ports;
    volume.n_hosts = 2;
    volume.ceph_user = (char *)"cinder";
    volume.ceph_secret = (char *)"457eb676-33da-42ec-9a8c-9293d545c337";
    volume.encryption_secret_uuid =
        (char *)"f65cbb22-0000-4ec7-a8a9-de84ad5ff1fa";
    AUTO_FREE edited = edit_device(
        "<disk type=\"network\" device=\"disk\"><driver name=\"qemu\" "
        "type=\"raw\" io=\"native\"/><auth username=\"old\"/><source "
        "protocol=\"rbd\" name=\"volumes/volume-1\"><host name=\"gone\"/>"
        "</source><serial>" VOLUME_ID "</serial></disk>",
        &volume, NULL);

    assert_string_equal(
        edited,
        "<disk type=\"network\" device=\"disk\"><driver name=\"qemu\" "
        "type=\"raw\"/><source protocol=\"rbd\" name=\"volumes/volume-1\">"
        "<host name=\"192.0.2.1\" port=\"6789\"/><host "
        "name=\"[2001:db8::1]\"/><auth username=\"cinder\"><secret "
        "type=\"ceph\" uuid=\"457eb676-33da-42ec-9a8c-9293d545c337\"/></auth>"
        "<encryption format=\"luks\"><secret type=\"passphrase\" "
        "uuid=\"f65cbb22-0000-4ec7-a8a9-de84ad5ff1fa\"/></encryption></source>"
        "<serial>" VOLUME_ID "</serial></disk>");
}

static void
test_24_disk_of_another_serial_is_left_alone(void **state UNUSED)
{
    const char *disk =
        "<disk type=\"file\"><source file=\"/a\"/><serial>other</serial>"
        "</disk><disk type=\"file\"><source file=\"/b\"/></disk>";
    struct volume volume = volume_of("local");
    volume.device_path = (char *)"/dev/vg/new";
    AUTO_FREE edited = edit_device(disk, &volume, NULL);

    assert_string_equal(edited, disk);
}

static struct vif
vif_of(const char *type)
{
    return (struct vif){
        .type = (char *)type,
        .id = (char *)"88dae9fa-0dc6-49e3-8c29-3abc41e99ac9",
        .instance = (char *)"78eed080",
        .mac = (char *)MAC,
        .device = (char *)"tap88dae9fa-0d",
        .bridge = (char *)"br-int",
        .interface_id = (char *)"88dae9fa-0dc6-49e3-8c29-3abc41e99ac9",
        .mtu = 1450,
    };
}

#define GUEST_SIDE                                                     \
    "<model type=\"virtio\"/><driver queues=\"2\"/><mtu size=\"%d\"/>" \
    "<address type=\"pci\" slot=\"0x03\"/>"

static void
test_24_interface_is_plugged_as_the_destination_has_it(void **state UNUSED)
{
    struct vif hybrid = vif_of("ovs"), delegated = vif_of("ovs"),
               switched = vif_of("ovs"), macvtap = vif_of("macvtap");
    hybrid.is_hybrid = true;
    delegated.is_delegated = true;
    macvtap.source = (char *)"eth1.7";
    macvtap.mode = (char *)"bridge";
    const struct {
        const struct vif *vif;
        const char *type, *hosts_side;
    } rows[] = {
        {&hybrid, "bridge",
         "<source bridge=\"qbr88dae9fa-0d\"/><target "
         "dev=\"tap88dae9fa-0d\"/>"},
        {&delegated, "ethernet", "<target dev=\"tap88dae9fa-0d\"/>"},
        {&macvtap, "direct", "<source dev=\"eth1.7\" mode=\"bridge\"/>"},
    };

    AUTO_FREE before = xasprintf(
        "<interface type=\"bridge\"><mac address=\"FA:16:3E:AA:BB:CC\"/>"
        "<source bridge=\"brq0fcf8e10-fe\" network=\"x\"/><target "
        "dev=\"vnet0\"/><virtualport type=\"openvswitch\"/>" GUEST_SIDE
        "</interface>",
        1500);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_FREE after = xasprintf(
            "<interface type=\"%s\"><mac address=\"FA:16:3E:AA:BB:CC\"/>"
            "%s" GUEST_SIDE "</interface>",
            rows[i].type, rows[i].hosts_side, 1450);
        AUTO_FREE edited = edit_device(before, NULL, rows[i].vif);
        assert_string_equal(edited, after);
    }
    AUTO_FREE edited = edit_device(before, NULL, &switched);
    assert_non_null(strstr(edited, "<virtualport type=\"openvswitch\">"
                                   "<parameters interfaceid=\"88dae9fa-"));
    assert_non_null(strstr(edited, "<source bridge=\"br-int\"/>"));
}

/* One that the guest never had would keep it from starting. */
static void
test_24_mtu_is_changed_and_not_added(void **state UNUSED)
{
    struct vif vif = vif_of("bridge");
    AUTO_FREE edited = edit_device(
        "<interface type=\"bridge\"><mac address=\"" MAC "\"/></interface>",
        NULL, &vif);

    assert_string_equal(edited, "<interface type=\"bridge\"><mac address=\"" MAC
                                "\"/><source bridge=\"br-int\"/><target "
                                "dev=\"tap88dae9fa-0d\"/></interface>");
}

static void
test_24_interface_without_a_port_is_an_error(void **state UNUSED)
{
    const char *xml = "<domain><devices><interface><mac "
                      "address=\"00:00:00:00:00:01\"/></interface></devices>"
                      "</domain>";
    struct vif vif = vif_of("bridge"), *vifs[] = {&vif};
    const struct migrate_request request = {.vifs = {vifs, 1}};
    char *edited = NULL;
    AUTO_ERROR error =
        domain_edit_for_destination(xml, strlen(xml), &request, &edited);

    assert_int_equal(error_code(error), ERR_VALUE);
    assert_non_null(strstr(error_message(error), "00:00:00:00:00:01"));
    assert_null(edited);
}

static void
test_edit_refuses_what_is_no_domain(void **state UNUSED)
{
    const struct migrate_request request = {NULL};
    char *edited = NULL;
    AUTO_ERROR error =
        domain_edit_for_destination("<a/>", 4, &request, &edited);

    assert_int_equal(error_code(error), ERR_VALUE);
    assert_null(edited);
}

static void
test_log_sees_no_password(void **state UNUSED)
{
    AUTO_FREE xml = corpus_read("nova-migratable.xml");
    assert_non_null(strstr(xml, "sesame"));
    AUTO_FREE redacted = domain_edit_redact(xml, strlen(xml));

    assert_null(strstr(redacted, "sesame"));
    assert_non_null(strstr(redacted, "passwd=\"***\""));
    AUTO_FREE none = domain_edit_redact("<a", 2);
    assert_string_equal(none, "");
}

/* NAME.edited is what NAME.xml becomes; DROVER_REGENERATE=1 rewrites it. */
static void
check_edited(const char *name)
{
    int ports[] = {10100, 10101};
    const struct migrate_request request = {
        .vnc_listen = (char *)"10.0.0.2",
        .spice_listen = (char *)"10.0.0.3",
        .serial_listen = (char *)"10.0.0.4",
        .serial_ports = ports,
        .n_serial_ports = 2,
        .remove_cpu_shares = true,
    };
    AUTO_FREE in_name = xasprintf("%s.xml", name);
    AUTO_FREE out_name = xasprintf("%s.edited", name);
    AUTO_FREE xml = corpus_read(in_name);
    assert_non_null(xml);
    AUTO_FREE edited = edit(xml, &request);

    if (getenv("DROVER_REGENERATE")) {
        AUTO_FREE path = corpus_path(out_name);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(edited, file) >= 0);
        assert_int_equal(fclose(file), 0);
        return;
    }
    AUTO_FREE expected = corpus_read(out_name);
    assert_non_null(expected);
    assert_string_equal(edited, expected);
    /* What was edited once needs no second edit. */
    AUTO_FREE again = edit(edited, &request);
    assert_string_equal(again, edited);
}

static void
test_recorded_definitions_are_edited_as_recorded(void **state UNUSED)
{
    check_edited("nova-migratable");
    check_edited("rich");
}

static void
test_whole_corpus_is_survived(void **state UNUSED)
{
    AUTO_FREE path = corpus_path("");
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        AUTO_FREE xml = corpus_read(entry->d_name);
        const struct migrate_request request = {.file_backed_memory = true};
        CLEANUP(guest_free_at) struct guest *guest = NULL;
        AUTO_FREE edited = NULL;
        AUTO_ERROR parsed = domain_xml_parse(xml, strlen(xml), &guest);
        AUTO_ERROR error =
            domain_edit_for_destination(xml, strlen(xml), &request, &edited);
        assert_true(!parsed == !!guest);
        assert_true(!error == !!edited);
        n++;
    }
    closedir(dir);
    assert_true(n >= 15);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_guest),
        cmocka_unit_test(test_guest_of_nova),
        cmocka_unit_test(test_guest_with_everything),
        cmocka_unit_test(test_what_the_definition_leaves_out_has_defaults),
        cmocka_unit_test(test_source_counts_only_for_its_type),
        cmocka_unit_test(test_each_tie_to_the_host_is_seen),
        cmocka_unit_test(test_cpus_and_nodes_that_it_is_held_to_are_counted),
        cmocka_unit_test(test_only_a_named_cpu_is_the_guests),
        cmocka_unit_test(test_nodes_and_huge_pages_are_read_from_capabilities),
        cmocka_unit_test(test_firmware_is_listed_once),
        cmocka_unit_test(test_memory_has_units),
        cmocka_unit_test(test_title_is_not_taken_from_a_stranger),
        cmocka_unit_test(test_hostile_definitions_are_refused),
        cmocka_unit_test(test_too_large_is_refused_unread),
        cmocka_unit_test(test_too_deep_is_refused),
        cmocka_unit_test(test_host_is_read_from_capabilities),
        cmocka_unit_test(test_host_without_cpu_model_has_none_to_compare),
        cmocka_unit_test(test_broken_capabilities_are_refused),
        cmocka_unit_test(test_nothing_to_edit_leaves_the_definition),
        cmocka_unit_test(test_graphics_listen_where_they_did),
        cmocka_unit_test(test_tcp_consoles_get_host_and_port),
        cmocka_unit_test(test_performance_events_go),
        cmocka_unit_test(test_memory_backing_is_the_destinations),
        cmocka_unit_test(test_cpu_shares_go_and_an_empty_cputune_too),
        cmocka_unit_test(test_24_pins_are_those_of_the_destination),
        cmocka_unit_test(test_24_volume_is_read_where_the_destination_has_it),
        cmocka_unit_test(test_24_ceph_volume_has_its_monitors_and_secret),
        cmocka_unit_test(test_24_disk_of_another_serial_is_left_alone),
        cmocka_unit_test(
            test_24_interface_is_plugged_as_the_destination_has_it),
        cmocka_unit_test(test_24_mtu_is_changed_and_not_added),
        cmocka_unit_test(test_24_interface_without_a_port_is_an_error),
        cmocka_unit_test(test_edit_refuses_what_is_no_domain),
        cmocka_unit_test(test_log_sees_no_password),
        cmocka_unit_test(test_recorded_definitions_are_edited_as_recorded),
        cmocka_unit_test(test_whole_corpus_is_survived),
    };

    xmlInitParser();
    int n_failed = cmocka_run_group_tests_name("domain_xml", tests, NULL, NULL);
    xmlCleanupParser();
    return n_failed;
}
