"""The commands: `python -m posemesh_node` and `python -m posemesh_node.testing`."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Program, environment
from test_callback_tls import make_certificate
from posemesh_node import eth_address
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds

CHECK = ("-m", "posemesh_node")
SECRET = "do-not-show-me"


def without_a_node() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name == "PATH"}


def test_it_prints_the_configuration_without_secrets(dds: LocalDds, run: Callable[..., Program], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(PRIVATE_KEY)
    env = environment(dds, REG_SECRET=SECRET, SECP256K1_PRIVHEX_FILE=str(key), CALLBACK_BIND="127.0.0.1:0")
    del env["SECP256K1_PRIVHEX"]
    shown = run(*CHECK, env=env).succeed()
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line}
    assert lines["wallet"] == eth_address(PRIVATE_KEY)
    assert lines["reg_secret"] == "set (REG_SECRET)"
    assert lines["secp256k1_privhex"] == "set (SECP256K1_PRIVHEX_FILE)"
    assert lines["callback_bind"] == "'127.0.0.1:0' (CALLBACK_BIND)"
    assert lines["register_interval_secs"] == "120 (default)"
    assert lines["state_dir"] == "not set"
    assert SECRET not in shown and PRIVATE_KEY not in shown
    assert dds.requests() == []


def test_it_shows_neither_the_node_url_nor_the_callback_path(dds: LocalDds, run: Callable[..., Program]) -> None:
    url = {"NODE_URL": f"http://127.0.0.1:1/{SECRET}", "CALLBACK_PATH": f"/{SECRET}"}
    shown = run(*CHECK, env=environment(dds, CALLBACK_BIND="127.0.0.1:0", **url)).succeed()
    assert "set (NODE_URL)" in shown and "set (CALLBACK_PATH)" in shown
    assert SECRET not in shown


def test_it_shows_which_variable_an_option_comes_from(dds: LocalDds, run: Callable[..., Program]) -> None:
    robot = {"IDENTITY": "robot", "ROBOT_REGISTRATION_CREDENTIALS": SECRET, "POSEMESH_MAX_RETRY": "3"}
    env = environment(dds, **robot)
    del env["SECP256K1_PRIVHEX"]
    shown = run(*CHECK, env=env).succeed()
    assert "set (ROBOT_REGISTRATION_CREDENTIALS)" in shown and "'3' (POSEMESH_MAX_RETRY)" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("option", ["CALLBACK_TLS_CERT", "CALLBACK_TLS_KEY", "CALLBACK_TLS_CLIENT_CA", "CA_FILE"])
def test_it_names_a_file_of_certificates_that_cannot_be_used(
    dds: LocalDds, run: Callable[..., Program], tmp_path: Path, option: str
) -> None:
    cert, key = make_certificate(tmp_path, "server")
    files = {"CALLBACK_TLS_CERT": cert, "CALLBACK_TLS_KEY": key, "CALLBACK_TLS_CLIENT_CA": cert, "CA_FILE": cert}
    env = environment(dds, CALLBACK_BIND="127.0.0.1:0", **{name: str(file) for name, file in files.items()})
    run(*CHECK, env=env).succeed()
    code, _, err = run(*CHECK, env={**env, option: str(tmp_path / "absent")}).end()
    assert code == 2 and option.lower() in err and "absent" in err, err
    assert dds.requests() == []


def test_register_registers_once(dds: LocalDds, run: Callable[..., Program]) -> None:
    assert "Registered with DDS" in run(*CHECK, "--register", env=environment(dds)).succeed()
    assert len(dds.requests("register")) == 1


def test_register_ends_at_once_when_dds_refuses(dds: LocalDds, run: Callable[..., Program]) -> None:
    dds.inject("register", Fault.status(403, body="not you"), times=None)
    code, _, err = run(*CHECK, "--register", "--timeout", "3600", env=environment(dds)).end()
    assert code == 1 and "ERR_REJECTED" in err and "not you" in err and "Traceback" not in err


def test_register_has_a_timeout(dds: LocalDds, run: Callable[..., Program]) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    code, _, err = run(*CHECK, "--register", "--timeout", "0.1", env=environment(dds)).end()
    assert code == 1 and "ERR_TIMEOUT" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "more", "text"),
    [
        ((), {"NODE_VERSION": "one"}, "NODE_VERSION"),
        ((), {"NODE_VERSION": ""}, "NODE_VERSION"),
        (("--timeout", "-1"), {}, "0 or more seconds"),
        (("--nonsense",), {}, "unrecognized arguments"),
    ],
)
def test_an_invalid_value_is_named(
    arguments: tuple[str, ...], more: dict[str, str], text: str, dds: LocalDds, run: Callable[..., Program]
) -> None:
    code, _, err = run(*CHECK, *arguments, env=environment(dds, **more)).end()
    assert code == 2 and text in err and "Traceback" not in err


@pytest.mark.parametrize("module", ["posemesh_node", "posemesh_node.testing"])
def test_help_is_printed(module: str, run: Callable[..., Program]) -> None:
    assert run("-m", module, "--help", env=without_a_node()).succeed().startswith(f"usage: python -m {module}")


@pytest.mark.parametrize(
    ("node_url", "settings"),
    [
        ("http://127.0.0.1:8080", "CALLBACK_BIND=127.0.0.1:8080"),
        ("http://[::1]:8080/", "CALLBACK_BIND=[::1]:8080"),
        ("http://127.0.0.1/a/b/", "CALLBACK_BIND=127.0.0.1:80 CALLBACK_PATH=/a/b"),
    ],
)
def test_the_local_dds_proposes_a_callback_server_for_the_node_url(
    node_url: str, settings: str, run: Callable[..., Program]
) -> None:
    dds = run("-m", "posemesh_node.testing", "--node-url", node_url, env=without_a_node())
    exported = shlex.split(dds.line().removeprefix("export ")) + shlex.split(dds.line().removeprefix("export "))
    assert dds.line() == f"# for a callback server of the node: export {settings}"
    env = {**without_a_node(), **dict(pair.split("=", 1) for pair in exported + settings.split())}
    run(*CHECK, env=env).succeed()  # the configuration is valid
    dds.process.send_signal(signal.SIGINT)
    dds.succeed()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--node-url", "127.0.0.1:8080"), "does not begin with http://; expected http://, a loopback address"),
        (("--node-url", "http://example.org"), "is not on loopback; expected"),
        (("--node-url", "http://127.0.0.1:0"), "has no port from 1 to 65535; expected"),
        (("--node-url", "http://[::1]:99999/path"), "has no port from 1 to 65535; expected"),
        (("--node-url", "http://127.0.0.1/a b"), "is not a URL: "),
        (("--health-interval", "0"), "health_interval must be more than 0"),
        (("--health-interval", "soon"), "argument --health-interval: invalid float value"),
    ],
)
def test_the_local_dds_names_an_invalid_value(
    arguments: tuple[str, ...], text: str, run: Callable[..., Program]
) -> None:
    code, out, err = run("-m", "posemesh_node.testing", *arguments, env=without_a_node()).end()
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("python -m posemesh_node.testing: error: ") and text in last and "Traceback" not in err


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_node_registers_with_the_local_dds_of_the_command(end: signal.Signals, run: Callable[..., Program]) -> None:
    dds = run("-m", "posemesh_node.testing", env=without_a_node())
    exported = shlex.split(dds.line().removeprefix("export ")) + shlex.split(dds.line().removeprefix("export "))
    env = {**without_a_node(), **dict(pair.split("=", 1) for pair in exported)}
    assert "Registered with DDS" in run(*CHECK, "--register", env=env).succeed()
    while "register" not in (line := dds.line()):
        assert line.startswith("# ")
    assert line.endswith(": 200")
    dds.process.send_signal(end)
    dds.succeed()
