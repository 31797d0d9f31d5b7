/*
 * posemesh_node.h - registers a node with the discovery service (DDS), and keeps it registered.
 *
 * A node signs in to DDS with its Ethereum wallet, is registered, and is then called back by DDS with the
 * node secret. This library does all of that on a thread of its own, for the life of the process: sign-in,
 * retries, the server that DDS calls back, and doing it again when asked to.
 *
 *     pmn_config    the options of a node         pmn_config_new  _set  _load_env  _free
 *     pmn_node      a running node                pmn_node_start  _stop  _free  _wait  _rearm  _status
 *                                                 _last_error  _read_secret  _callback_address
 *                                                 _wallet_address  _sign  _persistence_error
 *                   its access tokens             pmn_node_access_token  _invalidate_token
 *                                                 _invalidate_token_if  _token_error
 *     pmn_event     what happens to it            pmn_node_set_event_callback
 *     pmn_log_...   the library's log records     pmn_set_log_callback
 *     pmn_error     why a call failed             pmn_error_code  _message  _free, pmn_result_name
 *
 * A call that says more than a number when it fails has a second form that ends in _with_error:
 * pmn_node_stop, _wait, _rearm and _access_token, pmn_eth_address, pmn_sign_eip191. See "Errors".
 *
 * A first program (examples/node.c is the one to start from, with every result checked):
 *
 *     pmn_config *config = pmn_config_new();
 *     pmn_node *node = NULL;
 *     pmn_error *error = NULL;
 *     if (pmn_config_load_env(config, &error) != PMN_OK || pmn_node_start(config, &node, &error) != PMN_OK) {
 *         fprintf(stderr, "%s\n", pmn_error_message(error));
 *         return 1;
 *     }
 *     pmn_config_free(config);
 *     if (pmn_node_wait(node, PMN_WAIT_SECRET, 60000) == PMN_OK) {
 *         char secret[4097];
 *         pmn_node_read_secret(node, secret, sizeof secret, NULL);
 *     }
 *     pmn_node_stop(node, 5000);
 *     pmn_node_free(node);
 *
 * Options
 *
 *     Name, environment variable, default. The secrets may stand in a file instead: REG_SECRET_FILE,
 *     SECP256K1_PRIVHEX_FILE.
 *
 *     dds_base_url            DDS_BASE_URL            https://dds.auki.network
 *     reg_secret              REG_SECRET              required
 *     secp256k1_privhex       SECP256K1_PRIVHEX       -
 *     secp256k1_keystore_file SECP256K1_KEYSTORE_FILE -
 *     secp256k1_keystore_passwordSECP256K1_KEYSTORE_PASSWORD-
 *     capabilities            CAPABILITIES            required
 *     node_version            NODE_VERSION            required
 *     max_concurrency         MAX_CONCURRENCY         -
 *     register_interval_secs  REGISTER_INTERVAL_SECS  120
 *     max_retry               REGISTER_MAX_RETRY      -1
 *     request_timeout_secs    REQUEST_TIMEOUT_SECS    10
 *     callback_bind           CALLBACK_BIND           -
 *     callback_policy         CALLBACK_POLICY         per_registration
 *     healthcheck_ttl_secs    HEALTHCHECK_TTL_SECS    0
 *     siwe_domain             SIWE_DOMAIN             -
 *     siwe_format             SIWE_FORMAT             posemesh
 *     state_dir               STATE_DIR               -
 *     ca_file                 CA_FILE                 -
 *     allow_insecure_http     ALLOW_INSECURE_HTTP     false
 *
 * State that outlives the process (`state_dir`, on Linux)
 *
 *     The node keeps its secret and its status in that directory, which it makes for itself and nobody else
 *     may read. After a restart the secret is there at once, and the node registers again.
 *
 *     Processes that name the same directory are one node. One of them leads: it registers, and DDS calls
 *     it. The others follow (pmn_status.role): their status, waits, events and secret are those of the
 *     leader, and pmn_node_rearm() reaches it. When the leader ends, in whatever way, another one takes over.
 *     Access tokens each of them gets for itself.
 *
 *     A full disk stops nothing: the node goes on in memory, and pmn_node_persistence_error() tells why.
 *
 * Threads
 *
 *     Every function may be called from any thread. A pmn_node may be used by several at the same time; a
 *     pmn_config and a pmn_error by one at a time. Freeing is the last use: no other thread may be in a call
 *     with that object.
 *
 *     Callbacks run on one thread of the library, one at a time and in order, under no lock, with all
 *     signals blocked. They may call every function but pmn_node_stop(), which answers
 *     PMN_ERR_WOULD_DEADLOCK there; pmn_node_free() is carried out when the callback has returned. A slow
 *     callback delays other callbacks and nothing else: what does not fit its queue is dropped, and
 *     counted in the next record. No exception and no longjmp() may leave a callback.
 *
 *     The library has two threads while nodes run (posemesh-rt, posemesh-events), up to four more
 *     (posemesh-io) while host names are looked up or files of state_dir written, and none after the last
 *     node has stopped, with one exception: a look-up that waits for a name server cannot be cancelled. Its
 *     thread ends when the system's resolver gives up, which may be seconds after pmn_node_stop() has
 *     returned. It runs nothing else, blocks all signals, and keeps no process from ending.
 *
 *     When the system has no thread or memory to give, what needed it fails with an error and is tried again.
 *
 *     A thread that calls the library needs a stack of 128 KiB. pmn_node_start() is what needs most of it.
 *
 *     The library installs no signal handler and no atexit handler, sets no locale and no
 *     environment variable, and writes nothing to stdout or stderr.
 *
 *     After fork(), a node of the parent answers PMN_ERR_FORKED in the child at once; freeing it there is
 *     fine and touches nothing of the parent. The child may start nodes of its own, and sets callbacks of
 *     its own: those of the parent are not called there.
 *
 * Ownership
 *
 *     What pmn_config_new() and pmn_node_start() give is yours, and so is an error: each has its _free
 *     function, which takes NULL, too. Text that is returned as const char * belongs to the library. Text
 *     and bytes that you pass in are copied, or not used after the call. What a callback is shown lives
 *     until it returns. Results are written only on success, an error only on failure; the other one is
 *     left as it was.
 *
 * Errors
 *
 *     Every failure is a number. Where there is more to say, the last parameter is a `pmn_error **`, which
 *     may be NULL: the error that it gets has the same number, and says in words what happened and what to
 *     do next. pmn_config_set(), pmn_config_load_env() and pmn_node_start() have that parameter. The others
 *     have it in their second form, ..._with_error, which does the same and takes the same parameters
 *     before it:
 *
 *         pmn_error *error = NULL;
 *         if (pmn_node_wait_with_error(node, PMN_WAIT_REGISTERED, 60000, &error) != PMN_OK) {
 *             fprintf(stderr, "%s\n", pmn_error_message(error));
 *             pmn_error_free(error);
 *         }
 *
 * Text
 *
 *     Text in is NUL-terminated UTF-8. Text out goes to a buffer of yours with room for `capacity` bytes,
 *     and is NUL-terminated; `*length` (it may be NULL) is its length without the NUL. When it does not fit,
 *     the answer is PMN_ERR_BUFFER_TOO_SMALL, `*length` is set all the same, and the buffer is left as it
 *     was. So a call with NULL and 0 asks for the length.
 *
 * Each function answers PMN_ERR_INVALID_ARGUMENT for NULL where it is not said to be fine. Those with a
 * pmn_node answer PMN_ERR_FORKED in a forked child, and any function PMN_ERR_PANIC if a bug was caught.
 *
 * Generated by cbindgen from ffi-c/src: change it there.
 */


