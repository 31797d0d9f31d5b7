// posemesh_node.hpp with a DDS that calls back: conversions, ownership, and wiping.

#include "posemesh_node.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <unistd.h>

using namespace std::chrono_literals;

// Guards against hanging; not a performance limit.
constexpr std::chrono::seconds guard = 240s;

#define CHECK(condition) check((condition), __LINE__, #condition)
#define SAYS(expected, call) check(message([&] { (void)(call); }).find(expected) != std::string::npos, __LINE__, #call)
#define THROWS(expected, call) check(thrown([&] { (void)(call); }) == (expected), __LINE__, #call)

static void check(bool holds, int line, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "line %d: check failed: %s\n", line, what);
        std::_Exit(1);
    }
}

template <typename Call>
static pmn_result thrown(Call call)
{
    try {
        call();
        return PMN_OK;
    } catch (const posemesh::Error &error) {
        CHECK(std::strcmp(error.name(), pmn_result_name(error.code())) == 0);
        CHECK(std::strlen(error.what()) > 0);
        return error.code();
    }
}

template <typename Call>
static std::string message(Call call)
{
    try {
        call();
        return "";
    } catch (const posemesh::Error &error) {
        return error.what();
    }
}

// Searches every block that C++ frees for text that must have been wiped. (A short text would be inside its
// std::string, not on the heap.)
static const char *volatile forbidden = nullptr;
static std::atomic<int> found{0};

// Not inline, because the compiler would warn about free() for memory from new.
[[gnu::noinline]] void operator delete(void *block) noexcept
{
    if (block != nullptr && forbidden != nullptr) {
        found += memmem(block, malloc_usable_size(block), forbidden, std::strlen(forbidden)) != nullptr;
    }
    std::free(block);
}
[[gnu::noinline]] void operator delete(void *block, std::size_t) noexcept { operator delete(block); }
[[gnu::noinline]] void *operator new(std::size_t size)
{
    if (void *block = std::calloc(1, size)) {
        return block;
    }
    std::abort();
}

static const char *const key = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
static const char *const wallet = "0xfdbb6caf01414300c16ea14859fec7736d95355f";

static_assert(!std::is_copy_constructible_v<posemesh::Node> && !std::is_copy_assignable_v<posemesh::Node>);
static_assert(std::is_nothrow_move_constructible_v<posemesh::Node>);
static_assert(std::is_nothrow_move_assignable_v<posemesh::Node>);
static_assert(std::is_nothrow_destructible_v<posemesh::Node>);
static_assert(std::is_base_of_v<std::runtime_error, posemesh::Error>);
static_assert(posemesh::State::registered == PMN_STATE_REGISTERED && posemesh::State::registered != PMN_STATE_REGISTERING);
static_assert(!std::is_convertible_v<posemesh::State, int> && !std::is_convertible_v<posemesh::Role, int>);

// Counts callbacks, for a thread that waits for them.
struct Counts {
    std::mutex mutex;
    std::condition_variable changed;
    int calls = 0;
    int secrets = 0;

    void add(bool secret)
    {
        const std::lock_guard lock(mutex);
        ++calls;
        secrets += secret;
        changed.notify_all();
    }
    template <typename Condition>
    void until(Condition condition)
    {
        std::unique_lock lock(mutex);
        CHECK(changed.wait_for(lock, guard, condition));
    }
};

static posemesh::Config environment()
{
    posemesh::Config config;
    config.load_env();
    return config;
}

// scenario: start-refused, environment
static void errors()
{
    posemesh::Config config;
    THROWS(PMN_ERR_INVALID_CONFIG, config.set("no_such_option", "x"));
    THROWS(PMN_ERR_INVALID_CONFIG, posemesh::Node(config)); // nothing is set
    THROWS(PMN_ERR_INVALID_ARGUMENT, config.set("node_version", std::string_view("1.0.0\0", 6)));
    try {
        config.set("max_retry", "many");
        CHECK(false);
    } catch (const std::exception &error) {
        CHECK(std::strstr(error.what(), "max_retry") != nullptr);
    }
    // The view does not end with a NUL.
    config.set(std::string_view("max_retry!", 9), std::string_view("345", 1));

    setenv("REGISTER_MAX_RETRY", "many", 1);
    THROWS(PMN_ERR_INVALID_CONFIG, config.load_env());
    unsetenv("REGISTER_MAX_RETRY");
}

