"""The options of a node, as types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, TypedDict

__all__ = ["Options", "Overrides"]


class _Optional(TypedDict, total=False):
    dds_base_url: str | None
    max_concurrency: int | None
    register_interval_secs: int | None
    max_retry: int | None
    request_timeout_secs: int | None
    callback_bind: str | None
    callback_policy: Literal["per_registration", "open"] | None
    healthcheck_ttl_secs: int | None
    siwe_domain: str | None
    siwe_format: Literal["posemesh", "eip4361"] | None
    state_dir: str | os.PathLike[str] | None
    ca_file: str | os.PathLike[str] | None
    allow_insecure_http: bool | None


class Options(_Optional):
    """What ``Node.start`` takes. None is the same as leaving an option out."""

    reg_secret: str
    secp256k1_privhex: str
    capabilities: Sequence[str] | str
    node_version: str


class Overrides(_Optional, total=False):
    """What ``Node.from_env`` takes in place of environment variables."""

    reg_secret: str | None
    secp256k1_privhex: str | None
    capabilities: Sequence[str] | str | None
    node_version: str | None
