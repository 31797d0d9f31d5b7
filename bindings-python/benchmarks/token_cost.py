"""What a held access token costs, compared with what surrounds it.

    python benchmarks/token_cost.py [rounds]

Needs the installed package, httpx and requests. Each figure is CPU time of this process: the first decile over the rounds,
in which the two sides of a comparison take turns. The HTTP server has a process of its own. Use a release wheel.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
import requests

from posemesh_node import AsyncNode, Node
from posemesh_node.httpx import NodeAuth as HttpxAuth
from posemesh_node.requests import NodeAuth as RequestsAuth
from posemesh_node.testing import LocalDds

SERVER = """
import asyncio

async def serve(reader, writer):
    while await reader.read(65536):
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

CALLS, REQUESTS = 10_000, 10


async def empty() -> None: ...


def calls(function: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - began) / times


async def awaits(function: Callable[[], Awaitable[object]], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        await function()
    return (time.process_time() - began) / times


def report(what: str, ours: list[float], base: str, theirs: list[float], goal: float) -> None:
    cost, base_cost = (sorted(figures)[len(figures) // 10] for figures in (ours, theirs))
    print(f"{what:34} {cost * 1e6:8.2f} us  {cost / base_cost:5.2f} x {base} ({base_cost * 1e6:.2f} us; goal {goal})")


def compare(
    rounds: int,
    times: int,
    ours: tuple[str, Callable[[], object]],
    theirs: tuple[str, Callable[[], object]],
    goal: float,
) -> None:
    figures = [(calls(ours[1], times), calls(theirs[1], times)) for _ in range(rounds)]
    report(ours[0], [a for a, _ in figures], theirs[0], [b for _, b in figures], goal)


async def compare_async(
    rounds: int,
    times: int,
    ours: tuple[str, Callable[[], Awaitable[object]]],
    theirs: tuple[str, Callable[[], Awaitable[object]]],
    goal: float,
) -> None:
    figures = [(await awaits(ours[1], times), await awaits(theirs[1], times)) for _ in range(rounds)]
    report(ours[0], [a for a, _ in figures], theirs[0], [b for _, b in figures], goal)


def with_threads(dds: LocalDds, url: str, rounds: int) -> None:
    with Node.start(**dds.options()) as node:
        node.access_token(timeout=60)
        compare(rounds, CALLS, ("Node.access_token", node.access_token), ("status()", node.status), 2)
        with httpx.Client(auth=HttpxAuth(node)) as ours, httpx.Client() as theirs:
            compare(
                rounds,
                REQUESTS,
                ("httpx.Client with NodeAuth", lambda: ours.get(url)),
                ("without", lambda: theirs.get(url)),
                1.05,
            )
        with requests.Session() as session, requests.Session() as plain:
            session.auth = RequestsAuth(node)
            compare(
                rounds,
                REQUESTS,
                ("requests.Session with NodeAuth", lambda: session.get(url)),
                ("without", lambda: plain.get(url)),
                1.05,
            )


async def with_asyncio(dds: LocalDds, url: str, rounds: int) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        await node.access_token(timeout=60)
        await compare_async(
            rounds, CALLS, ("AsyncNode.access_token", node.access_token), ("an empty coroutine", empty), 3
        )
        async with httpx.AsyncClient(auth=HttpxAuth(node)) as ours, httpx.AsyncClient() as theirs:
            await compare_async(
                rounds,
                REQUESTS,
                ("httpx.AsyncClient with NodeAuth", lambda: ours.get(url)),
                ("without", lambda: theirs.get(url)),
                1.05,
            )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
        with LocalDds() as dds:
            with_threads(dds, url, rounds)
            asyncio.run(with_asyncio(dds, url, rounds))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
