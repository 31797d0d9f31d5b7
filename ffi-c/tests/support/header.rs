//! Generates `include/posemesh_node.h`.
//!
//! cbindgen reads the declarations from the sources, and orders them by kind: constants, types, functions. A reader
//! wants them by subject, so this arranges them as `src/` does: a section for each file, in the order of `lib.rs`,
//! and in each section the order of the file. Constants of one of our types become an enum below that type.

use std::fs;

use posemesh_node_registration::config::{ConfigOption, OPTIONS};

use crate::support::crate_root;

/// Fields that have been renamed: the struct, its present name, and the former one, which programs may still use.
const FORMER_NAMES: [(&str, &str, &str); 6] = [
    ("pmn_status", "last_healthcheck_unix_s", "last_healthcheck"),
    ("pmn_status", "registered_at_unix_s", "registered_at"),
    ("pmn_status", "token_expires_at_unix_s", "token_expires_at"),
    ("pmn_event", "previous", "old_state"),
    ("pmn_event", "state", "new_state"),
    ("pmn_event", "token_expires_at_unix_s", "token_expires_at"),
];

/// The option table of the core, as the header shows it.
fn options() -> String {
    let width = |text: fn(&ConfigOption) -> &str| {
        OPTIONS.iter().map(|option| text(option).len()).max().unwrap_or_default() + 2
    };
    let (name_width, env_width) = (width(|option| option.name), width(|option| option.env));
    let line = |option: &ConfigOption| {
        let default = if option.required { "required" } else { option.default.unwrap_or("-") };
        format!(" *     {:<name_width$}{:<env_width$}{default}", option.name, option.env)
    };
    OPTIONS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What cbindgen makes of the sources.
fn declared() -> String {
    let mut config =
        cbindgen::Config::from_file(crate_root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let header = config.header.expect("cbindgen.toml has a header");
    config.header = Some(header.replace("@OPTIONS@", &options()));
    let bindings = cbindgen::generate_with_config(crate_root(), config).expect("the sources can be read");
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

/// A source file: the title of its section, and its text.
struct Source {
    title: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let read = |name: &str| {
        fs::read_to_string(crate_root().join("src").join(name)).expect("the sources can be read")
    };
    let lib = read("lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let source = |module: &str| {
        let text = read(&format!("{module}.rs"));
        let title = text.lines().next().and_then(|line| line.strip_prefix("//! ")).expect("a title");
        Source { title: title.to_owned(), text }
    };
    modules.map(source).collect()
}

/// A declaration with its comment.
struct Item {
    comment: String,
    code: String,
    name: String,
}

impl Item {
    /// `None` for what is no declaration of ours, such as `extern "C" {`.
    fn parse(block: &str) -> Option<Self> {
        let start = block.lines().take_while(|line| line.starts_with("///")).map(|line| line.len() + 1).sum();
        let (comment, code) = block.split_at(start);
        let name = if let Some(constant) = code.strip_prefix("#define ") {
            constant.split(' ').next()?
        } else if let Some((_, function_type)) =
            code.strip_prefix("typedef ").and_then(|it| it.split_once("(*"))
        {
            function_type.split(')').next()?
        } else if code.starts_with("typedef ") {
            code.strip_suffix(';')?.rsplit(' ').next()?
        } else {
            code.split_once('(')?.0.rsplit([' ', '*']).next()?
        };
        (start > 0).then(|| Self {
            comment: comment.to_owned(),
            code: code.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Where a file declares it.
    fn position(&self, source: &Source) -> Option<usize> {
        let name = &self.name;
        [
            format!("fn {name}("),
            format!("const {name}:"),
            format!("type {name} "),
            format!("struct {name} "),
            format!("struct {name}("),
        ]
        .iter()
        .find_map(|declaration| source.text.find(declaration.as_str()))
    }

    /// Whether it is a constant of one of our types.
    fn is_enumerator(&self, source: &Source) -> bool {
        source.text.contains(&format!("const {}: pmn_", self.name))
    }

    /// The declaration as it is, but with a tag for a struct, so that programs can declare it ahead, and with the
    /// former names of its fields.
    fn write(&self) -> String {
        let mut code = self.code.replace("typedef struct {", &format!("typedef struct {} {{", self.name));
        for (_, present, former) in FORMER_NAMES.iter().filter(|(owner, ..)| *owner == self.name) {
            let field = code
                .lines()
                .find(|line| line.ends_with(&format!(" {present};")))
                .expect("a field")
                .to_owned();
            let alias =
                field.replace(&format!(" {present};"), &format!(" {former};")).trim_start().to_owned();
            let union = format!("    union {{\n    {field}\n        {alias} // the former name\n    }};");
            code = code.replace(&field, &union);
        }
        format!("{}{code}\n", self.comment)
    }

    fn write_enumerator(&self) -> String {
        let (name, value) = self.code.trim_start_matches("#define ").split_once(' ').expect("a value");
        let comment: String = self.comment.lines().map(|line| format!("    {line}\n")).collect();
        format!("{comment}    {name} = {value},\n")
    }
}

fn banner(title: &str) -> String {
    let rule = "-".repeat(107);
    format!("// {rule}\n// {title}\n// {rule}\n")
}

/// One section of the header.
fn section(source: &Source, items: &[Item]) -> String {
    let mut items: Vec<_> = items.iter().filter_map(|item| Some((item.position(source)?, item))).collect();
    items.sort_by_key(|(position, _)| *position);
    let mut section = banner(&source.title);
    for group in items.chunk_by(|(_, one), (_, next)| one.is_enumerator(source) && next.is_enumerator(source))
    {
        let text: String = if group[0].1.is_enumerator(source) {
            let enumerators: String = group.iter().map(|(_, item)| item.write_enumerator()).collect();
            format!("enum {{\n{enumerators}}};\n")
        } else {
            group.iter().map(|(_, item)| item.write()).collect()
        };
        section += &format!("\n{text}");
    }
    section
}

/// The header, as it should be.
pub(crate) fn generate() -> String {
    let declared = declared();
    let (top, rest) = declared.split_once("\n\n/// ").expect("an item");
    let rest = format!("/// {rest}");
    let items: Vec<_> = rest.split("\n\n").filter_map(Item::parse).collect();
    let sources = sources();
    for item in &items {
        let files = sources.iter().filter(|source| item.position(source).is_some()).count();
        assert_eq!(files, 1, "{} is declared in one of the files that lib.rs names", item.name);
    }
    let sections: Vec<_> = sources.iter().map(|source| section(source, &items)).collect();
    let body = sections.join("\n");
    format!(
        "{top}\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n{body}\n#ifdef __cplusplus\n}} // extern \"C\"\n\
         #endif\n\n#endif // POSEMESH_NODE_H\n"
    )
}
