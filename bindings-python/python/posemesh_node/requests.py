"""Access tokens for requests: ``pip install "posemesh-node[requests]"``.

    import requests
    from posemesh_node import Node
    from posemesh_node.requests import NodeAuth

    with Node.from_env() as node, requests.Session() as session:
        session.auth = NodeAuth(node)
        session.get("https://domain.example/v1/jobs")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

from . import _native

if TYPE_CHECKING:
    from ._aio import AsyncNode
    from ._node import Node

__all__ = ["NodeAuth"]


class NodeAuth(AuthBase):
    """Sends the node's access token along, as a bearer token.

    One ``NodeAuth`` does for many sessions and threads. Give it to sessions with services that the token is for:
    each request that such a session is asked to make carries it. It does not follow a redirect to another
    origin.

    After a 401 that token is invalidated, and the request is sent once more with a new one. A request whose body
    is read from an iterator is not: its 401 is returned, and the next request has the new token.

    ``timeout`` is how many seconds a request may wait for a token; None is for as long as it takes. What
    ``access_token`` raises comes out of the request.
    """

    def __init__(self, node: Node | AsyncNode, *, timeout: float | None = 30.0) -> None:
        self._node = node
        self._timeout = _native.timeout_seconds(timeout)

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """For requests, which calls this with each request."""
        self._put_token(r)
        r.register_hook("response", self._answered)
        return r

    def _put_token(self, request: requests.PreparedRequest) -> None:
        token = self._node._access_token(self._timeout)
        request.headers["Authorization"] = f"Bearer {token.value}"

    def _answered(self, response: requests.Response, **options: Any) -> requests.Response:
        request = response.request
        # After a redirect to another origin, requests has taken the token out: it is not what was refused.
        sent = request.headers.get("Authorization")
        if response.status_code != 401 or not isinstance(sent, str) or not sent.startswith("Bearer "):
            return response
        self._node.invalidate_token(sent.removeprefix("Bearer "))
        if not _rewind(request):
            return response
        # The connection is free for the second try.
        response.content
        response.close()
        # In this request and not in a copy: a redirect that follows copies this one.
        self._put_token(request)
        again: requests.Response = response.connection.send(request, **options)
        again.history.append(response)
        return again


def _rewind(request: requests.PreparedRequest) -> bool:
    """Make the body ready to be sent again, if that is possible."""
    if request.body is None or isinstance(request.body, (bytes, str)):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
