"""A signer of the host's in place of a private key."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import SignableMessage as EthSignableMessage
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from conftest import GUARD, Program, eventually
from posemesh_node import AsyncNode, ConfigError, Event, Node, NotFoundError, Signer, State, sign_eip191
from posemesh_node.testing import PRIVATE_KEY, LocalDds

ACCOUNT: LocalAccount = Account.from_key(PRIVATE_KEY)
OTHER: LocalAccount = Account.from_key("11" * 32)


class Signs:
    """A signer with the functions that sign. It counts the calls."""

    def __init__(self, sign: Callable[[Any], Any], address: Any = ACCOUNT.address) -> None:
        self.address = address
        self.sign = sign
        self.calls: list[str] = []

    def sign_message(self, message: Any) -> Any:
        self.calls.append(threading.current_thread().name)
        return self.sign(message)


class AsyncSigns:
    """A signer whose method is a coroutine function, such as a client of a KMS."""

    address = ACCOUNT.address

    def __init__(self) -> None:
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def sign_message(self, message: Any) -> bytes:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return bytes(ACCOUNT.sign_message(message).signature)


def options_with(dds: LocalDds, signer: Any, **overrides: Any) -> Any:
    return dds.options(signer=signer, **overrides)


def register(dds: LocalDds, signer: Any) -> None:
    with Node.start(**options_with(dds, signer)) as node:
        node.wait_registered(timeout=GUARD)
        assert dds.accepts_token(node.access_token(timeout=GUARD))
        assert node.wallet_address == ACCOUNT.address.lower()


# scenario: signer
def test_an_eth_account_signs_for_the_node(dds: LocalDds) -> None:
    signer: Signer = ACCOUNT
    register(dds, signer)
    assert dds.nodes()[0].wallet == ACCOUNT.address


SIGNATURES: dict[str, Callable[[Any], Any]] = {
    "HexBytes": lambda message: ACCOUNT.sign_message(message).signature,
    "bytes": lambda message: bytes(ACCOUNT.sign_message(message).signature),
    "hex": lambda message: ACCOUNT.sign_message(message).signature.hex(),
    "0x": lambda message: f"0x{bytes(ACCOUNT.sign_message(message).signature).hex()}",
    "the message as bytes": lambda message: ACCOUNT.sign_message(encode_defunct(message)),
    "the parts of the message": lambda message: ACCOUNT.sign_message(
        EthSignableMessage(message.version, message.header, message.body)
    ),
    "sign_eip191": lambda message: sign_eip191(PRIVATE_KEY, message),
}


@pytest.mark.parametrize("form", SIGNATURES)
def test_a_signer_returns_a_signature_in_any_form(form: str, dds: LocalDds) -> None:
    signer = Signs(SIGNATURES[form])
    register(dds, signer)
    # Not on the thread of the callbacks.
    assert signer.calls == ["posemesh-signer"] * 2


def test_an_asynchronous_signer_works_without_an_event_loop(dds: LocalDds) -> None:
    register(dds, AsyncSigns())


async def test_an_asynchronous_signer_runs_in_the_event_loop_of_the_node(dds: LocalDds) -> None:
    signer = AsyncSigns()
    async with AsyncNode.start(**options_with(dds, signer)) as node:
        await node.wait_registered(timeout=GUARD)
        await node.access_token(timeout=GUARD)
    assert signer.loops == [asyncio.get_running_loop()] * 2


async def test_a_signer_that_returns_an_awaitable_works(dds: LocalDds) -> None:
    for signer in (Signs(AsyncSigns().sign_message), ACCOUNT):
        async with AsyncNode.start(**options_with(dds, signer)) as node:
            await node.wait_registered(timeout=GUARD)


def test_a_slow_signer_does_not_delay_events(dds: LocalDds) -> None:
    asked, signature = threading.Event(), Future[bytes]()

    def sign(message: Any) -> bytes:
        asked.set()
        return signature.result(GUARD)

    def late(message: Any) -> bytes:
        signature.set_result(bytes(ACCOUNT.sign_message(message).signature))
        return signature.result()

    slow = Signs(sign)
    with Node.start(**options_with(dds, slow)) as node:
        assert asked.wait(GUARD)
        slow.sign = late
        # The dispatcher thread delivers events although the signer has not returned.
        heard: SimpleQueue[Event] = SimpleQueue()
        node.on_event(heard.put)
        node.rearm()
        heard.get(timeout=GUARD)
        node.wait_registered(timeout=GUARD)


def failing(message: Any) -> bytes:
    raise ConnectionError("the KMS is down")


FAILURES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an error": (failing, "the signer failed: ConnectionError: the KMS is down"),
    "another key": (lambda message: OTHER.sign_message(message), f"it is by {OTHER.address.lower()}"),
    "nothing": (lambda message: None, "the signer failed: TypeError: sign_message must return a signature"),
    "too short": (lambda message: b"x", "expected 65 bytes"),
    "a lone surrogate": (lambda message: "\ud800", "the signer failed: "),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_signer_is_reported_and_retried(failure: str, dds: LocalDds) -> None:
    sign, text = FAILURES[failure]
    signer = Signs(sign)
    with Node.start(**options_with(dds, signer)) as node:
        eventually(lambda: node.status().last_error)
        assert text in str(node.status().last_error)
        assert dds.requests("register") == []
        signer.sign = ACCOUNT.sign_message
        node.rearm()
        node.wait_registered(timeout=GUARD)


def test_a_node_with_a_signer_does_not_sign_for_others(dds: LocalDds) -> None:
    with Node.start(**options_with(dds, ACCOUNT)) as node, pytest.raises(NotFoundError, match="with its signer"):
        node.sign(b"x")


def test_a_private_key_beside_a_signer_is_refused(dds: LocalDds) -> None:
    with pytest.raises(ConfigError, match="secp256k1_privhex and a signer are both set"):
        Node.start(**options_with(dds, ACCOUNT, secp256k1_privhex=PRIVATE_KEY))


@pytest.mark.parametrize(
    ("signer", "text"),
    [
        (object(), "signer must have an address, which is a str, and a method sign_message; got object"),
        (PRIVATE_KEY, "got str"),
        (Signs(failing, address=b"0x"), "got Signs"),
    ],
)
def test_an_object_that_is_not_a_signer_is_refused(signer: Any, text: str, dds: LocalDds) -> None:
    with pytest.raises(TypeError, match=text) as caught:
        Node.start(**options_with(dds, signer, reg_secret="do-not-show-me"))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "posemesh_node" in Path(frame.filename).parts]
    assert ours and all("do-not-show-me" not in str(frame.locals) for frame in ours)


@pytest.mark.parametrize("address", ["", "0x12", "0x" + "zz" * 20, "0x\ud800"])
def test_a_malformed_address_is_refused(address: str, dds: LocalDds) -> None:
    with pytest.raises(ConfigError, match="^the signer's address"):
        Node.start(**options_with(dds, Signs(failing, address=address)))


def test_a_signer_is_optional(dds: LocalDds) -> None:
    with Node.start(**dds.options(secp256k1_privhex=PRIVATE_KEY, signer=None)) as node:
        node.wait_registered(timeout=GUARD)


def test_from_env_takes_a_signer(dds: LocalDds, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dds.options()
    monkeypatch.setenv("DDS_BASE_URL", dds.url)
    monkeypatch.setenv("REG_SECRET", options["reg_secret"])
    monkeypatch.setenv("CAPABILITIES", "/a/v1")
    monkeypatch.setenv("NODE_VERSION", "1.0.0")
    with Node.from_env(signer=ACCOUNT) as node:
        node.wait_registered(timeout=GUARD)
        assert node.status().state is State.REGISTERED


def test_no_record_contains_the_message_or_signature(dds: LocalDds, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signatures: list[str] = []

    def sign(message: Any) -> str:
        signatures.append(sign_eip191(PRIVATE_KEY, message))
        return signatures[-1]

    register(dds, Signs(sign))
    assert caplog.records
    assert all(signature[2:] not in caplog.text for signature in signatures)


def test_the_interpreter_exits_while_a_signer_is_stuck(run: Callable[..., Program]) -> None:
    code = """
import threading, time
from posemesh_node import Node
from posemesh_node.testing import LocalDds

class Stuck:
    address = "0xfdbb6caf01414300c16ea14859fec7736d95355f"

    def sign_message(self, message):
        asked.set()
        time.sleep(3600)

asked = threading.Event()
dds = LocalDds()
node = Node.start(**dds.options(signer=Stuck()))
asked.wait()
"""
    run("-c", code).succeed()
