"""A robot: a node without a wallet. It registers with its credentials alone, and exchanges its access token for one of its
domain.

Configured by the environment: ROBOT_REGISTRATION_CREDENTIALS and NODE_VERSION are required, DDS_BASE_URL is the discovery
service. Needs httpx.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

import httpx

from posemesh_node import Node, TokenRefreshed
from posemesh_node.httpx import NodeAuth

DDS = os.environ.get("DDS_BASE_URL", "https://dds.auki.network").rstrip("/")


@dataclass(frozen=True)
class DomainToken:
    server_url: str
    value: str = field(repr=False)
    expires_at: str


def domain_token(client: httpx.Client, domain_id: str) -> DomainToken:
    """Exchange the robot's access token for one of a domain."""
    response = client.post(f"{DDS}/internal/v1/auth/robot/domain-token", json={"domain_id": domain_id})
    issued = response.raise_for_status().json()
    return DomainToken(issued["domain_server_url"], issued["access_token"], issued["access_expires_at"])


def assigned_domain(node: Node) -> str | None:
    """The domain that the robot is assigned to. DDS decides, so the claim is only a hint to which token to ask for."""
    claims = node.access_token().claims or {}
    domain_id = claims.get("assigned_domain_id")
    return domain_id if isinstance(domain_id, str) else None


def main() -> None:
    with Node.from_env(identity="robot") as node, httpx.Client(auth=NodeAuth(node)) as client:
        events = node.events()
        # A robot's first token arrives with its registration.
        node.wait_registered()
        print(f"robot {node.status().node_id} is {node.status().state}", flush=True)

        if (domain_id := assigned_domain(node)) is None:
            sys.exit("the robot is not assigned to a domain")
        print(f"domain token for {domain_token(client, domain_id).server_url}", flush=True)

        for event in events:
            if isinstance(event, TokenRefreshed):
                print(f"access token until {event.expires_at:%H:%M:%S}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
