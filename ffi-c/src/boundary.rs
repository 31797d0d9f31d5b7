//! The border between C and Rust: panics, NULL, text in, text out, errors out, callbacks.
//!
//! What is unsafe in this crate stands here. The macros take an export's parameters by name, check them,
//! and make Rust values of them. What cannot be checked, the header asks of the caller: a pointer that is
//! not NULL points to what its type says, and that stays valid during the call.

#![expect(unsafe_code, reason = "this is where C's pointers become Rust values")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use crate::error::{PMN_OK, number, pmn_error, pmn_result};
use crate::event::pmn_destroy_fn;

/// Runs the body of an export. A panic ends here; a failure becomes its number, and an error object for a
/// caller who asked for one.
pub(crate) fn guard(
    error: Option<&mut MaybeUninit<*mut pmn_error>>,
    body: impl FnOnce() -> Result<()>,
) -> pmn_result {
    let panicked = |_| Err(Error::new(ErrorCode::Panic, "a bug in this library; please report it"));
    let Err(failure) = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(panicked) else {
        return PMN_OK;
    };
    if let Some(error) = error {
        error.write(give(pmn_error::new(&failure)));
    }
    number(failure.code())
}

/// As [`guard`], for exports that cannot say that they failed: they answer `fallback`.
pub(crate) fn guard_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// The failure of a call that was made wrongly.
#[cold]
pub(crate) fn invalid(what: impl Into<Box<str>>) -> Error {
    Error::new(ErrorCode::InvalidArgument, what)
}

#[cold]
fn null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}

/// An object of ours that the caller holds: `&T`.
macro_rules! borrow {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or a live object.
        unsafe { $crate::boundary::shared_ref($pointer, stringify!($pointer)) }
    };
}
pub(crate) use borrow;

/// # Safety
/// NULL or a live object.
pub(crate) unsafe fn shared_ref<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: as asked for above.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// An object of ours that one thread uses at a time: `&mut T`.
macro_rules! borrow_mut {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or a live object that no other thread uses now.
        unsafe { $crate::boundary::unique_ref($pointer, stringify!($pointer)) }
    };
}
pub(crate) use borrow_mut;

/// # Safety
/// NULL or a live object that nobody else uses.
pub(crate) unsafe fn unique_ref<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: as asked for above.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// Gives an object to the caller.
pub(crate) fn give<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back from the caller and drops it.
macro_rules! free {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or an object from `give` that is not used any more.
        unsafe { $crate::boundary::take_back($pointer) }
    };
}
pub(crate) use free;

/// # Safety
/// NULL or a pointer from [`give`] that nobody uses any more.
pub(crate) unsafe fn take_back<T>(pointer: *mut T) {
    guard_or((), || {
        if !pointer.is_null() {
            // SAFETY: `give` made it of a box, and the caller gives it back once.
            drop(unsafe { Box::from_raw(pointer) });
        }
    });
}

/// A place of the caller's for a result: `Option<&mut MaybeUninit<T>>`, none for NULL.
macro_rules! place {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or a place to write to.
        unsafe { $pointer.cast::<std::mem::MaybeUninit<_>>().as_mut() }
    };
}
pub(crate) use place;

/// As [`place!`], where NULL is a mistake.
macro_rules! required_place {
    ($pointer:ident) => {
        $crate::boundary::place!($pointer)
            .ok_or_else(|| $crate::boundary::invalid(concat!(stringify!($pointer), " is NULL")))
    };
}
pub(crate) use required_place;

/// NUL-terminated UTF-8 of the caller's: `&str`.
macro_rules! text {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or a NUL-terminated string.
        unsafe { $crate::boundary::utf8($pointer, stringify!($pointer)) }
    };
}
pub(crate) use text;

/// # Safety
/// NULL or a NUL-terminated string.
pub(crate) unsafe fn utf8<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: as asked for above.
    let text = unsafe { until_nul(pointer, name) }?;
    std::str::from_utf8(text).map_err(|_| invalid(format!("{name} is not UTF-8")))
}

