"""The response to a request that DDS has sent to the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Headers", "HttpResponse"]

Headers: TypeAlias = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""The headers of a request: a mapping, or pairs of a name and a value."""


@dataclass(frozen=True)
class HttpResponse:
    """What to respond to a request that DDS has sent to the node. It contains no secret."""

    status: int
    """The status code, such as 200."""

    headers: tuple[tuple[str, str], ...]
    """Names, in lowercase, and values. ``Content-Length`` is not among them, because most frameworks add it."""

    body: bytes
    """The body, which is empty for a health probe."""
