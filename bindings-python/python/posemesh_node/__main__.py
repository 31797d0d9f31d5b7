"""``python -m posemesh_node``: checks the configuration in the environment and, on request, registers once."""

from __future__ import annotations

import argparse
import os
import sys
import time

from . import _native
from ._error import ConfigError, NodeTimeoutError, PosemeshError, RejectedError
from ._node import Node

_REFUSED, _MISCONFIGURED = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m posemesh_node",
        description="Check the configuration that Node.from_env() reads from the environment, and print it. "
        "Secrets are not printed, and nothing is sent.",
        epilog="Exit code: 0 success, 1 not registered, 2 invalid configuration or command line.",
    )
    parser.add_argument("--register", action="store_true", help="also register once with DDS, then stop")
    parser.add_argument("--timeout", type=float, default=30.0, help="timeout of --register in seconds (default: %(default)s)")
    parser.add_argument("--version", action="version", version=_native.VERSION)
    options = parser.parse_args(arguments)
    try:
        limit = _native.timeout_seconds(options.timeout)
    except ValueError as error:
        parser.error(str(error))
    try:
        wallet = _native.Config({}, from_env=True).check()
        _show(wallet)
        if options.register:
            _register(limit)
        else:
            print("\nNothing was sent. Use --register to register once.")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISCONFIGURED
    except PosemeshError as error:
        print(f"error: {error.name}: {error}", file=sys.stderr)
        return _REFUSED
    return 0


_SECRET_PATHS = {"node_url", "callback_path"}
"""Options that contain a path, which only DDS may know."""


def _show(wallet: str | None) -> None:
    print(f"{'wallet':27} {'none (a robot)' if wallet is None else wallet}")
    secrets = _native.secret_options()
    for name, variable, _, default, _, _ in _native.options():
        variables = [f"POSEMESH_{name.upper()}", f"POSEMESH_{variable}", variable]
        if name == "reg_secret" and wallet is None:
            variables[:0] = ["POSEMESH_ROBOT_REGISTRATION_CREDENTIALS", "ROBOT_REGISTRATION_CREDENTIALS"]
        if name in secrets:
            variables = [either for variable in variables for either in (variable, f"{variable}_FILE")]
        source = next((variable for variable in variables if os.environ.get(variable, "").strip()), None)
        if source is None:
            print(f"{name:27} {'not set' if default is None else f'{default} (default)'}")
        elif name in secrets or name in _SECRET_PATHS:
            print(f"{name:27} set ({source})")
        else:
            print(f"{name:27} {os.environ[source].strip()!r} ({source})")


def _register(limit: float | None) -> None:
    deadline = None if limit is None else time.monotonic() + limit
    with Node.from_env() as node:
        while True:
            left = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
            try:
                node.wait_registered(left)
                break
            except NodeTimeoutError:
                last = node.status().last_error
                # DDS would reject the next attempt, too.
                if isinstance(last, RejectedError):
                    raise last from None
                if left == 0.0:
                    raise
        print(f"\nRegistered with DDS at {node.status().registered_at}.")


if __name__ == "__main__":
    sys.exit(main())
