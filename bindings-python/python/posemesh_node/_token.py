"""What DDS gives a node that signs in, for the services behind DDS."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

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
