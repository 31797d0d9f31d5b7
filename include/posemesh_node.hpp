/*
 * posemesh_node.hpp - posemesh_node.h for C++17: objects that free themselves, exceptions, std::function
 *
 * A thin inline layer over the C header, which documents the functions, the options and the constants
 * (PMN_EVENT_..., PMN_LOG_..., PMN_ERR_...).
 *
 *     posemesh::Node node(posemesh::Config().load_env().set("node_version", "1.0.0"));
 *     node.wait_registered(std::chrono::seconds(60));
 *     posemesh::AccessToken token = node.access_token(std::chrono::seconds(60));
 *     // send a request with the header "Authorization: Bearer " + token.value
 *
 * Failures: every failure, including a timeout, throws a posemesh::Error, whose code() is one of PMN_ERR_....
 * Programs built with -fno-exceptions use the C header instead. RTTI is not required.
 *
 * Threads: as in C. Any number of threads may call any function of a Node at the same time, const or not. Only
 * moving and destroying it are for one thread.
 *
 * Callbacks run on the library's thread. What a function captures is destroyed after its last call. An exception
 * that would leave the function is discarded.
 */

#ifndef POSEMESH_NODE_HPP
#define POSEMESH_NODE_HPP

// MSVC leaves __cplusplus at 199711 unless it is run with /Zc:__cplusplus.
#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "posemesh_node.hpp needs C++17; posemesh_node.h does with less"
#elif !defined(__cpp_exceptions)
#error "posemesh_node.hpp throws exceptions; posemesh_node.h does without them"
#endif

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "posemesh_node.h"

namespace posemesh {

/// The clock of all times: wall-clock time.
using Clock = std::chrono::system_clock;

/// No timeout: wait as long as it takes.
inline constexpr std::chrono::milliseconds no_timeout{PMN_NO_TIMEOUT};

/// A failed call: what() is for people, code() for programs.
class Error : public std::runtime_error {
public:
    /// `code` is one of PMN_ERR_....
    Error(pmn_result code, const std::string &message) : std::runtime_error(message), code_(code) {}

