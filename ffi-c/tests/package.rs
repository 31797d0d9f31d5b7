//! The package that CMake installs, and projects that use it, built outside the source tree and run with a local DDS.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use support::{Dds, Link, crate_root, is_there, output, run, skipped, stderr, stdout, without_token_length};

/// The oldest CMake that the package supports, under the name that `tests/run` gives it.
const OLDEST_CMAKE: &str = "cmake-3.16";

/// An empty directory.
fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    directory
}

/// Configures with CMake, so that cargo reuses the library that the other tests have built.
fn configure(cmake: &str, source: &Path, build: &Path) -> Command {
    Link::Shared.directory();
    let mut command = Command::new(cmake);
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
    command
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(build)
        .arg("-DPOSEMESH_NODE_CARGO_PROFILE=dev")
        .arg(format!("-DPOSEMESH_NODE_CARGO_TARGET_DIR={}", target_dir.display()));
    command
}

fn build(cmake: &str, directory: &Path) {
    run(Command::new(cmake).arg("--build").arg(directory));
}

/// Builds the package, installs it, and returns the prefix.
fn install(cmake: &str) -> PathBuf {
    let fresh = |part: &str| fresh(&format!("{cmake}-{part}"));
    let (tree, first, prefix) = (fresh("build"), fresh("first"), fresh("package"));
    run(configure(cmake, crate_root(), &tree).arg("-DCMAKE_INSTALL_LIBDIR=lib"));
    build(cmake, &tree);
    run(Command::new(cmake).arg("--install").arg(tree).arg("--prefix").arg(&first));
    // Moved, because nothing in it may depend on the original path.
    fs::rename(first, &prefix).expect("the package can be moved");
    prefix
}

/// The prefix of the installed package.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| install("cmake"))
}

/// A copy of the examples that the package contains, which must build without the source tree.
fn examples(name: &str) -> PathBuf {
    let directory = fresh(name);
    let installed = prefix().join("share/doc/posemesh_node/examples/.");
    run(Command::new("cp").arg("-r").arg(installed).arg(&directory));
    directory
}

fn registers(program: &Path, libraries: &str) {
    let dds = Dds::start();
    let mut command = Command::new(program);
    let output = run(dds.environment(&mut command).env("LD_LIBRARY_PATH", libraries));
    assert!(
        without_token_length(&stdout(&output)).contains("registered\ntoken\nsecret of 43 bytes\n"),
        "{}",
        stdout(&output)
    );
}

fn dynamic(library: &Path) -> String {
    stdout(&run(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library)))
}

/// Builds the example of a CMake project that uses what is installed, and runs it.
fn is_found_by_a_project(cmake: &str, prefix: &Path) {
    let source = examples(&format!("{cmake}-consumer")).join("cmake-consumer");
    let tree = fresh(&format!("{cmake}-consumer-build"));
    run(Command::new(cmake)
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(&tree)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    build(cmake, &tree);
    registers(&tree.join("node_cpp"), "");
    registers(&tree.join("node_static"), "");
    assert!(dynamic(&tree.join("node_cpp")).contains("[libposemesh_node.so.1]"));
    assert!(!dynamic(&tree.join("node_static")).contains("posemesh"));
}

#[test]
fn a_cmake_project_finds_the_installed_package() {
    is_found_by_a_project("cmake", prefix());
}

#[test]
fn the_oldest_supported_cmake_works() {
    if !is_there(OLDEST_CMAKE, "the package with the oldest supported CMake") {
        return;
    }
    let version = stdout(&run(Command::new(OLDEST_CMAKE).arg("--version")));
    assert!(version.starts_with("cmake version 3.16."), "{version}");
    is_found_by_a_project(OLDEST_CMAKE, &install(OLDEST_CMAKE));
}

/// The paths of the files below a directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let found = run(Command::new("find").arg(".").args(["!", "-type", "d"]).current_dir(directory));
    stdout(&found).lines().map(str::to_owned).collect()
}

