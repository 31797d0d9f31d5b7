// DDS rejects a sign-in, and then no longer knows the node (the test injects that): what the program learns about it,
// and that it gets a token in the end.

#include "check.h"

static int told[2];

static void tell(const pmn_event *event, void *user_data)
{
    (void)user_data;
    if (event->type == PMN_EVENT_REGISTRATION_LOST) {
        CHECK(strstr(event->message, "node not found") != NULL);
        CHECK(write(told[1], "!", 1) == 1);
    }
}

// scenario: sign-in-refused
static void is_refused(pmn_node *node)
{
    char token[PMN_TOKEN_CAPACITY] = "#";
    size_t length = 77;
    int64_t expires_at = 77;
    EXPECT(PMN_ERR_REJECTED, pmn_node_access_token(node, GUARD_MS, token, sizeof token, &length, &expires_at));
    CHECK(token[0] == '#' && length == 77 && expires_at == 77);
    pmn_error *error = NULL;
    EXPECT(PMN_OK, pmn_node_token_error(node, &error));
    EXPECT(PMN_ERR_REJECTED, pmn_error_code(error));
    CHECK(strstr(pmn_error_message(error), "this wallet is blocked") != NULL);
    pmn_error_free(error);
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.sign_in_failures == 1 && status.token_expires_at_unix_s == 0 && status.last_error == PMN_OK);
}

// scenario: dds-forgets
static void gets_a_token_after_all(pmn_node *node)
{
    char token[PMN_TOKEN_CAPACITY];
    pmn_error *none = NULL;
    EXPECT(PMN_OK, pmn_node_rearm(node)); // a new registration triggers another sign-in
    pmn_result result;
    while ((result = pmn_node_access_token(node, GUARD_MS, token, sizeof token, NULL, NULL)) != PMN_OK) {
        EXPECT(PMN_ERR_REJECTED, result); // until it is due
        usleep(1000);
    }
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_token_error(node, &none));
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.sign_in_failures == 0 && status.token_expires_at_unix_s > 1700000000);
    char byte;
    CHECK(read(told[0], &byte, 1) == 1);
}

int main(void)
{
    alarm(GUARD_SECONDS);
    CHECK(pipe(told) == 0);
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, tell, NULL, NULL));
    is_refused(node);
    gets_a_token_after_all(node);
    pmn_node_free(node);
    return 0;
}
