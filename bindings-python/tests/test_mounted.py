"""A node's routes in the web servers of Python: every framework and server, on real sockets."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import eventually
from posemesh_node.testing import LocalDds
from sites import FROM_DDS, JSON, REGISTRATIONS, Site, callback, chunked, serve

SITES = {
    "uvicorn, FastAPI, middleware": ("uvicorn", "site_fastapi:middleware", ""),
    "uvicorn, FastAPI, mounted": ("uvicorn", "site_fastapi:mounted", "/prefix"),
    "uvicorn with h11, Starlette, middleware": ("h11", "site_starlette:middleware", ""),
    "hypercorn, Starlette, wrapped": ("hypercorn", "site_starlette:wrapped", ""),
    "hypercorn, Starlette, mounted": ("hypercorn", "site_starlette:mounted", "/prefix"),
    "granian, Starlette, mounted with the site": ("granian-asgi", "site_starlette:below", "/prefix"),
    "uvicorn, Litestar, mounted": ("uvicorn", "site_litestar:mounted", "/prefix"),
    "granian, Litestar, wrapped": ("granian-asgi", "site_litestar:wrapped", ""),
    "uvicorn, Django": ("uvicorn", "site_django:for_asgi", ""),
    "gunicorn, Django": ("gunicorn", "site_django:for_wsgi", ""),
    "gunicorn, Flask, mounted": ("gunicorn", "site_flask:mounted", "/prefix"),
    "waitress, Flask, wrapped": ("waitress", "site_flask:wrapped", ""),
    "wsgiref, Flask, mounted": ("wsgiref", "site_flask:mounted", "/prefix"),
    "granian, Flask, wrapped": ("granian-wsgi", "site_flask:wrapped", ""),
    "aiohttp": ("aiohttp", "site_aiohttp:at_the_root", ""),
    "aiohttp, subapplication": ("aiohttp", "site_aiohttp:mounted", "/prefix"),
}


@pytest.mark.parametrize("name", SITES)
# scenario: mounted-routes
def test_a_site_has_the_routes_of_its_node(name: str, tmp_path: Path) -> None:
    server, app, prefix = SITES[name]
    with LocalDds(callback="never", secret="the-secret") as dds, serve(dds, server, app, tmp_path / "log", prefix) as site:
        the_site_has_its_own_routes(site)
        without_a_node(site)

        assert site.send("GET", "/start").body == b"started"
        assert dds.call_back().status == 200
        assert dds.probe_health() == 200
        a_callback_is_accepted_or_refused(site)
        other_methods_and_paths(site)
        site.disconnect_in_a_body()
        the_site_has_its_own_routes(site)
        assert dds.call_back().status == 200

        assert site.send("GET", "/stop").body == b"stopped"
        without_a_node(site)
        the_site_has_its_own_routes(site)


def the_site_has_its_own_routes(site: Site) -> None:
    assert site.send("GET", "/health", {"User-Agent": "kube-probe/1.30"}).body == b"the site's"
    assert site.send("GET", "/health").body == b"the site's"
    assert site.send("GET", "/missing", FROM_DDS).status == 404
    assert site.send("GET", f"{site.prefix}/missing", FROM_DDS).status == 404
    assert site.send("GET", f"{REGISTRATIONS}s", FROM_DDS).status == 404
    for mark in ("%3F", "%23"):
        assert site.send("GET", f"{site.prefix}/health{mark}x", FROM_DDS).status == 404
        assert site.send("POST", f"{site.prefix}{REGISTRATIONS}{mark}x", {**FROM_DDS, **JSON}, callback()).status in (404, 405)
    # A header need not be text.
    assert site.send("GET", "/health", {"User-Agent": b"\xe9"}).body == b"the site's"
    # The body of another route is left to it.
    assert site.send("POST", "/length", body=b"x" * 300_000).body == b"300000"
    if site.prefix:
        assert site.send("POST", REGISTRATIONS, JSON, b"{}").status == 404
        assert site.send("GET", "/health", FROM_DDS).body == b"the site's"


def without_a_node(site: Site) -> None:
    for response in (site.post(callback()), site.send("GET", f"{site.prefix}/health", FROM_DDS)):
        assert (response.status, response.headers["retry-after"].isdecimal()) == (503, True)
        assert b"not started" in response.body or b"stopped" in response.body
    head, _, rest = site.exchange(b"HEAD", f"{site.prefix}/health").partition(b"\r\n\r\n")
    assert (head.split()[1], rest) == (b"503", b"")


def a_callback_is_accepted_or_refused(site: Site) -> None:
    whole = site.post(callback())
    assert (whole.status, whole.headers["content-type"], json.loads(whole.body)) == (200, "application/json", {"ok": True})
    for size, status in ((0, 200), (150 * 1024, 200), (256 * 1024, 200), (256 * 1024 + 1, 413), (300 * 1024, 413)):
        assert site.post(callback(size)).status == status, size
        assert site.post(chunked(callback(size))).status == (status if site.decodes_chunks else 411), size
    assert site.post(callback(), {"Content-Type": "text/plain"}).status == 415
    assert site.post(b"").status == 400
    assert site.post(b"{").status == 400
    assert site.post(b"{}").status == 422
    assert site.post(callback(secret="another")).status == 403


def other_methods_and_paths(site: Site) -> None:
    assert site.post(callback(), slash="/").status == 200
    refused = site.send("GET", site.prefix + REGISTRATIONS)
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert site.status_of("DELETE", "/health") == 405
    assert site.status_of("GET", "/health") == 200
    assert site.status_of("GET", "/health/") == 200
    head = site.send("HEAD", f"{site.prefix}/health", FROM_DDS)
    assert (head.status, head.body) == (200, b"")


def test_routes_of_a_node_from_before_a_fork_are_unavailable(dds: LocalDds, tmp_path: Path) -> None:
    with serve(dds, "gunicorn", "preloaded_routes:app", tmp_path / "log", "", "--preload") as site:
        for response in (site.post(callback()), site.send("GET", "/health", FROM_DDS)):
            assert (response.status, response.headers["retry-after"].isdecimal()) == (503, True)
            assert b"fork" in response.body
        # Without an application, every other request gets 404.
        assert site.send("GET", "/health").status == 404


@pytest.mark.skipif(sys.platform != "linux", reason="only tried on Linux")
def test_a_slow_disk_does_not_hold_the_event_loop(frozen_disk: Path, tmp_path: Path) -> None:
    """The response to a callback waits for the disk, because DDS does not send the secret again after it."""
    freeze = tmp_path / "frozen"
    env = {"LD_PRELOAD": str(frozen_disk), "FROZEN_DISK": str(freeze), "STATE_DIR": str(tmp_path / "node")}
    with (
        # Each callback waits in a thread.
        ThreadPoolExecutor(40) as pool,
        LocalDds(callback="never", secret="the-secret") as dds,
        serve(dds, "uvicorn", "site_starlette:wrapped", tmp_path / "log", **env) as site,
    ):
        assert site.send("GET", "/start").body == b"started"
        freeze.touch()
        # The machine may take the processor away from the event loop for longer than that, but not every time.
        longest, response = 1.0, None
        for _ in range(20):
            pause = pool.submit(site.send, "GET", "/pause")
            response = pool.submit(site.post, callback())
            longest = float(pause.result().body)
            assert not response.done(), response.result()
            if longest < 0.05:
                break
        freeze.unlink()
        assert longest < 0.05
        assert response is not None and response.result().status == 200


class Workers:
    """What the workers of a site say about themselves, by process id."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.seen: dict[int, dict[str, object]] = {}

    def ask(self) -> bool:
        """Ask one of them. Returns whether all four have been seen."""
        try:
            worker = json.loads(self.site.send("GET", "/status").body)
        except OSError:
            # A worker that was killed a moment ago.
            return False
        self.seen[worker["pid"]] = worker
        return len(self.seen) == 4

    def all_have(self, **values: object) -> bool:
        return self.ask() and all(worker[name] == value for worker in self.seen.values() for name, value in values.items())

    def leader(self) -> int:
        (pid,) = (pid for pid, worker in self.seen.items() if worker["role"] == "leader")
        return pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only tried on Linux")
