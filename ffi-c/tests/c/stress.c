// Calls every function from many threads at once, while nodes start and stop and DDS fails (the test injects that).
//
// Owners start, use, stop and free their own nodes, each time in another way. Users call every function on shared
// nodes, which the owners stop and replace meanwhile. In the end the process must have the same files, threads and
// memory as before. STRESS_CYCLES is the number of nodes to start (1000 by default).

#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum { OWNERS = 3, USERS = 3, SHARED = 2, WAYS = 8, OWN_WALLET = 100, SINGLE_WALLET = 1000 };

static atomic_ulong starts, stops, calls, events, records, receivers_made, receivers_destroyed;
static atomic_bool owners_are_done;

// A callback's user_data. Its destroy frees it, so a later call would be a use after free.
typedef struct {
    pthread_mutex_t mutex;
    pmn_node *to_free; // the callback frees it when it gets the mutex
    sem_t *destroyed;
} receiver;

static receiver *new_receiver(sem_t *destroyed)
{
    receiver *self = calloc(1, sizeof *self);
    CHECK(self != NULL);
    pthread_mutex_init(&self->mutex, NULL);
    self->destroyed = destroyed;
    receivers_made++;
    return self;
}

static void destroy_receiver(void *user_data)
{
    receiver *self = user_data;
    sem_t *destroyed = self->destroyed;
    pthread_mutex_destroy(&self->mutex);
    free(self);
    receivers_destroyed++;
    if (destroyed != NULL) {
        sem_post(destroyed);
    }
}

static void on_event(const pmn_event *event, void *user_data)
{
    receiver *self = user_data;
    CHECK(event->size >= sizeof *event && event->message != NULL);
    pthread_mutex_lock(&self->mutex);
    pmn_node *node = self->to_free;
    self->to_free = NULL;
    pthread_mutex_unlock(&self->mutex);
    if (node != NULL) {
        EXPECT(PMN_ERR_WOULD_DEADLOCK, pmn_node_stop(node, 0));
        pmn_node_free(node);
        stops++;
    }
    events++;
}

static void on_record(const pmn_log_record *record, void *user_data)
{
    receiver *self = user_data;
    CHECK(record->size >= sizeof *record && strlen(record->message) > 0);
    pthread_mutex_lock(&self->mutex);
    records++;
    pthread_mutex_unlock(&self->mutex);
}

// Accepts several results, for calls that race with a stop.
static pmn_result one_of(pmn_result first, pmn_result second, pmn_result third, pmn_result got)
{
    if (got != second && got != third) {
        EXPECT(first, got);
    }
    calls++;
    return got;
}

static void receive_events(pmn_node *node, sem_t *destroyed)
{
    receiver *own = new_receiver(destroyed);
    if (one_of(PMN_OK, PMN_ERR_STOPPED, PMN_OK,
               pmn_node_set_event_callback(node, on_event, own, destroy_receiver)) != PMN_OK) {
        destroy_receiver(own);
    }
}

static void receive_records(pmn_log_level level)
{
    EXPECT(PMN_OK, pmn_set_log_callback(on_record, new_receiver(NULL), destroy_receiver, level));
}

// Shared nodes. The lock only ensures that no thread uses a node that is being freed.

typedef struct {
    pthread_rwlock_t lock;
    pmn_node *node;
    int wallet;
} shared_node;

static shared_node shared[SHARED];

static pmn_node *start_for(int wallet)
{
    pmn_config *config = config_for(wallet);
    if (wallet != 1) { // only one node can have the port that DDS calls
        EXPECT(PMN_OK, pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    }
    pmn_node *node = NULL;
    pmn_error *error = NULL;
    if (pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "wallet %d: %s\n", wallet, pmn_error_message(error));
        _exit(1);
    }
    pmn_config_free(config);
    starts++;
    return node;
}

static void stop_and_free(pmn_node *node)
{
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    pmn_node_free(node);
    stops++;
}