#ifndef POSEMESH_NODE_H
#define POSEMESH_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// A timeout that never ends.
#define PMN_NO_TIMEOUT UINT32_MAX

/// The capacity of a buffer that every token fits in, with its NUL.
#define PMN_TOKEN_CAPACITY 8193

/// The version of the ABI in this header.
///
/// It changes only when a program built with an older header would break; additions do not change it.
#define PMN_ABI_VERSION 1

/// The options of a node to start.
///
/// For one thread at a time. pmn_node_start() only reads it: it may be used for other nodes, changed, or
/// freed afterwards, without a change to nodes that run.
typedef struct pmn_config pmn_config;

/// Why a call failed: a number for programs, a text for people.
///
/// Functions that tell more than a number write one to their last parameter when they fail, and leave it
/// alone when they succeed. It is yours then: pmn_error_free(). Belongs to no node, and to one thread at a
/// time. It never holds a key, a credential or a secret.
typedef struct pmn_error pmn_error;

/// A node that registers with DDS and stays registered, until it is stopped.
///
/// Every function may be called on it from any thread, also at the same time, and from callbacks (where
/// only pmn_node_stop() is refused). Only pmn_node_free() must be the last one.
typedef struct pmn_node pmn_node;

/// The outcome of a call: PMN_OK, or one of PMN_ERR_...
///
/// The numbers never change and are never used again for something else. A later version may add some:
/// treat one that you do not know as PMN_ERR_INTERNAL.
typedef int32_t pmn_result;

