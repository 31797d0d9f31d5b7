"""Ctrl-C, as a real signal to a real process."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from conftest import Program

PROGRAM = """
from posemesh_node import Node
from posemesh_node.testing import Fault, LocalDds

dds = LocalDds()
dds.inject("challenge", Fault.hang(), times=None)
node = Node.start(**dds.options(callback_bind="127.0.0.1:0"))
stream = node.events()
try:
    print("ready", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
node.stop()
"""


@pytest.mark.parametrize(
    "wait",
    [
        "node.wait_registered()",
        "node.wait_secret(3600)",
        "node.access_token(3600)",
        "list(stream)",
        "dds.wait_for_requests('verify', 1, 3600)",
    ],
)
# scenario: wait-cancelled
def test_ctrl_c_ends_a_wait(wait: str, run: Callable[..., Program]) -> None:
    program = run("-c", PROGRAM.format(wait=wait))
    assert program.line() == "ready"
    wait_until_it_sleeps(program)
    program.interrupt()
    # Without the interrupt, the wait would never end.
    assert program.line() == "interrupted"
    program.succeed()


def wait_until_it_sleeps(program: Program) -> None:
    """Wait until the main thread of the process is blocked in a system call."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with open(f"/proc/{program.process.pid}/stat") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "S":
                return
        time.sleep(0.001)


def test_a_wait_continues_after_a_handler_that_does_not_raise(run: Callable[..., Program]) -> None:
    code = """
import signal
from posemesh_node import Node, NodeTimeoutError
from posemesh_node.testing import Fault, LocalDds

dds = LocalDds()
dds.inject("challenge", Fault.hang(), times=None)
node = Node.start(**dds.options())
signal.signal(signal.SIGINT, lambda *_: (print("handled", flush=True), dds.clear_faults(), node.rearm()))
print("ready", flush=True)
node.wait_registered()
print(node.status().state)
"""
    program = run("-c", code)
    assert program.line() == "ready"
    wait_until_it_sleeps(program)
    program.interrupt()
    assert program.line() == "handled"
    assert program.succeed() == "registered\n"


def test_ctrl_c_ends_a_stop(run: Callable[..., Program]) -> None:
    code = """
import contextlib, threading
from posemesh_node import Node
from posemesh_node.testing import LocalDds

dds = LocalDds()
node = Node.start(**dds.options())
entered, release = threading.Event(), threading.Event()
node.on_event(lambda _: (entered.set(), release.wait()))
node.rearm()
entered.wait()
print("ready", flush=True)
try:
    with contextlib.ExitStack() as stack:
        stack.callback(node.stop, 3600)
        raise ZeroDivisionError
except KeyboardInterrupt as error:
    print(repr(error.__context__), flush=True)
release.set()
node.stop()
"""
    program = run("-c", code)
    assert program.line() == "ready"
    wait_until_it_sleeps(program)
    program.interrupt()
    assert program.line() == "ZeroDivisionError()"
    program.succeed()
