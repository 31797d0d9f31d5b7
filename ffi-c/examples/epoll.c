// A node in a program with an epoll loop: the callback only rings an eventfd, and everything else happens
// in the loop. So no event is handled on a thread that the program does not own.
//
//     cc -std=c11 epoll.c $(pkg-config --cflags --libs posemesh_node) -o epoll
//     export REG_SECRET=... SECP256K1_PRIVHEX=... CAPABILITIES=/example/v1 NODE_VERSION=1.0.0
//     CALLBACK_BIND=0.0.0.0:8080 ./epoll
//
// It ends on Ctrl-C and SIGTERM, or, to be short, when it has the secret.

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "posemesh_node.h"

static void ring(const pmn_event *event, void *user_data)
{
    const int *bell = user_data;
    const uint64_t once = 1;
    (void)event; // what has changed, the loop reads from the status
    if (write(*bell, &once, sizeof once) < 0) {
        // Only when it has been rung 2^64 - 2 times: it is heard anyway.
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

// Ctrl-C and SIGTERM, as something to read. Before the node starts: its threads have all signals blocked.
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

// What the program does when something has happened to its node. True: go on.
static bool look(const pmn_node *node)
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
    if (status.state != PMN_STATE_REGISTERED || !status.has_secret) {
        return true;
    }
    printf("secret number %" PRIu64 "\n", status.secret_version);
    return false;
}

static bool serve(const pmn_node *node, int bell, int signals)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    bool good = loop >= 0 && watch(loop, bell) && watch(loop, signals);
    bool go_on = good && look(node); // what happened before the callback was set is not told again
    while (go_on) {
        struct epoll_event ready;
        uint64_t rings;
        int count = epoll_wait(loop, &ready, 1, -1);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        go_on = count == 1 && ready.data.fd == bell && read(bell, &rings, sizeof rings) == sizeof rings &&
                look(node);
    }
    close(loop);
    return good;
}

int main(void)
{
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), signals = open_signals();
    pmn_node *node = start();
    if (bell < 0 || signals < 0 || node == NULL) {
        return EXIT_FAILURE;
    }
    bool good = ok(pmn_node_set_event_callback(node, ring, &bell, NULL), "event callback") &&
                serve(node, bell, signals);
    // After this nothing rings the bell any more.
    good = ok(pmn_node_stop(node, 5000), "stopping") && good;
    pmn_node_free(node);
    close(bell);
    close(signals);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
