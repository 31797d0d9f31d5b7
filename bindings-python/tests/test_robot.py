"""Robots: nodes without a wallet."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import GUARD, Program, eventually
from posemesh_node import (
    AsyncNode,
    ConfigError,
    Node,
    NotFoundError,
    Options,
    RegistrationLost,
    RejectedError,
    State,
)
from posemesh_node.httpx import NodeAuth
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds
from service import Service

EXAMPLES = Path(__file__).parent.parent / "examples"


def robot_options(dds: LocalDds, **overrides: Any) -> Options:
    return dds.options(identity="robot", **overrides)


@pytest.fixture
def robot(dds: LocalDds) -> Iterator[Node]:
    with Node.start(**robot_options(dds)) as robot:
        robot.wait_registered(timeout=GUARD)
        yield robot


# scenario: robot
def test_a_robot_registers_and_has_a_token_at_once(robot: Node, dds: LocalDds) -> None:
    status = robot.status()
    assert status.state is State.REGISTERED
    (registered,) = dds.nodes()
    assert (registered.wallet, registered.node_id) == (None, status.node_id)
    assert uuid.UUID(status.node_id).version is not None
    token = robot.access_token(timeout=GUARD)
    assert dds.accepts_token(token)
    assert token.claims is not None and token.claims["node_type"] == "robot"
    assert [request.endpoint for request in dds.requests()] == ["register_robot"]


def test_a_robot_has_no_wallet(robot: Node) -> None:
    calls: list[Callable[[], object]] = [lambda: robot.wallet_address, lambda: robot.sign(b"x")]
    for call in calls:
        with pytest.raises(NotFoundError, match="robot, which has no wallet"):
            call()
    assert repr(robot) == f"<Node robot {robot.status().node_id} registered>"


def test_the_repr_of_a_robot_without_an_id_says_robot(dds: LocalDds) -> None:
    dds.inject("register_robot", Fault.hang(), times=None)
    options = robot_options(dds)
    options["reg_secret"] = "credentials-without-an-id"
    with Node.start(**options) as robot:
        assert robot.status().node_id is None
        assert repr(robot).startswith("<Node robot ")


def test_a_robot_refreshes_its_token_with_its_credentials(robot: Node, dds: LocalDds) -> None:
    first = robot.access_token(timeout=GUARD)
    robot.invalidate_token(first)
    second = robot.access_token(timeout=GUARD)
    assert second.value != first.value and dds.accepts_token(second)
    assert [request.endpoint for request in dds.requests()] == ["register_robot", "verify_robot"]


def test_a_forgotten_robot_registers_again(robot: Node, dds: LocalDds) -> None:
    events = robot.events(timeout=GUARD)
    token = robot.access_token(timeout=GUARD)
    dds.forget(robot.status().node_id)
    robot.invalidate_token(token)
    assert dds.accepts_token(robot.access_token(timeout=GUARD))
    assert any(isinstance(event, RegistrationLost) for event in events)
    assert len(dds.requests("register_robot")) == 2


def test_a_refused_robot_reports_the_text_of_dds(dds: LocalDds) -> None:
    dds.inject("register_robot", Fault.status(403, body="not this robot"), times=None)
    with Node.start(**robot_options(dds)) as robot:
        eventually(lambda: robot.status().last_error)
        error = robot.status().last_error
        assert isinstance(error, RejectedError) and "not this robot" in str(error)


def test_a_robot_with_a_key_is_refused(dds: LocalDds) -> None:
    with pytest.raises(ConfigError, match="secp256k1_privhex is set although identity is robot"):
        Node.start(**robot_options(dds, secp256k1_privhex=PRIVATE_KEY))


def test_an_unknown_identity_is_refused(dds: LocalDds) -> None:
    options: Any = {**dds.options(), "identity": "drone"}
    with pytest.raises(ConfigError, match="^identity .*expected wallet or robot"):
        Node.start(**options)


async def test_a_robot_works_with_asyncio(dds: LocalDds, service: Service) -> None:
    async with AsyncNode.start(**robot_options(dds)) as robot, httpx.AsyncClient(auth=NodeAuth(robot)) as client:
        assert (await client.get(service.url)).status_code == 200
        assert robot.status().node_id == dds.nodes()[0].node_id


def environment_of_a_robot(dds: LocalDds) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DDS_BASE_URL": dds.url,
        "IDENTITY": "robot",
        "ROBOT_REGISTRATION_CREDENTIALS": robot_options(dds)["reg_secret"],
        "NODE_VERSION": "1.0.0",
    }


def test_the_command_checks_the_environment_of_a_robot(dds: LocalDds, run: Callable[..., Program]) -> None:
    env = environment_of_a_robot(dds)
    shown = run("-m", "posemesh_node", "--register", env=env).succeed()
    assert "none (a robot)" in shown and "Registered with DDS" in shown
    assert env["ROBOT_REGISTRATION_CREDENTIALS"] not in shown


def test_the_robot_example_exchanges_its_token(dds: LocalDds, run: Callable[..., Program]) -> None:
    robot = run("robot.py", cwd=EXAMPLES, env=environment_of_a_robot(dds))
    assert robot.line() == f"robot {dds.nodes()[0].node_id} is registered"
    assert robot.line() == f"domain token for {dds.url}"
    (request,) = dds.requests("domain_token")
    assert request.status == 200
    robot.interrupt()
    code, out, _ = robot.end()
    assert code == 0 and out.endswith("stopped\n")
