//! Functions of the host's that the library calls.

use std::ffi::c_void;
use std::mem;
use std::sync::Arc;

use posemesh_node_registration::error::Result;

use super::invalid;
use crate::event::pmn_destroy_fn;

/// A C function of type `F` with its user_data. Dropping it runs destroy.
pub(crate) struct Callback<F> {
    function: F,
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
}

// SAFETY: the header says on which threads the function and destroy run; user_data is theirs alone.
unsafe impl<F: Send> Send for Callback<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Callback<F> {}

impl<F: Copy> Callback<F> {
    /// `None` clears the callback.
    pub(crate) fn new(
        function: Option<F>,
        user_data: *mut c_void,
        destroy: pmn_destroy_fn,
    ) -> Result<Option<Self>> {
        match function {
            Some(function) => Ok(Some(Self { function, user_data, destroy })),
            None if user_data.is_null() && destroy.is_none() => Ok(None),
            None => Err(invalid("user_data and destroy must be NULL when the callback is")),
        }
    }

    /// The function, and the user_data to pass to it.
    pub(crate) fn parts(&self) -> (F, *mut c_void) {
        (self.function, self.user_data)
    }

    /// Passes the callback to `set`. If that fails, user_data stays the host's: destroy does not run.
    pub(crate) fn install(self, set: impl FnOnce(Arc<Self>) -> Result<()>) -> Result<()> {
        let callback = Arc::new(self);
        let outcome = set(Arc::clone(&callback));
        // A `set` that fails has dropped its reference: this is the last one.
        if outcome.is_err()
            && let Some(callback) = Arc::into_inner(callback)
        {
            mem::forget(callback);
        }
        outcome
    }
}

impl<T> Callback<unsafe extern "C" fn(*const T, *mut c_void)> {
    pub(crate) fn call(&self, argument: &T) {
        let (function, user_data) = self.parts();
        // SAFETY: the host passed the function for these arguments, and destroy has not run.
        unsafe { function(argument, user_data) }
    }
}

impl<F> Drop for Callback<F> {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the host passed the function for this argument; nothing uses user_data after this.
            unsafe { destroy(self.user_data) }
        }
    }
}
