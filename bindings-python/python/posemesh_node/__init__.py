"""Register a posemesh node with the discovery service (DDS), and keep it registered.

    from posemesh_node import Node

    with Node.from_env() as node:
        node.wait_registered(timeout=30)

``Node`` is for programs with threads, ``AsyncNode`` for asyncio. What goes wrong is a PosemeshError. The
library logs to ``logging.getLogger("posemesh_node")``. ``posemesh_node.httpx`` and ``posemesh_node.requests``
send the node's access token along; ``posemesh_node.testing`` has a local DDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# First: a subinterpreter is refused before it imports anything else. `datetime` in one breaks some versions of CPython.
from . import _native  # isort: skip

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
from ._native import eth_address, sign_eip191
from ._node import Node
from ._options import Options, Overrides
from ._status import Role, State, Status
from ._token import AccessToken

__version__ = _native.VERSION

if TYPE_CHECKING:
    from ._aio import AsyncEventStream, AsyncNode

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



def __getattr__(name: str) -> object:
    # A program with threads does not need asyncio, which takes longer to import than all the rest.
    if name in ("AsyncEventStream", "AsyncNode"):
        from . import _aio

        value = globals()[name] = getattr(_aio, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