static void start_shared(void)
{
    for (int i = 0; i < SHARED; i++) {
        pthread_rwlock_init(&shared[i].lock, NULL);
        shared[i].wallet = i + 1;
        shared[i].node = start_for(shared[i].wallet);
    }
}

// Stops a node while others use it, and replaces it when they do not.
static void replace_shared(shared_node *place)
{
    pthread_rwlock_rdlock(&place->lock);
    EXPECT(PMN_OK, pmn_node_stop(place->node, GUARD_MS));
    pthread_rwlock_unlock(&place->lock);
    pthread_rwlock_wrlock(&place->lock);
    stop_and_free(place->node);
    place->node = start_for(place->wallet);
    pthread_rwlock_unlock(&place->lock);
}

static void free_shared(void)
{
    for (int i = 0; i < SHARED; i++) {
        stop_and_free(shared[i].node);
        pthread_rwlock_destroy(&shared[i].lock);
    }
}

static void use_token(pmn_node *node, unsigned what)
{
    char token[PMN_TOKEN_CAPACITY];
    size_t length = 0;
    int64_t expires_at = 0;
    pmn_result result = pmn_node_access_token(node, what % 4, token, sizeof token, &length, &expires_at);
    if (result == PMN_ERR_REJECTED) { // because of an injected fault
        return;
    }
    if (one_of(PMN_OK, PMN_ERR_STOPPED, PMN_ERR_TIMEOUT, result) == PMN_OK) {
        CHECK(length > 0 && strlen(token) == length && expires_at > 1700000000);
        if (what / 4 % 4 == 0) {
            one_of(PMN_OK, PMN_ERR_STOPPED, PMN_OK, pmn_node_invalidate_token_if(node, token));
        }
    }
}

static void use(pmn_node *node, unsigned what)
{
    char text[4097];
    size_t length = 0;
    const uint8_t message[] = {0, 1, 2, 0xff};
    static const char key[] = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
    pmn_status status = {.size = sizeof status};
    switch (what % 16) {
    case 0:
        one_of(PMN_OK, PMN_ERR_STOPPED, PMN_OK, pmn_node_rearm(node));
        break;
    case 1:
        receive_events(node, NULL);
        break;
    case 2:
        one_of(PMN_OK, PMN_ERR_STOPPED, PMN_OK, pmn_node_set_event_callback(node, NULL, NULL, NULL));
        break;
    case 3:
        receive_records(PMN_LOG_ERROR + (pmn_log_level)(what / 16 % 4));
        break;
    case 4:
        one_of(PMN_OK, PMN_ERR_STOPPED, PMN_ERR_TIMEOUT, pmn_node_wait(node, PMN_WAIT_REGISTERED, what / 16 % 4));
        break;
    case 5:
        one_of(PMN_OK, PMN_ERR_STOPPED, PMN_ERR_TIMEOUT, pmn_node_wait(node, PMN_WAIT_SECRET, 0));
        break;
    case 6:
        if (one_of(PMN_OK, PMN_ERR_NOT_FOUND, PMN_OK, pmn_node_read_secret(node, text, sizeof text, &length)) ==
            PMN_OK) {
            CHECK(length == 43 && strlen(text) == length);
        }
        break;
    case 7:
        EXPECT(PMN_OK, pmn_node_callback_address(node, text, sizeof text, &length));
        CHECK(strncmp(text, "127.0.0.1:", 10) == 0 && strlen(text) == length);
        break;
    case 8:
        EXPECT(PMN_OK, pmn_node_wallet_address(node, text, sizeof text, &length));
        CHECK(length == 42);
        break;
    case 9:
        EXPECT(PMN_OK, pmn_node_sign(node, message, sizeof message, text, sizeof text, &length));
        CHECK(length == 132);
        break;
    case 10:
        EXPECT(PMN_OK, pmn_eth_address(key, text, sizeof text, &length));
        EXPECT(PMN_OK, pmn_sign_eip191(key, message, sizeof message, text, sizeof text, &length));
        EXPECT(PMN_ERR_BUFFER_TOO_SMALL, pmn_node_wallet_address(node, text, 42, &length));
        CHECK(length == 42);
        break;
    case 11: {
        pmn_error *error = NULL;
        pmn_config *config = config_for(1);
        EXPECT(PMN_ERR_INVALID_CONFIG, pmn_config_set(config, "max_retry", "many", &error));
        EXPECT(PMN_ERR_INVALID_CONFIG, pmn_error_code(error));
        CHECK(strstr(pmn_error_message(error), "max_retry") != NULL);
        pmn_error_free(error);
        pmn_config_free(config);
        break;
    }
    case 12:
        CHECK(pmn_abi_version() == PMN_ABI_VERSION && strlen(pmn_version()) > 0);
        CHECK(strcmp(pmn_result_name(PMN_ERR_BIND), "PMN_ERR_BIND") == 0);
        break;
    case 13:
        use_token(node, what / 16);
        break;
    case 14:
        one_of(PMN_OK, PMN_ERR_STOPPED, PMN_OK, pmn_node_invalidate_token(node));
        break;
    default:
        EXPECT(PMN_OK, pmn_node_status(node, &status));
        CHECK(status.state >= PMN_STATE_DISCONNECTED && status.state <= PMN_STATE_REGISTERED);
        CHECK(status.has_secret == (status.secret_version > 0));
    }
    calls++;
}

