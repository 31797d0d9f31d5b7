"""Names of a module that are imported when they are first used (PEP 562).

Most programs need few of the names. The standard library modules behind the others, such as ``dataclasses``, ``typing``
and ``asyncio``, take many times longer to import than a node takes to register.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # Type checkers assume that it is true. Importing `typing` for it would take too long.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["importer"]


def importer(namespace: dict[str, Any], modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of the module with this namespace, for the names that it has from these modules."""
    module_of = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(module, __package__), name)
        return value

    return __getattr__
