"""An asyncio worker: it calls a service with the node's access token until it receives a signal to stop.

Configured by the environment: REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are required, and SERVICE_URL
is the service to call. Needs httpx.
"""

from __future__ import annotations

import asyncio
import os
import signal

import httpx

from posemesh_node import AsyncNode, AttemptFailed, RegistrationLost
from posemesh_node.httpx import NodeAuth

PAUSE = 5.0
"""Seconds between two requests."""


async def work(node: AsyncNode) -> None:
    await node.wait_registered()
    print(f"{node.wallet_address} is {node.status().state}", flush=True)
    # Each request waits for a token if there is none, and is repeated with a new one if the service refuses it.
    async with httpx.AsyncClient(auth=NodeAuth(node, timeout=None)) as client:
        while True:
            response = await client.get(os.environ["SERVICE_URL"])
            print(f"the service responds with {response.status_code}", flush=True)
            await asyncio.sleep(PAUSE)


async def report(node: AsyncNode) -> None:
    async for event in node.events():
        match event:
            case AttemptFailed():
                print(f"{event.error}; next attempt in {event.retry_in:.0f} s", flush=True)
            case RegistrationLost():
                print(f"registering again: {event.reason}", flush=True)
            case _:
                pass


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async with AsyncNode.from_env() as node:
        tasks = [asyncio.create_task(report(node)), asyncio.create_task(work(node))]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main())
