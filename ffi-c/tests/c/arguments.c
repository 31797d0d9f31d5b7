// Calls every function with invalid arguments, with buffers of every interesting size, and after a stop. Needs a DDS
// that calls back.

#include "check.h"

#include <stddef.h>

_Static_assert(PMN_OK == 0 && PMN_ERR_INVALID_ARGUMENT == 1 && PMN_ERR_INVALID_CONFIG == 2 &&
                   PMN_ERR_NOT_FOUND == 3 && PMN_ERR_BUFFER_TOO_SMALL == 4 && PMN_ERR_TIMEOUT == 5 &&
                   PMN_ERR_STOPPED == 6 && PMN_ERR_ALREADY_RUNNING == 7 && PMN_ERR_BIND == 8 &&
                   PMN_ERR_IO == 9 && PMN_ERR_FORKED == 10 && PMN_ERR_WOULD_DEADLOCK == 11 &&
                   PMN_ERR_REJECTED == 12 && PMN_ERR_UNAVAILABLE == 13 && PMN_ERR_PANIC == 14 &&
                   PMN_ERR_INTERNAL == 15,
               "results");
_Static_assert(PMN_STATE_DISCONNECTED == 0 && PMN_STATE_REGISTERING == 1 && PMN_STATE_REGISTERED == 2, "states");
_Static_assert(PMN_WAIT_REGISTERED == 1 && PMN_WAIT_SECRET == 2 && PMN_NO_TIMEOUT == UINT32_MAX, "waits");
_Static_assert(PMN_LOG_ERROR == 1 && PMN_LOG_WARN == 2 && PMN_LOG_INFO == 3 && PMN_LOG_DEBUG == 4, "levels");
_Static_assert(PMN_EVENT_STATUS_CHANGED == 1 && PMN_EVENT_SECRET_CHANGED == 2 &&
                   PMN_EVENT_ATTEMPT_FAILED == 3 && PMN_EVENT_HEALTHCHECK == 4 &&
                   PMN_EVENT_TOKEN_REFRESHED == 5 && PMN_EVENT_REGISTRATION_LOST == 6,
               "events");
_Static_assert(PMN_ROLE_LEADER == 0 && PMN_ROLE_FOLLOWER == 1, "roles");
_Static_assert(PMN_TOKEN_CAPACITY == 8192 + 1 && PMN_SECRET_CAPACITY == 4096 + 1 && PMN_ADDRESS_CAPACITY == 42 + 1 &&
                   PMN_SIGNATURE_CAPACITY == 132 + 1 && PMN_NODE_ID_CAPACITY == 36 + 1,
               "capacities");
_Static_assert(sizeof(pmn_result) == 4 && sizeof(pmn_state) == 4 && sizeof(bool) == 1, "widths");
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(pmn_status) == 120 && offsetof(pmn_status, state) == 8 &&
                   offsetof(pmn_status, running) == 12 && offsetof(pmn_status, has_secret) == 13 &&
                   offsetof(pmn_status, secret_version) == 16 && offsetof(pmn_status, last_healthcheck) == 24 &&
                   offsetof(pmn_status, registered_at) == 32 && offsetof(pmn_status, attempts) == 40 &&
                   offsetof(pmn_status, consecutive_failures) == 48 && offsetof(pmn_status, last_error) == 52 &&
                   offsetof(pmn_status, next_attempt_in_ms) == 56 && offsetof(pmn_status, role) == 64 &&
                   offsetof(pmn_status, persistence_error) == 68 &&
                   offsetof(pmn_status, token_expires_at) == 72 &&
                   offsetof(pmn_status, sign_in_failures) == 80 && offsetof(pmn_status, clock_skew_ms) == 88 &&
                   offsetof(pmn_status, callback_overdue) == 96 && offsetof(pmn_status, node_id) == 97,
               "pmn_status");
_Static_assert(sizeof(pmn_event) == 80 && offsetof(pmn_event, old_state) == 32 &&
                   offsetof(pmn_event, new_state) == 36 && offsetof(pmn_event, message) == 56 && offsetof(pmn_event, token_expires_at) == 72,
               "pmn_event");
