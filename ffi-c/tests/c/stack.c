// A thread with the stack size that the header requires makes every call that needs much stack.

#include "check.h"

#include <pthread.h>

enum { PROMISED_STACK = 128 * 1024 };

static pmn_node *start_with(int wallet, const char *dds_base_url)
{
    pmn_config *config = config_for(wallet);
    if (dds_base_url != NULL) {
        EXPECT(PMN_OK, pmn_config_set(config, "dds_base_url", dds_base_url, NULL));
        EXPECT(PMN_OK, pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    }
    pmn_node *node = NULL;
    EXPECT(PMN_OK, pmn_node_start(config, &node, NULL));
    pmn_config_free(config);
    return node;
}

static void on_event(const pmn_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

static void *calls(void *unused)
{
    // The first https URL reads the system's certificates and sets up TLS.
    pmn_node *secure = start_with(2, "https://127.0.0.1:1");
    pmn_node *node = start_with(1, NULL);
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    char text[4097];
    EXPECT(PMN_OK, pmn_node_read_secret(node, text, sizeof text, NULL));
    EXPECT(PMN_OK, pmn_node_access_token(node, GUARD_MS, text, sizeof text, NULL, NULL));
    EXPECT(PMN_OK, pmn_node_sign(node, (const uint8_t *)"text", 4, text, sizeof text, NULL));
    EXPECT(PMN_OK, pmn_node_rearm(node));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    pmn_status status = {.size = sizeof status};
    EXPECT(PMN_OK, pmn_node_status(node, &status));
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    pmn_node_free(secure);
    return unused;
}

int main(void)
{
    alarm(GUARD_SECONDS);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, PROMISED_STACK) == 0);
    CHECK(pthread_create(&thread, &attributes, calls, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    return 0;
}
