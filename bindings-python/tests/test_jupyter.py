"""AsyncNode in a notebook, whose kernel already runs an event loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from conftest import Program, environment
from posemesh_node.testing import LocalDds

EXECUTE = "from nbclient.cli import main; main()"
CELLS = (
    "from posemesh_node import AsyncNode",
    "node = await AsyncNode.from_env()",
    "await node.wait_registered(timeout=60)",
    "print(node.status().state)",
    "await node.stop()",
)


def notebook(cells: tuple[str, ...]) -> dict[str, object]:
    """The contents of a notebook file, in format 4.5."""
    code: dict[str, object] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel},
        "cells": [{**code, "id": f"cell-{number}", "source": cell} for number, cell in enumerate(cells)],
    }


def test_a_notebook_awaits_a_node(run: Callable[..., Program], dds: LocalDds, tmp_path: Path) -> None:
    path = tmp_path / "node.ipynb"
    path.write_text(json.dumps(notebook(CELLS)))
    code, _, err = run("-c", EXECUTE, "--inplace", str(path), env=environment(dds)).end()
    assert code == 0, err
    shown = json.loads(path.read_text())["cells"][3]["outputs"][0]["text"]
    assert shown == ["registered\n"]
