"""A service that requires a node's access token."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from posemesh_node.testing import LocalDds


@dataclass(frozen=True)
class Call:
    """A request that the service received."""

    method: str
    path: str
    token: str | None
    body: bytes


class Service:
    """An HTTP server on loopback. It responds with 401 to a request without a valid token."""

    def __init__(self, dds: LocalDds) -> None:
        self.calls: list[Call] = []
        self.refused: set[str] = set()
        """Tokens that are refused although the DDS accepts them."""
        self.refuses_all = False
        self.status = 200
        self.redirects: dict[str, str] = {}
        """Maps a path to the URL that its requests are redirected to."""

        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Otherwise, each response waits for an acknowledgement.
            disable_nagle_algorithm = True

            def respond(self) -> None:
                scheme, _, token = self.headers.get("authorization", "").partition(" ")
                call = Call(self.command, self.path, token if scheme == "Bearer" else None, self.read_body())
                service.calls.append(call)
                location = service.redirects.get(self.path)
                if not service.takes(call.token):
                    self.send_response(401)
                elif location is not None:
                    self.send_response(307)
                    self.send_header("Location", location)
                else:
                    self.send_response(service.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST = respond

            def read_body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None: ...

        self._dds = dds
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that keeps a connection open must not block the close.
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def takes(self, token: str | None) -> bool:
        if token is None or token in self.refused or self.refuses_all:
            return False
        return self._dds.accepts_token(token)

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
