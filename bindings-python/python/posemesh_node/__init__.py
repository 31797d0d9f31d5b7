"""Register a posemesh node with the discovery service (DDS), and keep it registered.

    from posemesh_node import Node

    with Node.from_env() as node:
        node.wait_registered(timeout=30)

``Node`` is for programs with threads, ``AsyncNode`` for asyncio. What goes wrong is a PosemeshError. The
library logs to ``logging.getLogger("posemesh_node")``. ``posemesh_node.httpx`` and ``posemesh_node.requests``
send the node's access token along; ``posemesh_node.testing`` has a local DDS.
"""

from __future__ import annotations

from ._errors import (
    AlreadyRunningError,
    BindError,
    ConfigError,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    NodeIOError,
    NodeTimeoutError,
    NotFoundError,
    PanicError,
    PosemeshError,
    RejectedError,
    StoppedError,
    UnavailableError,
    WouldDeadlockError,
)
from ._native import VERSION as __version__
from ._native import eth_address, sign_eip191
from ._node import Node

# As type checkers know it from `typing`, which costs more to import than this whole package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._aio import AsyncEventStream, AsyncNode
    from ._events import (
        AttemptFailed,
        Event,
        EventStream,
        HealthChecked,
        RegistrationLost,
        SecretChanged,
        StatusChanged,
        TokenRefreshed,
    )
    from ._options import Options, Overrides
    from ._status import Role, State, Status
    from ._token import AccessToken

__all__ = [
    "AccessToken",
    "AlreadyRunningError",
    "AsyncEventStream",
    "AsyncNode",
    "AttemptFailed",
    "BindError",
    "ConfigError",
    "Event",
    "EventStream",
    "ForkedError",
    "HealthChecked",
    "InternalError",
    "InvalidArgumentError",
    "Node",
    "NodeIOError",
    "NodeTimeoutError",
    "NotFoundError",
    "Options",
    "Overrides",
    "PanicError",
    "PosemeshError",
    "RegistrationLost",
    "RejectedError",
    "Role",
    "SecretChanged",
    "State",
    "Status",
    "StatusChanged",
    "StoppedError",
    "TokenRefreshed",
    "UnavailableError",
    "WouldDeadlockError",
    "__version__",
    "eth_address",
    "sign_eip191",
]

# What needs asyncio, dataclasses or typing is imported by the first one who asks for it.
_LAZY = {
    "AccessToken": "_token",
    "AsyncEventStream": "_aio",
    "AsyncNode": "_aio",
    "AttemptFailed": "_events",
    "Event": "_events",
    "EventStream": "_events",
    "HealthChecked": "_events",
    "Options": "_options",
    "Overrides": "_options",
    "RegistrationLost": "_events",
    "Role": "_status",
    "SecretChanged": "_events",
    "State": "_status",
    "Status": "_status",
    "StatusChanged": "_events",
    "TokenRefreshed": "_events",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
