#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "drivers/domain_edit.h"
#include "drivers/domain_xml.h"
#include "drivers/driver.h"

/* Any bytes at all are a definition or are refused; what was edited is still
 * one that libvirt could be given. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ports[] = {10000};
    const struct migrate_request request = {
        .vnc_listen = (char *)"10.0.0.2",
        .spice_listen = (char *)"10.0.0.2",
        .serial_listen = (char *)"10.0.0.2",
        .serial_ports = ports,
        .n_serial_ports = 1,
        .remove_cpu_shares = true,
        .file_backed_memory = true,
    };
    const char *xml = (const char *)data;
    CLEANUP(guest_free_at) struct guest *guest = NULL;
    CLEANUP(host_info_free_at)
    struct host_info *info = xzalloc(sizeof *info);
    AUTO_FREE edited = NULL;
    AUTO_FREE again = NULL;

    AUTO_ERROR parsed = domain_xml_parse(xml, size, &guest);
    AUTO_ERROR host = domain_xml_parse_host(xml, size, info);
    AUTO_ERROR error =
        domain_edit_for_destination(xml, size, &request, &edited);
    REQUIRE(!parsed == !!guest);
    REQUIRE(host || info->arch);
    REQUIRE(!error == !!edited);
    if (guest) {
        REQUIRE(edited);
    }
    if (edited) {
        AUTO_ERROR none = domain_edit_for_destination(edited, strlen(edited),
                                                      &request, &again);
        REQUIRE(!none);
    }
    return 0;
}
