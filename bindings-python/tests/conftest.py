"""A local DDS and a node for each test, and programs that run in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from posemesh_node import Node
from posemesh_node.testing import PRIVATE_KEY, LocalDds
from service import Service

GUARD = 60.0
"""Seconds after which something hangs. No test comes near it."""

HERE = Path(__file__).parent

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs twice."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def dds() -> Iterator[LocalDds]:
    with LocalDds() as dds:
        yield dds


@pytest.fixture
def node(dds: LocalDds) -> Iterator[Node]:
    """A node that is registered and has a secret. The DDS will call it back again."""
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        assert dds.call_back().status == 200
        yield node


@pytest.fixture
def service(dds: LocalDds) -> Iterator[Service]:
    with Service(dds) as service:
        yield service


def environment(dds: LocalDds, **more: str) -> dict[str, str]:
    """The environment of a process whose `Node.from_env()` registers at `dds`."""
    options = dds.options()
    return {
        **os.environ,
        "PYTHONFAULTHANDLER": "1",
        "DDS_BASE_URL": dds.url,
        "REG_SECRET": options["reg_secret"],
        "SECP256K1_PRIVHEX": PRIVATE_KEY,
        "CAPABILITIES": "/test/v1",
        "NODE_VERSION": "1.0.0",
        **more,
    }


def free_address() -> str:
    """A port that is free now: where a DDS has to know it before the node does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "{}:{}".format(*free.getsockname())


class Program:
    """A Python process. Its standard output is read line by line."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, cwd: Path = HERE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )
        # Reading a line has no timeout, but the end of the process ends it.
        self.guard = threading.Timer(GUARD, self.process.kill)
        self.guard.start()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended, or hung"
        return line.rstrip("\n")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return its exit code and the rest of its output."""
        out, err = self.process.communicate(timeout=GUARD)
        return self.process.returncode, out, err

    def succeed(self) -> str:
        """Wait for its end, which must be a good and quiet one; return the rest of its output."""
        code, out, err = self.end()
        assert (code, err) == (0, ""), out
        return out


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Program]]:
    """Start programs that are not left behind."""
    programs: list[Program] = []

    def start(*arguments: str, **options: object) -> Program:
        programs.append(Program(*arguments, **options))  # type: ignore[arg-type]
        return programs[-1]

    yield start
    for program in programs:
        program.guard.cancel()
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds that nothing tells about."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def reaches_the_node(dds: LocalDds) -> bool:
    """Whether a callback server answers where the DDS expects the node's."""
    try:
        return dds.probe_health() == 200
    except OSError:
        return False


def in_a_fork(work: Callable[[], None]) -> None:
    """Run `work` in a forked child; its exit code says how it went."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
