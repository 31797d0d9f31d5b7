/* This library, as a C program uses it. Each line of standard input asks for something and is answered with one
 * line, whose first word is "ok". */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(void) {
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
