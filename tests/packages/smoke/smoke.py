"""Registers a node with a local DDS, receives its callback, and gets an access token."""

import platform

from posemesh_node import Node
from posemesh_node.testing import LocalDds

with LocalDds() as dds, Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
    assert node.wait_secret(timeout=60) == dds.last_secret
    assert dds.accepts_token(node.access_token(timeout=60))
    print("registered on", platform.machine())
