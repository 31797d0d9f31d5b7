//! The signer of a node whose private key is not an option.

use super::options::{Config, ConfigBuilder};
use crate::error::Result;
use crate::sign_in::signer::{HostSigner, SigningRequest};

impl Config {
    /// Lets `sign` sign in place of a private key, for a key in a KMS, an HSM or a wallet. `address` is the key's
    /// Ethereum address. Replaces an earlier signer. Starting a node fails if a private key is set, too.
    ///
    /// `sign` is called for each registration and each access token, on the library's dispatcher thread. It may block
    /// there, which delays the other callbacks and signers of the process, or pass the request on and respond later.
    /// Waiting for a node inside a callback would make its sign-in wait for that callback.
    ///
    /// A signature is checked before it is used: it must be by `address`. A failure, a wrong signature, and no response
    /// within `request_timeout_secs` are reported and retried like any other failure. A later response is ignored.
    /// `sign` is dropped with the last configuration and node that have it.
    ///
    /// ```
    /// use posemesh_node_registration::Config;
    /// # fn kms_sign(_digest: &[u8; 32]) -> Result<String, std::io::Error> { Ok(String::new()) }
    ///
    /// # fn main() -> posemesh_node_registration::Result<()> {
    /// let mut config = Config::new();
    /// config.set_signer("0xfdbb6caf01414300c16ea14859fec7736d95355f", |request| {
    ///     let signature = kms_sign(request.digest());
    ///     request.respond(signature);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig) if the address is malformed. Then nothing has
    /// changed.
    pub fn set_signer(
        &mut self,
        address: &str,
        sign: impl Fn(SigningRequest) + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        self.signer = Some(HostSigner::new(address, sign)?);
        Ok(self)
    }

    /// Removes the signer.
    pub fn clear_signer(&mut self) -> &mut Self {
        self.signer = None;
        self
    }
}

impl ConfigBuilder {
    /// Sets a signer in place of a private key: see [`Config::set_signer`].
    pub fn signer(mut self, address: &str, sign: impl Fn(SigningRequest) + Send + Sync + 'static) -> Self {
        self.keep_error(|config| config.set_signer(address, sign).map(drop));
        self
    }
}
