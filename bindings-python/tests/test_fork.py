"""Forks: a node belongs to the process that started it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext

import pytest

from conftest import GUARD, Program, in_a_fork
from posemesh_node import ForkedError, Node, Options
from posemesh_node.testing import LocalDds


# scenario: fork
def test_calls_in_a_child_on_the_parents_node_raise(node: Node) -> None:
    stream = node.events()

    def child() -> None:
        calls: list[Callable[[], object]] = [
            node.status,
            node.read_secret,
            node.rearm,
            node.stop,
            node.wait_registered,
            node.wait_secret,
            node.access_token,
            node.invalidate_token,
            node.events,
            lambda: node.sign(b"x"),
            lambda: node.wallet_address,
            lambda: node.callback_address,
            lambda: node.admin_address,
            lambda: node.on_event(print),
        ]
        for call in calls:
            with pytest.raises(ForkedError, match="start a new one"):
                call()
        assert repr(node) == "<Node of another process>"
        stream.close()

    in_a_fork(child)
    # The parent is not affected.
    assert node.status().running
    node.rearm()
    node.wait_registered(timeout=GUARD)


def test_a_child_starts_a_node_of_its_own(node: Node, dds: LocalDds) -> None:
    def child() -> None:
        # With the wallet and DDS of its parent, which is allowed in another process.
        with Node.start(**dds.options()) as own:
            own.wait_registered(timeout=GUARD)

    for _ in range(3):
        in_a_fork(child)
    assert node.status().running


def test_a_child_can_exit_normally(run: Callable[..., Program]) -> None:
    """It runs the `atexit` handlers, which the child has inherited."""
    code = """
import os, sys, warnings
from posemesh_node import Node
from posemesh_node.testing import LocalDds

dds = LocalDds()
node = Node.start(**dds.options())
node.wait_registered()
# CPython 3.12 and later warn of any thread at a fork.
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    if sys.argv[1] == "own":
        own = Node.start(**dds.options())
        own.wait_registered()
    elif sys.argv[1] == "drop":
        del node
    sys.exit()
_, status = os.waitpid(child, 0)
assert status == 0, status
node.rearm()
node.wait_registered()
"""
    for what in ("nothing", "drop", "own"):
        run("-c", code, what).succeed()


def register(options: Options) -> str:
    with Node.start(**options) as node:
        node.wait_registered(timeout=GUARD)
        return str(node.status().state)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_workers_start_nodes_of_their_own(node: Node, dds: LocalDds, method: str) -> None:
    context: SpawnContext = multiprocessing.get_context(method)  # type: ignore[assignment]  # pyright: ignore
    process = context.Process(target=register, args=(dds.options(),))
    process.start()
    process.join(GUARD)
    assert process.exitcode == 0

    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(register, [dds.options()] * 4)) == ["registered"] * 4
    assert node.status().running
