//! Files that a forked child closes. While it has copies of them, its parent's end is not the end of a port, a
//! lock or a connection.
//!
//! The child closes them right after the `fork`, before any code of the host's runs: through `pthread_atfork`,
//! and once more at its first call of this library, in case it was forked by a bare system call. All other
//! files of the parent are harmless there.

#![expect(unsafe_code, reason = "a file is known by its number alone after a fork")]

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use crate::process;

/// No file has these numbers.
const FREE: RawFd = -1;
const CLAIMED: RawFd = -2;

/// The files of one process. Without a lock: another thread may hold one at the moment of a fork.
#[derive(Default)]
pub(crate) struct CloseOnForkTable(Block);

/// Never freed, so that a child can read it.
struct Block {
    slots: [Slot; 32],
    next: AtomicPtr<Block>,
}

/// A file, with device and inode: a child may have closed it, and another file may have its number.
struct Slot {
    file: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// Names an open file, until it is dropped.
pub(crate) struct CloseOnFork(Option<&'static Slot>);

impl CloseOnFork {
    pub(crate) fn new(file: &impl AsFd) -> Self {
        let file = file.as_fd();
        Self(inode(file).map(|inode| process::current().close_on_fork.insert(file.as_raw_fd(), inode)))
    }
}

impl Drop for CloseOnFork {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.file.store(FREE, Ordering::Release);
        }
    }
}

impl Default for Block {
    fn default() -> Self {
        let slot = |_| Slot { file: FREE.into(), device: 0.into(), inode: 0.into() };
        Self { slots: std::array::from_fn(slot), next: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl Block {
    fn next(&self) -> Option<&'static Block> {
        // SAFETY: a pointer that is not null came from Box::into_raw in `next_or_new`, and is never freed.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn next_or_new(&self) -> &'static Block {
        if let Some(next) = self.next() {
            return next;
        }
        let fresh = Box::into_raw(Box::<Block>::default());
        let won = self.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        if won.is_err() {
            // SAFETY: it came from Box::into_raw above, and no other thread has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
        self.next().expect("set by this thread or another one")
    }
}

impl CloseOnForkTable {
    fn insert(&'static self, file: RawFd, (device, inode): (u64, u64)) -> &'static Slot {
        let mut block = &self.0;
        loop {
            for slot in &block.slots {
                let claim = slot.file.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed);
                if claim.is_ok() {
                    slot.device.store(device, Ordering::Relaxed);
                    slot.inode.store(inode, Ordering::Relaxed);
                    slot.file.store(file, Ordering::Release);
                    return slot;
                }
            }
            block = block.next_or_new();
        }
    }

    /// For a forked child, with what was its parent's. Async-signal-safe; a second call does nothing.
    pub(crate) fn close(&self) {
        let mut next = Some(&self.0);
        while let Some(block) = next {
            block.slots.iter().for_each(Slot::close);
            next = block.next();
        }
    }
}

impl Slot {
    fn close(&self) {
        let file = self.file.swap(FREE, Ordering::AcqRel);
        if file < 0 {
            return;
        }
        let expected = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
        // SAFETY: borrowed for one call, which fails if no file has this number.
        let same = inode(unsafe { BorrowedFd::borrow_raw(file) }) == Some(expected);
        if same {
            // SAFETY: it is the parent's file, which nothing in the child ever uses or closes: what owned it in
            // the parent is leaked here.
            drop(unsafe { OwnedFd::from_raw_fd(file) });
        }
    }
}

fn inode(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_there_is_always_one_more() {
        let files: &'static CloseOnForkTable = Box::leak(Box::default());
        let slots: Vec<_> = (0..100).map(|file| files.insert(file, (1, 2))).collect();
        drop(CloseOnFork(Some(slots[70])));
        assert!(ptr::eq(files.insert(7, (1, 2)), slots[70]));
        // No file of this process has this device and inode, so none is closed.
        files.close();
        assert!(slots.iter().all(|slot| slot.file.load(Ordering::Relaxed) == FREE));
    }
}
