//! The C ABI as C programs see it. Each test is a C program, linked with the library as it ships and run with a local
//! DDS.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use support::{Dds, Link, compile, include, output, run, stderr, stdout, without_token_length};

const VALGRIND: &[&str] = &[
    "--quiet",
    "--leak-check=full",
    "--show-leak-kinds=definite,indirect,possible",
    "--errors-for-leak-kinds=definite,indirect,possible",
    "--error-exitcode=9",
];

fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(VALGRIND).arg(program);
    command
}

/// Runs a test program, which must succeed and print nothing.
fn passes(source: &'static str, link: Link) {
    let output = run(Dds::start().environment(&mut Command::new(compile(source, link))));
    assert_eq!(stdout(&output) + &stderr(&output), "", "{source} {link:?}");
}

fn passes_under_valgrind(source: &'static str) {
    let program = compile(source, Link::Static);
    let output = run(Dds::start().environment(&mut valgrind(&program)));
    assert_eq!(stdout(&output) + &stderr(&output), "", "{source}");
}

/// Checks what the example prints. It must not contain the secret.
fn check_example(dds: &Dds, output: &Output) {
    let printed = without_token_length(&stdout(output));
    let lines: Vec<_> = printed.lines().collect();
    let wallet = "wallet 0xfdbb6caf01414300c16ea14859fec7736d95355f";
    assert_eq!(lines, [wallet, "registered", "token", "secret of 43 bytes", "registered again"]);
    let log = stderr(output);
    assert!(log.contains("INFO  posemesh_node::register: registered"), "{log}");
    assert!(log.lines().last().is_some_and(|line| line.ends_with("stopped")), "{log}");
    let secret = dds.dds.last_secret().expect("DDS has sent a secret");
    for text in [printed, log] {
        assert!(!text.contains(&secret) && !text.contains("registration-credentials"), "{text}");
    }
    assert!(dds.dds.requests_to(Endpoint::Register).len() >= 2);
}

// scenario: rearm, secrets-never-shown
#[test]
fn the_example_runs() {
    for link in [Link::Shared, Link::Static, Link::Sanitized] {
        let dds = Dds::start();
        let output = run(dds.environment(&mut Command::new(compile("examples/node.c", link))));
        check_example(&dds, &output);
    }
}

/// The SONAME is not the name of the file that cargo builds.
#[test]
fn a_program_starts_with_the_library_where_cargo_leaves_it() {
    Link::Shared.directory();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi/debug");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("beside-cargo");
    run(Command::new("gcc")
        .arg("-I")
        .arg(include())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/node.c"))
        .arg("-L")
        .arg(&directory)
        .arg("-lposemesh_node")
        .arg("-o")
        .arg(&program));
    let dds = Dds::start();
    let output = run(dds.environment(&mut Command::new(program)).env("LD_LIBRARY_PATH", directory));
    check_example(&dds, &output);
}

#[test]
fn the_example_runs_under_valgrind() {
    let dds = Dds::start();
    let program = compile("examples/node.c", Link::Static);
    let output = run(dds.environment(&mut valgrind(&program)));
    check_example(&dds, &output);
}

#[test]
fn the_example_says_which_option_is_missing() {
    let mut command = Command::new(compile("examples/node.c", Link::Shared));
    let output = output(Dds::start().environment(&mut command).env_remove("REG_SECRET"));
    assert_eq!(output.status.code(), Some(1));
    let printed = stderr(&output);
    assert!(
        printed.starts_with("PMN_ERR_INVALID_CONFIG: ") && printed.contains("REG_SECRET_FILE"),
        "{printed}"
    );
}

#[test]
fn invalid_arguments_and_small_buffers_are_refused() {
    passes("tests/c/arguments.c", Link::Shared);
    passes("tests/c/arguments.c", Link::Sanitized);
    passes_under_valgrind("tests/c/arguments.c");
}

#[test]
fn callbacks_run_in_order_and_destroy_runs_once() {
    passes("tests/c/callbacks.c", Link::Shared);
    passes("tests/c/callbacks.c", Link::Sanitized);
    passes_under_valgrind("tests/c/callbacks.c");
}

#[test]
fn requests_of_dds_are_handled_in_the_programs_own_server() {
    passes("tests/c/requests.c", Link::Shared);
    passes("tests/c/requests.c", Link::Sanitized);
    passes_under_valgrind("tests/c/requests.c");
}

#[test]
fn a_signer_of_the_host_signs_in_place_of_a_key() {
    passes("tests/c/signer.c", Link::Shared);
    passes("tests/c/signer.c", Link::Sanitized);
}

#[test]
fn a_forked_child_cannot_use_the_parents_node_but_can_start_its_own() {
    passes("tests/c/fork.c", Link::Shared);
}

#[test]
fn processes_with_one_state_dir_act_as_one_node() {
    passes("tests/c/shared.c", Link::Shared);
    passes("tests/c/shared.c", Link::Sanitized);
}

#[test]
fn a_process_may_end_while_its_node_runs() {
    let program = compile("tests/c/exit.c", Link::Shared);
    let output = output(Dds::start().environment(&mut Command::new(program)));
    assert_eq!((output.status.code(), stdout(&output) + &stderr(&output)), (Some(7), String::new()));
}

