"""A service with a node, for systemd, Docker and Kubernetes: it tells systemd when it is registered, and stops on SIGTERM.

The unit, compose.yaml and statefulset.yaml in this directory run it. All of them configure it by the environment and keep
the secrets in files.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType

from posemesh_node import AttemptFailed, Node, RegistrationLost, State, StatusChanged


def notify(state: str) -> None:
    """Send a message to systemd, as sd_notify(3) does. Without systemd, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            # An address that begins with @ is in the abstract namespace.
            notifications.sendto(state.encode(), address.replace("@", "\0", 1))


def report(node: Node) -> None:
    """Show the registration in `systemctl status`, until the node stops."""
    events = node.events()
    if node.status().state is State.REGISTERED:
        notify("READY=1\nSTATUS=registered")
    for event in events:
        match event:
            case StatusChanged(state=State.REGISTERED):
                notify("READY=1\nSTATUS=registered")
            case AttemptFailed():
                notify(f"STATUS={event.error}")
            case RegistrationLost():
                notify(f"STATUS=registering again: {event.reason}")
            case _:
                pass


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    # The exception ends the wait for the next event and leaves the with statement, which stops the node.
    sys.exit()


def main() -> None:
    signal.signal(signal.SIGTERM, exit_on_signal)
    with Node.from_env() as node:
        try:
            report(node)
        finally:
            notify("STOPPING=1")


if __name__ == "__main__":
    main()
