"""gevent: a wait blocks its thread, so programs wait in gevent's thread pool."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conftest import Program

START = """
from gevent import monkey
monkey.patch_all()
import gevent
from posemesh_node import Node
from posemesh_node.testing import LocalDds

ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0)
        ticks += 1

gevent.spawn(tick)
dds = LocalDds()
node = Node.start(**dds.options(callback_bind="127.0.0.1:0"))
"""

PROGRAMS = {
    "the thread pool leaves the other greenlets free": """
events = node.events()
wait = gevent.get_hub().threadpool.apply_async(node.wait_secret, (60,))
before = ticks
assert wait.get() == node.read_secret()
assert ticks > before + 1
assert gevent.get_hub().threadpool.apply(next, (events,)).dropped == 0
""",
    "a wait on the main thread ends normally": """
node.wait_secret(60)
events = node.events(timeout=3600)
node.rearm()
next(events)
node.access_token(60)
""",
    "a listener is called": """
import threading
heard = threading.Event()
node.on_event(lambda event: heard.set())
# Otherwise, the secret of the first registration might arrive after that of the second one.
gevent.get_hub().threadpool.apply(node.wait_secret, (60,))
node.rearm()
gevent.get_hub().threadpool.apply(node.wait_registered, (60,))
while not heard.is_set():
    gevent.sleep(0.001)
""",
    "the program exits without a stop": "",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_with_gevent(name: str, run: Callable[..., Program]) -> None:
    run("-c", START + PROGRAMS[name]).succeed()
