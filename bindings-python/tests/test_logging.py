"""The bridge to `logging`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from conftest import GUARD, Program, environment
from posemesh_node import Event, Node, NodeTimeoutError
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds

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


# scenario: logs
def test_a_record_has_the_level_logger_and_time(dds: LocalDds, handler: Handler) -> None:
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


# scenario: secrets-never-shown
def test_no_record_contains_a_secret(dds: LocalDds, handler: Handler) -> None:
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        dds.call_back()
        secret = node.wait_secret(timeout=GUARD)
        options = dds.options()
    shown = " ".join(record.getMessage() for record in handler.until("stopped"))
    assert not any(text in shown for text in (secret, options["reg_secret"], PRIVATE_KEY))


def levels_of_a_node(dds: LocalDds, handler: Handler) -> set[int]:
    """The levels of the records that arrive while a node registers and stops."""
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
    levels: set[int] = set()
    while not handler.records.empty():
        levels.add(handler.records.get().levelno)
    return levels


def test_records_below_the_level_are_discarded(dds: LocalDds, handler: Handler) -> None:
    # The first has records of level INFO, the other one of level DEBUG.
    children = [logging.getLogger("posemesh_node.register"), logging.getLogger("posemesh_node.sign_in")]
    root = logging.getLogger()
    root_level, levels = root.level, {logging.DEBUG, logging.INFO}
    try:
        LOGGER.setLevel(logging.WARNING)
        assert levels_of_a_node(dds, handler) == set()
        for child in children:
            child.setLevel(logging.DEBUG)
        assert levels_of_a_node(dds, handler) == levels
        logging.disable(logging.DEBUG)
        assert levels_of_a_node(dds, handler) == {logging.INFO}
        logging.disable(logging.CRITICAL)
        assert levels_of_a_node(dds, handler) == set()
        logging.disable(logging.NOTSET)
        for child in children:
            child.setLevel(logging.NOTSET)
        LOGGER.setLevel(logging.NOTSET)
        root.setLevel(logging.INFO)
        assert levels_of_a_node(dds, handler) == {logging.INFO}
    finally:
        logging.disable(logging.NOTSET)
        for child in children:
            child.setLevel(logging.NOTSET)
        root.setLevel(root_level)


def test_a_record_has_the_name_of_the_librarys_thread(dds: LocalDds, handler: Handler) -> None:
    heard: SimpleQueue[str] = SimpleQueue()
    with Node.start(**dds.options()) as node:

        @node.on_event
        def listener(event: Event) -> None:
            heard.put(threading.current_thread().name)

        assert callable(listener)
        node.rearm()
        node.wait_registered(timeout=GUARD)
        assert {record.threadName for record in handler.until("re-armed")} == {"posemesh-events"}
        assert heard.get(timeout=GUARD) == "posemesh-events"


@pytest.mark.parametrize("logger", [LOGGER, LOGGER.getChild("sign_in")], ids=["parent", "child"])
def test_a_level_can_be_changed_while_a_node_runs(dds: LocalDds, handler: Handler, logger: logging.Logger) -> None:
    LOGGER.setLevel(logging.ERROR)
    with Node.start(**dds.options()) as node:
        for _ in range(3):
            node.wait_registered(timeout=GUARD)
            assert handler.records.empty()
            logger.setLevel(logging.DEBUG)
            node.rearm()
            handler.until("challenge checked and signed")
            logger.setLevel(logging.ERROR)
            node.rearm()
            node.wait_registered(timeout=GUARD)
            # A record that was already queued still arrives.
            LOGGER.handle(logging.makeLogRecord({"msg": "the last one", "levelno": logging.ERROR}))
            handler.until("the last one")


def test_a_logger_with_its_own_is_enabled_for_is_asked(
    dds: LocalDds, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moody(logging.Logger):
        mood = False

        def isEnabledFor(self, level: int) -> bool:
            return self.mood

    monkeypatch.setattr(LOGGER.getChild("node"), "__class__", Moody)
    LOGGER.setLevel(logging.CRITICAL)
    assert levels_of_a_node(dds, handler) == set()
    monkeypatch.setattr(Moody, "mood", True)
    assert levels_of_a_node(dds, handler) == {logging.INFO}


UNTIL_REGISTERED_AGAIN = """
import sys
from posemesh_node import Node

def register_again():
    node.rearm()
    node.wait_registered()
"""


def test_warnings_are_printed_when_logging_is_not_configured(dds: LocalDds, run: Callable[..., Program]) -> None:
    dds.inject("register", Fault.status(403, body="not you"), times=None)
    code = f"""
{UNTIL_REGISTERED_AGAIN}
node = Node.from_env()
while node.status().last_error is None:
    pass
node.stop()
"""
    _, _, err = run("-c", code, env=environment(dds)).end()
    assert "not you" in err and len(err.splitlines()) == 1


def test_logging_can_be_configured_later(dds: LocalDds, run: Callable[..., Program]) -> None:
    code = f"""
{UNTIL_REGISTERED_AGAIN}
node = Node.from_env()
node.wait_registered()
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
register_again()
node.stop()
"""
    lines = run("-c", code, env=environment(dds)).succeed().splitlines()
    assert "posemesh_node.node INFO re-armed: registering again" in lines
    assert lines[-1] == "posemesh_node.node INFO stopped"
    assert not any("DEBUG" in line for line in lines)


def test_the_last_record_arrives_before_logging_shuts_down(dds: LocalDds, run: Callable[..., Program]) -> None:
    code = f"""
{UNTIL_REGISTERED_AGAIN}
node = Node.from_env()
node.wait_registered()
import logging

class Handler(logging.Handler):
    is_open = True

    def emit(self, record):
        print(self.is_open, record.getMessage(), flush=True)

    def close(self):
        super().close()
        self.is_open = False

logging.basicConfig(level=logging.INFO, handlers=[Handler()])
register_again()
"""
    assert run("-c", code, env=environment(dds)).succeed().splitlines()[-1] == "True stopped"


def test_the_last_record_is_written_to_a_file_without_earlier_records(
    dds: LocalDds, run: Callable[..., Program], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    code = f"""
{UNTIL_REGISTERED_AGAIN}
node = Node.from_env()
node.wait_registered()
import logging
logging.basicConfig(level=logging.INFO, filename=sys.argv[1])
"""
    run("-W", "error", "-c", code, str(log), env=environment(dds)).succeed()
    assert log.read_text().splitlines()[-1] == "INFO:posemesh_node.node:stopped"


def test_an_exception_in_a_handler_does_not_affect_the_node(
    dds: LocalDds, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: SimpleQueue[Any] = SimpleQueue()
    monkeypatch.setattr("sys.unraisablehook", unraisable.put)

    # `logging` handles exceptions of `emit`, but not of `handle`.
    def handle(record: logging.LogRecord) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(handler, "handle", handle)
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        assert isinstance(unraisable.get(timeout=GUARD).exc_value, ZeroDivisionError)


def test_a_handler_that_blocks_does_not_affect_the_node(
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


def test_a_handler_may_call_the_node(dds: LocalDds, handler: Handler) -> None:
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
        node.rearm()
        seen.get(timeout=GUARD)
