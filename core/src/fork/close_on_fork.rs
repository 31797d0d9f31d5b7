//! Files that a forked child closes. As long as a child had copies of them, a port, a lock or a connection that its
//! parent closes would stay open.
//!
//! The child closes them right after the `fork`, before any code of the host runs, through `pthread_atfork`. A child
//! that was forked by a bare system call closes them when it first uses this library. All other files of the
//! parent do no harm in a child.

#![expect(unsafe_code, reason = "after a fork a file is known by its number alone")]

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::generation::Generation;

/// The files to close. Without a lock, because another thread may hold one at the moment of a fork.
static TABLE: Block = Block::new();

/// Never freed, so that a child can read it.
struct Block {
    slots: [Slot; 32],
    next: AtomicPtr<Block>,
}

/// A file, with its device and inode: the host's code in a child may have closed it, and another file may have its
/// number by then.
struct Slot {
    /// An [`Entry`], or [`FREE`].
    entry: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

const FREE: u64 = 0;

/// The process that opened a file, in the upper half, and the number of the file. In one word, so that a child never
/// takes a file of its own for one of its parent's.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(generation: Generation, file: RawFd) -> Self {
        Self(u64::from(generation.number()) << 32 | u64::from(file.cast_unsigned()))
    }

    /// While device and inode are being written.
    fn incomplete(generation: Generation) -> Self {
        Self::new(generation, -1)
    }

    fn is_of(self, generation: Generation) -> bool {
        self.0 >> 32 == u64::from(generation.number())
    }

    fn file(self) -> Option<RawFd> {
        let file = (self.0 as u32).cast_signed();
        (file >= 0).then_some(file)
    }
}

