"""Subinterpreters: the package works only in the main interpreter, and says so in others."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest

from conftest import Program, environment
from posemesh_node.testing import LocalDds

IMPORT = """
try:
    import posemesh_node
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("imported", flush=True)
"""

# `Py_NewInterpreter`, which mod_wsgi uses; then the module that creates them, by its name in each version.
LEGACY = "import _testcapi; _testcapi.run_in_subinterp(code)"
MODULE = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), code)
"""


@pytest.mark.parametrize("first", ["", "import posemesh_node", "from posemesh_node import Node; node = Node.from_env()"])
@pytest.mark.parametrize("make", [LEGACY, MODULE], ids=["legacy", "module"])
def test_a_subinterpreter_refuses_the_import(make: str, first: str, dds: LocalDds, run: Callable[..., Program]) -> None:
    if make == LEGACY:
        pytest.importorskip("_testcapi")
    code = f"""
code = {IMPORT!r}
{first}
for _ in range(2):
{indent(make, "    ")}
# The main interpreter is not affected.
from posemesh_node import Node
with Node.from_env() if "node" not in globals() else node as node:
    node.wait_registered()
"""
    lines = run("-c", code, env=environment(dds)).succeed().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("refused: ") and "interpreter" in line for line in lines), lines
