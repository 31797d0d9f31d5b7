//! Challenges: each is issued to one wallet, and can be used for one sign-in until it expires.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::patch;
use crate::verify::SignIn;
use crate::wallet::Wallet;

/// More than any test needs. The limit keeps a server that runs for days from growing.
const REMEMBERED: usize = 10_000;

/// The challenges issued so far, newest last.
#[derive(Default)]
pub(crate) struct Challenges {
    issued: VecDeque<Issued>,
    /// A [`patch`] for every new challenge.
    pub(crate) overrides: Option<Map<String, Value>>,
}

struct Issued {
    wallet: Wallet,
    fields: Map<String, Value>,
    at: Instant,
    used: bool,
}

impl Challenges {
    /// Applies the overrides to `fields`, and remembers the result, which `wallet` must sign.
    pub(crate) fn issue(
        &mut self,
        wallet: Wallet,
        mut fields: Map<String, Value>,
        used: bool,
    ) -> Map<String, Value> {
        if let Some(overrides) = &self.overrides {
            patch::apply(overrides, &mut fields);
        }
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        self.issued.push_back(Issued { wallet, fields: fields.clone(), at: Instant::now(), used });
        fields
    }

    /// Spends the challenge that `sign_in` repeats, even if the rest of the sign-in is wrong.
    pub(crate) fn redeem(
        &mut self,
        wallet: Wallet,
        sign_in: &SignIn,
        lifetime: Duration,
    ) -> Result<(), String> {
        // From the end, because the newest challenge counts if the overrides set the nonce.
        let issued = self.issued.iter_mut().rev().find(|issued| issued.text("nonce") == sign_in.nonce);
        let issued = issued.ok_or("the nonce was never issued")?;
        if std::mem::replace(&mut issued.used, true) {
            return Err("the nonce was used before".into());
        }
        if issued.at.elapsed() >= lifetime {
            return Err("the nonce has expired".into());
        }
        if issued.wallet != wallet {
            return Err(format!("the nonce was issued to {}, not to {wallet}", issued.wallet));
        }
        let signed = [
            ("domain", &sign_in.domain),
            ("uri", &sign_in.uri),
            ("version", &sign_in.version),
            ("chainId", &sign_in.chain_id),
            ("issuedAt", &sign_in.issued_at),
        ];
        match signed.iter().find(|(name, signed)| **signed != issued.text(name)) {
            Some((name, signed)) => Err(format!(
                "{name} is {signed:?} in the message and {:?} in the challenge",
                issued.text(name)
            )),
            None => Ok(()),
        }
    }
}

impl Issued {
    /// A field as the message must repeat it.
    fn text(&self, name: &str) -> String {
        match self.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}
