// Two processes with the same state_dir act as one node: leader, follower and takeover. Then a single process: what it
// finds after a restart, and what it reports if it cannot write. Needs a DDS that calls back.

#include "check.h"

#include <sys/wait.h>

static pmn_status status_of(const pmn_node *node)
{
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    return status;
}

// Waits until the condition holds for the node's status. The alarm ends a wait that takes too long.
#define UNTIL(node, condition)                                                                               \
    for (pmn_status status = status_of(node); !(condition); status = status_of(node)) {                      \
        usleep(1000);                                                                                        \
    }

static void read_secret(const pmn_node *node, char secret[4097])
{
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_read_secret(node, secret, 4097, NULL));
}

static void follow(int from_leader, int to_leader)
{
    char led[4097], secret[4097], address[64];
    CHECK(read(from_leader, led, sizeof led) == sizeof led);
    pmn_node *node = start(1);
    CHECK(status_of(node).role == PMN_ROLE_FOLLOWER);
    read_secret(node, secret);
    CHECK(strcmp(secret, led) == 0);
    EXPECT(PMN_OK, pmn_node_callback_address(node, address, sizeof address, NULL));
    CHECK(strcmp(address, getenv("CALLBACK_BIND")) == 0);

    // DDS sends another secret to the leader.
    EXPECT(PMN_OK, pmn_node_rearm(node));
    UNTIL(node, status.secret_version == 2 && status.state == PMN_STATE_REGISTERED);
    read_secret(node, secret);
    CHECK(strcmp(secret, led) != 0 && status_of(node).role == PMN_ROLE_FOLLOWER);

    CHECK(write(to_leader, "!", 1) == 1);
    UNTIL(node, status.role == PMN_ROLE_LEADER && status.state == PMN_STATE_REGISTERED);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
}

static void lead(int from_follower, int to_follower)
{
    char secret[4097] = "", byte;
    pmn_node *node = start(1);
    CHECK(status_of(node).role == PMN_ROLE_LEADER);
    read_secret(node, secret);
    CHECK(write(to_follower, secret, sizeof secret) == sizeof secret);
    CHECK(read(from_follower, &byte, 1) == 1);
    CHECK(status_of(node).secret_version == 2);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
}

// scenario: workers
static void two_processes(void)
{
    int down[2], up[2];
    CHECK(pipe(down) == 0 && pipe(up) == 0);
    pid_t follower = fork(); // before the first call of the library
    CHECK(follower >= 0);
    if (follower == 0) {
        alarm(GUARD_SECONDS);
        follow(down[0], up[1]);
        _exit(0);
    }
    lead(up[0], down[1]);
    int ended = -1;
    CHECK(waitpid(follower, &ended, 0) == follower && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
}

// scenario: restart, state-not-writable
static void one_alone(const char *state_dir)
{
    pmn_node *node = start(1);
    CHECK(status_of(node).has_secret && status_of(node).secret_version >= 2);

    // The same process cannot have a second node with the same state_dir.
    pmn_node *twin = NULL;
    pmn_config *config = config_for(2);
    EXPECT(PMN_OK, pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    EXPECT(PMN_ERR_ALREADY_RUNNING, pmn_node_start(config, &twin, NULL));
    CHECK(twin == NULL);
    pmn_config_free(config);

    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s' 2>/dev/null", state_dir);
    while (system(command) != 0) { // fails while the node is still writing there
        usleep(1000);
    }
    EXPECT(PMN_OK, pmn_node_rearm(node)); // the new state cannot be written
    UNTIL(node, status.persistence_error != PMN_OK);
    pmn_error *error = NULL;
    EXPECT(PMN_OK, pmn_node_persistence_error(node, &error));
    CHECK(pmn_error_code(error) == status_of(node).persistence_error);
    CHECK(strlen(pmn_error_message(error)) > 0);
    pmn_error_free(error);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS)); // it continues in memory
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
}

int main(void)
{
    alarm(GUARD_SECONDS);
    char directory[] = "/tmp/posemesh-shared-XXXXXX", state_dir[64];
    CHECK(mkdtemp(directory) != NULL);
    snprintf(state_dir, sizeof state_dir, "%s/state", directory);
    setenv("STATE_DIR", state_dir, 1);
    two_processes();
    one_alone(state_dir);
    CHECK(rmdir(directory) == 0);
    return 0;
}
