//! The requests to DDS: wire types, limits, and what a response means.

mod advice;
mod failure;
mod path;
mod redaction;

use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::{AGE, DATE, LOCATION};
use serde::Serialize;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::clock::DdsClock;
use crate::foreign::{MAX_FOREIGN, foreign, foreign_error};
use crate::http_client::{HttpClient, Request, RequestError, Response};
use crate::json::Object;
use crate::metrics::counters::{EndpointCounters, RequestCounter, RequestOutcome};
use crate::siwe::{Challenge, Signed};
use crate::token::response::TokenResponse;

pub(crate) use failure::parse_retry_after;
pub(crate) use failure::{Failure, FailureClass};
use failure::{classify, is_unknown_node, is_unknown_nonce};
use redaction::percent_decode;
pub(crate) use redaction::repeats;

/// The largest body of a successful response. A larger one is an error.
const MAX_BODY: usize = 64 * 1024;
/// How many bytes of a refusal's body are read.
const MAX_REFUSAL_READ: usize = 16 * 1024;

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

/// The body that is sent: the predecessor's request, followed by the fields that were added later.
#[derive(Serialize)]
struct RegisterBody<'a> {
    #[serde(flatten)]
    request: &'a NodeRegisterWalletRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
}

/// The body of the legacy registration with a URL.
#[derive(Serialize)]
pub(crate) struct UrlRegistration<'a> {
    pub(crate) url: &'a str,
    pub(crate) version: &'a str,
    pub(crate) registration_credentials: &'a str,
    /// The recoverable signature of the Keccak-256 hash of `url` followed by `timestamp`.
    pub(crate) signature: String,
    /// RFC 3339 with nanoseconds.
    pub(crate) timestamp: String,
    /// The uncompressed public key, in hex.
    pub(crate) public_key: String,
    pub(crate) capabilities: &'a [String],
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

/// The body of a robot's registration.
#[derive(Serialize)]
pub(crate) struct RobotRegistration<'a> {
    pub(crate) registration_credentials: &'a str,
    pub(crate) version: &'a str,
    pub(crate) capabilities: &'a [String],
}

#[derive(Serialize)]
struct RobotVerifyBody<'a> {
    registration_credentials: &'a str,
}

/// A DDS and the HTTP client for it.
pub(crate) struct Dds<'a> {
    pub(crate) base_url: &'a Url,
    pub(crate) client: &'a HttpClient,
    /// The limit for one request, from connecting to the end of the response body. `None`: the client's own limit.
    pub(crate) timeout: Option<Duration>,
    /// Returns what an error must not show, even if DDS repeats it. Called only when there is an error.
    pub(crate) secrets: &'a (dyn Fn() -> Vec<Zeroizing<Vec<u8>>> + Sync),
    /// Updated by every success.
    pub(crate) clock: &'a DdsClock,
    /// Counts the requests.
    pub(crate) requests: &'a EndpointCounters,
}

