#include <config.h>

#include "drivers/fake.h"

#include <stdlib.h>

/* What a fake host has to give: one NUMA node without huge pages, a CPU with a
 * few features, machines with the devices that guests usually have. */

#define PAGE_KIB 4

static void describe_machines(const struct host_resources_request *request,
                              struct host_resources *r);
static void describe_cell(struct host_resources *r);
static void count_guests(struct fake *fake, struct host_resources *r);

struct error *
fake_host_resources(void *state, const struct host_resources_request *request,
                    struct host_resources **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_host_resources);
    if (error) {
        return error;
    }
    struct host_resources *r = xzalloc(sizeof *r);
    r->hostname = xstrdup(fake->host);
    r->hypervisor_type = xstrdup("fake");
    r->hypervisor_version = 1000000;
    r->libvirt_version = 9000000;
    r->arch = xstrdup("x86_64");
    r->cpu_model = xstrdup("Fake");
    r->cpu_vendor = xstrdup("drover");
    r->n_cores = FAKE_HOST_CPUS;
    r->n_sockets = r->n_threads = 1;
    r->memory_mb = FAKE_HOST_MEMORY_MB;
    r->disk_total = (int64_t)FAKE_HOST_DISK_GB << 30;
    describe_machines(request, r);
    describe_cell(r);
    count_guests(fake, r);
    *ret = r;
    return NULL;
}

static void
describe_machines(const struct host_resources_request *request,
                  struct host_resources *r)
{
    static const char *const features[] = {"mmx", "sse", "sse2", "svm"};
    static const char *const buses[] = {"virtio", "scsi", "sata", "usb"};

    for (size_t i = 0; i < N_ELEMENTS(features); i++) {
        text_set_add(&r->cpu_features, features[i]);
        if (request->cpu_models && request->cpu_models[0]) {
            text_set_add(&r->guest_cpu_features, features[i]);
        }
    }
    for (size_t i = 0; i < N_ELEMENTS(buses); i++) {
        text_set_add(&r->disk_buses, buses[i]);
    }
    text_set_add(&r->video_models, "virtio");
    text_set_add(&r->video_models, "none");
    text_set_add(&r->guest_archs, "x86_64");
    r->kinds = xzalloc(sizeof *r->kinds);
    r->kinds[r->n_kinds++] = (struct host_guest_kind){
        .arch = xstrdup("x86_64"),
        .hypervisor = xstrdup(request->virt_type),
        .mode = xstrdup("hvm"),
    };
}

static void
describe_cell(struct host_resources *r)
{
    struct host_cell *cell = xzalloc(sizeof *cell);

    cell->memory_kib = r->memory_mb << 10;
    cell->siblings = xcalloc(FAKE_HOST_CPUS, sizeof *cell->siblings);
    for (int cpu = 0; cpu < FAKE_HOST_CPUS; cpu++) {
        cpu_set_add(&r->online, cpu);
        cpu_set_add(&cell->cpus, cpu);
        cpu_set_add(&cell->siblings[cell->n_siblings++], cpu);
    }
    cell->pages = xzalloc(sizeof *cell->pages);
    cell->pages[cell->n_pages++] =
        (struct host_pages){PAGE_KIB, cell->memory_kib / PAGE_KIB};
    r->cells = cell;
    r->n_cells = 1;
}

/* Their disks take all the room that they will ever have. */
static void
count_guests(struct fake *fake, struct host_resources *r)
{
    CLEANUP(fake_names_close) struct fake_names uuids;
    int64_t disk_mb = 0;

    fake_guests_at(fake->store, fake->host, &uuids);
    for (size_t i = 0; i < uuids.n; i++) {
        AUTO_GUEST guest =
            fake_guest_at(fake->store, fake->host, uuids.names[i]);

        if (!guest) {
            continue;
        }
        text_set_add(&r->guests, guest->uuid);
        disk_mb += guest->disk_mb;
        if (fake_guest_is_active(guest)) {
            r->n_vcpus_used += guest->n_vcpus;
            r->memory_used_mb += guest->memory_mb;
        }
    }
    r->disk_used = disk_mb << 20;
    r->disk_free = r->disk_total - r->disk_used;
}
