//! `include/posemesh_node.h` is up to date, compiles on its own, and documents everything.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

#[path = "support/header.rs"]
mod header;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{WARNINGS, compilers, include, run};

const UPDATE: &str = "UPDATE_HEADER=1 cargo test -p posemesh-node-ffi --test header";

fn committed() -> PathBuf {
    include().join("posemesh_node.h")
}

#[test]
fn the_header_is_up_to_date() {
    let generated = header::generate();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(committed(), &generated).expect("the header can be written");
    }
    let committed = fs::read_to_string(committed()).unwrap_or_default();
    assert!(committed == generated, "include/posemesh_node.h is out of date; update it: {UPDATE}");
}

#[test]
fn everything_is_documented() {
    let header = fs::read_to_string(committed()).expect("the header is there");
    let lines: Vec<_> = header.lines().collect();
    let mut functions = 0;
    for (number, line) in lines.iter().enumerate() {
        let is_type = line.starts_with("typedef");
        let is_constant = line.trim_start().starts_with("PMN_") || line.starts_with("#define PMN_");
        let is_function =
            !is_type && line.contains("pmn_") && line.contains('(') && line.starts_with(char::is_alphabetic);
        if is_function || is_type || is_constant {
            assert!(lines[number - 1].trim_start().starts_with("///"), "no comment: {line}");
        }
        functions += usize::from(is_function);
    }
    assert_eq!(functions, 44, "the functions of the ABI");
}

/// The functions of a header, each with its comment.
fn functions(header: &str) -> Vec<(String, String)> {
    let (mut functions, mut comment) = (Vec::new(), String::new());
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            comment += text;
            continue;
        }
        if line.starts_with(char::is_alphabetic) && !line.starts_with("typedef") && line.contains('(') {
            let mut declaration = line.to_owned();
            while !declaration.ends_with(';') {
                declaration += lines.next().expect("a declaration ends").trim_start();
            }
            functions.push((declaration, std::mem::take(&mut comment)));
        }
        comment.clear();
    }
    functions
}

/// The questions that a function's comment does not answer.
fn unanswered(declaration: &str, comment: &str) -> Vec<&'static str> {
    let parameters = declaration.split_once('(').map_or("", |(_, parameters)| parameters);
    let returns_memory =
        declaration.split_once("pmn_").is_some_and(|(returns, _)| returns.contains("char *"))
            || declaration.starts_with("pmn_config *")
            || parameters.contains("**")
            || parameters.contains("destroy");
    let comment = comment.to_lowercase();
    let says = |word: &str| comment.contains(word);
    [
        ("who frees the result", returns_memory && !says("free") && !says("yours")),
        ("what NULL does", parameters.contains('*') && !says("null")),
        ("whether it blocks", !says("block")),
        ("what happens after a stop", parameters.contains("pmn_node *node") && !says("stop")),
    ]
    .into_iter()
    .filter_map(|(question, open)| open.then_some(question))
    .collect()
}

#[test]
fn every_function_documents_ownership_null_blocking_and_stop() {
    let header = fs::read_to_string(committed()).expect("the header is there");
    let open: Vec<_> = functions(&header)
        .iter()
        .flat_map(|(declaration, comment)| {
            unanswered(declaration, comment)
                .into_iter()
                .map(move |question| format!("{question}: {declaration}"))
        })
        .collect();
    assert!(open.is_empty(), "the header does not say:\n{}", open.join("\n"));
    assert_eq!(unanswered("const char *pmn_node_name(const pmn_node *node);", "The name.").len(), 4);
}

#[test]
fn the_header_compiles_on_its_own() {
    let languages = [
        ("c", compilers("gcc", "clang"), ["c11", "c17", "c2x"]),
        ("cpp", compilers("g++", "clang++"), ["c++17", "c++20", "c++2b"]),
    ];
    for (extension, compilers, standards) in languages {
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alone.{extension}"));
        fs::write(&source, "#include \"posemesh_node.h\"\n#include \"posemesh_node.h\"\n")
            .expect("a source file");
        for (compiler, standard) in
            compilers.iter().flat_map(|name| standards.map(|standard| (name, standard)))
        {
            let mut command = Command::new(compiler);
            command
                .arg(format!("-std={standard}"))
                .args(WARNINGS)
                .arg("-fsyntax-only")
                .arg("-I")
                .arg(include());
            run(command.arg(&source));
        }
    }
}
