"""The names in the annotations of what every program imports.

They are imported when something evaluates an annotation, such as ``typing.get_type_hints``.
"""

from __future__ import annotations

from ._lazy import importer

TYPE_CHECKING = False  # Type checkers assume that it is true. Importing `typing` for it would take too long.
if TYPE_CHECKING:
    from typing import Any as Any

    from ._config import Options as Options
    from ._config import Overrides as Overrides
    from ._event import Event as Event
    from ._event import Listener as Listener
    from ._http import Headers as Headers
    from ._http import HttpResponse as HttpResponse
    from ._metrics import Readiness as Readiness
    from ._stream import EventStream as EventStream
    from ._token import AccessToken as AccessToken
    from ._typing import Self as Self
    from ._typing import Unpack as Unpack
else:
    __getattr__ = importer(
        globals(),
        {
            "typing": ("Any",),
            "._config": ("Options", "Overrides"),
            "._event": ("Event", "Listener"),
            "._http": ("Headers", "HttpResponse"),
            "._metrics": ("Readiness",),
            "._stream": ("EventStream",),
            "._token": ("AccessToken",),
            "._typing": ("Self", "Unpack"),
        },
    )
