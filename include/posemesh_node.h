/*
 * posemesh_node.h - register a node with the posemesh discovery service (DDS)
 *
 * A node signs in to DDS with its Ethereum wallet or as a robot, stays registered for the life of the process,
 * and obtains the access tokens with which it calls the services behind DDS. The library does this on a thread
 * of its own: it signs in, retries, refreshes tokens, and registers again if DDS has forgotten the node.
 *
 *     pmn_config    the options of a node      pmn_config_new, _set, _load_env, _free
 *     pmn_node      a running node             pmn_node_start, _stop, _free, _wait, _status, _last_error
 *                     its access tokens        pmn_node_access_token, _invalidate_token_if, _token_claims
 *                     its identity             pmn_node_id, _wallet_address, _sign
 *                     in your web server       pmn_node_handle_request
 *                     its health               pmn_node_ready, _metrics_text, _admin_address
 *     pmn_event     what happens to a node     pmn_node_set_event_callback
 *     pmn_log_...   log records                pmn_set_log_callback
 *     pmn_sign_fn   a signer in place of a key pmn_config_set_signer
 *     pmn_error     why a call failed          pmn_error_code, _message, _free
 *
 * A first program (examples/node.c checks every result):
 *
 *     pmn_config *config = pmn_config_new();
 *     pmn_node *node = NULL;
 *     pmn_error *error = NULL;
 *     if (pmn_config_load_env(config, &error) != PMN_OK || pmn_node_start(config, &node, &error) != PMN_OK) {
 *         fprintf(stderr, "%s\n", pmn_error_message(error));
 *         return 1;
 *     }
 *     pmn_config_free(config);
 *     char token[PMN_TOKEN_CAPACITY];
 *     if (pmn_node_access_token(node, 60000, token, sizeof token, NULL, NULL) == PMN_OK) {
 *         // send a request with the header "Authorization: Bearer <token>"
 *     }
 *     pmn_node_stop(node, 5000);
 *     pmn_node_free(node);
 *
 * Options
 *
 *     Name, environment variable, default; the project's README describes each option. A variable with the prefix
 *     POSEMESH_, such as POSEMESH_NODE_VERSION, takes precedence over the plain name. A secret may also be in a
 *     file: REG_SECRET_FILE, SECP256K1_PRIVHEX_FILE and SECP256K1_KEYSTORE_PASSWORD_FILE are paths. With a private
 *     key, capabilities are required; a robot has no key, and need not have capabilities.
 *
 *     dds_base_url                 DDS_BASE_URL                 https://dds.auki.network
 *     identity                     IDENTITY                     wallet
 *     reg_secret                   REG_SECRET                   required
 *     secp256k1_privhex            SECP256K1_PRIVHEX            -
 *     secp256k1_keystore_file      SECP256K1_KEYSTORE_FILE      -
 *     secp256k1_keystore_password  SECP256K1_KEYSTORE_PASSWORD  -
 *     capabilities                 CAPABILITIES                 required
 *     node_version                 NODE_VERSION                 required
 *     max_concurrency              MAX_CONCURRENCY              -
 *     register_interval_secs       REGISTER_INTERVAL_SECS       120
 *     max_retry                    REGISTER_MAX_RETRY           -1
 *     request_timeout_secs         REQUEST_TIMEOUT_SECS         10
 *     reregister_secs              REREGISTER_SECS              0
 *     callback_bind                CALLBACK_BIND                -
 *     callback_policy              CALLBACK_POLICY              per_registration
 *     healthcheck_ttl_secs         HEALTHCHECK_TTL_SECS         0
 *     callback_path                CALLBACK_PATH                /
 *     callback_allow               CALLBACK_ALLOW               -
 *     trusted_proxies              TRUSTED_PROXIES              -
 *     callback_tls_cert            CALLBACK_TLS_CERT            -
 *     callback_tls_key             CALLBACK_TLS_KEY             -
 *     callback_tls_client_ca       CALLBACK_TLS_CLIENT_CA       -
 *     admin_bind                   ADMIN_BIND                   -
 *     node_url                     NODE_URL                     -
 *     siwe_domain                  SIWE_DOMAIN                  -
 *     siwe_format                  SIWE_FORMAT                  posemesh
 *     state_dir                    STATE_DIR                    -
 *     state_url                    STATE_URL                    -
 *     ca_file                      CA_FILE                      -
 *     allow_insecure_http          ALLOW_INSECURE_HTTP          false
 *
 * If DDS knows your node's URL
 *
 *     DDS can call a node whose URL it knows, to send it a secret and to check its health. It knows the URL from
 *     the console, or from the node if `node_url` is set. Set `callback_bind` to run the callback server, or pass
 *     the requests of your own web server to pmn_node_handle_request(). Wait with PMN_WAIT_SECRET, and read the
 *     secret with pmn_node_read_secret(). Other nodes never receive a secret, and do not need one.
 *
 * State on disk (`state_dir`)
 *
 *     The node stores its secret and its status in this directory, which it creates for itself and which no other
 *     user can read. After a restart the secret is available immediately, and the node registers again.
 *
 *     Processes with the same `state_dir` act as one node. One of them is the leader: it registers, and DDS calls
 *     it. The others are followers (see pmn_status.role): they have the leader's status, events and secret, and
 *     pmn_node_rearm() reaches the leader. When the leader ends, for whatever reason, a follower takes over. Each
 *     process obtains its own access token.
 *
 *     A full disk does not stop the node: it continues in memory, and pmn_node_persistence_error() says why.
 *
 * Replicas on several machines (`state_url`)
 *
 *     Processes with the same `state_url`, a Redis, Valkey or etcd, act as one node, too. Each of them has a callback
 *     server if `callback_bind` is set, and DDS may call any of them. What they share is encrypted with a key that is
 *     derived from the wallet's key, or from the registration credentials of a node without one. pmn_node_start()
 *     succeeds even if the store cannot be used: the node follows and registers nothing until it can, and
 *     pmn_node_persistence_error() says why.
 *
 * Threads
 *
 *     Every function may be called from any thread. Several threads may use a pmn_node at the same time, but only
 *     one a pmn_config or a pmn_error. No thread may use an object that is being freed. No function may be called
 *     in a signal handler.
 *
 *     Callbacks run on one thread of the library, one at a time and in order, with all signals blocked and no lock
 *     held. They may call every function except pmn_node_stop(), which returns PMN_ERR_WOULD_DEADLOCK there;
 *     pmn_node_free() takes effect when the callback returns. A slow callback delays only other callbacks: records
 *     that do not fit the queue are dropped, and counted in the next record. No exception and no longjmp() may
 *     leave a callback.
 *
 *     While nodes run, the library has two threads (posemesh-rt, posemesh-events), and up to four more
 *     (posemesh-io) while it looks up host names or writes to `state_dir`. After the last node has stopped it has
 *     none, with one exception: a host name lookup cannot be cancelled, so its thread ends when the system's
 *     resolver gives up, possibly seconds after pmn_node_stop() has returned. That thread does nothing else, and
 *     does not keep the process from exiting.
 *
 *     If the system cannot provide a thread or memory, the operation fails with an error and is retried.
 *
 *     A thread that calls the library needs a stack of 128 KiB (pmn_node_start() uses the most).
 *
 *     The library installs no signal or atexit handlers, sets no locale and no environment variables, and writes
 *     nothing to stdout or stderr.
 *
 *     After fork(), the parent's nodes return PMN_ERR_FORKED in the child immediately. Freeing them there is
 *     allowed and does not affect the parent. The child may start its own nodes and set its own callbacks; the
 *     parent's are not called there.
 *
 * Ownership
 *
 *     You free what pmn_config_new() and pmn_node_start() return, and errors, each with its own _free function,
 *     which accepts NULL. Text returned as const char * belongs to the library. Text and bytes that you pass in
 *     are copied, or not used after the call. Callback arguments are valid only until the callback returns.
 *     Unless documented otherwise, results are written only on success and errors only on failure, and the memory is
 *     left unchanged otherwise. PMN_ERR_BUFFER_TOO_SMALL comes with the length that is needed.
 *
 * Errors
 *
 *     Every failure is a number. Functions with a `pmn_error **` as their last parameter also return an error
 *     object, which has the same number and a message that says what happened and what to do next. The parameter
 *     may be NULL. Some functions have a second form with this parameter, whose name ends in _with_error and which
 *     is otherwise the same:
 *
 *         pmn_error *error = NULL;
 *         if (pmn_node_wait_with_error(node, PMN_WAIT_REGISTERED, 60000, &error) != PMN_OK) {
 *             fprintf(stderr, "%s\n", pmn_error_message(error));
 *             pmn_error_free(error);
 *         }
 *
 *     Unless documented otherwise, passing NULL returns PMN_ERR_INVALID_ARGUMENT. Functions with a pmn_node return
 *     PMN_ERR_FORKED in a forked child. Any function may return PMN_ERR_PANIC, which means that a bug was caught.
 *
 * Text
 *
 *     Text that you pass in is NUL-terminated UTF-8. Text that you receive is written to your buffer of `capacity`
 *     bytes and NUL-terminated; `*length` is set to its length without the NUL (`length` may be NULL). If the
 *     buffer is too small, the function returns PMN_ERR_BUFFER_TOO_SMALL, sets `*length` anyway, and leaves the
 *     buffer unchanged. So a call with NULL and 0 returns the length.
 *
 * Generated by cbindgen from ffi-c/src: change it there.
 */


