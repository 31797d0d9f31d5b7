// What callbacks may do, how often they and their destroy run, and that neither runs after a stop. Needs a DDS that
// calls back.

#include "check.h"

#include <pthread.h>

// What a callback saw, shared with the thread that waits for it.
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pmn_node *node;
    unsigned events[PMN_EVENT_REGISTRATION_LOST + 1];
    unsigned calls;
    unsigned destroyed;
    unsigned calls_after_destroy;
    uint64_t secret_version;
    int64_t token_expires_at;
    bool gate_closed; // the callback does not return while it is closed
    pmn_result answer;
} witness;

static witness *new_witness(pmn_node *node)
{
    witness *self = calloc(1, sizeof *self);
    CHECK(self != NULL);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->node = node;
    self->answer = -1;
    return self;
}

static void free_witness(witness *self)
{
    CHECK(self->calls_after_destroy == 0);
    pthread_mutex_destroy(&self->mutex);
    pthread_cond_destroy(&self->changed);
    free(self);
}

// Waits until the condition holds. The alarm ends a wait that takes too long.
#define UNTIL(self, condition)                                                                               \
    do {                                                                                                     \
        pthread_mutex_lock(&(self)->mutex);                                                                  \
        while (!(condition)) {                                                                               \
            pthread_cond_wait(&(self)->changed, &(self)->mutex);                                             \
        }                                                                                                    \
        pthread_mutex_unlock(&(self)->mutex);                                                                \
    } while (0)

static unsigned read_count(witness *self, const unsigned *count)
{
    pthread_mutex_lock(&self->mutex);
    unsigned value = *count;
    pthread_mutex_unlock(&self->mutex);
    return value;
}

static void notify(witness *self, unsigned *count)
{
    pthread_mutex_lock(&self->mutex);
    ++*count;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

static void on_destroy(void *user_data)
{
    witness *self = user_data;
    notify(self, &self->destroyed);
}

static void on_event(const pmn_event *event, void *user_data)
{
    witness *self = user_data;
    CHECK(event->size >= sizeof *event && event->time_unix_ms > 1700000000000 && event->dropped == 0);
    CHECK(event->type >= PMN_EVENT_STATUS_CHANGED && event->type <= PMN_EVENT_REGISTRATION_LOST);
    CHECK(event->message != NULL);
    CHECK(event->type == PMN_EVENT_ATTEMPT_FAILED || *event->message == '\0');
    CHECK(event->type != PMN_EVENT_STATUS_CHANGED || event->previous != event->state);
    pthread_mutex_lock(&self->mutex);
    self->events[event->type]++;
    self->calls++;
    self->calls_after_destroy += self->destroyed;
    if (event->type == PMN_EVENT_SECRET_CHANGED) {
        self->secret_version = event->secret_version;
    }
    CHECK((event->type == PMN_EVENT_TOKEN_REFRESHED) == (event->token_expires_at_unix_s != 0));
    if (event->type == PMN_EVENT_TOKEN_REFRESHED) {
        self->token_expires_at = event->token_expires_at_unix_s;
    }
    pthread_cond_broadcast(&self->changed);
    while (self->gate_closed) {
        pthread_cond_wait(&self->changed, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
}

static void set_gate(witness *self, bool closed)
{
    pthread_mutex_lock(&self->mutex);
    self->gate_closed = closed;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

// Each re-arm causes events: disconnected, registering, registered.
static void make_events(pmn_node *node)
{
    EXPECT(PMN_OK, pmn_node_rearm(node));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
}

// scenario: events-in-order
static void set_replaced_cleared(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    witness *first = new_witness(node), *second = new_witness(node), *third = new_witness(node);

    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, first, on_destroy));
    make_events(node);
    UNTIL(first, first->events[PMN_EVENT_STATUS_CHANGED] >= 3 && first->events[PMN_EVENT_SECRET_CHANGED] >= 1);
    CHECK(first->secret_version == 2);

    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, second, on_destroy));
    UNTIL(first, first->destroyed == 1);
    unsigned calls = read_count(first, &first->calls);
    make_events(node);
    UNTIL(second, second->calls >= 3);

    // A call that fails changes nothing.
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_set_event_callback(node, NULL, third, NULL));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_set_event_callback(node, NULL, NULL, on_destroy));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_set_event_callback(NULL, on_event, third, on_destroy));
    CHECK(second->destroyed == 0);

    EXPECT(PMN_OK, pmn_node_set_event_callback(node, NULL, NULL, NULL));
    UNTIL(second, second->destroyed == 1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, NULL, NULL, NULL));
    make_events(node);

    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, third, on_destroy));
    make_events(node);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    CHECK(third->destroyed == 1 && third->calls >= 3); // no callback runs now, so no lock is needed
    CHECK(library_threads_left() == 0);
    pmn_node_free(node);
    CHECK(first->destroyed == 1 && second->destroyed == 1 && third->destroyed == 1 && first->calls == calls);
    free_witness(first);
    free_witness(second);
    free_witness(third);
}

