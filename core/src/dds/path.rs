//! The paths of DDS, below its base URL.

pub(super) const CHALLENGE: &str = "/internal/v1/auth/siwe/request";
pub(super) const REGISTER: &str = "/internal/v1/nodes/register-wallet";
pub(super) const REGISTER_URL: &str = "/internal/v1/nodes/register";
pub(super) const VERIFY: &str = "/internal/v1/auth/siwe/verify";
pub(super) const ROBOT_REGISTER: &str = "/internal/v1/robots/register";
pub(super) const ROBOT_VERIFY: &str = "/internal/v1/auth/robot/verify";
