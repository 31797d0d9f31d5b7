//! The local DDS behind `posemesh_node.testing`.

use std::fmt::Display;
use std::io;
use std::process;
use std::time::{Duration, SystemTime};

use posemesh_dev_dds::{Callback, DevDds as LocalDds, Endpoint, Fault, RegisteredNode, Request, TokenFormat};
use posemesh_node_registration::node::callback_url;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// How long a wait sleeps between checks for Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

/// A local DDS.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct DevDds {
    /// `None` only while `drop` runs.
    dds: Option<LocalDds>,
    /// The process that has its thread. A forked child does not have it.
    process: u32,
}

/// A request: number, endpoint, method, path, headers, body, time, seconds since the start, status.
type RequestRow<'py> = (
    u64,
    Option<&'static str>,
    String,
    String,
    Vec<(String, String)>,
    Bound<'py, PyBytes>,
    SystemTime,
    f64,
    Option<u16>,
);

/// A registered node: wallet, node id, version, capabilities, jobs at once, how often it has registered, whether it
/// is online, URL.
type NodeRow = (Option<String>, String, String, Vec<String>, Option<u64>, u64, bool, Option<String>);

impl DevDds {
    fn dds(&self) -> PyResult<&LocalDds> {
        if self.process != process::id() {
            return Err(PyRuntimeError::new_err(
                "this LocalDds belongs to the parent process; create another one after the fork",
            ));
        }
        Ok(self.dds.as_ref().expect("only drop takes it"))
    }
}

#[pymethods]
impl DevDds {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by name")]
    fn new(
        py: Python<'_>,
        node_url: Option<String>,
        secret: Option<String>,
        credentials: Option<String>,
        callback: &str,
        health_interval: Option<f64>,
        nonce_lifetime: f64,
        token_lifetime: f64,
        token_format: &str,
        token_identity: bool,
        token_claims: &str,
        clock_offset: i32,
    ) -> PyResult<Self> {
        let callback = match callback {
            "after_answer" => Callback::AfterAnswer,
            "before_answer" => Callback::BeforeAnswer,
            "never" => Callback::Never,
            other => return Err(invalid(format!("unknown callback {other:?}"))),
        };
        let token_format = match token_format {
            "jwt" => TokenFormat::Jwt,
            "opaque" => TokenFormat::Opaque,
            other => return Err(invalid(format!("unknown token_format {other:?}"))),
        };
        let health_interval =
            health_interval.map(Duration::try_from_secs_f64).transpose().map_err(invalid)?;
        let nonce_lifetime = Duration::try_from_secs_f64(nonce_lifetime).map_err(invalid)?;
        let token_lifetime = Duration::try_from_secs_f64(token_lifetime).map_err(invalid)?;
        let builder = LocalDds::builder()
            .node_url(node_url)
            .secret(secret)
            .credentials(credentials)
            .callback(callback)
            .health_interval(health_interval)
            .nonce_lifetime(nonce_lifetime)
            .token_lifetime(token_lifetime)
            .token_format(token_format)
            .token_identity(token_identity)
            .token_claims(serde_json::from_str(token_claims).map_err(invalid)?)
            .clock_offset_secs(clock_offset)
            .find_node(callback_url);
        let dds = py.detach(|| builder.start()).map_err(io_error)?;
        Ok(Self { dds: Some(dds), process: process::id() })
    }

    fn url(&self) -> PyResult<String> {
        Ok(self.dds()?.url())
    }

    /// `fault` is JSON, as in the control API of dev-dds. `times` is `None`: until the faults are cleared.
    fn inject(&self, endpoint: &str, fault: &str, times: Option<u32>) -> PyResult<()> {
        let fault: Fault = serde_json::from_str(fault).map_err(invalid)?;
        self.dds()?.inject(parse_endpoint(endpoint)?, fault, times.unwrap_or(u32::MAX));
        Ok(())
    }

    fn clear_faults(&self) -> PyResult<()> {
        self.dds()?.clear_faults();
        Ok(())
    }

