"""One node for all of gunicorn's workers: `gunicorn -c gunicorn.conf.py wsgi_node:app`, with or without --preload.

The workers' nodes share STATE_DIR. One of them registers and has the callback server; the others show what that
one has, and one of them takes its place when it ends. So DDS sees one node, and every worker has its secret.

Configured by the environment: STATE_DIR, CALLBACK_BIND, REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and
NODE_VERSION are required.
"""

from __future__ import annotations

from typing import Any

workers = 4


def post_worker_init(worker: Any) -> None:
    """In each worker, after the fork: a node does not survive one."""
    import wsgi_node

    wsgi_node.start()
    worker.log.info("this worker's node is the %s", wsgi_node.node().status().role)


def worker_exit(server: Any, worker: Any) -> None:
    """In each worker that ends in order."""
    import wsgi_node

    wsgi_node.stop()
