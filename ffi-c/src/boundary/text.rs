//! Text in both directions.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use super::invalid;
use super::pointers::null;

/// NUL-terminated UTF-8 from the caller: `&str`.
macro_rules! text {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or a NUL-terminated string.
        unsafe { $crate::boundary::utf8($pointer, stringify!($pointer)) }
    };
}
pub(crate) use text;

/// # Safety
/// NULL or a NUL-terminated string.
pub(crate) unsafe fn utf8<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let text = unsafe { until_nul(pointer, name) }?;
    std::str::from_utf8(text).map_err(|_| invalid(format!("{name} is not UTF-8")))
}

/// NUL-terminated text from the caller that core checks: `&[u8]`.
macro_rules! c_bytes {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or a NUL-terminated string.
        unsafe { $crate::boundary::until_nul($pointer, stringify!($pointer)) }
    };
}
pub(crate) use c_bytes;

/// # Safety
/// NULL or a NUL-terminated string.
pub(crate) unsafe fn until_nul<'a>(pointer: *const c_char, name: &str) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL; NUL-terminated by the caller's promise.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// Text for people, as a C string.
pub(crate) fn readable(text: &str) -> CString {
    // A NUL would hide what follows it.
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// A buffer of the caller's for text: [`TextOut`].
macro_rules! text_out {
    ($buffer:ident, $capacity:ident, $length:ident) => {
        // SAFETY: the header requires `capacity` writable bytes, and NULL or a place for the length.
        unsafe { $crate::boundary::TextOut::new($buffer, $capacity, $length) }
    };
}
pub(crate) use text_out;

/// A buffer of the caller's. Text is copied into it directly, so that a secret leaves no other copies behind.
pub(crate) struct TextOut<'a> {
    buffer: *mut c_char,
    capacity: usize,
    length: Option<&'a mut MaybeUninit<usize>>,
}

impl<'a> TextOut<'a> {
    /// # Safety
    /// Unless NULL, `buffer` has `capacity` writable bytes and `length` is writable, as long as this exists.
    pub(crate) unsafe fn new(buffer: *mut c_char, capacity: usize, length: *mut usize) -> Result<Self> {
        if buffer.is_null() && capacity != 0 {
            return Err(invalid("buffer is NULL, but capacity is not 0"));
        }
        // SAFETY: NULL or writable, by the caller's promise.
        Ok(Self { buffer, capacity, length: unsafe { length.cast::<MaybeUninit<usize>>().as_mut() } })
    }

    /// Writes the text and a NUL, or only the length if the buffer is too small.
    pub(crate) fn write(mut self, text: &str) -> Result<()> {
        self.write_length(text);
        if self.capacity <= text.len() {
            let message = format!("the buffer needs {} bytes and has {}", text.len() + 1, self.capacity);
            return Err(Error::new(ErrorCode::BufferTooSmall, message));
        }
        self.copy(text);
        Ok(())
    }

    /// Writes as many characters as fit and a NUL, and the length of the whole text.
    pub(crate) fn write_start(mut self, text: &str) {
        self.write_length(text);
        let Some(room) = self.capacity.checked_sub(1) else { return };
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        self.copy(&text[..end.unwrap_or_default()]);
    }

    fn write_length(&mut self, text: &str) {
        if let Some(length) = &mut self.length {
            length.write(text.len());
        }
    }

    /// The text must be shorter than the capacity.
    fn copy(self, text: &str) {
        assert!(text.len() < self.capacity);
        // SAFETY: the buffer has room for the text and a NUL, as checked, and does not overlap the text, which
        // is Rust's.
        unsafe {
            self.buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            self.buffer.add(text.len()).write(0);
        }
    }
}
