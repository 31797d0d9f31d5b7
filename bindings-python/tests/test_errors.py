"""The exceptions, compared with the error codes of core."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest

import posemesh_node
from posemesh_node import (
    InternalError,
    InvalidArgumentError,
    PanicError,
    PosemeshError,
    _error,
    _native,
)

CODES = dict(_native.error_codes())

CLASSES = [
    value
    for name in posemesh_node.__all__
    if isinstance(value := getattr(posemesh_node, name), type) and issubclass(value, PosemeshError)
]


def test_each_code_has_a_class_with_its_name() -> None:
    table = {cls.code: cls.name for cls in CLASSES if cls is not PosemeshError}
    # Only C has buffers that can be too small.
    assert table == {code: name for code, name in CODES.items() if name != "ERR_BUFFER_TOO_SMALL"}
    assert {code: cls.code for code, cls in _error.CLASSES.items()} == {code: code for code in table}


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_can_be_copied_and_pickled(cls: type[PosemeshError]) -> None:
    for error in (pickle.loads(pickle.dumps(cls("text"))), copy.copy(cls("text"))):
        assert (type(error), str(error), error.code) == (cls, "text", cls.code)


# scenario: panic
def test_a_panic_is_an_ordinary_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PanicError, match="please report it") as caught:
        _native.panic()
    assert isinstance(caught.value, InternalError)
    assert "requested by a test" in capfd.readouterr().err


@pytest.mark.parametrize("key", ["", "0x12", "0" * 64, "do-not-show-me"])
def test_a_bad_key_is_refused_and_not_shown(key: str) -> None:
    for call in (posemesh_node.eth_address, partial(posemesh_node.sign_eip191, message=b"x")):
        with pytest.raises(InvalidArgumentError) as caught:
            call(key)
        assert isinstance(caught.value, ValueError)
        assert "do-not-show-me" not in str(caught.value)