static void on_event_without_destroy(const pmn_event *event, void *user_data)
{
    (void)event;
    notify(user_data, &((witness *)user_data)->calls);
}

// scenario: token-refused
static void tokens_are_told(void)
{
    pmn_node *node = start(1);
    witness *self = new_witness(node);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, self, on_destroy));
    char token[PMN_TOKEN_CAPACITY];
    int64_t expires_at = 0;
    for (unsigned count = 1; count <= 2; count++) {
        EXPECT(PMN_OK, pmn_node_access_token(node, GUARD_MS, token, sizeof token, NULL, &expires_at));
        UNTIL(self, self->events[PMN_EVENT_TOKEN_REFRESHED] == count);
        CHECK(self->token_expires_at == expires_at && expires_at > 1700000000);
        EXPECT(PMN_OK, pmn_node_invalidate_token_if(node, token));
    }
    pmn_node_free(node);
    free_witness(self);
}

static void no_destroy(void)
{
    pmn_node *node = start(1);
    witness *self = new_witness(node);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event_without_destroy, self, NULL));
    make_events(node);
    UNTIL(self, self->calls > 0);
    pmn_node_free(node); // stops
    CHECK(self->destroyed == 0 && library_threads_left() == 0);
    free_witness(self);
}

// Everything except stop is allowed inside a callback.
static void on_event_calls_back(const pmn_event *event, void *user_data)
{
    witness *self = user_data;
    if (event->type != PMN_EVENT_STATUS_CHANGED || event->state != PMN_STATE_REGISTERED) {
        return;
    }
    char text[PMN_TOKEN_CAPACITY];
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(self->node, &status));
    // The sign-in does not need this thread.
    EXPECT(PMN_OK, pmn_node_access_token(self->node, GUARD_MS, text, sizeof text, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_invalidate_token_if(self->node, text));
    EXPECT(PMN_OK, pmn_node_wallet_address(self->node, text, sizeof text, NULL));
    EXPECT(PMN_OK, pmn_node_read_secret(self->node, text, sizeof text, NULL));
    EXPECT(PMN_OK, pmn_node_wait(self->node, PMN_WAIT_SECRET, 0));
    EXPECT(PMN_OK, pmn_node_rearm(self->node));
    self->answer = pmn_node_stop(self->node, GUARD_MS);
    EXPECT(PMN_OK, pmn_node_set_event_callback(self->node, NULL, NULL, NULL));
    CHECK(self->destroyed == 0); // its last call has not returned
}

// scenario: stop-in-callback
static void calls_inside_a_callback(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    witness *self = new_witness(node);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event_calls_back, self, on_destroy));
    EXPECT(PMN_OK, pmn_node_rearm(node));
    UNTIL(self, self->destroyed == 1);
    EXPECT(PMN_ERR_WOULD_DEADLOCK, self->answer);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    free_witness(self);
}

static void on_event_frees(const pmn_event *event, void *user_data)
{
    witness *self = user_data;
    (void)event;
    notify(self, &self->calls);
    pmn_node_free(self->node);
    CHECK(self->destroyed == 0); // the node is freed when this returns
}

// scenario: stop-in-callback
static void free_inside_a_callback(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    witness *self = new_witness(node);
    // Other events are queued when the first one frees the node: they must not be delivered.
    witness *gate = new_witness(node);
    set_gate(gate, true);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, gate, on_destroy));
    make_events(node);
    UNTIL(gate, gate->calls == 1);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event_frees, self, on_destroy));
    make_events(node);
    set_gate(gate, false);
    UNTIL(self, self->destroyed == 1);
    for (int i = 0; i < GUARD_MS && library_threads() > 0; i++) {
        usleep(1000);
    }
    CHECK(library_threads_left() == 0);
    CHECK(self->calls == 1 && self->destroyed == 1 && gate->destroyed == 1);
    free_witness(self);
    free_witness(gate);
}

static void *wait_for_a_secret(void *node)
{
    return (void *)(intptr_t)pmn_node_wait(node, PMN_WAIT_SECRET, PMN_NO_TIMEOUT);
}

static void *wait_for_a_token(void *node)
{
    char token[PMN_TOKEN_CAPACITY];
    return (void *)(intptr_t)pmn_node_access_token(node, PMN_NO_TIMEOUT, token, sizeof token, NULL, NULL);
}

