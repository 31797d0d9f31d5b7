/* This library, as a C program uses it. Each line of standard input asks for something and is answered with one
 * line, whose first word is "ok". With the argument "first", the program makes one authorized request instead. */

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "posemesh_node.h"

static pmn_node *node;

/* Ends the program when a call fails. */
static void must(pmn_result result) {
    if (result != PMN_OK) {
        fprintf(stderr, "%s\n", pmn_result_name(result));
        exit(1);
    }
}

static void read_status(void) {
    pmn_status status;
    status.size = sizeof status;
    must(pmn_node_status(node, &status));
}

static void read_secret(void) {
    char secret[4097];
    must(pmn_node_read_secret(node, secret, sizeof secret, NULL));
}

static void read_token(void) {
    char token[PMN_TOKEN_CAPACITY];
    must(pmn_node_access_token(node, 60000, token, sizeof token, NULL, NULL));
}

struct work {
    void (*read)(void);
    long times;
};

static void *repeat(void *given) {
    const struct work *work = given;
    for (long n = 0; n < work->times; n++) work->read();
    return NULL;
}

/* Runs the work on `count` threads at once. */
static void on_threads(int count, struct work work) {
    pthread_t threads[8];
    for (int n = 0; n < count; n++) {
        if (pthread_create(&threads[n], NULL, repeat, &work) != 0) abort();
    }
    for (int n = 0; n < count; n++) pthread_join(threads[n], NULL);
}

/* In place of a service behind DDS. */
static void request_with_token(void) {
    char token[PMN_TOKEN_CAPACITY], request[PMN_TOKEN_CAPACITY + 200], response[4096];
    unsigned port = 0;
    must(pmn_node_access_token(node, 60000, token, sizeof token, NULL, NULL));
    if (sscanf(getenv("DDS_BASE_URL"), "http://127.0.0.1:%u", &port) != 1) abort();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int service = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(service, (struct sockaddr *)&address, sizeof address) != 0) abort();
    int length = snprintf(request, sizeof request,
                          "GET /authorized HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: Bearer %s\r\n"
                          "Connection: close\r\n\r\n",
                          port, token);
    if (send(service, request, (size_t)length, 0) != length) abort();
    if (recv(service, response, sizeof response, MSG_WAITALL) < 13) abort();
    if (memcmp(response, "HTTP/1.1 200 ", 13) != 0) abort();
    close(service);
}

int main(int count, char **arguments) {
    pmn_error *error = NULL;
    pmn_config *config = pmn_config_new();
    must(pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    must(pmn_config_set(config, "callback_policy", "open", NULL));
    must(pmn_config_load_env(config, NULL));
    if (pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "%s\n", pmn_error_message(error));
        return 1;
    }
    pmn_config_free(config);
    must(pmn_node_wait(node, PMN_WAIT_REGISTERED, 60000));
    if (count > 1 && strcmp(arguments[1], "first") == 0) {
        request_with_token();
        must(pmn_node_stop(node, 60000));
        pmn_node_free(node);
        return 0;
    }

    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char answer[64] = "";
        int threads;
        long times;
        if (sscanf(line, "register %ld", &times) == 1) {
            for (long n = 0; n < times; n++) {
                must(pmn_node_rearm(node));
                must(pmn_node_wait(node, PMN_WAIT_REGISTERED, 60000));
            }
        } else if (sscanf(line, "status %d %ld", &threads, &times) == 2) {
            on_threads(threads, (struct work){read_status, times});
        } else if (sscanf(line, "secret %d %ld", &threads, &times) == 2) {
            on_threads(threads, (struct work){read_secret, times});
        } else if (sscanf(line, "token %d %ld", &threads, &times) == 2) {
            on_threads(threads, (struct work){read_token, times});
        } else if (strcmp(line, "serve\n") == 0) {
            must(pmn_node_callback_address(node, answer, sizeof answer, NULL));
        } else {
            return 2;
        }
        printf("ok %s\n", answer);
        fflush(stdout);
    }
    must(pmn_node_stop(node, 60000));
    pmn_node_free(node);
    return 0;
}
