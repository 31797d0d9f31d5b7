//! The listener of a node's server, its connections, and which of them are closed when there are too many.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use super::access::{Access, Caller};
use super::connection::{self, Phase, Progress};
use super::service::Service;
use super::tls::{self, Tls};
use crate::fork::CloseOnFork;

/// Connections open at a time, if the process may open enough files.
const MAX_CONNECTIONS: usize = 256;
/// Connections that are allowed however few files the process may open.
#[cfg(target_os = "linux")]
const MIN_CONNECTIONS: usize = 8;
/// For responses, each of a few hundred bytes, or of a few thousand for the metrics.
const SEND_BUFFER: usize = 16 * 1024;
/// The pause after an `accept` that failed for a reason that closing connections does not remove.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How often to try for a free file descriptor while there is none, not even by closing a connection.
const FILE_PAUSE: Duration = Duration::from_millis(50);

/// A server of one node. Dropping it closes everything; [`Server::close`] also waits until that is done.
pub(crate) struct Server {
    _close_on_fork: CloseOnFork,
    listener: TcpListener,
    service: Arc<Service>,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    tasks: JoinSet<()>,
    oldest_first: VecDeque<Connection>,
    max_connections: usize,
    spare: Spare,
}

struct Connection {
    task: AbortHandle,
    progress: Arc<Progress>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, service: impl Into<Service>, access: Access) -> Self {
        // Connections inherit it. By default, the kernel buffers megabytes for a peer that does not read responses.
        let _ = socket2::SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER);
        Self {
            _close_on_fork: CloseOnFork::new(&listener),
            listener,
            service: Arc::new(service.into()),
            access: Arc::new(access),
            tls: None,
            tasks: JoinSet::new(),
            oldest_first: VecDeque::new(),
            max_connections: max_connections(),
            spare: Spare::new(),
        }
    }

    /// With TLS, if there is a certificate.
    pub(crate) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Serves until it is dropped.
    pub(crate) async fn run(&mut self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer).await,
                Err(error) if is_peer_gone(&error) => {}
                Err(error) if is_exhaustion(&error) => self.free_a_file(&error).await,
                Err(error) => {
                    self.warn_of_accept(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a new connection, in place of another one if there are too many.
    async fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.forget_ended();
        let is_full = self.oldest_first.len() >= self.max_connections;
        let has_room = !is_full && self.spare.restore();
        let caller = Caller::new(peer.ip(), &self.access);
        // A handshake, or the place of another connection, would cost more than the peer gets.
        if caller.is_refused() && (!has_room || self.tls.is_some()) {
            return caller.report_refused(self.service.warnings());
        }
        if !has_room && !self.make_room().await && is_full {
            let max = self.max_connections;
            self.service
                .warnings()
                .write("refused", format_args!("a connection was refused: all {max} are busy with requests"));
            return;
        }
        self.spare.restore();
        self.serve(stream, peer, caller);
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr, caller: Caller) {
        // Responses are a few bytes: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let phase = if caller.is_refused() { Phase::Refused } else { Phase::Idle };
        let progress = Arc::new(Progress::new(phase));
        let opening = tls::open(stream, self.tls.clone(), peer, Arc::clone(&self.service));
        let served =
            connection::serve(opening, peer, caller, Arc::clone(&self.service), Arc::clone(&progress));
        let task = self.tasks.spawn(served);
        self.oldest_first.push_back(Connection { task, progress });
    }

    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|connection| !connection.task.is_finished());
    }

    /// Closes the connection that has received the least of a request; the oldest, if there are several. False when
    /// every connection has received a whole request.
    async fn make_room(&mut self) -> bool {
        // What has arrived is read first, so that a connection without a request really has none.
        yield_now().await;
        let phases = self.oldest_first.iter().map(|connection| connection.progress.phase()).enumerate();
        // `min_by_key` returns the first of equals, which is the oldest.
        let least = phases.min_by_key(|(_, phase)| *phase).filter(|(_, phase)| phase.may_be_closed());
        let open = self.oldest_first.len();
        let Some(closed) = least.and_then(|(at, _)| self.oldest_first.remove(at)) else { return false };
        closed.task.abort();
        self.service.warnings().write(
            "closed",
            format_args!("a connection without a whole request was closed to make room: {open} were open"),
        );
        // The connection is closed when its task is dropped, which the runtime does later.
        while !closed.task.is_finished() {
            yield_now().await;
        }
        true
    }

    /// The process or the system has no file descriptor left for the next connection.
    async fn free_a_file(&mut self, error: &io::Error) {
        if self.spare.give_up() {
            return;
        }
        self.forget_ended();
        if is_awaited(&self.listener) {
            if self.make_room().await {
                return;
            }
            self.warn_of_accept(error);
        }
        // The only connection that there is a file descriptor for is being served.
        tokio::select! {
            Some(_) = self.tasks.join_next() => {}
            () = tokio::time::sleep(FILE_PAUSE) => {}
        }
    }

    fn warn_of_accept(&self, error: &io::Error) {
        let name = self.service.name();
        self.service
            .warnings()
            .write("accept", format_args!("the {name} cannot accept connections: {error}"));
    }

    /// Frees the port and ends every connection.
    pub(crate) async fn close(mut self) {
        // A forked child may have copies of the listening socket, so closing ours alone would leave the port
        // taken. Systems that cannot shut down a listening socket close it when it is dropped.
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
        drop(self.listener);
        self.tasks.shutdown().await;
    }
}