#ifndef POSEMESH_NODE_H
#define POSEMESH_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// -----------------------------------------------------------------------------------------------------------
// Results and errors
// -----------------------------------------------------------------------------------------------------------

/// The outcome of a call: PMN_OK, or one of PMN_ERR_...
///
/// The numbers never change and are never reused. A later version may add some: treat one that you do not
/// know as PMN_ERR_INTERNAL.
typedef int32_t pmn_result;

enum {
    /// Success.
    PMN_OK = 0,
    /// An argument is unusable: NULL, not UTF-8, an unknown constant.
    PMN_ERR_INVALID_ARGUMENT = 1,
    /// An option is unknown, missing, or has a value that is not allowed.
    PMN_ERR_INVALID_CONFIG = 2,
    /// What was asked for does not exist: no secret yet, no callback server.
    PMN_ERR_NOT_FOUND = 3,
    /// The caller's buffer is too small; the length of the text was reported.
    PMN_ERR_BUFFER_TOO_SMALL = 4,
    /// The call's timeout expired.
    PMN_ERR_TIMEOUT = 5,
    /// The node was stopped.
    PMN_ERR_STOPPED = 6,
    /// This process already runs a node with this wallet and DDS, or with this `state_dir`.
    PMN_ERR_ALREADY_RUNNING = 7,
    /// The callback server cannot bind its address.
    PMN_ERR_BIND = 8,
    /// A local file or socket failed.
    PMN_ERR_IO = 9,
    /// The node belongs to the parent process: this one was forked.
    PMN_ERR_FORKED = 10,
    /// The call would wait for the callback it was made from.
    PMN_ERR_WOULD_DEADLOCK = 11,
    /// DDS rejected the request.
    PMN_ERR_REJECTED = 12,
    /// DDS could not be reached, or gave no usable response.
    PMN_ERR_UNAVAILABLE = 13,
    /// A bug in this library, caught at its boundary. Please report it.
    PMN_ERR_PANIC = 14,
    /// A bug in this library. Please report it.
    PMN_ERR_INTERNAL = 15,
};

