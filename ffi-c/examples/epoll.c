// A node in a program with an epoll loop. The event callback only signals an eventfd; everything else happens in the
// loop, on the program's own thread. The loop never waits for a token: the first request for one returns at once, and
// an event reports when the node has it.
//
//     cc -std=c11 epoll.c $(pkg-config --cflags --libs posemesh_node) -o epoll
//     export REG_SECRET=... SECP256K1_PRIVHEX=... CAPABILITIES=/example/v1 NODE_VERSION=1.0.0
//     ./epoll
//
// It ends on Ctrl-C and SIGTERM, and, as a short example, when it has a token.

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "posemesh_node.h"

static void wake_loop(const pmn_event *event, void *user_data)
{
    const int *wakeup = user_data;
    const uint64_t once = 1;
    (void)event; // the loop reads the node's status
    if (write(*wakeup, &once, sizeof once) < 0) {
        // Fails only if the counter is full, and then the loop wakes up anyway.
    }
}

static bool ok(pmn_result result, const char *what)
{
    if (result != PMN_OK) {
        fprintf(stderr, "%s: %s\n", what, pmn_result_name(result));
    }
    return result == PMN_OK;
}

static pmn_node *start(void)
{
    pmn_node *node = NULL;
    pmn_error *error = NULL;
    pmn_config *config = pmn_config_new();
    if (pmn_config_load_env(config, &error) != PMN_OK || pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "%s: %s\n", pmn_result_name(pmn_error_code(error)), pmn_error_message(error));
        pmn_error_free(error);
    }
    pmn_config_free(config);
    return node;
}

// Makes Ctrl-C and SIGTERM readable from a descriptor.
static int open_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

static bool watch(int loop, int file)
{
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = file};
    return epoll_ctl(loop, EPOLL_CTL_ADD, file, &wanted) == 0;
}

// Runs when something has happened to the node. Returns whether to continue.
static bool update(pmn_node *node)
{
    static pmn_state shown = PMN_STATE_DISCONNECTED;
    static const char *const names[] = {"disconnected", "registering", "registered"};
    pmn_status status = {.size = sizeof status};
    if (!ok(pmn_node_status(node, &status), "status")) {
        return false;
    }
    if (status.state != shown) {
        shown = status.state;
        printf("%s\n", names[shown]);
    }
    if (status.state != PMN_STATE_REGISTERED) {
        return true;
    }
    char token[PMN_TOKEN_CAPACITY];
    size_t length = 0;
    pmn_result result = pmn_node_access_token(node, 0, token, sizeof token, &length, NULL);
    if (result == PMN_ERR_TIMEOUT) { // requested: an event follows
        return true;
    }
    if (ok(result, "access token")) {
        printf("token of %zu bytes\n", length);
    }
    return false;
}

static bool run_loop(pmn_node *node, int wakeup, int signals)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    bool good = loop >= 0 && watch(loop, wakeup) && watch(loop, signals);
    bool running = good && update(node); // events from before the callback was set are not repeated
    while (running) {
        struct epoll_event ready;
        uint64_t wakeups;
        int count = epoll_wait(loop, &ready, 1, -1);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        running = count == 1 && ready.data.fd == wakeup &&
                  read(wakeup, &wakeups, sizeof wakeups) == sizeof wakeups && update(node);
    }
    close(loop);
    return good;
}

int main(void)
{
    int wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), signals = open_signals();
    pmn_node *node = start();
    if (wakeup < 0 || signals < 0 || node == NULL) {
        return EXIT_FAILURE;
    }
    bool good = ok(pmn_node_set_event_callback(node, wake_loop, &wakeup, NULL), "event callback") &&
                run_loop(node, wakeup, signals);
    // After this the callback no longer runs.
    good = ok(pmn_node_stop(node, 5000), "stopping") && good;
    pmn_node_free(node);
    close(wakeup);
    close(signals);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
