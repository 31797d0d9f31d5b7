// A node in a global variable: it is destroyed, and with that stopped, when the process ends.

#include "posemesh_node.hpp"

#include <optional>

static std::optional<posemesh::Node> node;

// scenario: process-exit
int main()
{
    posemesh::Config config;
    config.load_env();
    node.emplace(config);
    node->on_event([](const posemesh::Event &) {});
    node->wait_registered(std::chrono::seconds(240));
    node->rearm();
    return 7;
}
