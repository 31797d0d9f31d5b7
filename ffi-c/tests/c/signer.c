// A signer of the host's: a node that signs in with it, failures, late and wrong signatures, and when destroy runs. The
// signer is a key that the library does not know. Needs a DDS.

#include "check.h"

#include <pthread.h>

static const char KEY[] = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
static const char OTHER_KEY[] = "1111111111111111111111111111111111111111111111111111111111111111";
static const char ADDRESS[] = "0xfdbb6caf01414300c16ea14859fec7736d95355f";

enum behaviour { SIGN, SIGN_WITH_OTHER_KEY, FAIL, FAIL_WITH_MESSAGE, WRITE_NOTHING, NO_NUL, BLOCK_ONCE };

struct signer {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum behaviour behaviour;
    bool is_blocked;
    int calls;
    int destroyed;
};

static pmn_result sign(const pmn_sign_request *request, char *signature, void *user_data)
{
    struct signer *self = user_data;
    CHECK(request->size == sizeof *request && strcmp(request->address, ADDRESS) == 0);
    CHECK(request->digest != NULL && request->message_length > 100);
    pthread_mutex_lock(&self->mutex);
    CHECK(self->destroyed == 0);
    self->calls++;
    enum behaviour behaviour = self->behaviour;
    if (behaviour == BLOCK_ONCE) {
        self->behaviour = SIGN;
        self->is_blocked = true;
    }
    pthread_cond_broadcast(&self->changed);
    while (self->is_blocked) {
        pthread_cond_wait(&self->changed, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    switch (behaviour) {
    case FAIL:
        return PMN_ERR_UNAVAILABLE;
    case FAIL_WITH_MESSAGE:
        strcpy(signature, "the HSM is locked");
        return PMN_ERR_INTERNAL;
    case WRITE_NOTHING:
        return PMN_OK;
    case NO_NUL:
        memset(signature, '1', PMN_SIGNATURE_CAPACITY);
        return PMN_OK;
    default:
        return pmn_sign_eip191(behaviour == SIGN_WITH_OTHER_KEY ? OTHER_KEY : KEY, request->message,
                               request->message_length, signature, PMN_SIGNATURE_CAPACITY, NULL);
    }
}

static void destroy(void *user_data)
{
    struct signer *self = user_data;
    pthread_mutex_lock(&self->mutex);
    self->destroyed++;
    pthread_mutex_unlock(&self->mutex);
}

static void init(struct signer *self, enum behaviour behaviour)
{
    memset(self, 0, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->behaviour = behaviour;
}

// The environment's configuration, with a signer in place of the key.
static pmn_config *config_with(struct signer *signer)
{
    unsetenv("SECP256K1_PRIVHEX");
    pmn_config *config = pmn_config_new();
    EXPECT(PMN_OK, pmn_config_load_env(config, NULL));
    EXPECT(PMN_OK, pmn_config_set(config, "request_timeout_secs", "1", NULL));
    EXPECT(PMN_OK, pmn_config_set_signer(config, ADDRESS, sign, signer, destroy));
    return config;
}

static pmn_node *start_with(const pmn_config *config)
{
    pmn_node *node = NULL;
    pmn_error *error = NULL;
    if (pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "start: %s\n", pmn_error_message(error));
        _exit(1);
    }
    return node;
}

// Waits until an attempt has failed with these words. The alarm ends a wait that takes too long.
static void wait_for_failure(const pmn_node *node, const char *words)
{
    for (;;) {
        pmn_error *error = NULL;
        bool found = pmn_node_last_error(node, &error) == PMN_OK && strstr(pmn_error_message(error), words) != NULL;
        pmn_error_free(error);
        if (found) {
            return;
        }
        usleep(1000);
    }
}

// scenario: signer
static void a_node_signs_in_with_it(void)
{
    struct signer signer;
    init(&signer, SIGN);
    pmn_config *config = config_with(&signer);
    pmn_node *node = start_with(config);
    char text[PMN_TOKEN_CAPACITY] = "#";
    EXPECT(PMN_OK, pmn_node_wallet_address(node, text, sizeof text, NULL));
    CHECK(strcmp(text, ADDRESS) == 0);
    EXPECT(PMN_OK, pmn_node_access_token(node, GUARD_MS, text, sizeof text, NULL, NULL));
    CHECK(signer.calls >= 2); // one registration, one sign-in
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_sign(node, (const uint8_t *)"hello", 5, text, sizeof text, NULL));

    pmn_config_free(config);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    CHECK(signer.destroyed == 0); // the node still has it
    pmn_node_free(node);
    CHECK(signer.destroyed == 1);
}

static void failures_are_reported_and_retried(void)
{
    static const struct {
        enum behaviour behaviour;
        const char *words;
    } failures[] = {
        {SIGN_WITH_OTHER_KEY, "the signer returned an unusable signature: it is by 0x19e7e376"},
        {FAIL, "the signer failed: it returned PMN_ERR_UNAVAILABLE"},
        {FAIL_WITH_MESSAGE, "the signer failed: the HSM is locked"},
        {WRITE_NOTHING, "the signer returned an unusable signature: expected 65 bytes"},
        {NO_NUL, "the signer returned an unusable signature: expected 65 bytes"},
        {BLOCK_ONCE, "the signer did not respond within 1 s"},
    };
    struct signer signer;
    init(&signer, SIGN);
    pmn_config *config = config_with(&signer);
    for (size_t i = 0; i < COUNT(failures); i++) {
        signer.behaviour = failures[i].behaviour;
        pmn_node *node = start_with(config);
        wait_for_failure(node, failures[i].words);
        pmn_status status = {.size = sizeof status};
        EXPECT(PMN_OK, pmn_node_status(node, &status));
        CHECK(status.state == PMN_STATE_REGISTERING && status.last_error == PMN_ERR_UNAVAILABLE);
        CHECK(status.next_attempt_in_ms > 0);
        pthread_mutex_lock(&signer.mutex);
        signer.behaviour = SIGN;
        signer.is_blocked = false; // its late signature is ignored
        pthread_cond_broadcast(&signer.changed);
        pthread_mutex_unlock(&signer.mutex);
        EXPECT(PMN_OK, pmn_node_rearm(node)); // does not wait for the next attempt
        EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
        pmn_node_free(node);
    }
    CHECK(signer.destroyed == 0);
    pmn_config_free(config);
    CHECK(signer.destroyed == 1);
}

static void a_node_stops_while_it_signs(void)
{
    struct signer signer;
    init(&signer, BLOCK_ONCE);
    pmn_config *config = config_with(&signer);
    pmn_node *node = start_with(config);
    pmn_config_free(config);
    pthread_mutex_lock(&signer.mutex);
    while (!signer.is_blocked) {
        pthread_cond_wait(&signer.changed, &signer.mutex);
    }
    pthread_mutex_unlock(&signer.mutex);
    EXPECT(PMN_ERR_TIMEOUT, pmn_node_stop(node, 1)); // like any callback that does not return
    pthread_mutex_lock(&signer.mutex);
    signer.is_blocked = false;
    pthread_cond_broadcast(&signer.changed);
    pthread_mutex_unlock(&signer.mutex);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    CHECK(signer.destroyed == 1 && signer.calls == 1);
}

static void arguments(void)
{
    struct signer signer, second;
    init(&signer, SIGN);
    init(&second, SIGN);
    pmn_config *config = config_with(&signer);
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set_signer(NULL, ADDRESS, sign, &second, destroy));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set_signer(config, NULL, sign, &second, destroy));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set_signer(config, "\xff", sign, &second, destroy));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set_signer(config, NULL, NULL, &second, destroy));
    pmn_error *error = NULL;
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set_signer(config, "0x12", sign, &second, destroy));
    EXPECT(PMN_ERR_INVALID_CONFIG,
           pmn_config_set_signer_with_error(config, "0x12", sign, &second, destroy, &error));
    CHECK(strstr(pmn_error_message(error), "40 hex digits") != NULL);
    pmn_error_free(error);
    CHECK(signer.destroyed == 0 && second.destroyed == 0); // a call that fails changes nothing

    EXPECT(PMN_OK, pmn_config_set_signer(config, ADDRESS, sign, &second, destroy));
    CHECK(signer.destroyed == 1 && second.destroyed == 0);
    error = NULL;
    pmn_node *node = NULL;
    EXPECT(PMN_OK, pmn_config_set(config, "secp256k1_privhex", KEY, NULL));
    EXPECT(PMN_ERR_INVALID_CONFIG, pmn_node_start(config, &node, &error));
    CHECK(node == NULL && strstr(pmn_error_message(error), "signer") != NULL);
    pmn_error_free(error);
    EXPECT(PMN_OK, pmn_config_set_signer(config, NULL, NULL, NULL, NULL));
    CHECK(second.destroyed == 1);
    pmn_config_free(config);
    CHECK(signer.destroyed == 1 && second.destroyed == 1);
}

int main(void)
{
    alarm(GUARD_SECONDS);
    arguments();
    a_node_signs_in_with_it();
    a_node_stops_while_it_signs();
    failures_are_reported_and_retried();
    return 0;
}
