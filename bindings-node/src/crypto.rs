//! The two functions that need a key but no node.

use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;
use posemesh_node_registration::crypto;

use crate::error::{Failure, outcome};

/// The Ethereum address of a private key. Fails with `ERR_INVALID_ARGUMENT` if the key is not a private key.
#[napi]
pub fn eth_address(privhex: String) -> Either<String, Failure> {
    outcome(|| Ok(crypto::derive_eth_address(&crypto::load_secp256k1_privhex(&privhex)?)))
}

/// Signs a message as a wallet does (EIP-191 `personal_sign`). Fails with `ERR_INVALID_ARGUMENT` if the key is not a private key.
#[napi]
pub fn sign_eip191(privhex: String, message: Uint8Array) -> Either<String, Failure> {
    outcome(|| Ok(crypto::sign_eip191(&crypto::load_secp256k1_privhex(&privhex)?, &message)))
}
