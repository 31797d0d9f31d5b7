//! The C ABI of the posemesh node registration library.
