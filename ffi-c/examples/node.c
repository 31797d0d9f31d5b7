// A node to start your own from: it takes its configuration from the environment, registers with DDS, gets an access
// token, registers once more, and stops. If it has a callback server, it also waits for the node secret.
//
//     cc -std=c11 -I include ffi-c/examples/node.c -lposemesh_node -o node
//     export REG_SECRET=... SECP256K1_PRIVHEX=... CAPABILITIES=/example/v1 NODE_VERSION=1.0.0
//     ./node

#define _POSIX_C_SOURCE 200809L // gmtime_r

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "posemesh_node.h"

enum { PATIENCE_MS = 60 * 1000, STOP_MS = 5 * 1000 };

// Runs on the library's thread.
static void log_to_stderr(const pmn_log_record *record, void *user_data)
{
    static const char *const levels[] = {"", "ERROR", "WARN", "INFO", "DEBUG"};
    (void)user_data;
    time_t seconds = (time_t)(record->time_unix_ms / 1000);
    struct tm utc;
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &utc));
    fprintf(stderr, "%s.%03dZ %-5s %s: %s\n", text, (int)(record->time_unix_ms % 1000),
            levels[record->level], record->target, record->message);
    if (record->dropped != 0) {
        fprintf(stderr, "(%" PRIu64 " records were lost before this one)\n", record->dropped);
    }
}

static bool ok(pmn_result result, const char *what)
{
    if (result != PMN_OK) {
        fprintf(stderr, "%s: %s\n", what, pmn_result_name(result));
    }
    return result == PMN_OK;
}

static pmn_node *start(void)
{
    pmn_node *node = NULL;
    pmn_error *error = NULL;
    pmn_config *config = pmn_config_new();
    if (pmn_config_load_env(config, &error) != PMN_OK || pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "%s: %s\n", pmn_result_name(pmn_error_code(error)), pmn_error_message(error));
        pmn_error_free(error);
    }
    pmn_config_free(config);
    return node;
}

// As ok(), for a call that says in words why it failed.
static bool ok_with(pmn_result result, const char *what, pmn_error *error)
{
    if (!ok(result, what)) {
        fprintf(stderr, "%s\n", pmn_error_message(error));
        pmn_error_free(error);
    }
    return result == PMN_OK;
}

static bool wait_registered(const pmn_node *node)
{
    pmn_error *error = NULL;
    pmn_result result = pmn_node_wait_with_error(node, PMN_WAIT_REGISTERED, PATIENCE_MS, &error);
    return ok_with(result, "waiting to be registered", error);
}

// Through volatile, which no compiler leaves out.
static void wipe(char *text, size_t size)
{
    for (volatile char *byte = text; byte < text + size; byte++) {
        *byte = 0;
    }
}

// Only for a node whose URL DDS knows, and that has a callback server (CALLBACK_BIND).
static bool use_secret(const pmn_node *node)
{
    char secret[4096 + 1];
    size_t length = 0;
    pmn_error *error = NULL;
    pmn_result result = pmn_node_wait_with_error(node, PMN_WAIT_SECRET, PATIENCE_MS, &error);
    if (result == PMN_ERR_NOT_FOUND) {
        pmn_error_free(error);
        return true;
    }
    if (!ok_with(result, "waiting for the secret", error) ||
        !ok(pmn_node_read_secret(node, secret, sizeof secret, &length), "reading the secret")) {
        return false;
    }
    printf("secret of %zu bytes\n", length); // never the secret itself
    wipe(secret, sizeof secret);
    return true;
}

// For the services behind DDS. Ask for it again for each request: it comes from memory, and is refreshed.
static bool use_token(pmn_node *node)
{
    char token[PMN_TOKEN_CAPACITY];
    size_t length = 0;
    pmn_error *error = NULL;
    pmn_result result =
        pmn_node_access_token_with_error(node, PATIENCE_MS, token, sizeof token, &length, NULL, &error);
    if (!ok_with(result, "access token", error)) {
        return false;
    }
    printf("token of %zu bytes\n", length);
    // Your request goes here, with "Authorization: Bearer <token>". When the service answers 401:
    //     pmn_node_invalidate_token_if(node, token);
    // and once more from the top.
    wipe(token, sizeof token);
    return true;
}

static bool run(pmn_node *node)
{
    char wallet[43];
    if (!ok(pmn_node_wallet_address(node, wallet, sizeof wallet, NULL), "wallet address")) {
        return false;
    }
    printf("wallet %s\n", wallet);

    if (!wait_registered(node)) {
        return false;
    }
    printf("registered\n");
    if (!use_token(node) || !use_secret(node)) {
        return false;
    }

    // When DDS or you have lost what was agreed: register again.
    if (!ok(pmn_node_rearm(node), "re-arming") || !wait_registered(node)) {
        return false;
    }
    printf("registered again\n");
    return true;
}

int main(void)
{
    if (!ok(pmn_set_log_callback(log_to_stderr, NULL, NULL, PMN_LOG_INFO), "log callback")) {
        return EXIT_FAILURE;
    }
    pmn_node *node = start();
    if (node == NULL) {
        return EXIT_FAILURE;
    }
    bool done = run(node);
    bool stopped = ok(pmn_node_stop(node, STOP_MS), "stopping");
    pmn_node_free(node);
    return done && stopped ? EXIT_SUCCESS : EXIT_FAILURE;
}
