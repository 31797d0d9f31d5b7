//! How a process notices that it is a forked child.
//!
//! The kernel clears one page of memory in a child (`MADV_WIPEONFORK`). User-mode emulators accept that request and
//! then do not clear the page, so a `pthread_atfork` handler clears it as well.

#![expect(unsafe_code, reason = "one page of memory that the kernel clears in a forked child")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Identifies one process between two forks: a parent and its child have different generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// The generation of the calling process. This is two memory loads where the kernel supports it (Linux 4.14 and
    /// later), and a `getpid` elsewhere. Async-signal-safe after the first call.
    #[inline]
    pub(crate) fn current() -> Self {
        let Some(page) = wiped_page() else {
            return Self(std::process::id());
        };
        match page.load(Ordering::Acquire) {
            0 => Self(begin(page)),
            generation => Self(generation),
        }
    }

    /// Whether this generation was taken by another process than the calling one.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self != Self::current()
    }

    /// Never 0.
    #[cfg_attr(windows, allow(dead_code, reason = "for inherited files"))]
    pub(super) fn number(self) -> u32 {
        self.0
    }

    #[cfg(test)]
    pub(super) fn of_another_process() -> Self {
        Self(Self::current().0 + 1)
    }
}

/// Numbers the generation of a process that finds the page empty: the first process, or a forked child.
#[cold]
fn begin(page: &AtomicU32) -> u32 {
    // In ordinary memory, so a child continues from its parent's number.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next,
        Err(set_by_another_thread) => set_by_another_thread,
    }
}

/// Null before the first use, and [`NO_PAGE`] where the kernel has no such page. Not a lock: a thread that held it
/// during a fork would leave it locked in the child.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
static NO_PAGE: AtomicU32 = AtomicU32::new(0);

#[inline]
fn wiped_page() -> Option<&'static AtomicU32> {
    let page = PAGE.load(Ordering::Acquire);
    let page = if page.is_null() { find_page() } else { page };
    if ptr::eq(page, &raw const NO_PAGE) {
        return None;
    }
    // SAFETY: PAGE holds null, NO_PAGE, or a mapping from `map_page` that is never unmapped.
    Some(unsafe { &*page })
}

#[cold]
fn find_page() -> *mut AtomicU32 {
    let fresh = map_page().unwrap_or((&raw const NO_PAGE).cast_mut());
    match PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(set_by_another_thread) => {
            // `fresh` stays mapped, unused.
            set_by_another_thread
        }
    }
}

#[cfg(target_os = "linux")]
fn map_page() -> Option<*mut AtomicU32> {
    const SIZE: usize = 4096;
    // SAFETY: `clear_page` is a function of this library, and libc drops the handler if the library is unloaded.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(clear_page)) };
    // Only for lack of memory. The kernel still clears the page.
    let _ = refused;
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
    // Page-aligned, zeroed, readable and writable.
    Some(page.cast())
}

#[cfg(not(target_os = "linux"))]
fn map_page() -> Option<*mut AtomicU32> {
    None
}

/// Runs in a forked child. Async-signal-safe: any thread of the parent may have been anywhere during the fork.
#[cfg(target_os = "linux")]
extern "C" fn clear_page() {
    if let Some(page) = wiped_page() {
        page.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_generation() {
        assert_eq!(Generation::current(), Generation::current());
        assert!(!Generation::current().is_foreign());
        assert!(Generation::of_another_process().is_foreign());
        assert_ne!(Generation::current().number(), 0);
    }
}