/// Why a call failed: a number for programs, a message for people.
///
/// Functions with a `pmn_error **` parameter write one there when they fail, and leave it alone when they
/// succeed. You free it with pmn_error_free(). It is independent of any node, and for one thread at a time. It
/// never contains a key, a credential or a secret.
typedef struct pmn_error pmn_error;

/// Returns the name of a result, such as "PMN_ERR_TIMEOUT"; "PMN_ERR_UNKNOWN" for a number that has none.
///
/// Never NULL. The text is static: do not free it. Does not block.
const char *pmn_result_name(pmn_result result);

/// Returns the number of an error, which is what the failed call returned; PMN_OK for NULL. Does not block.
pmn_result pmn_error_code(const pmn_error *error);

/// Returns what went wrong and what to do next, as UTF-8 for people. Never NULL; "" for a NULL error.
///
/// The text is valid until the error is freed: do not free it yourself. Does not block.
const char *pmn_error_message(const pmn_error *error);

/// Frees an error. NULL is allowed. Does not block.
void pmn_error_free(pmn_error *error);

// -----------------------------------------------------------------------------------------------------------
// Configuration
// -----------------------------------------------------------------------------------------------------------

/// The options of a node to start.
///
/// For one thread at a time. pmn_node_start() copies what it needs: afterwards you may change the configuration,
/// start other nodes with it, or free it, without affecting running nodes.
typedef struct pmn_config pmn_config;

/// Creates a configuration in which every option has its default.
///
/// You free it with pmn_config_free(). NULL only if a bug in this library was caught. Does not block.
pmn_config *pmn_config_new(void);

/// Frees a configuration and wipes the secrets in it from memory. NULL is allowed. Does not block.
void pmn_config_free(pmn_config *config);

/// Sets an option, named as in the table at the top, from text. The text is copied.
///
/// PMN_ERR_INVALID_CONFIG if there is no such option or the value is not allowed: the message says what is
/// expected and never repeats a secret, and the configuration is unchanged. `error` may be NULL; you free what it
/// receives. Does not block.
pmn_result pmn_config_set(pmn_config *config,
                          const char *name,
                          const char *value,
                          pmn_error **error);

/// Sets every option for which the environment has a variable; the others are unchanged.
///
/// Fails as pmn_config_set() does, with a message that names the variable, and then the configuration is
/// unchanged. `error` may be NULL; you free what it receives. Blocks only to read the files named by the
/// variables that end in _FILE. No other thread may change the environment meanwhile (setenv() and getenv() are
/// not thread-safe).
pmn_result pmn_config_load_env(pmn_config *config,
                               pmn_error **error);

// -----------------------------------------------------------------------------------------------------------
// A running node
// -----------------------------------------------------------------------------------------------------------

/// A node that registers with DDS, and stays registered until it is stopped.
///
/// Any number of threads may use it at the same time, and callbacks may too (except for pmn_node_stop()). Only
/// pmn_node_free() must be the last call.
typedef struct pmn_node pmn_node;

/// What pmn_node_wait() waits for: PMN_WAIT_...
typedef int32_t pmn_wait;

enum {
    /// The node is registered.
    PMN_WAIT_REGISTERED = 1,
    /// The node has a secret.
    PMN_WAIT_SECRET = 2,
};

/// No timeout: wait as long as it takes.
#define PMN_NO_TIMEOUT UINT32_MAX

/// Starts a node: checks the configuration, binds the callback port, starts to register, and returns without
/// waiting for DDS (see pmn_node_wait()).
///
/// On PMN_OK you own `*node`: call pmn_node_stop(), then pmn_node_free(). `error` may be NULL. May block briefly,
/// to read certificates and to look up the host name in `callback_bind`.
///
/// PMN_ERR_INVALID_CONFIG, PMN_ERR_ALREADY_RUNNING (this process has a node with this wallet and DDS, or with
/// this `state_dir`), PMN_ERR_BIND (the port is in use), PMN_ERR_IO.
pmn_result pmn_node_start(const pmn_config *config,
                          pmn_node **node,
                          pmn_error **error);

/// Stops a node: cancels its requests, ends every wait with PMN_ERR_STOPPED, delivers the remaining events and
/// log records, closes the port, and ends the library's threads unless another node needs them.
///
/// Blocks until all of that is done, for at most `timeout_ms` (or PMN_NO_TIMEOUT). After PMN_OK no event callback
/// of this node runs. You may stop a node twice, and from several threads; you still have to free it. NULL
/// returns PMN_ERR_INVALID_ARGUMENT.
///
/// PMN_ERR_TIMEOUT if a callback does not return in time: call again to continue waiting.
/// PMN_ERR_WOULD_DEADLOCK from inside a callback: call it on another thread, or free the node instead.
pmn_result pmn_node_stop(pmn_node *node,
                         uint32_t timeout_ms);

/// Like pmn_node_stop(), with an error that says what has not ended. Blocks as long.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_node_stop_with_error(pmn_node *node, uint32_t timeout_ms, pmn_error **error);

/// Stops a node, unless it is stopped already, and frees it. NULL is allowed.
///
/// Blocks as pmn_node_stop() does, for at most five seconds: if a callback takes longer, the node is freed when it
/// returns. Inside a callback this does not block: the node is freed when the callback returns, and no further
/// event callback of the node runs. No other thread may be using the node, nor use it later.
void pmn_node_free(pmn_node *node);

