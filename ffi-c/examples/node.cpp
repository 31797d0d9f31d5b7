// A node in C++. Its events and the library's log records go to the program's own logger, and the main thread gets
// an access token. If the node has a callback server, it also waits for the node secret.
//
//     c++ -std=c++17 node.cpp $(pkg-config --cflags --libs posemesh_node) -o node
//     export REG_SECRET=... SECP256K1_PRIVHEX=... CAPABILITIES=/example/v1 NODE_VERSION=1.0.0
//     ./node

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "posemesh_node.hpp"

using namespace std::chrono_literals;

namespace {

// Stands for your program's logger. Its own threads and the library's thread call it.
class Logger {
public:
    void write(std::string_view level, std::string_view source, std::string_view message)
    {
        const std::lock_guard lock(mutex_);
        std::clog << level << ' ' << source << ": " << message << '\n';
    }

private:
    std::mutex mutex_;
};

std::string_view name(pmn_log_level level)
{
    switch (level) {
    case PMN_LOG_ERROR: return "ERROR";
    case PMN_LOG_WARN: return "WARN";
    case PMN_LOG_INFO: return "INFO";
    default: return "DEBUG";
    }
}

void report(Logger &logger, const posemesh::Event &event)
{
    switch (event.type) {
    case PMN_EVENT_STATUS_CHANGED:
        if (event.state == posemesh::State::registered) {
            logger.write("INFO", "node", "in service");
        } else if (event.previous == posemesh::State::registered) {
            logger.write("WARN", "node", "out of service");
        }
        break;
    case PMN_EVENT_SECRET_CHANGED:
        logger.write("INFO", "node", "secret number " + std::to_string(event.secret_version));
        break;
    case PMN_EVENT_REGISTRATION_LOST:
        logger.write("WARN", "node", event.message);
        break;
    case PMN_EVENT_ATTEMPT_FAILED:
        logger.write("WARN", "node", std::string(event.message) + "; next attempt in " +
                                         std::to_string(event.retry_in.count()) + " ms");
        break;
    default: // a later version of the library may have more events
        break;
    }
}

void run(const std::shared_ptr<Logger> &logger)
{
    posemesh::Node node(posemesh::Config().load_env());
    // The function shares ownership of the logger as long as the library may call it.
    node.on_event([logger](const posemesh::Event &event) { report(*logger, event); });
    std::cout << "wallet " << node.wallet_address() << '\n';
    node.wait_registered(60s);
    std::cout << "registered\n";
    // Get the token again for each request: it comes from memory, and the library refreshes it.
    posemesh::AccessToken token = node.access_token(60s);
    std::cout << "token of " << token.value.size() << " bytes\n";
    // Send your request here. If the service responds with 401, call node.invalidate_token_if(token.value).
    posemesh::wipe(token.value);
    // Only for nodes whose URL DDS knows, and which have a callback server (CALLBACK_BIND).
    if (node.callback_address()) {
        node.wait_secret(60s);
        if (std::optional<std::string> secret = node.read_secret()) {
            std::cout << "secret of " << secret->size() << " bytes\n"; // never the secret itself
            posemesh::wipe(*secret);
        }
    }
    node.stop(5s); // the destructor would stop it too, but could not report a failure
}

} // namespace

int main()
{
    const auto logger = std::make_shared<Logger>();
    try {
        posemesh::set_logger([logger](const posemesh::LogRecord &record) {
            logger->write(name(record.level), record.target, record.message);
        });
        run(logger);
        return EXIT_SUCCESS;
    } catch (const posemesh::Error &error) {
        logger->write("ERROR", error.name(), error.what());
        return EXIT_FAILURE;
    }
}
