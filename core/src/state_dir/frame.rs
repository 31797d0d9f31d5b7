//! The messages between a leader and its followers, and their encoding.
//!
//! A frame is the length of the rest (four bytes, big endian), a kind (one byte) and a body. The first frame in either
//! direction is a [`Hello`], whose form is the same in every version of the protocol.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::config::CallbackPolicy;
use crate::state::callback::NOT_WAITING;
use crate::state::registration::Acceptance;

/// The version of the protocol. It grows when processes with different versions of this library could misunderstand
/// each other.
pub(super) const VERSION: u8 = 1;

const HELLO: u8 = 0;
const RECORD: u8 = 1;
const REQUEST: u8 = 2;
const ANSWER: u8 = 3;

const REARM: u8 = 1;
const SECRET: u8 = 2;
const PROBE: u8 = 3;

const DONE: u8 = 0;
const OUTDATED: u8 = 1;
const UNKNOWN: u8 = 2;
const NEW: u8 = 3;
const SAME: u8 = 4;
const ANOTHER: u8 = 5;
const WAITS_NOT: u8 = 6;
const UNAVAILABLE: u8 = 7;

const UNDECIDED: Acceptance = Acceptance::Unavailable("the process that leads this node is about to end");

/// The kind and the body of a frame. It may hold the secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame(Zeroizing<Vec<u8>>);

/// The first frame: the sender's version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello(pub(super) u8);

/// What a leader sends after its hello.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromLeader<'a> {
    /// Its state, encoded as on the disk. Replaces the one before.
    Record(&'a [u8]),
    /// The answer to the request with this number.
    Answer(u64, Answer),
}

/// What a follower sends after its hello: requests, each with a number of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Register again, unless a registration after the one with this number has begun.
    Rearm { registration: u64 },
    /// DDS has sent the follower this secret: accept it if the policy allows it.
    Secret { policy: Option<CallbackPolicy>, secret: &'a str },
    /// DDS has probed the follower: record it.
    Probe,
    /// A request that this version of the library does not know.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was carried out.
    Done,
    /// It does not apply any more.
    Outdated,
    /// The leader does not know this request.
    Unknown,
    /// What became of the secret.
    Secret(Acceptance),
}

impl Answer {
    fn encode(self) -> Vec<u8> {
        match self {
            Self::Done => vec![DONE],
            Self::Outdated => vec![OUTDATED],
            Self::Unknown => vec![UNKNOWN],
            Self::Secret(Acceptance::New(version)) => [&[NEW][..], &version.to_be_bytes()].concat(),
            Self::Secret(Acceptance::Same) => vec![SAME],
            Self::Secret(Acceptance::Another) => vec![ANOTHER],
            Self::Secret(Acceptance::NotWaiting(why)) => {
                let number = NOT_WAITING.iter().position(|known| *known == why).unwrap_or_default();
                vec![WAITS_NOT, u8::try_from(number).unwrap_or_default()]
            }
            Self::Secret(Acceptance::Unavailable(_)) => vec![UNAVAILABLE],
        }
    }

    fn decode(answer: &[u8]) -> io::Result<Self> {
        match answer {
            [DONE] => Ok(Self::Done),
            [OUTDATED] => Ok(Self::Outdated),
            [UNKNOWN] => Ok(Self::Unknown),
            [NEW, version @ ..] => match split_number(version)? {
                (version, []) => Ok(Self::Secret(Acceptance::New(version))),
                _ => Err(unexpected()),
            },
            [SAME] => Ok(Self::Secret(Acceptance::Same)),
            [ANOTHER] => Ok(Self::Secret(Acceptance::Another)),
            [WAITS_NOT, number] => {
                let why = NOT_WAITING.get(usize::from(*number)).ok_or_else(unexpected)?;
                Ok(Self::Secret(Acceptance::NotWaiting(why)))
            }
            [UNAVAILABLE] => Ok(Self::Secret(UNDECIDED)),
            _ => Err(unexpected()),
        }
    }
}

impl Frame {
    fn new(kind: u8, body: &[&[u8]]) -> Self {
        // Allocated in one piece, because a buffer that grows leaves copies of the secret behind.
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(1 + body.iter().map(|part| part.len()).sum::<usize>()));
        bytes.push(kind);
        body.iter().for_each(|part| bytes.extend_from_slice(part));
        Self(bytes)
    }

    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let length = u32::try_from(self.0.len()).map_err(|_| unexpected())?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&self.0).await
    }
}