/// What pmn_node_wait() waits for: PMN_WAIT_...
typedef int32_t pmn_wait;

/// Where a node stands with DDS: PMN_STATE_...
typedef int32_t pmn_state;

/// Which part a node has among the processes that share its `state_dir`: PMN_ROLE_...
typedef int32_t pmn_role;

/// A consistent picture of a node at one moment.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has.
typedef struct pmn_status {
    /// Set by you before the call: sizeof(pmn_status).
    size_t size;
    /// PMN_STATE_...
    pmn_state state;
    /// False once the node was stopped.
    bool running;
    /// Whether the node has a secret.
    bool has_secret;
    /// 0 = no secret so far; each new secret adds one.
    uint64_t secret_version;
    /// When DDS last probed /health, in seconds since 1970 (UTC); 0 = never.
    int64_t last_healthcheck;
    /// When DDS last confirmed a registration, in seconds since 1970 (UTC); 0 = never.
    int64_t registered_at;
    /// Registration attempts begun since the start.
    uint64_t attempts;
    /// Attempts that failed since the last success.
    uint32_t consecutive_failures;
    /// What the last attempt failed with; PMN_OK after a success.
    pmn_result last_error;
    /// Milliseconds until the next attempt; 0 = none is scheduled.
    uint64_t next_attempt_in_ms;
    /// PMN_ROLE_...
    pmn_role role;
    /// Why the state cannot be kept in `state_dir` at present, or the leader there not be followed; PMN_OK if
    /// it can, or need not be.
    pmn_result persistence_error;
    /// When the access token that is held expires, in seconds since 1970 (UTC) by DDS's clock; 0 = none is
    /// held.
    int64_t token_expires_at;
    /// Sign-ins for an access token that failed since the last success.
    uint32_t sign_in_failures;
    /// How far DDS's clock is ahead of this machine's, in milliseconds; negative when it is behind. From the
    /// whole seconds that DDS tells: 0 as long as they do not contradict that.
    int64_t clock_skew_ms;
    /// Whether DDS has not called the callback server within a minute of the registration. DDS calls only a node
    /// whose URL it knows and can reach.
    bool callback_overdue;
} pmn_status;

/// What a pmn_event tells: PMN_EVENT_...
///
/// Ignore a number that you do not know: a later version may have more events.
typedef int32_t pmn_event_type;