// The present names of renamed fields.
_Static_assert(offsetof(pmn_status, last_healthcheck_unix_s) == offsetof(pmn_status, last_healthcheck) &&
                   offsetof(pmn_status, registered_at_unix_s) == offsetof(pmn_status, registered_at) &&
                   offsetof(pmn_status, token_expires_at_unix_s) == offsetof(pmn_status, token_expires_at) &&
                   offsetof(pmn_event, previous) == offsetof(pmn_event, old_state) &&
                   offsetof(pmn_event, state) == offsetof(pmn_event, new_state) &&
                   offsetof(pmn_event, token_expires_at_unix_s) == offsetof(pmn_event, token_expires_at),
               "former names");
_Static_assert(sizeof(pmn_log_record) == 48 && offsetof(pmn_log_record, message) == 40, "pmn_log_record");
#endif

static const char KEY[] = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
static const uint8_t HELLO[] = {'h', 'e', 'l', 'l', 'o'};

static void results_and_errors(void)
{
    CHECK(strcmp(pmn_result_name(PMN_OK), "PMN_OK") == 0);
    CHECK(strcmp(pmn_result_name(5), "PMN_ERR_TIMEOUT") == 0);
    CHECK(strcmp(pmn_result_name(PMN_ERR_INTERNAL), "PMN_ERR_INTERNAL") == 0);
    const pmn_result unknown[] = {-1, 16, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        CHECK(strcmp(pmn_result_name(unknown[i]), "PMN_ERR_UNKNOWN") == 0);
    }
    EXPECT(PMN_OK, pmn_error_code(NULL));
    CHECK(strcmp(pmn_error_message(NULL), "") == 0);
    pmn_error_free(NULL);
    CHECK(pmn_abi_version() == PMN_ABI_VERSION);
    CHECK(strchr(pmn_version(), '.') != NULL);
}

// scenario: start-refused, environment, wrong-argument
static void configurations(void)
{
    pmn_config_free(NULL);
    pmn_config *config = pmn_config_new();
    CHECK(config != NULL);

    pmn_error *error = NULL;
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set(config, "max_retry", "many", &error));
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_error_code(error));
    CHECK(strstr(pmn_error_message(error), "max_retry") != NULL);

    pmn_error *former = error;
    EXPECT(PMN_OK, pmn_config_set(config, "max_retry", "3", &error));
    CHECK(error == former); // untouched on success
    pmn_error_free(error);

    error = NULL;
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set(config, "secp256k1_privhex", "hunter2", &error));
    CHECK(strstr(pmn_error_message(error), "hunter2") == NULL);
    pmn_error_free(error);

    error = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(config, "max_retry", NULL, &error));
    CHECK(strstr(pmn_error_message(error), "value is NULL") != NULL);
    pmn_error_free(error);

    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set(config, "no_such_option", "x", NULL));
    error = NULL;
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set(config, "node_version", "\xff", &error));
    CHECK(strstr(pmn_error_message(error), "node_version is not UTF-8") != NULL);
    pmn_error_free(error);
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(config, "\xff", "x", NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(NULL, "max_retry", "3", NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(config, NULL, "3", NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_load_env(NULL, NULL));

    pmn_node *const untouched = (pmn_node *)&former;
    pmn_node *node = untouched;
    error = NULL;
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_node_start(config, &node, &error));
    CHECK(strstr(pmn_error_message(error), "reg_secret") != NULL);
    pmn_error_free(error);
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_node_start(config, &node, NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_start(NULL, &node, NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_start(config, NULL, NULL));
    CHECK(node == untouched);
    pmn_config_free(config);
}

typedef pmn_result (*text_function)(const pmn_node *node, char *buffer, size_t capacity, size_t *length);

static pmn_result sign(const pmn_node *node, char *buffer, size_t capacity, size_t *length)
{
    return pmn_node_sign(node, HELLO, sizeof HELLO, buffer, capacity, length);
}

static pmn_result address_of_key(const pmn_node *node, char *buffer, size_t capacity, size_t *length)
{
    (void)node;
    return pmn_eth_address(KEY, buffer, capacity, length);
}

static pmn_result sign_with_key(const pmn_node *node, char *buffer, size_t capacity, size_t *length)
{
    (void)node;
    return pmn_sign_eip191(KEY, HELLO, sizeof HELLO, buffer, capacity, length);
}

static pmn_result access_token(const pmn_node *node, char *buffer, size_t capacity, size_t *length)
{
    return pmn_node_access_token((pmn_node *)node, GUARD_MS, buffer, capacity, length, NULL);
}

// Calls a function that writes text with every interesting buffer. Returns the length of the text.
static size_t buffers(text_function write, const pmn_node *node)
{
    size_t length = 12345;
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, write(node, NULL, 0, &length));
    CHECK(length > 0 && length <= 4096);
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, write(node, NULL, 0, NULL));

    // On the heap, where the sanitizers notice an overflow of one byte.
    char *buffer = malloc(length + 1);
    CHECK(buffer != NULL);
    memset(buffer, '#', length + 1);
    size_t again = 0;
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, write(node, buffer, 0, &again));
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, write(node, buffer, length, &again));
    CHECK(again == length);
    for (size_t i = 0; i <= length; i++) {
        CHECK(buffer[i] == '#');
    }

    again = 0;
    EXPECT(PMN_OK, write(node, buffer, length + 1, &again));
    CHECK(again == length && strlen(buffer) == length);
    EXPECT(PMN_OK, write(node, buffer, length + 1, NULL));

    again = 77;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, write(node, NULL, 1, &again));
    CHECK(again == 77);
    free(buffer);
    return length;
}

