"""What the adapters for web servers share: the node, and the response to a request of DDS whatever the node is doing."""

from __future__ import annotations

import weakref
from typing import TypeAlias

from . import _native
from ._error import PosemeshError
from ._http import Headers, HttpResponse
from ._source import NodeSource, follow

__all__ = ["ENOUGH", "READ_TIMEOUT", "TOO_SLOW", "Mounted", "Request", "expect_callbacks_if_mounted"]

Request: TypeAlias = tuple[str, str, Headers]
"""Method, path and headers."""

ENOUGH = _native.MAX_CALLBACK_BODY + 1
"""As many bytes of a body as core must see to refuse it as too large. The adapters read no more than that."""

READ_TIMEOUT = 10.0
"""Seconds that a client has to send a body, as in the callback server of a node."""

TOO_SLOW = HttpResponse(408, (("content-type", "text/plain; charset=utf-8"),), b"the body took too long")

_TIMEOUT = 5.0
"""Seconds to wait for a disk, or for another process that shares the node."""

_without_a_node: weakref.WeakSet[Mounted] = weakref.WeakSet()

_nodes: weakref.WeakValueDictionary[int, _native.Node] = weakref.WeakValueDictionary()
"""By their identity. Unlike a set, this can be copied while another thread starts a node."""


class Mounted:
    """The routes of one node in the web server of the program."""

    def __init__(self, node: NodeSource) -> None:
        self._find = follow(node)
        if isinstance(node, _native.Node):
            node._expect_callbacks()
        else:
            # Any node may be the one that the function finds.
            _without_a_node.add(self)
            for reference in _nodes.valuerefs():
                running = reference()
                if running is not None:
                    _expect_callbacks(running)

    def respond(self, request: Request, body: bytes) -> HttpResponse:
        """Respond to a request of ours. Waits in this thread if the node does not respond at once."""
        node = self._find()
        if node is None:
            return _respond_without_node(request, "the node has not started yet")
        try:
            return _certain(node._handle_request(*request, body, _TIMEOUT))
        except PosemeshError as error:
            return _respond_without_node(request, str(error))

    async def respond_async(self, request: Request, body: bytes) -> HttpResponse:
        """As ``respond``, for an event loop."""
        # A program with threads does not need asyncio.
        from ._async_wait import handle_request

        node = self._find()
        if node is None:
            return _respond_without_node(request, "the node has not started yet")
        try:
            return _certain(await handle_request(node, *request, body, _TIMEOUT))
        except PosemeshError as error:
            return _respond_without_node(request, str(error))


def expect_callbacks_if_mounted(node: _native.Node) -> None:
    """Let a node wait for a secret, now or as soon as routes are mounted that may find it."""
    _nodes[id(node)] = node
    if _without_a_node:
        _expect_callbacks(node)


def _expect_callbacks(node: _native.Node) -> None:
    try:
        node._expect_callbacks()
    except PosemeshError:
        # This process is a fork, and the node runs in its parent.
        pass


def _respond_without_node(request: Request, why: str) -> HttpResponse:
    return _certain(_native.respond_without_node(*request, why))


def _certain(response: HttpResponse | None) -> HttpResponse:
    assert response is not None, "the adapters pass on only requests of ours"
    return response