/// Something that happened to a node. Fields that the type does not speak of are 0, or "".
typedef struct pmn_event {
    /// The size of this struct in the library: a field at or past it is not there.
    size_t size;
    /// PMN_EVENT_...
    pmn_event_type type;
    /// When it happened, in milliseconds since 1970 (UTC).
    int64_t time_unix_ms;
    /// Events that were lost just before this one, because the callback was too slow.
    uint64_t dropped;
    /// PMN_EVENT_STATUS_CHANGED: the state before.
    pmn_state old_state;
    /// PMN_EVENT_STATUS_CHANGED: the state now.
    pmn_state new_state;
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    uint64_t secret_version;
    /// PMN_EVENT_ATTEMPT_FAILED: PMN_ERR_REJECTED or PMN_ERR_UNAVAILABLE.
    pmn_result code;
    /// PMN_EVENT_ATTEMPT_FAILED, PMN_EVENT_REGISTRATION_LOST: what happened, with DDS's own words. Never NULL.
    const char *message;
    /// PMN_EVENT_ATTEMPT_FAILED: the time until the next attempt.
    uint64_t retry_in_ms;
    /// PMN_EVENT_TOKEN_REFRESHED: in seconds since 1970 (UTC), by DDS's clock.
    int64_t token_expires_at;
} pmn_event;

/// A function that receives a node's events. The event and what it points to are valid until it returns.
typedef void (*pmn_event_fn)(const pmn_event *event, void *user_data);

/// A function that frees a callback's user_data. Runs exactly once, after the callback's last call.
typedef void (*pmn_destroy_fn)(void *user_data);

/// How much a log record matters: PMN_LOG_...
typedef int32_t pmn_log_level;

/// One log record. It never holds a key, a credential or a secret.
typedef struct pmn_log_record {
    /// The size of this struct in the library: a field at or past it is not there.
    size_t size;
    /// PMN_LOG_...
    pmn_log_level level;
    /// When it was written, in milliseconds since 1970 (UTC).
    int64_t time_unix_ms;
    /// Records that were lost just before this one, because the callback was too slow.
    uint64_t dropped;
    /// The part of the library that wrote it, such as "posemesh_node::register". Never NULL.
    const char *target;
    /// One line of UTF-8 for people, without a newline. Never NULL.
    const char *message;
} pmn_log_record;

/// A function that receives log records. The record and what it points to are valid until it returns.
typedef void (*pmn_log_fn)(const pmn_log_record *record, void *user_data);

/// The call did what it says.
#define PMN_OK 0

/// An argument is not usable: NULL, not UTF-8, an unknown constant.
#define PMN_ERR_INVALID_ARGUMENT 1

/// An option is unknown, missing, or has a value that it cannot have.
#define PMN_ERR_INVALID_CONFIG 2

/// What was asked for is not there: no secret yet, no callback server.
#define PMN_ERR_NOT_FOUND 3

/// The caller's buffer is too small; the length that it needs was reported.
#define PMN_ERR_BUFFER_TOO_SMALL 4

/// The time given for the call is over.
#define PMN_ERR_TIMEOUT 5

/// The node was stopped.
#define PMN_ERR_STOPPED 6

/// A node with this wallet and DDS, or with this `state_dir`, already runs in this process.
#define PMN_ERR_ALREADY_RUNNING 7

/// The callback server cannot bind its address.
#define PMN_ERR_BIND 8

/// A file or socket of this machine failed.
#define PMN_ERR_IO 9

/// The node belongs to the process before a fork().
#define PMN_ERR_FORKED 10

/// The call would wait for the callback that makes it.
#define PMN_ERR_WOULD_DEADLOCK 11

/// DDS said no.
#define PMN_ERR_REJECTED 12

/// DDS is out of reach, or gave no usable answer.
#define PMN_ERR_UNAVAILABLE 13

/// A bug in this library, caught at its border. Please report it.
#define PMN_ERR_PANIC 14

/// A bug in this library. Please report it.
#define PMN_ERR_INTERNAL 15

/// Wait until the node is registered.
#define PMN_WAIT_REGISTERED 1

/// Wait until the node has a secret.
#define PMN_WAIT_SECRET 2

/// Not registered, and no attempt made yet since the start or the last re-arm.
#define PMN_STATE_DISCONNECTED 0

/// Trying to register.
#define PMN_STATE_REGISTERING 1

/// Registered. Nothing runs until DDS calls or the node is re-armed.
#define PMN_STATE_REGISTERED 2

