#include <config.h>

#include "drivers/driver.h"

#include <stdlib.h>

static void text_array_free(char **texts, size_t n);
static void files_free(struct guest_file *files, size_t n);

void
guest_free(struct guest *guest)
{
    if (!guest) {
        return;
    }
    for (size_t i = 0; i < guest->n_disks; i++) {
        struct guest_disk *disk = &guest->disks[i];

        free(disk->target);
        free(disk->device);
        free(disk->path);
        free(disk->format);
        free(disk->backing_path);
        free(disk->backing_format);
        free(disk->serial);
    }
    free(guest->disks);
    text_array_free(guest->links, guest->n_links);
    free(guest->uuid);
    free(guest->name);
    free(guest->title);
    free(guest->loader);
    free(guest->nvram_path);
    free(guest->console_path);
    free(guest->cpu_xml);
    free(guest);
}

struct guest *
guest_copy(const struct guest *guest)
{
    struct guest *copy = xmemdup(guest, sizeof *guest);

    copy->uuid = xstrdup_null(guest->uuid);
    copy->name = xstrdup_null(guest->name);
    copy->title = xstrdup_null(guest->title);
    copy->loader = xstrdup_null(guest->loader);
    copy->nvram_path = xstrdup_null(guest->nvram_path);
    copy->console_path = xstrdup_null(guest->console_path);
    copy->cpu_xml = xstrdup_null(guest->cpu_xml);
    copy->disks = xmemdup(guest->disks, guest->n_disks * sizeof *guest->disks);
    for (size_t i = 0; i < copy->n_disks; i++) {
        struct guest_disk *disk = &copy->disks[i];

        disk->target = xstrdup_null(disk->target);
        disk->device = xstrdup_null(disk->device);
        disk->path = xstrdup_null(disk->path);
        disk->format = xstrdup_null(disk->format);
        disk->backing_path = xstrdup_null(disk->backing_path);
        disk->backing_format = xstrdup_null(disk->backing_format);
        disk->serial = xstrdup_null(disk->serial);
    }
    copy->links = xcalloc(guest->n_links, sizeof *copy->links);
    for (size_t i = 0; i < copy->n_links; i++) {
        copy->links[i] = xstrdup(guest->links[i]);
    }
    return copy;
}

void
guest_list_free(struct guest_list *list)
{
    if (!list) {
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        guest_free(list->guests[i]);
    }
    free(list->guests);
    free(list);
}

bool
guest_list_has(const struct guest_list *list, const char *uuid)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->guests[i]->uuid, uuid)) {
            return true;
        }
    }
    return false;
}

void
host_info_free(struct host_info *info)
{
    if (!info) {
        return;
    }
    free(info->hostname);
    free(info->hypervisor_type);
    free(info->arch);
    free(info->cpu_model);
    free(info->cpu_vendor);
    free(info->cpu_xml);
    free(info->hugepages);
    text_array_free(info->loaders, info->n_loaders);
    free(info);
}

void
prepare_request_free(struct prepare_request *request)
{
    if (!request) {
        return;
    }
    for (size_t i = 0; i < request->n_disks; i++) {
        struct prepare_disk *disk = &request->disks[i];

        free(disk->path);
        free(disk->format);
        free(disk->backing_path);
        free(disk->backing_format);
    }
    free(request->disks);
    free(request->uuid);
    free(request->directory);
    free(request);
}

struct prepare_request *
prepare_request_copy(const struct prepare_request *r)
{
    struct prepare_request *copy = xmemdup(r, sizeof *r);

    copy->uuid = xstrdup_null(r->uuid);
    copy->directory = xstrdup_null(r->directory);
    copy->disks = xmemdup(r->disks, r->n_disks * sizeof *r->disks);
    for (size_t i = 0; i < copy->n_disks; i++) {
        struct prepare_disk *disk = &copy->disks[i];

        disk->path = xstrdup_null(disk->path);
        disk->format = xstrdup_null(disk->format);
        disk->backing_path = xstrdup_null(disk->backing_path);
        disk->backing_format = xstrdup_null(disk->backing_format);
    }
    return copy;
}

void
migrate_request_free(struct migrate_request *request)
{
    if (!request) {
        return;
    }
    text_array_free(request->disks, request->n_disks);
    free(request->uuid);
    free(request->dest_uri);
    free(request->migrate_uri);
    free(request->compression);
    free(request->vnc_listen);
    free(request->spice_listen);
    free(request->serial_listen);
    free(request->serial_ports);
    dest_pins_close(&request->pins);
    volume_list_close(&request->volumes);
    vif_list_close(&request->vifs);
    free(request);
}

void
guest_rest_free(struct guest_rest *rest)
{
    if (rest) {
        guest_free(rest->guest);
        free(rest->definition);
        files_free(rest->files, rest->n_files);
        free(rest);
    }
}

void
at_rest_request_free(struct at_rest_request *request)
{
    if (!request) {
        return;
    }
    free(request->uuid);
    free(request->name);
    free(request->definition);
    files_free(request->files, request->n_files);
    free(request->vnc_listen);
    free(request->spice_listen);
    free(request->serial_listen);
    free(request);
}

struct at_rest_request *
at_rest_request_copy(const struct at_rest_request *r)
{
    struct at_rest_request *copy = xmemdup(r, sizeof *r);

    copy->uuid = xstrdup_null(r->uuid);
    copy->name = xstrdup_null(r->name);
    copy->definition = xstrdup_null(r->definition);
    copy->vnc_listen = xstrdup_null(r->vnc_listen);
    copy->spice_listen = xstrdup_null(r->spice_listen);
    copy->serial_listen = xstrdup_null(r->serial_listen);
    copy->files = xmemdup(r->files, r->n_files * sizeof *r->files);
    for (size_t i = 0; i < copy->n_files; i++) {
        copy->files[i].path = xstrdup_null(r->files[i].path);
    }
    return copy;
}

void
copy_request_free(struct copy_request *request)
{
    if (request) {
        free(request->uuid);
        free(request->path);
        free(request->place);
        free(request->name);
        free(request->tls_directory);
        free(request);
    }
}

struct copy_request *
copy_request_copy(const struct copy_request *r)
{
    struct copy_request *copy = xmemdup(r, sizeof *r);

    copy->uuid = xstrdup_null(r->uuid);
    copy->path = xstrdup_null(r->path);
    copy->place = xstrdup_null(r->place);
    copy->name = xstrdup_null(r->name);
    copy->tls_directory = xstrdup_null(r->tls_directory);
    return copy;
}

void
image_request_free(struct image_request *request)
{
    if (request) {
        free(request->name);
        free(request->format);
        free(request->host);
        free(request);
    }
}

struct image_request *
image_request_copy(const struct image_request *r)
{
    struct image_request *copy = xmemdup(r, sizeof *r);

    copy->name = xstrdup_null(r->name);
    copy->format = xstrdup_null(r->format);
    copy->host = xstrdup_null(r->host);
    return copy;
}

static void
files_free(struct guest_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].path);
    }
    free(files);
}

static void
guest_pins_close(struct guest_pins *pins)
{
    for (size_t i = 0; i < pins->n; i++) {
        free(pins->pins[i].id);
        free(pins->pins[i].set);
    }
    free(pins->pins);
}

void
dest_pins_close(struct dest_pins *pins)
{
    guest_pins_close(&pins->cpus);
    guest_pins_close(&pins->cells);
    free(pins->all_cells);
    free(pins->emulator);
    free(pins->realtime);
}

static void
text_array_free(char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
    free(texts);
}
