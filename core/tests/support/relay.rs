//! A network between a node and a server, which the test interrupts in the ways that networks fail.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to the bytes of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// They arrive this much later.
    Delay(Duration),
    /// They wait until the network is well again, as while a cable is out.
    Hold,
    /// Those of the server are lost. The connection stays open, as one whose other end a firewall has forgotten.
    SwallowAnswers,
    /// All of them are lost.
    Swallow,
    /// Connections are closed, also new ones.
    Cut,
}

pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    bytes: AtomicU64,
    connections: AtomicU64,
}

struct State {
    target: SocketAddr,
    mode: Mode,
    ended: bool,
    open: Vec<Arc<Pair>>,
}

/// A connection of the node, and the one to the server.
struct Pair {
    node: TcpStream,
    server: Mutex<Option<TcpStream>>,
    /// Something of it was lost, so nothing later may arrive.
    lost: Mutex<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

impl Relay {
    /// To a server on this port of loopback.
    pub(crate) fn to(port: u16) -> Self {
        Self::at("127.0.0.1", port)
    }

    /// As [`Relay::to`], reached at this address of the test's machine.
    pub(crate) fn at(ip: &str, port: u16) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = State {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            mode: Mode::Pass,
            ended: false,
            open: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            bytes: AtomicU64::default(),
            connections: AtomicU64::default(),
        });
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepting.lock().ended {
                    break;
                }
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                accepting.accept(stream);
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// New connections go to another server, and open ones are closed: a virtual address that moves.
    pub(crate) fn move_to(&self, port: u16) {
        let mut state = self.shared.lock();
        state.target.set_port(port);
        state.close_all();
    }

    pub(crate) fn pass(&self) {
        self.set(Mode::Pass);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.set(Mode::Delay(delay));
    }

    pub(crate) fn hold(&self) {
        self.set(Mode::Hold);
    }

    pub(crate) fn swallow(&self) {
        self.set(Mode::Swallow);
    }

    pub(crate) fn swallow_answers(&self) {
        self.set(Mode::SwallowAnswers);
    }

    /// Closes every connection, and refuses new ones.
    pub(crate) fn cut(&self) {
        self.set(Mode::Cut);
    }

    /// Ends what the server sends on the open connections. What the node sends still arrives.
    pub(crate) fn half_close(&self) {
        for pair in &self.shared.lock().open {
            let _ = pair.node.shutdown(Shutdown::Write);
        }
    }

    /// The bytes that have arrived, in both directions, without the headers of TCP.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn open_connections(&self) -> usize {
        let mut state = self.shared.lock();
        state.open.retain(|pair| Arc::strong_count(pair) > 1);
        state.open.len()
    }

    fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        state.mode = mode;
        if mode == Mode::Cut {
            state.close_all();
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.close_all();
            self.shared.changed.notify_all();
        }
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().expect("joined once").join();
    }
}

impl State {
    fn close_all(&mut self) {
        self.open.drain(..).for_each(|pair| pair.close());
    }
}

impl Pair {
    fn close(&self) {
        let _ = self.node.shutdown(Shutdown::Both);
        if let Some(server) = &*self.server.lock().expect("no panics") {
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panics")
    }

    fn accept(self: &Arc<Self>, node: TcpStream) {
        let _ = node.set_nodelay(true);
        let pair = Arc::new(Pair { node, server: Mutex::default(), lost: Mutex::new(false) });
        let mut state = self.lock();
        if state.mode == Mode::Cut {
            return pair.close();
        }
        state.open.retain(|pair| Arc::strong_count(pair) > 1);
        state.open.push(Arc::clone(&pair));
        drop(state);
        let shared = Arc::clone(self);
        thread::spawn(move || shared.connect(&pair));
    }

    /// Connects to the server when the first bytes may pass, and forwards until one side ends.
    fn connect(self: &Arc<Self>, pair: &Arc<Pair>) {
        let Some(target) = self.target_when_open() else { return pair.close() };
        let Ok(server) = TcpStream::connect(target) else { return pair.close() };
        let _ = server.set_nodelay(true);
        let streams = [pair.node.try_clone(), server.try_clone(), pair.node.try_clone(), server.try_clone()];
        let [Ok(from_node), Ok(to_server), Ok(to_node), Ok(from_server)] = streams else {
            return pair.close();
        };
        *pair.server.lock().expect("no panics") = Some(server);
        let (answers, lost) = (Arc::clone(self), Arc::clone(pair));
        let back = thread::spawn(move || answers.forward(from_server, to_node, &lost, Direction::Answers));
        self.forward(from_node, to_server, pair, Direction::Requests);
        let _ = back.join();
    }

    fn target_when_open(&self) -> Option<SocketAddr> {
        let state = self.changed.wait_while(self.lock(), |state| {
            !state.ended && matches!(state.mode, Mode::Hold | Mode::Swallow | Mode::SwallowAnswers)
        });
        let state = state.expect("no panics");
        (!state.ended && state.mode != Mode::Cut).then_some(state.target)
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream, pair: &Pair, direction: Direction) {
        let Ok(source) = from.try_clone() else { return pair.close() };
        let (arrived, waiting) = mpsc::channel();
        // Apart from the writer, so that a delay adds to what is under way, and not to what follows it.
        let reader = thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(length @ 1..) = from.read(&mut buffer)
                && arrived.send((Instant::now(), buffer[..length].to_vec())).is_ok()
            {}
        });
        for (at, bytes) in waiting {
            if self.may_pass(pair, direction, at) {
                if to.write_all(&bytes).is_err() {
                    break;
                }
                self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        let _ = source.shutdown(Shutdown::Read);
        let _ = reader.join();
    }

    /// Waits as long as the network makes bytes wait that arrived at this time. False when they are lost.
    fn may_pass(&self, pair: &Pair, direction: Direction, at: Instant) -> bool {
        let held = |state: &mut State| !state.ended && state.mode == Mode::Hold;
        let mode = self.changed.wait_while(self.lock(), held).expect("no panics").mode;
        if let Mode::Delay(delay) = mode {
            thread::sleep((at + delay).saturating_duration_since(Instant::now()));
        }
        if mode == Mode::SwallowAnswers && direction == Direction::Requests {
            return true;
        }
        let mut lost = pair.lost.lock().expect("no panics");
        *lost |= matches!(mode, Mode::Swallow | Mode::SwallowAnswers);
        !*lost
    }
}