    /// PMN_ERR_...
    pmn_result code() const noexcept { return code_; }
    /// Such as "PMN_ERR_TIMEOUT".
    const char *name() const noexcept { return pmn_result_name(code_); }

private:
    pmn_result code_;
};

/// The state of a node's registration.
enum class State : pmn_state {
    /// Not registered, and not yet tried since the start or the last rearm().
    disconnected = PMN_STATE_DISCONNECTED,
    /// Trying to register.
    registering = PMN_STATE_REGISTERING,
    /// Registered with DDS.
    registered = PMN_STATE_REGISTERED,
};

/// A State also compares with PMN_STATE_..., which it used to be.
constexpr bool operator==(State state, pmn_state constant) noexcept
{
    return static_cast<pmn_state>(state) == constant;
}
/// The opposite of ==.
constexpr bool operator!=(State state, pmn_state constant) noexcept
{
    return !(state == constant);
}

/// A node's role among the processes that share its state_dir or state_url.
enum class Role : pmn_role {
    /// This node registers, and DDS calls it. Every node without a state_dir or state_url is a leader.
    leader = PMN_ROLE_LEADER,
    /// Another process leads, and this node shows its state. It takes over when the leader ends.
    follower = PMN_ROLE_FOLLOWER,
};

/// A consistent snapshot of a node: pmn_status.
struct Status {
    /// Whether the node is registered.
    State state;
    /// False after a stop.
    bool running;
    /// Whether Node::read_secret() returns one.
    bool has_secret;
    /// 1 for the first secret, one more for each new one; 0 = no secret so far.
    std::uint64_t secret_version;
    /// When DDS last sent a health check.
    std::optional<Clock::time_point> last_healthcheck;
    /// When DDS last confirmed a registration.
    std::optional<Clock::time_point> registered_at;
    /// Attempts to register since the start.
    std::uint64_t attempts;
    /// Attempts that failed since the last success.
    std::uint32_t consecutive_failures;
    /// Why the last attempt failed; PMN_OK after a success.
    pmn_result last_error;
    /// The time until the next attempt, if one is scheduled.
    std::optional<std::chrono::milliseconds> next_attempt_in;
    /// Whether this process registers, or another one that shares its state.
    Role role;
    /// Why the node currently cannot write its state to state_dir, cannot follow the leader there, or cannot use
    /// state_url; PMN_OK if there is no such error.
    pmn_result persistence_error;
    /// When the held access token expires, by DDS's clock; empty if none is held.
    std::optional<Clock::time_point> token_expires_at;
    /// Sign-ins for an access token that failed since the last success.
    std::uint32_t sign_in_failures;
    /// How far DDS's clock is ahead of this machine's; negative if it is behind.
    std::chrono::milliseconds clock_skew;
    /// True if DDS has not called the callback server within a minute of the registration. DDS only calls a node
    /// whose URL it knows and can reach.
    bool callback_overdue;
    /// The id that DDS knows the node by, a UUID; empty as long as it is not known.
    std::string node_id;
};

/// An access token for the services behind DDS. Call wipe() on it when you are done.
struct AccessToken {
    /// The token itself, for an "Authorization: Bearer" header. Do not log it.
    std::string value;
    /// When it expires, by DDS's clock.
    Clock::time_point expires_at;
};

/// Something that happened to a node: pmn_event. Its message is valid only until the callback returns.
struct Event {
    /// PMN_EVENT_...; ignore a number that you do not know.
    pmn_event_type type;
    /// When it happened.
    Clock::time_point time;
    /// The number of events dropped just before this one because the callback was too slow.
    std::uint64_t dropped;
    /// PMN_EVENT_STATUS_CHANGED: the state before.
    State previous;
    /// PMN_EVENT_STATUS_CHANGED: the state now.
    State state;
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    std::uint64_t secret_version;
    /// PMN_EVENT_ATTEMPT_FAILED: PMN_ERR_REJECTED or PMN_ERR_UNAVAILABLE.
    pmn_result code;
    /// PMN_EVENT_ATTEMPT_FAILED, PMN_EVENT_REGISTRATION_LOST: what happened, including DDS's own words.
    std::string_view message;
    /// PMN_EVENT_ATTEMPT_FAILED: the time until the next attempt.
    std::chrono::milliseconds retry_in;
    /// PMN_EVENT_TOKEN_REFRESHED: when the token expires, by DDS's clock.
    std::optional<Clock::time_point> token_expires_at;
    /// The former name of previous.
    State old_state;
    /// The former name of state.
    State new_state;
};

/// A log record: pmn_log_record. Its text is valid only until the callback returns.
struct LogRecord {
    /// PMN_LOG_...
    pmn_log_level level;
    /// When it was written.
    Clock::time_point time;
    /// The number of records dropped just before this one because the callback was too slow.
    std::uint64_t dropped;
    /// The part of the library that wrote it.
    std::string_view target;
    /// One line for people, without a newline.
    std::string_view message;
};

/// What a signer signs: pmn_sign_request. Valid only until the function returns.
struct SignRequest {
    /// The address that signs: "0x" and 40 lowercase hex digits.
    std::string_view address;
    /// The 32 bytes to sign: the Keccak-256 of the message with its EIP-191 prefix.
    const std::uint8_t *digest;
    /// The message itself, for a signer that hashes it (personal_sign).
    std::string_view message;
};

/// Overwrites a text, such as a secret, and empties it.
inline void wipe(std::string &text) noexcept
{
    // No compiler removes writes through volatile.
    for (volatile char *byte = text.data(), *end = byte + text.size(); byte != end; ++byte) {
        *byte = 0;
    }
    text.clear();
}

/// A request that has reached your web server. The texts are not copied before Node::handle_request().
struct HttpRequest {
    /// Such as "POST".
    std::string_view method;
    /// Without a prefix under which you have the library's routes. A query after it is ignored.
    std::string_view path;
    /// Names, in upper or lower case, and values. The library reads Content-Type and User-Agent.
    std::vector<std::pair<std::string_view, std::string_view>> headers;
    /// The whole body, or at least its first PMN_MAX_CALLBACK_BODY + 1 bytes.
    std::string_view body;
};

/// What to respond to a request. The texts stay valid for the life of the process.
struct HttpResponse {
    /// The status code, such as 200.
    std::uint32_t status;
    /// The value of the header Retry-After; empty = no such header.
    std::optional<std::chrono::seconds> retry_after;
    /// The value of the header Content-Type; empty = no such header.
    std::string_view content_type;
    /// The value of the header Allow; empty = no such header.
    std::string_view allow;
    /// The body; may be empty.
    std::string_view body;
};

namespace detail {

/// For calls that report only a number.
inline void check(pmn_result result, const char *call)
{
    if (result != PMN_OK) {
        throw Error(result, std::string(call) + ": " + pmn_result_name(result));
    }
}

/// Receives the error object of a call.
class ErrorOut {
public:
    ErrorOut() = default;
    ErrorOut(const ErrorOut &) = delete;
    ErrorOut &operator=(const ErrorOut &) = delete;
    ~ErrorOut() { pmn_error_free(error_); }

