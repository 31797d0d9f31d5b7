"""``dataclasses.dataclass``, for classes that any thread may import at any time.

``dataclasses`` looks up ``typing`` in ``sys.modules``, also while another thread is importing it. So that import comes first.
"""

from __future__ import annotations

import typing as typing
from dataclasses import dataclass as dataclass
from dataclasses import field as field