/// It registers, and DDS calls it. Without a `state_dir` every node does.
#define PMN_ROLE_LEADER 0

/// Another process does that, and this node shows what that one does. It takes over when that one ends.
#define PMN_ROLE_FOLLOWER 1

/// The node went from `old_state` to `new_state`.
#define PMN_EVENT_STATUS_CHANGED 1

/// DDS sent a new secret, of version `secret_version`: pmn_node_read_secret().
#define PMN_EVENT_SECRET_CHANGED 2

/// An attempt to register failed with `code` and `message`; the next one is due in `retry_in_ms`.
#define PMN_EVENT_ATTEMPT_FAILED 3

/// DDS probed /health.
#define PMN_EVENT_HEALTHCHECK 4

/// A new access token is held, until `token_expires_at`: pmn_node_access_token().
#define PMN_EVENT_TOKEN_REFRESHED 5

/// DDS does not know the node any more, as `message` tells, and the node registers again.
#define PMN_EVENT_REGISTRATION_LOST 6

/// A bug in this library.
#define PMN_LOG_ERROR 1

/// Something an operator should look at.
#define PMN_LOG_WARN 2

/// The few turns of a node's life: registered, secret received, stopped.
#define PMN_LOG_INFO 3

/// Each step.
#define PMN_LOG_DEBUG 4

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The name of a result, such as "PMN_ERR_TIMEOUT"; "PMN_ERR_UNKNOWN" for a number that has none.
///
/// Never NULL. The text is static: do not free it. Does not block.
const char *pmn_result_name(pmn_result result);

/// The number of an error: what the failed call returned. PMN_OK for NULL. Does not block.
pmn_result pmn_error_code(const pmn_error *error);

/// What went wrong and what to do next, as UTF-8 for people. Never NULL; "" for a NULL error.
///
/// The text lives as long as the error: do not free it. Does not block.
const char *pmn_error_message(const pmn_error *error);

/// Frees an error. NULL is fine. Does not block.
void pmn_error_free(pmn_error *error);

/// A configuration with every option at its default.
///
/// Yours to free with pmn_config_free(). NULL only if a bug in this library was caught. Does not block.
pmn_config *pmn_config_new(void);

/// Frees a configuration, and wipes the secrets in it from memory. NULL is fine. Does not block.
void pmn_config_free(pmn_config *config);

/// Sets an option, named as in the table at the top, from its text form. The text is copied.
///
/// PMN_ERR_INVALID_CONFIG when there is no such option or it cannot have that value: the message says what
/// is expected, and never repeats a secret. Then nothing has changed. `error` may be NULL; what it gets is
/// yours to free. Does not block.
pmn_result pmn_config_set(pmn_config *config, const char *name, const char *value, pmn_error **error);

/// Sets every option that the environment has a variable for; the others stay as they are.
///
/// Fails as pmn_config_set() does, naming the variable; then nothing has changed. `error` may be NULL; what
/// it gets is yours to free. Blocks no longer than it takes to read the files that REG_SECRET_FILE and
/// SECP256K1_PRIVHEX_FILE name. No other thread may change the environment meanwhile (setenv() and getenv()
/// are not thread-safe).
pmn_result pmn_config_load_env(pmn_config *config, pmn_error **error);

/// Starts a node: checks the configuration, binds the callback port, starts the registrar, and returns
/// without waiting for DDS (see pmn_node_wait()).
///
/// On PMN_OK `*node` is yours: pmn_node_stop(), then pmn_node_free(). `error` may be NULL. May block for a
/// moment: it reads certificates, and looks up the host name in `callback_bind`.
///
/// PMN_ERR_INVALID_CONFIG, PMN_ERR_ALREADY_RUNNING (this process has a node with this wallet and DDS, or with
/// this `state_dir`), PMN_ERR_BIND (the port is taken), PMN_ERR_IO.
pmn_result pmn_node_start(const pmn_config *config, pmn_node **node, pmn_error **error);

