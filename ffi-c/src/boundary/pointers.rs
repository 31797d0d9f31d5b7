//! Pointers from the caller: NULL checks, objects, results and bytes.

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use super::guard_or;

/// The error of a call with unusable arguments.
#[cold]
pub(crate) fn invalid(what: impl Into<Box<str>>) -> Error {
    Error::new(ErrorCode::InvalidArgument, what)
}

#[cold]
pub(super) fn null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}

/// One of our objects, held by the caller: `&T`.
macro_rules! borrow {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or a live object.
        unsafe { $crate::boundary::shared_ref($pointer, stringify!($pointer)) }
    };
}
pub(crate) use borrow;

/// # Safety
/// NULL or a live object.
pub(crate) unsafe fn shared_ref<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// One of our objects, used by one thread at a time: `&mut T`.
macro_rules! borrow_mut {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or a live object that no other thread uses now.
        unsafe { $crate::boundary::unique_ref($pointer, stringify!($pointer)) }
    };
}
pub(crate) use borrow_mut;

/// # Safety
/// NULL or a live object that is not in use elsewhere.
pub(crate) unsafe fn unique_ref<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// Moves an object to the heap and hands it to the caller.
pub(crate) fn give<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back from the caller and drops it.
macro_rules! free {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or an object from `give` that is no longer used.
        unsafe { $crate::boundary::take_back($pointer) }
    };
}
pub(crate) use free;

/// # Safety
/// NULL or a pointer from [`give`] that is no longer used.
pub(crate) unsafe fn take_back<T>(pointer: *mut T) {
    guard_or((), || {
        if !pointer.is_null() {
            // SAFETY: `give` made it from a box, and the caller gives it back once.
            drop(unsafe { Box::from_raw(pointer) });
        }
    });
}

/// Where the caller wants a result: `Option<&mut MaybeUninit<T>>`, `None` for NULL.
macro_rules! place {
    ($pointer:ident) => {
        // SAFETY: the header requires NULL or writable memory for a value of this type.
        unsafe { $pointer.cast::<std::mem::MaybeUninit<_>>().as_mut() }
    };
}
pub(crate) use place;

/// Like [`place!`], with an error for NULL.
macro_rules! required_place {
    ($pointer:ident) => {
        $crate::boundary::place!($pointer)
            .ok_or_else(|| $crate::boundary::invalid(concat!(stringify!($pointer), " is NULL")))
    };
}
pub(crate) use required_place;

/// Bytes from the caller: `&[u8]`. NULL is allowed when the length is 0.
macro_rules! bytes {
    ($pointer:ident, $length:ident) => {
        $crate::boundary::items!($pointer, $length)
    };
}
pub(crate) use bytes;

/// An array of the caller's: `&[T]`. NULL is allowed when the number of items is 0.
macro_rules! items {
    ($pointer:ident, $count:ident) => {
        // SAFETY: the header requires this many readable items, or NULL.
        unsafe { $crate::boundary::slice($pointer, $count, stringify!($pointer)) }
    };
}
pub(crate) use items;

/// # Safety
/// `count` readable items, or NULL.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    let length = count.checked_mul(size_of::<T>());
    if length.and_then(|length| isize::try_from(length).ok()).is_none() {
        return Err(invalid(format!("{name} is longer than the address space")));
    }
    // SAFETY: not NULL and not too long; readable by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}
