/*
 * posemesh_node.hpp - posemesh_node.h for C++17: objects that free themselves, exceptions, std::function.
 *
 * Nothing but an inline layer over the C header: what a call does, and what the options are, stands there,
 * and so do the constants (PMN_STATE_..., PMN_EVENT_..., PMN_LOG_..., PMN_ERR_...).
 *
 *     auto node = posemesh::Node(posemesh::Config().load_env().set("node_version", "1.0.0"));
 *     node.on_event([](const posemesh::Event &event) { ... });
 *     node.wait_registered(std::chrono::seconds(60));
 *     std::optional<std::string> secret = node.read_secret();
 *     posemesh::AccessToken token = node.access_token(std::chrono::seconds(60));
 *
 * Failures: every one is a posemesh::Error, a timeout as well. Its code() is a PMN_ERR_... This takes
 * exceptions (programs built with -fno-exceptions use the C header), and does without RTTI.
 *
 * Threads: as in C. const or not, every function of a Node may be called from any thread, also at the same
 * time; only moving and destroying it are for one thread.
 *
 * Callbacks: they run on the library's thread. What a function captures lives until its last call is over,
 * and is destroyed right after that. An exception that would leave it ends there, unseen.
 */

#ifndef POSEMESH_NODE_HPP
#define POSEMESH_NODE_HPP

#if __cplusplus < 201703L
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

#include "posemesh_node.h"

namespace posemesh {

using Clock = std::chrono::system_clock;

/// A timeout that never ends.
inline constexpr std::chrono::milliseconds no_timeout{PMN_NO_TIMEOUT};

/// A call that failed: what() is for people, code() for programs.
class Error : public std::runtime_error {
public:
    Error(pmn_result code, const std::string &message) : std::runtime_error(message), code_(code) {}

