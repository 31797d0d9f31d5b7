"""The routes of a node in a WSGI application, such as one of Flask or Django.

With Flask:

    from flask import Flask
    from posemesh_node.wsgi import Callbacks

    app = Flask(__name__)
    app.wsgi_app = Callbacks(app.wsgi_app, node=node)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeAlias

from . import _native
from ._http import HttpResponse
from ._mounted import ENOUGH, Mounted
from ._source import NodeSource

__all__ = ["Callbacks"]

_Environ: TypeAlias = dict[str, Any]
_StartResponse: TypeAlias = Callable[..., Any]
_App: TypeAlias = Callable[[Any, Any], Any]

_TEXT = (("content-type", "text/plain; charset=utf-8"),)
_NOT_FOUND = HttpResponse(404, _TEXT, b"Not Found")
_LENGTH_REQUIRED = HttpResponse(411, _TEXT, b"this web server does not support a chunked body")
_BROKEN_OFF = HttpResponse(400, _TEXT, b"the client disconnected before the end of the body")


class Callbacks:
    """A WSGI application that responds to the requests that DDS sends to a node, and passes all others to ``app``.

    It can wrap an application, or be mounted under a path. Without an ``app``, every other request gets 404.
    ``GET /health`` is the node's only if DDS sends it; any other remains the application's.

    ``node`` is a Node or an AsyncNode, or a function that returns one, or None as long as it has not started. Without a
    node, and after the node has stopped, the response is 503 with a Retry-After header.

    It reads no body beyond 256 KiB. A chunked body gets 411 if the web server does not decode it, as wsgiref does not.
    """

    def __init__(self, app: _App | None = None, *, node: NodeSource) -> None:
        self._app: _App = _not_found if app is None else app
        self._mounted = Mounted(node)

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """Called by the web server."""
        path: str = environ.get("PATH_INFO", "")
        if not _native.is_ours(path, environ.get("HTTP_USER_AGENT")):
            response: Iterable[bytes] = self._app(environ, start_response)
            return response
        body = _read_body(environ)
        if isinstance(body, HttpResponse):
            return _respond(environ, start_response, body)
        request = (environ["REQUEST_METHOD"], path, _headers(environ))
        return _respond(environ, start_response, self._mounted.respond(request, body))


def _headers(environ: _Environ) -> list[tuple[str | bytes, str | bytes]]:
    headers: list[tuple[str | bytes, str | bytes]] = [
        (name.removeprefix("HTTP_").replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers.append(("content-type", environ.get("CONTENT_TYPE", "")))
    return headers


def _read_body(environ: _Environ) -> bytes | HttpResponse:
    """The body, or as much of it as is needed to refuse it. A response if its end cannot be found."""
    length = environ.get("CONTENT_LENGTH") or ""
    expected = min(int(length), ENOUGH) if length.isdecimal() else None
    if environ.get("HTTP_TRANSFER_ENCODING"):
        if not environ.get("wsgi.input_terminated"):
            # The server passes the chunks as they are, and a read would wait for more after the last one.
            return _LENGTH_REQUIRED
        expected = None
    # Not every server ends the input after the body, and then a read beyond it would wait for the next request.
    left = expected if expected is not None else ENOUGH if environ.get("wsgi.input_terminated") else 0
    body = bytearray()
    while left > 0 and (chunk := environ["wsgi.input"].read(left)):
        body += chunk
        left -= len(chunk)
    return bytes(body) if expected in (None, len(body)) else _BROKEN_OFF


def _respond(environ: _Environ, start_response: _StartResponse, response: HttpResponse) -> Iterable[bytes]:
    status = HTTPStatus(response.status)
    start_response(
        f"{status.value} {status.phrase}",
        [*response.headers, ("content-length", str(len(response.body)))],
    )
    # Not every server leaves the body out, which a client would take for the next response.
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]


def _not_found(environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
    """The application where there is no other."""
    return _respond(environ, start_response, _NOT_FOUND)
