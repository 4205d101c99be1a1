#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "rpc/transport_url.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE text = xstrndup((const char *)data, size);
    CLEANUP(transport_url_free_at) struct transport_url *url = NULL;
    AUTO_ERROR error = transport_url_parse(text, &url);

    REQUIRE(!error == !!url);
    if (!url) {
        REQUIRE(error_code(error) == ERR_CONFIG);
        return 0;
    }
    REQUIRE(url->n_hosts > 0 && *url->vhost);
    for (size_t i = 0; i < url->n_hosts; i++) {
        const struct transport_host *host = &url->hosts[i];
        REQUIRE(host->user && host->password && *host->host);
        REQUIRE(host->port > 0 && host->port < 65536);
    }
    return 0;
}