    pmn_error **out() noexcept { return &error_; }

    void check(pmn_result result) const
    {
        if (result != PMN_OK) {
            throw Error(result, pmn_error_message(error_));
        }
    }

private:
    pmn_error *error_ = nullptr;
};

/// A NUL-terminated copy of a text, which may be a key: the destructor wipes it.
class CText {
public:
    explicit CText(std::string_view text) : text_(text)
    {
        if (text.find('\0') != std::string_view::npos) {
            wipe(text_);
            throw Error(PMN_ERR_INVALID_ARGUMENT, "the text contains a NUL");
        }
    }
    CText(const CText &) = delete;
    CText &operator=(const CText &) = delete;
    ~CText() { wipe(text_); }

    const char *get() const noexcept { return text_.c_str(); }

private:
    std::string text_;
};

/// What `write(buffer, capacity, length)` writes; empty for PMN_ERR_NOT_FOUND.
template <typename Write>
std::optional<std::string> find_text(const char *call, const Write &write)
{
    std::string text;
    for (;;) {
        std::size_t length = 0;
        // The byte after the end is the string's own NUL, which a NUL may overwrite.
        const pmn_result result = write(text.data(), text.size() + 1, &length);
        if (result == PMN_ERR_NOT_FOUND) {
            return std::nullopt;
        }
        if (result != PMN_ERR_BUFFER_TOO_SMALL) {
            check(result, call);
            text.resize(length);
            return text;
        }
        text.resize(length);
    }
}

/// Like find_text(), but throws for PMN_ERR_NOT_FOUND, with the message `none`.
template <typename Write>
std::string get_text(const char *call, const Write &write, const char *none)
{
    std::optional<std::string> text = find_text(call, write);
    if (!text) {
        throw Error(PMN_ERR_NOT_FOUND, none);
    }
    return std::move(*text);
}

inline const std::uint8_t *bytes(std::string_view text) noexcept
{
    return reinterpret_cast<const std::uint8_t *>(text.data());
}

inline std::uint32_t timeout_ms(std::chrono::milliseconds timeout) noexcept
{
    if (timeout <= std::chrono::milliseconds::zero()) {
        return 0;
    }
    return timeout < no_timeout ? static_cast<std::uint32_t>(timeout.count()) : PMN_NO_TIMEOUT;
}

inline std::chrono::milliseconds milliseconds(std::uint64_t count) noexcept
{
    constexpr auto max = std::chrono::milliseconds::max();
    return count < static_cast<std::uint64_t>(max.count())
               ? std::chrono::milliseconds(static_cast<std::chrono::milliseconds::rep>(count))
               : max;
}

inline Clock::time_point from_unix_ms(std::int64_t unix_ms) noexcept
{
    return Clock::time_point(std::chrono::milliseconds(unix_ms));
}

/// Empty for 0, which means never.
inline std::optional<Clock::time_point> from_unix_s(std::int64_t unix_s) noexcept
{
    if (unix_s == 0) {
        return std::nullopt;
    }
    return Clock::time_point(std::chrono::seconds(unix_s));
}

/// A UUID as text; empty for the nil UUID, which means unknown.
inline std::string uuid(const std::uint8_t (&bytes)[16])
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    std::uint8_t any = 0;
    for (const std::uint8_t byte : bytes) {
        if (const std::size_t at = text.size(); at == 8 || at == 13 || at == 18 || at == 23) {
            text += '-';
        }
        text += digits[byte >> 4];
        text += digits[byte & 15];
        any |= byte;
    }
    return any == 0 ? std::string() : text;
}

inline Event convert(const pmn_event &event)
{
    const auto previous = static_cast<State>(event.previous), state = static_cast<State>(event.state);
    return {event.type,
            from_unix_ms(event.time_unix_ms),
            event.dropped,
            previous,
            state,
            event.secret_version,
            event.code,
            event.message,
            milliseconds(event.retry_in_ms),
            from_unix_s(event.token_expires_at_unix_s),
            previous,
            state};
}

inline LogRecord convert(const pmn_log_record &record)
{
    return {record.level, from_unix_ms(record.time_unix_ms), record.dropped, record.target, record.message};
}

/// A std::function on the heap, which the library owns after release().
template <typename Argument>
class Callback {
public:
    using Function = std::function<void(const Argument &)>;