// Whether the bytes of a UUID are those of the text.
static bool node_id_is(const uint8_t *bytes, const char *text)
{
    char shown[PMN_NODE_ID_CAPACITY] = "";
    for (size_t i = 0, at = 0; i < 16; i++) {
        at += (size_t)snprintf(shown + at, sizeof shown - at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                               bytes[i]);
    }
    return strcmp(shown, text) == 0;
}

static void tokens(pmn_node *node)
{
    char token[PMN_TOKEN_CAPACITY] = "#", again[PMN_TOKEN_CAPACITY];
    size_t length = 77;
    int64_t expires_at = 77;
    pmn_error *none = NULL;
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.token_expires_at_unix_s == 0); // not yet requested
    CHECK(node_id_is(status.node_id, "00000000-0000-0000-0000-000000000000")); // not known yet
    CHECK(!status.callback_overdue);

    // A buffer that is too small does not lose the token: this call returns its length.
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, pmn_node_access_token(node, GUARD_MS, NULL, 0, &length, &expires_at));
    CHECK(length > 0 && length < sizeof token && expires_at == 77);
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(status.token_expires_at_unix_s > 1700000000 && status.sign_in_failures == 0);
    EXPECT(PMN_OK, pmn_node_access_token(node, 0, token, sizeof token, &length, &expires_at));
    CHECK(strlen(token) == length && expires_at == status.token_expires_at_unix_s);
    CHECK(buffers(access_token, node) == length);

    // The local DDS issues JWTs.
    char claims[PMN_TOKEN_CAPACITY];
    CHECK(buffers(pmn_node_token_claims, node) > 0);
    EXPECT(PMN_OK, pmn_node_token_claims(node, claims, sizeof claims, NULL));
    CHECK(claims[0] == '{' && strstr(claims, "\"capabilities\":[\"/") != NULL);
    CHECK(strstr(claims, "\"node_id\":\"") != NULL);
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_token_claims(NULL, claims, sizeof claims, NULL));

    expires_at = 77;
    length = 77;
    EXPECT(PMN_ERR_INVALID_ARGUMENT,
           pmn_node_access_token(NULL, 0, again, sizeof again, &length, &expires_at));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_access_token(node, 0, NULL, 1, &length, &expires_at));
    CHECK(expires_at == 77 && length == 77);
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_invalidate_token(NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_invalidate_token_if(NULL, token));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_invalidate_token_if(node, NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_invalidate_token_if(node, "\xff"));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_token_error(NULL, &none));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_token_error(node, NULL));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_token_error(node, &none));
    CHECK(none == NULL);

    // The credentials do not name the node, but its token does.
    CHECK(buffers(pmn_node_id, node) == 36);
    EXPECT(PMN_OK, pmn_node_id(node, claims, sizeof claims, NULL));
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(node_id_is(status.node_id, claims));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_id(NULL, claims, sizeof claims, NULL));

    EXPECT(PMN_OK, pmn_node_invalidate_token_if(node, "another token"));
    EXPECT(PMN_OK, pmn_node_access_token(node, 0, again, sizeof again, NULL, NULL));
    CHECK(strcmp(again, token) == 0);
    EXPECT(PMN_OK, pmn_node_invalidate_token_if(node, token));
    EXPECT(PMN_OK, pmn_node_access_token(node, GUARD_MS, again, sizeof again, NULL, NULL));
    CHECK(strcmp(again, token) != 0);
    EXPECT(PMN_OK, pmn_node_invalidate_token(node));
    EXPECT(PMN_ERR_TIMEOUT, pmn_node_access_token(node, 0, token, sizeof token, NULL, NULL));
}

