//! `dev-dds`: a local DDS to try a node against.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use posemesh_dev_dds::{Callback, DevDds};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A local DDS, to try a node against without the network.
///
/// Prints its URL, then a line for everything that happens. Ends on Ctrl-C and SIGTERM.
/// `curl URL/_dev/` says how to make it fail on purpose.
#[derive(Parser)]
#[command(name = "dev-dds", version)]
struct Options {
    /// Where to listen; loopback only, port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Where the node's callback server is, like http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    node_url: Option<String>,
    /// The secret for the node [default: a new one for each registration]
    #[arg(long)]
    secret: Option<String>,
    /// When to call a node back that has registered
    #[arg(long, value_enum, default_value = "after-answer")]
    callback: When,
    /// How long a challenge can be answered
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    nonce_lifetime: u64,
    /// How long an access token is good
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// How often to probe the node's health [default: never]
    #[arg(long, value_name = "SECONDS")]
    health_interval: Option<u64>,
    /// End when stdin does, too: no orphan is left when a test harness dies
    #[arg(long)]
    until_eof: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    Never,
    AfterAnswer,
    BeforeAnswer,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(io::stderr(), "error: {error}");
            // As clap does for arguments that it can check itself.
            ExitCode::from(if error.kind() == io::ErrorKind::InvalidInput { 2 } else { 1 })
        }
    }
}

fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // From here on, so that a signal right after the URL finds them.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

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
        .health_interval(options.health_interval.map(Duration::from_secs))
        .on_event(|event| {
            // A reader that has gone does not stop the server.
            let _ = say(event);
        })
        .start()?;
    say(dds.url())?;

    let eof = options.until_eof.then(end_of_stdin);
    runtime.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            Some(_) = async { Some(eof?.await) } => {}
        }
    });
    Ok(())
}

fn say(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A thread, because a blocked read cannot be called off: the process does not wait for this one.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        ended.send(())
    });
    receiver
}
