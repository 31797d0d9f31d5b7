"""Access tokens for httpx: ``pip install "posemesh-node[httpx]"``.

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
from ._aio import access_token

if TYPE_CHECKING:
    from ._aio import AsyncNode
    from ._node import Node
    from ._token import AccessToken

__all__ = ["NodeAuth"]


class NodeAuth(httpx.Auth):
    """Sends the node's access token along, as a bearer token.

    For ``httpx.Client`` and, under asyncio, ``httpx.AsyncClient``; either kind of node does for both, and one
    ``NodeAuth`` for many clients. Give it to clients of services that the token is for: each request that such
    a client is asked to make carries it. It does not follow a redirect to another origin.

    After a 401 that token is invalidated, and the request is sent once more with a new one. A request whose body
    is read from a file or an iterator is not: its 401 is returned, and the next request has the new token.

    ``timeout`` is how many seconds a request may wait for a token; None is for as long as it takes. What
    ``access_token`` raises comes out of the request.
    """

    def __init__(self, node: Node | AsyncNode, *, timeout: float | None = 30.0) -> None:
        self._node = node
        self._timeout = _native.timeout_seconds(timeout)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """For ``httpx.Client``, which calls this."""
        token = self._node._access_token(self._timeout)
        response = yield _with_token(request, token)
        if self._refused(token, response) and _can_be_sent_again(request):
            yield _with_token(request, self._node._access_token(self._timeout))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """For ``httpx.AsyncClient``, which calls this."""
        token = await access_token(self._node, self._timeout)
        response = yield _with_token(request, token)
        if self._refused(token, response) and _can_be_sent_again(request):
            yield _with_token(request, await access_token(self._node, self._timeout))

    def _refused(self, token: AccessToken, response: httpx.Response) -> bool:
        """Whether a service refuses the token, which then is invalidated."""
        # After a redirect to another origin, httpx has taken the token out: it is not what was refused.
        refused = response.status_code == 401 and response.request.headers.get("Authorization") == _bearer(token)
        if refused:
            self._node.invalidate_token(token)
        return refused


def _can_be_sent_again(request: httpx.Request) -> bool:
    # That is a body in memory. Other streams may be at their end.
    return isinstance(request.stream, httpx.ByteStream)


def _with_token(request: httpx.Request, token: AccessToken) -> httpx.Request:
    request.headers["Authorization"] = _bearer(token)
    return request


def _bearer(token: AccessToken) -> str:
    return f"Bearer {token.value}"