static void *user(void *argument)
{
    unsigned random = 1 + (unsigned)(uintptr_t)argument;
    while (!owners_are_done) {
        random = random * 1664525 + 1013904223; // its low bits have a short period
        shared_node *place = &shared[random >> 16 & 1];
        pthread_rwlock_rdlock(&place->lock);
        use(place->node, random >> 17);
        pthread_rwlock_unlock(&place->lock);
    }
    return NULL;
}

static void *stop_too(void *node)
{
    EXPECT(PMN_OK, pmn_node_stop(node, PMN_NO_TIMEOUT));
    return NULL;
}

static void *wait_for_the_end(void *node)
{
    one_of(PMN_ERR_STOPPED, PMN_OK, PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, PMN_NO_TIMEOUT));
    return NULL;
}

static void stop_beside(void *(*other)(void *), pmn_node *node)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other, node) == 0);
    EXPECT(PMN_OK, pmn_node_stop(node, PMN_NO_TIMEOUT));
    CHECK(pthread_join(thread, NULL) == 0);
    stop_and_free(node);
}

// Its own callback frees the node. The callback waits for the mutex, because the node is used here until then.
static void give_away(pmn_node *node)
{
    sem_t destroyed;
    sem_init(&destroyed, 0, 0);
    receiver *own = new_receiver(&destroyed);
    pthread_mutex_lock(&own->mutex);
    own->to_free = node;
    EXPECT(PMN_OK, pmn_node_set_event_callback(node, on_event, own, destroy_receiver));
    EXPECT(PMN_OK, pmn_node_rearm(node));
    pthread_mutex_unlock(&own->mutex);
    while (sem_wait(&destroyed) != 0) {
    }
    sem_destroy(&destroyed);
}

static void refuse_a_twin(int wallet)
{
    pmn_node *twin = NULL;
    pmn_config *config = config_for(wallet);
    EXPECT(PMN_OK, pmn_config_set(config, "callback_bind", "127.0.0.1:0", NULL));
    EXPECT(PMN_ERR_ALREADY_RUNNING, pmn_node_start(config, &twin, NULL));
    CHECK(twin == NULL);
    pmn_config_free(config);
}