// scenario: wrong-argument
static void node_functions(pmn_node *node)
{
    char buffer[4096 + 1] = "#";
    size_t length = 77;
    pmn_status status = {.size = sizeof status};

    const text_function of_node[] = {pmn_node_read_secret, pmn_node_callback_address, pmn_node_wallet_address,
                                     sign};
    for (size_t i = 0; i < COUNT(of_node); i++) {
        buffers(of_node[i], node);
        EXPECT(PMN_ERR_INVALID_ARGUMENT, of_node[i](NULL, buffer, sizeof buffer, &length));
    }
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_sign(node, NULL, 1, buffer, sizeof buffer, &length));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_sign(node, HELLO, SIZE_MAX, buffer, sizeof buffer, &length));
    CHECK(buffer[0] == '#' && length == 77);
    EXPECT(PMN_OK, pmn_node_sign(node, NULL, 0, buffer, sizeof buffer, &length));
    CHECK(length == 132);

    pmn_error *none = NULL;
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_last_error(node, &none));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_last_error(NULL, &none));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_last_error(node, NULL));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_persistence_error(node, &none));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_persistence_error(NULL, &none));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_persistence_error(node, NULL));
    CHECK(none == NULL);

    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_status(NULL, &status));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_status(node, NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_wait(NULL, PMN_WAIT_SECRET, 0));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_wait(node, 0, 0));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_wait(node, 3, 0));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_wait(node, INT32_MIN, 0));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_rearm(NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_stop(NULL, 0));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_set_event_callback(NULL, NULL, NULL, NULL));
    pmn_node_free(NULL);
}

static void readiness_and_metrics(pmn_node *node)
{
    char reason[128] = "#";
    size_t length = 77;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_ready(NULL, false, reason, sizeof reason, &length));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_ready(node, false, NULL, 1, &length));
    CHECK(reason[0] == '#' && length == 77);
    EXPECT(PMN_OK, pmn_node_ready(node, true, NULL, 0, NULL));
    EXPECT(PMN_OK, pmn_node_ready(node, false, reason, sizeof reason, &length));
    CHECK(strcmp(reason, "registered") == 0 && length == strlen("registered"));
    // A text that does not fit is cut: the result is about the node.
    memset(reason, '#', sizeof reason);
    EXPECT(PMN_OK, pmn_node_ready(node, false, reason, 4, &length));
    CHECK(strcmp(reason, "reg") == 0 && reason[4] == '#' && length == strlen("registered"));

    static char metrics[PMN_METRICS_CAPACITY];
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_metrics_text(NULL, metrics, sizeof metrics, &length));
    EXPECT(PMN_ERR_BUFFER_TOO_SMALL, pmn_node_metrics_text(node, NULL, 0, &length));
    CHECK(length < sizeof metrics / 3); // later versions have more
    EXPECT(PMN_OK, pmn_node_metrics_text(node, metrics, sizeof metrics, &length));
    CHECK(length == strlen(metrics) && metrics[length - 1] == '\n');
    CHECK(strstr(metrics, "\nposemesh_node_state{state=\"registered\"} 1\n") != NULL);
    CHECK(strstr(metrics, "\nposemesh_node_has_secret 1\n") != NULL);
}

