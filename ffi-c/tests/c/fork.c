// A forked child: the parent's node returns PMN_ERR_FORKED immediately and can be freed, a node of the child's own
// works, and the parent's node continues.

#include "check.h"

#include <sys/wait.h>

static void on_event(const pmn_event *event, void *user_data)
{
    (void)event;
    CHECK(*(pid_t *)user_data == getpid()); // the parent's callback does not run in the child
}

static void child(pmn_node *inherited)
{
    alarm(GUARD_SECONDS);
    char text[4097];
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_ERR_FORKED, pmn_node_status(inherited, &status));
    EXPECT(PMN_ERR_FORKED, pmn_node_wait(inherited, PMN_WAIT_REGISTERED, PMN_NO_TIMEOUT));
    EXPECT(PMN_ERR_FORKED, pmn_node_rearm(inherited));
    EXPECT(PMN_ERR_FORKED,
           pmn_node_access_token(inherited, PMN_NO_TIMEOUT, text, sizeof text, NULL, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_invalidate_token(inherited));
    EXPECT(PMN_ERR_FORKED, pmn_node_invalidate_token_if(inherited, "token"));
    pmn_error *none = NULL;
    EXPECT(PMN_ERR_FORKED, pmn_node_last_error(inherited, &none));
    EXPECT(PMN_ERR_FORKED, pmn_node_token_error(inherited, &none));
    EXPECT(PMN_ERR_FORKED, pmn_node_persistence_error(inherited, &none));
    CHECK(none == NULL);
    EXPECT(PMN_ERR_FORKED, pmn_node_read_secret(inherited, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_callback_address(inherited, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_admin_address(inherited, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_metrics_text(inherited, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_ready(inherited, false, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_wallet_address(inherited, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_sign(inherited, NULL, 0, text, sizeof text, NULL));
    EXPECT(PMN_ERR_FORKED, pmn_node_set_event_callback(inherited, NULL, NULL, NULL));
    pmn_http_request request = {.size = sizeof request, .method = "POST", .path = "/internal/v1/registrations"};
    pmn_http_response response = {.size = sizeof response};
    EXPECT(PMN_ERR_FORKED, pmn_node_handle_request(inherited, &request, PMN_NO_TIMEOUT, &response));
    EXPECT(PMN_ERR_FORKED, pmn_node_stop(inherited, PMN_NO_TIMEOUT));
    pmn_node_free(inherited);

    pmn_config *config = config_for(1); // the parent's wallet; the parent also has the port
    EXPECT(PMN_OK, pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    pmn_node *own = NULL;
    EXPECT(PMN_OK, pmn_node_start(config, &own, NULL));
    pmn_config_free(config);
    EXPECT(PMN_OK, pmn_node_wait(own, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(own, GUARD_MS));
    pmn_node_free(own);
    CHECK(library_threads_left() == 0);
}

// scenario: fork
int main(void)
{
    alarm(GUARD_SECONDS);
    pid_t parent = getpid();
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, &parent, NULL));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    char token[PMN_TOKEN_CAPACITY]; // which the child must not receive
    EXPECT(PMN_OK, pmn_node_access_token(node, GUARD_MS, token, sizeof token, NULL, NULL));

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        child(node);
        _exit(0);
    }
    int how = 0;
    CHECK(waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0);

    EXPECT(PMN_OK, pmn_node_rearm(node));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    CHECK(library_threads_left() == 0);
    return 0;
}
