"""Frozen dataclasses that become such when somebody looks.

To import ``dataclasses`` takes longer than everything else between the start of an interpreter and a registered
node, and what most programs do is read attributes, which needs none of it. So the decorator here only notes what is
asked for. The real one is called when an instance of a class is first made by calling it, printed, compared, hashed
or written to, and when somebody asks for the fields.

    @dataclass(frozen=True)
    class Answer(Value):
        status: int
        body: bytes = field(repr=False)
"""

from __future__ import annotations

from _thread import RLock

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeVar

    _T = TypeVar("_T")

__all__ = ["Value", "dataclass", "field"]


class _Field:
    """The options of a field."""

    def __init__(self, repr: bool, compare: bool) -> None:
        self.repr = repr
        self.compare = compare


_noted: dict[type, dict[str, _Field]] = {}
"""The classes that are no dataclasses yet, and the options of their fields."""

_making = RLock()
"""Held while a class becomes one."""


def dataclass(*, frozen: Literal[True]) -> Callable[[type[_T]], type[_T]]:
    """Note that the class is to become a dataclass. Its base is ``Value``, and not another such class: what that one
    is given would be taken for its own.
    """

    def note(cls: type[_T]) -> type[_T]:
        fields = {name: value for name, value in vars(cls).items() if isinstance(value, _Field)}
        for name in fields:
            delattr(cls, name)
        _noted[cls] = fields
        return cls

    return note


def field(*, repr: bool = True, compare: bool = True) -> Any:
    """Note the options of a field."""
    return _Field(repr, compare)


class _Later:
    """An attribute that the real ``dataclass`` gives to a class."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        # `inspect` binds a method to the class itself.
        cls = instance if isinstance(instance, type) else owner
        _make(cls)
        given = next(vars(base)[self._name] for base in cls.__mro__ if self._name in vars(base))
        if given is self:
            raise AttributeError(f"{cls.__name__!r} has no attribute {self._name!r}")
        return given.__get__(instance, owner) if hasattr(given, "__get__") else given


def _make(owner: type) -> None:
    """Make a dataclass of the class, or of what it derives from."""
    import dataclasses

    with _making:
        for cls in owner.__mro__:
            if (fields := _noted.pop(cls, None)) is not None:
                for name, options in fields.items():
                    setattr(cls, name, dataclasses.field(repr=options.repr, compare=options.compare))
                dataclasses.dataclass(frozen=True)(cls)


class Value:
    """The base of such classes."""

    if not TYPE_CHECKING:
        __init__ = _Later()
        __repr__ = _Later()
        __eq__ = _Later()
        __hash__ = _Later()
        __setattr__ = _Later()
        __delattr__ = _Later()
        __replace__ = _Later()
        __match_args__ = _Later()
        __dataclass_fields__ = _Later()
        __dataclass_params__ = _Later()