impl Dds<'_> {
    /// Requests a challenge to sign.
    pub(crate) async fn challenge(&self, wallet: &str) -> Result<Challenge, Failure> {
        counted(&self.requests.challenge, self.request_challenge(wallet)).await
    }

    async fn request_challenge(&self, wallet: &str) -> Result<Challenge, Failure> {
        const WHAT: &str = "the challenge request";
        let response = self.post(Request::Harmless, WHAT, path::CHALLENGE, &ChallengeBody { wallet }).await?;
        let body = self.read_success(WHAT, response).await?;
        let unlike = |why: &str| {
            Failure::retryable(format!(
                "DDS answered {WHAT} at {} with something other than a challenge: {why}{}",
                self.place(&self.endpoint(path::CHALLENGE)),
                advice::CHECK_URL
            ))
        };
        let body = str::from_utf8(&body).map_err(|error| unlike(&foreign(error)))?;
        // The parser's message quotes the body.
        serde_json::from_str(body)
            .map(|Object(challenge)| challenge)
            .map_err(|error| unlike(&self.presentable(&error.to_string())))
    }

    /// Registers the node with a signed challenge. Any 2xx is a success, whatever its body.
    pub(crate) async fn register(
        &self,
        request: &NodeRegisterWalletRequest,
        max_concurrency: Option<u32>,
    ) -> Result<(), Failure> {
        self.post_registration(path::REGISTER, &RegisterBody { request, max_concurrency }).await
    }

    /// Registers the URL of a node. Any 2xx is a success, whatever its body.
    pub(crate) async fn register_url(&self, registration: &UrlRegistration<'_>) -> Result<(), Failure> {
        self.post_registration(path::REGISTER_URL, registration).await
    }

    async fn post_registration(&self, path: &str, body: &impl Serialize) -> Result<(), Failure> {
        let response = self.post(Request::Once, "the registration", path, body);
        counted(&self.requests.register, response).await.map(|_| ())
    }

    /// Exchanges a signed challenge for an access token.
    pub(crate) async fn verify(&self, signed: &Signed) -> Result<TokenResponse, Failure> {
        let body =
            VerifyBody { address: &signed.wallet, message: &signed.message, signature: &signed.signature };
        let token = self.request_token("the sign-in", path::VERIFY, &body);
        counted(&self.requests.verify, token).await
    }

    /// Registers a robot. The response contains an access token.
    pub(crate) async fn register_robot(
        &self,
        registration: &RobotRegistration<'_>,
    ) -> Result<TokenResponse, Failure> {
        let token = self.request_token("the registration", path::ROBOT_REGISTER, registration);
        counted(&self.requests.register, token).await
    }

    /// Exchanges a robot's credentials for an access token.
    pub(crate) async fn verify_robot(
        &self,
        registration_credentials: &str,
    ) -> Result<TokenResponse, Failure> {
        let body = RobotVerifyBody { registration_credentials };
        let token = self.request_token("the sign-in", path::ROBOT_VERIFY, &body);
        counted(&self.requests.verify, token).await
    }

    async fn request_token(
        &self,
        what: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<TokenResponse, Failure> {
        let response = self.post(Request::Once, what, path, body).await?;
        let body = Zeroizing::new(self.read_success(what, response).await?);
        let unlike = |why: String| {
            Failure::retryable(format!(
                "DDS answered {what} with something other than an access token ({why})"
            ))
        };
        let body = str::from_utf8(&body).map_err(|error| unlike(foreign(error)))?;
        // The parser's message may quote the token, so only the position is shown.
        serde_json::from_str(body)
            .map(|Object(grant)| grant)
            .map_err(|error| unlike(format!("JSON, line {} column {}", error.line(), error.column())))
    }

    /// Posts JSON and returns the response if it is a success.
    async fn post(
        &self,
        request: Request,
        what: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response, Failure> {
        let endpoint = self.endpoint(path);
        let body = serde_json::to_vec(body).expect("texts and numbers always serialize");
        let sent = SystemTime::now();
        let response = self.client.post(request, &endpoint, body, self.timeout).await.map_err(|error| {
            let (place, error) = (self.place(&endpoint), self.present_error(&error));
            Failure::retryable(format!("DDS did not answer {what} at {place}: {error}"))
        })?;
        // A refusal may come from a proxy, and a response with `Age` from a cache.
        if response.status().is_success()
            && !response.headers().contains_key(AGE)
            && let Some(date) = parse_date(response.headers())
        {
            self.clock.observe(date, sent, SystemTime::now());
        }
        if let Some(url) = &response.redirected_to {
            return Err(Failure::refused(format!(
                "DDS answered {what} at {endpoint} with a redirect, which the client followed to {}; give the \
                 client redirect::Policy::none()",
                self.presentable(url)
            )));
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(what, path, &endpoint, response).await)
    }

    /// A text, because `Url::set_path` would parse the path each time.
    fn endpoint(&self, path: &str) -> String {
        let base = &self.base_url[..Position::AfterPath];
        let query = &self.base_url[Position::AfterPath..Position::AfterQuery];
        format!("{}{path}{query}", base.trim_end_matches('/'))
    }

    /// An endpoint, for an error. It names the proxy, which the operator may not know of.
    fn place(&self, endpoint: &str) -> String {
        let proxy = self.client.proxy(endpoint).map(|proxy| format!(" (through the proxy {proxy})"));
        endpoint.to_owned() + &proxy.unwrap_or_default()
    }

    async fn refusal(&self, what: &str, path: &str, endpoint: &str, response: Response) -> Failure {
        let status = response.status();
        let retry_after = parse_retry_after(
            response.headers(),
            parse_date(response.headers()).unwrap_or_else(|| self.clock.now()),
        );
        let mut text = format!("DDS answered {what} at {} with {status}", self.place(endpoint));
        if let Some(location) = response.headers().get(LOCATION).filter(|_| status.is_redirection()) {
            let location = String::from_utf8_lossy(location.as_bytes());
            text += &format!(
                " (to {}; redirects are not followed, set dds_base_url to the right place)",
                self.presentable(&location)
            );
        }
        // If the body breaks off, its start is still worth showing.
        let body = read_start(response, MAX_REFUSAL_READ).await;
        let body = String::from_utf8_lossy(&body);
        let words = self.presentable(&body);
        if !words.is_empty() {
            text += ": ";
            text += &words;
        }
        let class = if matches!(path, path::VERIFY | path::ROBOT_VERIFY) && is_unknown_node(status, &body) {
            FailureClass::UnknownNode
        } else if is_unknown_nonce(status, &body) {
            FailureClass::UnknownNonce
        } else {
            classify(status)
        };
        text += advice::on_refusal(class, status, path);
        Failure { class, text, retry_after }
    }

    /// Text from DDS or a proxy, fit for a log line: shortened and escaped, or replaced as a whole if it repeats a
    /// secret.
    pub(crate) fn presentable(&self, text: &str) -> String {
        const REDACTED: &str = "[redacted] (the text repeats credentials and is not shown)";
        let text = text.trim();
        let end = (0..=MAX_FOREIGN.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let shown = &text[..end.unwrap_or_default()];
        let mut secrets = (self.secrets)();
        let passwords = self.client.proxy_passwords().iter();
        secrets.extend(passwords.map(|password| Zeroizing::new(password.expose().as_bytes().to_vec())));
        // Those that are parts of URLs.
        let encoded = secrets.iter().filter(|secret| secret.contains(&b'%'));
        let decoded: Vec<_> = encoded.map(|secret| percent_decode(secret)).collect();
        secrets.extend(decoded);
        if repeats(shown, &secrets) { REDACTED.into() } else { foreign(text) }
    }

    /// An error of the HTTP client, fit for a log line.
    fn present_error(&self, error: &RequestError) -> String {
        self.presentable(&foreign_error(error)) + advice::on_error(error.cause(), self.client.is_of_host())
    }

    /// Reads the body of a success.
    async fn read_success(&self, what: &str, mut response: Response) -> Result<Vec<u8>, Failure> {
        let failed = |why: String| Failure::retryable(format!("DDS answered {what} {why}"));
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failed(format!("but the answer broke off: {}", self.present_error(&error))))?
        {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(failed(format!("with more than {MAX_BODY} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Counts a request to an endpoint, and the time that it takes. One that is given up does not count.
async fn counted<T>(
    counter: &RequestCounter,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let began = Instant::now();
    let result = request.await;
    let outcome = result.as_ref().map_or_else(|failure| failure.class.into(), |_| RequestOutcome::Success);
    counter.count(outcome, began.elapsed());
    result
}

/// When DDS created the response, in whole seconds (RFC 9110, section 6.6.1).
pub(crate) fn parse_date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// Reads at most the first `max` bytes, or what arrives before the connection breaks.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::HttpClients;

    #[test]
    fn a_path_is_appended_to_the_path_of_the_base_url() {
        let client = HttpClients::for_test();
        let endpoint = |base_url: &str| {
            let base_url = &base_url.parse().expect("a URL");
            let (clock, requests) = (&DdsClock::default(), &EndpointCounters::default());
            Dds { base_url, client: &client, timeout: None, secrets: &Vec::new, clock, requests }
                .endpoint("/v1/x")
        };
        for base_url in ["http://dds.example:81", "http://dds.example:81/"] {
            assert_eq!(endpoint(base_url), "http://dds.example:81/v1/x");
        }
        for base_url in ["http://dds.example/a%20b", "http://dds.example/a%20b/"] {
            assert_eq!(endpoint(base_url), "http://dds.example/a%20b/v1/x");
        }
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
