//! Wallet functions that do not need a node.

use posemesh_node_registration::crypto;
use posemesh_node_registration::error::ErrorCode;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyString;

use crate::error::{run, utf8};

/// The Ethereum address of a private key: `0x` and 40 lowercase hex digits.
///
/// The key is 64 hex digits, with or without `0x`. Raises InvalidArgumentError, which never shows the key.
#[pyfunction]
pub(crate) fn eth_address(py: Python<'_>, privhex: &Bound<'_, PyString>) -> PyResult<String> {
    let privhex = utf8(privhex, "privhex", ErrorCode::InvalidArgument)?;
    run(py, || Ok(crypto::derive_eth_address(&crypto::load_secp256k1_privhex(&privhex)?)))
}

/// Sign bytes with a private key as a wallet does (EIP-191 `personal_sign`). Returns `0x` and 130 hex digits.
///
/// The key is 64 hex digits, with or without `0x`. Raises InvalidArgumentError, which never shows the key.
#[pyfunction]
pub(crate) fn sign_eip191(
    py: Python<'_>,
    privhex: &Bound<'_, PyString>,
    message: PyBackedBytes,
) -> PyResult<String> {
    let privhex = utf8(privhex, "privhex", ErrorCode::InvalidArgument)?;
    run(py, || Ok(crypto::sign_eip191(&crypto::load_secp256k1_privhex(&privhex)?, &message)))
}
