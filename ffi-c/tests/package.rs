//! The package: what CMake installs, and projects that use it, built outside the source tree and run next
//! to a local DDS.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Dds, Link, crate_root, run, stdout};

/// An empty directory.
fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    directory
}

/// CMake, set up so that cargo finds the harness's build of the library and need not build another one.
fn configure(source: &Path, build: &Path) -> Command {
    Link::Shared.directory();
    let mut command = Command::new("cmake");
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

fn build(directory: &Path) {
    run(Command::new("cmake").arg("--build").arg(directory));
}

/// Where the package is installed.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let (tree, first, prefix) = (fresh("package-build"), fresh("package-first"), fresh("package"));
        run(configure(crate_root(), &tree).arg("-DCMAKE_INSTALL_LIBDIR=lib"));
        build(&tree);
        run(Command::new("cmake").arg("--install").arg(tree).arg("--prefix").arg(&first));
        // Moved: nothing in it may know where it was.
        fs::rename(first, &prefix).expect("the package can be moved");
        prefix
    })
}

fn library_directory() -> PathBuf {
    prefix().join("lib")
}

/// A copy of the examples: they must do without the source tree.
fn examples(name: &str) -> PathBuf {
    let directory = fresh(name);
    run(Command::new("cp").arg("-r").arg(crate_root().join("examples/.")).arg(&directory));
    directory
}

fn registers(program: &Path, libraries: &str) {
    let dds = Dds::start();
    let mut command = Command::new(program);
    let output = run(dds.environment(&mut command).env("LD_LIBRARY_PATH", libraries));
    assert!(stdout(&output).contains("registered\nsecret of 43 bytes\n"), "{}", stdout(&output));
}

fn dynamic(library: &Path) -> String {
    stdout(&run(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library)))
}

#[test]
fn a_cmake_project_finds_the_installed_package() {
    let (source, tree) = (examples("cmake-consumer").join("cmake-consumer"), fresh("cmake-consumer-build"));
    run(Command::new("cmake")
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(&tree)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())));
    build(&tree);
    registers(&tree.join("node_cpp"), "");
    registers(&tree.join("node_static"), "");
    assert!(dynamic(&tree.join("node_cpp")).contains("[libposemesh_node.so.1]"));
    assert!(!dynamic(&tree.join("node_static")).contains("posemesh"));
}

#[test]
fn a_makefile_finds_the_installed_package() {
    let directory = examples("pkg-config-consumer").join("pkg-config-consumer");
    let packages = library_directory().join("pkgconfig");
    run(Command::new("make").arg("-C").arg(&directory).env("PKG_CONFIG_PATH", &packages));
    registers(&directory.join("node"), &library_directory().display().to_string());
    registers(&directory.join("node_static"), "");
    assert!(!dynamic(&directory.join("node_static")).contains("posemesh"));

    let version = run(Command::new("pkg-config")
        .args(["--modversion", "posemesh_node"])
        .env("PKG_CONFIG_PATH", packages));
    assert_eq!(stdout(&version).trim(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_sources_are_a_part_of_another_build() {
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
        run(&mut configure(&source, &tree));
        build(&tree);
        registers(&tree.join("shared"), "");
        registers(&tree.join("static"), "");
        // Only what the project itself wants installed.
        let prefix = fresh(&format!("{name}-prefix"));
        run(Command::new("cmake").arg("--install").arg(tree).arg("--prefix").arg(&prefix));
        assert!(prefix.join("bin/shared").exists() && !prefix.join("include").exists());
    }
}

#[test]
fn the_names_of_the_library_carry_its_versions() {
    let directory = library_directory();
    let link = |name: &str| fs::read_link(directory.join(name)).expect("a link");
    let file = format!("libposemesh_node.so.{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(link("libposemesh_node.so"), Path::new("libposemesh_node.so.1"));
    assert_eq!(link("libposemesh_node.so.1"), Path::new(&file));
    assert!(dynamic(&directory.join(file)).contains("Library soname: [libposemesh_node.so.1]"));

    let header =
        fs::read_to_string(prefix().join("include/posemesh_node.h")).expect("the header is installed");
    assert!(header.contains("\n#define PMN_ABI_VERSION 1\n"));
    // Where cargo-c reads it.
    let manifest = fs::read_to_string(crate_root().join("Cargo.toml")).expect("the manifest is there");
    assert!(
        manifest.contains("\n[package.metadata.capi.library]\n") && manifest.contains("\nversion = \"1.")
    );
}
