// A node leaves the process as it was: environment, signals, threads, open files, and output (which the test checks).

#include "check.h"

#include <locale.h>
#include <pthread.h>
#include <signal.h>

extern char **environ;

typedef struct {
    char environment[64 * 1024];
    struct sigaction actions[65];
    sigset_t mask;
    char locale[256];
    int files;
    int threads;
} footprint;

static void take(footprint *print)
{
    memset(print, 0, sizeof *print);
    size_t used = 0;
    for (char **variable = environ; *variable != NULL; variable++) {
        size_t length = strlen(*variable) + 1;
        CHECK(used + length <= sizeof print->environment);
        memcpy(print->environment + used, *variable, length);
        used += length;
    }
    for (int number = 1; number < 65; number++) {
        (void)sigaction(number, NULL, &print->actions[number]); // fails for some numbers
    }
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &print->mask) == 0);
    snprintf(print->locale, sizeof print->locale, "%s", setlocale(LC_ALL, NULL));
    print->files = open_files();
    print->threads = library_threads_left();
}

// The C library does not initialise the part of a signal set that the kernel does not use.
static bool same_set(const sigset_t *a, const sigset_t *b)
{
    for (int number = 1; number < 65; number++) {
        if (sigismember(a, number) != sigismember(b, number)) {
            return false;
        }
    }
    return true;
}

static footprint before, after;

// scenario: register
static void live(void)
{
    pmn_node *node = start(1);
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_REGISTERED, GUARD_MS));
    EXPECT(PMN_OK, pmn_node_wait(node, PMN_WAIT_SECRET, GUARD_MS));
    CHECK(library_threads() > 0);
    EXPECT(PMN_OK, pmn_node_stop(node, GUARD_MS));
    CHECK(library_threads_left() == 0);
    pmn_node_free(node);
}

// scenario: nothing-left
int main(void)
{
    alarm(GUARD_SECONDS);
    take(&before);
    for (int i = 0; i < 3; i++) {
        live();
        take(&after);
        CHECK(memcmp(before.environment, after.environment, sizeof before.environment) == 0);
        for (int number = 1; number < 65; number++) {
            const struct sigaction *was = &before.actions[number], *is = &after.actions[number];
            CHECK(was->sa_handler == is->sa_handler && was->sa_flags == is->sa_flags);
            CHECK(same_set(&was->sa_mask, &is->sa_mask));
        }
        CHECK(same_set(&before.mask, &after.mask));
        CHECK(strcmp(before.locale, after.locale) == 0);
        CHECK(before.files == after.files);
        CHECK(before.threads == 0 && after.threads == 0);
    }
    return 0;
}
