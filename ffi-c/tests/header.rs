//! `include/posemesh_node.h` is what the sources say, compiles alone, and leaves nothing undocumented.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use posemesh_node_registration::config::OPTIONS;

const UPDATE: &str = "UPDATE_HEADER=1 cargo test -p posemesh-node-ffi --test header";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed() -> PathBuf {
    root().join("../include/posemesh_node.h")
}

/// The option table of the core, as the header shows it.
fn options() -> String {
    let line = |option: &posemesh_node_registration::config::ConfigOption| {
        let default = if option.required { "required" } else { option.default.unwrap_or("-") };
        format!(" *     {:<24}{:<24}{default}", option.name, option.env)
    };
    OPTIONS.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn generated() -> String {
    let mut config =
        cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let header = config.header.expect("cbindgen.toml has a header");
    config.header = Some(header.replace("@OPTIONS@", &options()));
    let bindings = cbindgen::generate_with_config(root(), config).expect("the sources can be read");
    let mut header = Vec::new();
    bindings.write(&mut header);
    tagged(&String::from_utf8(header).expect("UTF-8"))
}

/// Gives each struct a tag with its name, so that it can be declared ahead: cbindgen's style "both" would
/// say `struct` wherever a type is used, too.
fn tagged(header: &str) -> String {
    let mut parts = header.split("typedef struct {");
    let mut tagged = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split_once("\n} ").and_then(|(_, rest)| rest.split_once(';')).expect("a name").0;
        tagged += &format!("typedef struct {name} {{{part}");
    }
    tagged
}

#[test]
fn the_header_is_up_to_date() {
    let generated = generated();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(committed(), &generated).expect("the header can be written");
    }
    let committed = fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        committed == generated,
        "include/posemesh_node.h is not what the sources say; update it: {UPDATE}"
    );
}

#[test]
fn everything_is_documented() {
    let header = fs::read_to_string(committed()).expect("the header is there");
    let lines: Vec<_> = header.lines().collect();
    let mut functions = 0;
    for (number, line) in lines.iter().enumerate() {
        let is_type = line.starts_with("typedef");
        let is_function =
            !is_type && line.contains("pmn_") && line.contains('(') && line.starts_with(char::is_alphabetic);
        if is_function || is_type || line.starts_with("#define PMN_") {
            assert!(lines[number - 1].starts_with("///"), "no comment: {line}");
        }
        functions += usize::from(is_function);
    }
    assert_eq!(functions, 24, "the functions of the ABI");
}

#[test]
fn the_header_compiles_alone() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (compiler, standard, file) in [("gcc", "c11", "alone.c"), ("g++", "c++17", "alone.cpp")] {
        let source = directory.join(file);
        fs::write(&source, "#include \"posemesh_node.h\"\n#include \"posemesh_node.h\"\n")
            .expect("a source file");
        let status = Command::new(compiler)
            .args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
            .arg("-I")
            .arg(root().join("../include"))
            .arg(&source)
            .status()
            .unwrap_or_else(|error| panic!("{compiler}: {error}; install gcc and g++"));
        assert!(status.success(), "{compiler} -std={standard}");
    }
}
