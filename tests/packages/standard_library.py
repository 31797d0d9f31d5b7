"""The crates that the standard library of Rust contains. `standard-library/Cargo.toml` names them."""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

from crates import STANDARD_LIBRARY, Name

# Debug information has the sources of crates there: a directory, or a file in it.
SOURCE = re.compile(rb"/rust/deps[/\\]([\w-]+?)-(\d+\.\d+\.\d+)(?=[/\\\0])")


def rustc(*arguments: str | Path) -> str:
    return subprocess.run(["rustc", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def installed_version() -> str:
    """The version of the Rust that is installed."""
    return rustc("--version").split()[1]


def sources(content: bytes) -> set[Name]:
    """The crates of the standard library that debug information names."""
    return {(name.decode(), version.decode()) for name, version in SOURCE.findall(content)}


def linked() -> set[Name]:
    """The crates that the installed Rust links into an empty library."""
    with tempfile.TemporaryDirectory() as directory:
        empty, library = Path(directory, "empty.rs"), Path(directory, "empty.a")
        empty.touch()
        rustc("--crate-type", "staticlib", empty, "-o", library)
        return sources(library.read_bytes())


def update() -> None:
    """Writes the manifest, from the sources of the installed Rust."""
    lock = Path(rustc("--print", "sysroot"), "lib/rustlib/src/rust/library/Cargo.lock")
    versions = {package["name"]: package["version"] for package in tomllib.loads(lock.read_text())["package"]}
    manifest = STANDARD_LIBRARY.manifest.read_text()
    manifest = re.sub(r'^version = ".*"', f'version = "{installed_version()}"', manifest, flags=re.MULTILINE)
    for crate, old in re.findall(r'^([\w-]+) = \{ version = "=(.*?)"', manifest, flags=re.MULTILINE):
        manifest = manifest.replace(f'{crate} = {{ version = "={old}"', f'{crate} = {{ version = "={versions[crate]}"')
    STANDARD_LIBRARY.manifest.write_text(manifest)
    command = ["cargo", "generate-lockfile", "--quiet", "--manifest-path", STANDARD_LIBRARY.manifest]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    update()
