// The error messages of every call that has a second form. The test makes the node fail, and passes the expected words
// as the argument.

#include "check.h"

typedef pmn_result (*failing_call)(pmn_node *node, pmn_error **error);

static pmn_result wait_registered(pmn_node *node, pmn_error **error)
{
    return pmn_node_wait_with_error(node, PMN_WAIT_REGISTERED, 0, error);
}

static pmn_result wait_secret(pmn_node *node, pmn_error **error)
{
    return pmn_node_wait_with_error(node, PMN_WAIT_SECRET, 0, error);
}

static pmn_result access_token(pmn_node *node, pmn_error **error)
{
    return pmn_node_access_token_with_error(node, 0, NULL, 0, NULL, NULL, error);
}

static pmn_result stop(pmn_node *node, pmn_error **error) { return pmn_node_stop_with_error(node, 0, error); }

static pmn_result bad_wait(pmn_node *node, pmn_error **error)
{
    return pmn_node_wait_with_error(node, 77, 0, error);
}

static pmn_result address_of_no_key(pmn_node *node, pmn_error **error)
{
    (void)node;
    return pmn_eth_address_with_error("hunter2", NULL, 0, NULL, error);
}

static pmn_result sign_with_no_key(pmn_node *node, pmn_error **error)
{
    (void)node;
    return pmn_sign_eip191_with_error("hunter2", NULL, 0, NULL, 0, NULL, error);
}

// The result is the same with and without an error pointer.
static void says(pmn_result expected, const char *words, failing_call call, pmn_node *node)
{
    pmn_error *error = NULL;
    EXPECT(expected, call(node, &error));
    EXPECT(expected, pmn_error_code(error));
    if (strstr(pmn_error_message(error), words) == NULL) {
        fprintf(stderr, "not \"%s\" in \"%s\"\n", words, pmn_error_message(error));
        _exit(1);
    }
    CHECK(strstr(pmn_error_message(error), "hunter2") == NULL);
    pmn_error_free(error);
    EXPECT(expected, call(node, NULL));
}

static void until_an_attempt_has_failed(const pmn_node *node)
{
    pmn_error *error = NULL;
    for (int patience_ms = GUARD_MS; pmn_node_last_error(node, &error) != PMN_OK; patience_ms--) {
        CHECK(patience_ms > 0);
        usleep(1000);
    }
    pmn_error_free(error);
}

static int stop_refused[2];

static void stop_here(const pmn_event *event, void *node)
{
    (void)event;
    says(PMN_ERR_WOULD_DEADLOCK, "from a thread of your own", stop, node);
    CHECK(write(stop_refused[1], "!", 1) == 1);
}

// scenario: wait-timed-out, dds-unreachable
int main(int argc, char **argv)
{
    alarm(GUARD_SECONDS);
    CHECK(argc == 2);
    pmn_node *node = start(1);
    until_an_attempt_has_failed(node);
    says(PMN_ERR_TIMEOUT, argv[1], wait_registered, node);
    says(PMN_ERR_TIMEOUT, argv[1], wait_secret, node);
    says(PMN_ERR_TIMEOUT, argv[1], access_token, node);
    says(PMN_ERR_INVALID_ARGUMENT, "PMN_WAIT_", bad_wait, node);
    says(PMN_ERR_INVALID_ARGUMENT, "node is NULL", wait_secret, NULL);
    says(PMN_ERR_INVALID_ARGUMENT, "node is NULL", access_token, NULL);
    says(PMN_ERR_INVALID_ARGUMENT, "node is NULL", pmn_node_rearm_with_error, NULL);
    says(PMN_ERR_INVALID_ARGUMENT, "node is NULL", stop, NULL);
    says(PMN_ERR_INVALID_ARGUMENT, "64 hex digits", address_of_no_key, NULL);
    says(PMN_ERR_INVALID_ARGUMENT, "64 hex digits", sign_with_no_key, NULL);

    char byte;
    CHECK(pipe(stop_refused) == 0);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, stop_here, node, NULL));
    EXPECT(PMN_OK, pmn_node_rearm_with_error(node, NULL));
    CHECK(read(stop_refused[0], &byte, 1) == 1);

    pmn_error *none = NULL;
    EXPECT(PMN_OK, pmn_node_stop_with_error(node, GUARD_MS, &none));
    CHECK(none == NULL);
    says(PMN_ERR_STOPPED, "the node was stopped", wait_registered, node);
    says(PMN_ERR_STOPPED, "the node was stopped", access_token, node);
    says(PMN_ERR_STOPPED, "the node was stopped", pmn_node_rearm_with_error, node);
    pmn_node_free(node);
    return 0;
}
