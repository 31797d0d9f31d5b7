"""State that outlives the process and is shared between processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from conftest import GUARD, eventually, free_address, in_a_fork, reaches_the_node
from posemesh_node import (
    AlreadyRunningError,
    ConfigError,
    ForkedError,
    Node,
    NodeIOError,
    Options,
    Role,
    State,
    Status,
)
from posemesh_node.testing import Fault, LocalDds


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def shared(dds: LocalDds, directory: Path) -> Options:
    """The options of processes that share a node. The DDS knows where to call it back."""
    address = free_address()
    dds.set_node_url(f"http://{address}")
    return dds.options(callback_bind=address, state_dir=directory)


# scenario: restart
def test_the_secret_outlives_the_process(dds: LocalDds, shared: Options, directory: Path) -> None:
    with Node.start(**shared) as node:
        secret = node.wait_secret(timeout=GUARD)
        assert (node.status().role, node.status().persistence_error) == (Role.LEADER, None)
    assert directory.stat().st_mode & 0o777 == 0o700
    dds.inject("challenge", Fault.hang(), times=None)
    with Node.start(**shared) as node:
        assert node.read_secret() == secret
        assert node.wait_secret(timeout=0) == secret
        assert node.status().state is not State.REGISTERED


# scenario: state-readable-by-others
def test_a_directory_that_others_can_read_is_refused(shared: Options, directory: Path) -> None:
    directory.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match=r"state_dir.*chmod 700"):
        Node.start(**shared)


def test_only_the_last_part_of_the_path_is_created(shared: Options, directory: Path) -> None:
    shared["state_dir"] = directory / "more"
    with pytest.raises(ConfigError, match=r"state_dir.*does not exist"):
        Node.start(**shared)


def test_a_directory_is_refused_to_another_node(dds: LocalDds, shared: Options, directory: Path) -> None:
    other = dds.options(state_dir=directory, secp256k1_privhex="01" * 32)
    with Node.start(**shared), pytest.raises(AlreadyRunningError, match="directory of its own"):
        Node.start(**other)


# scenario: state-not-writable
def test_a_node_whose_state_cannot_be_written_continues_in_memory(shared: Options, directory: Path) -> None:
    """The node continues, and reports the error."""
    # A directory in place of the file that a record is written to. Not even root can write to it.
    directory.mkdir(mode=0o700)
    obstacle = directory / "state.new"
    obstacle.mkdir()
    with Node.start(**shared) as node:
        assert node.wait_secret(timeout=GUARD)
        eventually(lambda: node.status().persistence_error)
        error = node.status().persistence_error
        assert isinstance(error, NodeIOError) and str(directory) in str(error)
        obstacle.rmdir()
        eventually(lambda: node.status().persistence_error is None)
    with Node.start(**shared) as node:
        assert node.read_secret()


def test_a_forked_child_follows_its_parent(dds: LocalDds, shared: Options) -> None:
    with Node.start(**shared) as node:
        secret = node.wait_secret(timeout=GUARD)

        def child() -> None:
            with pytest.raises(ForkedError):
                node.status()
            with Node.start(**shared) as own:
                assert own.wait_secret(timeout=GUARD) == secret
                assert own.status().role is Role.FOLLOWER
                assert own.callback_address == shared.get("callback_bind")

        in_a_fork(child)
        assert node.status().role is Role.LEADER
        assert dds.probe_health() == 200
    assert len(dds.requests("register")) == 1


@dataclass
class Worker:
    """A node in a process of its own."""

    process: BaseProcess
    pipe: Connection

    def ask(self, what: str) -> tuple[Status, str | None]:
        self.pipe.send(what)
        assert self.pipe.poll(GUARD), "the worker does not respond"
        response: tuple[Status, str | None] = self.pipe.recv()
        return response

    def status(self) -> Status:
        return self.ask("status")[0]

    def secret(self) -> str | None:
        return self.ask("status")[1]

    def rearm(self) -> None:
        self.ask("rearm")


def work(options: Options, pipe: Connection) -> None:
    with Node.start(**options) as node:
        node.wait_secret(timeout=GUARD)
        while (what := pipe.recv()) != "end":
            if what == "rearm":
                node.rearm()
                node.wait_registered(timeout=GUARD)
            pipe.send((node.status(), node.read_secret()))


@pytest.fixture
def workers(shared: Options) -> Iterator[list[Worker]]:
    context = multiprocessing.get_context("spawn")
    workers: list[Worker] = []
    for _ in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(shared, theirs))
        process.start()
        theirs.close()
        workers.append(Worker(process, ours))
    yield workers
    for worker in workers:
        if worker.process.is_alive():
            worker.pipe.send("end")
        worker.pipe.close()
        worker.process.join(GUARD)
        assert worker.process.exitcode in (0, -9)


def split(workers: list[Worker]) -> tuple[Worker, list[Worker]]:
    """Return the leader and the followers."""
    (leader,) = (worker for worker in workers if worker.status().role is Role.LEADER)
    return leader, [worker for worker in workers if worker is not leader]


# scenario: workers
def test_processes_share_one_node(dds: LocalDds, workers: list[Worker]) -> None:
    leader, followers = split(workers)
    assert len(followers) == 2
    for worker in workers:
        assert worker.secret() == dds.last_secret
        assert worker.status().state is State.REGISTERED
        assert worker.status().registered_at == leader.status().registered_at
    assert len(dds.requests("register")) == 1

    # A follower's re-arm is passed to the leader, and the result reaches every process.
    dds.set_secret("another")
    followers[0].rearm()
    eventually(lambda: [worker.secret() for worker in workers] == ["another"] * 3)
    assert len(dds.requests("register")) == 2


# scenario: leader-killed
def test_a_follower_takes_over_when_the_leader_is_killed(dds: LocalDds, workers: list[Worker]) -> None:
    for rounds in range(2):
        leader, followers = split(workers)
        leader.process.kill()
        leader.process.join(GUARD)
        eventually(lambda: Role.LEADER in [worker.status().role for worker in followers])
        workers = followers
        # It is already registered, and has the secret and the callback server.
        (leader, rest) = split(workers)
        assert len(rest) == 1 - rounds
        assert leader.secret() == dds.last_secret
        assert len(dds.requests("register")) == 1
        eventually(lambda: reaches_the_node(dds))