static void status_sizes(const pmn_node *node)
{
    struct {
        pmn_status known;
        char newer[16];
    } large;
    memset(&large, '#', sizeof large);
    large.known.size = sizeof large;
    EXPECT(PMN_OK, pmn_node_status(node, &large.known));
    CHECK(large.known.size == sizeof large && large.known.running && large.known.has_secret);
    CHECK(large.known.state == PMN_STATE_REGISTERED && large.known.secret_version == 1);
    CHECK(large.known.registered_at_unix_s > 1700000000 && large.known.last_healthcheck_unix_s == 0);
    CHECK(large.known.attempts == 1 && large.known.consecutive_failures == 0);
    CHECK(large.known.last_error == PMN_OK && large.known.next_attempt_in_ms == 0);
    CHECK(large.known.role == PMN_ROLE_LEADER && large.known.persistence_error == PMN_OK);
    CHECK(large.known.sign_in_failures == 0 && large.known.clock_skew_ms == 0);
    for (size_t i = 0; i < sizeof large.newer; i++) {
        CHECK(large.newer[i] == '#');
    }

    // A program built with the first version of the header gets that version's fields.
    enum { FIRST_SIZE = offsetof(pmn_status, role) };
    pmn_status small, before;
    memset(&small, '#', sizeof small);
    memcpy(&before, &small, sizeof small);
    small.size = FIRST_SIZE;
    EXPECT(PMN_OK, pmn_node_status(node, &small));
    CHECK(small.size == FIRST_SIZE && small.attempts == 1 && small.next_attempt_in_ms == 0);
    CHECK(memcmp((char *)&before + FIRST_SIZE, (char *)&small + FIRST_SIZE, sizeof small - FIRST_SIZE) == 0);

    memset(&small, '#', sizeof small);
    const size_t sizes[] = {0, sizeof(size_t), FIRST_SIZE - 1};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        small.size = sizes[i];
        memcpy(&before, &small, sizeof small);
        EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_status(node, &small));
        CHECK(memcmp(&before, &small, sizeof small) == 0);
    }
}

static void keys(void)
{
    char text[PMN_SIGNATURE_CAPACITY] = "#";
    size_t length = 77;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_eth_address(NULL, text, sizeof text, &length));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_eth_address("hunter2", text, sizeof text, &length));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_sign_eip191(NULL, HELLO, sizeof HELLO, text, sizeof text, &length));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_sign_eip191(KEY, NULL, 1, text, sizeof text, &length));
    CHECK(text[0] == '#' && length == 77);
    CHECK(buffers(address_of_key, NULL) == 42);
    CHECK(buffers(sign_with_key, NULL) == 132);
    EXPECT(PMN_OK, pmn_eth_address(KEY, text, sizeof text, NULL));
    CHECK(strcmp(text, "0xfdbb6caf01414300c16ea14859fec7736d95355f") == 0);
    EXPECT(PMN_OK, pmn_sign_eip191(KEY, NULL, 0, text, sizeof text, NULL));
}

