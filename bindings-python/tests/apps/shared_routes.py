"""The routes of a node that the workers of gunicorn share. `shared_routes_conf.py` starts the node of each worker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable

import hosted
from posemesh_node.wsgi import Callbacks


def status(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    node = hosted.find()
    assert node is not None
    now = node.status()
    body = {
        "pid": os.getpid(),
        "role": now.role,
        "secret": node.read_secret(),
        "probed": now.last_healthcheck is not None,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


app = Callbacks(status, node=hosted.find)
