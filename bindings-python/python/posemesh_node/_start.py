"""How a class of nodes starts: with the options as keyword arguments."""

from __future__ import annotations

import sys

from . import _log, _native

TYPE_CHECKING = False  # Type checkers assume that it is true. Importing `typing` for it would take too long.
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ._config import Options, Overrides

    _F = TypeVar("_F", bound=Callable[..., Any])
    _ClassMethod = classmethod[Any, ..., Any]
else:
    _ClassMethod = classmethod

__all__ = ["configure", "takes"]


def configure(
    options: Options | Overrides, *, from_env: bool, running_loop: Callable[[], asyncio.AbstractEventLoop] | None
) -> _native.Config:
    """Check the options of a node that is about to start. A signer's coroutine runs in the running loop, if there is one."""
    given: Any = options
    signer = given.pop("signer", None)
    if signer is not None:
        from ._signer import take_signer

        signer = take_signer(signer, given, running_loop)
    config = _native.Config(options, from_env=from_env, signer=signer)
    _log.install()
    return config


def takes(options: str) -> Callable[[_F], _F]:
    """Show these options as keyword arguments of a class method in ``help`` and in editors that inspect live objects.

    Type checkers read ``Unpack``. The method itself receives one dictionary, which it can empty. With a variable for
    each option, a traceback could show the secrets.
    """

    def show(method: Any) -> Any:
        return _WithOptions(method.__func__, options)

    return show


class _WithOptions(_ClassMethod):
    """A class method with a signature, which is made when there is somebody to read it."""

    def __init__(self, method: Callable[..., Any], options: str) -> None:
        super().__init__(method)
        self._options = options

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        method: Any = self.__func__
        # Whatever reads a signature has imported `inspect`, which takes longer than a start.
        if "inspect" in sys.modules and not hasattr(method, "__signature__"):
            from ._config import signature_of

            method.__signature__ = signature_of(self._options)
        return super().__get__(instance, owner)