    explicit Callback(Function function) : function_(std::make_unique<Function>(std::move(function))) {}

    template <typename CArgument>
    static void call(const CArgument *argument, void *function) noexcept
    {
        try {
            (*static_cast<Function *>(function))(convert(*argument));
        } catch (...) {
            // The caller is C code: the exception ends here.
        }
    }

    static void destroy(void *function) noexcept { delete static_cast<Function *>(function); }

    void *user_data() const noexcept { return function_.get(); }
    void release() noexcept { (void)function_.release(); }

private:
    std::unique_ptr<Function> function_;
};

inline pmn_result sign(const pmn_sign_request *request, char *signature, void *function) noexcept
{
    const auto write = [signature](std::string_view text) {
        const std::size_t length = text.copy(signature, PMN_SIGNATURE_CAPACITY - 1);
        signature[length] = '\0';
    };
    try {
        const std::string_view message(reinterpret_cast<const char *>(request->message), request->message_length);
        const SignRequest argument{request->address, request->digest, message};
        write((*static_cast<std::function<std::string(const SignRequest &)> *>(function))(argument));
        return PMN_OK;
    } catch (const std::exception &error) {
        write(error.what());
    } catch (...) {
    }
    return PMN_ERR_INTERNAL;
}

inline void destroy_signer(void *function) noexcept
{
    delete static_cast<std::function<std::string(const SignRequest &)> *>(function);
}

} // namespace detail

/// The options of a node to start. For one thread at a time.
class Config {
public:
    Config() : config_(pmn_config_new(), pmn_config_free)
    {
        if (!config_) {
            throw Error(PMN_ERR_PANIC, "pmn_config_new: a bug in the library was caught");
        }
    }

    /// Sets an option from text.
    Config &set(std::string_view name, std::string_view value)
    {
        detail::ErrorOut error;
        const detail::CText name_text(name), value_text(value);
        error.check(pmn_config_set(config_.get(), name_text.get(), value_text.get(), error.out()));
        return *this;
    }

    /// Sets every option for which the environment has a variable.
    Config &load_env()
    {
        detail::ErrorOut error;
        error.check(pmn_config_load_env(config_.get(), error.out()));
        return *this;
    }

    /// Makes nodes sign in with `sign` instead of a private key. It returns the signature, as pmn_sign_fn writes it, or
    /// throws: the attempt fails with what() and is retried. See pmn_config_set_signer(). An empty function removes it.
    Config &set_signer(std::string_view address, std::function<std::string(const SignRequest &)> sign)
    {
        if (!sign) {
            detail::check(pmn_config_set_signer(config_.get(), nullptr, nullptr, nullptr, nullptr),
                          "pmn_config_set_signer");
            return *this;
        }
        detail::ErrorOut error;
        const detail::CText text(address);
        auto function = std::make_unique<std::function<std::string(const SignRequest &)>>(std::move(sign));
        error.check(pmn_config_set_signer_with_error(config_.get(), text.get(), detail::sign, function.get(),
                                                     detail::destroy_signer, error.out()));
        (void)function.release();
        return *this;
    }

private:
    friend class Node;
    std::unique_ptr<pmn_config, void (*)(pmn_config *)> config_;
};

/// Whether a node is ready, and why not.
struct Readiness {
    /// PMN_OK if it is ready; see pmn_node_ready().
    pmn_result result;
    /// What a ready node has, or why the node is not ready, for people: its first 511 bytes.
    std::string reason;

    /// Whether the node is ready.
    explicit operator bool() const { return result == PMN_OK; }
};

/// A node that registers with DDS, and stays registered until it is stopped or destroyed.
class Node {
public:
    /// Starts the node without waiting for DDS.
    explicit Node(const Config &config) : node_(nullptr, pmn_node_free)
    {
        pmn_node *node = nullptr;
        detail::ErrorOut error;
        error.check(pmn_node_start(config.config_.get(), &node, error.out()));
        node_.reset(node);
    }

