//! A few numbers that one thread at a time writes, and any thread reads: all of them from one write, and
//! without a lock. `tests/model` compiles this file with atomics that take every order which the memory model
//! allows.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// There are two slots. A writer fills the one that nobody is sent to and then turns readers towards it, so
/// a reader never meets a half-written slot unless two whole writes happen while it copies a few numbers; it
/// notices that by the version and copies again. No reader ever waits for a writer, and a writer never
/// waits at all.
pub(crate) struct Snapshot<const WORDS: usize> {
    version: AtomicU64,
    slots: [[AtomicU64; WORDS]; 2],
}

impl<const WORDS: usize> Default for Snapshot<WORDS> {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { version: zero(0), slots: [core::array::from_fn(zero), core::array::from_fn(zero)] }
    }
}

impl<const WORDS: usize> Snapshot<WORDS> {
    /// Zeros before the first write.
    #[inline]
    pub(crate) fn read(&self) -> [u64; WORDS] {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let slot = &self.slots[(version & 1) as usize];
            let words = core::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
            // Pairs with the fence in `write`: whoever saw a word of a newer write sees its version too.
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
