"""An asyncio worker: it works while the node is registered, and takes each new secret into use.

Configured by the environment: REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are required.
"""

from __future__ import annotations

import asyncio
import os
import signal

from posemesh_node import AsyncNode, SecretChanged

# A keyword wins over the environment. Without either there is no callback server, and no secret.
CALLBACK_BIND = os.environ.get("CALLBACK_BIND", "127.0.0.1:0")


async def work(node: AsyncNode) -> None:
    await node.wait_registered()
    print(f"working as {node.wallet_address}", flush=True)
    await asyncio.Event().wait()


async def follow_secrets(node: AsyncNode) -> None:
    async for event in node.events():
        if isinstance(event, SecretChanged):
            print(f"secret number {event.version}", flush=True)


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async with AsyncNode.from_env(callback_bind=CALLBACK_BIND) as node:
        print(node.callback_address, flush=True)
        tasks = [asyncio.create_task(work(node)), asyncio.create_task(follow_secrets(node))]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main())