    /// A snapshot of the node. Never blocks; works after a stop.
    Status status() const
    {
        pmn_status status{};
        status.size = sizeof status;
        detail::check(pmn_node_status(node_.get(), &status), "pmn_node_status");
        std::optional<std::chrono::milliseconds> next_attempt_in;
        if (status.next_attempt_in_ms != 0) {
            next_attempt_in = detail::milliseconds(status.next_attempt_in_ms);
        }
        return {static_cast<State>(status.state),
                status.running,
                status.has_secret,
                status.secret_version,
                detail::from_unix_s(status.last_healthcheck_unix_s),
                detail::from_unix_s(status.registered_at_unix_s),
                status.attempts,
                status.consecutive_failures,
                status.last_error,
                next_attempt_in,
                static_cast<Role>(status.role),
                status.persistence_error,
                detail::from_unix_s(status.token_expires_at_unix_s),
                status.sign_in_failures,
                std::chrono::milliseconds(status.clock_skew_ms),
                status.callback_overdue,
                detail::uuid(status.node_id)};
    }

    /// Waits until the node is registered, also if DDS refuses it meanwhile. Throws PMN_ERR_TIMEOUT, with the error of
    /// the last attempt, or PMN_ERR_STOPPED.
    void wait_registered(std::chrono::milliseconds timeout = no_timeout) const
    {
        wait(PMN_WAIT_REGISTERED, timeout);
    }

    /// Waits until the node has a secret. Throws as wait_registered() does, and PMN_ERR_NOT_FOUND immediately if no
    /// secret can arrive: see pmn_node_wait().
    void wait_secret(std::chrono::milliseconds timeout = no_timeout) const { wait(PMN_WAIT_SECRET, timeout); }

    /// The secret that DDS has sent, or empty if there is none yet. Call wipe() on it when you are done.
    std::optional<std::string> read_secret() const
    {
        return find("pmn_node_read_secret", pmn_node_read_secret);
    }

    /// Handles a request that has reached your own web server, if it is one of DDS for this library; otherwise returns
    /// empty: continue with your own routes. See pmn_node_handle_request() for which requests those are, and for when it
    /// blocks. Throws PMN_ERR_TIMEOUT and PMN_ERR_FORKED: respond with 503, and DDS tries again.
    std::optional<HttpResponse> handle_request(const HttpRequest &request,
                                               std::chrono::milliseconds timeout = std::chrono::seconds(5)) const
    {
        // A text with a NUL is in no request of DDS, and up to the NUL it would be another text.
        const auto ends_early = [](std::string_view text) { return text.find('\0') != std::string_view::npos; };
        if (ends_early(request.method) || ends_early(request.path)) {
            return std::nullopt;
        }
        std::vector<std::pair<std::string, std::string>> texts;
        for (const auto &[name, value] : request.headers) {
            if (!ends_early(name) && !ends_early(value)) {
                texts.emplace_back(name, value);
            }
        }
        std::vector<pmn_http_header> headers;
        for (const auto &[name, value] : texts) {
            headers.push_back({name.c_str(), value.c_str()});
        }
        const std::string method(request.method), path(request.path);
        const pmn_http_request sent{sizeof sent,    method.c_str(),
                                    path.c_str(),   headers.data(),
                                    headers.size(), detail::bytes(request.body),
                                    request.body.size()};
        pmn_http_response response{};
        response.size = sizeof response;
        const pmn_result result =
            pmn_node_handle_request(node_.get(), &sent, detail::timeout_ms(timeout), &response);
        if (result == PMN_ERR_NOT_FOUND) {
            return std::nullopt;
        }
        detail::check(result, "pmn_node_handle_request");
        const auto text = [](const char *value) { return value ? std::string_view(value) : std::string_view(); };
        std::optional<std::chrono::seconds> retry_after;
        if (response.retry_after_s != 0) {
            retry_after = std::chrono::seconds(response.retry_after_s);
        }
        return HttpResponse{response.status, retry_after, text(response.content_type), text(response.allow),
                            {response.body, response.body_length}};
    }

    /// The error of the last attempt to register; empty after a success.
    std::optional<Error> last_error() const { return find_error("pmn_node_last_error", pmn_node_last_error); }

    /// Why the node currently cannot write its state to state_dir, cannot follow the leader there, or cannot use
    /// state_url.
    std::optional<Error> persistence_error() const
    {
        return find_error("pmn_node_persistence_error", pmn_node_persistence_error);
    }

