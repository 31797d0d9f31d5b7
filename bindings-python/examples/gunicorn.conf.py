"""A node in one of gunicorn's workers: `gunicorn -c gunicorn.conf.py wsgi_node:app`, with or without --preload.

A wallet registers once, but there are many workers. Whichever gets the lock starts the node; when it ends, the
kernel frees the lock and the worker that comes in its place has it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import IO, Any

from posemesh_node import Node

workers = 4

_lock: IO[str] | None = None
_node: Node | None = None


def on_starting(server: Any) -> None:
    """In the first process, before there is a worker."""
    descriptor, path = tempfile.mkstemp(prefix="posemesh-node-", suffix=".lock")
    os.close(descriptor)
    os.environ["NODE_LOCK"] = path


def post_worker_init(worker: Any) -> None:
    """In each worker, after the fork: a node does not survive one."""
    global _lock, _node
    lock = open(os.environ["NODE_LOCK"], "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return
    _lock = lock
    _node = Node.from_env()
    worker.log.info("this worker is the node %s", _node.wallet_address)


def worker_exit(server: Any, worker: Any) -> None:
    """In each worker that ends in order."""
    if _node is not None:
        _node.stop()


def on_exit(server: Any) -> None:
    os.unlink(os.environ["NODE_LOCK"])