/// Stops a node: cancels what is in flight, ends every wait with PMN_ERR_STOPPED, delivers the last events
/// and log records, frees the port, ends the library's threads if no other node needs them.
///
/// Blocks until all that is done, at most `timeout_ms` (or PMN_NO_TIMEOUT). After PMN_OK no event callback
/// of this node runs any more. Stopping twice is fine, also from two threads. The node is still to be freed.
/// NULL: PMN_ERR_INVALID_ARGUMENT.
///
/// PMN_ERR_TIMEOUT when a callback does not return in time: call again to go on waiting.
/// PMN_ERR_WOULD_DEADLOCK from inside a callback: call it from another thread, or free the node there.
pmn_result pmn_node_stop(pmn_node *node, uint32_t timeout_ms);

/// As pmn_node_stop(), and on failure says in words what has not ended. Blocks as long; a NULL node is
/// PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_node_stop_with_error(pmn_node *node, uint32_t timeout_ms, pmn_error **error);

/// Stops a node, if that was not done, and frees it. NULL is fine.
///
/// Blocks as pmn_node_stop() does, for at most five seconds: if a callback is stuck for longer, the node goes
/// when that has returned. Inside a callback it does not block: the node goes when the callback has returned,
/// and no event callback of the node begins after that. No other thread may be in a call with this node, nor
/// make one later.
void pmn_node_free(pmn_node *node);

/// Waits until the node is registered (PMN_WAIT_REGISTERED) or has a secret (PMN_WAIT_SECRET).
///
/// Blocks for at most `timeout_ms`; 0 only looks, PMN_NO_TIMEOUT waits for ever. After pmn_node_rearm() a
/// wait for PMN_WAIT_REGISTERED is one for the new registration. Do not wait inside a callback: while it
/// runs, no other event or log record is delivered.
///
/// PMN_ERR_TIMEOUT (pmn_node_wait_with_error() says why), PMN_ERR_STOPPED as soon as the node is stopped, and
/// after that. PMN_ERR_NOT_FOUND at once for PMN_WAIT_SECRET when no secret can arrive, because the node has none
/// and neither `callback_bind` nor `state_dir` is set. NULL: PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_wait(const pmn_node *node,
                         pmn_wait what,
                         uint32_t timeout_ms);

/// As pmn_node_wait(), and on failure says why in words: PMN_ERR_TIMEOUT comes with the state of the node and
/// with what its last attempt to register failed with. Blocks as long, and ends with a stop as well; a NULL
/// node is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_node_wait_with_error(const pmn_node *node,
                                    pmn_wait what,
                                    uint32_t timeout_ms,
                                    pmn_error **error);

/// Gives what the last attempt to register failed with: what happened, with DDS's own words.
///
/// On PMN_OK `*last_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when no attempt has failed since the last success.
pmn_result pmn_node_last_error(const pmn_node *node, pmn_error **last_error);

/// Gives why the state cannot be kept in `state_dir` at present, or the leader there not be followed. The node
/// goes on in memory meanwhile.
///
/// On PMN_OK `*persistence_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when all is well, and without a `state_dir`.
pmn_result pmn_node_persistence_error(const pmn_node *node,
                                      pmn_error **persistence_error);

/// Registers again, such as after the node has lost its secret.
///
/// Does not block. When it returns, the state is PMN_STATE_DISCONNECTED and the registrar awake; a follower
/// asks its leader to, and stays in that state until that one has begun. The secret stays readable until DDS
/// sends another one. After ten calls in a row the node registers at most once a second: calls in between count as
/// one, and the last one is never lost. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_rearm(pmn_node *node);

/// As pmn_node_rearm(), and on failure says why in words, such as after a stop. Does not block; a NULL node is
/// PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_node_rearm_with_error(pmn_node *node,
                                     pmn_error **error);

/// Writes where the callback server listens, such as "127.0.0.1:8080", with the port that a bind to port 0
/// was given. For a follower: where that of its leader does.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top; of the
/// pointers only `node` must not be NULL. PMN_ERR_NOT_FOUND when the node has no callback server.
pmn_result pmn_node_callback_address(const pmn_node *node, char *buffer, size_t capacity, size_t *length);

