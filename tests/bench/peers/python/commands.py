"""What the Python programs under measurement share: they are asked line by line, and do what they are asked."""

import sys
from collections.abc import Callable


def answer(commands: dict[str, Callable[..., object]]) -> None:
    """Answers each line of standard input with one line, until it ends. The first word of an answer is `ok`."""
    for line in sys.stdin:
        name, *words = line.split()
        result = commands[name](*words)
        print("ok", "" if result is None else result, flush=True)
