"""The modules of the package, and those of its native half, form no import cycle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import posemesh_node

PACKAGE = Path(posemesh_node.__file__).parent
RUST = Path(__file__).parents[1] / "src"


def python_imports() -> dict[str, set[str]]:
    """What each module imports from the package, also inside functions and only for type checkers."""
    files = {name_of(file): file for file in PACKAGE.rglob("*.py")}
    modules = {*files, "posemesh_node._native"}
    return {name: set(imports_of(file, name, modules)) for name, file in files.items()}


def name_of(file: Path) -> str:
    parts = ("posemesh_node", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def imports_of(file: Path, name: str, modules: Set[str]) -> Iterator[str]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + ([node.module] if node.module else [])
            for alias in node.names:
                # It imports a module, or a name from one.
                submodule = ".".join([*base, alias.name])
                yield submodule if submodule in modules else ".".join(base)


def rust_imports() -> dict[str, set[str]]:
    return {
        file.stem: set(re.findall(r"\bcrate::(\w+)", file.read_text()))
        for file in RUST.glob("*.rs")
        if file.name != "lib.rs"
    }


def order(graph: Mapping[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(graph).static_order())


def test_the_python_modules_form_no_cycle() -> None:
    graph = python_imports()
    assert graph["posemesh_node._node"] >= {"posemesh_node._error", "posemesh_node._exit", "posemesh_node._native"}
    assert graph["posemesh_node.testing.__main__"] == {"posemesh_node.testing"}
    order(graph)


@pytest.mark.skipif(not RUST.is_dir(), reason="needs the source")
def test_the_rust_modules_form_no_cycle() -> None:
    graph = rust_imports()
    assert graph["node"] >= {"config", "error", "stream"}
    order(graph)


def test_a_cycle_is_found() -> None:
    with pytest.raises(CycleError):
        order({"a": {"b"}, "b": {"c"}, "c": {"a"}})


@pytest.mark.skipif(not RUST.is_dir(), reason="needs the source")
def test_both_halves_use_the_same_names() -> None:
    """The file for a noun has the same name in Python as in Rust."""
    python = {file.stem.lstrip("_") for file in PACKAGE.glob("*.py")}
    rust = {file.stem for file in RUST.glob("*.rs")}
    assert {"config", "error", "event", "exit", "log", "node", "status", "stream", "token"} <= python & rust
