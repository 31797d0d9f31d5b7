"""A libp2p host: it exchanges each new access token for one that is bound to its peer, and passes that one on.

The exchange is a request of the host's own. The node only provides the token: it emits TokenRefreshed for each new one,
which is the moment to exchange it again.

Configured by the environment: REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES and NODE_VERSION are required, DDS_BASE_URL is
the discovery service. Needs httpx and cryptography.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from dataclasses import dataclass, field
from datetime import datetime

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from posemesh_node import AsyncNode, TokenRefreshed
from posemesh_node.httpx import NodeAuth

DDS = os.environ.get("DDS_BASE_URL", "https://dds.auki.network").rstrip("/")


@dataclass(frozen=True)
class PeerToken:
    value: str = field(repr=False)
    expires_at: datetime


async def exchange(client: httpx.AsyncClient, peer_id: str, key: Ed25519PrivateKey) -> PeerToken:
    """Prove that this peer belongs to the node, and receive an access token that says so."""
    response = await client.post(
        f"{DDS}/internal/v1/auth/p2p/challenge",
        json={"peer_id": peer_id, "public_key": base64url(libp2p_public_key(key))},
    )
    challenge = response.raise_for_status().json()
    signature = key.sign(base64.urlsafe_b64decode(challenge["challenge"] + "=="))
    response = await client.post(
        f"{DDS}/internal/v1/auth/p2p/verify",
        json={"challenge_id": challenge["challenge_id"], "signature": base64url(signature)},
    )
    bound = response.raise_for_status().json()
    return PeerToken(bound["access_token"], datetime.fromisoformat(bound["access_expires_at"].replace("Z", "+00:00")))


async def peer_tokens(node: AsyncNode, peer_id: str, key: Ed25519PrivateKey, tokens: asyncio.Queue[PeerToken]) -> None:
    """Put a peer token into the queue for each access token of the node."""
    events = node.events()
    async with httpx.AsyncClient(auth=NodeAuth(node, timeout=None)) as client:
        # The first call signs in. From then on, the node refreshes its token by itself.
        await node.access_token()
        async for event in events:
            if isinstance(event, TokenRefreshed):
                await tokens.put(await exchange(client, peer_id, key))


async def use(tokens: asyncio.Queue[PeerToken]) -> None:
    """The part of the host that needs the token, such as its connection to a relay."""
    while True:
        token = await tokens.get()
        print(f"peer token until {token.expires_at:%H:%M:%S}", flush=True)


def libp2p_public_key(key: Ed25519PrivateKey) -> bytes:
    """The public key in libp2p's protobuf encoding: type Ed25519, 32 bytes."""
    return bytes([0x08, 0x01, 0x12, 0x20]) + key.public_key().public_bytes_raw()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def peer_id_of(key: Ed25519PrivateKey) -> str:
    """The peer id: base58 of the identity multihash of the public key."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    encoded = libp2p_public_key(key)
    number, digits = int.from_bytes(bytes([0, len(encoded)]) + encoded, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = alphabet[digit] + digits
    # The leading zero byte of the multihash.
    return "1" + digits


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    # A real host loads the key of its peer.
    key = Ed25519PrivateKey.generate()
    async with AsyncNode.from_env() as node:
        tokens: asyncio.Queue[PeerToken] = asyncio.Queue()
        exchanging = asyncio.create_task(peer_tokens(node, peer_id_of(key), key, tokens))
        using = asyncio.create_task(use(tokens))
        stopping = asyncio.create_task(stop.wait())
        # An error in one of the tasks ends the program, too.
        done, _ = await asyncio.wait((exchanging, using, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (exchanging, using, stopping):
            task.cancel()
        await asyncio.gather(exchanging, using, stopping, return_exceptions=True)
        for ended in done:
            ended.result()
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main())
