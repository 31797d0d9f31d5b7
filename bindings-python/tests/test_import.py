"""What the package imports, and when: a program that only registers pays for nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import posemesh_node
from conftest import Program, environment
from posemesh_node.testing import LocalDds

SLOW = {"asyncio", "dataclasses", "datetime", "enum", "inspect", "json", "logging", "re", "typing"}
"""Modules of the standard library that take longer to import than a node takes to register."""

REGISTER = """
from posemesh_node import Node
with Node.from_env() as node:
    node.wait_registered()
"""


def imported_by(run: Callable[..., Program], dds: LocalDds, code: str) -> set[str]:
    """The slow modules that this code imports, without those that Python itself imports when it starts."""
    program = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    return SLOW.intersection(run("-c", program, env=environment(dds)).succeed().split())


def test_a_registration_imports_no_slow_module(dds: LocalDds, run: Callable[..., Program]) -> None:
    assert imported_by(run, dds, REGISTER) == set()


def test_a_status_and_an_access_token_import_what_they_are_made_of(dds: LocalDds, run: Callable[..., Program]) -> None:
    code = f"{REGISTER}    node.status(), node.access_token()"
    assert imported_by(run, dds, code).isdisjoint({"asyncio", "json", "logging"})


def test_every_name_is_there_before_it_is_imported(run: Callable[..., Program]) -> None:
    code = """
import posemesh_node
names = {*posemesh_node.__all__}
assert names <= {*dir(posemesh_node)}
from posemesh_node import *
assert names <= {*globals()}
"""
    assert run("-c", code).succeed() == ""
    with pytest.raises(AttributeError, match="module 'posemesh_node' has no attribute 'Nodes'"):
        getattr(posemesh_node, "Nodes")


def test_a_signature_is_complete_wherever_inspect_was_imported(run: Callable[..., Program]) -> None:
    code = """
import sys
from posemesh_node import Node
assert "inspect" not in sys.modules
Node.start
import inspect
print(*inspect.signature(Node.start).parameters, *inspect.signature(Node.from_env).parameters)
"""
    assert run("-c", code).succeed().split().count("reg_secret") == 2


def test_the_threads_of_the_library_import_nothing(dds: LocalDds, run: Callable[..., Program]) -> None:
    code = """
import sys
from posemesh_node import Node
with Node.from_env() as node:
    node.events().close()
    before = set(sys.modules)
    heard = []
    node.on_event(heard.append)
    node.rearm()
    node.wait_registered()
    node.stop()
    assert heard and set(sys.modules) <= before, set(sys.modules) - before
"""
    assert run("-c", code, env=environment(dds)).succeed() == ""