/// Has forked children close an open file, until it is dropped. Drop it before the file is closed.
pub(crate) struct CloseOnFork(Option<(&'static Slot, Entry)>);

impl CloseOnFork {
    pub(crate) fn new(file: &impl AsFd) -> Self {
        close_in_forked_children();
        let file = file.as_fd();
        let generation = Generation::current();
        Self(
            inode(file)
                .map(|inode| TABLE.insert(Entry::new(generation, file.as_raw_fd()), generation, inode)),
        )
    }
}

impl Drop for CloseOnFork {
    fn drop(&mut self) {
        if let Some((slot, entry)) = self.0 {
            slot.remove(entry);
        }
    }
}

/// Closes what the parent of the calling process had in the table. Async-signal-safe, and without effect when it is
/// called again.
pub(super) fn close_inherited_files() {
    TABLE.close_foreign(Generation::current());
}

/// Has every `fork` call [`after_fork`]. Children inherit that.
fn close_in_forked_children() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.swap(true, Ordering::AcqRel) {
        return;
    }
    // Registers a handler that has to run before this one.
    Generation::current();
    // SAFETY: `after_fork` is a function of this library, and libc drops the handler if the library is unloaded.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
    // Only for lack of memory. A child still closes the files when it first uses this library.
    let _ = refused;
}

/// Runs in a forked child. Async-signal-safe: any thread of the parent may have been anywhere during the fork.
extern "C" fn after_fork() {
    close_inherited_files();
}

impl Block {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; 32], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Block> {
        // SAFETY: a pointer that is not null came from Box::into_raw in `next_or_new`, and is never freed.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn next_or_new(&self) -> &'static Block {
        if let Some(next) = self.next() {
            return next;
        }
        let fresh = Box::into_raw(Box::new(Block::new()));
        let won = self.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        if won.is_err() {
            // SAFETY: it came from Box::into_raw above, and no other thread has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
        self.next().expect("set by this thread or another one")
    }

    fn insert(
        &'static self,
        entry: Entry,
        generation: Generation,
        (device, inode): (u64, u64),
    ) -> (&'static Slot, Entry) {
        let mut block = self;
        loop {
            for slot in &block.slots {
                let incomplete = Entry::incomplete(generation);
                let claim =
                    slot.entry.compare_exchange(FREE, incomplete.0, Ordering::AcqRel, Ordering::Relaxed);
                if claim.is_ok() {
                    slot.device.store(device, Ordering::Relaxed);
                    slot.inode.store(inode, Ordering::Relaxed);
                    slot.entry.store(entry.0, Ordering::Release);
                    return (slot, entry);
                }
            }
            block = block.next_or_new();
        }
    }

    /// Closes the files of every other process than the one of this generation.
    fn close_foreign(&'static self, generation: Generation) {
        let mut next = Some(self);
        while let Some(block) = next {
            for slot in &block.slots {
                slot.close_if_foreign(generation);
            }
            next = block.next();
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self { entry: AtomicU64::new(FREE), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    /// Frees the slot. False when another thread has done so.
    fn remove(&self, entry: Entry) -> bool {
        self.entry.compare_exchange(entry.0, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn close_if_foreign(&self, generation: Generation) {
        let entry = Entry(self.entry.load(Ordering::Acquire));
        if entry.0 == FREE || entry.is_of(generation) {
            return;
        }
        // No process that runs inserts this entry again, so these belong to it if `remove` succeeds.
        let expected = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
        if !self.remove(entry) {
            return;
        }
        let Some(file) = entry.file() else { return };
        // SAFETY: borrowed for one call, which fails if no file has this number.
        let same = inode(unsafe { BorrowedFd::borrow_raw(file) }) == Some(expected);
        if same {
            // SAFETY: it is the parent's file, which nothing in the child ever uses or closes: its owner in the
            // parent is leaked here.
            drop(unsafe { OwnedFd::from_raw_fd(file) });
        }
    }
}

/// Device and inode.
#[allow(clippy::unnecessary_cast, reason = "macOS has other numbers for devices")]
fn inode(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev as u64, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn table() -> &'static Block {
        Box::leak(Box::new(Block::new()))
    }

    fn is_free(slot: &Slot) -> bool {
        slot.entry.load(Ordering::Relaxed) == FREE
    }

    #[test]
    fn a_slot_is_used_again_and_there_is_always_one_more() {
        let (table, parent) = (table(), Generation::of_another_process());
        // No file of this process has this device and inode, so none is closed.
        let insert = |file| table.insert(Entry::new(parent, file), parent, (1, 2));
        let inserted: Vec<_> = (0..100).map(insert).collect();
        drop(CloseOnFork(Some(inserted[70])));
        assert!(ptr::eq(insert(7).0, inserted[70].0));
        table.close_foreign(Generation::current());
        assert!(inserted.iter().all(|(slot, _)| is_free(slot)));
    }

    #[test]
    fn the_files_of_the_parent_are_closed_and_those_of_the_process_are_not() {
        let (table, parent, child) = (table(), Generation::of_another_process(), Generation::current());
        let (mut peer, inherited) = UnixStream::pair().expect("a pair of sockets");
        let (_peer_of_own, own) = UnixStream::pair().expect("a pair of sockets");
        let entry = |generation, file: BorrowedFd<'_>| {
            table.insert(
                Entry::new(generation, file.as_raw_fd()),
                generation,
                inode(file).expect("it is open"),
            )
        };
        entry(parent, inherited.as_fd());
        let own_entry = entry(child, own.as_fd());
        std::mem::forget(inherited);
        table.close_foreign(child);
        peer.set_read_timeout(Some(Duration::from_secs(60))).expect("it is not zero");
        assert_eq!(peer.read(&mut [0]).expect("the other end is closed"), 0);
        assert!(inode(own.as_fd()).is_some() && !is_free(own_entry.0));
    }

    #[test]
    fn an_entry_that_the_parent_did_not_complete_is_freed() {
        let (table, parent) = (table(), Generation::of_another_process());
        let slot = &table.slots[0];
        slot.entry.store(Entry::incomplete(parent).0, Ordering::Relaxed);
        table.close_foreign(Generation::current());
        assert!(is_free(slot));
    }
}