static void crypto()
{
    CHECK(posemesh::eth_address(key) == wallet);
    CHECK(posemesh::sign_eip191(key, "hello").size() == 132);
    CHECK(posemesh::sign_eip191(key, std::string_view()) == posemesh::sign_eip191(key, ""));
    CHECK(posemesh::sign_eip191(key, std::string_view("a\0b", 3)) != posemesh::sign_eip191(key, "a"));
    THROWS(PMN_ERR_INVALID_ARGUMENT, posemesh::eth_address("not a key"));
    SAYS("64 hex digits", posemesh::eth_address("not a key"));
    SAYS("64 hex digits", posemesh::sign_eip191("not a key", "hello"));
    CHECK(posemesh::version() == pmn_version());
}

static void timeouts()
{
    using posemesh::detail::timeout_ms;
    CHECK(timeout_ms(std::chrono::milliseconds::min()) == 0 && timeout_ms(-1ms) == 0 && timeout_ms(0ms) == 0);
    CHECK(timeout_ms(1ms) == 1 && timeout_ms(60s) == 60000);
    CHECK(timeout_ms(posemesh::no_timeout - 1ms) == PMN_NO_TIMEOUT - 1);
    CHECK(timeout_ms(posemesh::no_timeout) == PMN_NO_TIMEOUT);
    CHECK(timeout_ms(std::chrono::milliseconds::max()) == PMN_NO_TIMEOUT);
    CHECK(posemesh::detail::milliseconds(UINT64_MAX) == std::chrono::milliseconds::max());
}

// scenario: secrets-never-shown
static void keys_are_wiped()
{
    std::string with_nul(key);
    with_nul.push_back('\0');
    forbidden = key;
    posemesh::Config config;
    config.set("secp256k1_privhex", key);
    (void)posemesh::eth_address(key);
    (void)posemesh::sign_eip191(key, "hello");
    THROWS(PMN_ERR_INVALID_ARGUMENT, posemesh::eth_address(with_nul));
    CHECK(found == 0);
    {
        std::string text(key);
        posemesh::wipe(text);
        CHECK(text.empty());
    }
    CHECK(found == 0);
    // The search does find a text that was not wiped.
    {
        const std::string text(key);
        CHECK(posemesh::eth_address(text) == wallet);
    }
    CHECK(found == 1);
    forbidden = nullptr;
}

// scenario: register, rearm, double-stop, already-running, port-taken
static void a_node()
{
    const posemesh::Clock::time_point begun = posemesh::Clock::now();
    posemesh::Node node(environment());
    node.wait_registered(guard);
    node.wait_secret();
    CHECK(node.callback_address() == std::getenv("CALLBACK_BIND"));
    CHECK(!node.admin_address());
    const posemesh::Readiness ready = node.ready(true);
    CHECK(ready && ready.result == PMN_OK && ready.reason == "registered, and the node has a secret");
    CHECK(node.metrics_text().find("\nposemesh_node_has_secret 1\n") != std::string::npos);
    CHECK(node.wallet_address() == wallet);
    CHECK(node.sign("hello") == posemesh::sign_eip191(key, "hello"));

    posemesh::Status status = node.status();
    CHECK(status.state == posemesh::State::registered && status.running && status.has_secret);
    CHECK(status.secret_version == 1 && status.attempts >= 1 && status.consecutive_failures == 0);
    CHECK(status.last_error == PMN_OK && !status.last_healthcheck && !status.next_attempt_in);
    CHECK(status.role == posemesh::Role::leader && status.persistence_error == PMN_OK);
    CHECK(!status.token_expires_at && status.sign_in_failures == 0 && status.clock_skew == 0ms);
    CHECK(!node.last_error() && !node.persistence_error());
    CHECK(status.registered_at && *status.registered_at > begun - 2s && *status.registered_at < begun + guard);

    std::optional<std::string> secret = node.read_secret();
    CHECK(secret && secret->size() == 43 && std::strlen(secret->c_str()) == 43);
    forbidden = secret->c_str();
    const std::string copy = *node.read_secret();
    CHECK(copy == *secret);
    forbidden = nullptr;
    found = 0;

    THROWS(PMN_ERR_ALREADY_RUNNING, posemesh::Node(environment()));
    THROWS(PMN_ERR_BIND, posemesh::Node(environment().set("secp256k1_privhex", std::string(64, '1'))));
    node.rearm();
    node.wait_registered(guard);
    node.stop(guard);
    node.stop();
    CHECK(!node.status().running && node.read_secret().has_value());
    THROWS(PMN_ERR_STOPPED, node.wait_registered(guard));
    THROWS(PMN_ERR_STOPPED, node.rearm());
    SAYS("the node was stopped", node.wait_secret(guard));
    SAYS("the node was stopped", node.rearm());
    SAYS("the node was stopped", node.access_token(guard));
}

