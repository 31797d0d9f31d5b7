//! The examples that `c_abi` does not run, built as their readers would build them.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::process::Command;

use posemesh_dev_dds::{Endpoint, Fault};
use support::{Dds, Link, compile, output, run, stderr, stdout, without_token_length};

#[test]
fn the_epoll_example_gets_a_token_without_blocking_its_loop() {
    for link in [Link::Shared, Link::Sanitized] {
        let printed =
            stdout(&run(Dds::start().environment(&mut Command::new(compile("examples/epoll.c", link)))));
        // Earlier states may pass before the loop reads the status.
        assert!(without_token_length(&printed).ends_with("registered\ntoken\n"), "{link:?}: {printed}");
    }
}

#[test]
fn the_cpp_example_logs_events_and_records() {
    for link in [Link::Shared, Link::Sanitized] {
        let dds = Dds::start();
        // So that an attempt fails.
        dds.dds.inject(Endpoint::Challenge, Fault::status(503), 1);
        let output = run(dds.environment(&mut Command::new(compile("examples/node.cpp", link))));
        let wallet = "wallet 0xfdbb6caf01414300c16ea14859fec7736d95355f\n";
        assert_eq!(
            without_token_length(&stdout(&output)),
            format!("{wallet}registered\ntoken\nsecret of 43 bytes\n"),
            "{link:?}"
        );
        let log = stderr(&output);
        for line in [
            "WARN node: ",
            "; next attempt in ",
            "INFO node: in service\n",
            "INFO node: secret number 1\n",
            "INFO posemesh_node::register: registered with DDS",
        ] {
            assert!(log.contains(line), "{link:?}: no {line:?} in\n{log}");
        }
        let secret = dds.dds.last_secret().expect("DDS has sent a secret");
        assert!(!log.contains(&secret) && !log.contains("registration-credentials"), "{log}");
    }
}

#[test]
fn the_cpp_example_says_which_option_is_missing() {
    let mut command = Command::new(compile("examples/node.cpp", Link::Shared));
    let output = output(Dds::start().environment(&mut command).env_remove("REG_SECRET"));
    assert_eq!(output.status.code(), Some(1));
    let log = stderr(&output);
    assert!(log.starts_with("ERROR PMN_ERR_INVALID_CONFIG: ") && log.contains("REG_SECRET_FILE"), "{log}");
}
