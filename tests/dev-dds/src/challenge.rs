//! Challenges: handed out to one wallet, good for one sign-in, for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::verify::SignIn;
use crate::wallet::Wallet;

/// More than any test needs; keeps a server that runs for days from growing.
const REMEMBERED: usize = 10_000;

/// The challenges handed out so far, newest last.
#[derive(Default)]
pub(crate) struct Challenges {
    issued: VecDeque<Issued>,
    /// Merged over every new challenge; `null` removes a field.
    pub(crate) overrides: Option<Map<String, Value>>,
}

struct Issued {
    wallet: Wallet,
    fields: Map<String, Value>,
    at: Instant,
    used: bool,
}

impl Challenges {
    /// Puts the overrides over `fields` and remembers the result as what `wallet` has to sign.
    pub(crate) fn issue(
        &mut self,
        wallet: Wallet,
        mut fields: Map<String, Value>,
        used: bool,
    ) -> Map<String, Value> {
        for (name, value) in self.overrides.iter().flatten() {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        self.issued.push_back(Issued { wallet, fields: fields.clone(), at: Instant::now(), used });
        fields
    }

    /// Uses up the challenge that `sign_in` answers. Its nonce is spent even when the rest turns out wrong.
    pub(crate) fn redeem(
        &mut self,
        wallet: Wallet,
        sign_in: &SignIn,
        lifetime: Duration,
    ) -> Result<(), String> {
        // From the end: with a fixed nonce in the overrides the newest challenge counts.
        let issued = self.issued.iter_mut().rev().find(|issued| issued.text("nonce") == sign_in.nonce);
        let issued = issued.ok_or("the nonce was never handed out")?;
        if std::mem::replace(&mut issued.used, true) {
            return Err("the nonce was used before".into());
        }
        if issued.at.elapsed() >= lifetime {
            return Err("the nonce has expired".into());
        }
        if issued.wallet != wallet {
            return Err(format!("the nonce was handed out to {}, not to {wallet}", issued.wallet));
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
    /// A field as it has to stand in the message.
    fn text(&self, name: &str) -> String {
        match self.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}
