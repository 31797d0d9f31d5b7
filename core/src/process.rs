//! What the library keeps once per process, and how it notices a `fork`.
//!
//! A forked child inherits the memory of its parent but not the parent's threads: a lock may be held by a
//! thread that is not there, and joining one would wait for ever. So nothing of the parent is touched in
//! the child. The child gets a fresh [`Process`]; the parent's copy stays where it is, unused.

#![expect(unsafe_code, reason = "one page of memory that the kernel clears in a forked child")]

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::blocking::Threads;
use crate::dns::Lookups;
#[cfg(target_os = "linux")]
use crate::fork::CloseOnForkTable;
use crate::log::LogSlot;
use crate::runtime::Runtime;
use crate::state::{RegistrationLock, Store};

/// Everything that is shared by the nodes of one process.
#[derive(Default)]
pub(crate) struct Process {
    generation: Generation,
    /// The runtime, while a node keeps it.
    pub(crate) runtime: Mutex<Weak<Runtime>>,
    /// Where files are read and written and host names resolved.
    pub(crate) threads_for_blocking: Threads,
    pub(crate) lookups: Lookups,
    /// The running nodes, by wallet and DDS. A `BTreeMap`, because memory checkers of the host take the
    /// pointer that a `HashMap` keeps into its table for a leak.
    pub(crate) running: Mutex<BTreeMap<(String, String), Weak<Store>>>,
    /// The state directories in use, by device and inode.
    #[cfg(target_os = "linux")]
    pub(crate) state_dirs: Mutex<BTreeSet<(u64, u64)>>,
    /// What a forked child closes.
    #[cfg(target_os = "linux")]
    pub(crate) close_on_fork: CloseOnForkTable,
    /// Where the host wants its log records.
    pub(crate) log: LogSlot,
    /// What the free functions of `state` act on.
    pub(crate) default_store: OnceLock<Arc<Store>>,
    /// What `state::LockGuard` guards.
    pub(crate) registration_lock: Mutex<RegistrationLock>,
}

/// Names one process between two forks: a parent and its forked child have different ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The generation of the calling process. A memory load where the kernel helps (Linux 4.14 and
    /// later), a `getpid` elsewhere.
    #[inline]
    pub(crate) fn current() -> Self {
        let Some(page) = wiped_page() else {
            return Self(u64::from(std::process::id()));
        };
        match page.load(Ordering::Acquire) {
            0 => Self(begin_generation(page)),
            generation => Self(generation),
        }
    }

    /// True in every process but the one that took this generation.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self != Self::current()
    }
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// The state of the calling process.
pub(crate) fn current() -> &'static Process {
    let generation = Generation::current();
    let found = CURRENT.load(Ordering::Acquire);
    // SAFETY: a non-null pointer in CURRENT came from Box::into_raw below and is never freed.
    if let Some(process) = unsafe { found.as_ref() }
        && process.generation == generation
    {
        return process;
    }
    let fresh = Box::into_raw(Box::new(Process { generation, ..Process::default() }));
    let current = match CURRENT.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            #[cfg(target_os = "linux")]
            // SAFETY: as above.
            match unsafe { found.as_ref() } {
                // Forked by a bare system call.
                Some(parent) => parent.close_on_fork.close(),
                None => call_in_forked_children(),
            }
            fresh
        }
        Err(other_thread) => {
            // SAFETY: `fresh` came from Box::into_raw above and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
            other_thread
        }
    };
    // SAFETY: non-null, from Box::into_raw, never freed once it is in CURRENT.
    unsafe { &*current }
}

/// Has every `fork` call [`after_fork`]. Children inherit that.
#[cfg(target_os = "linux")]
fn call_in_forked_children() {
    // SAFETY: `after_fork` is a function of this library's, and libc forgets it if the library is unloaded.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
    // For want of memory. A child still closes the files at its first call of this library.
    let _ = refused;
}

/// Runs in a forked child before the host's code does. Async-signal-safe: another thread of the parent may have
/// been anywhere at the moment of the fork.
#[cfg(target_os = "linux")]
extern "C" fn after_fork() {
    // SAFETY: a non-null pointer in CURRENT came from Box::into_raw and is never freed.
    if let Some(parent) = unsafe { CURRENT.load(Ordering::Acquire).as_ref() } {
        parent.close_on_fork.close();
    }
    // What the kernel has done already, unless an emulator only says so.
    if let Some(Some(page)) = PAGE.get() {
        page.store(0, Ordering::Release);
    }
}

/// Numbers the generation of a process that finds the page empty: the first one, or a forked child.
fn begin_generation(page: &AtomicU64) -> u64 {
    // Ordinary memory, so a child goes on counting where its parent was.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next,
        Err(other_thread) => other_thread,
    }
}

static PAGE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();

/// A number that the kernel sets to zero in a forked child (`MADV_WIPEONFORK`), if it can.
fn wiped_page() -> Option<&'static AtomicU64> {
    *PAGE.get_or_init(map_wiped_page)
}

#[cfg(target_os = "linux")]
fn map_wiped_page() -> Option<&'static AtomicU64> {
    const SIZE: usize = 4096;
    // SAFETY: asks for fresh anonymous memory; no existing mapping is touched.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the range is the mapping made above.
    if unsafe { libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: the range is the mapping made above, and nothing points into it.
        unsafe { libc::munmap(page, SIZE) };
        return None;
    }
    // SAFETY: page-aligned, zeroed, readable and writable, and never unmapped from here on.
    Some(unsafe { &*page.cast::<AtomicU64>() })
}

#[cfg(not(target_os = "linux"))]
fn map_wiped_page() -> Option<&'static AtomicU64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_state_and_one_generation() {
        assert_eq!(Generation::current(), Generation::current());
        assert!(!Generation::current().is_foreign());
        assert!(ptr::eq(current(), current()));
    }
}
