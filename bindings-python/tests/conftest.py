"""Fixtures: a local DDS and a node for each test, and programs that run in processes of their own."""

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
"""Seconds after which a wait counts as hung. No test comes near it."""

HERE = Path(__file__).parent

# A shell that runs the tests in the background makes them, and the processes that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs with both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def dds() -> Iterator[LocalDds]:
    with LocalDds() as dds:
        yield dds


@pytest.fixture
def node(dds: LocalDds) -> Iterator[Node]:
    """A node that is registered and has a secret. The DDS knows where to call it back."""
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        assert dds.call_back().status == 200
        yield node


@pytest.fixture
def service(dds: LocalDds) -> Iterator[Service]:
    with Service(dds) as service:
        yield service


@pytest.fixture(scope="session")
def frozen_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library for LD_PRELOAD: as long as the file FROZEN_DISK exists, nothing is written to a disk."""
    library = tmp_path_factory.mktemp("frozen") / "frozen_disk.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "apps" / "frozen_disk.c"], check=True)
    return library


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
    """An address with a port that is free now, for a DDS that has to know it before the node binds it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "{}:{}".format(*free.getsockname())


class Program:
    """A Python process whose standard output is read line by line."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, cwd: Path = HERE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )
        # Reading a line has no timeout, but it ends when the process does.
        self.guard = threading.Timer(GUARD, self.process.kill)
        self.guard.start()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program has ended, or was killed because it hung"
        return line.rstrip("\n")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait until it exits, and return its exit code and the rest of its output."""
        out, err = self.process.communicate(timeout=GUARD)
        return self.process.returncode, out, err

    def succeed(self) -> str:
        """Wait until it exits, with code 0 and nothing on stderr, and return the rest of its output."""
        code, out, err = self.end()
        assert (code, err) == (0, ""), out
        return out


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Program]]:
    """Start programs, and kill those that are still running after the test."""
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
    """Wait until a condition holds that there is no notification for."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def reaches_the_node(dds: LocalDds) -> bool:
    """Whether a callback server responds at the URL where the DDS expects the node's."""
    try:
        return dds.probe_health() == 200
    except OSError:
        return False


def in_a_fork(work: Callable[[], None]) -> None:
    """Run `work` in a forked child, and fail if it raises."""
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
