"""The life cycle of a node."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import gc
import json
import os
import pickle
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import posemesh_node
from conftest import GUARD, Program, environment, eventually
from posemesh_node import (
    AlreadyRunningError,
    AsyncNode,
    BindError,
    ConfigError,
    Node,
    NodeTimeoutError,
    NotFoundError,
    PosemeshError,
    RejectedError,
    Role,
    State,
    StoppedError,
    UnavailableError,
)
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds

WALLET = "0xfdbb6caf01414300c16ea14859fec7736d95355f"


# scenario: register
def test_a_node_registers_and_receives_a_secret(node: Node, dds: LocalDds) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=2)
    node.wait_registered(timeout=GUARD)
    secret = node.wait_secret(timeout=GUARD)
    assert secret == dds.last_secret == node.read_secret()

    status = node.status()
    assert status.state is State.REGISTERED
    assert (status.running, status.has_secret, status.secret_version) == (True, True, 1)
    assert status.registered_at is not None
    assert before < status.registered_at <= datetime.now(timezone.utc)
    assert status.registered_at.tzinfo is timezone.utc
    assert (status.attempts, status.consecutive_failures) == (1, 0)
    assert (status.last_error, status.next_attempt_in, status.last_healthcheck) == (None, None, None)
    assert (status.role, status.persistence_error) == (Role.LEADER, None)
    assert (status.token_expires_at, status.sign_in_failures, status.clock_skew) == (None, 0, timedelta(0))
    assert dds.nodes()[0].capabilities == ("/test/v1",)


def test_a_status_is_a_value(node: Node) -> None:
    node.wait_registered(timeout=GUARD)
    node.wait_secret(timeout=GUARD)
    status = node.status()
    assert status is node.status(), "the status has not changed"
    assert dataclasses.asdict(status)["state"] == "registered"
    assert f"{status.state}" == status.state == "registered"
    assert f"{status.role}" == status.role == "leader"
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.attempts = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


# scenario: health-probe
def test_a_health_probe_shows_in_the_status(node: Node, dds: LocalDds) -> None:
    node.wait_registered(timeout=GUARD)
    assert dds.probe_health() == 200
    assert node.status().last_healthcheck is not None


# scenario: dds-refuses
def test_failures_show_in_the_status(dds: LocalDds) -> None:
    dds.inject("register", Fault.status(503), times=None)
    with Node.start(**dds.options()) as node:
        eventually(lambda: node.status().next_attempt_in)
        status = node.status()
        assert isinstance(status.last_error, UnavailableError)
        assert "503" in str(status.last_error)
        assert status.consecutive_failures == 1
        assert status.next_attempt_in is not None and 0 < status.next_attempt_in < 60

    dds.clear_faults()
    dds.inject("register", Fault.status(403, body="no such node"), times=None)
    with Node.start(**dds.options()) as node:
        eventually(lambda: node.status().last_error)
        error = node.status().last_error
        assert isinstance(error, RejectedError)
        assert "no such node" in str(error)


# scenario: stranger-calls-back
def test_a_callback_from_a_stranger_is_refused(dds: LocalDds) -> None:
    dds.inject("register", Fault.status(403), times=None)
    options = dds.options(callback_bind="127.0.0.1:0")
    # A stranger that knows the node's id, which is not a secret.
    node_id, _ = base64.b64decode(options["reg_secret"]).decode().split(":")
    with Node.start(**options) as node:
        eventually(lambda: node.status().last_error)
        request = urllib.request.Request(
            f"http://{node.callback_address}/internal/v1/registrations",
            json.dumps({"id": node_id, "secret": "forged"}).encode(),
            {"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=GUARD)
        with caught.value:
            assert caught.value.code == 409
        assert node.read_secret() is None


# scenario: rearm
def test_rearm_registers_again(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    node.rearm()
    node.wait_registered(timeout=GUARD)
    assert len(dds.requests("register")) == 2
    assert dds.nodes()[0].registrations == 2


# scenario: wait-cannot-succeed
def test_a_wait_for_a_secret_that_cannot_arrive_ends_at_once(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    with Node.start(**dds.options()) as node:
        with pytest.raises(NotFoundError, match="callback_bind") as caught:
            node.wait_secret()
        assert isinstance(caught.value, LookupError)
        assert not node.status().callback_overdue


# scenario: wait-timed-out
def test_a_wait_that_times_out_raises_a_timeout_error(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError) as caught:
                node.wait_registered(timeout)
            assert isinstance(caught.value, NodeTimeoutError)
        with pytest.raises(NodeTimeoutError):
            node.wait_secret(0)
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                node.wait_registered(timeout)
        with pytest.raises(TypeError):
            node.wait_registered("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# scenario: stop-during-wait
def test_stop_wakes_every_wait(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    node = Node.start(**dds.options())
    stopped: list[str] = []

    def wait() -> None:
        try:
            node.wait_registered()
        except StoppedError as error:
            stopped.append(error.name)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    dds.wait_for_requests("challenge")
    node.stop()
    for thread in threads:
        thread.join(GUARD)
    assert stopped == ["ERR_STOPPED"] * 8


# scenario: double-stop
def test_a_stopped_node_can_be_stopped_again_and_does_nothing_else(node: Node) -> None:
    node.wait_registered(timeout=GUARD)
    secret = node.wait_secret(timeout=GUARD)
    address = node.callback_address
    assert address is not None
    host, port = address.split(":")
    node.stop()
    node.stop(timeout=float("inf"))
    assert not node.status().running
    assert node.read_secret() == secret
    assert "stopped" in repr(node)
    for call in (node.wait_registered, node.rearm, node.wait_secret):
        with pytest.raises(StoppedError):
            call()
    with pytest.raises(StoppedError):
        node.on_event(print)
    with pytest.raises(StoppedError):
        node.events()
    # As a server binds it, which ignores connections that have just closed.
    socket.create_server((host, int(port))).close()


# scenario: nothing-left
def test_a_stopped_node_leaves_no_thread(dds: LocalDds) -> None:
    def native_threads() -> set[str]:
        tasks = Path("/proc/self/task")
        names: set[str] = set()
        for task in tasks.iterdir():
            with contextlib.suppress(OSError):  # the thread ended meanwhile
                names.add((task / "comm").read_text().strip())
        return {name for name in names if name.startswith("posemesh")}

    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        assert len(native_threads()) <= 2
    # A joined thread is listed for a moment longer, because the kernel reports its end before it removes it.
    eventually(lambda: native_threads() == set())


# scenario: already-running
def test_a_second_node_with_the_wallet_and_dds_is_refused(dds: LocalDds) -> None:
    with Node.start(**dds.options()), pytest.raises(AlreadyRunningError, match=WALLET):
        Node.start(**dds.options())
    Node.start(**dds.options()).stop()


# scenario: port-taken
def test_a_port_that_is_taken_is_named(dds: LocalDds) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        with pytest.raises(BindError, match=str(port)) as caught:
            Node.start(**dds.options(callback_bind=f"{host}:{port}"))
    assert isinstance(caught.value, OSError)


def test_a_node_signs_as_its_wallet(node: Node) -> None:
    assert node.wallet_address == WALLET == posemesh_node.eth_address(PRIVATE_KEY)
    signature = node.sign(b"hello")
    assert signature == posemesh_node.sign_eip191(f"0x{PRIVATE_KEY}", b"hello")
    assert len(signature) == 132
    with pytest.raises(TypeError):
        node.sign("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_node_serves_its_readiness_and_its_metrics(dds: LocalDds) -> None:
    with Node.start(**dds.options(admin_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        with urllib.request.urlopen(f"http://{node.admin_address}/readyz") as response:
            assert response.read() == b"registered\n"
        with urllib.request.urlopen(f"http://{node.admin_address}/metrics") as response:
            assert b'posemesh_node_state{state="registered"} 1\n' in response.read()
    with Node.start(**dds.options()) as node:
        assert node.admin_address is None


def test_a_node_without_a_callback_server_has_no_callback_address(dds: LocalDds) -> None:
    with Node.start(**dds.options()) as node:
        assert node.callback_address is None


def test_from_env_reads_the_environment(dds: LocalDds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    monkeypatch.setenv("DDS_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("REG_SECRET_FILE", str(secret))
    monkeypatch.setenv("SECP256K1_PRIVHEX", PRIVATE_KEY)
    monkeypatch.setenv("CAPABILITIES", "/a/v1,/b/v1")
    monkeypatch.setenv("NODE_VERSION", "2.0.0")
    with Node.from_env(dds_base_url=dds.url, max_concurrency=None) as node:
        node.wait_registered(timeout=GUARD)
    assert dds.nodes()[0].capabilities == ("/a/v1", "/b/v1")
    body = dds.requests("register")[0].json()
    assert isinstance(body, dict) and body["registration_credentials"] == "from-a-file"

    monkeypatch.delenv("NODE_VERSION")
    with pytest.raises(ConfigError, match="NODE_VERSION"):
        Node.from_env()


# scenario: dropped-without-stop
def test_freeing_a_running_node_stops_it_with_a_warning(dds: LocalDds) -> None:
    node = Node.start(**dds.options())
    with pytest.warns(ResourceWarning, match="unclosed <Node 0x"):
        del node
        gc.collect()
    # Its wallet is free again.
    Node.start(**dds.options()).stop()


def test_waits_let_other_threads_run(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    with Node.start(**dds.options()) as node:
        waiting = threading.Thread(target=lambda: pytest.raises(PosemeshError, node.wait_registered))
        waiting.start()
        # This thread runs while that one waits.
        dds.wait_for_requests("challenge")
        assert sum(range(1000)) == 499500
        node.stop()
        waiting.join(GUARD)
    assert not waiting.is_alive()


def test_threads_use_a_node_concurrently(node: Node) -> None:
    failed: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(50):
                node.status()
                node.read_secret()
                node.sign(b"x")
                node.wait_secret(timeout=GUARD)
                with node.events(timeout=0) as events:
                    list(events)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert failed == []


def test_waits_leave_no_descriptor_open(node: Node) -> None:
    node.wait_secret(timeout=GUARD)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        node.wait_registered()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_a_program_with_threads_imports_neither_asyncio_nor_json(dds: LocalDds, run: Callable[..., Program]) -> None:
    """Importing asyncio takes longer than everything else. And the import starts no thread."""
    code = """
