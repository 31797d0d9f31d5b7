// DDS permanently refuses the node (the test injects that): an event and the last error contain DDS's own words.

#include "check.h"

static int told[2];

static void tell(const pmn_event *event, void *user_data)
{
    (void)user_data;
    if (event->type == PMN_EVENT_ATTEMPT_FAILED) {
        CHECK(event->code == PMN_ERR_REJECTED && strstr(event->message, "this wallet is blocked") != NULL);
        CHECK(event->retry_in_ms > 0);
        CHECK(write(told[1], "!", 1) == 1);
    }
}

// scenario: dds-refuses
int main(void)
{
    alarm(GUARD_SECONDS);
    CHECK(pipe(told) == 0);
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, tell, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_rearm(node)); // the first attempt may have failed before the callback was set
    char byte;
    CHECK(read(told[0], &byte, 1) == 1);

    pmn_error *error = NULL;
    EXPECT(PMN_OK, pmn_node_last_error(node, &error));
    EXPECT(PMN_ERR_REJECTED, pmn_error_code(error));
    CHECK(strstr(pmn_error_message(error), "this wallet is blocked") != NULL);
    pmn_error_free(error);
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.last_error == PMN_ERR_REJECTED && status.next_attempt_in_ms > 0);
    pmn_node_free(node);
    return 0;
}
