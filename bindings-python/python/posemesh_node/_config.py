"""The options of a node, as types."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from ._signer import Signer

__all__ = ["Options", "Overrides"]


class _Optional(TypedDict, total=False):
    identity: Literal["wallet", "robot"] | None
    secp256k1_privhex: str | None
    secp256k1_keystore_file: str | os.PathLike[str] | None
    secp256k1_keystore_password: str | None
    signer: Signer | None
    capabilities: Sequence[str] | str | None
    dds_base_url: str | None
    max_concurrency: int | None
    register_interval_secs: int | None
    max_retry: int | None
    request_timeout_secs: int | None
    reregister_secs: int | None
    callback_bind: str | None
    callback_policy: Literal["per_registration", "open"] | None
    healthcheck_ttl_secs: int | None
    callback_path: str | None
    callback_allow: Sequence[str] | str | None
    trusted_proxies: Sequence[str] | str | None
    callback_tls_cert: str | os.PathLike[str] | None
    callback_tls_key: str | os.PathLike[str] | None
    callback_tls_client_ca: str | os.PathLike[str] | None
    admin_bind: str | None
    node_url: str | None
    siwe_domain: str | None
    siwe_format: Literal["posemesh", "eip4361"] | None
    state_dir: str | os.PathLike[str] | None
    state_url: str | None
    ca_file: str | os.PathLike[str] | None
    allow_insecure_http: bool | None


class Options(_Optional):
    """The options of ``Node.start``. None is the same as leaving an option out.

    ``capabilities`` are required too, except for a robot.
    """

    reg_secret: str
    node_version: str


class Overrides(_Optional, total=False):
    """The options of ``Node.from_env``, which take precedence over environment variables."""

    reg_secret: str | None
    node_version: str | None


_F = TypeVar("_F", bound=Callable[..., Any])


def takes(options: Any) -> Callable[[_F], _F]:
    """Show the options as keyword arguments of a class method in ``help`` and in editors that inspect live objects.

    Type checkers read ``Unpack``. The method itself receives one dictionary, which it can empty. With a variable for
    each option, a traceback could show the secrets.
    """
    required: frozenset[str] = options.__required_keys__
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=annotation,
            default=inspect.Parameter.empty if name in required else None,
        )
        for name, annotation in get_type_hints(options).items()
    ]
    keywords.sort(key=lambda keyword: keyword.name not in required)

    def show(method: _F) -> _F:
        cls = inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        method.__signature__ = inspect.Signature([cls, *keywords])  # type: ignore[attr-defined]  # pyright: ignore
        return method

    return show
