//! A sequence lock: a few numbers that one thread at a time writes and any thread reads without a lock.
//!
//! A read returns numbers that were all written by the same write. `tests/model` compiles this file with atomics
//! that go through every order that the memory model allows.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// There are two slots. A write fills the slot that readers are not using and then points new readers to it, so a
/// reader finds a half-written slot only if two whole writes happen while it copies a few numbers. It notices
/// that by the version, and copies again. A reader never waits for a writer, and a writer never waits at all.
pub(crate) struct SeqLock<const WORDS: usize> {
    version: AtomicU64,
    slots: [[AtomicU64; WORDS]; 2],
}

impl<const WORDS: usize> Default for SeqLock<WORDS> {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { version: zero(0), slots: [core::array::from_fn(zero), core::array::from_fn(zero)] }
    }
}

impl<const WORDS: usize> SeqLock<WORDS> {
    /// Returns zeros before the first write.
    #[inline]
    pub(crate) fn read(&self) -> [u64; WORDS] {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let slot = &self.slots[(version & 1) as usize];
            let words = core::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
            // Pairs with the fence in `write`: a thread that has read a word of a newer write also reads that
            // write's version, or a later one.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return words;
            }
        }
    }

    /// Must not be called by two threads at once.
    pub(crate) fn write(&self, words: [u64; WORDS]) {
        let version = self.version.load(Ordering::Relaxed) + 1;
        fence(Ordering::Release);
        let slot = &self.slots[(version & 1) as usize];
        for (word, value) in slot.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version, Ordering::Release);
    }
}
