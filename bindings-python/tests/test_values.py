"""The value classes are ordinary dataclasses to `typing`, `dataclasses`, pickle, pydantic and FastAPI."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

import posemesh_node
from conftest import eventually
from posemesh_node import (
    AccessToken,
    AttemptFailed,
    Event,
    HealthChecked,
    Node,
    RegistrationLost,
    RejectedError,
    Role,
    SecretChanged,
    State,
    Status,
    StatusChanged,
    TokenRefreshed,
)
from posemesh_node.testing import Fault, LocalDds

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

STATUS = Status(
    state=State.REGISTERED,
    running=True,
    has_secret=True,
    secret_version=1,
    last_healthcheck=None,
    registered_at=AT,
    attempts=2,
    consecutive_failures=1,
    last_error=RejectedError("not you"),
    next_attempt_in=1.5,
    role=Role.LEADER,
    persistence_error=None,
    token_expires_at=AT,
    sign_in_failures=0,
    clock_skew=timedelta(seconds=-3),
)

EVENTS: list[Event] = [
    StatusChanged(AT, 0, State.REGISTERING, State.REGISTERED),
    SecretChanged(AT, 1, version=2),
    AttemptFailed(AT, 0, error=RejectedError("not you"), retry_in=1.5),
    HealthChecked(AT, 0),
    TokenRefreshed(AT, 0, expires_at=AT),
    RegistrationLost(AT, 0, reason="why"),
]

VALUES: list[Any] = [STATUS, AccessToken("token", AT), *EVENTS]

by_class = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def public_callables() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in posemesh_node.__all__:
        value = getattr(posemesh_node, name)
        if isinstance(value, type):
            found[name] = value
            for method, function in inspect.getmembers(value, inspect.isroutine):
                if not method.startswith("_") and "posemesh_node" in (getattr(function, "__module__", None) or ""):
                    found[f"{name}.{method}"] = function
    return found


@pytest.mark.parametrize("name", public_callables())
def test_typing_resolves_every_annotation(name: str) -> None:
    typing.get_type_hints(public_callables()[name])


@by_class
def test_a_value_is_a_frozen_dataclass(value: Any) -> None:
    name = dataclasses.fields(value)[0].name
    cls: type[Any] = value.__class__
    assert typing.get_type_hints(cls).keys() == {field.name for field in dataclasses.fields(value)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, name)
    assert hash(value) == hash(dataclasses.replace(value))


@by_class
@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_a_value_can_be_copied_and_pickled(value: Any, again: Callable[[Any], Any]) -> None:
    copied = again(value)
    # Exceptions are equal only to themselves.
    assert type(copied) is type(value) and repr(copied) == repr(value)


def test_a_value_of_the_native_half_equals_one_of_python(node: Node) -> None:
    node.wait_secret(timeout=60)
    status, token = node.status(), node.access_token(timeout=60)
    assert status == dataclasses.replace(status) and pickle.loads(pickle.dumps(status)) == status
    assert token == AccessToken(token.value, token.expires_at)
    assert token.value not in repr(token) and token.value in repr(dataclasses.asdict(token))


def test_match_accepts_fields_by_position() -> None:
    match EVENTS[0]:
        case StatusChanged(_, 0, State.REGISTERING, state):
            assert state is State.REGISTERED
        case _:
            raise AssertionError


@by_class
def test_pydantic_reads_back_what_it_writes(value: Any) -> None:
    cls: type[Any] = value.__class__
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    written = adapter.dump_json(value)
    read = adapter.validate_json(written)
    assert type(read) is type(value) and adapter.dump_json(read) == written
    assert adapter.json_schema(mode="serialization")["properties"].keys() == {
        field.name for field in dataclasses.fields(value)
    }


async def test_fastapi_accepts_values_as_responses(dds: LocalDds) -> None:
    dds.inject("register", Fault.status(403, body="not you"), times=None)
    app = FastAPI()
    with Node.start(**dds.options()) as node:
        eventually(lambda: node.status().last_error)

        @app.get("/status")
        async def status() -> Status:
            return node.status()

        @app.get("/event")
        async def event() -> Event:
            return EVENTS[2]

        assert callable(status) and callable(event)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            shown = (await client.get("/status")).json()
            happened = (await client.get("/event")).json()
            openapi = (await client.get("/openapi.json")).json()
    assert shown["last_error"]["name"] == "ERR_REJECTED" and "not you" in shown["last_error"]["message"]
    assert happened["error"] == {"name": "ERR_REJECTED", "message": "not you"}
    names = {field.name for field in dataclasses.fields(Status)}
    assert set(shown) == set(openapi["components"]["schemas"]["Status"]["properties"]) == names