#[test]
fn a_health_check_reaches_the_program() {
    let dds = Dds::with(DevDds::builder().health_interval(Duration::from_millis(5)));
    run(dds.environment(&mut Command::new(compile("tests/c/healthcheck.c", Link::Sanitized))));
}

#[test]
fn a_closed_connection_does_not_raise_sigpipe() {
    let dds = Dds::start();
    dds.dds.inject(Endpoint::Challenge, Fault::Reset, 1);
    dds.dds.inject(Endpoint::Register, Fault::Reset, 1);
    run(dds.environment(&mut Command::new(compile("tests/c/sigpipe.c", Link::Shared))));
}

#[test]
fn the_documented_stack_size_is_enough() {
    passes("tests/c/stack.c", Link::Shared);
}

#[test]
fn the_words_of_dds_reach_the_program() {
    let dds = Dds::start();
    let rejection = Fault::Status { code: 403, retry_after: None, body: b"this wallet is blocked".to_vec() };
    dds.dds.inject(Endpoint::Register, rejection, u32::MAX);
    run(dds.environment(&mut Command::new(compile("tests/c/refusal.c", Link::Shared))));
}

#[test]
fn errors_say_why_the_node_is_not_registered() {
    let rejection = Fault::Status { code: 403, retry_after: None, body: b"this wallet is blocked".to_vec() };
    let refusing = Dds::start();
    refusing.dds.inject(Endpoint::Register, rejection, u32::MAX);
    let busy = Dds::start();
    busy.dds.inject(Endpoint::Challenge, Fault::status(503), u32::MAX);
    let errors = compile("tests/c/errors.c", Link::Sanitized);
    let unreachable = Dds::start();
    for (dds, url, words) in [
        (&refusing, refusing.dds.url(), "this wallet is blocked"),
        (&busy, busy.dds.url(), "503"),
        (&unreachable, "http://127.0.0.1:1".into(), "refused"),
        (&unreachable, "https://no-such-host.invalid".into(), "no-such-host.invalid"),
    ] {
        let mut command = Command::new(&errors);
        run(dds.environment(&mut command).env("DDS_BASE_URL", url).arg(words));
    }
}

#[test]
fn a_refused_sign_in_and_a_lost_registration_reach_the_program() {
    let dds = Dds::start();
    let refusals = [("this wallet is blocked", Some("600".into())), ("node not found", None)];
    for (body, retry_after) in refusals {
        dds.dds.inject(Endpoint::Verify, Fault::Status { code: 403, retry_after, body: body.into() }, 1);
    }
    run(dds.environment(&mut Command::new(compile("tests/c/tokens.c", Link::Sanitized))));
    assert_eq!(dds.dds.requests_to(Endpoint::Verify).len(), 3);
}

#[test]
fn a_node_leaves_the_process_as_it_was() {
    passes("tests/c/footprint.c", Link::Shared);
    passes("tests/c/footprint.c", Link::Static);
}

#[test]
fn a_program_may_close_every_descriptor_between_two_nodes() {
    passes("tests/c/descriptors.c", Link::Shared);
}

#[test]
fn panics_end_at_the_boundary() {
    let output =
        run(Dds::start().environment(&mut Command::new(compile("tests/c/panic.c", Link::TestExports))));
    assert!(stderr(&output).contains("asked for by a test"), "the host's panic hook did not run");
}

#[test]
fn the_library_links_with_cpp() {
    passes("tests/c/link.cpp", Link::Shared);
    passes("tests/c/link.cpp", Link::Static);
}

/// Otherwise a sanitizer that is not linked in would pass every test.
#[test]
fn the_checkers_report_a_leak() {
    let sanitized = compile("tests/c/leak.c", Link::Sanitized);
    assert!(stdout(&run(Command::new("nm").arg(&sanitized))).contains("__asan_init"));
    let found = output(&mut Command::new(sanitized));
    assert!(!found.status.success() && stderr(&found).contains("LeakSanitizer"), "{}", stderr(&found));

    let program = compile("tests/c/leak.c", Link::Static);
    let found = output(&mut valgrind(&program));
    assert_eq!(found.status.code(), Some(9), "{}", stderr(&found));
}

#[test]
fn exactly_the_functions_of_the_header_are_exported() {
    let library = Link::Shared.directory().join("libposemesh_node.so");
    let symbols =
        run(Command::new("nm").args(["--dynamic", "--defined-only", "--format=just-symbols"]).arg(library));
    let exported: BTreeSet<_> = stdout(&symbols).lines().map(str::to_owned).collect();
    assert_eq!(exported, functions(&include().join("posemesh_node.h")));
}

/// The names of the functions that a header declares.
fn functions(header: &Path) -> BTreeSet<String> {
    let header = fs::read_to_string(header).expect("the header is there");
    let declarations =
        header.lines().filter(|line| line.starts_with(char::is_alphabetic) && !line.starts_with("typedef"));
    let name = |line: &str| Some(line.split_once('(')?.0.rsplit([' ', '*']).next()?.to_owned());
    declarations.filter_map(name).filter(|name| name.starts_with("pmn_")).collect()
}
