//! Checks a sign-in: the message must have a form that DDS accepts, and the wallet it names must have signed it.
//!
//! [`crate::challenge`] checks that it repeats the challenge.

use sha3::{Digest, Keccak256};

use crate::signature;
use crate::wallet::{self, Wallet};

const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";

/// The fields of a sign-in message, as they were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Which of the three forms the message has.
    pub form: Form,
    /// The wallet that signed, with its EIP-55 checksum.
    pub wallet: String,
    /// The host (and port) that asked for the signature.
    pub domain: String,
    /// The service that the wallet signs in to.
    pub uri: String,
    /// The version of the message format.
    pub version: String,
    /// The EIP-155 chain id.
    pub chain_id: String,
    /// The nonce of the challenge.
    pub nonce: String,
    /// When the challenge was made.
    pub issued_at: String,
}

/// The forms of a sign-in message that DDS accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lowercase address, one empty line, no newline at the end.
    Posemesh,
    /// Strict EIP-4361: EIP-55 address, two empty lines, no newline at the end.
    Eip4361,
    /// The form that the relay sends: EIP-55 address, one empty line, a newline at the end.
    Relay,
}

/// Checks `message` and its EIP-191 `signature` (`0x` and 130 lowercase hex digits). The error says what is wrong.
pub fn verify_sign_in(message: &str, signature: &str) -> Result<SignIn, String> {
    verify(message, signature).map(|(_, sign_in)| sign_in)
}

pub(crate) fn verify(message: &str, signature: &str) -> Result<(Wallet, SignIn), String> {
    let (wallet, sign_in) = parse(message)?;
    let signature = decode(signature)?;
    let signer = recover(message, &signature)?;
    if signer != wallet {
        return Err(format!("the message names {wallet}, but {signer} signed it"));
    }
    // The siwe crate reads the strict form, so it gives a second opinion.
    if sign_in.form == Form::Eip4361 {
        let parsed: siwe::Message = message.parse().map_err(|error| format!("not EIP-4361: {error}"))?;
        parsed.verify_eip191(&signature).map_err(|error| format!("rejected by the siwe crate: {error}"))?;
    }
    Ok((wallet, sign_in))
}

fn parse(message: &str) -> Result<(Wallet, SignIn), String> {
    let text = message.strip_suffix('\n').unwrap_or(message);
    let final_newline = text.len() < message.len();
    let mut lines = text.split('\n').peekable();

    let domain = lines
        .next()
        .and_then(|line| line.strip_suffix(PREAMBLE))
        .ok_or("the message does not begin like a sign-in")?;
    let address = lines.next().ok_or("the message has no address")?;
    let wallet: Wallet = address.parse()?;
    let mut empty_lines = 0;
    while lines.next_if_eq(&"").is_some() {
        empty_lines += 1;
    }
    let mut field = |label: &str| {
        let line = lines.next().unwrap_or_default();
        line.strip_prefix(label)
            .map(str::to_owned)
            .ok_or_else(|| format!("{line:?} where {label:?} was expected"))
    };
    let (uri, version, chain_id) = (field("URI: ")?, field("Version: ")?, field("Chain ID: ")?);
    let (nonce, issued_at) = (field("Nonce: ")?, field("Issued At: ")?);
    if let Some(line) = lines.next() {
        return Err(format!("{line:?} after the end of the message"));
    }

    let eip55 = address == wallet.to_string();
    let form = match (empty_lines, final_newline) {
        (1, false) if wallet::is_lowercase(address) => Form::Posemesh,
        (2, false) if eip55 => Form::Eip4361,
        (1, true) if eip55 => Form::Relay,
        _ => {
            return Err(
                "the address, the empty lines and the final newline match none of the three forms".into()
            );
        }
    };
    let sign_in = SignIn {
        form,
        wallet: wallet.to_string(),
        domain: domain.into(),
        uri,
        version,
        chain_id,
        nonce,
        issued_at,
    };
    Ok((wallet, sign_in))
}

fn decode(signature: &str) -> Result<[u8; 65], String> {
    let mut bytes = [0; 65];
    signature
        .strip_prefix("0x")
        .filter(|digits| wallet::is_lowercase(digits) && hex::decode_to_slice(digits, &mut bytes).is_ok())
        .ok_or("the signature is not 0x and 130 lowercase hex digits")?;
    Ok(bytes)
}

fn recover(message: &str, signature: &[u8; 65]) -> Result<Wallet, String> {
    let hash = Keccak256::new()
        .chain_update(format!("\x19Ethereum Signed Message:\n{}", message.len()))
        .chain_update(message)
        .finalize();
    signature::recover(&hash.into(), signature, 27).map(|key| signature::address(&key))
}