// scenario: token-refused
static void tokens()
{
    posemesh::Node node(environment());
    posemesh::AccessToken token = node.access_token(guard);
    CHECK(token.value.size() > 15 && std::strlen(token.value.c_str()) == token.value.size());
    CHECK(token.expires_at > posemesh::Clock::now());
    CHECK(node.status().token_expires_at == token.expires_at);
    CHECK(!node.token_error());

    // Every other copy is wiped.
    const std::string text = token.value;
    forbidden = text.c_str();
    {
        posemesh::AccessToken again = node.access_token(0ms);
        CHECK(again.value == text && again.expires_at == token.expires_at);
        posemesh::wipe(again.value);
    }
    node.invalidate_token_if("another");
    node.invalidate_token_if(text);
    CHECK(found == 0);
    forbidden = nullptr;

    CHECK(node.access_token().value != text);
    node.invalidate_token();
    THROWS(PMN_ERR_TIMEOUT, node.access_token(0ms));
    THROWS(PMN_ERR_INVALID_ARGUMENT, node.invalidate_token_if(std::string_view("a\0b", 3)));
    node.stop(guard);
    THROWS(PMN_ERR_STOPPED, node.access_token());
    THROWS(PMN_ERR_STOPPED, node.invalidate_token());
    THROWS(PMN_ERR_STOPPED, node.invalidate_token_if(text));
}

// The test makes DDS reject one registration.
// scenario: dds-refuses
static void a_refused_registration()
{
    posemesh::Node node(environment());
    while (node.status().last_error == PMN_OK) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK(node.last_error()->code() == PMN_ERR_REJECTED);
    SAYS("this wallet is blocked", node.wait_registered(0ms));
}

// The test makes DDS reject one sign-in.
// scenario: sign-in-refused
static void a_refused_sign_in()
{
    posemesh::Node node(environment());
    try {
        node.access_token(guard);
        CHECK(false);
    } catch (const posemesh::Error &error) {
        CHECK(error.code() == PMN_ERR_REJECTED && std::strstr(error.what(), "this wallet is blocked"));
    }
    CHECK(node.token_error()->code() == PMN_ERR_REJECTED && node.status().sign_in_failures == 1);
}

// and then, once, the node itself.
// scenario: dds-forgets
static void a_lost_registration()
{
    const auto counts = std::make_shared<Counts>();
    posemesh::Node node(environment());
    node.on_event([counts](const posemesh::Event &event) {
        counts->add(event.type == PMN_EVENT_REGISTRATION_LOST);
    });
    CHECK(!node.access_token(guard).value.empty());
    counts->until([&] { return counts->secrets == 1; });
}

// scenario: stop-during-wait
static void stop_during_a_wait()
{
    posemesh::Node node(environment().set("dds_base_url", "http://127.0.0.1:1"));
    std::thread registered([&] { THROWS(PMN_ERR_STOPPED, node.wait_registered()); });
    std::thread token([&] { THROWS(PMN_ERR_STOPPED, node.access_token()); });
    node.stop(guard);
    registered.join();
    token.join();
}

// scenario: dds-unreachable, wait-timed-out
static void without_a_dds()
{
    const auto counts = std::make_shared<Counts>();
    posemesh::Node node(environment().set("dds_base_url", "http://127.0.0.1:1"));
    node.on_event([counts](const posemesh::Event &event) {
        if (event.type == PMN_EVENT_ATTEMPT_FAILED) {
            counts->add(false);
        }
    });
    node.rearm();
    counts->until([&] { return counts->calls >= 1; });
    CHECK(node.last_error()->code() == PMN_ERR_UNAVAILABLE);
    THROWS(PMN_ERR_TIMEOUT, node.access_token(0ms));
    SAYS(node.last_error()->what(), node.wait_registered(0ms));
    SAYS(node.last_error()->what(), node.wait_secret(0ms));
    SAYS(node.last_error()->what(), node.access_token(0ms));
}

