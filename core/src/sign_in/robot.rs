//! Signing in as a robot: registration credentials, and neither a wallet nor a challenge.

use crate::credentials::Credentials;
use crate::dds::{Dds, Failure, RobotRegistration};
use crate::token::cached::CachedToken;

/// The robot that signs in.
pub(crate) struct Robot<'a> {
    /// The registration credentials.
    pub(crate) credentials: &'a Credentials,
}

impl Robot<'_> {
    /// Registers the robot. The response brings its first token.
    pub(crate) async fn register(
        &self,
        dds: &Dds<'_>,
        version: &str,
        capabilities: &[String],
    ) -> Result<CachedToken, Failure> {
        let registration =
            RobotRegistration { registration_credentials: self.credentials.expose(), version, capabilities };
        let response = dds.register_robot(&registration).await?;
        response
            .check_robot(dds.clock.now())
            .map_err(|why| Failure::retryable(format!("refused the registration by DDS: {why}")))
    }

    /// A later token. A rejection does not lead to another registration, unless DDS says that it does not know the
    /// robot.
    pub(super) async fn token(&self, dds: &Dds<'_>) -> Result<CachedToken, Failure> {
        let response = dds.verify_robot(self.credentials.expose()).await?;
        response
            .check_robot(dds.clock.now())
            .map_err(|why| Failure::retryable(format!("refused the access token of DDS: {why}")))
    }
}