impl Hello {
    pub(super) fn encode(self) -> Frame {
        Frame::new(HELLO, &[&[self.0]])
    }

    pub(super) fn decode(frame: &Frame) -> io::Result<Self> {
        match frame.0[..] {
            // A later version may add fields.
            [HELLO, version, ..] => Ok(Self(version)),
            _ => Err(unexpected()),
        }
    }
}

impl<'a> FromLeader<'a> {
    pub(super) fn encode(&self) -> Frame {
        match self {
            Self::Record(record) => Frame::new(RECORD, &[record]),
            Self::Answer(number, answer) => Frame::new(ANSWER, &[&number.to_be_bytes(), &answer.encode()]),
        }
    }

    pub(super) fn decode(frame: &'a Frame) -> io::Result<Self> {
        match frame.0.split_first() {
            Some((&RECORD, record)) => Ok(Self::Record(record)),
            Some((&ANSWER, body)) => {
                let (number, answer) = split_number(body)?;
                Ok(Self::Answer(number, Answer::decode(answer)?))
            }
            _ => Err(unexpected()),
        }
    }
}

impl<'a> Request<'a> {
    /// `None` for an unknown one, which is never sent.
    pub(super) fn encode(self, number: u64) -> Option<Frame> {
        let number = &number.to_be_bytes();
        match self {
            Self::Rearm { registration } => {
                Some(Frame::new(REQUEST, &[number, &[REARM], &registration.to_be_bytes()]))
            }
            Self::Secret { policy, secret } => {
                let policy = match policy {
                    None => 0,
                    Some(CallbackPolicy::PerRegistration) => 1,
                    Some(CallbackPolicy::Open) => 2,
                };
                Some(Frame::new(REQUEST, &[number, &[SECRET, policy], secret.as_bytes()]))
            }
            Self::Probe => Some(Frame::new(REQUEST, &[number, &[PROBE]])),
            Self::Unknown => None,
        }
    }

    /// Returns the request and its number.
    pub(super) fn decode(frame: &'a Frame) -> io::Result<(u64, Self)> {
        let Some((&REQUEST, body)) = frame.0.split_first() else { return Err(unexpected()) };
        let (number, body) = split_number(body)?;
        let request = match body {
            [REARM, body @ ..] => match split_number(body)? {
                (registration, []) => Self::Rearm { registration },
                _ => return Err(unexpected()),
            },
            [SECRET, policy, secret @ ..] => {
                let policy = match policy {
                    0 => None,
                    1 => Some(CallbackPolicy::PerRegistration),
                    2 => Some(CallbackPolicy::Open),
                    _ => return Err(unexpected()),
                };
                let secret = str::from_utf8(secret).map_err(|_| unexpected())?;
                Self::Secret { policy, secret }
            }
            [PROBE] => Self::Probe,
            [SECRET | PROBE, ..] | [] => return Err(unexpected()),
            _ => Self::Unknown,
        };
        Ok((number, request))
    }
}

fn split_number(body: &[u8]) -> io::Result<(u64, &[u8])> {
    let (number, rest) = body.split_first_chunk().ok_or_else(unexpected)?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of this library's protocol")
}

/// Reads frames from a stream.
pub(super) struct FrameReader<R> {
    stream: R,
    /// A longer frame is refused.
    limit: usize,
    length: [u8; 4],
    /// The frame being read, once its length is known.
    frame: Option<Zeroizing<Vec<u8>>>,
    /// How many bytes of the length or the frame have been read.
    filled: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, limit: usize) -> Self {
        Self { stream, limit, length: [0; 4], frame: None, filled: 0 }
    }

    /// The next frame. An error when the stream ends or is not a stream of frames. Cancel-safe: bytes that were read stay
    /// for the next call.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let target = match &mut self.frame {
                None => &mut self.length[..],
                Some(frame) => &mut frame[..],
            };
            if self.filled < target.len() {
                match self.stream.read(&mut target[self.filled..]).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => self.filled += read,
                }
                continue;
            }
            self.filled = 0;
            if let Some(frame) = self.frame.take() {
                return Ok(Frame(frame));
            }
            let length = u32::from_be_bytes(self.length) as usize;
            if length == 0 || length > self.limit {
                return Err(unexpected());
            }
            self.frame = Some(Zeroizing::new(vec![0; length]));
        }
    }
}