    /// An access token for the services behind DDS, from memory after the first one. Call this for each request
    /// instead of storing the token. Throws PMN_ERR_REJECTED if DDS rejects the sign-in, with DDS's own words;
    /// PMN_ERR_TIMEOUT, with the error of the last sign-in; or PMN_ERR_STOPPED.
    AccessToken access_token(std::chrono::milliseconds timeout = no_timeout) const
    {
        std::string value(PMN_TOKEN_CAPACITY - 1, '\0'); // the string has room for a NUL after its end
        std::size_t length = 0;
        std::int64_t expires_at = 0;
        detail::ErrorOut error;
        error.check(pmn_node_access_token_with_error(node_.get(), detail::timeout_ms(timeout), value.data(),
                                                     PMN_TOKEN_CAPACITY, &length, &expires_at, error.out()));
        value.resize(length);
        return {std::move(value), Clock::time_point(std::chrono::seconds(expires_at))};
    }

    /// Drops the held access token and signs in again, at most once a second. Does not block.
    void invalidate_token()
    {
        detail::check(pmn_node_invalidate_token(node_.get()), "pmn_node_invalidate_token");
    }

    /// Drops the held access token if it is this one: call it when a service has responded with 401 to the token.
    /// Does not block.
    void invalidate_token_if(std::string_view token)
    {
        const detail::CText text(token);
        detail::check(pmn_node_invalidate_token_if(node_.get(), text.get()), "pmn_node_invalidate_token_if");
    }

    /// The claims of the held access token, as a JSON object; empty if none is held, or if it is not a JWT. The
    /// signature is not verified: use the claims as hints, never as proof.
    std::optional<std::string> token_claims() const
    {
        return find("pmn_node_token_claims", pmn_node_token_claims);
    }

    /// The error of the last sign-in for an access token; empty after a success.
    std::optional<Error> token_error() const
    {
        return find_error("pmn_node_token_error", pmn_node_token_error);
    }

    /// Registers again. Does not block. After ten calls in a row the node registers at most once a second: calls in
    /// between count as one, and the last one is never lost.
    void rearm()
    {
        detail::ErrorOut error;
        error.check(pmn_node_rearm_with_error(node_.get(), error.out()));
    }

    /// Stops the node. Afterwards no event callback of it runs. Throws PMN_ERR_TIMEOUT if a callback does not
    /// return in time. The destructor does the same, for at most five seconds, and throws nothing.
    void stop(std::chrono::milliseconds timeout = no_timeout)
    {
        detail::ErrorOut error;
        error.check(pmn_node_stop_with_error(node_.get(), detail::timeout_ms(timeout), error.out()));
    }

    /// The address on which the callback server listens; empty if the node has none.
    std::optional<std::string> callback_address() const
    {
        return find("pmn_node_callback_address", pmn_node_callback_address);
    }

    /// The address on which this process serves /livez, /readyz and /metrics; empty without admin_bind.
    std::optional<std::string> admin_address() const
    {
        return find("pmn_node_admin_address", pmn_node_admin_address);
    }

    /// Whether the node is ready: running and registered and, with `needs_secret`, with a secret. Works after a stop.
    Readiness ready(bool needs_secret = false) const
    {
        std::size_t length = 0;
        char reason[512];
        const pmn_result result = pmn_node_ready(node_.get(), needs_secret, reason, sizeof reason, &length);
        if (result == PMN_ERR_FORKED || result == PMN_ERR_INVALID_ARGUMENT) {
            throw Error(result, "pmn_node_ready");
        }
        return {result, std::string(reason)};
    }

    /// The metrics of the node for Prometheus, of content type "text/plain; version=0.0.4; charset=utf-8". They may be
    /// appended to other metrics. Works after a stop.
    std::string metrics_text() const
    {
        std::string text(PMN_METRICS_CAPACITY - 1, '\0'); // the string has room for a NUL after its end
        std::size_t length = 0;
        detail::check(pmn_node_metrics_text(node_.get(), text.data(), PMN_METRICS_CAPACITY, &length),
                      "pmn_node_metrics_text");
        text.resize(length);
        return text;
    }

    /// The id that DDS knows the node by, a UUID; empty as long as it is not known.
    std::optional<std::string> node_id() const { return find("pmn_node_id", pmn_node_id); }

    /// The node's Ethereum address. Throws PMN_ERR_NOT_FOUND for a robot.
    std::string wallet_address() const
    {
        const auto write = [&](char *buffer, std::size_t capacity, std::size_t *length) {
            return pmn_node_wallet_address(node_.get(), buffer, capacity, length);
        };
        return detail::get_text("pmn_node_wallet_address", write, "the node has no wallet");
    }

