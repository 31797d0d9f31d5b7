"""The examples, and the code blocks of both READMEs, run as programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Program, environment, free_address
from posemesh_node.testing import LocalDds
from service import Service

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def test_the_script_registers_and_receives_a_secret(run: Callable[..., Program], dds: LocalDds) -> None:
    script = run("script.py", cwd=EXAMPLES, env=environment(dds))
    address = re.fullmatch(r"0x[0-9a-f]{40}, called back at (\S+)", script.line())
    assert address is not None
    while script.line() != "now registered":
        pass
    dds.set_node_url(f"http://{address[1]}")
    assert dds.call_back().status == 200
    # The status and the events may both report the way to "registered".
    while not (line := script.line()).startswith("secret"):
        assert line in ("now registering", "now registered")
    assert line == "secret number 1, 43 characters"
    script.interrupt()
    code, out, _ = script.end()
    assert (code, out) == (0, "stopped\n")


@pytest.mark.parametrize("example", ["script.py", "asyncio_worker.py"])
def test_an_example_uses_the_callback_address_of_the_environment(example: str, run: Callable[..., Program], dds: LocalDds) -> None:
    address = free_address()
    program = run(example, cwd=EXAMPLES, env=environment(dds, CALLBACK_BIND=address))
    assert address in program.line()
    program.interrupt()
    assert program.end()[0] == 0


def test_the_asyncio_worker_receives_a_secret(run: Callable[..., Program], dds: LocalDds) -> None:
    worker = run("asyncio_worker.py", cwd=EXAMPLES, env=environment(dds))
    address = worker.line()
    assert worker.line().startswith("working as 0x")
    dds.set_node_url(f"http://{address}")
    assert dds.call_back().status == 200
    assert worker.line() == "secret number 1"
    worker.interrupt()
    assert worker.succeed() == "stopped\n"


BLOCKS = [
    block
    for readme in (ROOT / "README.md", ROOT.parent / "README.md")
    for block in re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.M | re.S)
]


def test_the_readme_has_code() -> None:
    assert len(BLOCKS) >= 10


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readmes_code_runs(number: int, run: Callable[..., Program], tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(BLOCKS[number])
    secret = tmp_path / "secret"
    secret.write_text("a-credential")
    address = free_address()
    with LocalDds(node_url=f"http://{address}") as dds, Service(dds) as service:
        env = environment(dds, REG_SECRET_FILE=str(secret), CALLBACK_BIND=address, SERVICE_URL=service.url)
        del env["REG_SECRET"]
        code, _, err = run(str(tmp_path / "block.py"), env=env).end()
    assert code == 0, err