/// Waits until the node is registered (PMN_WAIT_REGISTERED) or has a secret (PMN_WAIT_SECRET).
///
/// Blocks for at most `timeout_ms`; 0 only checks, PMN_NO_TIMEOUT waits indefinitely. After pmn_node_rearm(), a
/// wait for PMN_WAIT_REGISTERED waits for the new registration. Do not wait inside a callback: no other event or
/// log record is delivered until the callback returns.
///
/// The wait does not end when DDS refuses the node, because the node tries again: pmn_node_last_error() and
/// PMN_EVENT_ATTEMPT_FAILED say why.
///
/// PMN_ERR_TIMEOUT (pmn_node_wait_with_error() says why); PMN_ERR_STOPPED as soon as the node is stopped, and
/// from then on; PMN_ERR_NOT_FOUND immediately for PMN_WAIT_SECRET if no secret can arrive, because the node has
/// none, none of `callback_bind`, `node_url`, `state_dir` and `state_url` is set, and pmn_node_handle_request() was not
/// called yet.
/// NULL returns PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_wait(const pmn_node *node,
                         pmn_wait what,
                         uint32_t timeout_ms);

/// Like pmn_node_wait(), with an error that says why: for PMN_ERR_TIMEOUT, the state of the node and the error of
/// its last attempt to register. Blocks as long, and a stop ends it as well.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_node_wait_with_error(const pmn_node *node,
                                    pmn_wait what,
                                    uint32_t timeout_ms,
                                    pmn_error **error);

/// Returns the error of the last attempt to register, which includes DDS's own words.
///
/// On PMN_OK you free `*last_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if no attempt has failed since the last success.
pmn_result pmn_node_last_error(const pmn_node *node, pmn_error **last_error);

/// Returns why the node currently cannot write its state to `state_dir`, cannot follow the leader there, or cannot
/// use `state_url`. The node continues in memory meanwhile.
///
/// On PMN_OK you free `*persistence_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if there is no such error, or neither `state_dir`
/// nor `state_url`.
pmn_result pmn_node_persistence_error(const pmn_node *node,
                                      pmn_error **persistence_error);

/// Registers again, for example when the host has lost the secret.
///
/// Does not block. When it returns, the state is PMN_STATE_DISCONNECTED and a new registration is under way. A
/// follower asks its leader to register, and is in that state until the leader has started. The secret stays
/// readable until DDS sends another one. After ten calls in a row the node registers at most once a second: calls
/// in between count as one, and the last one is never lost. PMN_ERR_STOPPED after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_rearm(pmn_node *node);

/// Like pmn_node_rearm(), with an error that says why it failed, such as after a stop. Does not block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_node_rearm_with_error(pmn_node *node, pmn_error **error);

/// Writes the address on which the callback server listens, such as "127.0.0.1:8080", with the actual port if
/// `callback_bind` has port 0. For a follower it is the leader's address.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; 64 bytes are always enough. `node` must not be NULL. Does
/// not block. Works after a stop. PMN_ERR_NOT_FOUND if the node has no callback server.
pmn_result pmn_node_callback_address(const pmn_node *node,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *length);

/// The capacity of a buffer that fits an Ethereum address and its NUL.
#define PMN_ADDRESS_CAPACITY 43

/// Writes the node's Ethereum address: "0x" and 40 lowercase hex digits.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_ADDRESS_CAPACITY is always enough. `node` must not be
/// NULL. Does not block. Works after a stop. PMN_ERR_NOT_FOUND for a robot.
pmn_result pmn_node_wallet_address(const pmn_node *node,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *length);

/// The capacity of a buffer that fits a signature and its NUL.
#define PMN_SIGNATURE_CAPACITY 133

/// Signs `length` bytes with the node's key as a wallet does (EIP-191, personal_sign), and writes the
/// signature: "0x" and 130 lowercase hex digits.
///
/// `buffer`, `capacity`, `written`: see "Text" at the top; PMN_SIGNATURE_CAPACITY is always enough. `message` may
/// be NULL if `length` is 0. Does not block. Works after a stop. PMN_ERR_NOT_FOUND if the node has no private key: it
/// is a robot, or has a signer (see pmn_config_set_signer()).
pmn_result pmn_node_sign(const pmn_node *node,
                         const uint8_t *message,
                         size_t length,
                         char *buffer,
                         size_t capacity,
                         size_t *written);

// -----------------------------------------------------------------------------------------------------------
// Status
// -----------------------------------------------------------------------------------------------------------

/// The state of a node's registration: PMN_STATE_...
typedef int32_t pmn_state;

enum {
    /// Not registered, and not yet tried since the start or the last pmn_node_rearm().
    PMN_STATE_DISCONNECTED = 0,
    /// Trying to register.
    PMN_STATE_REGISTERING = 1,
    /// Registered with DDS.
    PMN_STATE_REGISTERED = 2,
};

/// A node's role among the processes that share its `state_dir` or `state_url`: PMN_ROLE_...
typedef int32_t pmn_role;

enum {
    /// This node registers, and DDS calls it. Every node without a `state_dir` or `state_url` is a leader.
    PMN_ROLE_LEADER = 0,
    /// Another process leads, and this node shows its state. It takes over when the leader ends.
    PMN_ROLE_FOLLOWER = 1,
};

/// The capacity of a buffer that fits a node id and its NUL.
#define PMN_NODE_ID_CAPACITY 37