    /// Signs a message with the node's key, as a wallet does (EIP-191). Throws PMN_ERR_NOT_FOUND if the node has no key.
    std::string sign(std::string_view message) const
    {
        const auto write = [&](char *buffer, std::size_t capacity, std::size_t *length) {
            return pmn_node_sign(node_.get(), detail::bytes(message), message.size(), buffer, capacity, length);
        };
        return detail::get_text("pmn_node_sign", write, "the node's key is not in this process");
    }

    /// Sets the function that receives the node's events. Replaces the former one; an empty function removes it.
    void on_event(std::function<void(const Event &)> function)
    {
        using Callback = detail::Callback<Event>;
        if (!function) {
            const pmn_result result = pmn_node_set_event_callback(node_.get(), nullptr, nullptr, nullptr);
            return detail::check(result, "pmn_node_set_event_callback");
        }
        Callback callback(std::move(function));
        detail::check(pmn_node_set_event_callback(node_.get(), Callback::call<pmn_event>, callback.user_data(),
                                                  Callback::destroy),
                      "pmn_node_set_event_callback");
        callback.release();
    }

private:
    void wait(pmn_wait what, std::chrono::milliseconds timeout) const
    {
        detail::ErrorOut error;
        error.check(pmn_node_wait_with_error(node_.get(), what, detail::timeout_ms(timeout), error.out()));
    }

    using Read = pmn_result(const pmn_node *, char *, std::size_t, std::size_t *);

    std::optional<std::string> find(const char *call, Read *read) const
    {
        return detail::find_text(call, [&](char *buffer, std::size_t capacity, std::size_t *length) {
            return read(node_.get(), buffer, capacity, length);
        });
    }

    using ReadError = pmn_result(const pmn_node *, pmn_error **);

    std::optional<Error> find_error(const char *call, ReadError *read) const
    {
        pmn_error *error = nullptr;
        const pmn_result result = read(node_.get(), &error);
        if (result == PMN_ERR_NOT_FOUND) {
            return std::nullopt;
        }
        detail::check(result, call);
        const std::unique_ptr<pmn_error, void (*)(pmn_error *)> owner(error, pmn_error_free);
        return Error(pmn_error_code(error), pmn_error_message(error));
    }

    std::unique_ptr<pmn_node, void (*)(pmn_node *)> node_;
};

/// Sets the function that receives the log records of all nodes in this process, up to `max_level` (PMN_LOG_...).
inline void set_logger(std::function<void(const LogRecord &)> function, pmn_log_level max_level = PMN_LOG_INFO)
{
    using Callback = detail::Callback<LogRecord>;
    if (!function) {
        throw Error(PMN_ERR_INVALID_ARGUMENT, "the function is empty; call clear_logger() to stop logging");
    }
    Callback callback(std::move(function));
    detail::check(pmn_set_log_callback(Callback::call<pmn_log_record>, callback.user_data(), Callback::destroy,
                                       max_level),
                  "pmn_set_log_callback");
    callback.release();
}

/// Removes the function that set_logger() has set.
inline void clear_logger()
{
    detail::check(pmn_set_log_callback(nullptr, nullptr, nullptr, PMN_LOG_ERROR), "pmn_set_log_callback");
}

/// The Ethereum address of a private key (64 hex digits, "0x" optional).
inline std::string eth_address(std::string_view privhex)
{
    const detail::CText key(privhex);
    detail::ErrorOut error;
    std::string address(PMN_ADDRESS_CAPACITY - 1, '\0');
    error.check(pmn_eth_address_with_error(key.get(), address.data(), address.size() + 1, nullptr, error.out()));
    return address;
}

/// Signs a message with a private key, as a wallet does (EIP-191).
inline std::string sign_eip191(std::string_view privhex, std::string_view message)
{
    const detail::CText key(privhex);
    detail::ErrorOut error;
    std::string signature(PMN_SIGNATURE_CAPACITY - 1, '\0');
    error.check(pmn_sign_eip191_with_error(key.get(), detail::bytes(message), message.size(), signature.data(),
                                           signature.size() + 1, nullptr, error.out()));
    return signature;
}

/// The version of the loaded library, such as "1.2.3".
inline std::string_view version() noexcept
{
    return pmn_version();
}

} // namespace posemesh

#endif
