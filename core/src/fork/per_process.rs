//! Statics that a forked child does not inherit.

#![expect(unsafe_code, reason = "a pointer to what the calling process owns, read without a lock")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::close_on_fork::close_inherited_files;
use super::generation::Generation;

/// A static with one value per process: a forked child gets a fresh one at its first use, and leaves its parent's
/// alone. No lock, because another thread may hold one at the moment of a fork.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Owned<T>>);

/// Never freed: a reader in another thread may still use it.
struct Owned<T> {
    generation: Generation,
    value: T,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value of the calling process.
    #[inline]
    pub(crate) fn get(&'static self) -> &'static T {
        let found = self.0.load(Ordering::Acquire);
        // SAFETY: a pointer that is not null came from Box::into_raw in `begin`, and is never freed.
        match unsafe { found.as_ref() } {
            Some(owned) if !owned.generation.is_foreign() => &owned.value,
            _ => self.begin(found),
        }
    }

    /// Replaces what was found: nothing, or a value of the parent.
    #[cold]
    fn begin(&'static self, found: *mut Owned<T>) -> &'static T {
        // Usually done already, when the child began. A bare system call runs no `pthread_atfork` handler.
        close_inherited_files();
        let fresh = Box::into_raw(Box::new(Owned { generation: Generation::current(), value: T::default() }));
        let current = match self.0.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(set_by_another_thread) => {
                // SAFETY: `fresh` came from Box::into_raw above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                set_by_another_thread
            }
        };
        // SAFETY: not null, from Box::into_raw, and never freed once it is stored.
        unsafe { &(*current).value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_process_keeps_its_value() {
        static NUMBER: PerProcess<AtomicU32> = PerProcess::new();
        NUMBER.get().store(7, Ordering::Relaxed);
        assert_eq!(NUMBER.get().load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_value_of_another_process_is_replaced_and_left_alone() {
        static NUMBER: PerProcess<AtomicU32> = PerProcess::new();
        let generation = Generation::of_another_process();
        let foreign: &'static Owned<_> = Box::leak(Box::new(Owned { generation, value: AtomicU32::new(7) }));
        NUMBER.0.store(ptr::from_ref(foreign).cast_mut(), Ordering::Release);
        assert_eq!(NUMBER.get().load(Ordering::Relaxed), 0);
        NUMBER.get().store(1, Ordering::Relaxed);
        assert_eq!(foreign.value.load(Ordering::Relaxed), 7);
    }
}