#[test]
fn every_file_belongs_to_the_runtime_or_the_development_component() {
    prefix();
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cmake-build");
    let component = |name: &str| {
        let directory = fresh(&format!("component-{name}"));
        let mut install = Command::new("cmake");
        install.arg("--install").arg(&tree).arg("--prefix").arg(&directory).args(["--component", name]);
        run(&mut install);
        files(&directory)
    };
    let (runtime, development) = (component("PosemeshNode_Runtime"), component("PosemeshNode_Development"));
    let file = format!("./lib/libposemesh_node.so.{}", env!("CARGO_PKG_VERSION"));
    let [license, others] =
        ["LICENSE", "THIRD-PARTY-LICENSES.txt"].map(|name| format!("./share/licenses/posemesh_node/{name}"));
    assert_eq!(runtime, BTreeSet::from([file, "./lib/libposemesh_node.so.1".to_owned(), license, others]));
    assert!(runtime.is_disjoint(&development));
    assert!(development.contains("./share/doc/posemesh_node/README.md"));
    assert_eq!(&runtime | &development, files(prefix()));
}

/// What CMake says to a project that asks for a version of the package, or for components.
fn asks_for(source: &Path, wanted: &str, arguments: &[&str]) -> Output {
    let project = format!(
        "cmake_minimum_required(VERSION 3.16)\n\
         project(asks LANGUAGES NONE)\n\
         find_package(PosemeshNode {wanted} REQUIRED)\n"
    );
    fs::write(source.join("CMakeLists.txt"), project).expect("the temporary directory is writable");
    let mut command = Command::new("cmake");
    command.arg("-S").arg(source).arg("-B").arg(source.join("build")).args(arguments);
    output(command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())))
}

/// Before 1.0, minor versions may be incompatible, and patch versions may not.
#[test]
fn cmake_finds_compatible_versions_only() {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let source = fresh("versions");
    for version in [format!("{major}.{minor}"), format!("{} EXACT", env!("CARGO_PKG_VERSION"))] {
        let found = asks_for(&source, &version, &[]);
        assert!(found.status.success(), "{version}: {}", stderr(&found));
    }
    for version in [format!("{major}.{minor}.999"), "0.1".into(), "1.0".into()] {
        let found = asks_for(&source, &version, &[]);
        let says = "compatible with requested version";
        assert!(!found.status.success() && stderr(&found).contains(says), "{version}: {}", stderr(&found));
    }
}

#[test]
fn cmake_refuses_a_package_for_another_processor_or_system() {
    let (this, other) =
        if cfg!(target_arch = "x86_64") { ("x86_64", "aarch64") } else { ("aarch64", "amd64") };
    let platforms = [
        ("Linux", this, false),
        ("Linux", "armv8.2", false),
        ("Linux", other, true),
        ("FreeBSD", this, true),
    ];
    for (system, processor, refused) in platforms {
        let source = fresh(&format!("platform-{system}-{processor}"));
        let asked =
            [format!("-DCMAKE_SYSTEM_NAME={system}"), format!("-DCMAKE_SYSTEM_PROCESSOR={processor}")];
        let found = asks_for(&source, "", &[&asked[0], &asked[1]]);
        // CMake breaks lines.
        let says = stderr(&found).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(!found.status.success(), refused, "{system} on {processor}: {says}");
        assert_eq!(says.contains(&format!("and not for {system} on {processor}.")), refused, "{says}");
    }
}

#[test]
fn cmake_finds_components_that_are_there_only() {
    let source = fresh("components");
    for components in ["COMPONENTS node node_static", "OPTIONAL_COMPONENTS nonsense"] {
        let found = asks_for(&source, components, &[]);
        assert!(found.status.success(), "{components}: {}", stderr(&found));
    }
    let found = asks_for(&source, "COMPONENTS node nonsense", &[]);
    assert!(!found.status.success());
    assert!(stderr(&found).contains("has no component nonsense."), "{}", stderr(&found));
}