// Starts a node whose wait only ends with the stop: a DDS that does not know where the callback server listens sends no
// secret, and without a DDS there is no token.
// scenario: stop-during-wait
static void stop_ends_waits(void *(*wait)(void *), const char *dds_base_url, bool registers)
{
    pmn_config *config = pmn_config_new();
    const char *const options[][2] = {{"dds_base_url", dds_base_url},
                                      {"reg_secret", "credentials"},
                                      {"secp256k1_privhex", getenv("SECP256K1_PRIVHEX")},
                                      {"callback_bind", "127.0.0.1:0"},
                                      {"capabilities", "/example/v1"},
                                      {"node_version", "1.0.0"}};
    for (size_t i = 0; i < COUNT(options); i++) {
        EXPECT(PMN_OK, pmn_config_set(config, options[i][0], options[i][1], NULL));
    }
    pmn_node *node = NULL;
    EXPECT(PMN_OK, pmn_node_start(config, &node, NULL));
    pmn_config_free(config);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        CHECK(pthread_create(&threads[i], NULL, wait, node) == 0);
    }
    if (registers) {
        EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    }
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *answer = NULL;
        CHECK(pthread_join(threads[i], &answer) == 0);
        EXPECT(PMN_ERR_STOPPED, (pmn_result)(intptr_t)answer);
    }
    pmn_node_free(node);
}

// scenario: stuck-callback
static void stop_with_a_stuck_callback(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    witness *self = new_witness(node);
    set_gate(self, true);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, self, on_destroy));
    make_events(node); // a stuck callback does not block registrations
    UNTIL(self, self->calls == 1);
    EXPECT(PMN_ERR_TIMEOUT, pmn_node_stop(node, 100));
    EXPECT(PMN_ERR_TIMEOUT, pmn_node_stop(node, 0));
    EXPECT(PMN_ERR_STOPPED, pmn_node_wait(node, PMN_WAIT_REGISTERED, PMN_NO_TIMEOUT));
    set_gate(self, false);
    EXPECT(PMN_OK, pmn_node_stop(node, PMN_NO_TIMEOUT));
    CHECK(self->destroyed == 1 && self->calls >= 3 && library_threads_left() == 0);
    pmn_node_free(node);
    free_witness(self);
}

// Runs on the thread that replaces the callback, or on the library's. If the library held a lock, this would not
// return.
static void on_destroy_calls_back(void *user_data)
{
    witness *self = user_data;
    EXPECT(PMN_OK, pmn_node_set_event_callback(self->node, NULL, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_rearm(self->node));
    notify(self, &self->destroyed);
}

static void calls_inside_destroy(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    witness *self = new_witness(node);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, self, on_destroy_calls_back));
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, NULL, NULL, NULL));
    UNTIL(self, self->destroyed == 1);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    free_witness(self);
}

static void on_log(const pmn_log_record *record, void *user_data)
{
    CHECK(record->size >= sizeof *record && record->time_unix_ms > 1700000000000);
    CHECK(record->level >= PMN_LOG_ERROR && record->level <= PMN_LOG_INFO);
    CHECK(strncmp(record->target, "posemesh_node::", 15) == 0);
    CHECK(*record->message != '\0' && strchr(record->message, '\n') == NULL);
    notify(user_data, &((witness *)user_data)->calls);
}

// scenario: logs
static void log_callback(void)
{
    witness *first = new_witness(NULL), *second = new_witness(NULL);
    const pmn_log_level unknown[] = {0, -1, 5, INT32_MAX};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_set_log_callback(on_log, first, on_destroy, unknown[i]));
    }
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_set_log_callback(NULL, first, NULL, PMN_LOG_INFO));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_set_log_callback(NULL, NULL, on_destroy, PMN_LOG_INFO));
    CHECK(first->destroyed == 0);

    EXPECT(PMN_OK, pmn_set_log_callback(on_log, first, on_destroy, PMN_LOG_INFO));
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    unsigned calls = read_count(first, &first->calls);
    CHECK(calls >= 2 && first->destroyed == 0); // at least for: secret received, stopped
    pmn_node_free(node);

    EXPECT(PMN_OK, pmn_set_log_callback(on_log, second, on_destroy, PMN_LOG_ERROR));
    CHECK(first->destroyed == 1 && second->destroyed == 0);
    EXPECT(PMN_OK, pmn_set_log_callback(NULL, NULL, NULL, 0));
    CHECK(first->calls == calls && second->calls == 0 && second->destroyed == 1);
    free_witness(first);
    free_witness(second);
}

int main(void)
{
    alarm(GUARD_SECONDS);
    set_replaced_cleared();
    tokens_are_told();
    no_destroy();
    calls_inside_a_callback();
    free_inside_a_callback();
    stop_ends_waits(wait_for_a_secret, getenv("DDS_BASE_URL"), true);
    stop_ends_waits(wait_for_a_token, "http://127.0.0.1:1", false);
    stop_with_a_stuck_callback();
    calls_inside_destroy();
    log_callback();
    CHECK(library_threads_left() == 0);
    return 0;
}