/// NUL-terminated text of the caller's that core checks: `&[u8]`.
macro_rules! c_bytes {
    ($pointer:ident) => {
        // SAFETY: the header asks for NULL or a NUL-terminated string.
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
    // SAFETY: not NULL, and NUL-terminated as asked for above.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// Bytes of the caller's: `&[u8]`. NULL is fine for none.
macro_rules! bytes {
    ($pointer:ident, $length:ident) => {
        // SAFETY: the header asks for this many bytes, or NULL.
        unsafe { $crate::boundary::byte_slice($pointer, $length, stringify!($pointer)) }
    };
}
pub(crate) use bytes;

/// # Safety
/// `length` readable bytes, or NULL.
pub(crate) unsafe fn byte_slice<'a>(pointer: *const u8, length: usize, name: &str) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if isize::try_from(length).is_err() {
        return Err(invalid(format!("{name} is longer than memory")));
    }
    // SAFETY: not NULL, not too long, and readable as asked for above.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Text for people, as C reads it.
pub(crate) fn readable(text: &str) -> CString {
    // A NUL would hide the rest of it.
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// A buffer of the caller's for text: [`TextOut`].
macro_rules! text_out {
    ($buffer:ident, $capacity:ident, $length:ident) => {
        // SAFETY: the header asks for `capacity` writable bytes, and for NULL or a place for the length.
        unsafe { $crate::boundary::TextOut::new($buffer, $capacity, $length) }
    };
}
pub(crate) use text_out;

/// A caller's buffer that text goes to, straight from where it is: a secret leaves no copies behind.
pub(crate) struct TextOut<'a> {
    buffer: *mut c_char,
    capacity: usize,
    length: Option<&'a mut MaybeUninit<usize>>,
}

impl<'a> TextOut<'a> {
    /// # Safety
    /// What is not NULL is writable for as long as this lives: `capacity` bytes, and a length.
    pub(crate) unsafe fn new(buffer: *mut c_char, capacity: usize, length: *mut usize) -> Result<Self> {
        if buffer.is_null() && capacity != 0 {
            return Err(invalid("buffer is NULL, but capacity is not 0"));
        }
        // SAFETY: NULL or writable, as asked for above.
        Ok(Self { buffer, capacity, length: unsafe { length.cast::<MaybeUninit<usize>>().as_mut() } })
    }

    /// Writes the text and a NUL; nothing but the length when there is no room.
    pub(crate) fn write(self, text: &str) -> Result<()> {
        if let Some(length) = self.length {
            length.write(text.len());
        }
        if self.capacity <= text.len() {
            let message = format!("the buffer needs {} bytes and has {}", text.len() + 1, self.capacity);
            return Err(Error::new(ErrorCode::BufferTooSmall, message));
        }
        // SAFETY: there is room for the text and a NUL, as checked; `text` is Rust's, the buffer the host's.
        unsafe {
            self.buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            self.buffer.add(text.len()).write(0);
        }
        Ok(())
    }
}

/// Fills a struct of the caller's that begins with its size, as far as the caller's header knows it.
macro_rules! write_sized {
    ($pointer:ident, $first_size:expr, $fill:expr) => {
        // SAFETY: the header asks for NULL or a struct that begins with its size in bytes.
        unsafe { $crate::boundary::fill_sized($pointer, stringify!($pointer), $first_size, $fill) }
    };
}
pub(crate) use write_sized;

/// `first_size` is the size of the struct in the first version of the ABI. `fill` gets the caller's size, which
/// is for the first field, and a place.
///
/// # Safety
/// NULL, or a struct whose first field is a `size_t` with the number of its bytes, all of them writable.
/// `T` begins with that field, too.
#[inline]
pub(crate) unsafe fn fill_sized<T: Copy>(
    pointer: *mut T,
    name: &str,
    first_size: usize,
    fill: impl FnOnce(usize, &mut MaybeUninit<T>) -> Result<()>,
) -> Result<()> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: the first field, as asked for above.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < first_size {
        return Err(too_small(name, size));
    }
    // In place, for who has all of it: to copy what was just put together waits for all of its small stores,
    // which takes longer than everything else here.
    let mut whole = MaybeUninit::uninit();
    let is_part = size < size_of::<T>();
    // SAFETY: if it is not too small, the caller's struct has room for ours.
    fill(size, if is_part { &mut whole } else { unsafe { &mut *pointer.cast() } })?;
    if is_part {
        // SAFETY: no more than the caller's struct has, nor than ours.
        unsafe { whole.as_ptr().cast::<u8>().copy_to_nonoverlapping(pointer.cast(), size) };
    }
    Ok(())
}

#[cold]
fn too_small(name: &str, size: usize) -> Error {
    invalid(format!("{name}->size is {size}; set it to sizeof *{name} before the call"))
}

/// A C function with the data that belongs to it. Dropping it tells the host that the data is free.
pub(crate) struct Callback<T> {
    function: unsafe extern "C" fn(*const T, *mut c_void),
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
}

// SAFETY: the header tells on which threads function and destroy run; user_data is theirs alone.
unsafe impl<T> Send for Callback<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Callback<T> {}

impl<T> Callback<T> {
    /// None clears the callback.
    pub(crate) fn new(
        function: Option<unsafe extern "C" fn(*const T, *mut c_void)>,
        user_data: *mut c_void,
        destroy: pmn_destroy_fn,
    ) -> Result<Option<Self>> {
        match function {
            Some(function) => Ok(Some(Self { function, user_data, destroy })),
            None if user_data.is_null() && destroy.is_none() => Ok(None),
            None => Err(invalid("user_data and destroy must be NULL when the callback is")),
        }
    }

    pub(crate) fn call(&self, argument: &T) {
        // SAFETY: the host gave the function for these arguments, and has not been told to free user_data.
        unsafe { (self.function)(argument, self.user_data) }
    }

    /// Hands the callback to `set`. When that fails, user_data stays the host's: destroy is not called.
    pub(crate) fn install(self, set: impl FnOnce(Arc<Self>) -> Result<()>) -> Result<()> {
        let callback = Arc::new(self);
        let outcome = set(Arc::clone(&callback));
        // What `set` was given is gone when it fails: this is the last reference.
        if outcome.is_err()
            && let Some(callback) = Arc::into_inner(callback)
        {
            mem::forget(callback);
        }
        outcome
    }
}

impl<T> Drop for Callback<T> {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the host gave the function for this argument; nothing uses user_data after this.
            unsafe { destroy(self.user_data) }
        }
    }
}

/// Panics, to prove through C that panics end here. Not in the header:
/// cbindgen:ignore
#[cfg(feature = "test-exports")]
#[unsafe(no_mangle)]
unsafe extern "C" fn pmn_test_panic(error: *mut *mut pmn_error) -> pmn_result {
    guard(place!(error), || panic!("asked for by a test"))
}
