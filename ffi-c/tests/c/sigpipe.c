// SIGPIPE would end this program. It is not raised, although DDS resets connections (the test injects that) and clients
// of the callback server disconnect without reading the responses.

#include "check.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

enum { CALLERS = 50, REQUESTS = 100 };

// Requests /health many times over one connection, and disconnects before the responses arrive.
static void call_and_leave(uint16_t port)
{
    static const char request[] = "GET /health HTTP/1.1\r\nHost: node\r\n\r\n";
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connection >= 0);
    CHECK(connect(connection, (struct sockaddr *)&address, sizeof address) == 0);
    for (int i = 0; i < REQUESTS; i++) {
        // The connection may be closed by now. This client must not raise the signal itself.
        if (send(connection, request, sizeof request - 1, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    close(connection);
}

int main(void)
{
    alarm(GUARD_SECONDS);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    pmn_node *node = start(1);
    char address[64];
    EXPECT(PMN_OK, pmn_node_callback_address(node, address, sizeof address, NULL));
    uint16_t port = (uint16_t)atoi(strrchr(address, ':') + 1);
    for (int i = 0; i < CALLERS; i++) {
        call_and_leave(port);
    }
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.attempts > 1); // DDS has reset a connection
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    return 0;
}
