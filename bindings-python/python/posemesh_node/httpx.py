"""Access tokens for httpx: ``pip install "posemesh-node[httpx]"``.

For example:

    import httpx
    from posemesh_node import Node
    from posemesh_node.httpx import NodeAuth

    with Node.from_env() as node, httpx.Client(auth=NodeAuth(node)) as client:
        client.get("https://domain.example/v1/jobs")
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

import httpx

from . import _native
from ._async_wait import access_token

if TYPE_CHECKING:
    from ._async_node import AsyncNode
    from ._node import Node
    from ._token import AccessToken

__all__ = ["NodeAuth"]


class NodeAuth(httpx.Auth):
    """Adds the node's access token to each request, as a bearer token.

    Works with ``httpx.Client`` and, under asyncio, with ``httpx.AsyncClient``. Either kind of node works with both, and
    several clients may share one ``NodeAuth``. Use it only with clients of services that the token is meant for,
    because every request of such a client carries the token. A redirect to another origin does not.

    After a 401, the token is invalidated and the request is sent once more with a new one. A request whose body is
    read from a file or an iterator is not sent again: its 401 is returned, and the next request has the new token.

    ``timeout`` is how many seconds a request may wait for a token; None waits as long as it takes. The exceptions of
    ``access_token`` are raised by the request.
    """

    def __init__(self, node: Node | AsyncNode, *, timeout: float | None = 30.0) -> None:
        self._node = node
        self._timeout = _native.timeout_seconds(timeout)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Called by ``httpx.Client``."""
        token = _native.Node.access_token(self._node, self._timeout)
        response = yield _with_token(request, token)
        if self._refused(token, response) and _can_be_sent_again(request):
            yield _with_token(request, _native.Node.access_token(self._node, self._timeout))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Called by ``httpx.AsyncClient``."""
        token = await access_token(self._node, self._timeout)
        response = yield _with_token(request, token)
        if self._refused(token, response) and _can_be_sent_again(request):
            yield _with_token(request, await access_token(self._node, self._timeout))

    def _refused(self, token: AccessToken, response: httpx.Response) -> bool:
        """Whether the service refused the token. If it did, invalidate the token."""
        # For a redirect to another origin, httpx removes the token, so the token was not refused.
        refused = response.status_code == 401 and response.request.headers.get("Authorization") == _bearer(token)
        if refused:
            self._node.invalidate_token(token)
        return refused


def _can_be_sent_again(request: httpx.Request) -> bool:
    # A body in memory. Other streams may already be consumed.
    return isinstance(request.stream, httpx.ByteStream)


def _with_token(request: httpx.Request, token: AccessToken) -> httpx.Request:
    request.headers["Authorization"] = _bearer(token)
    return request


def _bearer(token: AccessToken) -> str:
    return f"Bearer {token.value}"
