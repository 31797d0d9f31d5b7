"""The routes of a node that is started when this is imported: with --preload, before gunicorn forks."""

from __future__ import annotations

from posemesh_node import Node
from posemesh_node.wsgi import Callbacks

node = Node.from_env()
node.wait_registered(timeout=60)
app = Callbacks(node=node)
