"""``python -m posemesh_node.testing``: a local DDS to try out a node with."""

from __future__ import annotations

import argparse
import shlex
import signal
import time
from urllib.parse import urlsplit

from . import PRIVATE_KEY, LocalDds


def main(arguments: list[str] | None = None) -> int:
    """Run the command until Ctrl-C or SIGTERM, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m posemesh_node.testing",
        description="Run a DDS on loopback until Ctrl-C, and print the environment for a node that registers there.",
    )
    parser.add_argument(
        "--node-url",
        help="where to call the node back, such as http://127.0.0.1:8080; also prints the settings of a callback server there",
    )
    parser.add_argument("--secret", help="the secret to send; by default a new one for each registration")
    parser.add_argument("--health-interval", type=float, help="seconds between health probes; by default none are sent")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        dds = LocalDds(node_url=options.node_url, secret=options.secret, health_interval=options.health_interval)
    except ValueError as error:
        parser.error(str(error))
    with dds:
        try:
            _show_environment(dds, options.node_url)
            _show_requests(dds)
        except KeyboardInterrupt:
            pass
    return 0


def _show_environment(dds: LocalDds, node_url: str | None) -> None:
    reg_secret = dds.options()["reg_secret"]
    print(f"export DDS_BASE_URL={dds.url} REG_SECRET={reg_secret} CAPABILITIES=/test/v1 NODE_VERSION=1.0.0")
    print(f"export SECP256K1_PRIVHEX={PRIVATE_KEY}", flush=True)
    if node_url is not None:
        url = urlsplit(node_url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        settings = f"CALLBACK_BIND={host}:{url.port or 80}"
        if path := url.path.rstrip("/"):
            settings += f" CALLBACK_PATH={shlex.quote(path)}"
        # Only a proposal, because the program may have the node's routes in a web server of its own.
        print(f"# for a callback server of the node: export {settings}", flush=True)


def _show_requests(dds: LocalDds) -> None:
    shown = 0
    while True:
        # A request without a response yet is shown once it has one.
        for request in dds.requests()[shown:]:
            if request.status is None:
                break
            print(f"# {request.method} {request.path}: {request.status}", flush=True)
            shown += 1
        time.sleep(0.2)


if __name__ == "__main__":
    raise SystemExit(main())
