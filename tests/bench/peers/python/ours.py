"""This library, as a Python program uses it. With the argument `cold`, from start to end of one registration; with `first`,
to one authorized request, which `first-httpx` makes with httpx."""

import os
import sys

from posemesh_node import Node

if sys.argv[1:] == ["cold"]:
    with Node.from_env() as node:
        node.wait_registered(timeout=60)
    sys.exit()

if sys.argv[1:] == ["first"]:
    from http.client import HTTPConnection

    with Node.from_env() as node:
        authorization = {"authorization": f"Bearer {node.access_token(timeout=60).value}"}
        connection = HTTPConnection(os.environ["DDS_BASE_URL"].removeprefix("http://"))
        connection.request("GET", "/authorized", headers=authorization)
        assert connection.getresponse().status == 200
    sys.exit()

if sys.argv[1:] == ["first-httpx"]:
    import httpx

    with Node.from_env() as node, httpx.Client(base_url=os.environ["DDS_BASE_URL"]) as client:
        authorization = {"authorization": f"Bearer {node.access_token(timeout=60).value}"}
        client.get("/authorized", headers=authorization).raise_for_status()
    sys.exit()

from commands import answer

node = Node.from_env()
node.wait_registered(timeout=60)


def register(times: str) -> None:
    for _ in range(int(times)):
        node.rearm()
        node.wait_registered(timeout=60)


def status(times: str) -> None:
    read = node.status
    for _ in range(int(times)):
        read()


def empty(times: str) -> None:
    """The same loop around a compiled method that does nothing."""
    from floor import Empty

    read = Empty().nothing
    for _ in range(int(times)):
        read()


def token(times: str) -> None:
    read = node.access_token
    for _ in range(int(times)):
        read()


answer({"register": register, "status": status, "empty": empty, "token": token})
node.stop()
