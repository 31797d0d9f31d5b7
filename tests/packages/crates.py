"""The crates that are linked into each artefact, from Cargo.lock."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# What ships, and the crate that it is built from.
ARTEFACTS = {
    "c": "posemesh-node-ffi",
    "python": "posemesh-node-python",
    "nodejs": "posemesh-node-js",
}

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


def linked(artefact: str, targets: Iterable[str] = TARGETS) -> list[Crate]:
    """The crates of others that an artefact contains, sorted: no build scripts, no procedural macros."""
    names = {name for target in targets for name in _tree(ARTEFACTS[artefact], target)}
    return sorted(crate for key, crate in _registry().items() if key in names)


def dependencies(crates: Iterable[Crate]) -> dict[Crate | None, list[Crate]]:
    """Which of these crates each of them uses, and, for None, which of them this project itself uses."""
    by_id = {_ids()[crate.name, crate.version]: crate for crate in crates}
    own = set(_metadata()["workspace_members"])
    used: dict[Crate | None, set[Crate]] = {None: set()} | {crate: set() for crate in by_id.values()}
    for node in _metadata()["resolve"]["nodes"]:
        if node["id"] in by_id or node["id"] in own:
            used[by_id.get(node["id"])] |= {
                by_id[dependency["pkg"]]
                for dependency in node["deps"]
                if dependency["pkg"] in by_id and any(kind["kind"] is None for kind in dependency["dep_kinds"])
            }
    return {crate: sorted(several) for crate, several in used.items()}


def version() -> str:
    """The version of this project."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    return str(manifest["workspace"]["package"]["version"])


@cache
def _tree(package: str, target: str) -> frozenset[tuple[str, str]]:
    """The names and versions that cargo builds for a package, with the features that it builds them with."""
    printed = _cargo(
        *("tree", "--package", package, "--target", target),
        *("--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"),
    )
    # A line is "name v1.2.3", with remarks in parentheses after it.
    words = (line.split() for line in printed.splitlines() if line)
    return frozenset((name, version.removeprefix("v")) for name, version, *_ in words)


@cache
def _registry() -> dict[tuple[str, str], Crate]:
    """Every crate of Cargo.lock that is not part of this project."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(entry["name"], entry["version"]): entry.get("checksum", "") for entry in lock["package"]}
    return {
        (name, version): Crate(
            name, version, package["license"], checksums[name, version], Path(package["manifest_path"]).parent
        )
        for package in _metadata()["packages"]
        if package["source"]
        for name, version in [(package["name"], package["version"])]
    }


@cache
def _ids() -> dict[tuple[str, str], str]:
    return {(package["name"], package["version"]): package["id"] for package in _metadata()["packages"]}


@cache
def _metadata() -> Any:
    return json.loads(_cargo("metadata", "--format-version", "1"))


def _cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
