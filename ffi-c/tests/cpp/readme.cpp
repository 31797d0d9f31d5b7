// The C++ code of README.md, each block where it belongs: readme-1.inc and so on. Needs a DDS.

#include "posemesh_node.hpp"

#include <cstdio>
#include <cstdlib>
#include <thread>

#define CHECK(condition) check((condition), __LINE__, #condition)

static void check(bool holds, int line, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "line %d: check failed: %s\n", line, what);
        std::_Exit(1);
    }
}

static void get_a_token()
{
#include "readme-1.inc"
    CHECK(!token.value.empty());
}

// The status of the response; 0 = the program's own routes.
static std::uint32_t serve(const posemesh::Node &node, std::string_view method, std::string_view path)
{
    const std::string_view type = "application/json", agent = "DDS v1.0.0", body = "{}";
    std::uint32_t sent = 0;
    const auto send = [&sent](std::uint32_t status, std::string_view, std::string_view) { sent = status; };
    const auto own_routes = [](std::string_view own) { CHECK(own == "/jobs"); };
#include "readme-2.inc"
    return sent;
}

static std::string kms_sign(const std::uint8_t *digest)
{
    throw std::runtime_error(digest == nullptr ? "no digest" : "the KMS is locked");
}

static void sign_with(const std::string &address)
{
#include "readme-3.inc"
    while (!node.last_error()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(std::string(node.last_error()->what()).find("the KMS is locked") != std::string::npos);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        sign_with(argv[1]);
        return 0;
    }
    get_a_token();
    const posemesh::Node node(posemesh::Config().load_env());
    CHECK(serve(node, "POST", "/internal/v1/registrations") == 422);
    CHECK(serve(node, "GET", "/health") == 200);
    CHECK(serve(node, "GET", "/jobs") == 0);
    return 0;
}
