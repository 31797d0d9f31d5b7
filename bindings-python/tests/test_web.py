"""Nodes in the servers that Python services run in, as real processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from conftest import GUARD, environment, eventually, free_address, reaches_the_node
from posemesh_node import METRICS_CONTENT_TYPE
from posemesh_node.testing import LocalDds

EXAMPLES = Path(__file__).parent.parent / "examples"
APPS = Path(__file__).parent / "apps"
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0")


Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serve(dds: LocalDds, tmp_path: Path) -> Serve:
    """Run a server that listens on port 0, and check that it exits cleanly."""

    @contextmanager
    def serving(*command: str, cwd: Path, **more: str) -> Generator[str, None, None]:
        log = tmp_path / "log"
        with log.open("w") as out:
            server = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=cwd, env=environment(dds, **more), stdout=out, stderr=out
            )
        try:
            eventually(lambda: address(log) or server.poll() is not None)
            url = address(log)
            assert url is not None, log.read_text()
            yield url
            server.terminate()
            # After an orderly shutdown, uvicorn raises the signal again.
            assert server.wait(GUARD) in (0, -signal.SIGTERM), log.read_text()
            assert "Traceback" not in log.read_text()
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()

    return serving


def address(log: Path) -> str | None:
    """The URL that uvicorn and gunicorn report."""
    for word in log.read_text().split():
        if word.startswith("http://127.0.0.1:") and not word.endswith(":0"):
            return word
    return None


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=GUARD) as response:
        body: dict[str, object] = json.load(response)
        return body


def test_a_fastapi_service_registers_under_uvicorn(serve: Serve, dds: LocalDds) -> None:
    with serve("uvicorn", "fastapi_node:app", "--port", "0", cwd=EXAMPLES) as url:
        eventually(lambda: get(f"{url}/status")["state"] == "registered")
        assert len(dds.nodes()) == 1
        # DDS calls the node back through the service.
        dds.set_node_url(url)
        assert dds.call_back().status == 200
        with urllib.request.urlopen(f"{url}/readyz", timeout=GUARD) as response:
            assert json.load(response) == "registered"
        with urllib.request.urlopen(f"{url}/metrics", timeout=GUARD) as response:
            assert response.headers["content-type"] == METRICS_CONTENT_TYPE
            assert b'posemesh_node_callbacks_total{outcome="accepted"} 1' in response.read()


def test_fastapi_workers_share_one_node(serve: Serve, dds: LocalDds, tmp_path: Path) -> None:
    command = ("uvicorn", "fastapi_node:app", "--port", "0", "--workers", "2")
    with serve(*command, cwd=EXAMPLES, STATE_DIR=str(tmp_path / "node")) as url:
        seen: set[tuple[object, object]] = set()

        def both_are_registered() -> bool:
            try:
                response = get(f"{url}/status")
            except OSError:
                # The first process has bound the port, but no worker is listening yet.
                return False
            seen.add((response["role"], response["state"]))
            return seen >= {("leader", "registered"), ("follower", "registered")}

        eventually(both_are_registered)
    assert len(dds.requests("register")) == 1


class Workers:
    """The responses of the gunicorn workers, by process id."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.responses: dict[object, dict[str, object]] = {}

    def ask(self) -> None:
        response = get(self.url)
        self.responses[response["pid"]] = response

    def four_have(self, secret: str | None) -> bool:
        self.ask()
        hashed = hashlib.sha256((secret or "").encode()).hexdigest()
        return len(self.responses) == 4 and all(response["secret"] == hashed for response in self.responses.values())

    def roles(self) -> list[str]:
        return sorted(str(response["role"]) for response in self.responses.values())

    def leader(self) -> int:
        (pid,) = (pid for pid, response in self.responses.items() if response["role"] == "leader")
        assert isinstance(pid, int)
        return pid


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["fork first", "preload"])
def test_gunicorn_workers_share_one_node(serve: Serve, dds: LocalDds, tmp_path: Path, preload: list[str]) -> None:
    """It registers once, and every worker has its secret."""
    bind = free_address()
    dds.set_node_url(f"http://{bind}")
    directory = str(tmp_path / "node")
    command = (*GUNICORN, "-c", "gunicorn.conf.py", "wsgi_node:app", *preload)
    with serve(*command, cwd=EXAMPLES, STATE_DIR=directory, CALLBACK_BIND=bind) as url:
        workers = Workers(url)
        eventually(lambda: workers.four_have(dds.last_secret))
        assert workers.roles() == ["follower", "follower", "follower", "leader"]
        assert {response["state"] for response in workers.responses.values()} == {"registered"}

        # The leader is killed. gunicorn starts another worker, and one of the old ones takes over.
        killed = workers.leader()
        os.kill(killed, signal.SIGKILL)
        del workers.responses[killed]
        eventually(lambda: workers.four_have(dds.last_secret) and "leader" in workers.roles())
        assert workers.roles() == ["follower", "follower", "follower", "leader"]
        assert workers.leader() != killed
        # The new leader has the callback server.
        eventually(lambda: reaches_the_node(dds))
        dds.set_secret(dds.last_secret)
        assert dds.call_back().status == 200
    assert len(dds.requests("register")) == 1


def test_a_node_of_a_preloaded_application_raises_in_the_workers(serve: Serve) -> None:
    """The node was started before the fork, so the workers' calls raise instead of hanging."""
    with serve(*GUNICORN, "preloaded:app", "--workers", "4", "--preload", cwd=APPS) as url:
        for _ in range(8):
            assert get(url)["error"] == "ERR_FORKED"


def test_a_django_site_registers(serve: Serve) -> None:
    with serve(*GUNICORN, "django_app:application", "--threads", "4", cwd=APPS) as url:
        assert get(url)["state"] == "registered"
