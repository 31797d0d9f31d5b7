//! A DDS that closes each connection after one answer, in one of the ways that servers and load balancers use.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const GUARD: Duration = Duration::from_secs(60);

/// How a connection ends after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Without notice.
    Silent,
    /// With a reset.
    Reset,
    /// In one direction; further requests are read and ignored.
    Half,
    /// As the answer says.
    Announced,
    /// As in HTTP/1.0: the body ends with the connection.
    Http10,
    /// Not at all.
    Never,
    /// Not at all, as the answer says.
    KeepAlive,
    /// With a reset, although the answer says that it stays open.
    KeepAliveBroken,
    /// Not at all, as the answer says, but further requests are read and ignored.
    KeepAliveDeaf,
    /// In the middle of the second answer, although the first says that it stays open.
    KeepAliveTruncated,
    /// Not at all, as the answer says, but further requests are refused.
    KeepAliveRefusing,
}

impl Close {
    fn announces_keep_alive(self) -> bool {
        matches!(
            self,
            Self::KeepAlive
                | Self::KeepAliveBroken
                | Self::KeepAliveDeaf
                | Self::KeepAliveTruncated
                | Self::KeepAliveRefusing
        )
    }
}

pub(crate) struct ClosingDds {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    close: Mutex<Close>,
    authority: String,
    /// The paths, in the order in which the requests were complete.
    requests: Mutex<Vec<String>>,
    connections: AtomicU64,
    stopped: AtomicBool,
}

impl ClosingDds {
    pub(crate) fn start(close: Close) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            close: Mutex::new(close),
            authority: address.to_string(),
            requests: Mutex::default(),
            connections: AtomicU64::default(),
            stopped: AtomicBool::default(),
        });
        let server = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if server.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let number = server.connections.fetch_add(1, Ordering::Relaxed);
                let server = Arc::clone(&server);
                thread::spawn(move || server.serve(&stream, number));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, close: Close) {
        *self.shared.close.lock().expect("no panics") = close;
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The number of requests to paths with this end.
    pub(crate) fn requests(&self, path: &str) -> usize {
        let requests = self.shared.requests.lock().expect("no panics");
        requests.iter().filter(|request| request.ends_with(path)).count()
    }
}

impl Drop for ClosingDds {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().expect("joined once").join();
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream, number: u64) {
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        let mut reader = BufReader::new(stream);
        // When the node closes the connection, there is an error or no request.
        let mut is_first = true;
        while let Some((path, body)) = read_request(&mut reader) {
            self.requests.lock().expect("no panics").push(path.clone());
            let close = *self.close.lock().expect("no panics");
            let answer = self.answer(&path, &body).to_string();
            let is_later = !mem::replace(&mut is_first, false);
            let refused = is_later && close == Close::KeepAliveRefusing;
            let truncated = is_later && close == Close::KeepAliveTruncated;
            let head = match close {
                Close::Announced => {
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", answer.len())
                }
                Close::Http10 => "HTTP/1.0 200 OK".into(),
                _ if close.announces_keep_alive() => {
                    let status = if refused { "400 Bad Request" } else { "200 OK" };
                    format!("HTTP/1.1 {status}\r\nconnection: keep-alive\r\ncontent-length: {}", answer.len())
                }
                _ => format!("HTTP/1.1 200 OK\r\ncontent-length: {}", answer.len()),
            };
            let sent = if truncated { &answer[..answer.len() / 2] } else { &answer };
            let _ = (&mut &*stream).write_all(format!("{head}\r\n\r\n{sent}").as_bytes());
            if truncated {
                return;
            }
            // Zero to two milliseconds.
            let pause = Duration::from_micros(number % 9 * 250);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            match close {
                Close::Never | Close::KeepAlive | Close::KeepAliveTruncated | Close::KeepAliveRefusing => {
                    continue;
                }
                Close::KeepAliveDeaf => {
                    let _ = std::io::copy(&mut reader, &mut std::io::sink());
                }
                Close::Half => {
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = std::io::copy(&mut reader, &mut std::io::sink());
                }
                Close::Reset | Close::KeepAliveBroken => {
                    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                Close::Silent | Close::Announced | Close::Http10 => {}
            }
            return;
        }
    }

    fn answer(&self, path: &str, body: &Value) -> Value {
        if path.ends_with("/siwe/request") {
            return json!({
                "nonce": "abcdefgh1234",
                "domain": self.authority,
                "uri": format!("http://{}", self.authority),
                "version": "1",
                "chainId": 8453,
                "issuedAt": chrono::Utc::now().to_rfc3339(),
            });
        }
        if path.ends_with("/siwe/verify") {
            return json!({
                "node_id": "0b5e4f2a-1111-4222-8333-444455556666",
                "wallet": body["address"],
                "access_token": "token",
                "access_expires_at": (chrono::Utc::now() + chrono::TimeDelta::hours(1)).to_rfc3339(),
            });
        }
        json!({})
    }
}

/// The path and the body of the next request.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}