/// A consistent snapshot of a node.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has.
typedef struct pmn_status {
    /// Set this to sizeof(pmn_status) before the call.
    size_t size;
    /// PMN_STATE_...
    pmn_state state;
    /// False after a stop.
    bool running;
    /// Whether the node has a secret.
    bool has_secret;
    /// 1 for the first secret, one more for each new one; 0 = no secret so far.
    uint64_t secret_version;
    /// When DDS last sent a health check, in seconds since 1970 (UTC); 0 = never.
    union {
        int64_t last_healthcheck_unix_s;
        int64_t last_healthcheck; // the former name
    };
    /// When DDS last confirmed a registration, in seconds since 1970 (UTC); 0 = never.
    union {
        int64_t registered_at_unix_s;
        int64_t registered_at; // the former name
    };
    /// Attempts to register since the start.
    uint64_t attempts;
    /// Attempts that failed since the last success.
    uint32_t consecutive_failures;
    /// Why the last attempt failed; PMN_OK after a success.
    pmn_result last_error;
    /// The time until the next attempt; 0 = none is scheduled.
    uint64_t next_attempt_in_ms;
    /// PMN_ROLE_...
    pmn_role role;
    /// Why the node currently cannot write its state to `state_dir`, cannot follow the leader there, or cannot use
    /// `state_url`; PMN_OK if there is no such error.
    pmn_result persistence_error;
    /// When the held access token expires, in seconds since 1970 (UTC) by DDS's clock; 0 = none is held.
    union {
        int64_t token_expires_at_unix_s;
        int64_t token_expires_at; // the former name
    };
    /// Sign-ins for an access token that failed since the last success.
    uint32_t sign_in_failures;
    /// How far DDS's clock is ahead of this machine's; negative if it is behind. DDS reports whole seconds: this is
    /// 0 unless they contradict it.
    int64_t clock_skew_ms;
    /// True if DDS has not called the callback server within a minute of the registration. DDS only calls a node
    /// whose URL it knows and can reach.
    bool callback_overdue;
    /// The id that DDS knows the node by: the 16 bytes of a UUID, all 0 as long as it is not known. pmn_node_id()
    /// writes it as text.
    uint8_t node_id[16];
} pmn_status;

/// Writes the id that DDS knows the node by: a UUID in lowercase, from the registration credentials, from DDS, or from
/// the access token.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_NODE_ID_CAPACITY is always enough. `node` must not be
/// NULL. Does not block. Works after a stop. PMN_ERR_NOT_FOUND as long as the id is not known.
pmn_result pmn_node_id(const pmn_node *node,
                       char *buffer,
                       size_t capacity,
                       size_t *length);

/// Fills `*status`, whose `size` you have set to sizeof(pmn_status).
///
/// Does not block, and takes a few nanoseconds: call it as often as you like. Works after a stop.
/// PMN_ERR_INVALID_ARGUMENT for NULL, and if `size` is smaller than in the first version of the ABI. If it is
/// larger than the library knows, the fields that the library does not know are left unchanged.
pmn_result pmn_node_status(const pmn_node *node, pmn_status *status);

// -----------------------------------------------------------------------------------------------------------
// Access tokens, for the services behind DDS
// -----------------------------------------------------------------------------------------------------------

/// The capacity of a buffer that fits every token and its NUL.
#define PMN_TOKEN_CAPACITY 8193

/// Writes an access token: 1 to 8192 bytes of visible ASCII, for an "Authorization: Bearer" header. Call this
/// for each request instead of storing the text.
///
/// The first call makes the node sign in to DDS once it is registered. From then on the node holds a token,
/// refreshes it before it expires, and calls return immediately. Until the node has one, this blocks, for at most
/// `timeout_ms`: 0 requests a token without waiting, PMN_NO_TIMEOUT waits indefinitely. However many threads wait,
/// there is one sign-in. Do not wait inside a callback: no other event or log record is delivered until the
/// callback returns.
///
/// `expires_at_unix_s` may be NULL; on PMN_OK it receives the time when the token expires, in seconds since 1970
/// (UTC) by DDS's clock. `buffer`, `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always
/// enough, and a token that did not fit is kept for the next call. The only copy that this leaves is the one in
/// your buffer: wipe it when you are done.
///
/// PMN_ERR_REJECTED if DDS rejects the sign-in: immediately, and until the next one is due. PMN_ERR_TIMEOUT. For
/// both, pmn_node_access_token_with_error() says why. PMN_ERR_STOPPED as soon as the node is stopped, and from
/// then on.
pmn_result pmn_node_access_token(pmn_node *node,
                                 uint32_t timeout_ms,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length,
                                 int64_t *expires_at_unix_s);

/// Like pmn_node_access_token(), with an error that says why: for PMN_ERR_REJECTED, in DDS's own words; for
/// PMN_ERR_TIMEOUT, with the error of the last sign-in. Blocks as long, and a stop ends it as well.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_node_access_token_with_error(pmn_node *node,
                                            uint32_t timeout_ms,
                                            char *buffer,
                                            size_t capacity,
                                            size_t *length,
                                            int64_t *expires_at_unix_s,
                                            pmn_error **error);

/// Drops the held access token and signs in again immediately. The exception is a token that replaced a refused
/// one less than a second ago: it is replaced when that second is over, so that a service that refuses every
/// token causes at most one sign-in per second.
///
/// If a service responded with 401 to a token, use pmn_node_invalidate_token_if(). Without a held token this does
/// nothing. Does not block. PMN_ERR_STOPPED after a stop. NULL returns PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_invalidate_token(pmn_node *node);

/// Like pmn_node_invalidate_token(), but only if the held access token is `token`: call it when a service has
/// responded with 401 to that token. Many threads with the same refused token cause one sign-in.
///
/// Returns PMN_OK also if another token is held by now, or none. The comparison takes constant time, and no copy
/// of the text is kept. Does not block. PMN_ERR_STOPPED after a stop. NULL returns PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_invalidate_token_if(pmn_node *node,
                                        const char *token);

/// Writes the claims of the held access token as a JSON object, such as "node_id", "organization_id" and
/// "capabilities".
///
/// The token's signature is not verified: use the claims as hints, never as proof. `buffer`, `capacity`, `length`:
/// see "Text" at the top; PMN_TOKEN_CAPACITY is always enough. Does not block, and does not request a token.
/// PMN_ERR_NOT_FOUND if none is held, as after a stop, or if it is not a JWT (RFC 7519). A NULL node returns
/// PMN_ERR_INVALID_ARGUMENT.
pmn_result pmn_node_token_claims(const pmn_node *node,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length);

