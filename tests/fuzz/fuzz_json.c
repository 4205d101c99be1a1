#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "rpc/json.h"

/* Whatever is accepted prints as something that means the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json = NULL;
    AUTO_ERROR error = json_parse((const char *)data, size, &json);

    REQUIRE(!error == !!json);
    if (error) {
        REQUIRE(error_code(error) == ERR_BAD_MESSAGE);
        return 0;
    }

    size_t printed_size;
    AUTO_FREE printed = json_print(json, &printed_size);
    AUTO_JSON again = NULL;
    AUTO_ERROR none = json_parse(printed, printed_size, &again);
    REQUIRE(!none && json_equal(json, again));

    AUTO_JSON copy = json_copy(json);
    REQUIRE(json_equal(copy, json));
    json_for_each (value, json) {
        (void)json_get_int(value);
        (void)json_get_double(value);
        (void)json_is_int(value);
    }
    return 0;
}
