//! `tests/scenarios.toml`: every language plays every story, or gives a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The languages, and the files and folders with their tests.
const DOORS: [(&str, &[&str]); 5] = [
    ("core", &["core/src", "core/tests"]),
    ("c", &["ffi-c/tests/c", "ffi-c/tests/c_abi.rs", "ffi-c/tests/examples.rs"]),
    ("cpp", &["ffi-c/tests/cpp", "ffi-c/tests/cpp.rs"]),
    ("python", &["bindings-python/tests"]),
    ("nodejs", &["bindings-node/test"]),
];

/// The kinds of test files, and what the first line of a test begins with in each.
const TESTS: [(&str, &[&str]); 5] = [
    ("rs", &["fn ", "async fn "]),
    ("c", &["static void ", "int main("]),
    ("cpp", &["static void ", "int main("]),
    ("py", &["def test_", "async def test_"]),
    ("ts", &["it("]),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Scenario {
    story: String,
    #[serde(default)]
    except: BTreeMap<String, String>,
    core_only: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn scenarios() -> BTreeMap<String, Scenario> {
    let text = fs::read_to_string(root().join("tests/scenarios.toml")).expect("a readable file");
    toml::from_str(&text).expect("a list of scenarios")
}

/// The test files at or below `path`.
fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        let extension = path.extension().and_then(|extension| extension.to_str());
        found.extend(TESTS.iter().any(|(kind, _)| extension == Some(kind)).then(|| path.to_owned()));
        return;
    }
    for entry in fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        let entry = entry.expect("a readable entry");
        if entry.file_name() != "node_modules" {
            files(&entry.path(), found);
        }
    }
}

/// The scenarios that the tests in `text` play; `kind` is the file's extension.
///
/// # Errors
/// The line of a marker that is not directly above a test.
fn played(text: &str, kind: &str) -> Result<BTreeSet<String>, String> {
    let (_, tests) = TESTS.iter().find(|(known, _)| *known == kind).expect("a kind of test file");
    let comment = if kind == "py" { "#" } else { "//" };
    let marker = format!("{comment} scenario: ");
    let mut ids = BTreeSet::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        let Some(list) = line.strip_prefix(&marker) else { continue };
        let test = lines.clone().find(|line| !line.starts_with(comment) && !line.starts_with("#["));
        if !test.is_some_and(|test| tests.iter().any(|start| test.starts_with(start))) {
            return Err(format!("no test below {line:?}"));
        }
        ids.extend(list.split(',').map(|id| id.trim().to_owned()));
    }
    Ok(ids)
}

#[test]
fn every_language_plays_every_scenario_or_gives_a_reason() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 40, "{} scenarios", scenarios.len());
    let mut wrong = Vec::new();
    for (door, places) in DOORS {
        let mut sources = Vec::new();
        places.iter().for_each(|place| files(&root().join(place), &mut sources));
        let mut plays = BTreeSet::new();
        for source in sources {
            let kind = source.extension().and_then(|kind| kind.to_str()).expect("a kind of test file");
            match played(&fs::read_to_string(&source).expect("a readable file"), kind) {
                Ok(ids) => plays.extend(ids),
                Err(error) => wrong.push(format!("{}: {error}", source.display())),
            }
        }
        for id in plays.iter().filter(|id| !scenarios.contains_key(*id)) {
            wrong.push(format!("{door} plays {id}, which tests/scenarios.toml does not list"));
        }
        for (id, scenario) in &scenarios {
            let reason = scenario.except.get(door).or(scenario.core_only.as_ref().filter(|_| door != "core"));
            match (plays.contains(id), reason) {
                (false, None) => wrong.push(format!("{door} does not play {id}: {}", scenario.story)),
                (true, Some(reason)) => wrong.push(format!("{door} plays {id} in spite of: {reason}")),
                (true, None) | (false, Some(_)) => {}
            }
        }
    }
    for (id, scenario) in &scenarios {
        let unknown = scenario.except.keys().filter(|name| DOORS.iter().all(|(door, _)| door != name));
        wrong.extend(unknown.map(|name| format!("{id} has a reason for {name}, which is no language here")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn markers_are_read_only_above_a_test() {
    let ids = |text: &str, kind: &str| played(text, kind).map(|ids| ids.into_iter().collect::<Vec<_>>());
    let rust = "// scenario: fork, rearm\n/// Words.\n#[test]\nfn a() {}\n";
    assert_eq!(ids(rust, "rs"), Ok(vec!["fork".into(), "rearm".into()]));
    assert_eq!(ids("@mark\n# scenario: fork\ndef test_a():\n", "py"), Ok(vec!["fork".into()]));
    assert_eq!(ids("  // scenario: fork\n  it('a', () => {})\n", "ts"), Ok(vec!["fork".into()]));
    assert_eq!(ids("// no scenario: fork\nint main(void)\n", "c"), Ok(vec![]));
    for (text, kind) in [
        ("// scenario: fork\nlet a = 1;\n", "rs"),
        ("# scenario: fork\n\ndef test_a():\n", "py"),
        ("// scenario: fork\n", "ts"),
    ] {
        assert!(played(text, kind).is_err(), "{text}");
    }
}
