//! Every link in the project's documents to a file of the project has a target.

use std::fs;
use std::path::{Path, PathBuf};

/// Links of the README, which registries also show, where relative ones lead nowhere.
const FILES_ON_GITHUB: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The Markdown files below `directory`, without those of builds and package managers.
fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let entry = entry.expect("a readable entry");
        let (path, name) = (entry.path(), entry.file_name());
        let foreign = ["target", "node_modules", ".git", ".venv"].iter().any(|foreign| name == *foreign);
        if foreign {
            continue;
        }
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() {
            documents(&path, found);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The targets of `[text](target)`, except in fenced code.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split("](").skip(1)).filter_map(|rest| rest.split([')', ' ', '\n']).next())
}

/// Those that are paths.
fn links(text: &str) -> impl Iterator<Item = &str> {
    targets(text).filter_map(|target| {
        let target = target.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

/// The names by which GitHub and docs.rs link to the headings of a document.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.split("```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|heading| {
        let title = heading.trim_start_matches('#').trim().chars().filter_map(|symbol| match symbol {
            ' ' => Some('-'),
            '-' | '_' => Some(symbol),
            _ => symbol.is_alphanumeric().then(|| symbol.to_ascii_lowercase()),
        });
        title.collect()
    })
}

/// The paths of links to files of this repository on GitHub.
fn links_on_github(text: &str) -> impl Iterator<Item = &str> {
    text.split(FILES_ON_GITHUB).skip(1).filter_map(|rest| rest.split([')', '#', '\n']).next())
}

#[test]
fn links_have_a_target() {
    let mut files = Vec::new();
    documents(&root(), &mut files);
    let (mut checked, mut dead) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable document");
        for link in links(&text) {
            checked += 1;
            if !file.parent().expect("a directory").join(link).exists() {
                dead.push(format!("{}: {link}", file.display()));
            }
        }
        for link in links_on_github(&text) {
            checked += 1;
            if !root().join(link).exists() {
                dead.push(format!("{}: {FILES_ON_GITHUB}{link}", file.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} links were found");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn links_to_a_section_have_one() {
    let mut files = Vec::new();
    documents(&root(), &mut files);
    let (mut checked, mut dead) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable document");
        for (target, anchor) in targets(&text).filter_map(|target| target.split_once('#')) {
            let target = match target.strip_prefix(FILES_ON_GITHUB) {
                Some(path) => root().join(path),
                None if target.is_empty() => file.clone(),
                None if target.contains("://") => continue,
                None => file.parent().expect("a directory").join(target),
            };
            let target = fs::read_to_string(target).expect("links have a target");
            checked += 1;
            if !anchors(&target).any(|heading| heading == anchor) {
                dead.push(format!("{}: #{anchor}", file.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} links were found");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn the_readme_has_no_relative_links() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    assert_eq!(links(&readme).collect::<Vec<_>>(), [""; 0], "crates.io shows it, where they lead nowhere");
}

#[test]
fn links_are_found() {
    let text =
        "[a](b.md#c) ![d](e.svg \"f\")\n```cpp\n[](const T &)\n```\n[g](https://h.example) [i](#j) [k](l.md)";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "e.svg", "l.md"]);
    let text = format!("[a]: {FILES_ON_GITHUB}b.md\n[c]({FILES_ON_GITHUB}d/e.md#f)");
    assert_eq!(links_on_github(&text).collect::<Vec<_>>(), ["b.md", "d/e.md"]);
}
