"""Access tokens for requests: ``pip install "posemesh-node[requests]"``.

For example:

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
    from ._async_node import AsyncNode
    from ._node import Node

__all__ = ["NodeAuth"]


class NodeAuth(AuthBase):
    """Adds the node's access token to each request, as a bearer token.

    Sessions and threads may share one ``NodeAuth``. Use it only with sessions for services that the token is meant
    for, because every request of such a session carries the token. A redirect to another origin does not.

    After a 401, the token is invalidated and the request is sent once more with a new one. A request whose body is
    read from an iterator is not sent again: its 401 is returned, and the next request has the new token.

    ``timeout`` is how many seconds a request may wait for a token; None waits as long as it takes. The exceptions of
    ``access_token`` are raised by the request.
    """

    def __init__(self, node: Node | AsyncNode, *, timeout: float | None = 30.0) -> None:
        self._node = node
        self._timeout = _native.timeout_seconds(timeout)

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Called by requests, for each request."""
        self._put_token(r)
        r.register_hook("response", self._handle_response)
        return r

    def _put_token(self, request: requests.PreparedRequest) -> None:
        token = _native.Node.access_token(self._node, self._timeout)
        request.headers["Authorization"] = f"Bearer {token.value}"

    def _handle_response(self, response: requests.Response, **options: Any) -> requests.Response:
        request = response.request
        # For a redirect to another origin, requests removes the token, so the token was not refused.
        sent = request.headers.get("Authorization")
        if response.status_code != 401 or not isinstance(sent, str) or not sent.startswith("Bearer "):
            return response
        self._node.invalidate_token(sent.removeprefix("Bearer "))
        if not _rewind(request):
            return response
        # Return the connection to the pool for the second try.
        response.content
        response.close()
        # Modify this request, not a copy of it, because a redirect that follows copies this one.
        self._put_token(request)
        again: requests.Response = response.connection.send(request, **options)
        again.history.append(response)
        return again


def _rewind(request: requests.PreparedRequest) -> bool:
    """Rewind the body so that it can be sent again. Returns False if that is not possible."""
    if request.body is None or isinstance(request.body, (bytes, str)):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
