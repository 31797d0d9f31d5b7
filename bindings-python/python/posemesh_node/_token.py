"""Access tokens, for the services behind DDS."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import _native

__all__ = ["AccessToken"]


@dataclass(frozen=True)
class AccessToken:
    """An access token, for an ``Authorization: Bearer`` header.

    ``repr`` and ``str`` do not show the token; only ``value`` does. Two tokens are equal if the text and the expiry
    are. It can be pickled, for processes without a node of their own; the pickle contains the token.
    """

    value: str = field(repr=False)
    """The token itself. It is a secret."""

    expires_at: datetime
    """When it expires (UTC, by DDS's clock)."""

    @property
    def claims(self) -> dict[str, Any] | None:
        """What the token says about the node, such as ``node_id`` or ``capabilities``. None if it is not a JWT.

        The claims are read without verifying the signature. Use them as hints, never as proof.
        """
        import json  # Few programs need it.

        text = _native.token_claims(self.value)
        return None if text is None else json.loads(text)
