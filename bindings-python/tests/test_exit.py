"""The interpreter exits although the node was not stopped: with code 0 and no output."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import GUARD, environment
from posemesh_node.testing import Fault, LocalDds

REPEATS = int(os.environ.get("POSEMESH_EXIT_REPEATS", "25"))
"""How many processes exit in each state."""

STATES = {
    "registering": """
from posemesh_node import Node
node = Node.from_env()
while node.status().state != "registering":
    pass
""",
    "registered": """
from posemesh_node import Node
node = Node.from_env()
node.wait_registered()
""",
    "just started": """
from posemesh_node import Node
node = Node.from_env(callback_bind="127.0.0.1:0")
""",
    "sys.exit in a with statement": """
import sys
from posemesh_node import Node
with Node.from_env() as node:
    node.wait_registered()
    sys.exit()
""",
    "listener and stream": """
from posemesh_node import Node
node = Node.from_env()
events = node.events()
node.on_event(lambda event: node.status())
node.wait_registered()
""",
    "a pending asyncio wait": """
import asyncio
from posemesh_node import AsyncNode

async def main():
    global node, wait
    node = await AsyncNode.from_env(callback_bind="127.0.0.1:0")
    await node.wait_registered()
    wait = asyncio.ensure_future(node.wait_secret())
    await asyncio.sleep(0)
    # Otherwise, asyncio prints that this task is pending.
    wait._log_destroy_pending = False

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    "a pending asyncio wait that is cancelled": """
import asyncio
from posemesh_node import AsyncNode

async def main():
    global node, wait
    node = await AsyncNode.from_env(callback_bind="127.0.0.1:0")
    wait = asyncio.ensure_future(node.wait_secret())
    await node.wait_registered()

asyncio.run(main())
""",
    "a pending asyncio access token": """
import asyncio
from posemesh_node import AsyncNode

async def main():
    global node, wait
    node = await AsyncNode.from_env()
    wait = asyncio.ensure_future(node.access_token())
    await asyncio.sleep(0)
    wait._log_destroy_pending = False

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    "an access token": """
from posemesh_node import Node
node = Node.from_env()
token = node.access_token()
""",
    "a state directory": """
import tempfile
from posemesh_node import Node
directory = tempfile.TemporaryDirectory()
node = Node.from_env(state_dir=f"{directory.name}/node")
node.wait_registered()
""",
    "a logging handler": """
import io, logging
from posemesh_node import Node
logging.basicConfig(level=logging.DEBUG, stream=io.StringIO())
node = Node.from_env()
node.wait_registered()
""",
    "daemon threads that wait": """
import threading
from posemesh_node import Node
node = Node.from_env(callback_bind="127.0.0.1:0")
for _ in range(3):
    threading.Thread(target=node.wait_secret, daemon=True).start()
    threading.Thread(target=node.access_token, daemon=True).start()
    threading.Thread(target=list, args=(node.events(),), daemon=True).start()
node.wait_registered()
""",
    "other threads that wait": """
import threading
from posemesh_node import Node, StoppedError

node = Node.from_env(callback_bind="127.0.0.1:0")

def until_stopped(wait, *arguments):
    try:
        wait(*arguments)
    except StoppedError:
        pass

for wait in (node.wait_secret, node.access_token):
    threading.Thread(target=until_stopped, args=(wait,)).start()
threading.Thread(target=list, args=(node.events(),)).start()
""",
    "another thread's event loop": """
import asyncio, threading
from posemesh_node import AsyncNode, StoppedError

async def main():
    node = await AsyncNode.from_env(callback_bind="127.0.0.1:0")
    started.set()
    try:
        await node.wait_secret()
    except StoppedError:
        assert [event async for event in node.events()] == []

async def follow():
    try:
        await main()
    except StoppedError:
        pass

started = threading.Event()
threading.Thread(target=asyncio.run, args=(follow(),)).start()
started.wait()
""",
    "daemon threads that never pause": """
import threading
from posemesh_node import Node, PosemeshError

node = Node.from_env(callback_bind="127.0.0.1:0")
node.access_token()

def forever(call, *arguments):
    while True:
        try:
            call(*arguments)
        except PosemeshError:
            pass

for call in (node.status, node.access_token, node.read_secret):
    threading.Thread(target=forever, args=(call,), daemon=True).start()
threading.Thread(target=forever, args=(node.wait_secret, 0), daemon=True).start()
""",
    "a signal handler that exits": """
import os, signal, sys
from posemesh_node import Node
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
node = Node.from_env(callback_bind="127.0.0.1:0")
node.wait_registered()
os.kill(os.getpid(), signal.SIGTERM)
node.wait_secret()
""",
}


@pytest.mark.parametrize("state", STATES)
# scenario: process-exit
def test_the_interpreter_exits_with_code_0_and_no_output(state: str) -> None:
    def once(_: int) -> tuple[int, bytes, bytes]:
        # One DDS for each process, so that it is the only node with this wallet there.
        with LocalDds() as dds:
            if state in ("registering", "a pending asyncio access token"):
                dds.inject("challenge", Fault.hang(), times=None)
            done = subprocess.run(
                [sys.executable, "-c", STATES[state]],
                capture_output=True,
                timeout=GUARD,
                env=environment(dds),
                check=False,
            )
        return done.returncode, done.stdout, done.stderr

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert set(pool.map(once, range(REPEATS))) == {(0, b"", b"")}


# scenario: stuck-callback
def test_a_stuck_callback_delays_the_exit_only_until_a_timeout() -> None:
    code = """
import threading, time
from posemesh_node import Node, _exit
_exit._TIMEOUT = _exit._CALLBACK_TIMEOUT = 0.05
node = Node.from_env()
entered = threading.Event()

@node.on_event
def stuck(event):
    entered.set()
    time.sleep(3600)

node.rearm()
entered.wait()
"""
    with LocalDds() as dds:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            timeout=GUARD,
            env=environment(dds),
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/task")
def test_freeing_a_node_with_a_stuck_listener_does_not_block() -> None:
    code = """
import gc, pathlib, threading, time
from posemesh_node import Node, NodeTimeoutError, _exit
_exit._TIMEOUT = _exit._CALLBACK_TIMEOUT = 0.05
node = Node.from_env()
entered = threading.Event()
node.on_event(lambda _: (entered.set(), time.sleep(3600)))
node.rearm()
entered.wait()
try:
    node.stop(timeout=0.05)
except NodeTimeoutError:
    pass
del node
gc.collect()
# Another thread waits for the listener.
while "posemesh-stop" not in [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]:
    time.sleep(0.001)
"""
    with LocalDds() as dds:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, timeout=GUARD, env=environment(dds), check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
