//! The sequence lock through which every thread reads a node's status, under loom: each test runs once for each
//! order of its steps, and for each value that a processor with a weak memory model may see.
#![cfg(test)]

// In the file under test, `std` names loom's atomics.
extern crate loom as std;

#[path = "../../../core/src/seqlock.rs"]
mod seqlock;

use seqlock::SeqLock;
use std::sync::Arc;
use std::thread;

/// The versions that one thread reads while another thread writes.
fn versions(writes: u64, reads: usize) -> Vec<u64> {
    let lock = Arc::new(SeqLock::<2>::default());
    let writer = Arc::clone(&lock);
    let writer = thread::spawn(move || (1..=writes).for_each(|n| writer.write([n, n])));
    let read = |_| {
        let [one, two] = lock.read();
        assert_eq!(one, two, "half a write");
        one
    };
    let seen = (0..reads).map(read).collect();
    writer.join().expect("the writer does not panic");
    seen
}

#[test]
fn readers_never_see_half_a_write() {
    // Three, so that each slot is filled again while a reader may still use it.
    loom::model(|| assert!(versions(3, 1)[0] <= 3));
}

#[test]
fn readers_never_see_an_older_write_again() {
    loom::model(|| assert!(versions(2, 2).is_sorted()));
}
