// A node in a program with a web server of its own, here libmicrohttpd: DDS calls the node through that server, on the
// one port that the program has. Without pmn_node_handle_request(), the node would need a second port.
//
//     cc -std=c11 web_server.c $(pkg-config --cflags --libs libmicrohttpd posemesh_node) -o web_server
//     export REG_SECRET=... SECP256K1_PRIVHEX=... CAPABILITIES=/example/v1 NODE_VERSION=1.0.0
//     ./web_server 8080
//
// It ends when DDS has sent a secret.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "posemesh_node.h"

// A request while its body arrives. What is longer than the library accepts is counted and not kept.
struct request {
    uint8_t body[PMN_MAX_CALLBACK_BODY + 1];
    size_t length;
};

// The requests without a complete response. The server must not stop before it has sent them all.
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned count;
} open_requests = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void count_requests(int change)
{
    pthread_mutex_lock(&open_requests.mutex);
    open_requests.count += (unsigned)change;
    pthread_cond_signal(&open_requests.changed);
    pthread_mutex_unlock(&open_requests.mutex);
}

static void wait_for_responses(void)
{
    pthread_mutex_lock(&open_requests.mutex);
    while (open_requests.count > 0) {
        pthread_cond_wait(&open_requests.changed, &open_requests.mutex);
    }
    pthread_mutex_unlock(&open_requests.mutex);
}

static void keep(struct request *request, const char *data, size_t length)
{
    const size_t room = sizeof request->body - request->length;
    const size_t kept = length < room ? length : room;
    memcpy(request->body + request->length, data, kept);
    request->length += kept;
}

static enum MHD_Result respond(struct MHD_Connection *connection, const pmn_http_response *what)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(what->body_length, (void *)what->body, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }
    if (what->content_type != NULL) {
        MHD_add_response_header(response, "Content-Type", what->content_type);
    }
    if (what->allow != NULL) {
        MHD_add_response_header(response, "Allow", what->allow);
    }
    if (what->retry_after_s != 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", (unsigned)what->retry_after_s);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    const enum MHD_Result queued = MHD_queue_response(connection, what->status, response);
    MHD_destroy_response(response);
    return queued;
}

// The program's own routes.
static pmn_http_response own_routes(const char *url)
{
    const bool found = strcmp(url, "/jobs") == 0;
    const char *body = found ? "none\n" : "not found\n";
    return (pmn_http_response){
        .status = found ? 200 : 404, .content_type = "text/plain", .body = body, .body_length = strlen(body)};
}

static pmn_http_response decide(pmn_node *node, struct MHD_Connection *connection, const char *url,
                                const char *method, const struct request *request)
{
    // The library reads these two.
    const char *const names[] = {"Content-Type", "User-Agent"};
    pmn_http_header headers[2];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, names[i]);
        if (value != NULL) {
            headers[count++] = (pmn_http_header){names[i], value};
        }
    }
    const pmn_http_request sent = {.size = sizeof sent,
                                   .method = method,
                                   .path = url,
                                   .headers = headers,
                                   .header_count = count,
                                   .body = request->body,
                                   .body_length = request->length};
    pmn_http_response response = {.size = sizeof response};
    switch (pmn_node_handle_request(node, &sent, 5000, &response)) {
    case PMN_OK:
        return response;
    case PMN_ERR_NOT_FOUND:
        return own_routes(url);
    default:
        return (pmn_http_response){.status = 503, .retry_after_s = 5, .body = ""};
    }
}

static enum MHD_Result handle(void *user_data, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *length, void **state)
{
    (void)version;
    if (*state == NULL) {
        *state = calloc(1, sizeof(struct request)); // freed by done()
        if (*state == NULL) {
            return MHD_NO;
        }
        count_requests(1);
        return MHD_YES;
    }
    if (*length > 0) {
        keep(*state, data, *length);
        *length = 0;
        return MHD_YES;
    }
    const pmn_http_response response = decide(user_data, connection, url, method, *state);
    return respond(connection, &response);
}

static void done(void *user_data, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    (void)user_data;
    (void)connection;
    (void)why;
    if (*state != NULL) {
        free(*state);
        count_requests(-1);
    }
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

// The first request tells the node that DDS may call, whatever the request is. Before it, a wait for the secret ends at
// once.
static void expect_dds(pmn_node *node)
{
    const pmn_http_request any = {.size = sizeof any, .method = "GET", .path = "/"};
    pmn_http_response response = {.size = sizeof response};
    (void)pmn_node_handle_request(node, &any, 0, &response);
}

int main(int argc, char **argv)
{
    pmn_node *node = start();
    if (node == NULL) {
        return 1;
    }
    // On loopback, for a proxy of this machine to pass on what it receives.
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(argc > 1 ? (uint16_t)atoi(argv[1]) : 8080),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    // A thread for each connection: with a state_dir, a callback waits until the secret is on the disk.
    struct MHD_Daemon *server =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, node,
                         MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED, done, NULL, MHD_OPTION_END);
    if (server == NULL) {
        fprintf(stderr, "the port is taken\n");
        pmn_node_free(node);
        return 1;
    }
    printf("port %u\n", (unsigned)MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    expect_dds(node);
    const pmn_result result = pmn_node_wait(node, PMN_WAIT_SECRET, 60000);
    printf("secret: %s\n", pmn_result_name(result));
    wait_for_responses();
    MHD_stop_daemon(server);
    pmn_node_stop(node, 5000);
    pmn_node_free(node);
    return result == PMN_OK ? 0 : 1;
}
