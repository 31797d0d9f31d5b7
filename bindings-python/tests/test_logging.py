"""The bridge to `logging`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from conftest import GUARD
from posemesh_node import Node, NodeTimeoutError, _logging
from posemesh_node.testing import LocalDds

LOGGER = logging.getLogger("posemesh_node")


class Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: SimpleQueue[logging.LogRecord] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)

    def until(self, text: str) -> list[logging.LogRecord]:
        records: list[logging.LogRecord] = []
        while not (records and text in records[-1].getMessage()):
            records.append(self.records.get(timeout=GUARD))
        return records


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield handler
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.removeHandler(handler)


def test_records_have_level_logger_and_time(dds: LocalDds, handler: Handler) -> None:
    began = time.time()
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        records = handler.until("registered with DDS")
    levels = {record.levelno for record in records}
    assert levels == {logging.DEBUG, logging.INFO}
    registered = records[-1]
    assert (registered.name, registered.levelname) == ("posemesh_node.register", "INFO")
    assert began <= registered.created <= time.time()
    assert registered.msecs == pytest.approx(registered.created % 1 * 1000)
    assert logging.Formatter("%(asctime)s %(name)s: %(message)s").format(registered)


def test_no_record_has_a_secret(dds: LocalDds, handler: Handler) -> None:
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        dds.call_back()
        secret = node.wait_secret(timeout=GUARD)
        options = dds.options()
    shown = " ".join(record.getMessage() for record in handler.until("stopped"))
    assert not any(text in shown for text in (secret, options["reg_secret"], options["secp256k1_privhex"]))


def test_levels_are_followed(dds: LocalDds, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    crossed: SimpleQueue[tuple[int, str]] = SimpleQueue()
    handle = _logging._handle

    def spy(level: int, name: str, created: float, dropped: int, message: str) -> None:
        handle(level, name, created, dropped, message)
        crossed.put((level, message))

    def levels_of_a_registration() -> set[int]:
        levels: set[int] = set()
        message = ""
        while "registered with DDS" not in message:
            level, message = crossed.get(timeout=GUARD)
            levels.add(level)
        return levels

    monkeypatch.setattr(_logging, "_handle", spy)
    LOGGER.setLevel(logging.WARNING)
    with Node.start(**dds.options()) as node:
        assert levels_of_a_registration() == {logging.INFO}
        assert handler.records.empty()
        # Lowered while the node runs: the next record that crosses brings it along.
        LOGGER.setLevel(logging.DEBUG)
        node.rearm()
        levels_of_a_registration()
        node.rearm()
        assert logging.DEBUG in levels_of_a_registration()


def test_a_handler_that_raises_harms_nobody(
    dds: LocalDds, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: SimpleQueue[Any] = SimpleQueue()
    monkeypatch.setattr("sys.unraisablehook", unraisable.put)

    # `logging` takes care of what `emit` raises; this goes through it.
    def handle(record: logging.LogRecord) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(handler, "handle", handle)
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        assert isinstance(unraisable.get(timeout=GUARD).exc_value, ZeroDivisionError)


def test_a_handler_that_blocks_harms_only_itself(
    dds: LocalDds, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, release = threading.Event(), threading.Event()

    def emit(record: logging.LogRecord) -> None:
        blocked.set()
        release.wait()

    monkeypatch.setattr(handler, "emit", emit)
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        assert blocked.wait(GUARD)
        node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        assert dds.call_back().status == 200
        assert node.wait_secret(timeout=GUARD) == dds.last_secret
        with pytest.raises(NodeTimeoutError, match="callback"):
            node.stop(timeout=0.05)
        release.set()
        node.stop(timeout=GUARD)


def test_a_handler_that_calls_back_into_the_node(dds: LocalDds, handler: Handler) -> None:
    seen: SimpleQueue[object] = SimpleQueue()
    with Node.start(**dds.options()) as node:

        def use(record: logging.LogRecord) -> bool:
            if "registered with DDS" in record.getMessage():
                node.wait_registered(timeout=GUARD)
                node.rearm()
                seen.put((node.status(), node.sign(b"x")))
                handler.removeFilter(use)
            return True

        handler.addFilter(use)
        node.wait_registered(timeout=GUARD)
        seen.get(timeout=GUARD)
