"""Web servers with a node's routes, as real processes, and what a client sends to them."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import GUARD, HERE, environment, eventually, free_address
from posemesh_node.testing import LocalDds

APPS = HERE / "apps"
REGISTRATIONS = "/internal/v1/registrations"
FROM_DDS = {"User-Agent": "DDS v1.0.0"}
JSON = {"Content-Type": "application/json"}
NODE_ID = "5c4e0a6b-9d1f-4c6e-8a57-2f0b7d3e91c4"
"""That of the credentials of the local DDS."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Site:
    """A web server that runs, and the path under which it has the node's routes."""

    host: str
    port: int
    prefix: str
    decodes_chunks: bool
    log: Path

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str | bytes] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Response:
        """Send one request. A body that is not bytes is sent in chunks."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=GUARD)
        try:
            try:
                connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes))
            except (BrokenPipeError, ConnectionResetError):
                # The server has refused a body that it has not read to the end. Its response is here.
                pass
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, body: bytes | Iterable[bytes], headers: Mapping[str, str] = JSON, slash: str = "") -> Response:
        """Send a callback, as DDS does."""
        return self.send("POST", f"{self.prefix}{REGISTRATIONS}{slash}", {**FROM_DDS, **headers}, body)

    def status_of(self, method: str, path: str, headers: Mapping[str, str] = FROM_DDS) -> int:
        return self.send(method, self.prefix + path, headers).status

    def exchange(self, method: bytes, path: str) -> bytes:
        """Send a request of DDS without a body, and return every byte of the response."""
        with socket.create_connection((self.host, self.port), timeout=GUARD) as client:
            head = f" {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: DDS v1.0.0\r\nConnection: close\r\n\r\n"
            client.sendall(method + head.encode())
            with client.makefile("rb") as response:
                return response.read()

    def disconnect_in_a_body(self) -> None:
        with socket.create_connection((self.host, self.port), timeout=GUARD) as client:
            head = f"POST {self.prefix}{REGISTRATIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())


def chunked(body: bytes) -> Iterable[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


@contextmanager
def serve(
    dds: LocalDds, server: str, app: str, log: Path, prefix: str = "", *options: str, **more: str
) -> Generator[Site, None, None]:
    """Run a web server. It must end cleanly, and log no exception."""
    host = "127.0.0.1"
    with socket.create_server((host, 0)) as listening, log.open("w") as out:
        fd = listening.fileno()
        port: int = listening.getsockname()[1]
        if server.startswith("granian"):
            port = int(free_address().rpartition(":")[2])
            command = ["-m", "granian", "--port", str(port), "--interface", server.partition("-")[2], app]
        elif server == "gunicorn":
            command = ["-m", "gunicorn", "--bind", f"fd://{fd}", *options, app]
        else:
            command = [str(APPS / "serve.py"), server, app, str(fd)]
        process = subprocess.Popen(
            [sys.executable, *command], cwd=APPS, env=environment(dds, **more), stdout=out, stderr=out, pass_fds=[fd]
        )
    try:
        site = Site(host, port, prefix, server != "wsgiref", log)
        if server.startswith("granian"):
            eventually(lambda: listens(site) or process.poll() is not None)
        dds.set_node_url(f"http://{host}:{port}{prefix}")
        yield site
        assert process.poll() is None, log.read_text()
        process.terminate()
        # After an orderly shutdown, uvicorn raises the signal again.
        assert process.wait(GUARD) in (0, -signal.SIGTERM), log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def listens(site: Site) -> bool:
    with socket.socket() as client:
        return client.connect_ex((site.host, site.port)) == 0


def callback(size: int = 0, secret: str = "the-secret") -> bytes:
    body: dict[str, object] = {"id": NODE_ID, "secret": secret, "domains": []}
    return json.dumps(body).encode().ljust(size)
