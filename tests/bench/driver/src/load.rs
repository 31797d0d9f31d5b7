//! A load generator: HTTP/1.1 on kept-alive connections, one request at a time on each, on one thread.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::cpu;

/// As `wrk -c32` has them.
const CONNECTIONS: usize = 32;
/// Until every connection is up and its buffers have grown.
const WARM_UP: Duration = Duration::from_millis(200);

/// Ends a load on a server that does not answer.
const GUARD: Duration = Duration::from_secs(30);

/// The measured behaviour of a server.
pub struct Load {
    pub requests: u64,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
}

impl Load {
    pub fn per_cpu_second(&self) -> f64 {
        self.requests as f64 / self.cpu.as_secs_f64()
    }
}

/// Sends the requests to the server of a process, in turn, for about `time`. An answer other than 200 ends it.
pub fn run(address: &str, pid: u32, requests: &[String], time: Duration) -> io::Result<Load> {
    let address: SocketAddr =
        address.parse().map_err(|_| io::Error::other(format!("no address: {address:?}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async {
        let (answered, over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let mut connections = JoinSet::new();
        for first in 0..CONNECTIONS {
            let (answered, over) = (Rc::clone(&answered), Rc::clone(&over));
            let requests = requests.to_vec();
            connections.spawn_local(async move {
                let mut connection = Connection::open(address).await?;
                for request in requests.iter().cycle().skip(first) {
                    connection.exchange(request.as_bytes()).await?;
                    answered.set(answered.get() + 1);
                    if over.get() {
                        break;
                    }
                }
                Ok::<_, io::Error>(())
            });
        }
        tokio::time::sleep(WARM_UP).await;
        let (cpu, before) = (cpu::of_process(pid)?, answered.get());
        tokio::time::sleep(time).await;
        let load = Load { requests: answered.get() - before, cpu: cpu::of_process(pid)?.saturating_sub(cpu) };
        over.set(true);
        while let Some(ended) = connections.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(load)
    };
    let guarded = async { tokio::time::timeout(time + GUARD, work).await.map_err(io::Error::other)? };
    LocalSet::new().block_on(&runtime, guarded)
}

/// Sends the requests in turn over one connection, this many of them.
pub fn in_turn(address: &str, requests: &[String], times: usize) -> io::Result<()> {
    let address: SocketAddr =
        address.parse().map_err(|_| io::Error::other(format!("no address: {address:?}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        for request in requests.iter().cycle().take(times) {
            connection.exchange(request.as_bytes()).await?;
        }
        Ok(())
    })
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = answer_length(&self.buffer)?
                && self.buffer.len() >= length
            {
                return Ok(());
            }
        }
    }
}

/// The length of an answer, as soon as its header is there.
fn answer_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(header) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("a server answered {:?}", String::from_utf8_lossy(bytes))));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    Ok(Some(header + length.ok_or_else(|| io::Error::other("an answer without content-length"))?))
}