/// Checks what must hold for any bytes of a peer: each frame is refused, or its message encodes to the same bytes.
#[cfg(feature = "fuzzing")]
pub(crate) async fn check_frames(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes, 4096);
    while let Ok(frame) = reader.next().await {
        assert!((1..=4096).contains(&frame.0.len()));
        let _ = Hello::decode(&frame);
        if let Ok(message) = FromLeader::decode(&frame) {
            assert_eq!(message.encode(), frame);
        }
        if let Ok((number, request)) = Request::decode(&frame)
            && let Some(encoded) = request.encode(number)
        {
            assert_eq!(encoded, frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> io::Result<Frame> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(FrameReader::new(bytes, limit).next())
    }

    fn written(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(frame.write(&mut bytes)).expect("written to memory");
        bytes
    }

    #[test]
    fn a_message_survives_encoding() {
        let frame = |frame: Frame| read(&written(&frame), 1000).expect("whole");
        assert_eq!(Hello::decode(&frame(Hello(7).encode())).expect("a hello"), Hello(7));
        for message in [
            FromLeader::Record(b""),
            FromLeader::Record(b"the record"),
            FromLeader::Answer(0, Answer::Done),
            FromLeader::Answer(u64::MAX, Answer::Outdated),
            FromLeader::Answer(5, Answer::Unknown),
            FromLeader::Answer(6, Answer::Secret(Acceptance::New(u64::MAX))),
            FromLeader::Answer(7, Answer::Secret(Acceptance::Same)),
            FromLeader::Answer(8, Answer::Secret(Acceptance::Another)),
            FromLeader::Answer(9, Answer::Secret(Acceptance::NotWaiting(NOT_WAITING[0]))),
            FromLeader::Answer(10, Answer::Secret(Acceptance::NotWaiting(NOT_WAITING[2]))),
            FromLeader::Answer(11, Answer::Secret(UNDECIDED)),
        ] {
            assert_eq!(
                FromLeader::decode(&frame(message.encode())).expect("a message of the leader"),
                message
            );
        }
        for request in [
            Request::Rearm { registration: u64::MAX - 1 },
            Request::Secret { policy: None, secret: "" },
            Request::Secret { policy: Some(CallbackPolicy::PerRegistration), secret: "the secret" },
            Request::Secret { policy: Some(CallbackPolicy::Open), secret: "gehe\u{ed}m" },
            Request::Probe,
        ] {
            let sent = request.encode(3).expect("known");
            assert!(Request::decode(&frame(sent)).expect("a request") == (3, request));
        }
        let unknown = Frame::new(REQUEST, &[&9_u64.to_be_bytes(), &[200], b"of a later version"]);
        assert!(Request::decode(&frame(unknown)).expect("a request") == (9, Request::Unknown));
    }

    #[test]
    fn a_frame_that_is_too_long_or_cut_off_is_refused() {
        let bytes = written(&FromLeader::Record(&[1; 99]).encode());
        assert!(read(&bytes, 100).is_ok());
        assert_eq!(read(&bytes, 99).expect_err("too long").kind(), io::ErrorKind::InvalidData);
        for length in 0..bytes.len() {
            let error = read(&bytes[..length], 100).expect_err("cut off");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(read(&[0; 4], 100).expect_err("empty").kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(b"GET / HTTP/1.1", 100).expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }

    /// Decoding never panics, and every accepted message encodes to the same bytes.
    #[test]
    fn any_bytes_are_decoded_or_refused() {
        use rand::{Rng as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(14);
        for _ in 0..20_000 {
            let mut body = vec![0; random.gen_range(1..24)];
            random.fill(&mut body[..]);
            body[0] %= 5;
            if let Some(tag) = body.get_mut(9) {
                *tag %= 9;
            }
            let frame = Frame(Zeroizing::new(body));
            let _ = Hello::decode(&frame);
            if let Ok(message) = FromLeader::decode(&frame) {
                assert_eq!(message.encode(), frame);
            }
            if let Ok((number, request)) = Request::decode(&frame)
                && let Some(encoded) = request.encode(number)
            {
                assert_eq!(encoded, frame);
            }
        }
    }
}
