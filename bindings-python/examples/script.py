"""A script: register, wait for the secret, work until Ctrl-C.

Configured by the environment: REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are required.
"""

from __future__ import annotations

import logging
import os

from posemesh_node import AttemptFailed, Node, SecretChanged, StatusChanged

# A keyword wins over the environment. Without either there is no callback server, and no secret.
CALLBACK_BIND = os.environ.get("CALLBACK_BIND", "127.0.0.1:0")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    with Node.from_env(callback_bind=CALLBACK_BIND) as node:
        # First the events, then the status: something may be told twice, but nothing is missed in between.
        events = node.events()
        print(f"{node.wallet_address}, called back at {node.callback_address}", flush=True)
        print(f"now {node.status().state}", flush=True)
        for event in events:
            match event:
                case StatusChanged():
                    print(f"now {event.state}", flush=True)
                case SecretChanged():
                    secret = node.read_secret()
                    print(f"secret number {event.version}, {len(secret or '')} characters", flush=True)
                case AttemptFailed():
                    print(f"{event.error.name}: {event.error}; again in {event.retry_in:.0f} s", flush=True)
                case _:
                    pass


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
