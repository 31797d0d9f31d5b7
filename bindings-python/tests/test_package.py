"""What is in the wheel and in the source distribution besides the code."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import files, metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def installed(name: str) -> str:
    """The text of a file of the installed wheel's metadata."""
    [file] = [file for file in files("posemesh-node") or [] if file.name == name and ".dist-info" in str(file)]
    return file.read_text()


def test_the_wheel_contains_every_licence() -> None:
    for file in (ROOT / "LICENSE", ROOT / "core/THIRD-PARTY-LICENSES.txt"):
        assert installed(file.name) == file.read_text()
    assert metadata("posemesh-node").get_all("License-File") == ["LICENSE", "THIRD-PARTY-LICENSES.txt"]


def test_the_bill_of_materials_lists_the_crates_and_nothing_of_the_building_machine() -> None:
    text = installed("posemesh-node.cdx.json")
    for word in (str(Path.home()), str(ROOT), "file:", "serialNumber", "timestamp"):
        assert word not in text
    bill: dict[str, Any] = json.loads(text)
    crates = {component["name"]: component for component in bill["components"]}
    assert {"pyo3", "ring", "rustls", "tokio"} <= crates.keys()
    # What only builds the wheel, or tests it, is not part of it.
    assert crates.keys().isdisjoint({"cc", "napi", "pyo3-macros", "rcgen", "syn"})
    listed = {component["bom-ref"] for component in bill["components"]}
    assert listed == {used for entry in bill["dependencies"] for used in entry["dependsOn"]}
    [other] = [file for file in files("posemesh-node") or [] if "/sboms/" in str(file)]
    assert other.name == "posemesh-node.cdx.json"


def test_the_source_distribution_builds_with_its_lock_file(tmp_path: Path) -> None:
    archive = os.environ.get("POSEMESH_NODE_SDIST")
    if archive is None:
        pytest.skip("run-tests builds the source distribution")
    # Older patch releases of Python have no `filter` of tarfile, and newer ones warn without it.
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    [sources] = tmp_path.iterdir()
    assert (sources / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (sources / "THIRD-PARTY-LICENSES.txt").exists()
    command = ["cargo", "tree", "--locked", "--package", "posemesh-node-python"]
    tree = subprocess.run(command, cwd=sources / "bindings-python", capture_output=True, text=True)
    assert tree.returncode == 0 and "pyo3 v" in tree.stdout, tree.stderr
