// Synchronisation that ThreadSanitizer cannot see. Each function here wraps another one (ld --wrap) and reports the
// ordering that it establishes.
//
// First, Rust's standard library, which comes compiled without ThreadSanitizer: where its functions acquire and release
// a lock. The test passes their mangled names.

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define JOIN_(one, two) one##two
#define JOIN(one, two) JOIN_(one, two)
#define REAL(function) JOIN(__real_, function)
#define WRAPPED(function) JOIN(__wrap_, function)

void __tsan_acquire(void *address);
void __tsan_release(void *address);

void REAL(MUTEX_LOCK_CONTENDED)(void *mutex);
void WRAPPED(MUTEX_LOCK_CONTENDED)(void *mutex)
{
    REAL(MUTEX_LOCK_CONTENDED)(mutex);
    __tsan_acquire(mutex);
}

void REAL(RWLOCK_READ_CONTENDED)(void *lock);
void WRAPPED(RWLOCK_READ_CONTENDED)(void *lock)
{
    REAL(RWLOCK_READ_CONTENDED)(lock);
    __tsan_acquire(lock);
}

void REAL(RWLOCK_WRITE_CONTENDED)(void *lock);
void WRAPPED(RWLOCK_WRITE_CONTENDED)(void *lock)
{
    REAL(RWLOCK_WRITE_CONTENDED)(lock);
    __tsan_acquire(lock);
}

void REAL(CONDVAR_WAIT)(void *condvar, void *mutex);
void WRAPPED(CONDVAR_WAIT)(void *condvar, void *mutex)
{
    __tsan_release(mutex);
    REAL(CONDVAR_WAIT)(condvar, mutex);
    __tsan_acquire(mutex);
}

bool REAL(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds);
bool WRAPPED(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds)
{
    __tsan_release(mutex);
    bool woken = REAL(CONDVAR_WAIT_TIMEOUT)(condvar, mutex, seconds, nanoseconds);
    __tsan_acquire(mutex);
    return woken;
}

void REAL(ONCE_CALL)(void *once, bool anew, void *closure, void *vtable, void *location);
void WRAPPED(ONCE_CALL)(void *once, bool anew, void *closure, void *vtable, void *location)
{
    REAL(ONCE_CALL)(once, anew, closure, vtable, location);
    __tsan_acquire(once);
    __tsan_release(once);
}

// One thread adds to an epoll instance, and another waits for it. ThreadSanitizer sees that only if both use the same
// descriptor, but tokio adds with a duplicate of the one that it waits on.
static char epolls;

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    __tsan_release(&epolls);
    return __real_epoll_ctl(epoll, operation, fd, event);
}

int __real_epoll_wait(int epoll, struct epoll_event *events, int capacity, int timeout_ms);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int capacity, int timeout_ms)
{
    int count = __real_epoll_wait(epoll, events, capacity, timeout_ms);
    __tsan_acquire(&epolls);
    return count;
}

// The last of several Arcs frees what the others have used. The standard library orders this with a fence, which
// ThreadSanitizer does not support, and with this counter, which it does.
enum { ACQUIRE_AND_RELEASE = 4 };

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order)
{
    (void)order;
    return __real___tsan_atomic64_fetch_sub(count, by, ACQUIRE_AND_RELEASE);
}
