//! How a server is set up.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::dev_dds::DevDds;
use crate::event::Event;

/// When the node is called back after it has registered. The order is not fixed in production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Callback {
    /// Not at all: [`DevDds::call_back`] does it when a test wants it.
    Never,
    /// After the registration has been answered.
    #[default]
    AfterAnswer,
    /// While the node still waits for the answer.
    BeforeAnswer,
}

/// Sets up a [`DevDds`]: every setting has a default, [`start`](Builder::start) starts it.
#[derive(Debug)]
pub struct Builder {
    pub(crate) bind: SocketAddr,
    pub(crate) node_url: Option<String>,
    pub(crate) settings: Settings,
}

/// What stays as it is while a server runs.
pub(crate) struct Settings {
    pub(crate) callback: Callback,
    pub(crate) secret: Option<String>,
    pub(crate) credentials: Option<String>,
    pub(crate) nonce_lifetime: Duration,
    pub(crate) token_lifetime: Duration,
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
                clock_offset_secs: 0,
                health_interval: None,
                find_node: None,
                on_event: None,
            },
        }
    }
}

impl Builder {
    /// The address to listen on; default `127.0.0.1:0`, any free port. Anything but loopback is refused.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Where the node's callback server is; see [`DevDds::set_node_url`].
    pub fn node_url(mut self, url: impl Into<Option<String>>) -> Self {
        self.node_url = url.into();
        self
    }

    /// Finds a node's callback server while no URL is set: `find_node(wallet, dds_url)`. The wallet has its
    /// EIP-55 checksum. It is called on the server's thread and must not block.
    pub fn find_node(
        mut self,
        find_node: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.settings.find_node = Some(Box::new(find_node));
        self
    }

    /// When a node is called back after it has registered; default: after the answer. A node whose URL is not
    /// known by then is called back as soon as [`DevDds::set_node_url`] sets it.
    pub fn callback(mut self, when: Callback) -> Self {
        self.settings.callback = when;
        self
    }

    /// The secret of every callback; see [`DevDds::set_secret`].
    pub fn secret(mut self, secret: impl Into<Option<String>>) -> Self {
        self.settings.secret = secret.into();
        self
    }

    /// The only `registration_credentials` that are accepted; default: any.
    pub fn credentials(mut self, credentials: impl Into<Option<String>>) -> Self {
        self.settings.credentials = credentials.into();
        self
    }

    /// How long a challenge can be answered; default 5 minutes.
    pub fn nonce_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.nonce_lifetime = lifetime;
        self
    }

    /// How long an access token is good; default 1 hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// How far this server's clock is ahead (or, if negative, behind) in what it tells nodes.
    pub fn clock_offset_secs(mut self, seconds: i32) -> Self {
        self.settings.clock_offset_secs = seconds;
        self
    }

    /// How often the node's health is probed; default: never.
    pub fn health_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.health_interval = interval.into();
        self
    }

    /// Is told what happens, as it happens, on the server's thread: it must not call the [`DevDds`] back.
    pub fn on_event(mut self, on_event: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.on_event = Some(Box::new(on_event));
        self
    }

    /// Starts the server; when this returns, it accepts connections.
    pub fn start(self) -> io::Result<DevDds> {
        DevDds::start_with(self)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the secret nor the credentials.
        f.debug_struct("Settings")
            .field("callback", &self.callback)
            .field("nonce_lifetime", &self.nonce_lifetime)
            .field("token_lifetime", &self.token_lifetime)
            .field("clock_offset_secs", &self.clock_offset_secs)
            .field("health_interval", &self.health_interval)
            .finish_non_exhaustive()
    }
}