/// A quarter of the files that the process may open, so that peers can never keep the host from opening its own.
fn max_connections() -> usize {
    #[cfg(target_os = "linux")]
    if let Some(files) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        let quarter = usize::try_from(files / 4).unwrap_or(usize::MAX);
        return quarter.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    }
    MAX_CONNECTIONS
}

/// A file descriptor in reserve. It is closed when there is no other, so that one more connection can be accepted;
/// then an older connection is closed to open it again.
struct Spare(Option<Socket>);

impl Spare {
    fn new() -> Self {
        let mut spare = Self(None);
        spare.restore();
        spare
    }

    /// False when there is no file descriptor for it.
    fn restore(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).ok();
        }
        self.0.is_some()
    }

    /// False when it is already closed.
    fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Whether a connection waits to be accepted. Without a free file descriptor, `accept` on Linux fails before it
/// checks.
fn is_awaited(listener: &TcpListener) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&NOW)).is_ok_and(|ready| ready > 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = listener;
        true
    }
}

fn is_peer_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Whether closing a connection may help.
fn is_exhaustion(error: &io::Error) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    // WSAEMFILE and WSAENOBUFS.
    #[cfg(windows)]
    const CODES: [i32; 2] = [10024, 10055];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::Callback;
    use crate::state::store::Store;

    /// A server with connections in these phases, the oldest first.
    async fn full(phases: &[Phase]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let callback = Callback::new(Arc::new(Store::default()), None, None);
        let mut server = Server::new(listener, callback, Access::default());
        server.max_connections = phases.len();
        for phase in phases {
            let progress = Arc::new(Progress::new(*phase));
            let task = server.tasks.spawn(std::future::pending());
            server.oldest_first.push_back(Connection { task, progress });
        }
        server
    }

    fn phases(server: &Server) -> Vec<Phase> {
        server.oldest_first.iter().map(|connection| connection.progress.phase()).collect()
    }

    #[tokio::test]
    async fn the_connection_that_has_received_least_is_closed_first() {
        use Phase::{Answered, Body, Complete, Header, Idle};
        let mut server = full(&[Complete, Body, Header, Idle, Answered, Idle, Header]).await;
        let order = [
            vec![Complete, Body, Header, Answered, Idle, Header],
            vec![Complete, Body, Header, Answered, Header],
            vec![Complete, Body, Answered, Header],
            vec![Complete, Body, Answered],
            vec![Complete, Answered],
        ];
        for left in order {
            assert!(server.make_room().await);
            assert_eq!(phases(&server), left);
        }
        assert!(!server.make_room().await, "the remaining connections expect a response");
        assert_eq!(server.tasks.len(), 7, "a task is kept until it has ended");
        server.forget_ended();
        assert_eq!(server.tasks.len(), 2);
    }

    #[tokio::test]
    async fn peers_that_read_no_responses_do_not_block_others() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        const QUIET: Duration = Duration::from_millis(300);

        let mut server = full(&[]).await;
        server.max_connections = 3;
        let address = server.listener.local_addr().expect("bound");
        let client = async {
            let mut silent = Vec::new();
            for _ in 0..3 {
                let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                socket.set_recv_buffer_size(4096).expect("a size");
                let mut stream = socket.connect(address).await.expect("listens");
                let requests = "GET /health HTTP/1.1\r\n\r\n".repeat(1000);
                while tokio::time::timeout(QUIET, stream.write_all(requests.as_bytes())).await.is_ok() {}
                silent.push(stream);
            }
            let mut honest = TcpStream::connect(address).await.expect("listens");
            honest.write_all(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            honest.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        let answer = tokio::select! {
            answer = client => answer,
            () = server.run() => unreachable!("it serves until it is dropped"),
        };
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn of_equal_connections_the_oldest_is_closed() {
        let mut server = full(&[Phase::Idle; 3]).await;
        let oldest = server.oldest_first[0].task.clone();
        assert!(server.make_room().await);
        assert!(oldest.is_finished());
    }

    #[tokio::test]
    async fn a_new_connection_is_refused_when_all_are_busy() {
        let mut server = full(&[Phase::Complete, Phase::Answered]).await;
        let address = server.listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("listens");
        let (stream, peer) = server.listener.accept().await.expect("a connection");
        server.admit(stream, peer).await;
        assert_eq!(phases(&server), [Phase::Complete, Phase::Answered]);
        client.readable().await.expect("closed");
        assert_eq!(client.try_read(&mut [0]).expect("closed"), 0);
    }
}
