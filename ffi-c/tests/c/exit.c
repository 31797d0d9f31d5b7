// The process ends while its node runs, without a stop or a free.

#include "check.h"

static void on_event(const pmn_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

// scenario: process-exit
int main(void)
{
    alarm(GUARD_SECONDS);
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_rearm(node)); // so that it is busy
    return 7;
}
