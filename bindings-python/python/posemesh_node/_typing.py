"""Names from newer versions of ``typing``, for Python 3.10 without a dependency.

Type checkers bring their own ``typing_extensions``. At run time, the names only have to exist, so that
``typing.get_type_hints`` can resolve every annotation of the package.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack
elif sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    Self = Any

    class Unpack:
        """``Unpack[X]`` is Any."""

        def __class_getitem__(cls, _: object) -> Any:
            return Any


__all__ = ["Self", "Unpack"]