import os, sys
before = set(sys.modules)
from posemesh_node import Node
assert len(os.listdir("/proc/self/task")) == 1
with Node.from_env() as node:
    node.wait_registered()
    token = node.access_token()
    assert node.status().state == "registered" and node.status().token_expires_at < token.expires_at
print(sorted({"asyncio", "httpx", "json", "requests"} & (set(sys.modules) - before)))
"""
    assert run("-I", "-c", code, env=environment(dds)).succeed() == "[]\n"


def test_a_running_node_imports_nothing(dds: LocalDds, run: Callable[..., Program]) -> None:
    """In a signal handler, in a thread, beside a fork or without a free descriptor, an import may fail or never return."""
    code = """
import sys
from posemesh_node import Node
with Node.from_env() as node:
    node.wait_registered()
    before = set(sys.modules)
    heard = []
    node.on_event(heard.append)
    with node.events(timeout=0) as events:
        list(events)
    node.rearm()
    node.wait_registered()
    node.status(), node.access_token(), node.metrics(), node.ready(), repr(node)
print(bool(heard), sorted(set(sys.modules) - before))
"""
    assert run("-I", "-c", code, env=environment(dds)).succeed() == "True []\n"


@pytest.mark.parametrize("cls", [Node, AsyncNode])
def test_the_constructor_names_the_methods_to_use(cls: Any) -> None:
    for arguments in ({}, {"reg_secret": "secret"}):
        with pytest.raises(TypeError, match=rf"use {cls.__name__}.start\(\.\.\.\)") as caught:
            cls(**arguments)
        assert "secret" not in str(caught.value)


def test_an_error_of_the_system_has_its_errno(node: Node, dds: LocalDds) -> None:
    options = dds.options(callback_bind=node.callback_address, secp256k1_privhex="11" * 32)
    with pytest.raises(OSError) as caught:
        Node.start(**options)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert isinstance(error, BindError) and error.errno == errno.EADDRINUSE
        assert error.strerror == str(error) and str(error).startswith("callback_bind 127.0.0.1:")


def test_an_error_for_a_name_that_does_not_resolve_has_no_errno(dds: LocalDds) -> None:
    with pytest.raises(BindError, match="^callback_bind nowhere.invalid:1") as caught:
        Node.start(**dds.options(callback_bind="nowhere.invalid:1"))
    assert caught.value.errno is None


def test_an_error_of_the_exit_has_that_of_the_body_as_its_context(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    entered, release = threading.Event(), threading.Event()

    @node.on_event
    def stuck(event: object) -> None:
        entered.set()
        release.wait()

    def stop_soon(*_: object) -> None:
        node.stop(timeout=0.05)

    for raised in (ZeroDivisionError, KeyboardInterrupt):
        try:
            raise raised
        except raised:
            with pytest.raises(ConfigError) as refused:
                Node.from_env(node_version="one")
        assert isinstance(refused.value.__context__, raised)
    dds.probe_health()
    assert callable(stuck) and entered.wait(GUARD)
    with pytest.raises(NodeTimeoutError) as caught, contextlib.ExitStack() as stack:
        stack.push(stop_soon)
        raise KeyboardInterrupt
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    release.set()
