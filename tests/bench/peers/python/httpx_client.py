"""What one would write with httpx and eth-account. With the argument `cold`, one registration and the end; with `first`,
also a sign-in and one authorized request."""

import os
import sys

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct

base = os.environ["DDS_BASE_URL"]
account = Account.from_key(os.environ["SECP256K1_PRIVHEX"])
client = httpx.Client(base_url=base, timeout=10)


def signed_challenge() -> dict[str, str]:
    answer = client.post("/internal/v1/auth/siwe/request", json={"wallet": account.address.lower()})
    challenge = answer.raise_for_status().json()
    message = (
        f"{challenge['domain']} wants you to sign in with your Ethereum account:\n{account.address.lower()}\n\n"
        f"URI: {challenge['uri']}\nVersion: {challenge['version']}\nChain ID: {challenge['chainId']}\n"
        f"Nonce: {challenge['nonce']}\nIssued At: {challenge['issuedAt']}"
    )
    signed = account.sign_message(encode_defunct(text=message))
    return {"message": message, "signature": f"0x{signed.signature.hex()}"}


def register(times: str) -> None:
    for _ in range(int(times)):
        body = signed_challenge() | {
            "registration_credentials": os.environ["REG_SECRET"],
            "capabilities": os.environ["CAPABILITIES"].split(","),
            "version": os.environ["NODE_VERSION"],
        }
        client.post("/internal/v1/nodes/register-wallet", json=body).raise_for_status()


def request_with_token() -> None:
    body = signed_challenge() | {"address": account.address.lower()}
    answer = client.post("/internal/v1/auth/siwe/verify", json=body).raise_for_status()
    authorization = {"authorization": f"Bearer {answer.json()['access_token']}"}
    client.get("/authorized", headers=authorization).raise_for_status()


if sys.argv[1:] == ["cold"]:
    register("1")
elif sys.argv[1:] == ["first"]:
    register("1")
    request_with_token()
else:
    from commands import answer

    answer({"register": register})
