// A panic inside the library ends at its boundary. Needs a library with the feature test-exports.

#include "check.h"

pmn_result pmn_test_panic(pmn_error **error);

// scenario: panic
int main(void)
{
    alarm(GUARD_SECONDS);
    pmn_error *error = NULL;
    EXPECT(PMN_ERR_PANIC, pmn_test_panic(&error));
    EXPECT(PMN_ERR_PANIC, pmn_error_code(error));
    CHECK(*pmn_error_message(error) != '\0');
    pmn_error_free(error);
    EXPECT(PMN_ERR_PANIC, pmn_test_panic(NULL));

    // The library still works.
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    return 0;
}