/// Returns the error of the last sign-in for an access token, which includes DDS's own words.
///
/// On PMN_OK you free `*token_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if no sign-in has failed since the last success.
pmn_result pmn_node_token_error(const pmn_node *node, pmn_error **token_error);

// -----------------------------------------------------------------------------------------------------------
// The node secret, for nodes that DDS calls back
// -----------------------------------------------------------------------------------------------------------

/// The capacity of a buffer that fits every secret and its NUL.
#define PMN_SECRET_CAPACITY 4097

/// Writes the secret that DDS has sent: at most 4096 bytes of UTF-8.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_SECRET_CAPACITY is always enough. `node` must not be
/// NULL. The only copy that this leaves is the one in your buffer: wipe it when you are done. Does not block.
/// Works after a stop. PMN_ERR_NOT_FOUND as long as there is no secret.
pmn_result pmn_node_read_secret(const pmn_node *node,
                                char *buffer,
                                size_t capacity,
                                size_t *length);

// -----------------------------------------------------------------------------------------------------------
// Requests of DDS in your own web server
// -----------------------------------------------------------------------------------------------------------

/// The longest body of a request that the library accepts, in bytes. A longer one gets 413, so a server need not keep
/// more than one byte beyond it.
#define PMN_MAX_CALLBACK_BODY 262144

/// A header of a request.
typedef struct pmn_http_header {
    /// In upper or lower case.
    const char *name;
    /// Without the spaces around it.
    const char *value;
} pmn_http_header;

/// A request that has reached your web server.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has.
typedef struct pmn_http_request {
    /// Set this to sizeof(pmn_http_request).
    size_t size;
    /// Such as "POST".
    const char *method;
    /// The path, without a prefix under which you have the library's routes. A query after it is ignored.
    const char *path;
    /// `header_count` headers. The library reads Content-Type and User-Agent.
    const pmn_http_header *headers;
    /// The number of headers.
    size_t header_count;
    /// The whole body, or at least its first PMN_MAX_CALLBACK_BODY + 1 bytes.
    const uint8_t *body;
    /// The number of bytes at `body`.
    size_t body_length;
} pmn_http_request;

/// What to respond.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has. The texts belong to
/// the library, are NUL-terminated, and stay valid for the life of the process.
typedef struct pmn_http_response {
    /// Set this to sizeof(pmn_http_response) before the call.
    size_t size;
    /// The status code, such as 200.
    uint32_t status;
    /// The value of the header Retry-After, in seconds; 0 = no such header.
    uint32_t retry_after_s;
    /// The value of the header Content-Type; NULL = no such header.
    const char *content_type;
    /// The value of the header Allow; NULL = no such header.
    const char *allow;
    /// The body: never NULL, and "" for none.
    const char *body;
    /// The number of bytes at `body` without the NUL.
    size_t body_length;
} pmn_http_response;

/// Handles a request that has reached your own web server, if it is one of DDS for this library. Then your server
/// sends what `*response` says; `callback_bind` is not needed.
///
/// For the library are POST /internal/v1/registrations, and GET and HEAD /health if the User-Agent begins with "DDS v";
/// a slash may follow the path. For every other request, also for /health from others, this returns
/// PMN_ERR_NOT_FOUND: continue with your own routes. Pass all requests, or at least those with these paths. The first
/// call, for whatever request, tells the node that DDS may call it: from then on pmn_node_wait() waits for a secret.
///
/// On PMN_OK the library has filled `*response`, also if it refuses the request: 403, 405, 409, 413, 415 and so on as
/// the callback server does, and 503 after a stop. The secret of an accepted request is available before this returns.
///
/// Usually does not block. With a `state_dir` or `state_url`, it blocks until the secret is stored, and in a follower until the
/// leader has decided, but at most `timeout_ms` (or PMN_NO_TIMEOUT); do not call it on the thread of an event loop
/// then. PMN_ERR_TIMEOUT: respond with 503, and DDS tries again. PMN_ERR_FORKED in a forked child: as well. Works
/// inside a callback. `node`, `request`, `response` and the texts must not be NULL; `headers` and `body` may be if
/// their number is 0.
pmn_result pmn_node_handle_request(pmn_node *node,
                                   const pmn_http_request *request,
                                   uint32_t timeout_ms,
                                   pmn_http_response *response);

// -----------------------------------------------------------------------------------------------------------
// Readiness and metrics
// -----------------------------------------------------------------------------------------------------------

/// Whether the node is ready: running and registered and, with `needs_secret`, with a secret. PMN_OK, or why not.
///
/// Writes what a ready node has, or why the node is not ready, for people; it may repeat what DDS has answered.
/// `buffer`, `capacity`, `length`: see "Text" at the top, except that the text is written also when the node is not
/// ready, and that a text that does not fit is cut, so that the result is always about the node. NULL and 0 ask for
/// the result alone. `node` must not be NULL. Does not block. Works after a stop.
///
/// PMN_ERR_STOPPED, or PMN_ERR_PANIC if a bug ended the node; PMN_ERR_REJECTED while DDS refuses to register it;
/// PMN_ERR_UNAVAILABLE while it is not registered for another reason; PMN_ERR_NOT_FOUND if only the secret is missing.
pmn_result pmn_node_ready(const pmn_node *node,
                          bool needs_secret,
                          char *buffer,
                          size_t capacity,
                          size_t *length);

/// The capacity of a buffer that fits the metrics and a NUL.
#define PMN_METRICS_CAPACITY 32768

