"""Register a posemesh node with the discovery service (DDS), and keep it registered.

    from posemesh_node import Node

    with Node.from_env() as node:
        node.wait_registered(timeout=30)
        token = node.access_token(timeout=30)

``Node`` is for programs with threads, ``AsyncNode`` for asyncio. All errors are PosemeshErrors. The library logs to
``logging.getLogger("posemesh_node")``. ``posemesh_node.httpx`` and ``posemesh_node.requests`` add the node's access
token to requests. ``posemesh_node.asgi``, ``posemesh_node.wsgi`` and ``posemesh_node.aiohttp`` receive DDS's callbacks in
a web server of the program. ``posemesh_node.prometheus`` and ``posemesh_node.opentelemetry`` export metrics.
``posemesh_node.testing`` has a local DDS for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# First, so that a subinterpreter is refused before it imports anything else: `datetime` in a subinterpreter breaks
# some versions of CPython.
from . import _native  # isort: skip

from ._config import Options, Overrides
from ._error import (
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
from ._event import (
    AttemptFailed,
    Event,
    HealthChecked,
    RegistrationLost,
    SecretChanged,
    StatusChanged,
    TokenRefreshed,
)
from ._http import Headers, HttpResponse
from ._metrics import (
    Callbacks,
    DdsEndpoints,
    DdsRequests,
    Metrics,
    Readiness,
    RegistrationAttempts,
    RegistrationsLost,
    SignIns,
)
from ._native import METRICS_CONTENT_TYPE, eth_address, sign_eip191
from ._node import Node
from ._signer import SignableMessage, Signer
from ._status import Role, State, Status
from ._stream import EventStream
from ._token import AccessToken

__version__ = _native.VERSION

if TYPE_CHECKING:
    from ._async_node import AsyncEventStream, AsyncNode

__all__ = [
    "AccessToken",
    "AlreadyRunningError",
    "AsyncEventStream",
    "AsyncNode",
    "AttemptFailed",
    "BindError",
    "Callbacks",
    "ConfigError",
    "DdsEndpoints",
    "DdsRequests",
    "Event",
    "EventStream",
    "ForkedError",
    "Headers",
    "HealthChecked",
    "HttpResponse",
    "InternalError",
    "InvalidArgumentError",
    "METRICS_CONTENT_TYPE",
    "Metrics",
    "Node",
    "NodeIOError",
    "NodeTimeoutError",
    "NotFoundError",
    "Options",
    "Overrides",
    "PanicError",
    "PosemeshError",
    "Readiness",
    "RegistrationAttempts",
    "RegistrationLost",
    "RegistrationsLost",
    "RejectedError",
    "Role",
    "SecretChanged",
    "SignIns",
    "SignableMessage",
    "Signer",
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
    # A program with threads does not need asyncio, which takes longer to import than everything else here.
    if name in ("AsyncEventStream", "AsyncNode"):
        from . import _async_node

        value = globals()[name] = getattr(_async_node, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
