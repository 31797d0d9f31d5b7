// A data race, which the test must detect: the callback, on the library's thread, writes a counter that this thread
// reads without a lock.

#include "check.h"

static void on_event(const pmn_event *event, void *user_data)
{
    (void)event;
    ++*(unsigned *)user_data;
}

int main(void)
{
    alarm(GUARD_SECONDS);
    unsigned count = 0;
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, &count, NULL));
    EXPECT(PMN_OK, pmn_node_rearm(node));
    while (*(volatile unsigned *)&count == 0) {
    }
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    return 0;
}