fn pkg_config(prefix: &Path, arguments: &[&str]) -> String {
    let packages = prefix.join("lib/pkgconfig");
    let mut command = Command::new("pkg-config");
    let printed = run(command.args(arguments).arg("posemesh_node").env("PKG_CONFIG_PATH", packages));
    // Independent of where the package is installed.
    stdout(&printed)
        .trim()
        .replace(&prefix.display().to_string(), "PREFIX")
        .replace("lib/pkgconfig/../../", "")
}

/// Builds the example of a Makefile that uses what is installed, and runs it.
fn is_found_by_a_makefile(prefix: &Path) {
    let name = prefix.file_name().and_then(OsStr::to_str).expect("a name");
    let directory = examples(&format!("{name}-makefile")).join("pkg-config-consumer");
    let library = prefix.join("lib");
    run(Command::new("make").arg("-C").arg(&directory).env("PKG_CONFIG_PATH", library.join("pkgconfig")));
    registers(&directory.join("node"), &library.display().to_string());
    registers(&directory.join("node_static"), "");
    assert!(dynamic(&directory.join("node")).contains("[libposemesh_node.so.1]"));
    assert!(!dynamic(&directory.join("node_static")).contains("posemesh"));
    assert_eq!(pkg_config(prefix, &["--modversion"]), env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_makefile_finds_the_installed_package() {
    is_found_by_a_makefile(prefix());
}

/// With the C library linked in as well.
#[test]
fn a_program_can_be_wholly_static() {
    let program = fresh("wholly-static").join("node");
    let packages = prefix().join("lib/pkgconfig");
    let source = crate_root().join("examples/node.c");
    let script = "gcc -static -o \"$1\" \"$2\" $(pkg-config --static --cflags --libs posemesh_node)";
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script, "sh"]).arg(&program).arg(source);
    run(shell.env("PKG_CONFIG_PATH", packages));
    registers(&program, "");
    assert!(!dynamic(&program).contains("NEEDED"));
}

/// Except for the files for CMake, and the static library, in which cargo leaves every symbol visible.
#[test]
fn cargo_c_installs_the_same_package() {
    if !is_there("cargo-cinstall", "what `cargo cinstall` installs") {
        return;
    }
    if stdout(&run(Command::new("cargo-cinstall").arg("--version"))).starts_with("cargo-c 0.9.") {
        skipped("what `cargo cinstall` installs: this cargo-c is too old to read Cargo.toml");
        return;
    }
    let package = fresh("cargo-c-package");
    let command = readme_commands()[4].replace("/usr/local", &package.display().to_string());
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cargo-c");
    let here = format!("{} --libdir=lib --profile dev --target-dir {}", command.trim(), target_dir.display());
    run(Command::new("sh").args(["-c", &here]).current_dir(crate_root().join("..")));
    is_found_by_a_makefile(&package);
    for flags in ["--cflags", "--libs"] {
        assert_eq!(pkg_config(&package, &[flags]), pkg_config(prefix(), &[flags]));
    }
    for header in ["include/posemesh_node.h", "include/posemesh_node.hpp"] {
        let read = |prefix: &Path| fs::read(prefix.join(header)).expect("the header is installed");
        assert!(read(&package) == read(prefix()), "{header}");
    }
    let shows = |prefix: &Path| {
        let mut nm = Command::new("nm");
        nm.args(["--dynamic", "--defined-only", "--format=just-symbols"]);
        stdout(&run(nm.arg(prefix.join("lib/libposemesh_node.so"))))
    };
    assert_eq!(shows(&package), shows(prefix()));
    assert!(dynamic(&package.join("lib/libposemesh_node.so")).contains("soname: [libposemesh_node.so.1]"));
}