// scenario: wait-cannot-succeed, readiness
static void a_node_without_a_server()
{
    posemesh::Config config;
    config.set("dds_base_url", std::getenv("DDS_BASE_URL"))
        .set("reg_secret", "x")
        .set("secp256k1_privhex", key)
        .set("capabilities", "/example/v1")
        .set("node_version", "1.0.0");
    config.set("admin_bind", "127.0.0.1:0");
    posemesh::Node node(config);
    CHECK(!node.callback_address());
    CHECK(node.admin_address()->find("127.0.0.1:") == 0);
    CHECK(!node.read_secret());
    const posemesh::Readiness waiting = node.ready(true);
    CHECK(!waiting && (waiting.result == PMN_ERR_NOT_FOUND || waiting.result == PMN_ERR_UNAVAILABLE));
    CHECK(waiting.reason.find("registered") != std::string::npos);
    // Without a callback server, no secret can arrive.
    THROWS(PMN_ERR_NOT_FOUND, node.wait_secret());
    CHECK(!node.token_claims());
    CHECK(!node.node_id() && node.status().node_id.empty());
    node.access_token(guard);
    CHECK(node.token_claims()->find("\"node_id\":\"" + node.node_id().value() + '"') != std::string::npos);
    CHECK(node.status().node_id == node.node_id());
}

// scenario: signer
static void a_signer()
{
    const auto captured = std::make_shared<int>(0);
    const auto counts = std::make_shared<Counts>();
    posemesh::Config config;
    config.set("dds_base_url", std::getenv("DDS_BASE_URL"))
        .set("reg_secret", "x")
        .set("capabilities", "/example/v1")
        .set("node_version", "1.0.0")
        .set_signer(wallet, [captured, counts](const posemesh::SignRequest &request) {
            CHECK(request.address == wallet && request.digest != nullptr);
            counts->add(false);
            if (counts->calls == 1) {
                throw std::runtime_error("the HSM is locked");
            }
            return posemesh::sign_eip191(key, request.message);
        });
    THROWS(PMN_ERR_INVALID_CONFIG, config.set_signer("0x12", [captured](const posemesh::SignRequest &) { return ""; }));
    SAYS("40 hex digits", config.set_signer("0x12", [captured](const posemesh::SignRequest &) { return ""; }));
    {
        posemesh::Node node(config);
        config = posemesh::Config(); // the node keeps the signer
        while (!node.last_error()) {
            std::this_thread::sleep_for(1ms);
        }
        CHECK(std::strstr(node.last_error()->what(), "the HSM is locked") != nullptr);
        node.wait_registered(guard);
        CHECK(node.wallet_address() == wallet && captured.use_count() == 2);
        THROWS(PMN_ERR_NOT_FOUND, node.sign("hello"));
    }
    CHECK(captured.use_count() == 1);
    config.set_signer("", nullptr);
}

// scenario: stop-during-start, dropped-without-stop
static void moving()
{
    posemesh::Node first(environment());
    posemesh::Node second(std::move(first));
    CHECK(second.status().running);
    THROWS(PMN_ERR_INVALID_ARGUMENT, first.status());
    THROWS(PMN_ERR_INVALID_ARGUMENT, first.stop());
    first = std::move(second);
    first.wait_secret(guard);
    const posemesh::Config config = environment();
    first.stop(guard);
    first = posemesh::Node(config); // frees the former node
    CHECK(first.status().running);
}

// scenario: events-in-order, callback-fails
static void events()
{
    const auto counts = std::make_shared<Counts>();
    posemesh::Node node(environment());
    node.wait_secret(guard);

    // Exceptions end in the callback, and events continue.
    auto captured = std::make_shared<int>(0);
    node.on_event([counts, captured](const posemesh::Event &event) {
        CHECK(event.time > posemesh::Clock::time_point() && event.dropped == 0);
        CHECK((event.previous != event.state) == (event.type == PMN_EVENT_STATUS_CHANGED));
        CHECK(event.old_state == event.previous && event.new_state == event.state);
        CHECK(event.message.empty() == (event.type != PMN_EVENT_ATTEMPT_FAILED));
        CHECK(event.token_expires_at.has_value() == (event.type == PMN_EVENT_TOKEN_REFRESHED));
        counts->add(event.type == PMN_EVENT_SECRET_CHANGED);
        throw std::bad_alloc();
    });
    node.rearm();
    counts->until([&] { return counts->secrets >= 1 && counts->calls >= 3; });
    CHECK(captured.use_count() == 2);

    // A function that was replaced is destroyed after its queued events, at the latest by the stop.
    auto second = std::make_shared<int>(0);
    node.on_event([second](const posemesh::Event &) {});
    node.on_event(nullptr);
    node.on_event([second](const posemesh::Event &) {});
    node.stop(guard);
    CHECK(captured.use_count() == 1 && second.use_count() == 1);

    // A function that was refused is destroyed immediately.
    THROWS(PMN_ERR_STOPPED, node.on_event([second](const posemesh::Event &) {}));
    CHECK(second.use_count() == 1);
}