    /// PMN_ERR_...
    pmn_result code() const noexcept { return code_; }
    /// Such as "PMN_ERR_TIMEOUT".
    const char *name() const noexcept { return pmn_result_name(code_); }

private:
    pmn_result code_;
};

/// Which part a node has among the processes that share its state_dir.
enum class Role {
    /// It registers, and DDS calls it. Without a state_dir every node does.
    leader = PMN_ROLE_LEADER,
    /// Another process does that, and this node shows what that one does. It takes over when that one ends.
    follower = PMN_ROLE_FOLLOWER,
};

/// A consistent picture of a node at one moment: pmn_status.
struct Status {
    /// PMN_STATE_...
    pmn_state state;
    /// False once the node was stopped.
    bool running;
    bool has_secret;
    /// 0 = no secret so far; each new secret adds one.
    std::uint64_t secret_version;
    /// When DDS last probed /health.
    std::optional<Clock::time_point> last_healthcheck;
    /// When DDS last confirmed a registration.
    std::optional<Clock::time_point> registered_at;
    /// Registration attempts begun since the start.
    std::uint64_t attempts;
    /// Attempts that failed since the last success.
    std::uint32_t consecutive_failures;
    /// What the last attempt failed with; PMN_OK after a success.
    pmn_result last_error;
    /// None: no attempt is scheduled.
    std::optional<std::chrono::milliseconds> next_attempt_in;
    Role role;
    /// Why the state cannot be kept in state_dir at present, or the leader there not be followed; PMN_OK if it
    /// can, or need not be.
    pmn_result persistence_error;
    /// When the access token that is held expires, by DDS's clock; none: no token is held.
    std::optional<Clock::time_point> token_expires_at;
    /// Sign-ins for an access token that failed since the last success.
    std::uint32_t sign_in_failures;
    /// How far DDS's clock is ahead of this machine's; negative when it is behind.
    std::chrono::milliseconds clock_skew;
    /// Whether DDS has not called the callback server within a minute of the registration. DDS calls only a node whose
    /// URL it knows and can reach.
    bool callback_overdue;
};

/// An access token for the services behind DDS. The copy is yours to wipe().
struct AccessToken {
    std::string value;
    /// By DDS's clock.
    Clock::time_point expires_at;
};

/// Something that happened to a node: pmn_event. Its text lives until the callback returns.
struct Event {
    /// PMN_EVENT_...; ignore a number that you do not know.
    pmn_event_type type;
    Clock::time_point time;
    /// Events that were lost just before this one, because the callback was too slow.
    std::uint64_t dropped;
    /// PMN_EVENT_STATUS_CHANGED: PMN_STATE_...
    pmn_state old_state;
    pmn_state new_state;
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    std::uint64_t secret_version;
    /// PMN_EVENT_ATTEMPT_FAILED: why, in a number and in words, and the time until the next attempt.
    pmn_result code;
    /// PMN_EVENT_REGISTRATION_LOST: how that was noticed.
    std::string_view message;
    std::chrono::milliseconds retry_in;
    /// PMN_EVENT_TOKEN_REFRESHED: when the new one expires, by DDS's clock.
    std::optional<Clock::time_point> token_expires_at;
};

/// A log record: pmn_log_record. Its text lives until the callback returns.
struct LogRecord {
    /// PMN_LOG_...
    pmn_log_level level;
    Clock::time_point time;
    /// Records that were lost just before this one, because the callback was too slow.
    std::uint64_t dropped;
    /// The part of the library that wrote it.
    std::string_view target;
    /// One line for people, without a newline.
    std::string_view message;
};

/// Overwrites a text, such as a secret that was read, and empties it.
inline void wipe(std::string &text) noexcept
{
    // Through volatile, which no compiler leaves out.
    for (volatile char *byte = text.data(), *end = byte + text.size(); byte != end; ++byte) {
        *byte = 0;
    }
    text.clear();
}

namespace detail {

/// For the calls that tell nothing but a number.
inline void check(pmn_result result, const char *call)
{
    if (result != PMN_OK) {
        throw Error(result, std::string(call) + ": " + pmn_result_name(result));
    }
}

/// Where a call says in words why it failed.
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

/// A NUL-terminated copy of a text, wiped when it goes: it may be a key.
class CText {
public:
    explicit CText(std::string_view text) : text_(text)
    {
        if (text.find('\0') != std::string_view::npos) {
            wipe(text_);
            throw Error(PMN_ERR_INVALID_ARGUMENT, "a text with a NUL in it");
        }
    }
    CText(const CText &) = delete;
    CText &operator=(const CText &) = delete;
    ~CText() { wipe(text_); }