static void ignore_event(const pmn_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

static void never_called(void *user_data)
{
    (void)user_data;
    CHECK(!"destroy is called");
}

// scenario: double-stop
static void after_stop(pmn_node *node)
{
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, 0));
    EXPECT(PMN_ERR_STOPPED, pmn_node_wait(node, PMN_WAIT_REGISTERED, PMN_NO_TIMEOUT));
    EXPECT(PMN_ERR_STOPPED, pmn_node_wait(node, PMN_WAIT_SECRET, 0));
    EXPECT(PMN_ERR_STOPPED, pmn_node_rearm(node));
    char token[PMN_TOKEN_CAPACITY] = "#";
    EXPECT(PMN_ERR_STOPPED, pmn_node_access_token(node, PMN_NO_TIMEOUT, token, sizeof token, NULL, NULL));
    EXPECT(PMN_ERR_STOPPED, pmn_node_invalidate_token(node));
    EXPECT(PMN_ERR_STOPPED, pmn_node_invalidate_token_if(node, token));
    CHECK(token[0] == '#');
    EXPECT(PMN_ERR_STOPPED, pmn_node_set_event_callback(node, NULL, NULL, NULL));
    EXPECT(PMN_ERR_STOPPED, pmn_node_set_event_callback(node, ignore_event, &node, never_called));
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    CHECK(!status.running && status.has_secret && status.state == PMN_STATE_DISCONNECTED);
    CHECK(status.token_expires_at_unix_s == 0);
    buffers(pmn_node_read_secret, node);
    buffers(pmn_node_callback_address, node);
    buffers(pmn_node_wallet_address, node);
    buffers(sign, node);
    char reason[128];
    size_t length = 0;
    EXPECT(PMN_ERR_STOPPED, pmn_node_ready(node, false, reason, sizeof reason, &length));
    CHECK(strstr(reason, "stopped") != NULL && length == strlen(reason));
    static char metrics[PMN_METRICS_CAPACITY];
    EXPECT(PMN_OK, pmn_node_metrics_text(node, metrics, sizeof metrics, NULL));
    CHECK(strstr(metrics, "\nposemesh_node_state{state=\"disconnected\"} 1\n") != NULL);
}

// scenario: already-running, wait-cannot-succeed, dropped-without-stop, readiness
static void not_found(void)
{
    char buffer[64] = "#";
    size_t length = 77;
    pmn_config *config = pmn_config_new();
    const char *const options[][2] = {{"dds_base_url", getenv("DDS_BASE_URL")},
                                      {"reg_secret", "credentials"},
                                      {"secp256k1_privhex", KEY},
                                      {"capabilities", "/example/v1"},
                                      {"node_version", "1.0.0"}};
    for (size_t i = 0; i < COUNT(options); i++) {
        EXPECT(PMN_OK, pmn_config_set(config, options[i][0], options[i][1], NULL));
    }
    pmn_node *node = NULL;
    EXPECT(PMN_OK, pmn_node_start(config, &node, NULL));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_callback_address(node, buffer, sizeof buffer, &length));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_admin_address(node, buffer, sizeof buffer, &length));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_read_secret(node, buffer, sizeof buffer, &length));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_token_claims(node, buffer, sizeof buffer, &length));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_id(node, buffer, sizeof buffer, &length));
    char reason[512];
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_ready(node, false, reason, sizeof reason, NULL));
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_ready(node, true, reason, sizeof reason, NULL));
    CHECK(strstr(reason, "registered, but the node has no secret") == reason);
    pmn_error *no_secret = NULL; // immediately: without a callback server, no secret can arrive
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_wait_with_error(node, PMN_WAIT_SECRET, PMN_NO_TIMEOUT, &no_secret));
    CHECK(strstr(pmn_error_message(no_secret), "callback_bind") != NULL);
    pmn_error_free(no_secret);
    CHECK(buffer[0] == '#' && length == 77);

    pmn_node *second = NULL;
    pmn_error *error = NULL;
    EXPECT(PMN_ERR_ALREADY_RUNNING, pmn_node_start(config, &second, &error));
    EXPECT(PMN_ERR_ALREADY_RUNNING, pmn_error_code(error));
    CHECK(second == NULL);
    pmn_error_free(error);
    pmn_config_free(config);
    pmn_node_free(node); // without a stop
}

// scenario: port-taken
int main(void)
{
    alarm(GUARD_SECONDS);
    results_and_errors();
    configurations();
    keys();

    pmn_node *node = start(1);
    pmn_node *second = NULL;
    pmn_config *config = config_for(2);
    EXPECT(PMN_ERR_BIND, pmn_node_start(config, &second, NULL)); // the first node has the port
    CHECK(second == NULL);
    pmn_config_free(config);

    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    node_functions(node);
    readiness_and_metrics(node);
    status_sizes(node);
    tokens(node);
    after_stop(node);
    pmn_node_free(node);
    not_found();
    return 0;
}
