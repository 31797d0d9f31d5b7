"""What DDS gives a node that signs in, for the services behind DDS."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import _native

__all__ = ["AccessToken"]


@dataclass(frozen=True)
class AccessToken:
    """An access token, for an ``Authorization: Bearer`` header.

    It shows in no ``repr`` and no ``str``: only ``value`` gives it out. Two are equal when token and expiry are.
    It can be pickled, for processes that have no node; the pickle holds the token.
    """

    value: str = field(repr=False)
    """The token itself. Take care where it goes."""

    expires_at: datetime
    """When it expires (UTC), by DDS's clock."""

    @property
    def claims(self) -> dict[str, Any] | None:
        """What the token says about the node, such as ``node_id`` or ``capabilities``; None if it is no JWT.

        Read without verifying the signature. Use them as hints and never as proof.
        """
        text = _native.token_claims(self.value)
        return None if text is None else json.loads(text)
