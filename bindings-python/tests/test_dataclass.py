"""The value classes: dataclasses as soon as somebody looks, whatever it is that is looked at first."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As the native half makes one. Each way of looking is the first in a process of its own.
UNSEEN = """
import sys
from posemesh_node import AccessToken, Status, StatusChanged
def unseen(cls, **fields):
    value = cls.__new__(cls)
    value.__dict__.update(fields)
    return value
token = unseen(AccessToken, value="v", expires_at=5)
changed = unseen(StatusChanged, at=1, dropped=2, previous=3, state=4)
assert token.value == "v" and isinstance(changed, StatusChanged)
assert "dataclasses" not in sys.modules
def raises(error, call, *arguments):
    try:
        call(*arguments)
    except error:
        return True
"""

LOOKS = {
    "repr": "assert repr(token) == 'AccessToken(expires_at=5)'",
    "repr of another": "assert repr(changed) == 'StatusChanged(at=1, dropped=2, previous=3, state=4)'",
    "==": "assert token == unseen(AccessToken, value='v', expires_at=5) != unseen(AccessToken, value='w', expires_at=5)",
    "!= of another class": "assert token != 5 and not token == changed",
    "hash": "assert hash(token) == hash(unseen(AccessToken, value='v', expires_at=5))",
    "call": "assert AccessToken('v', expires_at=5) == token",
    "call without an argument": "assert raises(TypeError, AccessToken, 'v')",
    "setattr": """
from dataclasses import FrozenInstanceError
assert raises(FrozenInstanceError, setattr, token, 'value', 'w') and token.value == 'v'
""",
    "delattr": """
from dataclasses import FrozenInstanceError
assert raises(FrozenInstanceError, delattr, token, 'value') and token.value == 'v'
""",
    "match": """
match changed:
    case StatusChanged(1, 2, 3, state):
        assert state == 4
    case _:
        raise AssertionError
""",
    "fields": """
from dataclasses import fields, is_dataclass
assert is_dataclass(Status) and is_dataclass(token)
assert [field.name for field in fields(Status) if not field.compare] == ['last_error', 'persistence_error']
""",
    "asdict": "from dataclasses import asdict; assert asdict(token) == {'value': 'v', 'expires_at': 5}",
    "replace": "from dataclasses import replace; assert replace(changed, dropped=7).dropped == 7",
    "copy.replace": """
import copy
if sys.version_info >= (3, 13):
    assert copy.replace(changed, dropped=7).dropped == 7
else:
    assert not hasattr(changed, '__replace__')
""",
    "copy": "import copy; assert copy.deepcopy(changed) == copy.copy(changed) == changed",
    "pickle": "import pickle; assert pickle.loads(pickle.dumps(token)) == token",
    "signature": """
from inspect import signature
assert list(signature(StatusChanged).parameters) == ['at', 'dropped', 'previous', 'state']
""",
    "a subclass": """
class Mine(AccessToken):
    pass
assert repr(Mine('v', 5)) == 'Mine(expires_at=5)'
""",
    "a dataclass of it": """
from dataclasses import dataclass
@dataclass(frozen=True)
class Mine(AccessToken):
    more: int
assert Mine('v', 5, 6).more == 6
""",
    "many threads": """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
barrier = Barrier(8)
def look(_):
    barrier.wait()
    return hash(changed), repr(changed), changed == StatusChanged(1, 2, 3, 4)
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(look, range(8)))) == 1
""",
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_first_look(look: str) -> None:
    done = subprocess.run([sys.executable, "-c", UNSEEN + LOOKS[look]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
