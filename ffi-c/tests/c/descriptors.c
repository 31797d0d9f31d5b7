// A program that closes every descriptor between two nodes, as a daemon does when it starts: the library has none open,
// and does not touch descriptors that reuse the numbers.

#include "check.h"

#include <sys/socket.h>

enum { LAST = 256 };

static void live(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
}

static void close_all(void)
{
    for (int fd = 3; fd < LAST; fd++) {
        (void)close(fd); // most are not open
    }
}

int main(void)
{
    alarm(GUARD_SECONDS);
    close_all(); // inherited from the parent process
    const int before = open_files();
    for (int round = 0; round < 3; round++) {
        live();
        CHECK(open_files() == before);
        close_all();

        // Readable sockets of the program, with the numbers that the library's descriptors had.
        int pairs[16][2];
        char text[8];
        for (size_t i = 0; i < COUNT(pairs); i++) {
            CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) == 0);
            CHECK(write(pairs[i][0], "one", 3) == 3 && write(pairs[i][1], "two", 3) == 3);
        }
        live();
        for (size_t i = 0; i < COUNT(pairs); i++) {
            CHECK(read(pairs[i][0], text, sizeof text) == 3 && memcmp(text, "two", 3) == 0);
            CHECK(read(pairs[i][1], text, sizeof text) == 3 && memcmp(text, "one", 3) == 0);
            CHECK(close(pairs[i][0]) == 0 && close(pairs[i][1]) == 0);
        }
        CHECK(open_files() == before);
    }
    return 0;
}
