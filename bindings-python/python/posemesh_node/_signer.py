"""A signer of the host's, in place of a private key: the key stays in a KMS, an HSM or a wallet."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from . import _native

if TYPE_CHECKING:
    import asyncio

__all__ = ["SignableMessage", "Signer"]


class Signer(Protocol):
    """Signs for a wallet whose private key is not in this process, such as a ``LocalAccount`` of eth-account."""

    @property
    def address(self) -> str:
        """The Ethereum address of the wallet: ``0x`` and 40 hex digits."""
        ...

    def sign_message(self, message: Any, /) -> Any:
        """Sign a SignableMessage with the wallet's key (EIP-191 ``personal_sign``).

        Returns the signature, 65 bytes or ``0x`` and 130 hex digits, or an object with a ``signature``. May be a
        coroutine function.
        """
        ...


class SignableMessage(bytes):
    """The message to sign, with the attributes that eth-account expects of one."""

    __slots__ = ()

    @property
    def version(self) -> bytes:
        """The version byte of EIP-191 for ``personal_sign``."""
        return b"E"

    @property
    def header(self) -> bytes:
        """The rest of the prefix of EIP-191."""
        return f"thereum Signed Message:\n{len(self)}".encode()

    @property
    def body(self) -> bytes:
        """The message."""
        return bytes(self)


def take_signer(
    options: Any, running_loop: Callable[[], asyncio.AbstractEventLoop] | None
) -> tuple[str, Callable[[_native.SigningRequest], None]] | None:
    """Take the signer out of the options: its address, and the function that the native half calls.

    A coroutine runs in the running loop or, without ``running_loop``, in an event loop of its own.
    """
    signer: Any = options.pop("signer", None)
    if signer is None:
        return None
    address: Any = getattr(signer, "address", None)
    if not isinstance(address, str) or not callable(getattr(signer, "sign_message", None)):
        # A traceback may show them, and some are secrets.
        options.clear()
        raise TypeError(
            f"signer must have an address, which is a str, and a method sign_message; got {type(signer).__name__}"
        )

    loop = None if running_loop is None else running_loop()

    def sign(request: _native.SigningRequest) -> None:
        # On a thread of its own, because a signer may take seconds, and this is the thread of all callbacks.
        threading.Thread(target=_sign, args=(signer, request, loop), name="posemesh-signer", daemon=True).start()

    return address, sign


def _sign(signer: Any, request: _native.SigningRequest, loop: asyncio.AbstractEventLoop | None) -> None:
    try:
        message = SignableMessage(request.message())
        if loop is not None and inspect.iscoroutinefunction(signer.sign_message):
            signature = _run(_signature(signer, message), loop)
        else:
            signature = signer.sign_message(message)
            if inspect.isawaitable(signature):
                signature = _run(_result(signature), loop)
        request.respond(_in_hex(signature), None)
    except BaseException as error:
        request.respond(None, f"{type(error).__name__}: {error}")


async def _signature(signer: Any, message: SignableMessage) -> Any:
    return await signer.sign_message(message)


async def _result(awaitable: Any) -> Any:
    return await awaitable


def _run(coroutine: Any, loop: asyncio.AbstractEventLoop | None) -> Any:
    import asyncio

    if loop is None:
        return asyncio.run(coroutine)
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    except RuntimeError:
        # The loop is closed. Otherwise, Python warns of a coroutine that was never awaited.
        coroutine.close()
        raise


def _in_hex(signature: Any) -> str:
    signature = getattr(signature, "signature", signature)
    if isinstance(signature, (bytes, bytearray)):
        return bytes(signature).hex()
    if isinstance(signature, str):
        return signature
    raise TypeError(
        f"sign_message must return a signature as bytes or hex digits, or an object with one; got "
        f"{type(signature).__name__}"
    )
