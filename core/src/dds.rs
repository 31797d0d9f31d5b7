//! The requests to DDS: wire types, limits, and what an answer means.

mod failure;

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::Bytes;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION};
use reqwest::{Body, Client, Response};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::clock::DdsClock;
use crate::sign_in::Signed;
use crate::siwe::Challenge;
use crate::token::Grant;

pub(crate) use failure::parse_retry_after;
pub(crate) use failure::{Failure, FailureClass};
use failure::{classify, is_unknown_node};

const CHALLENGE_PATH: &str = "/internal/v1/auth/siwe/request";
const REGISTER_PATH: &str = "/internal/v1/nodes/register-wallet";
const VERIFY_PATH: &str = "/internal/v1/auth/siwe/verify";

/// A larger body of a success is an error.
const MAX_BODY: usize = 64 * 1024;
/// How much of a refusal is read, and how much of that is shown.
const MAX_REFUSAL_READ: usize = 16 * 1024;
const MAX_REFUSAL_SHOWN: usize = 512;

/// The body of the registration request.
#[derive(Serialize)]
pub struct NodeRegisterWalletRequest {
    /// The signed sign-in message.
    pub message: String,
    /// Its EIP-191 signature, `0x` and 130 hex digits.
    pub signature: String,
    /// The registration credentials from the console.
    pub registration_credentials: String,
    /// What the node can do.
    pub capabilities: Vec<String>,
    /// The version of the node's own software.
    pub version: String,
}

impl std::fmt::Debug for NodeRegisterWalletRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeRegisterWalletRequest")
            .field("message", &self.message)
            .field("registration_credentials", &"[redacted]")
            .field("capabilities", &self.capabilities)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What is sent: the request of the predecessor's wire, and after it what later nodes may add.
#[derive(Serialize)]
struct RegisterBody<'a> {
    #[serde(flatten)]
    request: &'a NodeRegisterWalletRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
}

#[derive(Serialize)]
struct ChallengeBody<'a> {
    wallet: &'a str,
}

#[derive(Serialize)]
struct VerifyBody<'a> {
    address: &'a str,
    message: &'a str,
    signature: &'a str,
}

/// One DDS, spoken to through one HTTP client.
pub(crate) struct Dds<'a> {
    pub(crate) base_url: &'a Url,
    pub(crate) client: &'a Client,
    /// For one request, body included; none leaves it to the client.
    pub(crate) timeout: Option<Duration>,
    /// Texts that must not come back out of an error, should DDS repeat them.
    pub(crate) secrets: &'a [&'a str],
    /// Set by every answer.
    pub(crate) clock: &'a DdsClock,
}

impl Dds<'_> {
    /// Asks for a challenge to sign.
    pub(crate) async fn challenge(&self, wallet: &str) -> Result<Challenge, Failure> {
        const WHAT: &str = "the challenge request";
        let response = self.post(WHAT, CHALLENGE_PATH, &ChallengeBody { wallet }).await?;
        let body = read_success(WHAT, response).await?;
        let unlike = |why: &str| {
            Failure::retryable(format!("DDS answered {WHAT} with something else than a challenge: {why}"))
        };
        let body = str::from_utf8(&body).map_err(|error| unlike(&error.to_string()))?;
        // The parser repeats what it found.
        serde_json::from_str(body).map_err(|error| unlike(&self.presentable(&error.to_string())))
    }

    /// Hands in the signed challenge. Any 2xx is a success, whatever its body.
    pub(crate) async fn register(
        &self,
        request: &NodeRegisterWalletRequest,
        max_concurrency: Option<u32>,
    ) -> Result<(), Failure> {
        self.post("the registration", REGISTER_PATH, &RegisterBody { request, max_concurrency }).await?;
        Ok(())
    }

    /// Changes the signed challenge for an access token.
    pub(crate) async fn verify(&self, signed: &Signed) -> Result<Grant, Failure> {
        const WHAT: &str = "the sign-in";
        let body =
            VerifyBody { address: &signed.wallet, message: &signed.message, signature: &signed.signature };
        let response = self.post(WHAT, VERIFY_PATH, &body).await?;
        let body = Zeroizing::new(read_success(WHAT, response).await?);
        let unlike = |why: String| {
            Failure::retryable(format!(
                "DDS answered {WHAT} with something else than an access token ({why})"
            ))
        };
        let body = str::from_utf8(&body).map_err(|error| unlike(error.to_string()))?;
        // The parser's words would repeat what it found: the token, perhaps.
        serde_json::from_str(body)
            .map_err(|error| unlike(format!("JSON, line {} column {}", error.line(), error.column())))
    }

    /// Posts JSON and returns the answer if it is a success.
    async fn post(&self, what: &str, path: &str, body: &impl Serialize) -> Result<Response, Failure> {
        let endpoint = self.endpoint(path);
        let body = serde_json::to_vec(body).expect("texts and numbers always serialize");
        // A body that is wrapped cannot be sent twice, so even a host's own client, which may follow
        // redirects, cannot carry the credentials elsewhere.
        let mut request = self
            .client
            .post(endpoint.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Body::wrap(Full::<Bytes>::from(body)));
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let sent = SystemTime::now();
        let response = request.send().await.map_err(|error| {
            Failure::retryable(format!("DDS did not answer {what} at {endpoint}: {}", chain(error)))
        })?;
        if let Some(date) = parse_date(response.headers()) {
            self.clock.observe(date, sent, SystemTime::now());
        }
        if endpoint != *response.url() {
            return Err(Failure::refused(format!(
                "DDS answered {what} at {endpoint} with a redirect, which the client followed to {}; give the \
                 client redirect::Policy::none()",
                self.presentable(response.url().as_str())
            )));
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(what, &endpoint, response).await)
    }

    /// Made of the parsed URL: to parse one anew for each request costs as much as to send it.
    fn endpoint(&self, path: &str) -> Url {
        let mut endpoint = self.base_url.clone();
        endpoint.set_path(&format!("{}{path}", self.base_url.path().trim_end_matches('/')));
        endpoint
    }

    async fn refusal(&self, what: &str, endpoint: &Url, response: Response) -> Failure {
        let status = response.status();
        let retry_after = parse_retry_after(response.headers(), self.clock.now());
        let mut text = format!("DDS answered {what} at {endpoint} with {status}");
        if let Some(location) = response.headers().get(LOCATION).filter(|_| status.is_redirection()) {
            let location = String::from_utf8_lossy(location.as_bytes());
            text += &format!(
                " (to {}; redirects are not followed, set dds_base_url to the right place)",
                self.presentable(&location)
            );
        }
        // However the body ends, what came of it is worth showing.
        let body = read_start(response, MAX_REFUSAL_READ).await;
        let words = self.presentable(&String::from_utf8_lossy(&body));
        if !words.is_empty() {
            text += ": ";
            text += &words;
        }
        let class = if endpoint.path().ends_with(VERIFY_PATH) && is_unknown_node(status, &words) {
            FailureClass::UnknownNode
        } else {
            classify(status)
        };
        Failure { class, text, retry_after }
    }

    /// DDS's own words, fit for a log line: without secrets, cut at a character boundary, escaped.
    fn presentable(&self, text: &str) -> String {
        let text = redact(text.trim(), self.secrets);
        let end = (0..=MAX_REFUSAL_SHOWN.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        let shown = &text[..end.unwrap_or(0)];
        let mut out = String::with_capacity(shown.len() + 3);
        for c in shown.chars() {
            if is_invisible(c) { out.extend(c.escape_default()) } else { out.push(c) }
        }
        if shown.len() < text.len() {
            out.push('…');
        }
        out
    }
}

