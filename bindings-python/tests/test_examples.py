"""The examples, and the code blocks of both READMEs, run as programs."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import GUARD, Program, environment, eventually, free_address
from posemesh_node import AccessToken, AsyncNode
from posemesh_node.testing import LocalDds
from service import Service
from sites import serve

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def test_the_script_registers_and_calls_a_service(run: Callable[..., Program], dds: LocalDds, service: Service) -> None:
    address = free_address()
    env = environment(dds, SERVICE_URL=service.url, CALLBACK_BIND=address)
    script = run("script.py", cwd=EXAMPLES, env=env)
    assert re.fullmatch(r"0x[0-9a-f]{40} is registered", script.line())
    while not (line := script.line()).startswith(service.url):
        assert line.startswith(("new access token until", "disconnected ->", "registering ->"))
    assert line == f"{service.url} responds with 200"
    assert len(service.calls) == 1 and dds.accepts_token(service.calls[0].token or "")

    dds.set_node_url(f"http://{address}")
    while not (line := script.line()).startswith("node secret"):
        assert "->" in line or line.startswith("new access token")
    assert line == "node secret number 1"
    script.interrupt()
    code, out, _ = script.end()
    assert (code, out) == (0, "stopped\n")


def test_the_asyncio_worker_calls_a_service(run: Callable[..., Program], dds: LocalDds, service: Service) -> None:
    worker = run("asyncio_worker.py", cwd=EXAMPLES, env=environment(dds, SERVICE_URL=service.url))
    assert re.fullmatch(r"0x[0-9a-f]{40} is registered", worker.line())
    assert worker.line() == "the service responds with 200"
    worker.interrupt()
    assert worker.succeed() == "stopped\n"


async def test_the_peer_example_exchanges_each_new_token(dds: LocalDds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDS_BASE_URL", dds.url)
    example = runpy.run_path(str(EXAMPLES / "peer_token.py"))
    key = Ed25519PrivateKey.generate()
    peer_id = example["peer_id_of"](key)
    assert re.fullmatch(r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}", peer_id)
    tokens: asyncio.Queue[Any] = asyncio.Queue()
    async with AsyncNode.start(**dds.options()) as node:
        exchanging = asyncio.create_task(example["peer_tokens"](node, peer_id, key, tokens))
        seen: set[str] = set()
        for _ in range(2):
            token = await asyncio.wait_for(tokens.get(), GUARD)
            assert dds.accepts_token(token.value) and token.value not in repr(token)
            claims = AccessToken(token.value, token.expires_at).claims
            assert claims is not None and claims["peer_id"] == peer_id
            seen.add(token.value)
            node.invalidate_token()
        assert len(seen) == 2
        exchanging.cancel()


def test_the_peer_example_runs_until_it_is_told_to_stop(run: Callable[..., Program], dds: LocalDds) -> None:
    host = run("peer_token.py", cwd=EXAMPLES, env=environment(dds))
    assert host.line().startswith("peer token until ")
    host.interrupt()
    assert host.succeed().endswith("stopped\n")


BLOCKS = [
    block
    for readme in (ROOT / "README.md", ROOT.parent / "README.md")
    for block in re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.M | re.S)
]


def test_the_readme_has_code() -> None:
    assert len(BLOCKS) >= 10


SERVERS = {"asgi": "uvicorn", "wsgi": "waitress", "aiohttp": "aiohttp"}
WEB = {block: found[1] for block in BLOCKS if (found := re.search(rf"posemesh_node\.({'|'.join(SERVERS)}) import", block))}
PROGRAMS = [block for block in BLOCKS if block not in WEB]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_the_readmes_code_runs(number: int, run: Callable[..., Program], tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(PROGRAMS[number])
    secret = tmp_path / "secret"
    secret.write_text("a-credential")
    address = free_address()
    with LocalDds(node_url=f"http://{address}") as dds, Service(dds) as service:
        env = environment(dds, REG_SECRET_FILE=str(secret), CALLBACK_BIND=address, SERVICE_URL=service.url)
        del env["REG_SECRET"]
        code, _, err = run(str(tmp_path / "block.py"), env=env).end()
    assert code == 0, err


DJANGO_SETTINGS = """
ROOT_URLCONF = "django_settings"
ALLOWED_HOSTS = ["127.0.0.1"]
SECRET_KEY = "test"
urlpatterns = []
"""


@pytest.mark.parametrize("number", range(len(WEB)))
def test_the_readmes_sites_receive_callbacks(number: int, dds: LocalDds, tmp_path: Path) -> None:
    block, interface = list(WEB.items())[number]
    (tmp_path / "block.py").write_text(block)
    (tmp_path / "django_settings.py").write_text(DJANGO_SETTINGS)
    app = "block:application" if "application =" in block else "block:app"
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "django_settings"}
    with serve(dds, SERVERS[interface], app, tmp_path / "log", **env) as site:
        eventually(dds.nodes)
        assert dds.call_back().status == 200
        assert dds.probe_health() == 200
        assert site.send("GET", "/missing").status == 404
