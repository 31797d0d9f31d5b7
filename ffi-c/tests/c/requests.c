// Requests of DDS in the web server of a program: which are handled, what is responded, and when that is not possible.

#include "check.h"

#include <pthread.h>
#include <semaphore.h>

static const char REGISTRATIONS[] = "/internal/v1/registrations";
static const pmn_http_header JSON = {"content-type", "application/json"};
static const pmn_http_header DDS = {"USER-AGENT", "DDS v1.2"};
static const pmn_http_header STRANGER = {"user-agent", "kube-probe/1.30"};

static pmn_http_request request(const char *method, const char *path, const pmn_http_header *header, const char *body)
{
    return (pmn_http_request){.size = sizeof(pmn_http_request),
                              .method = method,
                              .path = path,
                              .headers = header,
                              .header_count = header != NULL,
                              .body = (const uint8_t *)body,
                              .body_length = strlen(body)};
}

static pmn_result handle(pmn_node *node, const pmn_http_request *sent, pmn_http_response *response)
{
    *response = (pmn_http_response){.size = sizeof *response};
    return pmn_node_handle_request(node, sent, GUARD_MS, response);
}

static uint32_t status(pmn_node *node, const char *method, const char *path, const pmn_http_header *header,
                       const char *body)
{
    pmn_http_request sent = request(method, path, header, body);
    pmn_http_response response;
    EXPECT(PMN_OK, handle(node, &sent, &response));
    CHECK(response.body != NULL && strlen(response.body) == response.body_length);
    CHECK((response.status == 503) == (response.retry_after_s > 0));
    return response.status;
}

static bool is_left_to_the_program(pmn_node *node, const char *method, const char *path, const pmn_http_header *header)
{
    pmn_http_request sent = request(method, path, header, "");
    pmn_http_response response;
    pmn_result result = handle(node, &sent, &response);
    CHECK(result == PMN_ERR_NOT_FOUND || result == PMN_OK);
    CHECK(result == PMN_OK || (response.status == 0 && response.body == NULL)); // unchanged
    return result == PMN_ERR_NOT_FOUND;
}

static void requests(pmn_node *node)
{
    pmn_http_request sent = request("POST", REGISTRATIONS, &JSON, "{\"id\":\"n\",\"secret\":\"from DDS\"}");
    pmn_http_response response;
    EXPECT(PMN_OK, handle(node, &sent, &response));
    CHECK(response.status == 200 && strcmp(response.body, "{\"ok\":true}") == 0);
    CHECK(strcmp(response.content_type, "application/json") == 0);
    CHECK(response.allow == NULL && response.retry_after_s == 0);
    char secret[PMN_SECRET_CAPACITY];
    EXPECT(PMN_OK, pmn_node_read_secret(node, secret, sizeof secret, NULL));
    CHECK(strcmp(secret, "from DDS") == 0);

    CHECK(status(node, "POST", "/internal/v1/registrations/", &JSON, "{\"id\":\"n\",\"secret\":\"x\"}") == 403);
    CHECK(status(node, "POST", REGISTRATIONS, NULL, "{}") == 415);
    CHECK(status(node, "POST", REGISTRATIONS, &JSON, "no JSON") == 400);
    CHECK(status(node, "POST", REGISTRATIONS, &JSON, "{}") == 422);
    char *large = malloc(PMN_MAX_CALLBACK_BODY + 2);
    CHECK(large != NULL);
    memset(large, ' ', PMN_MAX_CALLBACK_BODY + 1);
    large[PMN_MAX_CALLBACK_BODY + 1] = 0;
    CHECK(status(node, "POST", REGISTRATIONS, &JSON, large) == 413);
    large[PMN_MAX_CALLBACK_BODY] = 0;
    CHECK(status(node, "POST", REGISTRATIONS, &JSON, large) == 400);
    free(large);

    sent = request("GET", REGISTRATIONS, NULL, "");
    EXPECT(PMN_OK, handle(node, &sent, &response));
    CHECK(response.status == 405 && strcmp(response.allow, "POST") == 0 && response.content_type == NULL);
    const char *allow = response.allow;
    EXPECT(PMN_OK, handle(node, &sent, &response));
    CHECK(response.allow == allow); // it stays valid

    CHECK(status(node, "GET", "/health?x=1", &DDS, "") == 200);
    CHECK(status(node, "HEAD", "/health/", &DDS, "") == 200);
    pmn_status now = {.size = sizeof now};
    EXPECT(PMN_OK, pmn_node_status(node, &now));
    CHECK(now.last_healthcheck_unix_s > 0);

    CHECK(is_left_to_the_program(node, "GET", "/health", &STRANGER));
    CHECK(is_left_to_the_program(node, "GET", "/health", NULL));
    CHECK(is_left_to_the_program(node, "GET", "/", &DDS));
    CHECK(is_left_to_the_program(node, "POST", "/prefix/internal/v1/registrations", &JSON));
    CHECK(is_left_to_the_program(node, "NO METHOD", REGISTRATIONS, &JSON));
    CHECK(is_left_to_the_program(node, "GET", "no path\x01", &DDS));
}