    const char *get() const noexcept { return text_.c_str(); }

private:
    std::string text_;
};

/// What `write(buffer, capacity, length)` writes; none for PMN_ERR_NOT_FOUND.
template <typename Write>
std::optional<std::string> find_text(const char *call, const Write &write)
{
    std::string text;
    for (;;) {
        std::size_t length = 0;
        // The byte past its end is the string's NUL: another NUL may go there.
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

inline Clock::time_point time(std::int64_t unix_ms) noexcept
{
    return Clock::time_point(std::chrono::milliseconds(unix_ms));
}

/// 0 = never.
inline std::optional<Clock::time_point> moment(std::int64_t unix_seconds) noexcept
{
    if (unix_seconds == 0) {
        return std::nullopt;
    }
    return Clock::time_point(std::chrono::seconds(unix_seconds));
}

inline Event convert(const pmn_event &event)
{
    return {event.type,
            time(event.time_unix_ms),
            event.dropped,
            event.old_state,
            event.new_state,
            event.secret_version,
            event.code,
            event.message,
            milliseconds(event.retry_in_ms),
            moment(event.token_expires_at)};
}

inline LogRecord convert(const pmn_log_record &record)
{
    return {record.level, time(record.time_unix_ms), record.dropped, record.target, record.message};
}

/// A std::function on the heap, which the library owns once `set` has succeeded.
template <typename Told>
class Callback {
public:
    using Function = std::function<void(const Told &)>;

    explicit Callback(Function function) : function_(std::make_unique<Function>(std::move(function))) {}

    template <typename CTold>
    static void call(const CTold *told, void *function) noexcept
    {
        try {
            (*static_cast<Function *>(function))(convert(*told));
        } catch (...) {
            // There is nobody above to tell.
        }
    }

    static void destroy(void *function) noexcept { delete static_cast<Function *>(function); }

    void *user_data() const noexcept { return function_.get(); }
    void release() noexcept { (void)function_.release(); }

private:
    std::unique_ptr<Function> function_;
};

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

    /// Sets an option from its text form.
    Config &set(std::string_view name, std::string_view value)
    {
        detail::ErrorOut error;
        const detail::CText name_text(name), value_text(value);
        error.check(pmn_config_set(config_.get(), name_text.get(), value_text.get(), error.out()));
        return *this;
    }

    /// Sets every option that the environment has a variable for.
    Config &load_env()
    {
        detail::ErrorOut error;
        error.check(pmn_config_load_env(config_.get(), error.out()));
        return *this;
    }

private:
    friend class Node;
    std::unique_ptr<pmn_config, void (*)(pmn_config *)> config_;
};

/// A node that registers with DDS and stays registered, until it is stopped or destroyed.
class Node {
public:
    /// Starts the node, and does not wait for DDS.
    explicit Node(const Config &config) : node_(nullptr, pmn_node_free)
    {
        pmn_node *node = nullptr;
        detail::ErrorOut error;
        error.check(pmn_node_start(config.config_.get(), &node, error.out()));
        node_.reset(node);
    }

    Status status() const
    {
        pmn_status status{};
        status.size = sizeof status;
        detail::check(pmn_node_status(node_.get(), &status), "pmn_node_status");
        std::optional<std::chrono::milliseconds> next_attempt_in;
        if (status.next_attempt_in_ms != 0) {
            next_attempt_in = detail::milliseconds(status.next_attempt_in_ms);
        }
        return {status.state,
                status.running,
                status.has_secret,
                status.secret_version,
                detail::moment(status.last_healthcheck),
                detail::moment(status.registered_at),
                status.attempts,
                status.consecutive_failures,
                status.last_error,
                next_attempt_in,
                static_cast<Role>(status.role),
                status.persistence_error,
                detail::moment(status.token_expires_at),
                status.sign_in_failures,
                std::chrono::milliseconds(status.clock_skew_ms),
                status.callback_overdue};
    }

    /// Waits until the node is registered. Throws PMN_ERR_TIMEOUT, with what the last attempt failed with, or
    /// PMN_ERR_STOPPED.
    void wait_registered(std::chrono::milliseconds timeout = no_timeout) const
    {
        wait(PMN_WAIT_REGISTERED, timeout);
    }

    /// Waits until the node has a secret. Throws as wait_registered() does, and PMN_ERR_NOT_FOUND at once when no
    /// secret can arrive: the node has none, and neither callback_bind nor state_dir is set.
    void wait_secret(std::chrono::milliseconds timeout = no_timeout) const { wait(PMN_WAIT_SECRET, timeout); }

    /// The secret that DDS has sent; none so far is no error. The copy is yours to wipe().
    std::optional<std::string> read_secret() const
    {
        return find("pmn_node_read_secret", pmn_node_read_secret);
    }

    /// What the last attempt to register failed with; none after a success.
    std::optional<Error> last_error() const { return find_error("pmn_node_last_error", pmn_node_last_error); }

    /// Why the state cannot be kept in state_dir at present, or the leader there not be followed.
    std::optional<Error> persistence_error() const
    {
        return find_error("pmn_node_persistence_error", pmn_node_persistence_error);
    }

    /// An access token for the services behind DDS: from memory, after the first one. Call again for each
    /// request rather than keep it. Throws PMN_ERR_REJECTED when DDS refuses the sign-in, with its own words;
    /// PMN_ERR_TIMEOUT, with what the last sign-in failed with; or PMN_ERR_STOPPED.
    AccessToken access_token(std::chrono::milliseconds timeout = no_timeout) const
    {
        std::string value(PMN_TOKEN_CAPACITY - 1, '\0'); // past its end the string has a NUL of its own
        std::size_t length = 0;
        std::int64_t expires_at = 0;
        detail::ErrorOut error;
        error.check(pmn_node_access_token_with_error(node_.get(), detail::timeout_ms(timeout), value.data(),
                                                     PMN_TOKEN_CAPACITY, &length, &expires_at, error.out()));
        value.resize(length);
        return {std::move(value), Clock::time_point(std::chrono::seconds(expires_at))};
    }

    /// Drops the access token that is held, and signs in anew, at once; only the second time within a second
    /// the new token waits for the end of that second. Does not block.
    void invalidate_token()
    {
        detail::check(pmn_node_invalidate_token(node_.get()), "pmn_node_invalidate_token");
    }

    /// Drops the access token that is held if it is this one, such as after a service has answered 401 to it.
    /// Does not block.
    void invalidate_token_if(std::string_view token)
    {
        const detail::CText text(token);
        detail::check(pmn_node_invalidate_token_if(node_.get(), text.get()), "pmn_node_invalidate_token_if");
    }

    /// What the held access token says about the node, as a JSON object; none when no token is held, and when it is no
    /// JWT. Read without verifying the signature: use the claims as hints and never as proof.
    std::optional<std::string> token_claims() const
    {
        return find("pmn_node_token_claims", pmn_node_token_claims);
    }

    /// What the last sign-in for an access token failed with; none after a success.
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

    /// Stops the node: afterwards no event callback of it runs. Throws PMN_ERR_TIMEOUT when a callback does
    /// not return in time. The destructor does the same, for at most five seconds, and throws nothing.
    void stop(std::chrono::milliseconds timeout = no_timeout)
    {
        detail::ErrorOut error;
        error.check(pmn_node_stop_with_error(node_.get(), detail::timeout_ms(timeout), error.out()));
    }

    /// Where the callback server listens; none if the node has no such server.
    std::optional<std::string> callback_address() const
    {
        return find("pmn_node_callback_address", pmn_node_callback_address);
    }

    /// The node's Ethereum address.
    std::string wallet_address() const
    {
        return find("pmn_node_wallet_address", pmn_node_wallet_address).value();
    }

    /// Signs a message with the node's key, as a wallet does (EIP-191).
    std::string sign(std::string_view message) const
    {
        const auto write = [&](char *buffer, std::size_t capacity, std::size_t *length) {
            return pmn_node_sign(node_.get(), detail::bytes(message), message.size(), buffer, capacity, length);
        };
        return detail::find_text("pmn_node_sign", write).value();
    }

    /// Tells `function` the node's events, in place of the former one; an empty one ends that.
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

/// Tells `function` the log records of all nodes of this process, up to `max_level` (PMN_LOG_...).
inline void set_logger(std::function<void(const LogRecord &)> function, pmn_log_level max_level = PMN_LOG_INFO)
{
    using Callback = detail::Callback<LogRecord>;
    if (!function) {
        throw Error(PMN_ERR_INVALID_ARGUMENT, "an empty function; clear_logger() ends logging");
    }
    Callback callback(std::move(function));
    detail::check(pmn_set_log_callback(Callback::call<pmn_log_record>, callback.user_data(), Callback::destroy,
                                       max_level),
                  "pmn_set_log_callback");
    callback.release();
}

/// Ends what set_logger() began.
inline void clear_logger()
{
    detail::check(pmn_set_log_callback(nullptr, nullptr, nullptr, PMN_LOG_ERROR), "pmn_set_log_callback");
}

/// The Ethereum address of a private key (64 hex digits, "0x" optional).
inline std::string eth_address(std::string_view privhex)
{
    const detail::CText key(privhex);
    detail::ErrorOut error;
    std::string address(42, '\0');
    error.check(pmn_eth_address_with_error(key.get(), address.data(), address.size() + 1, nullptr, error.out()));
    return address;
}

/// Signs a message with a private key, as a wallet does (EIP-191).
inline std::string sign_eip191(std::string_view privhex, std::string_view message)
{
    const detail::CText key(privhex);
    detail::ErrorOut error;
    std::string signature(132, '\0');
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
