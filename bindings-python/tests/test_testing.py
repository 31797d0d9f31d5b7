"""The local DDS of `posemesh_node.testing`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.request import Request, urlopen

import pytest

from conftest import GUARD, Program, eventually
from posemesh_node import AccessToken, Node, RejectedError, UnavailableError, testing
from posemesh_node.testing import CallbackOutcome, DdsRequest, Endpoint, Fault, LocalDds, RegisteredNode

# The names that every language has.
SURFACE = json.loads((Path(__file__).parents[2] / "tests/dev-dds/surface.json").read_text())
# Old names, and what only Python has.
NOT_SHARED = {"close", "token_is_good", "forget_nodes"}
OLD_TYPES = {"Answer", "Request"}

FAULTS = {
    "status": Fault.status(503, body="busy", retry_after="1"),
    "answer": Fault.answer(418, headers={"x-test": "1"}),
    "reset": Fault.reset(),
    "half body": Fault.half_body(),
    "garbage": Fault.garbage(),
    "not HTTP": Fault.not_http(),
    "invalid UTF-8": Fault.invalid_utf8(),
    "endless body": Fault.endless_body(),
    "redirect": Fault.redirect("http://127.0.0.1:1/"),
}


def public(names: Any) -> list[str]:
    return sorted(name for name in names if not name.startswith("_"))


def snake_case(name: str) -> str:
    if name.isupper():
        return name.lower()
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def test_the_names_are_those_of_the_other_languages() -> None:
    assert public(inspect.signature(LocalDds).parameters) == SURFACE["options"]
    assert public(testing.LocalDdsOptions.__annotations__) == SURFACE["options"]
    assert public(set(vars(LocalDds)) - NOT_SHARED) == SURFACE["local_dds"]
    assert public(vars(Fault)) == SURFACE["faults"]
    assert list(get_args(Endpoint)) == SURFACE["endpoints"]
    assert sorted([field.name for field in fields(DdsRequest)] + ["json"]) == SURFACE["dds_request"]
    assert sorted(field.name for field in fields(RegisteredNode)) == SURFACE["registered_node"]
    assert sorted(field.name for field in fields(CallbackOutcome)) == SURFACE["callback_outcome"]
    assert sorted(map(snake_case, set(testing.__all__) - OLD_TYPES)) == SURFACE["exports"]


def test_every_endpoint_can_have_a_fault(dds: LocalDds) -> None:
    for endpoint in get_args(Endpoint):
        dds.inject(endpoint, Fault.hang())
        assert dds.requests(endpoint) == []


def test_an_endpoint_that_does_not_exist_is_an_error_with_all_names(dds: LocalDds) -> None:
    untyped: Any = dds

    def inject(name: object) -> None:
        untyped.inject(name, Fault.hang())

    calls: list[Callable[[object], object]] = [inject, untyped.requests, untyped.wait_for_requests]
    for call in calls:
        with pytest.raises(ValueError, match=r"^endpoint must be one of 'challenge', 'register', .*; got 'registr'$"):
            call("registr")
        with pytest.raises(TypeError, match=r"^endpoint must be a str, got int$"):
            call(5)


def post(dds: LocalDds, path: str, body: object) -> Any:
    # The address of a server on loopback.
    request = Request(dds.url + path, json.dumps(body).encode(), method="POST")  # noqa: S310
    with urlopen(request, timeout=GUARD) as answer:  # noqa: S310
        return json.load(answer)


def test_robots() -> None:
    registration: dict[str, object] = {"registration_credentials": "robot", "version": "1.0.0", "capabilities": []}
    with LocalDds.start(token_claims={"assigned_domain_id": "home", "node_mode": None}) as dds:
        dds.inject("register_robot", Fault.patch({"robot_id": None, "access_expires_at": "never"}))
        patched = post(dds, "/internal/v1/robots/register", registration)
        assert "robot_id" not in patched and patched["access_expires_at"] == "never"
        answer = post(dds, "/internal/v1/robots/register", registration)
        claims = AccessToken(answer["access_token"], dds.requests()[0].at).claims
        assert claims is not None and "node_mode" not in claims
        assert (claims["node_type"], claims["assigned_domain_id"]) == ("robot", "home")
        assert [request.endpoint for request in dds.requests()] == ["register_robot"] * 2
        (robot,) = dds.nodes()
        assert (robot.wallet, robot.node_id, robot.url) == (None, answer["robot_id"], None)
        dds.forget(answer["robot_id"])
        assert dds.nodes() == []


def test_tokens_are_as_the_options_say() -> None:
    with LocalDds(token_format="opaque", token_identity=False) as dds, Node.start(**dds.options()) as node:
        token = node.access_token(timeout=GUARD)
        assert token.claims is None and dds.accepts_token(token)


def test_the_private_key_is_only_for_nodes_that_need_it(dds: LocalDds) -> None:
    assert "secp256k1_privhex" in dds.options()
    other: Any
    for other in ({"identity": "robot"}, {"secp256k1_keystore_file": "key.json"}, {"signer": object()}):
        assert "secp256k1_privhex" not in dds.options(**other)


def test_a_lone_surrogate_is_a_clear_error(dds: LocalDds) -> None:
    lone = "a\ud800"
    for mistake in (
        lambda: LocalDds(secret=lone),
        lambda: LocalDds(node_url=lone),
        lambda: LocalDds(credentials=lone),
        lambda: LocalDds(token_claims={"a": lone}),
        lambda: dds.set_secret(lone),
        lambda: dds.set_node_url(lone),
        lambda: dds.set_challenge({"domain": lone}),
        lambda: dds.forget(lone),
        lambda: dds.accepts_token(lone),
        lambda: Fault.status(503, body=lone),
        lambda: Fault.patch({lone: 1}),
    ):
        with pytest.raises(ValueError, match="has a lone surrogate at index .*, so it is not valid Unicode"):
            mistake()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_an_attempt(dds: LocalDds, fault: str) -> None:
    dds.inject("challenge", FAULTS[fault], times=None)
    with Node.start(**dds.options()) as node:
        eventually(lambda: node.status().last_error)
        assert isinstance(node.status().last_error, (UnavailableError, RejectedError))


def test_a_stale_nonce_and_a_delay(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.stale_nonce())
    dds.inject("register", Fault.delay(0.01))
    with Node.start(**dds.options(register_interval_secs=1)) as node:
        node.wait_registered(timeout=GUARD)
    assert len(dds.requests("challenge")) == 2


def test_requests_are_recorded(node: Node, dds: LocalDds) -> None:
    challenge, register = dds.requests()
    assert (challenge.number, challenge.endpoint, challenge.method) == (1, "challenge", "POST")
    assert challenge.json() == {"wallet": node.wallet_address}
    assert register.path == "/internal/v1/nodes/register-wallet"
    assert register.headers["content-type"] == "application/json"
    assert register.status == 200
    assert challenge.at <= register.at
    dds.clear_requests()
    assert dds.requests() == []


def test_callbacks(node: Node, dds: LocalDds) -> None:
    dds.set_secret("another")
    assert dds.call_back().status == 403
    node.rearm()
    dds.wait_for_requests("register", 2)
    node.wait_registered(timeout=GUARD)
    assert dds.call_back() == CallbackOutcome(200, b'{"ok":true}')
    assert dds.last_secret == node.read_secret() == "another"
    dds.set_node_url(None)
    with pytest.raises(OSError):
        dds.call_back()


@pytest.mark.parametrize("callback", ["after_answer", "before_answer"])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"])
def test_a_node_of_the_same_process_is_found(
    callback: Literal["after_answer", "before_answer"], bind: str
) -> None:
    with LocalDds(callback=callback) as dds, Node.start(**dds.options(callback_bind=bind)) as node:
        assert node.wait_secret(timeout=GUARD) == dds.last_secret
        assert dds.probe_health() == 200


def test_each_dds_finds_its_own_node() -> None:
    with LocalDds(secret="first") as first, LocalDds(secret="second") as second:
        # The same wallet with two services.
        with (
            Node.start(**first.options(callback_bind="127.0.0.1:0")) as one,
            Node.start(**second.options(callback_bind="127.0.0.1:0")) as other,
        ):
            assert (one.wait_secret(timeout=GUARD), other.wait_secret(timeout=GUARD)) == ("first", "second")


def test_a_node_is_called_back_when_its_url_becomes_known(dds: LocalDds) -> None:
    dds.set_node_url(None)
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        assert dds.last_secret is None
        dds.set_node_url(f"http://{node.callback_address}")
        assert node.wait_secret(timeout=GUARD) == dds.last_secret


def test_nodes_can_be_forgotten(node: Node, dds: LocalDds) -> None:
    wallet = dds.nodes()[0].wallet
    assert wallet is not None and wallet.lower() == node.wallet_address
    token = node.access_token(timeout=GUARD)
    assert dds.accepts_token(token) and dds.accepts_token(token.value)
    dds.forget("0x" + "00" * 20)
    assert len(dds.nodes()) == 1
    dds.forget(node.wallet_address)
    assert dds.nodes() == [] and not dds.accepts_token(token)
    dds.forget()
    with pytest.raises(ValueError, match="wallet must be 0x and 40 hex digits"):
        dds.forget("0x12")


def test_a_wallet_that_is_online_elsewhere(dds: LocalDds) -> None:
    with Node.start(**dds.options(register_interval_secs=1, max_concurrency=3)) as node:
        node.wait_registered(timeout=GUARD)
        assert (dds.nodes()[0].max_concurrency, dds.nodes()[0].online) == (3, True)
        dds.set_online_elsewhere(node.wallet_address, True)
        node.rearm()
        eventually(lambda: isinstance(node.status().last_error, RejectedError))
        dds.set_online_elsewhere(node.wallet_address, False)
        node.wait_registered(timeout=GUARD)


def test_a_challenge_can_be_changed(dds: LocalDds) -> None:
    dds.set_challenge({"domain": "elsewhere.example"})
    with Node.start(**dds.options(register_interval_secs=1)) as node:
        eventually(lambda: node.status().last_error)
        assert dds.requests("register") == []
        dds.set_challenge(None)
        node.wait_registered(timeout=GUARD)
    first, second = dds.wait_for_requests("challenge", 2)[:2]
    assert 0 < first.since_start < second.since_start


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("node_url", 8080, TypeError, "node_url must be a str or None, got int"),
        ("secret", b"secret", TypeError, "secret must be a str or None, got bytes"),
        ("credentials", 5, TypeError, "credentials must be a str or None, got int"),
        ("callback", "sometimes", ValueError, "callback must be one of 'after_answer', 'before_answer', 'never'"),
        ("callback", None, ValueError, "callback must be one of"),
        ("health_interval", "1", TypeError, "health_interval must be a number of seconds, got str"),
        ("health_interval", True, TypeError, "health_interval must be a number of seconds, got bool"),
        ("health_interval", -1, ValueError, "health_interval must be more than 0"),
        ("health_interval", 0, ValueError, "health_interval must be more than 0"),
        ("token_lifetime", float("nan"), ValueError, "token_lifetime must be more than 0"),
        ("token_lifetime", float("inf"), ValueError, "token_lifetime must be .* at most a century"),
        ("nonce_lifetime", None, TypeError, "nonce_lifetime must be a number of seconds, got NoneType"),
        ("token_format", "paper", ValueError, "token_format must be one of 'jwt', 'opaque'; got 'paper'"),
        ("token_identity", 1, TypeError, "token_identity must be a bool, got int"),
        ("token_claims", [], TypeError, "token_claims must be a mapping or None, got list"),
        ("clock_offset", 1.5, TypeError, "clock_offset must be an int, in seconds; got float"),
        ("clock_offset", 2**31, ValueError, "clock_offset must fit 32 bits"),
        ("nonsense", 1, TypeError, "nonsense"),
    ],
)
def test_nonsense_options(option: str, value: object, error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        LocalDds(**{option: value})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_credentials_and_a_fixed_secret() -> None:
    with LocalDds(credentials="right", secret="fixed", callback="never") as dds:
        options = dds.options(reg_secret="right", callback_bind="127.0.0.1:0")
        with Node.start(**options) as node:
            node.wait_registered(timeout=GUARD)
            dds.set_node_url(f"http://{node.callback_address}")
            dds.call_back()
            assert node.wait_secret(timeout=GUARD) == "fixed"
        with Node.start(**dds.options()) as node:
            eventually(lambda: isinstance(node.status().last_error, RejectedError))


def test_health_is_probed_at_an_interval() -> None:
    with LocalDds(health_interval=0.01) as dds, Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        dds.set_node_url(f"http://{node.callback_address}")
        eventually(lambda: node.status().last_healthcheck)


def test_mistakes_raise_where_they_are_made(dds: LocalDds) -> None:
    for mistake in (
        lambda: Fault.status(99),
        lambda: Fault.answer(200, headers={"a": "line\nbreak"}),
        lambda: dds.inject("nowhere", Fault.hang()),  # type: ignore[arg-type]  # pyright: ignore
        lambda: dds.set_node_url("https://example.org"),
        lambda: LocalDds(callback="sometimes"),  # type: ignore[arg-type]  # pyright: ignore
        lambda: LocalDds(health_interval=-1),
    ):
        with pytest.raises(ValueError):
            mistake()
    with pytest.raises(TimeoutError, match="no 1 requests to 'verify'"):
        dds.wait_for_requests("verify", timeout=0)


def test_mistakes_of_type_are_named(dds: LocalDds) -> None:
    wrong: Any
    for wrong in ("hang", None, Fault.hang):
        with pytest.raises(TypeError, match=r"^fault must be a Fault, such as Fault.hang\(\)"):
            dds.inject("challenge", wrong)
    for wrong in (5, None, b"token"):
        with pytest.raises(TypeError, match="^token must be an AccessToken or a str"):
            dds.accepts_token(wrong)


def test_it_runs_until_it_is_stopped(run: Callable[..., Program]) -> None:
    """Also if the program keeps no reference to it, and also at exit."""
    code = """
import gc
from posemesh_node import Node
from posemesh_node.testing import LocalDds

url = LocalDds().url
gc.collect()
with Node.start(**LocalDds().options(dds_base_url=url)) as node:
    node.wait_registered(timeout=60)
"""
    assert run("-c", code).succeed() == ""


def test_it_can_be_closed_twice() -> None:
    dds = LocalDds()
    dds.stop()
    dds.close()
    assert repr(dds) == "<LocalDds closed>"
    with pytest.raises(ValueError, match="closed"):
        dds.requests()
