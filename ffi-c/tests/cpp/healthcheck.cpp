// A health probe of DDS: an event tells of it, and the status has its time. Needs a DDS that probes.

#include "posemesh_node.hpp"

#include <future>

// scenario: health-probe
int main()
{
    posemesh::Config config;
    config.load_env();
    posemesh::Node node(config);
    std::promise<void> probed;
    node.on_event([&probed, first = true](const posemesh::Event &event) mutable {
        if (event.type == PMN_EVENT_HEALTHCHECK && first) {
            first = false;
            probed.set_value();
        }
    });
    if (probed.get_future().wait_for(std::chrono::seconds(240)) != std::future_status::ready) {
        return 1;
    }
    const posemesh::Status status = node.status();
    node.stop(); // before the promise goes
    return status.last_healthcheck ? 0 : 2;
}
