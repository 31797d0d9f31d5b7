// What ThreadSanitizer cannot see of Rust's standard library, which comes compiled without it: that a lock is
// taken and given where its functions do that themselves. Each of them is wrapped (ld --wrap) in one that
// says so, and adds nothing else. The test gives their mangled names.

#include <stdbool.h>
#include <stdint.h>

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

// The last Arc of several frees what the others have used: the standard library orders that by a fence, which
// ThreadSanitizer does not follow, and by this count, where it can.
enum { ACQUIRE_AND_RELEASE = 4 };

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order)
{
    (void)order;
    return __real___tsan_atomic64_fetch_sub(count, by, ACQUIRE_AND_RELEASE);
}
