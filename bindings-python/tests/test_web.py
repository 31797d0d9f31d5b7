"""Nodes inside the servers that Python services run in, as real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from conftest import GUARD, environment, eventually
from posemesh_node.testing import LocalDds

EXAMPLES = Path(__file__).parent.parent / "examples"
APPS = Path(__file__).parent / "apps"
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0")


Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serve(dds: LocalDds, tmp_path: Path) -> Serve:
    """Run a server that is told to listen on port 0; it must end well when it is asked to."""

    @contextmanager
    def serving(*command: str, cwd: Path) -> Generator[str, None, None]:
        log = tmp_path / "log"
        with log.open("w") as out:
            server = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=cwd, env=environment(dds), stdout=out, stderr=out
            )
        try:
            eventually(lambda: address(log) or server.poll() is not None)
            url = address(log)
            assert url is not None, log.read_text()
            yield url
            server.terminate()
            # Once it has shut down in order, uvicorn lets the signal have its way.
            assert server.wait(GUARD) in (0, -signal.SIGTERM), log.read_text()
            assert "Traceback" not in log.read_text()
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()

    return serving


def address(log: Path) -> str | None:
    """Where uvicorn and gunicorn say that they listen."""
    for word in log.read_text().split():
        if word.startswith("http://127.0.0.1:") and not word.endswith(":0"):
            return word
    return None


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=GUARD) as answer:
        body: dict[str, object] = json.load(answer)
        return body


def test_fastapi_under_uvicorn(serve: Serve, dds: LocalDds) -> None:
    with serve("uvicorn", "fastapi_node:app", "--port", "0", cwd=EXAMPLES) as url:
        eventually(lambda: get(f"{url}/status")["state"] == "registered")
        assert len(dds.nodes()) == 1


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["fork first", "preload"])
def test_gunicorn_with_four_workers(serve: Serve, dds: LocalDds, preload: list[str]) -> None:
    """One worker registers, whichever has the lock; none hangs."""
    with serve(*GUNICORN, "-c", "gunicorn.conf.py", "wsgi_node:app", *preload, cwd=EXAMPLES) as url:
        seen: set[object] = set()

        def all_have_answered() -> bool:
            seen.add(get(url)["pid"])
            return len(seen) == 4

        eventually(all_have_answered)
        eventually(dds.nodes)
    assert dds.nodes()[0].registrations == 1


def test_a_node_that_a_preloaded_application_started(serve: Serve) -> None:
    """Started before the fork: the workers' calls say so at once, and do not hang."""
    with serve(*GUNICORN, "preloaded:app", "--workers", "4", "--preload", cwd=APPS) as url:
        for _ in range(8):
            assert get(url)["error"] == "ERR_FORKED"


def test_django(serve: Serve) -> None:
    with serve(*GUNICORN, "django_app:application", "--threads", "4", cwd=APPS) as url:
        assert get(url)["state"] == "registered"
