"""The keyword arguments, their types, and the option table of core."""

from __future__ import annotations

import ast
import inspect
import json
import re
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from posemesh_node import (
    AsyncNode,
    ConfigError,
    InvalidArgumentError,
    Node,
    Options,
    Overrides,
    _native,
    eth_address,
    sign_eip191,
)
from posemesh_node.testing import PRIVATE_KEY, LocalDds

HERE = Path(__file__).parent
SECRET = "do-not-show-me"
TABLE = {name: row for name, *row in _native.options()}
# A robot need not name any capabilities, so the types do not require them.
REQUIRED = {name for name, row in TABLE.items() if row[3]} - {"capabilities"}


def start(**options: Any) -> Node:
    return Node.start(**options)


def test_the_keyword_arguments_are_the_options_of_core_and_a_signer() -> None:
    assert set(get_type_hints(Options)) == set(get_type_hints(Overrides)) == {*TABLE, "signer"}
    assert Options.__required_keys__ == REQUIRED
    assert Overrides.__required_keys__ == set()


@pytest.mark.parametrize("method", [Node.start, AsyncNode.start, Node.from_env, AsyncNode.from_env])
def test_editors_complete_the_options(method: Callable[..., object]) -> None:
    shown = inspect.signature(method).parameters
    assert set(shown) == {*TABLE, "signer"}
    required = [name for name, keyword in shown.items() if keyword.default is inspect.Parameter.empty]
    starts = method in (Node.start, AsyncNode.start)
    assert set(required) == (REQUIRED if starts else set())
    # As IPython and Jupyter complete them.
    jedi: Any = import_module("jedi")
    offered: set[str] = {name.name for name in jedi.Interpreter("method(", [{"method": method}]).complete()}
    assert {f"{name}=" for name in TABLE} <= offered


@pytest.mark.parametrize("name", TABLE)
def test_the_docstring_describes_each_option_as_core_does(name: str) -> None:
    _, kind, default, required, help_line = TABLE[name]
    documented = inspect.getdoc(Node.start)
    assert documented is not None
    found = re.search(rf"^{name}: (?P<type>[^=\n]+?)(?: = (?P<default>.+))?\n    (?P<help>.+)$", documented, re.M)
    assert found is not None
    types = {"integer": "int", "boolean": "bool", "list": "Sequence[str] | str", "path": "str | os.PathLike[str]"}
    assert found["type"] == types.get(str(kind), "str")
    assert found["help"] == help_line
    if default is None:
        assert found["default"] is None
    elif kind == "boolean":
        assert str(ast.literal_eval(found["default"])).lower() == default
    else:
        assert str(ast.literal_eval(found["default"])) == default
    assert documented.index("Required:") < found.start()
    assert (found.start() < documented.index("Optional")) is required


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("reg_secret", b"x", "reg_secret must be str, not bytes"),
        ("max_concurrency", "4", "max_concurrency must be int, not str"),
        ("max_concurrency", True, "max_concurrency must be int, not bool"),
        ("max_retry", 1.5, "max_retry must be int, not float"),
        ("allow_insecure_http", "yes", "allow_insecure_http must be bool, not str"),
        ("allow_insecure_http", 1, "allow_insecure_http must be bool, not int"),
        ("capabilities", 5, "capabilities must be str or a sequence of str, not int"),
        ("capabilities", b"/a", "capabilities must be str or a sequence of str, not bytes"),
        ("capabilities", ["/a", 5], "capabilities must be str or a sequence of str, not list"),
        ("ca_file", 5, "ca_file must be str or os.PathLike[str], not int"),
        ("ca_file", b"/ca.pem", "ca_file must be str or os.PathLike[str], not bytes"),
        ("nonsense", 5, 'unexpected keyword argument "nonsense"; the options are dds_base_url, '),
        ("regSecret", 5, "; did you mean reg_secret?"),
        ("max_concurency", 5, "; did you mean max_concurrency?"),
        ("signr", 5, "; did you mean signer?"),
    ],
)
# scenario: wrong-argument
def test_a_wrong_type_names_the_option(name: str, value: object, expected: str) -> None:
    options: dict[str, Any] = {name: value}
    for begin in (Node.start, Node.from_env):
        with pytest.raises(TypeError, match=re.escape(expected)):
            begin(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dds_base_url", "ftp://example.org"),
        ("node_version", "one"),
        ("max_concurrency", 0),
        ("max_concurrency", 10**30),
        ("register_interval_secs", -1),
        ("capabilities", []),
        ("capabilities", ["/a", ""]),
        ("callback_policy", "closed"),
        ("secp256k1_privhex", SECRET),
    ],
)
# scenario: start-refused
def test_a_wrong_value_names_the_option(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name}") as caught:
        start(**{name: value})
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1] not in ("integer", "boolean")])
def test_a_lone_surrogate_names_the_option_and_shows_no_secret(name: str) -> None:
    values: list[Any] = [f"{SECRET}\ud800"]
    if name == "capabilities":
        values.append(["/a", f"/{SECRET}\udcff"])
    for value in values:
        with pytest.raises(ConfigError, match=f"^{name} contains a lone surrogate") as caught:
            start(**{name: value})
        assert SECRET not in repr(caught.value)