// scenario: stop-during-start
static void live(int owner, int cycle)
{
    int way = cycle % WAYS;
    // A node that is freed without a stop may outlive pmn_node_free() if five seconds are not enough to stop it.
    bool once = way == 0 || way == 6;
    int wallet = once ? SINGLE_WALLET + owner + OWNERS * cycle : OWN_WALLET + owner;
    pmn_node *node = start_for(wallet);
    if (way == 6) {
        give_away(node);
        return;
    }
    receive_events(node, NULL);
    switch (way) {
    case 0:
        pmn_node_free(node); // stops it
        stops++;
        return;
    case 1:
        break;
    case 2:
        one_of(PMN_OK, PMN_ERR_TIMEOUT, PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, 20));
        break;
    case 3:
        EXPECT(PMN_OK, pmn_node_rearm(node));
        use_token(node, 3);
        break;
    case 4:
        stop_beside(stop_too, node);
        return;
    case 5:
        stop_beside(wait_for_the_end, node);
        return;
    default:
        refuse_a_twin(wallet);
    }
    stop_and_free(node);
}

typedef struct {
    int number;
    int cycles;
} owner_task;

static void *owner(void *argument)
{
    const owner_task *task = argument;
    for (int cycle = 0; cycle < task->cycles; cycle++) {
        live(task->number, cycle);
        if (cycle % 16 == 15) {
            replace_shared(&shared[(cycle / 16 + task->number) % SHARED]);
        }
    }
    return NULL;
}

static void run(int cycles)
{
    pthread_t owners[OWNERS], users[USERS];
    owner_task tasks[OWNERS];
    owners_are_done = false;
    receive_records(PMN_LOG_DEBUG);
    start_shared();
    for (int i = 0; i < OWNERS; i++) {
        tasks[i] = (owner_task){.number = i, .cycles = cycles / OWNERS};
        CHECK(pthread_create(&owners[i], NULL, owner, &tasks[i]) == 0);
    }
    for (uintptr_t i = 0; i < USERS; i++) {
        CHECK(pthread_create(&users[i], NULL, user, (void *)i) == 0);
    }
    for (int i = 0; i < OWNERS; i++) {
        CHECK(pthread_join(owners[i], NULL) == 0);
    }
    owners_are_done = true;
    for (int i = 0; i < USERS; i++) {
        CHECK(pthread_join(users[i], NULL) == 0);
    }
    free_shared();
    EXPECT(PMN_OK, pmn_set_log_callback(NULL, NULL, NULL, PMN_LOG_ERROR));
}

typedef struct {
    int files;
    int threads;
    size_t heap;
    long resident;
} holdings;

static holdings take(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    int threads = library_threads_left(); // first, because a thread has files open
    return (holdings){.files = open_files(),
                      .threads = threads,
                      .heap = mallinfo2().uordblks,
                      .resident = pages * sysconf(_SC_PAGESIZE) / 1024};
}

int main(void)
{
    const char *text = getenv("STRESS_CYCLES");
    int cycles = text == NULL ? 1000 : atoi(text);
    alarm(GUARD_SECONDS + (unsigned)cycles);

    // Permanent allocations, such as the allocator's arenas, exist after the first tenth.
    run(cycles / 10);
    holdings before = take();
    run(cycles - cycles / 10);
    holdings after = take();

    printf("%lu starts, %lu stops, %lu calls, %lu events, %lu records\n", starts, stops, calls, events, records);
    printf("callbacks made %lu, destroyed %lu\n", receivers_made, receivers_destroyed);
    printf("open files %d, then %d; threads %d, then %d\n", before.files, after.files, before.threads,
           after.threads);
    printf("heap in use %zu bytes, then %zu; resident %ld KiB, then %ld\n", before.heap, after.heap,
           before.resident, after.resident);
    CHECK(starts == stops);
    CHECK(receivers_made == receivers_destroyed);
    CHECK(before.files == after.files);
    CHECK(before.threads == 0 && after.threads == 0);
    // Less than one block per start, so no start leaks anything.
    CHECK(after.heap <= before.heap + 16 * (size_t)cycles);
    return 0;
}
