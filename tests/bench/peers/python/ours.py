"""This library, as a Python program uses it; with the argument `cold`, from start to end of one registration."""

import sys

from posemesh_node import Node

if sys.argv[1:] == ["cold"]:
    with Node.from_env() as node:
        node.wait_registered(timeout=60)
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
