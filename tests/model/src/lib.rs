//! The snapshot from which every thread reads a node's status, under loom: each test runs once for each order
//! of its steps, and for each value that a processor with a weak memory model may see.
#![cfg(test)]

// What the file under test names `std` are loom's atomics.
extern crate loom as std;

#[path = "../../../core/src/snapshot.rs"]
mod snapshot;

use snapshot::Snapshot;
use std::sync::Arc;
use std::thread;

/// The versions that one thread saw, while another wrote so many of them.
fn versions(writes: u64, reads: usize) -> Vec<u64> {
    let snapshot = Arc::new(Snapshot::<2>::default());
    let writer = Arc::clone(&snapshot);
    let writer = thread::spawn(move || (1..=writes).for_each(|n| writer.write([n, n])));
    let read = |_| {
        let [one, two] = snapshot.read();
        assert_eq!(one, two, "half a write");
        one
    };
    let seen = (0..reads).map(read).collect();
    writer.join().expect("the writer does not panic");
    seen
}

#[test]
fn readers_never_see_half_a_write() {
    // Three, so that each slot is filled again while somebody may still read it.
    loom::model(|| assert!(versions(3, 1)[0] <= 3));
}

#[test]
fn readers_never_see_an_older_write_again() {
    loom::model(|| assert!(versions(2, 2).is_sorted()));
}