def test_a_lone_surrogate_in_a_key_is_refused() -> None:
    key = f"{SECRET}\ud800"
    with pytest.raises(InvalidArgumentError, match="^privhex contains a lone surrogate") as caught:
        eth_address(key)
    assert SECRET not in repr(caught.value)
    with pytest.raises(InvalidArgumentError, match="^privhex contains a lone surrogate"):
        sign_eip191(key, b"")


def test_a_capability_with_a_comma_is_refused() -> None:
    with pytest.raises(ValueError, match="capabilities.*comma"):
        start(capabilities=["/a,/b"])


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"node_version \(NODE_VERSION\)"):
        start(reg_secret="x", secp256k1_privhex=None)


@pytest.mark.parametrize("capabilities", ["/a/v1, /b/v1", ["/a/v1", "/b/v1"], ("/a/v1", "/b/v1")])
def test_capabilities_are_a_string_or_a_sequence(dds: LocalDds, capabilities: Any) -> None:
    options = dds.options()
    options["capabilities"] = capabilities
    with Node.start(**options) as node:
        node.wait_registered(timeout=60)
    assert dds.nodes()[0].capabilities == ("/a/v1", "/b/v1")


def test_a_path_may_be_path_like(dds: LocalDds, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        Node.start(**dds.options(ca_file=tmp_path / "none.pem"))


def test_a_keystore_supplies_the_key(dds: LocalDds, tmp_path: Path) -> None:
    [example, *_] = json.loads((HERE.parents[1] / "core/tests/vectors/keystore.json").read_text())
    file = tmp_path / "keystore.json"
    file.write_text(json.dumps(example["keystore"]))
    keystore: Any = {"secp256k1_privhex": None, "secp256k1_keystore_file": file}
    with Node.start(**dds.options(**keystore, secp256k1_keystore_password=example["password"])) as node:
        assert node.wallet_address == example["address"].lower()
        node.wait_registered(timeout=60)
    with pytest.raises(ConfigError, match="^secp256k1_keystore_file: .* the password is wrong") as caught:
        Node.start(**dds.options(**keystore, secp256k1_keystore_password=SECRET))
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="secp256k1_keystore_password"):
        Node.start(**dds.options(**keystore))


# scenario: environment
def test_the_environment_as_operators_write_it(dds: LocalDds, monkeypatch: pytest.MonkeyPatch) -> None:
    key = PRIVATE_KEY
    for name, value in {
        "DDS_BASE_URL": f" {dds.url}\n",
        "REG_SECRET": "x",
        "SECP256K1_PRIVHEX": f"{key}\n",
        "CAPABILITIES": " /a/v1 , /b/v1 ",
        "NODE_VERSION": "another program's",
        "POSEMESH_NODE_VERSION": "3.2.1",
        "MAX_CONCURRENCY": "  ",
        "REGISTER_INTERVAL_SECS": "5m",
    }.items():
        monkeypatch.setenv(name, value)
    with Node.from_env() as node:
        node.wait_registered(timeout=60)
    registered = dds.nodes()[0]
    assert (registered.version, registered.capabilities) == ("3.2.1", ("/a/v1", "/b/v1"))
    assert registered.max_concurrency is None
    monkeypatch.setenv("REGISTER_INTERVAL_SECS", "5 fortnights")
    with pytest.raises(ConfigError, match="^REGISTER_INTERVAL_SECS"):
        Node.from_env()


def begin_async(**options: Any) -> None:
    AsyncNode.start(**options).send(None)


@pytest.mark.parametrize("begin", [start, begin_async])
def test_no_traceback_shows_a_secret(begin: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one with local variables, because no frame of the package holds the secrets."""
    options = {"reg_secret": SECRET, "secp256k1_privhex": SECRET, "node_version": "1.0.0"}
    with pytest.raises(ConfigError) as caught:
        begin(**options)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "posemesh_node" in Path(frame.filename).parts]
    assert ours
    assert all(SECRET not in str(frame.locals) for frame in ours)
    assert SECRET not in str(caught.value)


def test_no_repr_shows_a_secret(node: Node, dds: LocalDds) -> None:
    secret = node.wait_secret(timeout=60)
    config = _native.Config({"reg_secret": SECRET})
    for shown in (repr(config), str(config), repr(node), repr(node.status()), repr(vars(node)), repr(dds)):
        assert SECRET not in shown
        assert secret not in shown
