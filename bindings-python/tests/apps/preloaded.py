"""Starts its node when it is imported: with --preload, before gunicorn forks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from posemesh_node import ForkedError, Node

node = Node.from_env()
node.wait_registered(timeout=60)


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    response: dict[str, str]
    try:
        response = {"state": node.status().state}
    except ForkedError as error:
        response = {"error": error.name}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(response).encode()]
