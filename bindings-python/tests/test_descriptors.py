"""The library leaves no descriptor open, and a program may close every descriptor between two nodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from conftest import Program, environment
from posemesh_node.testing import LocalDds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")

LIVES = """
import os, socket
from posemesh_node import Node

def descriptors():
    # The descriptor that lists the directory is closed by then.
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]

def live():
    with Node.from_env() as node:
        node.wait_registered(timeout=60)

os.closerange(3, 256)
before = descriptors()
for _ in range(3):
    live()
    assert descriptors() == before, (before, descriptors())
    # As python-daemon does.
    os.closerange(3, 256)
    # The program's sockets reuse the numbers of the library's.
    pairs = [socket.socketpair() for _ in range(16)]
    for one, other in pairs:
        one.send(b"one")
        other.send(b"other")
    live()
    for one, other in pairs:
        assert (one.recv(9), other.recv(9)) == (b"other", b"one")
        one.close()
        other.close()
    assert descriptors() == before, (before, descriptors())
print("ok")
"""


# scenario: nothing-left
def test_every_descriptor_may_be_closed_between_two_nodes(run: Callable[..., Program], dds: LocalDds) -> None:
    assert run("-c", LIVES, env=environment(dds)).succeed() == "ok\n"


def test_a_local_dds_leaves_no_descriptor_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with LocalDds():
            pass
        assert os.listdir("/proc/self/fd") == before
