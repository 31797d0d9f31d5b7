//! Structs of the caller's that begin with their size, so that later versions can add fields.

use std::mem::MaybeUninit;

use posemesh_node_registration::error::{Error, Result};

use super::invalid;
use super::pointers::null;

/// Reads a struct that begins with its size. Fields that the caller's header does not have are zero.
macro_rules! read_sized {
    ($pointer:ident, $first_size:expr) => {
        // SAFETY: the header requires NULL or a struct that begins with its size in bytes. Zeros are a value of it.
        unsafe { $crate::boundary::copy_sized($pointer, stringify!($pointer), $first_size) }
    };
}
pub(crate) use read_sized;

/// `first_size` is the size of the struct in the first version of the ABI.
///
/// # Safety
/// NULL, or a struct whose first field is a `size_t` with the number of its bytes, all of them readable. `T` begins with
/// that field, too, and zeros are a value of it.
pub(crate) unsafe fn copy_sized<T: Copy>(pointer: *const T, name: &str, first_size: usize) -> Result<T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: the first field, by the caller's promise.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < first_size {
        return Err(too_small(name, size));
    }
    let mut whole = MaybeUninit::<T>::zeroed();
    // SAFETY: no more bytes than the caller's struct has, nor than ours; the rest is zero.
    unsafe {
        pointer.cast::<u8>().copy_to_nonoverlapping(whole.as_mut_ptr().cast(), size.min(size_of::<T>()));
        Ok(whole.assume_init())
    }
}

/// Fills a struct that begins with its size, as far as the caller's header knows it.
macro_rules! write_sized {
    ($pointer:ident, $first_size:expr, $fill:expr) => {
        // SAFETY: the header requires NULL or a struct that begins with its size in bytes.
        unsafe { $crate::boundary::fill_sized($pointer, stringify!($pointer), $first_size, $fill) }
    };
}
pub(crate) use write_sized;

/// `first_size` is the size of the struct in the first version of the ABI. `fill` receives the caller's size, for
/// the first field, and where to write the struct.
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
    // SAFETY: the first field, by the caller's promise.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < first_size {
        return Err(too_small(name, size));
    }
    // In place if the caller has all of it. Copying a struct that was just filled would wait for all of its
    // small stores, which takes longer than everything else here.
    let mut whole = MaybeUninit::uninit();
    let is_part = size < size_of::<T>();
    // SAFETY: unless it is too small, the caller's struct has room for ours.
    fill(size, if is_part { &mut whole } else { unsafe { &mut *pointer.cast() } })?;
    if is_part {
        // SAFETY: no more bytes than the caller's struct has, nor than ours.
        unsafe { whole.as_ptr().cast::<u8>().copy_to_nonoverlapping(pointer.cast(), size) };
    }
    Ok(())
}

#[cold]
fn too_small(name: &str, size: usize) -> Error {
    invalid(format!("{name}->size is {size}; set it to sizeof *{name} before the call"))
}