/// Control characters, and what breaks a line or turns its direction in a terminal or a log viewer.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Takes secrets out of a text that repeats them: as they are, without surrounding space, as JSON writes
/// them, and cut off at the end, where an answer ended early or was read no further.
fn redact(text: &str, secrets: &[&str]) -> String {
    const REDACTED: &str = "[redacted]";
    /// A shorter rest gives nothing away, and any text may end with one.
    const MIN_REST: usize = 8;
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty()) {
        let json = Zeroizing::new(serde_json::Value::from(secret).to_string());
        for form in [secret, &json[1..json.len() - 1]] {
            text = text.replace(form, REDACTED);
            let cut = (MIN_REST..form.len()).rev().find(|&end| {
                form.is_char_boundary(end) && text.trim_end_matches('\u{fffd}').ends_with(&form[..end])
            });
            if let Some(cut) = cut {
                text.truncate(text.trim_end_matches('\u{fffd}').len() - cut);
                text += REDACTED;
            }
        }
    }
    text
}

/// When DDS wrote the answer, in whole seconds (RFC 9110, 6.6.1).
pub(crate) fn parse_date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// The body of a success.
async fn read_success(what: &str, mut response: Response) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::retryable(format!("DDS answered {what} {why}"));
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(format!("but the answer broke off: {}", chain(error))))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(failed(format!("with more than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// At most the first `max` bytes, or what came before the connection broke.
async fn read_start(mut response: Response, max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < max
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(max);
    body
}

/// An error with its causes; without its URL, which the caller has named already.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text += ": ";
            text += &next;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::loopback_client;

    #[test]
    fn a_path_is_put_after_that_of_the_base_url() {
        let client = loopback_client().expect("a client");
        let endpoint = |base_url: &str| {
            let base_url = &base_url.parse().expect("a URL");
            let clock = &DdsClock::default();
            Dds { base_url, client: &client, timeout: None, secrets: &[], clock }
                .endpoint("/v1/x")
                .to_string()
        };
        for base_url in ["http://dds.example:81", "http://dds.example:81/"] {
            assert_eq!(endpoint(base_url), "http://dds.example:81/v1/x");
        }
        for base_url in ["http://dds.example/a%20b", "http://dds.example/a%20b/"] {
            assert_eq!(endpoint(base_url), "http://dds.example/a%20b/v1/x");
        }
    }

    #[test]
    fn words_of_dds_are_cut_escaped_and_freed_of_secrets() {
        let client = loopback_client().expect("a client");
        let clock = DdsClock::default();
        let base_url = &"http://dds.example".parse().expect("a URL");
        let dds = Dds { base_url, client: &client, timeout: None, secrets: &["s3cr3t", ""], clock: &clock };
        assert_eq!(dds.presentable(" no s3cr3t\r\nX: \u{1b}[0m "), "no [redacted]\\r\\nX: \\u{1b}[0m");
        // A three-byte character lies across the 512th byte.
        let long = format!("{}€ and more", "a".repeat(511));
        assert_eq!(dds.presentable(&long), format!("{}…", "a".repeat(511)));
        assert_eq!(dds.presentable(&"b".repeat(512)), "b".repeat(512));
    }

    #[test]
    fn the_request_never_shows_its_credentials() {
        let request = NodeRegisterWalletRequest {
            message: "m".into(),
            signature: "0x".into(),
            registration_credentials: "s3cr3t".into(),
            capabilities: vec!["/a".into()],
            version: "1.0.0".into(),
        };
        assert!(!format!("{request:?}").contains("s3cr3t"));
    }
}
