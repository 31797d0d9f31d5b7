//! `dev-dds`: runs a local DDS.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use posemesh_dev_dds::{Callback, DevDds, TokenFormat};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

/// A local DDS, to try a node without the network.
///
/// Prints its URL, then a line for every event. Ends on Ctrl-C and SIGTERM.
/// `curl URL/_dev/` prints the commands that inject faults and show requests.
#[derive(Parser)]
#[command(name = "dev-dds", version)]
struct Options {
    /// The address to listen on: loopback only; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// The URL of the node's callback server, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    node_url: Option<String>,
    /// The secret to send in callbacks [default: a new one for each registration]
    #[arg(long)]
    secret: Option<String>,
    /// When to call a node back after it has registered
    #[arg(long, value_enum, default_value = "after-answer")]
    callback: When,
    /// How long a challenge is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    nonce_lifetime: u64,
    /// How long a token is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// What tokens look like
    #[arg(long, value_enum, default_value = "jwt")]
    token_format: Format,
    /// Claims to add to every JWT or to replace in it, as a JSON object; a claim that is null is removed
    #[arg(long, value_name = "JSON", value_parser = json_object, default_value = "{}")]
    token_claims: Map<String, Value>,
    /// Omit node_id and wallet from the answer to a sign-in with a wallet
    #[arg(long)]
    no_token_identity: bool,
    /// The only registration credentials to accept [default: any]
    #[arg(long)]
    credentials: Option<String>,
    /// How often to probe the health of nodes [default: once for each registration with a URL]
    #[arg(long, value_name = "SECONDS")]
    health_interval: Option<u64>,
    /// Also end at the end of stdin, so the server does not outlive a test harness
    #[arg(long)]
    until_eof: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    Never,
    AfterAnswer,
    BeforeAnswer,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jwt,
    Opaque,
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if stderr is closed.
            let _ = writeln!(io::stderr(), "error: {error}");
            // The code that clap uses for invalid arguments.
            ExitCode::from(if error.kind() == io::ErrorKind::InvalidInput { 2 } else { 1 })
        }
    }
}

fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // Before the URL is printed, so that a signal right after it is handled.
    let asked_to_end = asked_to_end()?;

    let dds = DevDds::builder()
        .bind(options.bind)
        .node_url(options.node_url)
        .secret(options.secret)
        .callback(match options.callback {
            When::Never => Callback::Never,
            When::AfterAnswer => Callback::AfterAnswer,
            When::BeforeAnswer => Callback::BeforeAnswer,
        })
        .nonce_lifetime(Duration::from_secs(options.nonce_lifetime))
        .token_lifetime(Duration::from_secs(options.token_lifetime))
        .token_format(match options.token_format {
            Format::Jwt => TokenFormat::Jwt,
            Format::Opaque => TokenFormat::Opaque,
        })
        .token_claims(options.token_claims)
        .token_identity(!options.no_token_identity)
        .credentials(options.credentials)
        .health_interval(options.health_interval.map(Duration::from_secs))
        .on_event(|event| {
            // A closed stdout does not stop the server.
            let _ = print_line(event);
        })
        .start()?;
    print_line(dds.url())?;

    let eof = options.until_eof.then(end_of_stdin);
    runtime.block_on(async {
        tokio::select! {
            () = asked_to_end => {}
            Some(_) = async { Some(eof?.await) } => {}
        }
    });
    Ok(())
}

/// Ctrl-C or SIGTERM, from now on.
#[cfg(unix)]
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ctrl-C, from now on.
#[cfg(windows)]
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

fn print_line(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Reads on a thread, because a blocked read cannot be cancelled. The process does not wait for that thread.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        ended.send(())
    });
    receiver
}