// scenario: stop-in-callback
static void destroyed_in_its_callback()
{
    const auto counts = std::make_shared<Counts>();
    // Counts when the function that owns it is destroyed, which happens last.
    std::shared_ptr<Counts> last(counts.get(), [counts](Counts *self) { self->add(false); });
    const auto node = std::make_shared<std::optional<posemesh::Node>>(
        environment().set("secp256k1_privhex", std::string(64, '1')).set("callback_bind", "127.0.0.1:0"));
    {
        // The callback waits until the node is no longer used here.
        const std::lock_guard lock(counts->mutex);
        (*node)->on_event([last = std::move(last), node](const posemesh::Event &) {
            std::unique_lock(last->mutex).unlock();
            THROWS(PMN_ERR_WOULD_DEADLOCK, (*node)->stop(guard));
            SAYS("from a thread of your own", (*node)->stop(guard));
            node->reset();
        });
        (*node)->rearm();
    }
    counts->until([&] { return counts->calls == 1; });
}

// scenario: logs
static void logging()
{
    const auto counts = std::make_shared<Counts>();
    posemesh::set_logger(
        [counts](const posemesh::LogRecord &record) {
            CHECK(record.level >= PMN_LOG_ERROR && record.level <= PMN_LOG_DEBUG && !record.message.empty());
            CHECK(record.target.substr(0, 14) == "posemesh_node:" && record.dropped == 0);
            counts->add(false);
            throw 1;
        },
        PMN_LOG_DEBUG);
    THROWS(PMN_ERR_INVALID_ARGUMENT, posemesh::set_logger(nullptr));
    THROWS(PMN_ERR_INVALID_ARGUMENT, posemesh::set_logger([](const posemesh::LogRecord &) {}, 99));
    {
        posemesh::Node node(environment());
        node.wait_secret(guard);
        posemesh::clear_logger();
    }
    CHECK(counts->calls >= 3 && counts.use_count() == 1);
}

// scenario: mounted-routes
static void requests_of_dds()
{
    posemesh::Config config;
    config.set("dds_base_url", std::getenv("DDS_BASE_URL"))
        .set("reg_secret", "x")
        .set("secp256k1_privhex", key)
        .set("capabilities", "/example/v1")
        .set("node_version", "1.0.0");
    const posemesh::Node node(config);
    THROWS(PMN_ERR_NOT_FOUND, node.wait_secret(1ms));
    CHECK(!node.handle_request({"GET", "/jobs", {}, ""}));
    THROWS(PMN_ERR_TIMEOUT, node.wait_secret(1ms));
    node.wait_registered(guard);
    const auto json = std::make_pair(std::string_view("Content-Type"), std::string_view("application/json"));
    const std::string_view path = "/internal/v1/registrations";
    const auto response = node.handle_request({"POST", path, {json}, R"({"id": "n", "secret": "from DDS"})"}, guard);
    CHECK(response && response->status == 200 && response->body == R"({"ok":true})");
    CHECK(response->content_type == "application/json" && response->allow.empty() && !response->retry_after);
    CHECK(node.read_secret() == "from DDS");
    CHECK(node.handle_request({"GET", path, {}, ""})->allow == "POST");
    const std::string zeros(300 * 1024, '\0');
    CHECK(node.handle_request({"POST", path, {json}, zeros})->status == 413);
    CHECK(!node.handle_request({"GET", "/health", {}, ""}));
    CHECK(node.handle_request({"GET", "/health", {{"user-agent", "DDS v1"}}, ""})->status == 200);
    using namespace std::string_view_literals;
    CHECK(!node.handle_request({"GET", "/health\0/other"sv, {{"user-agent", "DDS v1"}}, ""}));
    CHECK(node.handle_request({"POST", "/internal/v1/registrations/", {json, {"x\0y"sv, "z"}}, "{}"})->status == 422);
}

int main()
{
    alarm(static_cast<unsigned>(guard.count()));
    errors();
    crypto();
    timeouts();
    keys_are_wiped();
    a_refused_registration();
    a_refused_sign_in();
    a_lost_registration();
    stop_during_a_wait();
    a_node();
    tokens();
    without_a_dds();
    a_node_without_a_server();
    requests_of_dds();
    a_signer();
    moving();
    events();
    destroyed_in_its_callback();
    logging();
}