# scenario: leader-killed
def test_four_workers_give_the_verdict_of_the_leader(tmp_path: Path) -> None:
    """Also while the leader is killed, and after that."""
    conf, state = ("-c", "shared_routes_conf.py"), str(tmp_path / "node")
    with (
        ThreadPoolExecutor(8) as pool,
        LocalDds(callback="never", secret="the-secret") as dds,
        serve(dds, "gunicorn", "shared_routes:app", tmp_path / "log", "", *conf, STATE_DIR=state) as site,
    ):
        workers = Workers(site)
        eventually(workers.ask)

        def verdict(secret: str) -> int | None:
            try:
                response = site.post(callback(secret=secret))
            except OSError:
                # The worker was killed.
                return None
            assert response.status != 503 or response.headers["retry-after"].isdecimal()
            return response.status

        assert verdict("the-secret") == 200
        assert list(pool.map(verdict, ["the-secret", "another"] * 100)) == [200, 403] * 100
        eventually(lambda: workers.all_have(secret="the-secret"))
        # A probe counts wherever it arrives.
        assert dds.probe_health() == 200
        eventually(lambda: workers.all_have(probed=True))

        leader = workers.leader()
        os.kill(leader, signal.SIGSTOP)
        verdicts = [pool.submit(verdict, secret) for secret in ["the-secret", "another"] * 4]
        os.kill(leader, signal.SIGKILL)
        for right, wrong in zip(verdicts[::2], verdicts[1::2], strict=True):
            assert right.result() in (200, 503, None) and wrong.result() in (403, 503, None)
        # One that was asked in the meantime may have been the leader.
        eventually(lambda: not is_alive(leader))
        del workers.seen[leader]
        eventually(lambda: workers.all_have(secret="the-secret") and verdict("the-secret") == 200)
        eventually(lambda: workers.ask() and "leader" in [worker["role"] for worker in workers.seen.values()])
        assert workers.leader() != leader
        assert list(pool.map(verdict, ["the-secret", "another"] * 10)) == [200, 403] * 10
        assert len(dds.requests("register")) == 1
