"""The options of a node, as types."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, get_type_hints

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


def signature_of(options: str) -> inspect.Signature:
    """The signature of a class method with ``Options`` or ``Overrides`` as keyword arguments."""
    fields: Any = Options if options == "Options" else Overrides
    required: frozenset[str] = fields.__required_keys__
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=annotation,
            default=inspect.Parameter.empty if name in required else None,
        )
        for name, annotation in get_type_hints(fields).items()
    ]
    keywords.sort(key=lambda keyword: keyword.name not in required)
    cls = inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature([cls, *keywords])