/// Writes the metrics of the node for Prometheus, which the project's README lists. Serve them with the content type
/// "text/plain; version=0.0.4; charset=utf-8". They end with a line feed, and may be appended to other metrics.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_METRICS_CAPACITY is always enough. The length changes
/// from call to call. `node` must not be NULL. Does not block. Works after a stop, with the last values.
pmn_result pmn_node_metrics_text(const pmn_node *node,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *length);

/// Writes the address on which this process serves /livez, /readyz and /metrics, such as "127.0.0.1:9090", with the
/// actual port if `admin_bind` has port 0.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; 64 bytes are always enough. `node` must not be NULL. Does
/// not block. Works after a stop. PMN_ERR_NOT_FOUND without `admin_bind`.
pmn_result pmn_node_admin_address(const pmn_node *node,
                                  char *buffer,
                                  size_t capacity,
                                  size_t *length);

// -----------------------------------------------------------------------------------------------------------
// Events
// -----------------------------------------------------------------------------------------------------------

/// The type of an event: PMN_EVENT_...
///
/// Ignore a number that you do not know: a later version may add events.
typedef int32_t pmn_event_type;

enum {
    /// The state changed from `previous` to `state`.
    PMN_EVENT_STATUS_CHANGED = 1,
    /// DDS sent a new secret, number `secret_version`: see pmn_node_read_secret().
    PMN_EVENT_SECRET_CHANGED = 2,
    /// An attempt to register failed, with `code` and `message`; the next one is due in `retry_in_ms`.
    PMN_EVENT_ATTEMPT_FAILED = 3,
    /// DDS sent a health check.
    PMN_EVENT_HEALTHCHECK = 4,
    /// The node has a new access token, which expires at `token_expires_at_unix_s`: see pmn_node_access_token().
    PMN_EVENT_TOKEN_REFRESHED = 5,
    /// DDS no longer knows the node, as `message` explains, and the node registers again.
    PMN_EVENT_REGISTRATION_LOST = 6,
};

/// Something that happened to a node. Fields that the event's type does not use are 0 or "".
typedef struct pmn_event {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    size_t size;
    /// PMN_EVENT_...
    pmn_event_type type;
    /// When it happened, in milliseconds since 1970 (UTC).
    int64_t time_unix_ms;
    /// The number of events dropped just before this one because the callback was too slow.
    uint64_t dropped;
    /// PMN_EVENT_STATUS_CHANGED: the state before.
    union {
        pmn_state previous;
        pmn_state old_state; // the former name
    };
    /// PMN_EVENT_STATUS_CHANGED: the state now.
    union {
        pmn_state state;
        pmn_state new_state; // the former name
    };
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    uint64_t secret_version;
    /// PMN_EVENT_ATTEMPT_FAILED: PMN_ERR_REJECTED or PMN_ERR_UNAVAILABLE.
    pmn_result code;
    /// PMN_EVENT_ATTEMPT_FAILED, PMN_EVENT_REGISTRATION_LOST: what happened, including DDS's own words. Never
    /// NULL.
    const char *message;
    /// PMN_EVENT_ATTEMPT_FAILED: the time until the next attempt.
    uint64_t retry_in_ms;
    /// PMN_EVENT_TOKEN_REFRESHED: when the token expires, in seconds since 1970 (UTC) by DDS's clock.
    union {
        int64_t token_expires_at_unix_s;
        int64_t token_expires_at; // the former name
    };
} pmn_event;

/// A function that receives a node's events. The event is valid only until the function returns.
typedef void (*pmn_event_fn)(const pmn_event *event, void *user_data);

/// A function that frees a callback's user_data. It runs exactly once, after the callback's last call.
typedef void (*pmn_destroy_fn)(void *user_data);

/// Sets the callback for a node's events. Replaces the former callback; NULL removes it (then pass NULL for
/// `user_data` and `destroy`, too).
///
/// The callback runs on a thread of the library, one call at a time for all callbacks of the process, and holds
/// no lock: it may call every function except pmn_node_stop(). Earlier events are not repeated: read the status
/// after this call. A callback that was replaced still receives the events that are queued for it.
///
/// `destroy` may be NULL. It runs exactly once, after the last call of `callback`, when the callback was replaced
/// or the node stopped: on the library's thread, or on the thread that made that call. If this function fails,
/// `destroy` does not run and `user_data` remains yours. PMN_ERR_STOPPED after a stop. Does not block.
pmn_result pmn_node_set_event_callback(pmn_node *node,
                                       pmn_event_fn callback,
                                       void *user_data,
                                       pmn_destroy_fn destroy);

// -----------------------------------------------------------------------------------------------------------
// Log records
// -----------------------------------------------------------------------------------------------------------

/// The severity of a log record: PMN_LOG_...
typedef int32_t pmn_log_level;

enum {
    /// A bug in this library.
    PMN_LOG_ERROR = 1,
    /// Something that an operator should look at.
    PMN_LOG_WARN = 2,
    /// The main events of a node's life: registered, secret received, stopped.
    PMN_LOG_INFO = 3,
    /// Every step.
    PMN_LOG_DEBUG = 4,
};

/// One log record. It never contains a key, a credential or a secret.
typedef struct pmn_log_record {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    size_t size;
    /// PMN_LOG_...
    pmn_log_level level;
    /// When it was written, in milliseconds since 1970 (UTC).
    int64_t time_unix_ms;
    /// The number of records dropped just before this one because the callback was too slow.
    uint64_t dropped;
    /// The part of the library that wrote it, such as "posemesh_node::register". Never NULL.
    const char *target;
    /// One line of UTF-8 for people, without a newline. Never NULL.
    const char *message;
} pmn_log_record;

/// A function that receives log records. The record is valid only until the function returns.
typedef void (*pmn_log_fn)(const pmn_log_record *record, void *user_data);