    fn requests<'py>(&self, py: Python<'py>, endpoint: Option<&str>) -> PyResult<Vec<RequestRow<'py>>> {
        let requests = match endpoint {
            Some(endpoint) => self.dds()?.requests_to(parse_endpoint(endpoint)?),
            None => self.dds()?.requests(),
        };
        Ok(requests.into_iter().map(|request| row(py, request)).collect())
    }

    fn clear_requests(&self) -> PyResult<()> {
        self.dds()?.clear_requests();
        Ok(())
    }

    fn wait_for_requests(
        &self,
        py: Python<'_>,
        endpoint: &str,
        count: usize,
        timeout: f64,
    ) -> PyResult<bool> {
        let (dds, endpoint) = (self.dds()?, parse_endpoint(endpoint)?);
        let mut left = Duration::try_from_secs_f64(timeout).map_err(invalid)?;
        loop {
            let slice = left.min(SLICE);
            if py.detach(|| dds.wait_for_requests(endpoint, count, slice)) {
                return Ok(true);
            }
            py.check_signals()?;
            left -= slice;
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    fn set_node_url(&self, url: Option<String>) -> PyResult<()> {
        self.dds()?.set_node_url(url).map_err(io_error)
    }

    fn set_secret(&self, secret: Option<String>) -> PyResult<()> {
        self.dds()?.set_secret(secret);
        Ok(())
    }

    fn last_secret(&self) -> PyResult<Option<String>> {
        Ok(self.dds()?.last_secret())
    }

    fn call_back(&self, py: Python<'_>) -> PyResult<(u16, Vec<u8>)> {
        let dds = self.dds()?;
        let outcome = py.detach(|| dds.call_back()).map_err(io_error)?;
        Ok((outcome.status, outcome.body))
    }

    fn probe_health(&self, py: Python<'_>) -> PyResult<u16> {
        let dds = self.dds()?;
        py.detach(|| dds.probe_health()).map_err(io_error)
    }

    fn nodes(&self) -> PyResult<Vec<NodeRow>> {
        let row = |node: RegisteredNode| {
            let RegisteredNode { wallet, node_id, version, capabilities, url, .. } = node;
            let RegisteredNode { max_concurrency, registrations, online, .. } = node;
            (wallet, node_id, version, capabilities, max_concurrency, registrations, online, url)
        };
        Ok(self.dds()?.nodes().into_iter().map(row).collect())
    }

    fn accepts_token(&self, token: &str) -> PyResult<bool> {
        Ok(self.dds()?.accepts_token(token))
    }

    /// `node` is a wallet or the id of a robot. `None`: every node.
    fn forget(&self, node: Option<&str>) -> PyResult<()> {
        let dds = self.dds()?;
        match node {
            Some(node) if node.starts_with("0x") => dds.forget(&parse_wallet(node)?),
            Some(robot) => dds.forget(&parse_robot_id(robot)?),
            None => dds.forget_all(),
        }
        Ok(())
    }

    fn set_online_elsewhere(&self, wallet: &str, online: bool) -> PyResult<()> {
        self.dds()?.set_online_elsewhere(&parse_wallet(wallet)?, online);
        Ok(())
    }

    /// `fields` is a JSON object.
    fn set_challenge(&self, fields: Option<&str>) -> PyResult<()> {
        let fields =
            fields.map(serde_json::from_str::<serde_json::Map<_, _>>).transpose().map_err(invalid)?;
        self.dds()?.set_challenge(fields.map(Into::into));
        Ok(())
    }
}

impl Drop for DevDds {
    fn drop(&mut self) {
        let dds = self.dds.take();
        if self.process != process::id() {
            // Its thread and locks belong to the parent process.
            std::mem::forget(dds);
            return;
        }
        // This joins a thread, which does not need the GIL, but other threads may.
        Python::try_attach(|py| py.detach(|| drop(dds)));
    }
}

fn parse_endpoint(name: &str) -> PyResult<Endpoint> {
    serde_json::from_value(name.into()).map_err(invalid)
}

fn parse_robot_id(id: &str) -> PyResult<String> {
    let groups = id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let digits = id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (groups && digits)
        .then(|| id.to_owned())
        .ok_or_else(|| invalid("wallet must be 0x and 40 hex digits, or the UUID of a robot"))
}

/// Returns the wallet in lowercase, which has no checksum.
fn parse_wallet(wallet: &str) -> PyResult<String> {
    let lowercase = wallet.to_ascii_lowercase();
    let is_address = lowercase
        .strip_prefix("0x")
        .is_some_and(|digits| digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    is_address.then_some(lowercase).ok_or_else(|| invalid("wallet must be 0x and 40 hex digits"))
}

fn row(py: Python<'_>, request: Request) -> RequestRow<'_> {
    (
        request.number,
        request.endpoint.map(Endpoint::name),
        request.method,
        request.path,
        request.headers,
        PyBytes::new(py, &request.body),
        request.at,
        request.since_start.as_secs_f64(),
        request.status,
    )
}

fn invalid(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn io_error(error: io::Error) -> PyErr {
    match error.kind() {
        io::ErrorKind::InvalidInput => invalid(error),
        _ => PyOSError::new_err(error.to_string()),
    }
}
