"""The node of the sites in this directory. It starts and stops when the test asks for it, after the routes were made."""

from __future__ import annotations

import asyncio

from posemesh_node import AsyncNode, Node

_node: Node | AsyncNode | None = None


def find() -> Node | AsyncNode | None:
    """What the sites pass to the adapters."""
    return _node


def start() -> str:
    global _node
    _node = Node.from_env()
    _node.wait_registered(timeout=60)
    return "started"


def stop() -> str:
    assert isinstance(_node, Node)
    _node.stop()
    return "stopped"


async def start_async() -> str:
    global _node
    _node = await AsyncNode.from_env()
    await _node.wait_registered(timeout=60)
    return "started"


async def stop_async() -> str:
    assert isinstance(_node, AsyncNode)
    await _node.stop()
    return "stopped"


async def longest_pause(seconds: float) -> float:
    """How long the event loop was held at most, in seconds, during the next ``seconds``."""
    loop = asyncio.get_running_loop()
    longest, last = 0.0, loop.time()
    end = last + seconds
    while last < end:
        await asyncio.sleep(0)
        longest, last = max(longest, loop.time() - last), loop.time()
    return longest