/// Sets the callback for the log records of all nodes in this process, up to `max_level`. Replaces the former
/// callback; NULL removes it (then pass NULL for `user_data` and `destroy`, too; `max_level` is ignored).
///
/// Best called before the first node starts. Without a callback the library logs nothing. Threads, locks, and
/// when `destroy` frees `user_data`: as for pmn_node_set_event_callback(). The callback stays set after
/// pmn_node_stop(), and `destroy` does not run when the process ends. Does not block.
pmn_result pmn_set_log_callback(pmn_log_fn callback,
                                void *user_data,
                                pmn_destroy_fn destroy,
                                pmn_log_level max_level);

// -----------------------------------------------------------------------------------------------------------
// A signer of the host's, for keys that must not enter the process
// -----------------------------------------------------------------------------------------------------------

/// What a pmn_sign_fn signs. Valid only until the function returns.
typedef struct pmn_sign_request {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    size_t size;
    /// The address that signs: "0x" and 40 lowercase hex digits.
    const char *address;
    /// The 32 bytes to sign: the Keccak-256 of the message with its EIP-191 prefix.
    const uint8_t *digest;
    /// The message itself, for a signer that hashes it (personal_sign). UTF-8 without a NUL at its end.
    const uint8_t *message;
    /// The length of the message in bytes.
    size_t message_length;
} pmn_sign_request;

/// A function that signs: it writes the signature to `signature`, a buffer of PMN_SIGNATURE_CAPACITY bytes, and
/// returns PMN_OK. The signature is r, s and v as "0x" (optional), 130 hex digits and a NUL, with a low s and a v of
/// 27 or 28. On failure it returns another result, and may write an error message to the buffer instead.
typedef pmn_result (*pmn_sign_fn)(const pmn_sign_request *request, char *signature, void *user_data);

/// Makes nodes sign in with `sign` instead of a private key, for a key in a KMS, an HSM or a wallet. `address` is the
/// key's Ethereum address, "0x" and 40 hex digits. Replaces the former function; a NULL `sign` removes it (then pass
/// NULL for the other parameters, too).
///
/// `sign` runs on the library's callback thread, for each registration and each access token, and may block: that
/// delays the other callbacks and signers of the process, but nothing else. Do not wait for a node inside a callback,
/// because its sign-in would wait for that callback. The library waits for `request_timeout_secs`, and ignores a later
/// signature. It checks a signature before it uses it. A failure is shown and retried like any other. pmn_node_sign()
/// returns PMN_ERR_NOT_FOUND for such a node: call your signer instead.
///
/// `destroy` may be NULL. It runs exactly once, after the last call of `sign`, when the configuration and every node
/// started with it have been freed or have another signer: on the thread that frees the last of them, or on the
/// library's. If this function fails, `destroy` does not run and `user_data` remains yours.
///
/// PMN_ERR_INVALID_CONFIG if the address is malformed. pmn_node_start() returns it if a private key is set, too. Does
/// not block.
pmn_result pmn_config_set_signer(pmn_config *config,
                                 const char *address,
                                 pmn_sign_fn sign,
                                 void *user_data,
                                 pmn_destroy_fn destroy);

/// Like pmn_config_set_signer(), with an error that says what is wrong with the address. Does not block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_config_set_signer_with_error(pmn_config *config,
                                            const char *address,
                                            pmn_sign_fn sign,
                                            void *user_data,
                                            pmn_destroy_fn destroy,
                                            pmn_error **error);

// -----------------------------------------------------------------------------------------------------------
// Addresses and signatures without a node
// -----------------------------------------------------------------------------------------------------------

/// Writes the Ethereum address of a private key (64 hex digits, "0x" optional): "0x" and 40 lowercase hex
/// digits.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_ADDRESS_CAPACITY is always enough. `privhex` must
/// not be NULL; no copy of it is kept. Does not block.
pmn_result pmn_eth_address(const char *privhex,
                           char *buffer,
                           size_t capacity,
                           size_t *length);

/// Like pmn_eth_address(), with an error that says what is wrong with the key, without repeating it. Does not
/// block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_eth_address_with_error(const char *privhex,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length,
                                      pmn_error **error);

/// Signs `length` bytes with a private key (EIP-191, personal_sign), and writes the signature: "0x" and 130
/// lowercase hex digits.
///
/// `buffer`, `capacity`, `written`: see "Text" at the top; PMN_SIGNATURE_CAPACITY is always enough. `message` may
/// be NULL if `length` is 0; `privhex` must not be NULL, and no copy of it is kept. Does not block.
pmn_result pmn_sign_eip191(const char *privhex,
                           const uint8_t *message,
                           size_t length,
                           char *buffer,
                           size_t capacity,
                           size_t *written);

/// Like pmn_sign_eip191(), with an error that says what is wrong with the key, without repeating it. Does not
/// block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
pmn_result pmn_sign_eip191_with_error(const char *privhex,
                                      const uint8_t *message,
                                      size_t length,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *written,
                                      pmn_error **error);

// -----------------------------------------------------------------------------------------------------------
// Versions
// -----------------------------------------------------------------------------------------------------------

/// The version of the ABI in this header.
///
/// It changes only when programs built with an older header would break. Additions do not change it.
#define PMN_ABI_VERSION 1

/// Returns the version of the loaded library's ABI. Does not block.
///
/// Programs that load the library with dlopen() compare it with PMN_ABI_VERSION.
uint32_t pmn_abi_version(void);

/// Returns the version of the loaded library, such as "1.2.3". Never NULL. The text is static: do not free it.
/// Does not block.
const char *pmn_version(void);

#ifdef __cplusplus
} // extern "C"
#endif

#endif // POSEMESH_NODE_H
