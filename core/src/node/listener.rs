//! The listening sockets of the callback server, which is bound at the start or when the node takes over, and of the
//! admin server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking::blocking;
use crate::config::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::http::{Access, Admin, Callback, Server, Tls};
use crate::log::log;
use crate::state::store::Store;

/// The first pause before a node that takes over tries again to bind its callback address. The port of a
/// process that has just died may stay taken for a moment. Each further pause is twice as long.
const BIND_PAUSE: Duration = Duration::from_millis(5);
/// A port that is taken for longer than this is reported.
const BIND_PATIENCE: Duration = Duration::from_millis(500);
const MAX_BIND_PAUSE: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted, as in the standard library.
const BACKLOG: i32 = 128;

/// A callback server for this node on a bound socket. Needs the runtime's context.
pub(super) fn serve(
    listener: TcpListener,
    store: &Arc<Store>,
    settings: &Settings,
    tls: Option<&Arc<Tls>>,
) -> Result<Server> {
    let address = listener.local_addr().map_err(|error| io_error(&error))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| io_error(&error))?;
    store.set_callback_address(address);
    let callback = callback(store, settings).under(&settings.callback_path);
    Ok(Server::new(listener, callback, Access::new(settings)).with_tls(tls.cloned()))
}

/// Which callbacks this node accepts.
pub(super) fn callback(store: &Arc<Store>, settings: &Settings) -> Callback {
    // DDS gives a robot its id, which need not be the one in the credentials.
    let node_id = settings.signer.as_ref().and_then(|_| settings.reg_secret.node_id());
    let node_id = node_id.map(|id| id.to_string());
    Callback::new(Arc::clone(store), Some(settings.callback_policy), node_id)
}

/// An admin server for this process, and its address. Needs the runtime's context.
pub(super) fn serve_admin(address: &str, store: &Arc<Store>) -> Result<(Server, SocketAddr)> {
    let listener = bind("admin_bind", address)?;
    let address = listener.local_addr().map_err(|error| io_error(&error))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| io_error(&error))?;
    Ok((Server::new(listener, Admin::new(Arc::clone(store)), Access::default()), address))
}

/// Binds the callback address.
pub(super) fn bind_callback(address: &str) -> Result<TcpListener> {
    bind("callback_bind", address)
}

/// Binds the address in this option. A name is resolved, and the first address that can be bound is used.
fn bind(option: &str, address: &str) -> Result<TcpListener> {
    let failed = |error: io::Error| {
        Error::new(ErrorCode::Bind, format!("{option} {address}: {error}; choose another address or port"))
            .with_os_error(&error)
    };
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().expect("checked when the option was set");
        return bind_all_interfaces(port).map_err(failed);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs().map_err(failed)? {
        match TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Listens on all addresses of this machine: IPv6 and IPv4, or IPv4 alone where there is no IPv6.
fn bind_all_interfaces(port: u16) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};

    let bind = |domain, address: IpAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        // As the standard library does. On Windows it would allow other processes to share the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(address, port).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    match bind(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())
        }
        bound => bound,
    }
}

/// As [`bind_callback`], for a node that takes over: retries until it succeeds.
pub(super) async fn bind_patiently(address: &str, store: &Store) -> TcpListener {
    let began = Instant::now();
    let mut pause = BIND_PAUSE;
    let mut reported = false;
    loop {
        let owned = address.to_owned();
        let error = match blocking(move || bind_callback(&owned)).await {
            Ok(listener) => {
                if reported {
                    log!(Info, "node", "the callback server listens now");
                }
                return listener;
            }
            Err(error) => error,
        };
        if !reported && began.elapsed() >= BIND_PATIENCE {
            log!(Warn, "node", "{error}; retrying");
            store.report(error);
            reported = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_BIND_PAUSE);
    }
}

fn io_error(error: &io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("the callback socket failed: {error}")).with_os_error(error)
}
