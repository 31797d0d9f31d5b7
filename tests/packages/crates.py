"""The crates that are linked into each artefact: those of Cargo.lock, and those of Rust's standard library."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The targets that a release is meant for. Some crates are linked on some of them only.
TARGETS = (
    "aarch64-apple-darwin",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
)

# The name and the version of a crate.
Name = tuple[str, str]


@dataclass(frozen=True, order=True)
class Crate:
    name: str
    version: str
    license: str
    sha256: str
    directory: Path

    @property
    def purl(self) -> str:
        """https://github.com/package-url/purl-spec"""
        return f"pkg:cargo/{self.name}@{self.version}"


@dataclass(frozen=True)
class Package:
    """What cargo builds an artefact from."""

    name: str
    manifest: Path = ROOT / "Cargo.toml"

    def crates(self, targets: Iterable[str] = TARGETS) -> list[Crate]:
        """The crates of others that it contains, sorted: no build scripts, no procedural macros."""
        names = {name for target in targets for name in _tree(self, target)}
        return sorted(crate for name, crate in _registry(self.manifest).items() if name in names)

    def dependencies(self, target: str) -> dict[Crate | None, list[Crate]]:
        """Which crates each of them uses, and, for None, which of them the project itself uses."""
        crate = _registry(self.manifest).get
        used: dict[Crate | None, set[Crate]] = defaultdict(set)
        for name, uses in _tree(self, target).items():
            used[crate(name)] |= {found for found in map(crate, uses) if found}
        return {user: sorted(several) for user, several in used.items()}


# What ships.
ARTEFACTS = {
    "c": Package("posemesh-node-ffi"),
    "python": Package("posemesh-node-python"),
    "nodejs": Package("posemesh-node-js"),
}

# What the standard library contains. It is compiled already.
STANDARD_LIBRARY = Package("rust-std", ROOT / "tests/packages/standard-library/Cargo.toml")


def version() -> str:
    """The version of this project."""
    return str(tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"])


def rust_version() -> str:
    """The version of Rust that a release is built with."""
    return str(tomllib.loads(STANDARD_LIBRARY.manifest.read_text())["package"]["version"])


@cache
def _tree(package: Package, target: str) -> dict[Name, set[Name]]:
    """What cargo builds for a package, with the features that it builds it with, and what each of these uses."""
    printed = _cargo(
        *("tree", "--manifest-path", str(package.manifest), "--package", package.name, "--target", target),
        *("--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}"),
    )
    uses: dict[Name, set[Name]] = {}
    path: list[Name] = []
    for line in printed.splitlines():
        # "2 name v1.2.3", with remarks in parentheses after it.
        depth, name, version, *_ = line.split()
        path[int(depth) :] = [(name, version.removeprefix("v"))]
        uses.setdefault(path[-1], set())
        for user in path[-2:-1]:
            uses[user].add(path[-1])
    return uses


@cache
def _registry(manifest: Path) -> dict[Name, Crate]:
    """Every crate of the lock file that comes from a registry."""
    lock = tomllib.loads(manifest.with_name("Cargo.lock").read_text())
    checksums = {(entry["name"], entry["version"]): entry.get("checksum", "") for entry in lock["package"]}
    metadata = json.loads(_cargo("metadata", "--manifest-path", str(manifest), "--format-version", "1"))
    return {
        (name, version): Crate(
            name, version, package["license"], checksums[name, version], Path(package["manifest_path"]).parent
        )
        for package in metadata["packages"]
        if package["source"]
        for name, version in [(package["name"], package["version"])]
    }


def _cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
