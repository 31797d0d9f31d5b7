//! The access tokens that were issued.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wallet::Wallet;

/// The tokens that are good: issued here, to a node that is still registered, and not expired.
#[derive(Default)]
pub(crate) struct Tokens {
    issued: HashMap<String, Issued>,
}

struct Issued {
    wallet: Wallet,
    at: Instant,
    lifetime: Duration,
}

impl Issued {
    fn is_good(&self) -> bool {
        self.at.elapsed() < self.lifetime
    }
}

impl Tokens {
    pub(crate) fn issue(&mut self, token: String, wallet: Wallet, lifetime: Duration) {
        self.issued.retain(|_, issued| issued.is_good());
        self.issued.insert(token, Issued { wallet, at: Instant::now(), lifetime });
    }

    pub(crate) fn is_good(&self, token: &str) -> bool {
        self.issued.get(token).is_some_and(Issued::is_good)
    }

    pub(crate) fn revoke(&mut self, wallet: Wallet) {
        self.issued.retain(|_, issued| issued.wallet != wallet);
    }
}
