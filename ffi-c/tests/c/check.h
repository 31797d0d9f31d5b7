// Shared by the test programs. Each one ends at the first failed check, or when its alarm goes off.

#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "posemesh_node.h"

// Guards against hanging; not a performance limit.
enum { GUARD_SECONDS = 240, GUARD_MS = 1000 * GUARD_SECONDS };

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CHECK(condition) check((condition), __FILE__, __LINE__, #condition)
#define EXPECT(expected, call) expect((expected), (call), __FILE__, __LINE__, #call)

static inline void check(bool holds, const char *file, int line, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
        _exit(1);
    }
}

static inline void expect(pmn_result expected, pmn_result got, const char *file, int line, const char *call)
{
    if (got != expected) {
        fprintf(stderr, "%s:%d: got %s, expected %s: %s\n", file, line, pmn_result_name(got),
                pmn_result_name(expected), call);
        _exit(1);
    }
}

// The environment's configuration, with a different wallet for each number.
static inline pmn_config *config_for(int wallet)
{
    char key[65];
    snprintf(key, sizeof key, "%064d", wallet);
    pmn_config *config = pmn_config_new();
    EXPECT(PMN_OK, pmn_config_load_env(config, NULL));
    EXPECT(PMN_OK, pmn_config_set(config, "secp256k1_privhex", key, NULL));
    return config;
}

static inline pmn_node *start(int wallet)
{
    pmn_node *node = NULL;
    pmn_error *error = NULL;
    pmn_config *config = config_for(wallet);
    if (pmn_node_start(config, &node, &error) != PMN_OK) {
        fprintf(stderr, "start: %s\n", pmn_error_message(error));
        _exit(1);
    }
    pmn_config_free(config);
    return node;
}

// The library's threads in this process: posemesh-rt, posemesh-events, posemesh-io.
static inline int library_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file != NULL) {
            count += fgets(name, sizeof name, file) != NULL && strncmp(name, "posemesh-", 9) == 0;
            fclose(file);
        }
    }
    closedir(tasks);
    return count;
}

// The same after a stop. The kernel still lists a thread for a moment after it was joined, and a node that was freed
// while a callback was slow ends later.
static inline int library_threads_left(void)
{
    int left = library_threads();
    for (int remaining_ms = GUARD_MS; left > 0 && remaining_ms > 0; remaining_ms--) {
        usleep(1000);
        left = library_threads();
    }
    return left;
}

static inline int open_files(void)
{
    int count = 0;
    DIR *files = opendir("/proc/self/fd");
    CHECK(files != NULL);
    while (readdir(files) != NULL) {
        count++;
    }
    closedir(files);
    return count;
}

#endif
