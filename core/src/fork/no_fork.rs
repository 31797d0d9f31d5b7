//! Closes no file: this system has no `fork`.

/// See the implementation for Unix.
pub(crate) struct CloseOnFork;

impl CloseOnFork {
    pub(crate) fn new<F>(_: &F) -> Self {
        Self
    }
}

pub(super) fn close_inherited_files() {}
