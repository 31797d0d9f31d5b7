"""A script: register, call a service with the access token, and report what happens until Ctrl-C.

Configured by the environment: REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are required, and SERVICE_URL
is the service to call.
"""

from __future__ import annotations

import logging
import os
import urllib.request

from posemesh_node import AttemptFailed, Node, RegistrationLost, SecretChanged, StatusChanged, TokenRefreshed


def call_service(url: str, token: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return int(response.status)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    with Node.from_env() as node:
        # Follow the events before reading the status, so that no change is missed in between.
        events = node.events()
        node.wait_registered()
        print(f"{node.wallet_address} is {node.status().state}", flush=True)

        token = node.access_token()
        if url := os.environ.get("SERVICE_URL"):
            print(f"{url} responds with {call_service(url, token.value)}", flush=True)

        for event in events:
            match event:
                case StatusChanged():
                    print(f"{event.previous} -> {event.state}", flush=True)
                case TokenRefreshed():
                    print(f"new access token until {event.expires_at:%H:%M}", flush=True)
                case AttemptFailed():
                    print(f"{event.error}; next attempt in {event.retry_in:.0f} s", flush=True)
                case RegistrationLost():
                    print(f"registering again: {event.reason}", flush=True)
                case SecretChanged():
                    # Only if DDS knows the node's URL, and CALLBACK_BIND is set.
                    print(f"node secret number {event.version}", flush=True)
                case _:
                    pass


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
