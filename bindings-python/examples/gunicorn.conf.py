"""One node for all of gunicorn's workers: `gunicorn -c gunicorn.conf.py wsgi_node:app`, with or without --preload.

The workers' nodes share STATE_DIR. One of them, the leader, registers and runs the callback server. The others show its
state, and one of them takes over when the leader ends. DDS sees one node, and every worker has its secret.

Configured by the environment: STATE_DIR, CALLBACK_BIND, REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are
required.
"""

from __future__ import annotations

from typing import Any

workers = 4


def post_worker_init(worker: Any) -> None:
    """Runs in each worker after the fork, because a node does not survive a fork."""
    import wsgi_node

    wsgi_node.start()
    worker.log.info("the node of this worker is the %s", wsgi_node.node().status().role)


def worker_exit(server: Any, worker: Any) -> None:
    """Runs in each worker that exits normally."""
    import wsgi_node

    wsgi_node.stop()
