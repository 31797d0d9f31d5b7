//! `include/posemesh_node.h` is what the sources say, compiles alone, and leaves nothing undocumented.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use posemesh_node_registration::config::OPTIONS;
use support::{WARNINGS, compilers, crate_root, include, run};

const UPDATE: &str = "UPDATE_HEADER=1 cargo test -p posemesh-node-ffi --test header";

fn committed() -> PathBuf {
    include().join("posemesh_node.h")
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
        cbindgen::Config::from_file(crate_root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let header = config.header.expect("cbindgen.toml has a header");
    config.header = Some(header.replace("@OPTIONS@", &options()));
    let bindings = cbindgen::generate_with_config(crate_root(), config).expect("the sources can be read");
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
    assert_eq!(functions, 37, "the functions of the ABI");
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

/// What the comment of a function leaves open.
fn unsaid(declaration: &str, comment: &str) -> Vec<&'static str> {
    let parameters = declaration.split_once('(').map_or("", |(_, parameters)| parameters);
    let hands_over = declaration.split_once("pmn_").is_some_and(|(returns, _)| returns.contains("char *"))
        || declaration.starts_with("pmn_config *")
        || parameters.contains("**")
        || parameters.contains("destroy");
    let comment = comment.to_lowercase();
    let says = |word: &str| comment.contains(word);
    [
        ("who frees what it hands over", hands_over && !says("free") && !says("yours")),
        ("what NULL does", parameters.contains('*') && !says("null")),
        ("whether it blocks", !says("block")),
        ("what happens after a stop", parameters.contains("pmn_node *node") && !says("stop")),
    ]
    .into_iter()
    .filter_map(|(question, open)| open.then_some(question))
    .collect()
}

#[test]
fn each_comment_answers_the_questions_of_a_caller() {
    let header = fs::read_to_string(committed()).expect("the header is there");
    let open: Vec<_> = functions(&header)
        .iter()
        .flat_map(|(declaration, comment)| {
            unsaid(declaration, comment).into_iter().map(move |question| format!("{question}: {declaration}"))
        })
        .collect();
    assert!(open.is_empty(), "not said in the header:\n{}", open.join("\n"));
    assert_eq!(unsaid("const char *pmn_node_name(const pmn_node *node);", "The name.").len(), 4);
}

#[test]
fn the_header_compiles_alone() {
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
