//! The settings of a server.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::dev_dds::DevDds;
use crate::event::Event;
use crate::tokens::TokenFormat;

/// When a node is called back after it has registered. In production, the order is not fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Callback {
    /// Not automatically. A test calls [`DevDds::call_back`].
    Never,
    /// After the registration has been answered.
    #[default]
    AfterAnswer,
    /// Before the registration is answered.
    BeforeAnswer,
}

/// Sets up a [`DevDds`]. Every setting has a default.
#[derive(Debug)]
pub struct Builder {
    pub(crate) bind: SocketAddr,
    pub(crate) node_url: Option<String>,
    pub(crate) settings: Settings,
}

/// The settings that do not change while a server runs.
pub(crate) struct Settings {
    pub(crate) callback: Callback,
    pub(crate) secret: Option<String>,
    pub(crate) credentials: Option<String>,
    pub(crate) nonce_lifetime: Duration,
    pub(crate) token_lifetime: Duration,
    pub(crate) token_format: TokenFormat,
    pub(crate) token_identity: bool,
    pub(crate) token_claims: Map<String, Value>,
    pub(crate) clock_offset_secs: i32,
    pub(crate) health_interval: Option<Duration>,
    pub(crate) find_node: Option<FindNode>,
    pub(crate) on_event: Option<OnEvent>,
}

type FindNode = Box<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;
type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

impl Default for Builder {
    fn default() -> Self {
        Self {
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            node_url: None,
            settings: Settings {
                callback: Callback::default(),
                secret: None,
                credentials: None,
                nonce_lifetime: Duration::from_secs(300),
                token_lifetime: Duration::from_secs(3600),
                token_format: TokenFormat::default(),
                token_identity: true,
                token_claims: Map::new(),
                clock_offset_secs: 0,
                health_interval: None,
                find_node: None,
                on_event: None,
            },
        }
    }
}

impl Builder {
    /// The address to listen on. The default is `127.0.0.1:0`, which is any free port. Only loopback addresses are
    /// accepted.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// The URL of the node's callback server; see [`DevDds::set_node_url`].
    pub fn node_url(mut self, url: impl Into<Option<String>>) -> Self {
        self.node_url = url.into();
        self
    }

    /// Returns the URL of a node's callback server while no URL is set: `find_node(node, dds_url)`, where `node` is
    /// the wallet's address with its EIP-55 checksum, or the robot's id. It is called on the server's thread and
    /// must not block.
    pub fn find_node(
        mut self,
        find_node: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.settings.find_node = Some(Box::new(find_node));
        self
    }

    /// When a node is called back after it has registered. The default is after the answer. A node whose URL is not
    /// known then is called back when [`DevDds::set_node_url`] sets it, or when the node signs in and `find_node`
    /// returns its URL. A node that cannot be reached is called again until it can be.
    pub fn callback(mut self, when: Callback) -> Self {
        self.settings.callback = when;
        self
    }

    /// The secret of every callback; see [`DevDds::set_secret`].
    pub fn secret(mut self, secret: impl Into<Option<String>>) -> Self {
        self.settings.secret = secret.into();
        self
    }

    /// The only `registration_credentials` that are accepted. By default, all are.
    pub fn credentials(mut self, credentials: impl Into<Option<String>>) -> Self {
        self.settings.credentials = credentials.into();
        self
    }

    /// How long a challenge is valid. The default is 5 minutes.
    pub fn nonce_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.nonce_lifetime = lifetime;
        self
    }

    /// How long a token is valid. The default is 1 hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// Whether tokens are JWTs (the default) or opaque.
    pub fn token_format(mut self, format: TokenFormat) -> Self {
        self.settings.token_format = format;
        self
    }

    /// Whether the answer to a sign-in with a wallet contains `node_id` and `wallet`. The default is true. Production
    /// may omit them.
    pub fn token_identity(mut self, included: bool) -> Self {
        self.settings.token_identity = included;
        self
    }

    /// Claims that are added to every JWT or replace claims in it. A claim that is `null` is removed.
    pub fn token_claims(mut self, claims: Map<String, Value>) -> Self {
        self.settings.token_claims = claims;
        self
    }

    /// How far this server's clock is ahead or, if negative, behind, in everything it sends.
    pub fn clock_offset_secs(mut self, seconds: i32) -> Self {
        self.settings.clock_offset_secs = seconds;
        self
    }

    /// How often the health of each node whose URL is known is probed. By default, only nodes that register with a
    /// URL are probed, once for each registration.
    pub fn health_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.health_interval = interval.into();
        self
    }

    /// Receives every event as it happens, on the server's thread. It must not call methods of the [`DevDds`].
    pub fn on_event(mut self, on_event: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.on_event = Some(Box::new(on_event));
        self
    }

    /// Starts the server. It accepts connections when this returns.
    pub fn start(self) -> io::Result<DevDds> {
        DevDds::start_with(self)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret and the credentials.
        f.debug_struct("Settings")
            .field("callback", &self.callback)
            .field("nonce_lifetime", &self.nonce_lifetime)
            .field("token_lifetime", &self.token_lifetime)
            .field("token_format", &self.token_format)
            .field("clock_offset_secs", &self.clock_offset_secs)
            .field("health_interval", &self.health_interval)
            .finish_non_exhaustive()
    }
}
