//! `include/posemesh_node.hpp` compiles with strict warnings and does what it documents.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use support::{
    Dds, Link, WARNINGS, compile, compilers, crate_root, include, output, run, stderr, stdout,
    without_token_length,
};

/// A compiler with the warnings of a strict project.
fn strict(compiler: &str, standard: &str) -> Command {
    let mut command = Command::new(compiler);
    command.arg(format!("-std={standard}")).args(WARNINGS).arg("-Wold-style-cast").arg("-I").arg(include());
    command
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn wrapper(compiler: &str, link: Link, flags: &[&str]) {
    let program = temporary(&format!("wrapper-{compiler}-{link:?}"));
    let source = crate_root().join("tests/cpp/wrapper.cpp");
    let mut compile = strict(compiler, "c++17");
    run(compile.args(flags).arg(source).arg("-o").arg(&program).args(link.arguments()));
    let dds = Dds::start();
    let retry_after = Some("600".into());
    let rejection = Fault::Status { code: 403, retry_after, body: b"this wallet is blocked".to_vec() };
    let lost = Fault::Status { code: 403, retry_after: None, body: b"node not found".to_vec() };
    dds.dds.inject(Endpoint::Register, rejection.clone(), 1);
    dds.dds.inject(Endpoint::Verify, rejection, 1);
    dds.dds.inject(Endpoint::Verify, lost, 1);
    let output = run(dds.environment(&mut Command::new(program)));
    assert_eq!(stdout(&output) + &stderr(&output), "", "{compiler} {link:?}");
}

#[test]
fn the_wrapper_converts_owns_and_wipes() {
    for compiler in compilers("g++", "clang++") {
        wrapper(compiler, Link::Shared, &["-fno-rtti", "-O2"]);
    }
    // Optimised code must still wipe keys and secrets; the sanitizers check memory without optimisation.
    wrapper("g++", Link::Sanitized, &["-O0"]);
}

/// A program of one node, from its file in `tests/cpp`.
fn program(name: &'static str) -> PathBuf {
    let program = temporary(&format!("{name}-cpp"));
    let source = crate_root().join("tests/cpp").join(name).with_extension("cpp");
    run(strict("g++", "c++17").arg(source).arg("-o").arg(&program).args(Link::Sanitized.arguments()));
    program
}

#[test]
fn a_process_may_end_while_its_node_runs() {
    let output = output(Dds::start().environment(&mut Command::new(program("exit"))));
    assert_eq!((output.status.code(), stdout(&output) + &stderr(&output)), (Some(7), String::new()));
}

#[test]
fn a_health_probe_reaches_the_program() {
    let dds = Dds::with(DevDds::builder().health_interval(Duration::from_millis(5)));
    run(dds.environment(&mut Command::new(program("healthcheck"))));
}

// scenario: robot
#[test]
fn the_robot_example_gets_a_token_without_a_key() {
    for link in [Link::Shared, Link::Sanitized] {
        let dds = Dds::start();
        let mut command = Command::new(compile("examples/robot.cpp", link));
        dds.environment(&mut command)
            .env_remove("SECP256K1_PRIVHEX")
            .env_remove("REG_SECRET")
            .env_remove("CALLBACK_BIND")
            .env("ROBOT_REGISTRATION_CREDENTIALS", "credentials of a robot");
        let printed = without_token_length(&stdout(&run(&mut command)));
        let lines: Vec<_> = printed.lines().collect();
        assert!(
            matches!(lines[..], [id, "token", claims] if id.len() == "robot ".len() + 36
                && claims.contains("\"node_type\":\"robot\"")),
            "{link:?}: {printed}"
        );
    }
}

#[test]
fn the_header_compiles_on_its_own() {
    let source = temporary("alone_hpp.cpp");
    fs::write(&source, "#include \"posemesh_node.hpp\"\n#include \"posemesh_node.hpp\"\n")
        .expect("a source file");
    for compiler in compilers("g++", "clang++") {
        for standard in ["c++17", "c++20", "c++2b"] {
            run(strict(compiler, standard).args(["-fno-rtti", "-fsyntax-only"]).arg(&source));
        }
        // If it cannot work, its own error comes first.
        for (standard, flag, says) in [
            ("c++14", "-fexceptions", "posemesh_node.hpp needs C++17"),
            ("c++17", "-fno-exceptions", "posemesh_node.hpp throws exceptions"),
        ] {
            let output = output(strict(compiler, standard).args([flag, "-fsyntax-only"]).arg(&source));
            assert!(!output.status.success() && stderr(&output).contains(says), "{}", stderr(&output));
        }
        // MSVC says that it is C++17 in a macro of its own.
        let msvc = |version: &str| {
            let mut command = strict(compiler, "c++14");
            let output =
                output(command.arg(format!("-D_MSVC_LANG={version}")).arg("-fsyntax-only").arg(&source));
            stderr(&output).contains("posemesh_node.hpp needs C++17")
        };
        assert!(msvc("201402L") && !msvc("201703L"));
    }
}

#[test]
fn two_files_of_one_program_may_include_the_header() {
    let (one, two) = (temporary("one.cpp"), temporary("two.cpp"));
    let use_it = "#include \"posemesh_node.hpp\"\nstd::string_view name() { return posemesh::version(); }\n";
    fs::write(&one, use_it.replace("name()", "one()")).expect("a source file");
    fs::write(&two, use_it.replace("name()", "two()") + "int main() { return two().empty(); }\n")
        .expect("a source file");
    let program = temporary("twice");
    run(strict("g++", "c++17").arg(one).arg(two).arg("-o").arg(&program).args(Link::Static.arguments()));
    run(&mut Command::new(program));
}

// scenario: wrong-argument
#[test]
fn misuse_does_not_compile() {
    let source = temporary("misuse.cpp");
    for (misuse, says) in [
        ("posemesh::Node node(posemesh::Config{}); posemesh::Node copy(node);", "deleted function"),
        ("posemesh::Config().set(\"max_retry\", 3);", "invalid conversion"),
        ("const posemesh::Node node(posemesh::Config{}); node.rearm();", "discards qualifiers"),
    ] {
        fs::write(&source, format!("#include \"posemesh_node.hpp\"\nint main() {{ {misuse} }}\n"))
            .expect("a source file");
        let output = output(strict("g++", "c++17").arg("-fsyntax-only").arg(&source));
        assert!(!output.status.success() && stderr(&output).contains(says), "{misuse}\n{}", stderr(&output));
    }
}

#[test]
fn the_readmes_code_runs() {
    let readme = fs::read_to_string(crate_root().join("README.md")).expect("the README");
    let blocks: Vec<_> =
        readme.split("```cpp\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3, "readme.cpp has a place for each block");
    let of_project = include_str!("../../README.md").split("```cpp\n").skip(1);
    let shown: Vec<_> = of_project.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(shown, blocks[..1], "the README of the project shows the first block");
    let directory = temporary("readme-cpp");
    fs::create_dir_all(&directory).expect("writable");
    for (number, block) in (1..).zip(&blocks) {
        fs::write(directory.join(format!("readme-{number}.inc")), block).expect("writable");
    }
    let program = directory.join("readme");
    let source = crate_root().join("tests/cpp/readme.cpp");
    let mut compile = strict("g++", "c++17");
    compile.arg("-I").arg(&directory).arg(source).arg("-o").arg(&program);
    run(compile.args(Link::Sanitized.arguments()));

    let dds = Dds::start();
    run(dds.environment(&mut Command::new(&program)));
    let address = "0xfdbb6caf01414300c16ea14859fec7736d95355f";
    run(dds.environment(Command::new(&program).arg(address)).env_remove("SECP256K1_PRIVHEX"));
}
