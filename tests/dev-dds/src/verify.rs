//! Checks a sign-in: is the message in a form that DDS accepts, and did the wallet it names sign it?
//!
//! Whether it answers the challenge that was handed out is the business of [`crate::challenge`].

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

use crate::wallet::{self, Wallet};

const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";

/// A sign-in message, taken apart. Every field is as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Which of the three forms the message has.
    pub form: Form,
    /// The wallet that signed, with its EIP-55 checksum whatever the form.
    pub wallet: String,
    /// The host (and port) that asked for the signature.
    pub domain: String,
    /// What the wallet signs in to.
    pub uri: String,
    /// The version of the message format.
    pub version: String,
    /// The EIP-155 chain.
    pub chain_id: String,
    /// What makes this sign-in unique.
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
    /// What the relay sends: EIP-55 address, one empty line, a newline at the end.
    Relay,
}

/// Checks `message` and its EIP-191 `signature` (`0x` and 130 lowercase hex digits). An error says what is wrong.
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
    // A second opinion where there is one: the siwe crate reads the strict form.
    if sign_in.form == Form::Eip4361 {
        let parsed: siwe::Message = message.parse().map_err(|error| format!("not EIP-4361: {error}"))?;
        parsed.verify_eip191(&signature).map_err(|error| format!("refused by the siwe crate: {error}"))?;
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
        .ok_or("the message does not begin as a sign-in")?;
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
            return Err("address, empty lines and final newline fit none of the three forms".into());
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
    let (rs, v) = (&signature[..64], signature[64]);
    let recovery_id = match v {
        27 | 28 => RecoveryId::new(v == 28, false),
        _ => return Err(format!("the signature ends in {v}, not 27 or 28")),
    };
    let rs = Signature::from_slice(rs).map_err(|_| "the signature is out of range")?;
    if rs.normalize_s().is_some() {
        return Err("the signature is not in low-s form".into());
    }
    let hash = Keccak256::new()
        .chain_update(format!("\x19Ethereum Signed Message:\n{}", message.len()))
        .chain_update(message)
        .finalize();
    let key = VerifyingKey::recover_from_prehash(&hash, &rs, recovery_id)
        .map_err(|_| "no key makes this signature")?;
    let hash = Keccak256::digest(&key.to_encoded_point(false).as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Ok(Wallet(address))
}