/// Writes the node's Ethereum address: "0x" and 40 lowercase hex digits.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top; of the
/// pointers only `node` must not be NULL.
pmn_result pmn_node_wallet_address(const pmn_node *node, char *buffer, size_t capacity, size_t *length);

/// Signs `length` bytes with the node's key as a wallet does (EIP-191, personal_sign), and writes the
/// signature: "0x" and 130 lowercase hex digits.
///
/// `message` may be NULL when `length` is 0. Does not block; answers after a stop, too. `buffer`,
/// `capacity`, `written`: see "Text" at the top.
pmn_result pmn_node_sign(const pmn_node *node,
                         const uint8_t *message,
                         size_t length,
                         char *buffer,
                         size_t capacity,
                         size_t *written);

/// Fills `*status`, whose `size` you have set to sizeof(pmn_status).
///
/// Does not block, and takes a few nanoseconds: call it as often as you like. Answers after a stop, too.
/// PMN_ERR_INVALID_ARGUMENT for NULL, and when `size` is smaller than that of the first version of the ABI.
/// When it is larger than the library knows, what the library does not know stays as it was.
pmn_result pmn_node_status(const pmn_node *node, pmn_status *status);

/// Writes the secret that DDS has sent: at most 4096 bytes of UTF-8, and a NUL.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top. The
/// library leaves no copy but the one in your buffer: wipe that when you are done with it. Of the pointers
/// only `node` must not be NULL. PMN_ERR_NOT_FOUND while there is none.
pmn_result pmn_node_read_secret(const pmn_node *node, char *buffer, size_t capacity, size_t *length);

/// Writes an access token: 1 to 8192 bytes of visible ASCII, for an "Authorization: Bearer" header. Call this
/// for each request, rather than keep the text.
///
/// The first call signs the node in to DDS, once it is registered. From then on a token is kept at hand and
/// refreshed before it expires, and calls answer at once. Until there is one, this blocks, for at most
/// `timeout_ms`: 0 only looks (but asks for a token), PMN_NO_TIMEOUT waits for ever. However many threads
/// wait, there is one sign-in. Inside a callback it is as with pmn_node_wait(): meanwhile no other event or
/// log record is delivered.
///
/// `expires_at_unix` may be NULL; on PMN_OK it gets when the token expires, in seconds since 1970 (UTC) by
/// DDS's clock. `buffer`, `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always enough, and
/// a token that did not fit is kept for the next call. The library leaves no copy but the one in your buffer:
/// wipe that when you are done with it.
///
/// PMN_ERR_REJECTED when DDS refuses the sign-in: at once, and until the next one is due. PMN_ERR_TIMEOUT.
/// For both pmn_node_access_token_with_error() says why. PMN_ERR_STOPPED as soon as the node is stopped, and after that.
pmn_result pmn_node_access_token(pmn_node *node,
                                 uint32_t timeout_ms,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length,
                                 int64_t *expires_at_unix);

/// As pmn_node_access_token(), and on failure says why in words: PMN_ERR_REJECTED comes with those of DDS,
/// PMN_ERR_TIMEOUT with what the last sign-in failed with. Blocks as long, and ends with a stop as well; a
/// NULL node is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_node_access_token_with_error(pmn_node *node,
                                            uint32_t timeout_ms,
                                            char *buffer,
                                            size_t capacity,
                                            size_t *length,
                                            int64_t *expires_at_unix,
                                            pmn_error **error);

/// Drops the access token that is held, and signs in anew, at once. Only a token that replaced a refused one
/// less than a second ago is replaced when that second is over: a service that refuses every token slows its
/// callers to one token a second.
///
/// For a service that answered 401 to a token there is pmn_node_invalidate_token_if(). Does not block, and
/// does nothing without a token. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_invalidate_token(pmn_node *node);

/// Drops the access token that is held if it is `token`, such as after a service has answered 401 to it: many
/// threads with the same refused token cause one sign-in, as soon as with pmn_node_invalidate_token().
///
/// PMN_OK also when another token is held by now, or none. Does not block, and keeps no copy of the text,
/// which it compares in constant time. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_invalidate_token_if(pmn_node *node, const char *token);

