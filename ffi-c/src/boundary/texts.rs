//! Texts that C may read for the life of the process.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Keeps up to `N` different texts for ever. Takes no lock, so a fork cannot leave one locked.
pub(crate) struct Texts<const N: usize>([AtomicPtr<c_char>; N]);

impl<const N: usize> Texts<N> {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; N])
    }

    /// The kept copy of this text; an empty text when there is no room for it, or if it contains a NUL.
    pub(crate) fn keep(&'static self, text: &[u8]) -> &'static CStr {
        if text.is_empty() {
            return c"";
        }
        for place in &self.0 {
            let mut kept = place.load(Ordering::Acquire);
            if kept.is_null() {
                let Ok(copy) = CString::new(text) else { return c"" };
                let copy = copy.into_raw();
                match place.compare_exchange(kept, copy, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => kept = copy,
                    Err(another) => {
                        kept = another;
                        // SAFETY: `into_raw` has just returned it, and nobody else has it.
                        drop(unsafe { CString::from_raw(copy) });
                    }
                }
            }
            // SAFETY: a text in its place is NUL-terminated, never changes, and is never freed.
            let kept = unsafe { CStr::from_ptr(kept) };
            if kept.to_bytes() == text {
                return kept;
            }
        }
        c""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once() {
        static TEXTS: Texts<2> = Texts::new();
        let first = TEXTS.keep(b"first");
        assert_eq!(first, c"first");
        assert_eq!(TEXTS.keep(b"second"), c"second");
        assert!(ptr::eq(first, TEXTS.keep(b"first")));
        assert_eq!(TEXTS.keep(b"a third"), c"", "there is no room");
        assert_eq!(TEXTS.keep(b""), c"");
    }
}