/// The blocks of shell commands in the README.
fn readme_commands() -> Vec<String> {
    let readme = fs::read_to_string(crate_root().join("README.md")).expect("the README is there");
    let blocks = readme.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_commands_of_the_readme_check_an_archive_and_build_a_node() {
    let home = fresh("readme-archive");
    let name = "posemesh-node-c-1.2.3-target";
    // SHA256SUMS lists files that were not downloaded, too.
    let pack = r#"
        cp -r "$1" "$2"
        tar -czf "$2.tar.gz" "$2"
        rm -r "$2"
        sha256sum "$2.tar.gz" | sed 'p; s/c-/python-/' >SHA256SUMS
    "#;
    run(Command::new("sh").args(["-e", "-c", pack, "sh"]).arg(prefix()).arg(name).current_dir(&home));
    let shell = run(Command::new("sh").args(["-e", "-c", &readme_commands()[0]]).current_dir(&home));
    assert_eq!(stdout(&shell), format!("{name}.tar.gz: OK\n"));
    let unpacked = home.join(name);
    registers(&unpacked.join("node"), &unpacked.join("lib").display().to_string());
}

#[test]
fn the_commands_of_the_readme_build_two_nodes() {
    let home = fresh("readme");
    symlink(crate_root(), home.join("ffi-c")).expect("the temporary directory is writable");
    let commands = readme_commands()[2..4].concat();
    // Reuses the library that the other tests have built.
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
    let dev = format!(
        " -B build -DPOSEMESH_NODE_CARGO_PROFILE=dev -DPOSEMESH_NODE_CARGO_TARGET_DIR={}",
        target_dir.display()
    );
    Link::Shared.directory();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &commands.replacen(" -B build", &dev, 1)]);
    run(shell.current_dir(&home).env("HOME", &home));
    let libraries = home.join(".local/lib").display().to_string();
    registers(&home.join("node"), &libraries);
    registers(&home.join("node_cpp"), &libraries);
}

#[test]
fn the_sources_can_be_part_of_another_build() {
    let root = crate_root().join("..");
    let ways = [
        ("add-subdirectory", format!("add_subdirectory({}/ffi-c posemesh_node)", root.display())),
        (
            "fetch-content",
            format!(
                "include(FetchContent)\n\
                 FetchContent_Declare(posemesh_node SOURCE_DIR {} SOURCE_SUBDIR ffi-c)\n\
                 FetchContent_MakeAvailable(posemesh_node)",
                root.display()
            ),
        ),
    ];
    for (name, way) in ways {
        let (source, tree) = (examples(name), fresh(&format!("{name}-build")));
        let project = format!(
            "cmake_minimum_required(VERSION 3.16)\n\
             project(whole LANGUAGES C CXX)\n\
             {way}\n\
             add_executable(shared node.cpp)\n\
             target_compile_features(shared PRIVATE cxx_std_17)\n\
             target_link_libraries(shared PRIVATE Posemesh::node)\n\
             add_executable(static node.c)\n\
             target_link_libraries(static PRIVATE Posemesh::node_static)\n\
             install(TARGETS shared)\n"
        );
        fs::write(source.join("CMakeLists.txt"), project).expect("the temporary directory is writable");
        run(&mut configure("cmake", &source, &tree));
        build("cmake", &tree);
        registers(&tree.join("shared"), "");
        registers(&tree.join("static"), "");
        // Only the project's own files are installed.
        let prefix = fresh(&format!("{name}-prefix"));
        run(Command::new("cmake").arg("--install").arg(tree).arg("--prefix").arg(&prefix));
        assert!(prefix.join("bin/shared").exists() && !prefix.join("include").exists());
    }
}

#[test]
fn the_library_file_names_contain_its_versions() {
    let directory = prefix().join("lib");
    let link = |name: &str| fs::read_link(directory.join(name)).expect("a link");
    let file = format!("libposemesh_node.so.{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(link("libposemesh_node.so"), Path::new("libposemesh_node.so.1"));
    assert_eq!(link("libposemesh_node.so.1"), Path::new(&file));
    assert!(dynamic(&directory.join(file)).contains("Library soname: [libposemesh_node.so.1]"));

    let header =
        fs::read_to_string(prefix().join("include/posemesh_node.h")).expect("the header is installed");
    assert!(header.contains("\n#define PMN_ABI_VERSION 1\n"));
}
