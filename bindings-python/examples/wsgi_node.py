"""The application for gunicorn.conf.py. Each worker has the node's status and its secret."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable

from posemesh_node import Node

_node: Node | None = None


def start() -> None:
    global _node
    _node = Node.from_env()


def stop() -> None:
    if _node is not None:
        _node.stop()


def node() -> Node:
    assert _node is not None, "gunicorn.conf.py starts it"
    return _node


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    status, secret = node().status(), node().read_secret()
    body = {
        "pid": os.getpid(),
        "state": status.state,
        "role": status.role,
        # The hash shows that the workers agree, without revealing the secret.
        "secret": hashlib.sha256(secret.encode()).hexdigest() if secret else None,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