/// Writes what the held access token says about the node, as a JSON object: its claims, such as "node_id",
/// "organization_id" or "capabilities".
///
/// They are read without verifying the token's signature: use them as hints and never as proof. `buffer`,
/// `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always enough. Does not block, and asks for no
/// token; PMN_ERR_NOT_FOUND when none is held, also after a stop, and when the token is no JWT (RFC 7519). NULL:
/// PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_token_claims(const pmn_node *node,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length);

/// Gives what the last sign-in for an access token failed with: what happened, with DDS's own words.
///
/// On PMN_OK `*token_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when no sign-in has failed since the last success.
pmn_result pmn_node_token_error(const pmn_node *node, pmn_error **token_error);

/// Sends the node's events to `callback`, in place of the former one; NULL ends that (`user_data` and
/// `destroy` are NULL then, too).
///
/// The callback runs on a thread of the library, one call at a time for all callbacks of the process, under
/// no lock: it may call every function but pmn_node_stop(). What happened before is not told again: read
/// the status after this call. A callback that was replaced is still told what is queued for it.
///
/// `destroy` may be NULL. It is called exactly once, after the last call of `callback`: when the callback
/// was replaced or the node stopped; on the library's thread, or on the one that makes that call. When this
/// function fails it is not called, and `user_data` stays yours. PMN_ERR_STOPPED after a stop. Does not
/// block.
pmn_result pmn_node_set_event_callback(pmn_node *node,
                                       pmn_event_fn callback,
                                       void *user_data,
                                       pmn_destroy_fn destroy);

/// Sends the log records of all nodes of this process, up to `max_level`, to `callback`, in place of the
/// former one; NULL ends that (`user_data` and `destroy` are NULL then, too, and `max_level` is ignored).
///
/// Best set before the first node starts. Thread, locks, and how `destroy` frees `user_data`: as for
/// pmn_node_set_event_callback(). Without a callback the library logs nowhere. It is not ended by
/// pmn_node_stop(), and the end of the process does not call `destroy`. Does not block.
pmn_result pmn_set_log_callback(pmn_log_fn callback,
                                void *user_data,
                                pmn_destroy_fn destroy,
                                pmn_log_level max_level);

/// Writes the Ethereum address of a private key (64 hex digits, "0x" optional): "0x" and 40 lowercase hex
/// digits.
///
/// For any thread; does not block, and keeps no copy of the key, which must not be NULL. `buffer`,
/// `capacity`, `length`: see "Text" at the top.
pmn_result pmn_eth_address(const char *privhex, char *buffer, size_t capacity, size_t *length);

/// As pmn_eth_address(), and on failure says in words what is wrong with the key, which is not in them. Does
/// not block; a NULL key is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_eth_address_with_error(const char *privhex,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length,
                                      pmn_error **error);

/// Signs `length` bytes with a private key as pmn_node_sign() does with the node's.
///
/// For any thread; does not block, and keeps no copy of the key, which must not be NULL. `message` may be
/// NULL when `length` is 0. `buffer`, `capacity`, `written`: see "Text" at the top.
pmn_result pmn_sign_eip191(const char *privhex,
                           const uint8_t *message,
                           size_t length,
                           char *buffer,
                           size_t capacity,
                           size_t *written);

/// As pmn_sign_eip191(), and on failure says in words what is wrong with the key, which is not in them. Does
/// not block; a NULL key is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
pmn_result pmn_sign_eip191_with_error(const char *privhex,
                                      const uint8_t *message,
                                      size_t length,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *written,
                                      pmn_error **error);

/// The version of the ABI that the loaded library has.
///
/// A program that loads the library with dlopen() compares it with PMN_ABI_VERSION. Does not block.
uint32_t pmn_abi_version(void);

/// The version of the loaded library, such as "1.2.3". Never NULL, static: do not free it. Does not block.
const char *pmn_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* POSEMESH_NODE_H */
