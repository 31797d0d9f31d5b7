"""This library, as a Python program with asyncio uses it."""

import asyncio

from commands import answer

from posemesh_node import AsyncNode


async def token(times: int) -> None:
    async with AsyncNode.from_env() as node:
        read = node.access_token
        for _ in range(times):
            await read()


async def empty(times: int) -> None:
    async def nothing() -> None: ...

    for _ in range(times):
        await nothing()


answer(
    {
        "token": lambda times: asyncio.run(token(int(times))),
        "empty": lambda times: asyncio.run(empty(int(times))),
    }
)
