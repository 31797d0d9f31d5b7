// Health probes of DDS: an event tells of each, and the status has the time of the last one. Needs a DDS that probes.

#include "check.h"

static int probed[2];

static void on_event(const pmn_event *event, void *user_data)
{
    (void)user_data;
    if (event->type == PMN_EVENT_HEALTHCHECK) {
        (void)!write(probed[1], "!", 1);
    }
}

// scenario: health-probe
int main(void)
{
    alarm(GUARD_SECONDS);
    CHECK(pipe(probed) == 0);
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, NULL, NULL));
    char byte;
    CHECK(read(probed[0], &byte, 1) == 1);
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.last_healthcheck > 1700000000);
    pmn_node_free(node);
    return 0;
}