static void bad_arguments(pmn_node *node)
{
    pmn_http_request good = request("POST", REGISTRATIONS, &JSON, "{}"), sent;
    pmn_http_response response = {.size = sizeof response};
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(NULL, &good, 0, &response));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, NULL, 0, &response));
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &good, 0, NULL));
    sent = good, sent.size = 8;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    sent = good, sent.method = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    sent = good, sent.path = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    sent = good, sent.headers = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    sent = good, sent.header_count = SIZE_MAX / 2;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    sent = good, sent.body = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    const pmn_http_header no_value = {"content-type", NULL};
    sent = good, sent.headers = &no_value;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &sent, 0, &response));
    response.size = 8;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_node_handle_request(node, &good, 0, &response));
    CHECK(response.status == 0);
    // A later header may have more fields.
    struct {
        pmn_http_request known;
        const char *later;
    } request_of_later = {good, "x"};
    struct {
        pmn_http_response known;
        const char *later;
    } response_of_later = {.later = "unchanged"};
    request_of_later.known.size = sizeof request_of_later;
    response_of_later.known.size = sizeof response_of_later;
    EXPECT(PMN_OK, pmn_node_handle_request(node, &request_of_later.known, 0, &response_of_later.known));
    CHECK(response_of_later.known.status == 422 && strcmp(response_of_later.later, "unchanged") == 0);
}

static int inside;
static sem_t handled_inside;

// Requests may be handled inside a callback.
static void on_event(const pmn_event *event, void *user_data)
{
    if (event->type == PMN_EVENT_SECRET_CHANGED) {
        CHECK(status(user_data, "GET", "/health", &DDS, "") == 200);
        inside++; // read after the stop
        sem_post(&handled_inside);
    }
}

// Calls until the node is stopped, whose end is at no moment a wrong response.
static void *call(void *node)
{
    for (uint32_t last = 0; last != 503;) {
        last = status(node, "POST", REGISTRATIONS, &JSON, "{\"id\":\"n\",\"secret\":\"from DDS\"}");
        CHECK(last == 200 || last == 503);
    }
    return NULL;
}

static void a_stop_while_requests_are_handled(pmn_node *node)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        CHECK(pthread_create(&threads[i], NULL, call, node) == 0);
    }
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    for (size_t i = 0; i < COUNT(threads); i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(status(node, "GET", "/health", &DDS, "") == 503);
    CHECK(status(node, "DELETE", REGISTRATIONS, NULL, "") == 405);
    CHECK(is_left_to_the_program(node, "GET", "/health", &STRANGER));
}

// scenario: mounted-routes
int main(void)
{
    alarm(GUARD_SECONDS);
    CHECK(unsetenv("CALLBACK_BIND") == 0);
    CHECK(sem_init(&handled_inside, 0, 0) == 0);
    pmn_node *node = start(1);
    EXPECT(PMN_ERR_NOT_FOUND, pmn_node_wait(node, PMN_WAIT_SECRET, 0));
    bad_arguments(node);
    EXPECT(PMN_ERR_TIMEOUT, pmn_node_wait(node, PMN_WAIT_SECRET, 0)); // from now on DDS may call
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, node, NULL));
    requests(node);
    CHECK(sem_wait(&handled_inside) == 0); // a node that stops responds with 503
    a_stop_while_requests_are_handled(node);
    CHECK(inside == 1);
    pmn_node_free(node);
    CHECK(library_threads_left() == 0);
    return 0;
}
