//! Access tokens: what DDS gives a registered node that signs in, for the services behind DDS.

mod access_token;
pub(crate) mod cached;
mod claims;
pub(crate) mod response;

pub use access_token::AccessToken;
pub use claims::claims;

#[cfg(test)]
mod tests;
