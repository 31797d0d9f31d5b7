// A complete node: it reads its configuration from the environment, registers with DDS, gets an access token,
// registers once more, and stops. If it has a callback server, it also waits for the node secret.
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

enum { TIMEOUT_MS = 60 * 1000, STOP_TIMEOUT_MS = 5 * 1000 };

static void utc(time_t seconds, struct tm *split)
{
#ifdef _WIN32
    gmtime_s(split, &seconds);
#else
    gmtime_r(&seconds, split);
#endif
}

// Runs on the library's thread.
static void log_to_stderr(const pmn_log_record *record, void *user_data)
{
    static const char *const levels[] = {"", "ERROR", "WARN", "INFO", "DEBUG"};
    (void)user_data;
    struct tm time;
    utc((time_t)(record->time_unix_ms / 1000), &time);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &time);
    fprintf(stderr, "%s.%03dZ %-5s %s: %s\n", text, (int)(record->time_unix_ms % 1000),
            levels[record->level], record->target, record->message);
    if (record->dropped != 0) {
        fprintf(stderr, "(%" PRIu64 " records were dropped before this one)\n", record->dropped);
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

// Like ok(), for calls that return an error object.
static bool ok_or_error(pmn_result result, const char *what, pmn_error *error)
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
    pmn_result result = pmn_node_wait_with_error(node, PMN_WAIT_REGISTERED, TIMEOUT_MS, &error);
    return ok_or_error(result, "waiting to be registered", error);
}

// No compiler removes writes through volatile.
static void wipe(char *text, size_t size)
{
    for (volatile char *byte = text; byte < text + size; byte++) {
        *byte = 0;
    }
}

// Only for nodes whose URL DDS knows, and which have a callback server (CALLBACK_BIND).
static bool use_secret(const pmn_node *node)
{
    char secret[PMN_SECRET_CAPACITY];
    size_t length = 0;
    pmn_error *error = NULL;
    pmn_result result = pmn_node_wait_with_error(node, PMN_WAIT_SECRET, TIMEOUT_MS, &error);
    if (result == PMN_ERR_NOT_FOUND) { // no secret can arrive
        pmn_error_free(error);
        return true;
    }
    if (!ok_or_error(result, "waiting for the secret", error) ||
        !ok(pmn_node_read_secret(node, secret, sizeof secret, &length), "reading the secret")) {
        return false;
    }
    printf("secret of %zu bytes\n", length); // never the secret itself
    wipe(secret, sizeof secret);
    return true;
}

// Get the token again for each request: it comes from memory, and the library refreshes it.
static bool use_token(pmn_node *node)
{
    char token[PMN_TOKEN_CAPACITY];
    size_t length = 0;
    pmn_error *error = NULL;
    pmn_result result =
        pmn_node_access_token_with_error(node, TIMEOUT_MS, token, sizeof token, &length, NULL, &error);
    if (!ok_or_error(result, "access token", error)) {
        return false;
    }
    printf("token of %zu bytes\n", length);
    // Send your request here, with the header "Authorization: Bearer <token>". If the service responds with 401,
    // call pmn_node_invalidate_token_if(node, token), get a new token, and send the request once more.
    wipe(token, sizeof token);
    return true;
}

static bool run(pmn_node *node)
{
    char wallet[PMN_ADDRESS_CAPACITY];
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

    // Register again, as a program does that has lost its secret.
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
    bool stopped = ok(pmn_node_stop(node, STOP_TIMEOUT_MS), "stopping");
    pmn_node_free(node);
    return done && stopped ? EXIT_SUCCESS : EXIT_FAILURE;
}
